"""Selection: where, gather, slices, masks, clipping, scatter."""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..eager.tensor import constant, convert_to_tensor
from ..errors import InvalidArgumentError, UnimplementedError
from ..ops import gather as gather_ops
from ..ops import movement as movement_ops
from ..ops import reduce as reduce_ops
from ..ops import slicing as slicing_ops
from ..ops.common import as_index
from ..ops.dispatch import Value, apply
from ..ops.elementwise import cast, select
from ..ops.sizes import as_sizes
from ..ops.slicing import mask_indices
from ..shapes import num_elements

__all__ = [
    "boolean_mask",
    "clip_by_global_norm",
    "clip_by_norm",
    "clip_by_value",
    "gather",
    "gather_nd",
    "scatter_nd",
    "slice",
    "strided_slice",
    "tensor_scatter_nd_add",
    "tensor_scatter_nd_sub",
    "tensor_scatter_nd_update",
    "unique",
    "where",
]


def where(condition: Any, x: Any = None, y: Any = None, name: str | None = None) -> Any:
    """x where the condition holds, else y, all broadcast. With the condition alone: the indices where it holds, int64.

    The gradient of the branch that is not taken is 0, but a NaN in that branch's own derivative still shows, as in
    TensorFlow: choose a safe argument first.

    >>> where([True, False], [1, 2], [3, 4]).numpy().tolist()
    [1, 4]
    """
    condition = convert_to_tensor(condition)
    if x is None and y is None:
        if not hasattr(condition, "host"):
            raise UnimplementedError(
                "where: the number of true elements is not known while a tf.function is traced. Use "
                "tf.where(condition, x, y), "
                "or call it outside the function."
            )
        return constant(np.argwhere(condition.host()).astype(np.int64))
    if x is None or y is None:
        raise ValueError("x and y must both be non-None or both be None.")
    if not (isinstance(x, Value) or isinstance(y, Value)):
        x = convert_to_tensor(x)
        y = convert_to_tensor(y, dtype_hint=x.dtype)
    return select(condition, x, y)


def clip_by_value(t: Any, clip_value_min: Any, clip_value_max: Any, name: str | None = None) -> Any:
    """t between two bounds, which broadcast.

    >>> clip_by_value([-5.0, 0.5, 9.0], 0.0, 1.0).numpy().tolist()
    [0.0, 0.5, 1.0]
    """
    t = convert_to_tensor(t)
    made = apply("clip_by_value", t, clip_value_min, clip_value_max)
    if tuple(made.sizes) != tuple(t.sizes):
        raise InvalidArgumentError(
            f"clip_by_value: the bounds must broadcast to shape {tuple(t.sizes)}, not widen it to {tuple(made.sizes)}."
        )
    return made


def clip_by_norm(t: Any, clip_norm: Any, axes: Any = None, name: str | None = None) -> Any:
    """t scaled down so that its Euclidean norm over `axes` is at most `clip_norm`."""
    t = convert_to_tensor(t)
    total = reduce_ops.reduce_sum(apply("square", t), axes, True)
    positive = total > 0
    size = select(positive, apply("sqrt", select(positive, total, 1)), total)
    return t * clip_norm / apply("maximum", size, clip_norm)


def clip_by_global_norm(t_list: Sequence[Any], clip_norm: Any, use_norm: Any = None, name: str | None = None) -> Any:
    """(the tensors scaled down so that their common norm is at most `clip_norm`, the norm before). None stays None."""
    if isinstance(t_list, Value) or not isinstance(t_list, list | tuple):
        raise TypeError(f"t_list should be a sequence. Received: {type(t_list)}")
    values = [None if t is None else convert_to_tensor(t) for t in t_list]
    if use_norm is None:
        total = None
        for v in values:
            if v is not None:
                part = reduce_ops.reduce_sum(apply("square", v))
                total = part if total is None else total + part
        if total is None:
            raise ValueError("clip_by_global_norm: t_list holds no tensor.")
        use_norm = apply("sqrt", total)
    use_norm = convert_to_tensor(use_norm)
    scale = clip_norm * apply("minimum", 1 / use_norm, 1.0 / clip_norm)
    scale = scale + (use_norm - use_norm)  # NaN if the norm is not finite: then so are the results
    return [None if v is None else v * scale for v in values], use_norm


