"""Matrix products."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ..dtypes import NUMERIC
from ..errors import InvalidArgumentError
from ..shapes import broadcast_shapes, num_elements, unbroadcast_axes
from .common import check_dtypes, quiet
from .dispatch import apply
from .op import Case, Pattern, Spec, case
from .products import product

__all__ = ["matmul"]


def matmul(a: Any, b: Any, transpose_a: bool = False, transpose_b: bool = False) -> Any:
    """The matrix product of the last two axes; the axes before broadcast."""
    return apply("matmul", a, b, transpose_a=bool(transpose_a), transpose_b=bool(transpose_b))


class MatMul(Pattern):
    """a @ b over the last two axes, either transposed on the fly; the axes before them broadcast."""

    name, version, dtypes = "matmul", 1, NUMERIC

    def infer(self, a: Spec, b: Spec, *, transpose_a: bool, transpose_b: bool) -> Spec:
        check_dtypes(self, a, b)
        if len(a.shape) < 2 or len(b.shape) < 2:
            raise InvalidArgumentError(
                f"In[0] and In[1] ndims must be >= 2: matmul received shapes {a.shape} and {b.shape}. "
                f"Add an axis, for example x[:, tf.newaxis], or use tf.linalg.matvec or tf.tensordot."
            )
        rows, inner = a.shape[-2:][::-1] if transpose_a else a.shape[-2:]
        inner_b, columns = b.shape[-2:][::-1] if transpose_b else b.shape[-2:]
        if inner != inner_b:
            raise InvalidArgumentError(
                f"Matrix size-incompatible: In[0]: {list(a.shape)}, In[1]: {list(b.shape)}: the inner sizes of "
                "matmul differ: "
                f"a has {inner} {'rows' if transpose_a else 'columns'}, b has {inner_b} "
                f"{'columns' if transpose_b else 'rows'}. "
                f"Transpose one of them, for example matmul(a, b, transpose_b=True)."
            )
        return Spec((*broadcast_shapes(a.shape[:-2], b.shape[:-2], op="matmul"), rows, columns), a.dtype)

    def numpy(self, a: Any, b: Any, *, transpose_a: bool, transpose_b: bool) -> Any:
        dtype = a.dtype
        if dtype == np.float16:
            a, b = a.astype(np.float32), b.astype(np.float32)
        a = a.swapaxes(-1, -2) if transpose_a else a
        b = b.swapaxes(-1, -2) if transpose_b else b
        if a.ndim > 2 and b.ndim == 2 and not transpose_a:  # one large product instead of many small ones
            flat = quiet(product, a.reshape(-1, a.shape[-1]) if a.size else np.zeros((0, b.shape[0]), a.dtype), b)
            made = flat.reshape(*a.shape[:-1], b.shape[1]) if a.size else np.zeros((*a.shape[:-1], b.shape[1]), a.dtype)
        else:
            made = quiet(product, a, b)
        return made.astype(dtype, copy=False)

    def grad(self, dy: Any, a: Any, b: Any, *, out: Any, transpose_a: bool, transpose_b: bool) -> Any:
        if len(a.sizes) > 2 and len(b.sizes) == 2 and not transpose_a:
            da = matmul(dy, b, transpose_b=not transpose_b)
            rows, columns = _rows(a), _rows(dy)  # the sum over the batch is part of the contraction
            return da, matmul(columns, rows, transpose_a=True) if transpose_b else matmul(
                rows, columns, transpose_a=True
            )
        if transpose_a:
            da = matmul(b, dy, transpose_a=transpose_b, transpose_b=True)
        else:
            da = matmul(dy, b, transpose_b=not transpose_b)
        if transpose_b:
            db = matmul(dy, a, transpose_a=True, transpose_b=transpose_a)
        else:
            db = matmul(a, dy, transpose_a=not transpose_a)
        return _sum_to(da, a), _sum_to(db, b)

    def lower(self, ir: Any, at: Sequence[Any], a: Any, b: Any, *, transpose_a: bool, transpose_b: bool) -> Any:
        *batch, i, j = at

        def outer(view: Any) -> list[Any]:
            sizes = view.shape[:-2]
            return [
                ir.const(0) if size == 1 else index
                for size, index in zip(sizes, batch[len(batch) - len(sizes) :], strict=True)
            ]

        def product(k: Any) -> Any:
            left = a.at(*outer(a), *((k, i) if transpose_a else (i, k)))
            return left * b.at(*outer(b), *((j, k) if transpose_b else (k, j)))

        return ir.sum((a.shape[-2 if transpose_a else -1],), product)

    def cases(self) -> Iterator[Case]:
        rng = np.random.default_rng(11)

        def sample(*shape: int) -> Any:
            return rng.standard_normal(shape).astype(np.float32)

        for transpose_a, transpose_b in ((False, False), (False, True), (True, False), (True, True)):
            attrs = {"transpose_a": transpose_a, "transpose_b": transpose_b}
            yield case(
                sample(*((5, 3) if transpose_a else (3, 5))), sample(*((4, 5) if transpose_b else (5, 4))), **attrs
            )
            yield case(
                sample(2, *((5, 3) if transpose_a else (3, 5))), sample(*((4, 5) if transpose_b else (5, 4))), **attrs
            )
        plain = {"transpose_a": False, "transpose_b": False}
        yield case(sample(2, 1, 3, 5), sample(3, 5, 2), **plain)
        yield case(sample(1, 1), sample(1, 1), **plain)
        yield case(sample(33, 17), sample(17, 65), **plain, gradient=False)
        yield case(sample(0, 3), sample(3, 2), **plain)
        yield case(sample(2, 0), sample(0, 3), **plain)
        yield case(
            np.arange(6, dtype=np.int32).reshape(2, 3),
            np.arange(6, dtype=np.int32).reshape(3, 2),
            **plain,
            gradient=False,
        )


def _rows(x: Any) -> Any:
    return apply("reshape", x, shape=(num_elements(x.sizes[:-1]), x.sizes[-1]))


def _sum_to(gradient: Any, x: Any) -> Any:
    """Sums over the axes along which x was broadcast."""
    axes = unbroadcast_axes(gradient.sizes, x.sizes)
    if not axes:
        return gradient
    return apply("reshape", apply("reduce_sum", gradient, axis=axes, keepdims=False), shape=tuple(x.sizes))
