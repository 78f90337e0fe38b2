"""Tensors from sizes and values: zeros, ones, fill, range, eye, one_hot; casts; shapes as tensors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..dtypes import as_dtype, int32
from ..eager.tensor import constant, convert_to_tensor
from ..errors import InvalidArgumentError
from ..ops import elementwise as elementwise_ops
from ..ops import gather as gather_ops
from ..ops import movement as movement_ops
from ..ops.common import as_index
from ..ops.dispatch import Value, apply
from ..ops.elementwise import select
from ..ops.sizes import as_size, as_sizes, held_sizes
from ..shapes import Dim, num_elements

__all__ = [
    "cast",
    "eye",
    "fill",
    "identity",
    "identity_n",
    "linspace",
    "meshgrid",
    "one_hot",
    "ones",
    "ones_like",
    "range",
    "rank",
    "saturate_cast",
    "sequence_mask",
    "shape",
    "shape_n",
    "size",
    "stop_gradient",
    "zeros",
    "zeros_like",
]


def zeros(shape: Any, dtype: Any = "float32", name: str | None = None, layout: Any = None) -> Any:
    """Zeros of a shape.

    >>> zeros([2, 2]).numpy().tolist()
    [[0.0, 0.0], [0.0, 0.0]]
    """
    kind = as_dtype(dtype)
    return apply("full", shape=as_sizes(shape, "zeros"), value=False if kind.is_bool else 0, dtype=kind.name)


def ones(shape: Any, dtype: Any = "float32", name: str | None = None, layout: Any = None) -> Any:
    """Ones of a shape."""
    kind = as_dtype(dtype)
    return apply("full", shape=as_sizes(shape, "ones"), value=True if kind.is_bool else 1, dtype=kind.name)


def zeros_like(input: Any, dtype: Any = None, name: str | None = None, layout: Any = None) -> Any:
    """Zeros of the shape and dtype of a tensor."""
    x = convert_to_tensor(input)
    return zeros(tuple(x.sizes), x.dtype if dtype is None else dtype)


def ones_like(input: Any, dtype: Any = None, name: str | None = None, layout: Any = None) -> Any:
    """Ones of the shape and dtype of a tensor."""
    x = convert_to_tensor(input)
    return ones(tuple(x.sizes), x.dtype if dtype is None else dtype)


def fill(dims: Any, value: Any, name: str | None = None, layout: Any = None) -> Any:
    """One value in a shape; the dtype is that of the value."""
    value = convert_to_tensor(value)
    if value.sizes:
        raise InvalidArgumentError(f"fill: value must be a scalar, received shape {tuple(value.sizes)}.")
    return movement_ops.broadcast_to(value, as_sizes(dims, "fill"))


def eye(
    num_rows: Any, num_columns: Any = None, batch_shape: Any = None, dtype: Any = "float32", name: str | None = None
) -> Any:
    """Ones on the diagonal, zeros elsewhere.

    >>> eye(2).numpy().tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """
    rows = as_size(num_rows, "eye")
    columns = rows if num_columns is None else as_size(num_columns, "eye")
    made = gather_ops.one_hot(movement_ops.range_(rows), columns, 1, 0, -1, dtype)
    if batch_shape is None:
        return made
    return movement_ops.broadcast_to(made, (*as_sizes(batch_shape, "eye"), rows, columns))


def one_hot(
    indices: Any, depth: Any, on_value: Any = None, off_value: Any = None, axis: Any = None, dtype: Any = None,
    name: str | None = None,
) -> Any:  # fmt: skip
    """`on_value` (1) where an index equals the position along a new axis of size `depth`, elsewhere `off_value` (0).

    An index outside [0, depth) gives `off_value` everywhere. The new axis is the last unless `axis` says otherwise.

    >>> one_hot([0, 2], 3).numpy().tolist()
    [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
    """
    given = [convert_to_tensor(v).dtype for v in (on_value, off_value) if v is not None]
    if dtype is not None and any(g != as_dtype(dtype) for g in given if isinstance(on_value, Value)):
        raise TypeError(f"dtype {given[0].name} of on_value does not match dtype parameter {as_dtype(dtype).name}")
    kind = as_dtype(dtype) if dtype is not None else given[0] if given else as_dtype("float32")
    on, off = (default if v is None else _scalar(v) for v, default in ((on_value, 1), (off_value, 0)))
    return gather_ops.one_hot(
        convert_to_tensor(indices), as_size(depth, "one_hot"), on, off, -1 if axis is None else axis, kind
    )


def _scalar(value: Any) -> Any:
    array = np.asarray(value.numpy() if hasattr(value, "numpy") else value)
    return array.reshape(()).item()


def range(start: Any, limit: Any = None, delta: Any = 1, dtype: Any = None, name: str | None = "range") -> Any:
    """start, start + delta, ... up to but without `limit`; `range(limit)` starts from 0.

    >>> range(3, 18, 3).numpy().tolist()
    [3, 6, 9, 12, 15]
    """
    if limit is None:
        start, limit = 0, start
    if dtype is None and all(v.__class__ is int and -(2**31) <= v < 2**31 for v in (start, limit, delta)):
        return _counted(start, limit, delta, int32)
    sizes = [_traced_size(v) for v in (start, limit, delta)]
    if any(isinstance(s, Dim) for s in sizes):
        first, last, step = sizes
        if not isinstance(first, int) or step != 1 or last is None:
            raise TypeError(
                "range: with a limit that is known only when the program runs, start must be an int and delta 1."
            )
        return movement_ops.range_(last - first, first, 1, "int32" if dtype is None else dtype)
    start, limit, delta = (v if s is None else s for v, s in zip((start, limit, delta), sizes, strict=True))
    parts = [constant(v) for v in (start, limit, delta)]
    kind = as_dtype(dtype) if dtype is not None else max((p.dtype for p in parts), key=_precedence)
    low, high, step = (p.host().reshape(()).astype(kind.numpy).item() for p in parts)
    return _counted(low, high, step, kind)


def _counted(low: Any, high: Any, step: Any, kind: Any) -> Any:
    """The range of these numbers."""
    if step == 0:
        raise InvalidArgumentError("range: Requires delta != 0: 0 never reaches the limit.")
    if (high - low) * step < 0:
        relation = "<=" if step > 0 else ">="
        raise InvalidArgumentError(
            f"range: Requires start {relation} limit when delta {'>' if step > 0 else '<'} 0: {low}/{high}"
        )
    count = math.ceil((high - low) / step) if kind.is_floating else -((low - high) // step)
    return movement_ops.range_(count, low, step, kind)


def _traced_size(value: Any) -> Any:
    """The size that a traced tensor holds, a Dim or an int as it is; None for anything else."""
    if isinstance(value, Value) and not hasattr(value, "host"):
        found = held_sizes(value)
        if not found or len(found) != 1:
            raise TypeError(
                f"range: the number of elements must be known while a tf.function is traced, {value!r} depends on data."
            )
        return found[0]
    return value if isinstance(value, int | Dim) else None


def _precedence(dtype: Any) -> int:
    order = ("int32", "int64", "float16", "float32", "float64")
    return order.index(dtype.name) if dtype.name in order else 0


def linspace(start: Any, stop: Any, num: Any, name: str | None = None, axis: int = 0) -> Any:
    """`num` evenly spaced values from `start` to `stop`, both included, along a new axis.

    >>> linspace(0.0, 1.0, 5).numpy().tolist()
    [0.0, 0.25, 0.5, 0.75, 1.0]
    """
    first = convert_to_tensor(start)
    last = convert_to_tensor(stop, dtype_hint=first.dtype)
    if not first.dtype.is_floating:
        first, last = (elementwise_ops.cast(v, "float64") for v in (first, last))
    count = as_index(num, "linspace")
    if count < 1:
        raise InvalidArgumentError(f"linspace: Requires num > 0: {count}")
    first, last = (movement_ops.expand_dims(v, axis) for v in (first, last))
    steps = movement_ops.range_(count, 0, 1, first.dtype)
    shape = [1] * len(first.sizes)
    shape[axis] = count
    position = movement_ops.reshape(steps, tuple(shape))
    made = first + (last - first) / max(count - 1, 1) * position
    return made if count == 1 else select(apply("equal", position, count - 1), last, made)


def meshgrid(*args: Any, **kwargs: Any) -> list[Any]:
    """One tensor per argument that holds its coordinate at each point of the grid; `indexing` is "xy" or "ij"."""
    indexing = kwargs.pop("indexing", "xy")
    kwargs.pop("name", None)
    if kwargs:
        raise TypeError(f"'{next(iter(kwargs))}' is an invalid keyword argument for this function")
    if indexing not in ("xy", "ij"):
        raise ValueError(f"Argument `indexing` parameter must be either 'xy' or 'ij', got '{indexing}'")
    axes = [movement_ops.reshape(convert_to_tensor(a), (-1,)) for a in args]
    order = list(enumerate(axes))
    if indexing == "xy" and len(axes) > 1:
        order[0], order[1] = order[1], order[0]
    shape = tuple(a.sizes[0] for _, a in order)
    made: dict[int, Any] = {}
    for place, (number, a) in enumerate(order):
        made[number] = movement_ops.broadcast_to(
            movement_ops.reshape(a, tuple(s if i == place else 1 for i, s in enumerate(shape))), shape
        )
    return [made[i] for i in sorted(made)]


def sequence_mask(lengths: Any, maxlen: Any = None, dtype: Any = "bool", name: str | None = None) -> Any:
    """Whether the position is below each length: `[..., maxlen]`."""
    lengths = convert_to_tensor(lengths)
    if maxlen is None:
        if not hasattr(lengths, "host"):
            raise ValueError("sequence_mask: inside a traced function, give maxlen.")
        maxlen = int(lengths.host().max()) if lengths.host().size else 0
    positions = movement_ops.range_(as_size(maxlen, "sequence_mask"), 0, 1, lengths.dtype)
    return elementwise_ops.cast(apply("less", positions, movement_ops.expand_dims(lengths, -1)), dtype)


# -- of tensors --------------------------------------------------------------------------------------------------------


def cast(x: Any, dtype: Any, name: str | None = None) -> Any:
    """The values as another dtype: a float becomes an integer by dropping its fraction, a bool 0 or 1.

    >>> cast([1.8, 2.2], "int32").numpy().tolist()
    [1, 2]
    """
    return elementwise_ops.cast(convert_to_tensor(x), dtype)


def saturate_cast(value: Any, dtype: Any, name: str | None = None) -> Any:
    """As `cast`, but values outside the range of the dtype become its nearest bound."""
    x, kind = convert_to_tensor(value), as_dtype(dtype)
    low, high = kind.min, kind.max
    if x.dtype.is_integer or not kind.is_floating:
        low, high = max(low, x.dtype.min), min(high, x.dtype.max)
    return elementwise_ops.cast(apply("clip_by_value", x, low, high), kind)


def identity(input: Any, name: str | None = None) -> Any:
    """The same values."""
    return apply("identity", convert_to_tensor(input))


def identity_n(input: Sequence[Any], name: str | None = None) -> list[Any]:
    """The same values, of each tensor of a list."""
    return [identity(x) for x in input]


def stop_gradient(input: Any, name: str | None = None) -> Any:
    """The same values, through which no gradient flows."""
    return apply("stop_gradient", convert_to_tensor(input))


def shape(input: Any, out_type: Any = None, name: str | None = None) -> Any:
    """The sizes of a tensor as a vector, int32 by default.

    >>> shape([[1, 2, 3], [4, 5, 6]]).numpy().tolist()
    [2, 3]
    """
    x = convert_to_tensor(input)
    kind = "int32" if out_type is None else as_dtype(out_type).name
    if all(isinstance(d, int) for d in x.sizes):
        return constant(np.asarray(x.sizes, as_dtype(kind).numpy))
    return movement_ops.stack([movement_ops.dimension(d, kind) for d in x.sizes])


def shape_n(input: Sequence[Any], out_type: Any = "int32", name: str | None = None) -> list[Any]:
    """The shapes of several tensors."""
    return [shape(x, out_type) for x in input]


def size(input: Any, out_type: Any = None, name: str | None = None) -> Any:
    """The number of elements, int32 by default."""
    count = num_elements(convert_to_tensor(input).sizes)
    return movement_ops.dimension(count, "int32" if out_type is None else out_type)


def rank(input: Any, name: str | None = None) -> Any:
    """The number of axes."""
    return constant(len(convert_to_tensor(input).sizes))
