"""Parts of tensors: slice, strided slice, Python indexing, padding, split and unstack."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ..dtypes import ANY
from ..errors import InvalidArgumentError, UnimplementedError
from ..shapes import Dim, Shape, Size, larger, num_elements, smaller
from .common import as_index, check_dtypes, contiguous, linspace, normalise_axis
from .dispatch import Value, apply, convert
from .op import Case, Pattern, Spec, case
from .sizes import as_size

__all__ = ["getitem", "pad", "slice_", "split", "strided_slice", "unstack"]

INDEX_HELP = (
    "Only integers, slices (`:`), ellipsis (`...`), tf.newaxis (`None`) and scalar tf.int32/tf.int64 tensors are valid "
    "indices"
)


def slice_(x: Any, begin: Sequence[Size], size: Sequence[Size]) -> Any:
    """The block of `size` that starts at `begin`; a size of -1 reaches to the end."""
    begin = tuple(begin)
    if len(begin) != len(x.sizes) or len(size) != len(x.sizes):
        raise InvalidArgumentError(
            f"slice: begin {begin} and size {tuple(size)} must have one number for each axis of {tuple(x.sizes)}."
        )
    shape = tuple(d - b if isinstance(s, int) and s == -1 else s for b, s, d in zip(begin, size, x.sizes, strict=True))
    return x if shape == tuple(x.sizes) else apply("slice", x, begin=begin, size=shape)


def pad(x: Any, paddings: Sequence[Sequence[Size]], mode: str = "CONSTANT", constant_value: Any = 0) -> Any:
    """x with `paddings[i] = (before, after)` elements added along axis i: a constant, or a mirror at the edge."""
    pairs = tuple((before, after) for before, after in paddings)
    if len(pairs) != len(x.sizes):
        raise InvalidArgumentError(
            f"pad: paddings {pairs} must have one pair for each of the {len(x.sizes)} axes of {tuple(x.sizes)}."
        )
    if mode.upper() == "CONSTANT":
        if all(p == (0, 0) for p in pairs):
            return x
        return apply("pad", x, paddings=pairs, constant_value=constant_value)
    if mode.upper() not in ("REFLECT", "SYMMETRIC"):
        raise ValueError(
            f"Value of argument `mode` expected to be one of 'CONSTANT', 'REFLECT', or 'SYMMETRIC', received {mode!r}."
        )
    for axis, (before, after) in enumerate(pairs):
        x = _mirror(x, axis, before, after, 1 if mode.upper() == "REFLECT" else 0)
    return x


def _mirror(x: Any, axis: int, before: Size, after: Size, skip: int) -> Any:
    """Mirrors at both ends of one axis; `skip` leaves the edge itself out."""
    size = x.sizes[axis]
    for amount in (before, after):
        if isinstance(amount, int) and isinstance(size, int) and amount > size - skip:
            raise InvalidArgumentError(
                f"pad: paddings must be no greater than {size - skip} on axis {axis} of {tuple(x.sizes)}, "
                f"received {amount}."
            )
    parts = [x]
    if before != 0:
        parts.insert(0, apply("reverse", _part(x, axis, skip, before), axes=(axis,)))
    if after != 0:
        parts.append(apply("reverse", _part(x, axis, size - after - skip, after), axes=(axis,)))
    return x if len(parts) == 1 else apply("concat", *parts, axis=axis)


def _part(x: Any, axis: int, start: Size, size: Size) -> Any:
    rank = len(x.sizes)
    return apply(
        "slice",
        x,
        begin=tuple(start if i == axis else 0 for i in range(rank)),
        size=tuple(size if i == axis else d for i, d in enumerate(x.sizes)),
    )


def split(x: Any, sizes: int | Sequence[Size], axis: int = 0) -> list[Any]:
    """Cuts x along an axis: into that many equal parts, or into parts of these sizes (one may be -1)."""
    axis = normalise_axis(axis, len(x.sizes), "split")
    total = x.sizes[axis]
    if isinstance(sizes, int | np.integer):
        if sizes < 1 or (isinstance(total, int) and total % int(sizes)):
            raise InvalidArgumentError(
                f"Number of ways to split should evenly divide the split dimension, but got split_dim {axis} "
                f"(size = {total}) "
                f"and num_split {sizes}."
            )
        parts: list[Size] = [total // int(sizes)] * int(sizes)
    else:
        parts = list(sizes)
        known = sum((p for p in parts if p != -1), 0)
        parts = [total - known if isinstance(p, int) and p == -1 else p for p in parts]
        if isinstance(total, int) and sum(parts) != total:
            raise InvalidArgumentError(
                f"split: the sizes {parts} add up to {sum(parts)}, but axis {axis} of {tuple(x.sizes)} has {total}."
            )
    if len(parts) == 1:
        return [x]
    starts: list[Size] = [0]
    for p in parts[:-1]:
        starts.append(starts[-1] + p)
    return [_part(x, axis, start, p) for start, p in zip(starts, parts, strict=True)]


def unstack(x: Any, axis: int = 0) -> list[Any]:
    """The slices along an axis, without that axis."""
    axis = normalise_axis(axis, len(x.sizes), "unstack")
    count = x.sizes[axis]
    if isinstance(count, Dim):
        raise ValueError(
            f"Cannot infer argument `num` from shape {tuple(x.sizes)}: axis {axis} is known only when the program runs."
        )
    shape = tuple(d for i, d in enumerate(x.sizes) if i != axis)
    return [apply("reshape", _part(x, axis, i, 1), shape=shape) for i in range(count)]


# -- Python indexing ---------------------------------------------------------------------------------------------------


def mask_indices(x: Any, mask: Any, axis: int = 0) -> Any:
    """The elements (or slices) of x where a bool mask over the axes from `axis` on is true."""
    rank = len(mask.sizes)
    axis = normalise_axis(axis, len(x.sizes), "boolean_mask")
    if not mask.dtype.is_bool or not rank:
        raise ValueError(
            f"boolean_mask: the mask must be bool and not a scalar, received {mask.dtype.name}{list(mask.sizes)}."
        )
    if tuple(x.sizes[axis : axis + rank]) != tuple(mask.sizes):
        raise ValueError(
            f"boolean_mask: shapes {tuple(x.sizes)} and {tuple(mask.sizes)} are incompatible on axis {axis}."
        )
    if not hasattr(mask, "host"):
        raise UnimplementedError(
            "boolean_mask: the number of true elements is not known while a tf.function is traced. "
            "Use tf.where(mask, x, 0), or do it outside the function."
        )
    flat = x
    if rank > 1:
        flat = apply("reshape", x, shape=(*x.sizes[:axis], num_elements(mask.sizes), *x.sizes[axis + rank :]))
    return apply("gather", flat, np.flatnonzero(mask.host()).astype(np.int32), axis=axis, batch_dims=0)


def getitem(x: Any, key: Any) -> Any:
    """x[key] for integers, slices, `...`, None, scalar integer tensors; or a bool mask."""
    if isinstance(key, Value | np.ndarray) and len(key.shape) and (key.dtype == "bool"):
        return mask_indices(x, convert(key))
    keys = _full_key(x, key if isinstance(key, tuple) else (key,))
    begin: list[Size] = []
    strides: list[int] = []
    sizes: list[Size] = []
    shape: list[Size] = []
    lookups: list[tuple[int, Any]] = []
    axis = 0
    for k in keys:
        if k is None:
            shape.append(1)
            continue
        size = x.sizes[axis]
        if isinstance(k, slice):
            start, stride, count = slice_bounds(k, size)
            shape.append(count)
        elif isinstance(k, Value):
            start, stride, count = 0, 1, size
            lookups.append((len(shape), k))
            shape.append(size)
        else:
            start, stride, count = _index_bounds(k, axis, size), 1, 1
        begin.append(start)
        strides.append(stride)
        sizes.append(count)
        axis += 1
    cut = strided_slice(x, tuple(begin), tuple(strides), tuple(sizes))
    result = cut if tuple(shape) == tuple(cut.sizes) else apply("reshape", cut, shape=tuple(shape))
    for position, index in reversed(lookups):
        size = result.sizes[position]
        wrapped = apply("select", index < 0, index + apply("dimension", size=size, dtype=index.dtype.name), index)
        result = apply("gather", result, wrapped, axis=position, batch_dims=0)
    return result


def strided_slice(x: Any, begin: Shape, strides: tuple[int, ...], sizes: Shape) -> Any:
    """The elements begin + i * stride for i below the sizes, along each axis."""
    if all(s == 1 for s in strides):
        return x if sizes == tuple(x.sizes) else apply("slice", x, begin=begin, size=sizes)
    return apply("strided_slice", x, begin=begin, strides=strides, shape=sizes)


def _full_key(x: Any, keys: tuple[Any, ...]) -> list[Any]:
    """The key with `...` and missing axes written out."""
    for k in keys:
        integer = isinstance(k, int | np.integer | Dim) and not isinstance(k, bool | np.bool_)
        scalar = (isinstance(k, Value) and k.dtype.is_integer and not k.sizes) or (
            isinstance(k, np.ndarray) and k.ndim == 0 and k.dtype.kind in "iu"
        )
        if not (integer or scalar or k is None or k is Ellipsis or isinstance(k, slice)):
            raise TypeError(
                f"{INDEX_HELP}, got {k!r}. For a mask use tf.boolean_mask(x, mask), for a list of indices "
                "tf.gather(x, indices)."
            )
    if sum(k is Ellipsis for k in keys) > 1:
        raise ValueError("Multiple ellipses are not allowed: an index may contain one `...`.")
    used = sum(k is not None and k is not Ellipsis for k in keys)
    rank = len(x.sizes)
    if used > rank:
        raise InvalidArgumentError(
            f"Index out of range using input dim {rank}; input has only {rank} dims: shape {tuple(x.sizes)}."
        )
    where = next((i for i, k in enumerate(keys) if k is Ellipsis), len(keys))
    return [*keys[:where], *[slice(None)] * (rank - used), *keys[where + 1 :]]


def slice_bounds(key: slice, size: Size) -> tuple[Size, int, Size]:
    """Start, stride and number of elements of a Python slice along an axis of some size."""
    stride = 1 if key.step is None else as_index(key.step, "slice")
    if stride == 0:
        raise InvalidArgumentError("slice: strides[0] must be non-zero: a step of 0 never ends.")
    start, stop = (None if v is None else as_size(v, "slice") for v in (key.start, key.stop))
    if stride > 0:
        first, last = _bound(start, size, 0, 0, None), _bound(stop, size, size, 0, size)
        length = last - first
    else:
        first, last = _bound(start, size, size - 1, -1, size - 1), _bound(stop, size, -1, -1, size - 1)
        length = first - last
    length = _at_least(length, 0)
    step = abs(stride)
    count = length if step == 1 else (length + (step - 1)) // step
    return (first if count != 0 else 0), stride, count


def _bound(value: Size | None, size: Size, default: Size, low: int, high: Size | None) -> Size:
    """One end of a slice: counted from the end if negative, then between `low` and `high`."""
    if value is None:
        return default
    if isinstance(value, int) and value < 0:
        return _at_least(size + value, low)
    if high is None or value == 0 or (isinstance(value, int) and least(high) >= value):
        return value
    return smaller(value, high)


def _at_least(size: Size, low: int) -> Size:
    return size if least(size) >= low else larger(size, low)


def least(size: Size) -> int:
    """A number that a size is never below, whatever its symbols are (not always the largest such number)."""
    if isinstance(size, int):
        return size
    if size.kind == "symbol":
        return int(size.args[1])
    if size.kind == "sum":
        *terms, constant = size.args
        unknown = any(f < 0 for _, f in terms)
        return -(2**62) if unknown else int(constant + sum(f * least(t) for t, f in terms))
    if size.kind in ("min", "max"):
        return (min if size.kind == "min" else max)(*(least(a) for a in size.args))
    return 0


def _index_bounds(k: Any, axis: int, size: Size) -> Size:
    index = k if isinstance(k, Dim) else as_index(k, "index")
    if isinstance(index, int) and isinstance(size, int) and not -size <= index < size:
        raise InvalidArgumentError(f"slice index {index} of dimension {axis} out of bounds: the size is {size}.")
    return size + index if isinstance(index, int) and index < 0 else index


# -- ops ---------------------------------------------------------------------------------------------------------------


class Slice(Pattern):
    """The block of `size` that starts at `begin`."""

    name, version, dtypes, cheap = "slice", 1, ANY, True

    def infer(self, x: Spec, *, begin: Shape, size: Shape) -> Spec:
        check_dtypes(self, x)
        for axis, (b, s, d) in enumerate(zip(begin, size, x.shape, strict=True)):
            if all(isinstance(v, int) for v in (b, s, d)) and not (b >= 0 and s >= 0 and b + s <= d):  # type: ignore[operator]
                raise InvalidArgumentError(
                    f"slice: expected size[{axis}] in [0, {d - b}], but got {s}, beginning at {b} of axis {axis} "
                    f"of shape {tuple(x.shape)}."
                )
        return Spec(size, x.dtype)

    def numpy(self, x: Any, *, begin: Any, size: Any) -> Any:
        return np.asarray(x[tuple(slice(b, b + s) for b, s in zip(begin, size, strict=True))])

    def grad(self, dy: Any, x: Any, *, out: Any, begin: Shape, size: Shape) -> Any:
        return (pad(dy, [(b, d - b - s) for b, s, d in zip(begin, size, x.sizes, strict=True)]),)

    def lower(self, ir: Any, at: Sequence[Any], x: Any, *, begin: Shape, size: Shape) -> Any:
        return x.at(*(i + ir.size(b) for i, b in zip(at, begin, strict=True)))

    def cases(self) -> Iterator[Case]:
        yield case(linspace(-1, 1, 60, (3, 4, 5)), begin=(1, 0, 2), size=(2, 4, 1))
        yield case(linspace(-1, 1, 5), begin=(2,), size=(0,))
        yield case(np.arange(6, dtype=np.int32), begin=(1,), size=(3,), gradient=False)


class StridedSlice(Pattern):
    """The elements begin + i * stride, i below `shape`, along each axis. Strides may be negative."""

    name, version, dtypes, cheap = "strided_slice", 1, ANY, True

    def infer(self, x: Spec, *, begin: Shape, strides: tuple[int, ...], shape: Shape) -> Spec:
        check_dtypes(self, x)
        if not len(begin) == len(strides) == len(shape) == len(x.shape):
            raise InvalidArgumentError(
                f"strided_slice: begin {begin}, strides {strides} and shape {shape} need one number for each axis of "
                f"{tuple(x.shape)}."
            )
        return Spec(shape, x.dtype)

    def numpy(self, x: Any, *, begin: Any, strides: Any, shape: Any) -> Any:
        return contiguous(x[_slices(begin, strides, shape)])

    def grad(self, dy: Any, x: Any, *, out: Any, begin: Shape, strides: tuple[int, ...], shape: Shape) -> Any:
        return (apply("strided_slice_grad", dy, begin=begin, strides=strides, shape=tuple(x.sizes)),)

    def lower(self, ir: Any, at: Sequence[Any], x: Any, *, begin: Shape, strides: tuple[int, ...], shape: Shape) -> Any:
        return x.at(*(i * s + ir.size(b) for i, b, s in zip(at, begin, strides, strict=True)))

    def cases(self) -> Iterator[Case]:
        yield case(linspace(-1, 1, 60, (3, 4, 5)), begin=(0, 3, 1), strides=(2, -1, 3), shape=(2, 4, 2))
        yield case(np.arange(6, dtype=np.int32), begin=(5,), strides=(-2,), shape=(3,), gradient=False)
        yield case(linspace(-1, 1, 6), begin=(0,), strides=(2,), shape=(0,))


class StridedSliceGrad(Pattern):
    """Zeros of `shape` with x at the elements that strided_slice reads."""

    name, version, dtypes, cheap = "strided_slice_grad", 1, ANY, True

    def infer(self, x: Spec, *, begin: Shape, strides: tuple[int, ...], shape: Shape) -> Spec:
        return Spec(shape, x.dtype)

    def numpy(self, x: Any, *, begin: Any, strides: Any, shape: Any) -> Any:
        made = np.zeros(shape, x.dtype)
        made[_slices(begin, strides, x.shape)] = x
        return made

    def grad(self, dy: Any, x: Any, *, out: Any, begin: Shape, strides: tuple[int, ...], shape: Shape) -> Any:
        return (apply("strided_slice", dy, begin=begin, strides=strides, shape=tuple(x.sizes)),)

    def lower(self, ir: Any, at: Sequence[Any], x: Any, *, begin: Shape, strides: tuple[int, ...], shape: Shape) -> Any:
        indices, valid = [], ir.const(True)
        for i, b, s, size in zip(at, begin, strides, x.shape, strict=True):
            distance = i - ir.size(b) if s > 0 else ir.size(b) - i
            inside = ir.call("and", ir.call("le", 0, distance), ir.call("lt", distance, ir.size(size) * abs(s)))
            reached = ir.select(inside, distance, 0)  # division needs operands that are not negative
            valid = ir.call("and", valid, ir.call("and", inside, ir.call("eq", reached % abs(s), 0)))
            indices.append(reached // abs(s))
        with ir.guard(valid):
            return x.at(*indices)

    def cases(self) -> Iterator[Case]:
        yield case(linspace(-1, 1, 16, (2, 4, 2)), begin=(0, 3, 1), strides=(2, -1, 3), shape=(3, 4, 5))
        yield case(linspace(-1, 1, 2), begin=(4,), strides=(-3,), shape=(7,))
        yield case(np.zeros(0, np.float32), begin=(0,), strides=(2,), shape=(4,))


def _slices(begin: Any, strides: Any, shape: Any) -> tuple[slice, ...]:
    made = []
    for b, s, n in zip(begin, strides, shape, strict=True):
        stop = b + s * n
        made.append(slice(0, 0) if n == 0 else slice(b, None if stop < 0 else stop, s))
    return tuple(made)


class Pad(Pattern):
    """x with `paddings[i] = (before, after)` elements of a constant added along axis i."""

    name, version, dtypes, cheap = "pad", 1, ANY, True

    def infer(self, x: Spec, *, paddings: tuple[tuple[Size, Size], ...], constant_value: Any) -> Spec:
        check_dtypes(self, x)
        if any(isinstance(p, int) and p < 0 for pair in paddings for p in pair):
            raise InvalidArgumentError(f"pad: Paddings must be non-negative, received {paddings}.")
        return Spec(tuple(b + d + a for (b, a), d in zip(paddings, x.shape, strict=True)), x.dtype)

    def numpy(self, x: Any, *, paddings: Any, constant_value: Any) -> Any:
        made = np.full([b + d + a for (b, a), d in zip(paddings, x.shape, strict=True)], constant_value, x.dtype)
        made[tuple(slice(b, b + d) for (b, _), d in zip(paddings, x.shape, strict=True))] = x
        return made

    def grad(self, dy: Any, x: Any, *, out: Any, paddings: tuple[tuple[Size, Size], ...], constant_value: Any) -> Any:
        return (slice_(dy, [b for b, _ in paddings], list(x.sizes)),)

    def lower(
        self, ir: Any, at: Sequence[Any], x: Any, *, paddings: tuple[tuple[Size, Size], ...], constant_value: Any
    ) -> Any:
        indices, valid = [], ir.const(True)
        for i, (before, after), size in zip(at, paddings, x.shape, strict=True):
            here = i - ir.size(before)
            if before != 0:
                valid = ir.call("and", valid, ir.call("le", 0, here))
            if after != 0:
                valid = ir.call("and", valid, ir.call("lt", here, ir.size(size)))
            indices.append(here)
        with ir.guard(valid):
            value = x.at(*indices)
        return ir.select(valid, value, ir.const(constant_value, value.dtype))

    def cases(self) -> Iterator[Case]:
        yield case(linspace(-1, 1, 6, (2, 3)), paddings=((1, 0), (2, 3)), constant_value=0)
        yield case(linspace(-1, 1, 6, (2, 3)), paddings=((0, 0), (1, 1)), constant_value=-1.5)
        yield case(np.arange(3, dtype=np.int32), paddings=((1, 2),), constant_value=7, gradient=False)
        yield case(np.zeros((0, 2), np.float32), paddings=((1, 1), (0, 0)), constant_value=0)