def gather(
    params: Any,
    indices: Any,
    validate_indices: Any = None,
    axis: Any = None,
    batch_dims: int = 0,
    name: str | None = None,
) -> Any:
    """The slices of `params` along an axis at the indices. Out of range: an error on the host, 0 on a device.

    >>> gather([10, 20, 30], [2, 0]).numpy().tolist()
    [30, 10]
    """
    params, indices = convert_to_tensor(params), convert_to_tensor(indices)
    place = as_index(batch_dims if axis is None else axis, "gather")
    return gather_ops.gather(params, indices, place, as_index(batch_dims, "gather"))


def gather_nd(
    params: Any, indices: Any, batch_dims: int = 0, name: str | None = None, bad_indices_policy: str = ""
) -> Any:
    """The slices of `params` at index tuples: the last axis of `indices` holds one per leading axis of `params`.

    >>> gather_nd([[1, 2], [3, 4]], [[0, 1], [1, 0]]).numpy().tolist()
    [2, 3]
    """
    params, indices = convert_to_tensor(params), convert_to_tensor(indices)
    depth = indices.sizes[-1]
    if not isinstance(depth, int) or depth > len(params.sizes) - batch_dims:
        raise InvalidArgumentError(
            f"gather_nd: index innermost dimension length must be <= params rank; saw: {depth} vs. {len(params.sizes)}"
        )
    if hasattr(indices, "host"):
        _check_tuples(indices.host(), params.sizes[batch_dims : batch_dims + depth])
    flat_size = num_elements(params.sizes[batch_dims : batch_dims + depth])
    flat = movement_ops.reshape(params, (*params.sizes[:batch_dims], flat_size, *params.sizes[batch_dims + depth :]))
    return gather_ops.gather(
        flat, _flat_index(indices, params.sizes[batch_dims : batch_dims + depth]), batch_dims, batch_dims
    )


def _check_tuples(indices: Any, sizes: Sequence[Any]) -> None:
    wrong = ((indices < 0) | (indices >= np.asarray(sizes, indices.dtype))).any(-1)
    if wrong.any():
        place = tuple(int(i) for i in np.argwhere(wrong)[0])
        raise InvalidArgumentError(
            f"indices{list(place)} = {indices[place].tolist()} does not index into param shape {list(sizes)}: "
            "each index must be "
            f"at least 0 and below the size of its axis."
        )


def _flat_index(indices: Any, sizes: Sequence[Any]) -> Any:
    """Index tuples on the last axis as row-major positions."""
    position: Any = None
    for i, size in enumerate(sizes):
        part = indices[..., i]
        scaled = part if position is None else position * movement_ops.dimension(size, indices.dtype) + part
        position = scaled
    if position is None:
        return movement_ops.full(tuple(indices.sizes[:-1]), 0, indices.dtype)
    return position


def scatter_nd(indices: Any, updates: Any, shape: Any, name: str | None = None, bad_indices_policy: str = "") -> Any:
    """Zeros of a shape with `updates` added at index tuples; equal tuples add up.

    >>> scatter_nd([[1], [3], [1]], [1, 2, 3], [4]).numpy().tolist()
    [0, 4, 0, 2]
    """
    indices, updates = convert_to_tensor(indices), convert_to_tensor(updates)
    sizes = as_sizes(shape, "scatter_nd")
    depth = indices.sizes[-1]
    if hasattr(indices, "host"):
        _check_tuples(indices.host(), sizes[:depth])
    rows = num_elements(indices.sizes[:-1])
    flat = movement_ops.reshape(updates, (rows, *sizes[depth:]))
    ids = movement_ops.reshape(_flat_index(indices, sizes[:depth]), (rows,))
    return movement_ops.reshape(gather_ops.unsorted_segment_sum(flat, ids, num_elements(sizes[:depth])), sizes)


def tensor_scatter_nd_add(
    tensor: Any, indices: Any, updates: Any, name: str | None = None, bad_indices_policy: str = ""
) -> Any:
    """A tensor with `updates` added at index tuples."""
    tensor = convert_to_tensor(tensor)
    return tensor + scatter_nd(indices, convert_to_tensor(updates, dtype_hint=tensor.dtype), tuple(tensor.sizes))


def tensor_scatter_nd_sub(
    tensor: Any, indices: Any, updates: Any, name: str | None = None, bad_indices_policy: str = ""
) -> Any:
    """A tensor with `updates` subtracted at index tuples."""
    tensor = convert_to_tensor(tensor)
    return tensor - scatter_nd(indices, convert_to_tensor(updates, dtype_hint=tensor.dtype), tuple(tensor.sizes))


