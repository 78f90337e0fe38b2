"""Shapes: reshape, transpose, concat, split, stack, pad, tile, roll and friends."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..eager.tensor import convert_to_tensor
from ..errors import InvalidArgumentError
from ..ops import movement as movement_ops
from ..ops import slicing as slicing_ops
from ..ops.common import as_index, normalise_axis
from ..ops.dispatch import Value, apply, convert
from ..ops.sizes import as_sizes
from ..shapes import TensorShape, broadcast_shapes

__all__ = [
    "broadcast_dynamic_shape",
    "broadcast_static_shape",
    "broadcast_to",
    "concat",
    "ensure_shape",
    "expand_dims",
    "pad",
    "repeat",
    "reshape",
    "reverse",
    "roll",
    "split",
    "squeeze",
    "stack",
    "tile",
    "transpose",
    "unstack",
]


def _tensors(values: Any, op: str) -> list[Any]:
    """A list of values as tensors of one dtype: what is no tensor takes the dtype of one that is."""
    if isinstance(values, Value) or not isinstance(values, list | tuple):
        values = list(values) if not isinstance(values, Value) else slicing_ops.unstack(values)
    if not values:
        raise ValueError(f"{op}: at least one value is needed, received an empty list.")
    like = next((v.dtype for v in values if isinstance(v, Value)), None)
    made = [v if isinstance(v, Value) else convert(v, like) for v in values]
    return [convert_to_tensor(v) for v in made]


def reshape(tensor: Any, shape: Any, name: str | None = None) -> Any:
    """The same elements, row-major, in another shape; one size may be -1.

    Raises InvalidArgumentError if the numbers of elements differ.

    >>> reshape([1, 2, 3, 4], [2, -1]).numpy().tolist()
    [[1, 2], [3, 4]]
    """
    return movement_ops.reshape(convert_to_tensor(tensor), shape)


def transpose(a: Any, perm: Any = None, conjugate: bool = False, name: str = "transpose") -> Any:
    """The axes in the order `perm`, reversed by default.

    >>> transpose([[1, 2, 3], [4, 5, 6]]).numpy().tolist()
    [[1, 4], [2, 5], [3, 6]]
    """
    a = convert_to_tensor(a)
    order = None if perm is None else [int(p) for p in np.ravel(perm.numpy() if hasattr(perm, "numpy") else perm)]
    if order is not None and len(order) != len(a.sizes):
        raise InvalidArgumentError(
            f"transpose expects a vector of size {len(a.sizes)}. But input(1) is a vector of size {len(order)}"
        )
    return movement_ops.transpose(a, order)


def broadcast_to(input: Any, shape: Any, name: str | None = None) -> Any:
    """A tensor repeated along its axes of size 1 and along new axes in front."""
    return movement_ops.broadcast_to(convert_to_tensor(input), shape)


def broadcast_static_shape(shape_x: Any, shape_y: Any) -> TensorShape:
    """The shape to which two shapes broadcast."""
    x, y = TensorShape(shape_x), TensorShape(shape_y)
    try:
        return TensorShape(broadcast_shapes(tuple(x), tuple(y)))  # type: ignore[arg-type]
    except InvalidArgumentError as error:
        raise ValueError(f"Incompatible shapes for broadcasting: {x} and {y}.") from error


def broadcast_dynamic_shape(shape_x: Any, shape_y: Any) -> Any:
    """The shape to which two shapes, given as tensors, broadcast, as a tensor."""
    sizes = broadcast_shapes(as_sizes(shape_x, "broadcast_dynamic_shape"), as_sizes(shape_y, "broadcast_dynamic_shape"))
    return movement_ops.stack([movement_ops.dimension(d) for d in sizes])


def expand_dims(input: Any, axis: Any, name: str | None = None) -> Any:
    """A new axis of size 1 at position `axis`.

    >>> expand_dims([1, 2], 0).shape
    TensorShape([1, 2])
    """
    return movement_ops.expand_dims(convert_to_tensor(input), as_index(axis, "expand_dims"))


def squeeze(input: Any, axis: Any = None, name: str | None = None) -> Any:
    """Without the axes of size 1: those in `axis`, or all."""
    return movement_ops.squeeze(convert_to_tensor(input), axis)


def concat(values: Any, axis: Any, name: str = "concat") -> Any:
    """Joins tensors along an axis; the other sizes must be equal.

    >>> concat([[[1, 2]], [[3, 4]]], axis=0).numpy().tolist()
    [[1, 2], [3, 4]]
    """
    return movement_ops.concat(_tensors(values, "concat"), as_index(axis, "concat"))


def stack(values: Any, axis: int = 0, name: str = "stack") -> Any:
    """Joins tensors of one shape along a new axis.

    >>> stack([[1, 2], [3, 4]], axis=1).numpy().tolist()
    [[1, 3], [2, 4]]
    """
    made = _tensors(values, "stack")
    for v in made[1:]:
        if tuple(v.sizes) != tuple(made[0].sizes):
            raise InvalidArgumentError(
                f"Shapes of all inputs must match: values[0].shape = {list(made[0].sizes)} != {list(v.sizes)}; "
                "stack joins equal shapes."
            )
    return movement_ops.stack(made, axis)


def unstack(value: Any, num: int | None = None, axis: int = 0, name: str = "unstack") -> list[Any]:
    """The slices along an axis, as a list."""
    value = convert_to_tensor(value)
    made = slicing_ops.unstack(value, axis)
    if num is not None and num != len(made):
        raise ValueError(f"unstack: num is {num}, but axis {axis} of shape {tuple(value.sizes)} has {len(made)}.")
    return made


def split(value: Any, num_or_size_splits: Any, axis: int = 0, num: int | None = None, name: str = "split") -> list[Any]:
    """Cuts a tensor along an axis, into that many equal parts or into parts of the given sizes (one may be -1).

    >>> [part.numpy().tolist() for part in split([1, 2, 3, 4, 5], [2, -1])]
    [[1, 2], [3, 4, 5]]
    """
    value = convert_to_tensor(value)
    sizes = as_sizes(num_or_size_splits, "split")
    listed = isinstance(num_or_size_splits, list | tuple) or bool(getattr(num_or_size_splits, "shape", ()))
    if listed:
        return slicing_ops.split(value, sizes, axis)
    if not isinstance(sizes[0], int):
        raise ValueError("split: the number of parts must be known while a tf.function is traced.")
    return slicing_ops.split(value, sizes[0], axis)


def pad(tensor: Any, paddings: Any, mode: str = "CONSTANT", constant_values: Any = 0, name: str | None = None) -> Any:
    """Adds `paddings[i] = (before, after)` elements along axis i: a constant ("CONSTANT"), or the elements
    mirrored without ("REFLECT") or with ("SYMMETRIC") the edge.

    >>> pad([[1, 2]], [[0, 1], [1, 1]]).numpy().tolist()
    [[0, 1, 2, 0], [0, 0, 0, 0]]
    """
    flat = as_sizes(paddings, "pad")
    value = constant_values.numpy().item() if hasattr(constant_values, "numpy") else constant_values
    tensor = convert_to_tensor(tensor)
    if tensor.dtype.is_floating:
        value = float(value)
    return slicing_ops.pad(tensor, list(zip(flat[::2], flat[1::2], strict=True)), mode, value)


def tile(input: Any, multiples: Any, name: str | None = None) -> Any:
    """A tensor repeated `multiples[i]` times along axis i.

    >>> tile([1, 2], [2]).numpy().tolist()
    [1, 2, 1, 2]
    """
    return movement_ops.tile(convert_to_tensor(input), multiples)


def repeat(input: Any, repeats: Any, axis: int | None = None, name: str | None = None) -> Any:
    """Each element (or slice along `axis`) `repeats` times in a row. Without an axis the result is flat.

    >>> repeat([1, 2], 2).numpy().tolist()
    [1, 1, 2, 2]
    """
    x = convert_to_tensor(input)
    if axis is None:
        x, axis = movement_ops.reshape(x, (-1,)), 0
    axis = normalise_axis(axis, len(x.sizes), "repeat")
    counts = as_sizes(repeats, "repeat")
    if len(counts) == 1:
        apart = movement_ops.expand_dims(x, axis + 1)
        wide = movement_ops.broadcast_to(apart, (*x.sizes[: axis + 1], counts[0], *x.sizes[axis + 1 :]))
        return movement_ops.reshape(wide, (*x.sizes[:axis], x.sizes[axis] * counts[0], *x.sizes[axis + 1 :]))
    if len(counts) != x.sizes[axis] or not all(isinstance(c, int) for c in counts):
        raise InvalidArgumentError(
            f"repeat: repeats {counts} must be one number or one for each of the {x.sizes[axis]} slices."
        )
    places = np.repeat(
        np.arange(len(counts), dtype=np.int32), [int(count) for count in counts if isinstance(count, int)]
    )
    return apply("gather", x, convert_to_tensor(places), axis=axis, batch_dims=0)


def reverse(tensor: Any, axis: Any, name: str | None = None) -> Any:
    """The elements in the opposite order along some axes.

    >>> reverse([1, 2, 3], [0]).numpy().tolist()
    [3, 2, 1]
    """
    return movement_ops.reverse(convert_to_tensor(tensor), list(as_sizes(axis, "reverse")))


def roll(input: Any, shift: Any, axis: Any, name: str | None = None) -> Any:
    """The elements moved along axes; what leaves at one end comes back at the other.

    >>> roll([0, 1, 2, 3, 4], 2, 0).numpy().tolist()
    [3, 4, 0, 1, 2]
    """
    x = convert_to_tensor(input)
    for amount, a in zip(as_sizes(shift, "roll"), as_sizes(axis, "roll"), strict=True):
        place = normalise_axis(a, len(x.sizes), "roll")
        size = x.sizes[place]
        cut = size - amount % size if isinstance(size, int) and size else size - amount
        if size == 0 or cut in (0, size):
            continue
        x = movement_ops.concat(slicing_ops.split(x, [cut, size - cut], place)[::-1], place)
    return x


def ensure_shape(x: Any, shape: Any, name: str | None = None) -> Any:
    """x, after a check that it has this shape (None: any size)."""
    x = convert_to_tensor(x)
    wanted = TensorShape(shape)
    if not wanted.is_compatible_with(TensorShape(x.sizes)):
        raise InvalidArgumentError(f"Shape of tensor {x.shape} is not compatible with expected shape {wanted}.")
    return x
