"""tf.linalg: products, norms, einsum, diagonals and bands. Factorisations are not available yet; their names say so."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .dtypes import as_dtype
from .eager.tensor import convert_to_tensor
from .errors import InvalidArgumentError, UnimplementedError
from .ops import gather as gather_ops
from .ops import linalg as linalg_ops
from .ops import movement as movement_ops
from .ops import reduce as reduce_ops
from .ops import slicing as slicing_ops
from .ops.common import normalise_axis
from .ops.dispatch import Value, apply
from .ops.elementwise import select
from .ops.sizes import as_size, as_sizes
from .shapes import Size, num_elements

__all__ = [
    "adjoint",
    "band_part",
    "cross",
    "diag",
    "diag_part",
    "einsum",
    "eye",
    "global_norm",
    "l2_normalize",
    "matmul",
    "matrix_transpose",
    "matvec",
    "norm",
    "normalize",
    "set_diag",
    "tensordot",
    "trace",
]

_FACTORISATIONS = (
    "cholesky", "cholesky_solve", "det", "eig", "eigh", "eigvals", "eigvalsh", "expm", "inv", "logdet", "logm", "lstsq",
    "lu", "pinv", "qr", "slogdet", "solve", "sqrtm", "svd", "triangular_solve",
)  # fmt: skip


def __getattr__(name: str) -> Any:
    """Names of TensorFlow that are not here."""
    if name in _FACTORISATIONS:
        raise UnimplementedError(
            f"tf.linalg.{name} is not available in Tideflow. On arrays: np.linalg.{name}(x.numpy())."
        )
    raise AttributeError(f"module 'tideflow.linalg' has no attribute {name!r}")


def matmul(
    a: Any, b: Any, transpose_a: bool = False, transpose_b: bool = False, adjoint_a: bool = False,
    adjoint_b: bool = False, a_is_sparse: bool = False, b_is_sparse: bool = False, output_type: Any = None,
    grad_a: bool = False, grad_b: bool = False, name: str | None = None,
) -> Any:  # fmt: skip
    """The matrix product over the last two axes; the axes before them broadcast. Either can be transposed on the fly.

    Raises InvalidArgumentError if the inner sizes differ or a rank is below 2.

    >>> matmul([[1, 2], [3, 4]], [[1, 0], [0, 1]]).numpy().tolist()
    [[1, 2], [3, 4]]
    """
    if (transpose_a and adjoint_a) or (transpose_b and adjoint_b):
        raise ValueError("Only one of `transpose_a` and `adjoint_a` (`transpose_b` and `adjoint_b`) can be True.")
    if not (isinstance(a, Value) or isinstance(b, Value)):
        a = convert_to_tensor(a)
        b = convert_to_tensor(b, dtype_hint=a.dtype)
    return linalg_ops.matmul(a, b, transpose_a or adjoint_a, transpose_b or adjoint_b)


def tensordot(a: Any, b: Any, axes: Any, name: str | None = None) -> Any:
    """Sums products over `axes` axes at the end of a and the start of b, or over the axes named for each.

    >>> tensordot([[1, 2], [3, 4]], [[1, 2], [3, 4]], 2).numpy()
    np.int32(30)
    """
    a = convert_to_tensor(a)
    b = convert_to_tensor(b, dtype_hint=a.dtype)
    rank_a, rank_b = len(a.sizes), len(b.sizes)
    if isinstance(axes, int | np.integer):
        over_a, over_b = list(range(rank_a - int(axes), rank_a)), list(range(int(axes)))
    else:
        first, second = axes
        over_a = [normalise_axis(i, rank_a, "tensordot") for i in np.ravel(first).tolist()]
        over_b = [normalise_axis(i, rank_b, "tensordot") for i in np.ravel(second).tolist()]
    if len(over_a) != len(over_b):
        raise ValueError(
            f"tensordot: different numbers of contraction axes in a and b, {len(over_a)} and {len(over_b)}."
        )
    free_a = [i for i in range(rank_a) if i not in over_a]
    free_b = [i for i in range(rank_b) if i not in over_b]
    inner = num_elements(a.sizes[i] for i in over_a)
    left = movement_ops.reshape(
        movement_ops.transpose(a, free_a + over_a), (num_elements(a.sizes[i] for i in free_a), inner)
    )
    right = movement_ops.reshape(
        movement_ops.transpose(b, over_b + free_b),
        (num_elements(b.sizes[i] for i in over_b), num_elements(b.sizes[i] for i in free_b)),
    )
    shape = (*(a.sizes[i] for i in free_a), *(b.sizes[i] for i in free_b))
    return movement_ops.reshape(linalg_ops.matmul(left, right), shape)


def norm(
    tensor: Any, ord: Any = "euclidean", axis: Any = None, keepdims: bool | None = None, name: str | None = None
) -> Any:
    """The norm of vectors ("euclidean", 1, infinity or another positive number) or of matrices ("fro", 1 or infinity).

    >>> float(norm([3.0, 4.0]))
    5.0
    """
    x = convert_to_tensor(tensor)
    keep = bool(keepdims)
    matrix = isinstance(axis, list | tuple) and len(axis) == 2
    if ord in ("euclidean", "fro") or (ord == 2 and not matrix):
        return apply("sqrt", reduce_ops.reduce_sum(apply("square", x), axis, keep))
    size = apply("abs", x)
    if matrix:
        if ord not in (1, np.inf):
            raise UnimplementedError(
                f"norm: ord={ord!r} of a matrix needs singular values; available: 'fro', 'euclidean', 1, inf."
            )
        first, second = (normalise_axis(a, len(x.sizes), "norm") for a in axis)
        summed, rest = (first, second) if ord == 1 else (second, first)
        made = reduce_ops.reduce_max(reduce_ops.reduce_sum(size, summed, True), rest, True)
        return made if keep else movement_ops.squeeze(made, [first, second])
    if ord == 1:
        return reduce_ops.reduce_sum(size, axis, keep)
    if ord == np.inf:
        return reduce_ops.reduce_max(size, axis, keep)
    if not isinstance(ord, int | float) or ord <= 0:
        raise ValueError(
            f"'ord' must be a supported vector norm in [1, 2, inf, 'euclidean'] or a positive number, got {ord!r}"
        )
    return apply("pow", reduce_ops.reduce_sum(apply("pow", size, float(ord)), axis, keep), 1.0 / ord)


def normalize(tensor: Any, ord: Any = "euclidean", axis: Any = None, name: str | None = None) -> tuple[Any, Any]:
    """(the tensor divided by its norm, the norm with the axes kept)."""
    x = convert_to_tensor(tensor)
    size = norm(x, ord, axis, True)
    return x / size, size


def l2_normalize(x: Any, axis: Any = None, epsilon: float = 1e-12, name: str | None = None, dim: Any = None) -> Any:
    """x / sqrt(max(sum(x * x), epsilon)) over some axes."""
    x = convert_to_tensor(x)
    total = reduce_ops.reduce_sum(apply("square", x), dim if axis is None else axis, True)
    return x * apply("rsqrt", apply("maximum", total, epsilon))


def global_norm(t_list: Sequence[Any], name: str | None = None) -> Any:
    """The square root of the sum of squares of all elements of all tensors; None counts as nothing."""
    squares = [reduce_ops.reduce_sum(apply("square", convert_to_tensor(t))) for t in t_list if t is not None]
    if not squares:
        raise ValueError("global_norm: t_list holds no tensor.")
    total = squares[0]
    for part in squares[1:]:
        total = total + part
    return apply("sqrt", total)


def matvec(
    a: Any, b: Any, transpose_a: bool = False, adjoint_a: bool = False, a_is_sparse: bool = False,
    b_is_sparse: bool = False, name: str | None = None,
) -> Any:  # fmt: skip
    """A matrix times a vector; the axes before broadcast.

    >>> matvec([[1, 2], [3, 4]], [1, 1]).numpy().tolist()
    [3, 7]
    """
    a = convert_to_tensor(a)
    b = convert_to_tensor(b, dtype_hint=a.dtype)
    column = movement_ops.expand_dims(b, -1)
    return movement_ops.squeeze(linalg_ops.matmul(a, column, transpose_a or adjoint_a), -1)


def matrix_transpose(a: Any, name: str = "matrix_transpose", conjugate: bool = False) -> Any:
    """The last two axes exchanged."""
    a = convert_to_tensor(a)
    rank = len(a.sizes)
    if rank < 2:
        raise ValueError(
            f"Argument `a` should be a (batch) matrix with rank >= 2. Received `a` = {a} with shape: {a.shape}"
        )
    return movement_ops.transpose(a, [*range(rank - 2), rank - 1, rank - 2])


def adjoint(matrix: Any, name: str | None = None) -> Any:
    """The last two axes exchanged (real numbers have no conjugate)."""
    return matrix_transpose(matrix)


def eye(
    num_rows: Any, num_columns: Any = None, batch_shape: Any = None, dtype: Any = "float32", name: str | None = None
) -> Any:
    """Ones on the diagonal, zeros elsewhere."""
    rows = as_size(num_rows, "eye")
    columns = rows if num_columns is None else as_size(num_columns, "eye")
    made = gather_ops.one_hot(movement_ops.range_(rows), columns, 1, 0, -1, as_dtype(dtype))
    return (
        made if batch_shape is None else movement_ops.broadcast_to(made, (*as_sizes(batch_shape, "eye"), rows, columns))
    )


def cross(a: Any, b: Any, name: str | None = None) -> Any:
    """The cross product of vectors of three elements on the last axis."""
    a = convert_to_tensor(a)
    b = convert_to_tensor(b, dtype_hint=a.dtype)
    if a.sizes[-1] != 3 or b.sizes[-1] != 3:
        raise InvalidArgumentError(f"cross: the last axis must have size 3, received shapes {a.sizes} and {b.sizes}.")
    (a0, a1, a2), (b0, b1, b2) = (slicing_ops.unstack(v, -1) for v in (a, b))
    return movement_ops.stack([a1 * b2 - a2 * b1, a2 * b0 - a0 * b2, a0 * b1 - a1 * b0], -1)


# -- diagonals ---------------------------------------------------------------------------------------------------------


def _distance(rows: Size, columns: Size) -> Any:
    """column - row at each place of a matrix."""
    down, along = movement_ops.range_(rows), movement_ops.range_(columns)
    return movement_ops.reshape(along, (1, columns)) - movement_ops.reshape(down, (rows, 1))


def band_part(input: Any, num_lower: Any, num_upper: Any, name: str | None = None) -> Any:
    """Keeps `num_lower` diagonals below and `num_upper` above the main one (-1: all), zeros elsewhere.

    >>> band_part([[1, 2], [3, 4]], -1, 0).numpy().tolist()
    [[1, 0], [3, 4]]
    """
    x = convert_to_tensor(input)
    lower, upper = as_size(num_lower, "band_part"), as_size(num_upper, "band_part")
    distance = _distance(*x.sizes[-2:])
    kept = apply("equal", distance, distance)
    if lower != -1:
        kept = apply("logical_and", kept, distance >= 0 - lower)
    if upper != -1:
        kept = apply("logical_and", kept, distance <= upper)
    return select(kept, x, False if x.dtype.is_bool else 0)


def _main_diagonal(k: Any, op: str) -> None:
    if not isinstance(k, int | np.integer) or k != 0:
        raise UnimplementedError(
            f"{op}: only the main diagonal (k=0) is available, received k={k!r}; use tf.pad and slicing."
        )


def diag(diagonal: Any, name: str = "diag", k: Any = 0, num_rows: int = -1, num_cols: int = -1, padding_value: Any = 0,
         align: str = "RIGHT_LEFT") -> Any:  # fmt: skip
    """Square matrices with the last axis of `diagonal` on their diagonals.

    >>> diag([1, 2]).numpy().tolist()
    [[1, 0], [0, 2]]
    """
    _main_diagonal(k, "diag")
    if num_rows != -1 or num_cols != -1:
        raise UnimplementedError("diag: num_rows and num_cols are not available; pad the result with tf.pad.")
    x = convert_to_tensor(diagonal)
    size = x.sizes[-1]
    return select(apply("equal", _distance(size, size), 0), movement_ops.expand_dims(x, -1), padding_value)


def diag_part(
    input: Any, name: str = "diag_part", k: Any = 0, padding_value: Any = 0, align: str = "RIGHT_LEFT"
) -> Any:
    """The main diagonals of matrices on the last two axes."""
    _main_diagonal(k, "diag_part")
    x = convert_to_tensor(input)
    rows, columns = x.sizes[-2:]
    count = min(rows, columns) if isinstance(rows, int) and isinstance(columns, int) else rows
    inside = slicing_ops.slice_(x, [0] * len(x.sizes), [*x.sizes[:-2], count, count])
    on_diagonal = apply("equal", _distance(count, count), 0)
    return reduce_ops.reduce_sum(select(on_diagonal, inside, 0), -1)


def set_diag(input: Any, diagonal: Any, name: str = "set_diag", k: Any = 0, align: str = "RIGHT_LEFT") -> Any:
    """Matrices with their main diagonals replaced."""
    _main_diagonal(k, "set_diag")
    x = convert_to_tensor(input)
    new = convert_to_tensor(diagonal, dtype_hint=x.dtype)
    rows, columns = x.sizes[-2:]
    more = rows - new.sizes[-1]
    if more != 0:
        new = slicing_ops.pad(new, [(0, 0)] * (len(new.sizes) - 1) + [(0, more)])
    return select(apply("equal", _distance(rows, columns), 0), movement_ops.expand_dims(new, -1), x)


def trace(x: Any, name: str | None = None) -> Any:
    """The sums of the main diagonals of matrices on the last two axes."""
    return reduce_ops.reduce_sum(diag_part(x), -1)


# -- einsum ------------------------------------------------------------------------------------------------------------


def einsum(equation: str, *inputs: Any, **kwargs: Any) -> Any:
    """Sums products by Einstein's notation: a letter for each axis, those missing from the output are summed over.

    `...` stands for axes that broadcast. Products are made pair by pair, from the left, each as one matrix product.

    >>> einsum("ij,jk->ik", [[1, 2], [3, 4]], [[1, 0], [0, 1]]).numpy().tolist()
    [[1, 2], [3, 4]]
    """
    if set(kwargs) - {"name", "optimize"}:
        raise TypeError(
            f"Invalid keyword arguments for this function: {', '.join(sorted(set(kwargs) - {'name', 'optimize'}))}."
        )
    first = convert_to_tensor(inputs[0])
    tensors = [first, *(convert_to_tensor(v, dtype_hint=first.dtype) for v in inputs[1:])]
    labels, output = _parse(equation, [len(t.sizes) for t in tensors])
    _check_sizes(equation, labels, tensors)
    terms = [_alone(letters, t) for letters, t in zip(labels, tensors, strict=True)]
    while len(terms) > 1:
        (a_letters, a), (b_letters, b), *rest = terms
        needed = set(output).union(*(letters for letters, _ in rest))
        terms = [_contract(a_letters, a, b_letters, b, needed), *rest]
    letters, value = terms[0]
    letters, value = _sum_out(letters, value, set(output))
    return movement_ops.transpose(value, [letters.index(c) for c in output])


def _parse(equation: str, ranks: Sequence[int]) -> tuple[list[str], str]:
    """The letters of each operand and of the output; `...` becomes capital Greek letters, aligned at the last."""
    text = equation.replace(" ", "")
    left, arrow, output = text.partition("->")
    operands = left.split(",")
    if len(operands) != len(ranks):
        raise ValueError(f"einsum: the equation {equation!r} names {len(operands)} operands, received {len(ranks)}.")
    longest = max(
        (r - len(o.replace("...", "")) for o, r in zip(operands, ranks, strict=True) if "..." in o), default=0
    )
    spare = "".join(chr(0x391 + i) for i in range(max(longest, 0)))
    made = []
    for operand, rank in zip(operands, ranks, strict=True):
        more = rank - len(operand.replace("...", ""))
        if more < 0 or (more and "..." not in operand):
            raise ValueError(f"einsum: {operand!r} in {equation!r} does not fit an operand of rank {rank}.")
        made.append(operand.replace("...", spare[len(spare) - more :]))
    if not arrow:
        found = "".join(made)
        output = spare + "".join(sorted(c for c in set(found) if found.count(c) == 1 and c not in spare))
    output = output.replace("...", spare)
    if len(set(output)) != len(output) or set(output) - set("".join(made)):
        raise ValueError(f"einsum: the output of {equation!r} must name axes of the operands, each once.")
    return made, output


def _check_sizes(equation: str, labels: Sequence[str], tensors: Sequence[Any]) -> None:
    sizes: dict[str, Size] = {}
    for letters, t in zip(labels, tensors, strict=True):
        for c, d in zip(letters, t.sizes, strict=True):
            if d != 1 and sizes.setdefault(c, d) != d:
                raise InvalidArgumentError(
                    f"einsum: axis {c!r} of {equation!r} has size {sizes[c]} in one operand and {d} in another."
                )


def _alone(letters: str, x: Any) -> tuple[str, Any]:
    """An operand whose repeated letters are replaced by the diagonal."""
    for c in dict.fromkeys(letters):
        while letters.count(c) > 1:
            first, second = letters.index(c), letters.index(c, letters.index(c) + 1)
            rest = [i for i in range(len(letters)) if i not in (first, second)]
            x = diag_part(movement_ops.transpose(x, [*rest, first, second]))
            letters = "".join(letters[i] for i in rest) + c
    return letters, x


def _sum_out(letters: str, x: Any, needed: set[str]) -> tuple[str, Any]:
    """Sums over the axes that nobody needs."""
    axes = [i for i, c in enumerate(letters) if c not in needed]
    return ("".join(c for c in letters if c in needed), reduce_ops.reduce_sum(x, axes)) if axes else (letters, x)


def _contract(a_letters: str, a: Any, b_letters: str, b: Any, needed: set[str]) -> tuple[str, Any]:
    """The product of two operands, summed over the letters in both that nobody needs: one matrix product."""
    a_letters, a = _sum_out(a_letters, a, needed | set(b_letters))
    b_letters, b = _sum_out(b_letters, b, needed | set(a_letters))
    shared = [c for c in a_letters if c in b_letters]
    batch, inner = [c for c in shared if c in needed], [c for c in shared if c not in needed]
    a_free, b_free = [c for c in a_letters if c not in shared], [c for c in b_letters if c not in shared]
    sizes = {c: d for letters, t in ((b_letters, b), (a_letters, a)) for c, d in zip(letters, t.sizes, strict=True)}
    for letters, t in ((a_letters, a), (b_letters, b)):
        sizes.update((c, d) for c, d in zip(letters, t.sizes, strict=True) if d != 1)

    def grouped(letters: str, x: Any, groups: Sequence[list[str]]) -> Any:
        order = [c for group in groups for c in group]
        x = movement_ops.transpose(x, [letters.index(c) for c in order])
        x = movement_ops.broadcast_to(x, tuple(sizes[c] for c in order))
        return movement_ops.reshape(x, tuple(num_elements(sizes[c] for c in group) for group in groups))

    product = linalg_ops.matmul(
        grouped(a_letters, a, (batch, a_free, inner)), grouped(b_letters, b, (batch, inner, b_free))
    )
    together = "".join([*batch, *a_free, *b_free])
    return together, movement_ops.reshape(product, tuple(sizes[c] for c in together))