def tensor_scatter_nd_update(tensor: Any, indices: Any, updates: Any, name: str | None = None) -> Any:
    """A tensor with `updates` in place of its elements at index tuples. Of equal tuples the last one wins.

    >>> tensor_scatter_nd_update([0, 0, 0, 0], [[1], [3]], [7, 9]).numpy().tolist()
    [0, 7, 0, 9]
    """
    tensor, indices = convert_to_tensor(tensor), convert_to_tensor(indices)
    updates = convert_to_tensor(updates, dtype_hint=tensor.dtype)
    depth = indices.sizes[-1]
    count, slots = num_elements(indices.sizes[:-1]), num_elements(tensor.sizes[:depth])
    if hasattr(indices, "host"):
        _check_tuples(indices.host(), tensor.sizes[:depth])
    ids = movement_ops.reshape(_flat_index(indices, tensor.sizes[:depth]), (count,))
    hits = apply("equal", movement_ops.range_(slots, 0, 1, ids.dtype)[:, None], ids[None, :])
    order = movement_ops.range_(count, 1, 1, "int32")
    last = reduce_ops.reduce_max(select(hits, order, 0), 1)  # 0: nobody writes this slot
    rows = movement_ops.reshape(updates, (count, *tensor.sizes[depth:]))
    slices = movement_ops.reshape(tensor, (slots, *tensor.sizes[depth:]))
    written = movement_ops.reshape(last > 0, (slots, *(1,) * (len(tensor.sizes) - depth)))
    new = gather_ops.gather(rows, apply("maximum", last - 1, 0)) if count != 0 else slices
    return movement_ops.reshape(select(written, new, slices), tuple(tensor.sizes))


def slice(input_: Any, begin: Any, size: Any, name: str | None = None) -> Any:
    """The block of `size` that starts at `begin`; a size of -1 reaches to the end.

    >>> slice([[1, 2, 3], [4, 5, 6]], [0, 1], [2, -1]).numpy().tolist()
    [[2, 3], [5, 6]]
    """
    return slicing_ops.slice_(convert_to_tensor(input_), as_sizes(begin, "slice"), as_sizes(size, "slice"))


def strided_slice(
    input_: Any, begin: Any, end: Any, strides: Any = None, begin_mask: int = 0, end_mask: int = 0,
    ellipsis_mask: int = 0, new_axis_mask: int = 0, shrink_axis_mask: int = 0, var: Any = None, name: str | None = None,
) -> Any:  # fmt: skip
    """`input_[begin:end:strides]` with numbers, and bit masks for left-out ends, `...`, new and dropped axes."""
    starts, ends = as_sizes(begin, "strided_slice"), as_sizes(end, "strided_slice")
    steps = (1,) * len(starts) if strides is None else as_sizes(strides, "strided_slice")
    key: list[Any] = []
    for i, (start, stop, step) in enumerate(zip(starts, ends, steps, strict=True)):
        bit = 1 << i
        if ellipsis_mask & bit:
            key.append(Ellipsis)
        elif new_axis_mask & bit:
            key.append(None)
        elif shrink_axis_mask & bit:
            key.append(start)
        else:
            key.append(builtins.slice(None if begin_mask & bit else start, None if end_mask & bit else stop, step))
    return slicing_ops.getitem(convert_to_tensor(input_), tuple(key))


def boolean_mask(tensor: Any, mask: Any, axis: int | None = None, name: str = "boolean_mask") -> Any:
    """The elements (or slices from `axis` on) where the mask is true.

    The size of the result depends on the mask, so a traced function cannot do this: use tf.where there.

    >>> boolean_mask([1, 2, 3], [True, False, True]).numpy().tolist()
    [1, 3]
    """
    return mask_indices(
        convert_to_tensor(tensor), convert_to_tensor(mask), 0 if axis is None else as_index(axis, "boolean_mask")
    )


def unique(x: Any, out_idx: Any = "int32", name: str | None = None) -> Any:
    """(the distinct values in order of first occurrence, the position of each element among them)."""
    x = convert_to_tensor(x)
    if not hasattr(x, "host"):
        raise UnimplementedError("unique: the number of distinct values is not known while a tf.function is traced.")
    array = x.host()
    if array.ndim != 1:
        raise InvalidArgumentError(f"unique expects a 1D vector, received shape {array.shape}.")
    values, first, inverse = np.unique(array, return_index=True, return_inverse=True)
    order = np.argsort(first, kind="stable")
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return constant(values[order]), cast(constant(rank[inverse]), out_idx)
