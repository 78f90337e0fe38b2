"""Ops that only move elements: reshape, transpose, broadcast, concat, reverse; and values made from sizes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ..dtypes import ANY, as_dtype
from ..errors import InvalidArgumentError
from ..shapes import Shape, Size, num_elements, unbroadcast_axes
from .common import check_dtypes, contiguous, linspace, normalise_axis, ravel, unravel
from .dispatch import apply
from .op import Case, Pattern, Spec, case, no_gradient
from .sizes import as_sizes
from .slicing import getitem, pad, slice_, split, unstack

__all__ = [
    "broadcast_to",
    "concat",
    "dimension",
    "expand_dims",
    "full",
    "getitem",
    "pad",
    "range_",
    "reshape",
    "reverse",
    "shape_tuple",
    "slice_",
    "split",
    "squeeze",
    "stack",
    "tile",
    "transpose",
    "unstack",
]


CONCAT_INPUTS = 6


def shape_tuple(shape: Any, op: str) -> tuple[Any, ...]:
    """A shape argument (ints, Dims, a TensorShape, an array, tensors that hold sizes) as a tuple."""
    return as_sizes(shape, op)


def reshape(x: Any, shape: Any) -> Any:
    """The same elements in another shape; one size may be -1."""
    wanted = shape_tuple(shape, "reshape")
    if any(isinstance(d, int) and d < -1 for d in wanted) or sum(isinstance(d, int) and d == -1 for d in wanted) > 1:
        raise InvalidArgumentError(f"reshape: only one size may be -1 and none less, received {wanted}.")
    if any(isinstance(d, int) and d == -1 for d in wanted):
        known, total = num_elements(d for d in wanted if not (isinstance(d, int) and d == -1)), num_elements(x.sizes)
        if known == 0 or (isinstance(known, int) and isinstance(total, int) and total % known):
            raise InvalidArgumentError(
                f"Input to reshape is a tensor with {total} values, but the requested shape requires a multiple "
                f"of {known}: "
                f"received shape {tuple(x.sizes)} and the target {wanted}."
            )
        wanted = tuple(total // known if isinstance(d, int) and d == -1 else d for d in wanted)
    return x if wanted == tuple(x.sizes) else apply("reshape", x, shape=wanted)


def transpose(x: Any, perm: Sequence[int] | None = None) -> Any:
    """The axes in another order; reversed if `perm` is None."""
    rank = len(x.sizes)
    order = tuple(range(rank))[::-1] if perm is None else tuple(normalise_axis(p, rank, "transpose") for p in perm)
    return x if order == tuple(range(rank)) else apply("transpose", x, perm=order)


def broadcast_to(x: Any, shape: Any) -> Any:
    """x repeated along its axes of size 1 and along new axes in front."""
    wanted = shape_tuple(shape, "broadcast_to")
    offset = len(wanted) - len(x.sizes)
    wanted = tuple(
        x.sizes[i - offset] if isinstance(d, int) and d == -1 and i >= offset else d for i, d in enumerate(wanted)
    )
    return x if wanted == tuple(x.sizes) else apply("broadcast_to", x, shape=wanted)


def expand_dims(x: Any, axis: int) -> Any:
    """A new axis of size 1."""
    axis = normalise_axis(axis, len(x.sizes) + 1, "expand_dims")
    return apply("reshape", x, shape=(*x.sizes[:axis], 1, *x.sizes[axis:]))


def squeeze(x: Any, axis: Any = None) -> Any:
    """Without the given axes, which must have size 1; without all such axes if None."""
    rank = len(x.sizes)
    if axis is None or (isinstance(axis, list | tuple) and not axis):
        axes = [i for i, d in enumerate(x.sizes) if d == 1]
    else:
        axes = [normalise_axis(a, rank, "squeeze") for a in (axis if isinstance(axis, list | tuple) else [axis])]
    for a in axes:
        if isinstance(x.sizes[a], int) and x.sizes[a] != 1:
            raise InvalidArgumentError(
                f"Can not squeeze dim[{a}], expected a dimension of 1, got {x.sizes[a]} in shape {tuple(x.sizes)}."
            )
    return apply("reshape", x, shape=tuple(d for i, d in enumerate(x.sizes) if i not in axes))


def concat(values: Sequence[Any], axis: int) -> Any:
    """Joins values along an axis."""
    axis = normalise_axis(axis, len(values[0].sizes), "concat")
    values = list(values)
    while len(values) > CONCAT_INPUTS:  # in groups: a kernel on a device binds 8 buffers
        groups = [values[i : i + CONCAT_INPUTS] for i in range(0, len(values), CONCAT_INPUTS)]
        values = [concat(group, axis) for group in groups]
    return values[0] if len(values) == 1 else apply("concat", *values, axis=axis)


def stack(values: Sequence[Any], axis: int = 0) -> Any:
    """Joins values along a new axis."""
    axis = normalise_axis(axis, len(values[0].sizes) + 1, "stack")
    return concat([expand_dims(v, axis) for v in values], axis)


def reverse(x: Any, axis: Any) -> Any:
    """The elements in the opposite order along some axes."""
    axes = tuple(
        sorted(normalise_axis(a, len(x.sizes), "reverse") for a in (axis if isinstance(axis, list | tuple) else [axis]))
    )
    return apply("reverse", x, axes=axes) if axes else x


def tile(x: Any, multiples: Any) -> Any:
    """x repeated `multiples[i]` times along axis i."""
    times = shape_tuple(multiples, "tile")
    if len(times) != len(x.sizes):
        raise InvalidArgumentError(
            f"tile: multiples {times} must have one number for each of the {len(x.sizes)} axes of {tuple(x.sizes)}."
        )
    apart = apply("reshape", x, shape=tuple(s for d in x.sizes for s in (1, d)))
    repeated = apply("broadcast_to", apart, shape=tuple(s for m, d in zip(times, x.sizes, strict=True) for s in (m, d)))
    return apply("reshape", repeated, shape=tuple(m * d for m, d in zip(times, x.sizes, strict=True)))


def full(shape: Any, value: Any, dtype: Any) -> Any:
    """One value everywhere."""
    return apply("full", shape=shape_tuple(shape, "full"), value=value, dtype=as_dtype(dtype).name)


def dimension(size: Size, dtype: Any = "int32") -> Any:
    """A size as a tensor of rank 0."""
    return apply("dimension", size=size, dtype=as_dtype(dtype).name)


def range_(size: Size, start: Any = 0, delta: Any = 1, dtype: Any = "int32") -> Any:
    """start, start + delta, ...: `size` numbers."""
    return apply("range", size=size, start=start, delta=delta, dtype=as_dtype(dtype).name)


# -- ops ---------------------------------------------------------------------------------------------------------------


class Moving(Pattern, abstract=True):
    """Any dtype; recomputing it costs no more than a load."""

    cheap = True


class Reshape(Moving):
    """The same elements, row-major, in another shape."""

    name, version, dtypes = "reshape", 1, ANY

    def infer(self, x: Spec, *, shape: Shape) -> Spec:
        have, want = num_elements(x.shape), num_elements(shape)
        if have != want and isinstance(have, int) and isinstance(want, int):
            raise InvalidArgumentError(
                f"Input to reshape is a tensor with {have} values, but the requested shape has {want}: "
                f"received shape {tuple(x.shape)} and the target {tuple(shape)}."
            )
        return Spec(shape, x.dtype)

    def numpy(self, x: Any, *, shape: Any) -> Any:
        return x.reshape(shape)

    def grad(self, dy: Any, x: Any, *, out: Any, shape: Shape) -> Any:
        return (apply("reshape", dy, shape=tuple(x.sizes)),)

    def lower(self, ir: Any, at: Sequence[Any], x: Any, *, shape: Shape) -> Any:
        indices: list[Any] = []
        for source, target in _matched(x.shape, shape):  # sizes that stay as they are need no arithmetic
            position = ravel(ir, [at[i] for i in target], tuple(shape[i] for i in target))
            indices += unravel(ir, position, tuple(x.shape[i] for i in source))
        return x.at(*indices)

    def cases(self) -> Iterator[Case]:
        yield case(linspace(-1, 1, 24, (2, 3, 4)), shape=(6, 4))
        yield case(linspace(-1, 1, 24, (2, 3, 4)), shape=(4, 1, 6))
        yield case(linspace(-1, 1, 24, (4, 6)), shape=(2, 2, 3, 2))
        yield case(np.float32(3.0), shape=(1, 1))
        yield case(linspace(1, 1, 1), shape=())
        yield case(np.zeros((0, 3), np.float32), shape=(3, 0, 2))
        yield case(np.arange(6, dtype=np.int32), shape=(2, 3), gradient=False)


def _matched(a: Shape, b: Shape) -> Iterator[tuple[range, range]]:
    """Splits two shapes with equally many elements into the smallest runs of axes that hold equally many."""
    if any(d == 0 for d in (*a, *b)):
        yield range(len(a)), range(len(b))
        return
    i = j = 0
    while i < len(a) or j < len(b):
        lengths = [(m, n) for m in range(len(a) - i + 1) for n in range(len(b) - j + 1) if m + n]
        m, n = next(
            (m, n)
            for m, n in sorted(lengths, key=sum)
            if num_elements(a[i : i + m]) == num_elements(b[j : j + n]) or (i + m, j + n) == (len(a), len(b))
        )
        yield range(i, i + m), range(j, j + n)
        i, j = i + m, j + n


class Transpose(Moving):
    """The axes in another order."""

    name, version, dtypes = "transpose", 1, ANY

    def infer(self, x: Spec, *, perm: tuple[int, ...]) -> Spec:
        if sorted(perm) != list(range(len(x.shape))):
            raise InvalidArgumentError(
                f"transpose: perm {perm} must name each of the {len(x.shape)} axes of shape {tuple(x.shape)} once."
            )
        return Spec(tuple(x.shape[p] for p in perm), x.dtype)

    def numpy(self, x: Any, *, perm: Any) -> Any:
        return contiguous(x.transpose(perm))

    def grad(self, dy: Any, x: Any, *, out: Any, perm: tuple[int, ...]) -> Any:
        return (apply("transpose", dy, perm=tuple(perm.index(i) for i in range(len(perm)))),)

    def lower(self, ir: Any, at: Sequence[Any], x: Any, *, perm: tuple[int, ...]) -> Any:
        return x.at(*(at[perm.index(i)] for i in range(len(perm))))

    def cases(self) -> Iterator[Case]:
        yield case(linspace(-1, 1, 24, (2, 3, 4)), perm=(2, 0, 1))
        yield case(linspace(-1, 1, 6, (2, 3)), perm=(1, 0))
        yield case(np.float32(3.0), perm=())
        yield case(np.zeros((0, 3), np.float32), perm=(1, 0))
        yield case(np.arange(6, dtype=np.int32).reshape(2, 3), perm=(1, 0), gradient=False)


class BroadcastTo(Moving):
    """x repeated along its axes of size 1 and along new axes in front."""

    name, version, dtypes = "broadcast_to", 1, ANY

    def infer(self, x: Spec, *, shape: Shape) -> Spec:
        offset = len(shape) - len(x.shape)
        if offset < 0 or any(d != 1 and d != s for d, s in zip(x.shape, shape[max(offset, 0) :], strict=False)):
            raise InvalidArgumentError(
                f"Incompatible shapes: {tuple(x.shape)} cannot be broadcast to {tuple(shape)}: sizes must be "
                "equal or 1, "
                f"aligned at the last axis."
            )
        return Spec(shape, x.dtype)

    def numpy(self, x: Any, *, shape: Any) -> Any:
        return contiguous(np.broadcast_to(x, shape))

    def grad(self, dy: Any, x: Any, *, out: Any, shape: Shape) -> Any:
        axes = unbroadcast_axes(shape, x.sizes)
        summed = apply("reduce_sum", dy, axis=axes, keepdims=False) if axes else dy
        return (apply("reshape", summed, shape=tuple(x.sizes)),)

    def lower(self, ir: Any, at: Sequence[Any], x: Any, *, shape: Shape) -> Any:
        offset = len(shape) - len(x.shape)
        return x.at(*(ir.const(0) if d == 1 else at[i + offset] for i, d in enumerate(x.shape)))

    def cases(self) -> Iterator[Case]:
        yield case(linspace(-1, 1, 3, (3, 1)), shape=(2, 3, 4))
        yield case(np.float32(3.0), shape=(2, 3))
        yield case(linspace(-1, 1, 3), shape=(3,))
        yield case(linspace(-1, 1, 1, (1,)), shape=(0,))
        yield case(np.array([True, False]), shape=(2, 2), gradient=False)


class Concat(Moving):
    """Joins its inputs along an axis."""

    name, version, dtypes = "concat", 1, ANY

    def infer(self, *inputs: Spec, axis: int) -> Spec:
        check_dtypes(self, *inputs)
        first = inputs[0].shape
        for i, x in enumerate(inputs):
            if len(x.shape) != len(first) or any(
                a != b for k, (a, b) in enumerate(zip(first, x.shape, strict=True)) if k != axis
            ):
                raise InvalidArgumentError(
                    f"ConcatOp : Dimension of inputs should match: input 0 has shape {tuple(first)}, input {i} "
                    f"has {tuple(x.shape)}; "
                    f"they may differ on axis {axis} only."
                )
        return Spec((*first[:axis], sum((x.shape[axis] for x in inputs), 0), *first[axis + 1 :]), inputs[0].dtype)

    def numpy(self, *inputs: Any, axis: int) -> Any:
        return np.concatenate(inputs, axis)

    def grad(self, dy: Any, *inputs: Any, out: Any, axis: int) -> Any:
        return tuple(split(dy, [x.sizes[axis] for x in inputs], axis))

    def lower(self, ir: Any, at: Sequence[Any], *views: Any, axis: int) -> Any:
        start: Size = 0
        result = None
        for view in views:
            here = at[axis] - ir.size(start)
            stop = start + view.shape[axis]
            inside = ir.call("and", ir.call("le", ir.size(start), at[axis]), ir.call("lt", at[axis], ir.size(stop)))
            with ir.guard(inside):
                value = view.at(*at[:axis], here, *at[axis + 1 :])
            result = value if result is None else ir.select(inside, value, result)
            start = stop
        return result

    def cases(self) -> Iterator[Case]:
        yield case(linspace(-1, 1, 6, (2, 3)), linspace(2, 3, 4, (2, 2)), linspace(4, 5, 2, (2, 1)), axis=1)
        yield case(linspace(-1, 1, 6, (2, 3)), linspace(2, 3, 9, (3, 3)), axis=0)
        yield case(np.zeros((2, 0), np.float32), linspace(2, 3, 4, (2, 2)), axis=1)
        yield case(np.arange(3, dtype=np.int32), np.arange(2, dtype=np.int32), axis=0, gradient=False)
        yield case(np.array([True]), np.array([False]), axis=0, gradient=False)


class Reverse(Moving):
    """The elements in the opposite order along some axes."""

    name, version, dtypes = "reverse", 1, ANY

    def infer(self, x: Spec, *, axes: tuple[int, ...]) -> Spec:
        if any(not 0 <= a < len(x.shape) for a in axes):
            raise InvalidArgumentError(f"reverse: axes {axes} are out of range for a tensor of rank {len(x.shape)}.")
        return x

    def numpy(self, x: Any, *, axes: Any) -> Any:
        return contiguous(np.flip(x, axes))

    def grad(self, dy: Any, x: Any, *, out: Any, axes: tuple[int, ...]) -> Any:
        return (apply("reverse", dy, axes=axes),)

    def lower(self, ir: Any, at: Sequence[Any], x: Any, *, axes: tuple[int, ...]) -> Any:
        return x.at(*(ir.size(x.shape[i] - 1) - k if i in axes else k for i, k in enumerate(at)))

    def cases(self) -> Iterator[Case]:
        yield case(linspace(-1, 1, 24, (2, 3, 4)), axes=(0, 2))
        yield case(np.arange(5, dtype=np.int32), axes=(0,), gradient=False)
        yield case(np.zeros((0, 2), np.float32), axes=(0,))


class Full(Moving):
    """One value everywhere. No inputs."""

    name, version, dtypes = "full", 1, ANY
    grad = no_gradient("no inputs")

    def infer(self, *, shape: Shape, value: Any, dtype: str) -> Spec:
        if any(isinstance(d, int) and d < 0 for d in shape):
            raise InvalidArgumentError(f"full: the sizes of shape {tuple(shape)} must not be negative.")
        return Spec(shape, as_dtype(dtype))

    def numpy(self, *, shape: Any, value: Any, dtype: str) -> Any:
        return np.full(shape, value, as_dtype(dtype).numpy)

    def lower(self, ir: Any, at: Sequence[Any], *, shape: Shape, value: Any, dtype: str) -> Any:
        return ir.const(value, as_dtype(dtype).device or "i32")

    def cases(self) -> Iterator[Case]:
        yield case(shape=(2, 3), value=1.5, dtype="float32", gradient=False)
        yield case(shape=(), value=-2, dtype="int32", gradient=False)
        yield case(shape=(0, 2), value=True, dtype="bool", gradient=False)


class Dimension(Moving):
    """A size as a tensor of rank 0. No inputs."""

    name, version, dtypes = "dimension", 1, ANY
    grad = no_gradient("no inputs")

    def infer(self, *, size: Size, dtype: str) -> Spec:
        return Spec((), as_dtype(dtype))

    def numpy(self, *, size: Any, dtype: str) -> Any:
        return np.asarray(size, as_dtype(dtype).numpy)

    def lower(self, ir: Any, at: Sequence[Any], *, size: Size, dtype: str) -> Any:
        return ir.cast(ir.size(size), as_dtype(dtype).device or "i32")

    def cases(self) -> Iterator[Case]:
        yield case(size=7, dtype="float32", gradient=False)
        yield case(size=7, dtype="int32", gradient=False)


class Range(Moving):
    """start + i * delta for i in 0 .. size-1. No inputs."""

    name, version, dtypes = "range", 1, ANY
    grad = no_gradient("no inputs")

    def infer(self, *, size: Size, start: Any, delta: Any, dtype: str) -> Spec:
        return Spec((size,), as_dtype(dtype))

    def numpy(self, *, size: Any, start: Any, delta: Any, dtype: str) -> Any:
        kind = as_dtype(dtype).numpy
        if kind.kind == "f":
            return (np.asarray(start, kind) + np.arange(size, dtype=kind) * np.asarray(delta, kind)).astype(
                kind, copy=False
            )
        return (start + np.arange(size, dtype=np.int64) * delta).astype(kind)

    def lower(self, ir: Any, at: Sequence[Any], *, size: Size, start: Any, delta: Any, dtype: str) -> Any:
        device = as_dtype(dtype).device or "i32"
        return ir.const(start, device) + ir.cast(at[0], device) * ir.const(delta, device)

    def cases(self) -> Iterator[Case]:
        yield case(size=7, start=0, delta=1, dtype="int32", gradient=False)
        yield case(size=5, start=1.0, delta=-0.25, dtype="float32", gradient=False)
        yield case(size=0, start=0, delta=1, dtype="int32", gradient=False)
