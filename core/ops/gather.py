"""Lookup by index, and its reverse: sums into segments; one-hot vectors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ..dtypes import ANY, INTEGER, NUMERIC, as_dtype
from ..errors import InvalidArgumentError
from ..shapes import Shape, Size, num_elements
from .common import check_dtypes, contiguous, linspace, normalise_axis
from .dispatch import apply
from .op import Case, Pattern, Spec, case, no_gradient

__all__ = ["gather", "one_hot", "unsorted_segment_sum"]


def gather(x: Any, indices: Any, axis: int = 0, batch_dims: int = 0) -> Any:
    """The slices of x along `axis` at the indices; the first `batch_dims` axes of both run together."""
    axis = normalise_axis(axis, len(x.sizes), "gather")
    if batch_dims < 0:
        batch_dims += len(indices.sizes)
    return apply("gather", x, indices, axis=max(axis, batch_dims), batch_dims=int(batch_dims))


def unsorted_segment_sum(x: Any, segment_ids: Any, num_segments: Size) -> Any:
    """Sums the slices of x that have the same segment id; a negative id drops its slice."""
    return apply("unsorted_segment_sum", x, segment_ids, num_segments=num_segments)


def one_hot(
    indices: Any, depth: Size, on_value: Any = 1, off_value: Any = 0, axis: int = -1, dtype: Any = "float32"
) -> Any:
    """`on_value` where the index equals the position along a new axis of size `depth`, elsewhere `off_value`."""
    axis = normalise_axis(axis, len(indices.sizes) + 1, "one_hot")
    return apply(
        "one_hot", indices, depth=depth, on_value=on_value, off_value=off_value, axis=axis, dtype=as_dtype(dtype).name
    )


class Gather(Pattern):
    """The slices of x along `axis` at the indices. Out of range: an error on the host, 0 on a device."""

    name, version, dtypes, cheap = "gather", 1, ANY, True
    same = (0,)

    def infer(self, x: Spec, indices: Spec, *, axis: int, batch_dims: int) -> Spec:
        check_dtypes(self, x)
        if not indices.dtype.is_integer:
            raise InvalidArgumentError(
                f"gather: the indices must be integers, received {indices.dtype.name}. Cast them to int32."
            )
        if not batch_dims <= axis < len(x.shape) or batch_dims > len(indices.shape):
            raise InvalidArgumentError(
                f"gather: axis {axis} and batch_dims {batch_dims} do not fit shapes {tuple(x.shape)} and "
                f"{tuple(indices.shape)}: expected batch_dims <= axis < {len(x.shape)}."
            )
        if x.shape[:batch_dims] != indices.shape[:batch_dims]:
            raise InvalidArgumentError(
                f"gather: the first {batch_dims} sizes must be equal, received shapes {tuple(x.shape)} and "
                f"{tuple(indices.shape)}."
            )
        return Spec(x.shape[:axis] + indices.shape[batch_dims:] + x.shape[axis + 1 :], x.dtype)

    def numpy(self, x: Any, indices: Any, *, axis: int, batch_dims: int) -> Any:
        size = x.shape[axis]
        wrong = indices.view(f"u{indices.itemsize}") >= size            # a negative one is huge
        if wrong.any():
            place = [int(i) for i in np.argwhere(wrong)[0]]
            raise InvalidArgumentError(f"indices{place} = {indices[tuple(place)]} is not in [0, {size})")
        if batch_dims == 0:
            return np.asarray(x.take(indices, axis))
        batch = np.ix_(*(np.arange(d) for d in x.shape[:batch_dims]))
        inner = indices.ndim - batch_dims
        batch = tuple(b.reshape(b.shape + (1,) * inner) for b in batch)
        between = axis - batch_dims
        moved = np.moveaxis(x, axis, batch_dims)  # [batch, axis, between, after]
        found = moved[(*batch, indices)]  # [batch, inner, between, after]
        order = [
            *range(batch_dims),
            *range(batch_dims + inner, batch_dims + inner + between),
            *range(batch_dims, batch_dims + inner),
        ]
        return contiguous(found.transpose(order + list(range(len(order), found.ndim))))

    def grad(self, dy: Any, x: Any, indices: Any, *, out: Any, axis: int, batch_dims: int) -> Any:
        return scatter(dy, indices, tuple(x.sizes), axis, batch_dims), None

    def lower(self, ir: Any, at: Sequence[Any], x: Any, indices: Any, *, axis: int, batch_dims: int) -> Any:
        inner = len(indices.shape) - batch_dims
        index = indices.at(*at[:batch_dims], *at[axis : axis + inner])
        if index.dtype == "u32":
            index = ir.cast(index, "i32")
        valid = ir.call("and", ir.call("le", 0, index), ir.call("lt", index, ir.size(x.shape[axis])))
        with ir.guard(valid):
            return x.at(*at[:axis], ir.select(valid, index, 0), *at[axis + inner :])

    def cases(self) -> Iterator[Case]:
        x = linspace(-1, 1, 60, (3, 4, 5))
        yield case(x, np.array([2, 0, 2], np.int32), axis=0, batch_dims=0)
        yield case(x, np.array([[3, 0], [1, 1]], np.int32), axis=1, batch_dims=0)
        yield case(x, np.int32(4), axis=2, batch_dims=0)
        yield case(x, np.array([[3, 0], [1, 1], [2, 3]], np.int32), axis=1, batch_dims=1)
        yield case(x, np.array([[3, 0], [1, 1], [2, 3]], np.int32), axis=2, batch_dims=1)
        yield case(x, np.zeros((0,), np.int32), axis=0, batch_dims=0)
        yield case(np.arange(6, dtype=np.int32), np.array([5, 0], np.int32), axis=0, batch_dims=0, gradient=False)


def scatter(dy: Any, indices: Any, shape: Shape, axis: int, batch_dims: int) -> Any:
    """Adds the slices dy into zeros of `shape` at the indices along an axis: gather in reverse."""
    rank, inner = len(dy.sizes), len(indices.sizes) - batch_dims
    order = (*range(batch_dims), *range(axis, axis + inner), *range(batch_dims, axis), *range(axis + inner, rank))
    moved = dy if order == tuple(range(rank)) else apply("transpose", dy, perm=order)
    batch, between, after = shape[:batch_dims], shape[batch_dims:axis], shape[axis + 1 :]
    ids, count = indices, shape[axis]
    groups = num_elements(batch)
    if batch_dims:
        kind = indices.dtype.name
        first = apply("range", size=groups, start=0, delta=1, dtype=kind) * apply("dimension", size=count, dtype=kind)
        ids = ids + apply("reshape", first, shape=(*batch, *(1,) * inner))
    number = num_elements(indices.sizes)
    flat = apply("reshape", moved, shape=(number, *between, *after))
    summed = apply("unsorted_segment_sum", flat, apply("reshape", ids, shape=(number,)), num_segments=groups * count)
    whole = apply("reshape", summed, shape=(*batch, count, *between, *after))
    back = (*range(batch_dims), *range(batch_dims + 1, axis + 1), batch_dims, *range(axis + 1, len(shape)))
    return whole if back == tuple(range(len(shape))) else apply("transpose", whole, perm=back)


class UnsortedSegmentSum(Pattern):
    """Sums the slices of x that have the same segment id. A negative id drops its slice."""

    name, version, dtypes = "unsorted_segment_sum", 1, NUMERIC
    same = (0,)

    def infer(self, x: Spec, ids: Spec, *, num_segments: Size) -> Spec:
        check_dtypes(self, x)
        if not ids.dtype.is_integer or x.shape[: len(ids.shape)] != ids.shape:
            raise InvalidArgumentError(
                f"unsorted_segment_sum: data.shape = {list(x.shape)} does not start with segment_ids.shape = "
                f"{list(ids.shape)} "
                f"(dtype {ids.dtype.name}): expected integer ids, one for each leading position of the data."
            )
        return Spec((num_segments, *x.shape[len(ids.shape) :]), x.dtype)

    def numpy(self, x: Any, ids: Any, *, num_segments: Any) -> Any:
        rest = x.shape[ids.ndim :]
        flat, rows = ids.reshape(-1), x.reshape(ids.size, *rest)
        if (flat >= num_segments).any():
            worst = int(np.argmax(flat >= num_segments))
            raise InvalidArgumentError(f"segment_ids[{worst}] = {flat[worst]} is out of range [0, {num_segments})")
        made = np.zeros((num_segments, *rest), x.dtype)
        if (flat < 0).any():
            flat, rows = flat[flat >= 0], rows[flat >= 0]
        if flat.size and made.size:
            order = np.argsort(flat, kind="stable")
            ordered = flat[order]
            starts = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))
            made[ordered[starts]] = np.add.reduceat(rows[order], starts, axis=0, dtype=x.dtype)
        return made

    def grad(self, dy: Any, x: Any, ids: Any, *, out: Any, num_segments: Size) -> Any:
        kept = ids >= 0
        picked = apply("gather", dy, apply("maximum", ids, 0), axis=0, batch_dims=0)
        extra = len(x.sizes) - len(ids.sizes)
        mask = apply("reshape", kept, shape=(*ids.sizes, *(1,) * extra))
        return apply("select", mask, picked, 0), None

    def lower(self, ir: Any, at: Sequence[Any], x: Any, ids: Any, *, num_segments: Size) -> Any:
        def element(*k: Any) -> Any:
            value = x.at(*k, *at[1:])
            index = ids.at(*k)
            return ir.select(ir.call("eq", ir.cast(index, "i32"), at[0]), value, ir.const(0, value.dtype))

        return ir.sum(tuple(ids.shape), element)

    def cases(self) -> Iterator[Case]:
        yield case(linspace(-1, 1, 15, (5, 3)), np.array([0, 2, 0, -1, 3], np.int32), num_segments=4)
        yield case(linspace(-1, 1, 6, (2, 3)), np.array([[0, 1, 1], [1, 0, 4]], np.int32), num_segments=6)
        yield case(np.zeros((0, 3), np.float32), np.zeros(0, np.int32), num_segments=2)
        yield case(np.arange(4, dtype=np.int32), np.array([1, 1, 0, 1], np.int32), num_segments=2, gradient=False)


class OneHot(Pattern):
    """`on_value` where an index equals the position along a new axis, elsewhere `off_value`."""

    name, version, dtypes, cheap = "one_hot", 1, INTEGER, True
    grad = no_gradient("the input is an index")

    def infer(self, indices: Spec, *, depth: Size, on_value: Any, off_value: Any, axis: int, dtype: str) -> Spec:
        check_dtypes(self, indices)
        axis %= len(indices.shape) + 1
        return Spec((*indices.shape[:axis], depth, *indices.shape[axis:]), as_dtype(dtype))

    def numpy(self, indices: Any, *, depth: Any, on_value: Any, off_value: Any, axis: int, dtype: str) -> Any:
        kind = as_dtype(dtype).numpy
        made = np.full((*indices.shape, depth), off_value, kind)
        flat, rows = indices.reshape(-1), made.reshape(-1, depth)
        inside = np.flatnonzero((flat >= 0) & (flat < depth))
        rows[inside, flat[inside]] = on_value
        return contiguous(np.moveaxis(made, -1, axis))

    def lower(
        self,
        ir: Any,
        at: Sequence[Any],
        indices: Any,
        *,
        depth: Size,
        on_value: Any,
        off_value: Any,
        axis: int,
        dtype: str,
    ) -> Any:
        device = as_dtype(dtype).device or "i32"
        axis %= len(at)
        index = indices.at(*at[:axis], *at[axis + 1 :])
        hit = ir.call("eq", ir.cast(index, "i32"), at[axis])
        return ir.select(hit, ir.const(on_value, device), ir.const(off_value, device))

    def cases(self) -> Iterator[Case]:
        indices = np.array([[0, 2, 5], [-1, 3, 1]], np.int32)
        yield case(indices, depth=4, on_value=1, off_value=0, axis=2, dtype="float32", gradient=False)
        yield case(indices, depth=4, on_value=2.5, off_value=-1.0, axis=0, dtype="float32", gradient=False)
        yield case(np.int32(1), depth=3, on_value=1, off_value=0, axis=0, dtype="int32", gradient=False)
        yield case(np.zeros(0, np.int32), depth=3, on_value=1, off_value=0, axis=1, dtype="float32", gradient=False)
        yield case(indices, depth=4, on_value=True, off_value=False, axis=1, dtype="bool", gradient=False)
