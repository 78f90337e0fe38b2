"""What the op families share: dtype checks, axes, the bases of elementwise ops, and samples for `cases`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, ClassVar

import numpy as np

from ..dtypes import DType, bool_
from ..errors import InvalidArgumentError
from ..shapes import Shape, Size, broadcast_shapes
from .op import Case, Elementwise, Op, Spec, case
from .parts import quiet

__all__ = [
    "Binary",
    "Compare",
    "Unary",
    "as_index",
    "check_dtypes",
    "contiguous",
    "linspace",
    "normalise_axes",
    "normalise_axis",
    "pairs",
    "quiet",
    "ravel",
    "special_values",
    "strides_of",
    "unravel",
]


def contiguous(array: Any) -> np.ndarray[Any, Any]:
    """The array in row-major memory. (np.ascontiguousarray would turn rank 0 into rank 1.)"""
    return np.asarray(array, order="C")


def check_dtypes(op: Op, *specs: Spec) -> None:
    """Raises InvalidArgumentError unless the inputs in `op.same` have one dtype, and one that the op takes."""
    checked = range(len(specs)) if op.same is None else op.same
    first: DType | None = None
    for i in checked:
        if i >= len(specs) or specs[i] is None:
            continue
        dtype = specs[i].dtype
        if dtype not in op.dtypes:
            known = sorted(d.name for d in op.dtypes)
            to = "float32" if "float32" in known else known[0]
            how = "No op takes text." if dtype.name == "string" else f"Convert it first: tf.cast(x, tf.{to})."
            raise InvalidArgumentError(
                f"{op.name}: input {i} has dtype {dtype.name}, which this op does not take; it takes "
                f"{', '.join(known)}. {how}"
            )
        if first is None:
            first = dtype
        elif dtype != first:
            raise InvalidArgumentError(
                f"cannot compute {op.name} as input #{i}(zero-based) was expected to be a {first.name} tensor but is a "
                f"{dtype.name} tensor. Convert one of them, for example with tf.cast(x, tf.{first.name})."
            )


def normalise_axis(axis: Any, rank: int, op: str) -> int:
    """An axis as a number from 0 to rank-1. Raises InvalidArgumentError if it is outside [-rank, rank)."""
    axis = axis if axis.__class__ is int else as_index(axis, op)
    if not -rank <= axis < rank:
        raise InvalidArgumentError(
            f"{op}: axis {axis} is out of range for a tensor of rank {rank}: expected {-rank} <= axis < {rank}."
        )
    return axis + rank if axis < 0 else axis


def normalise_axes(axis: Any, rank: int, op: str) -> tuple[int, ...] | None:
    """Axes as a sorted tuple of numbers from 0 to rank-1; None (all axes) stays None."""
    if axis is None:
        return None
    if axis.__class__ is int and -rank <= axis < rank:
        return (axis + rank if axis < 0 else axis,)
    if isinstance(axis, np.ndarray) or hasattr(axis, "numpy"):
        axis = np.asarray(axis.numpy() if hasattr(axis, "numpy") else axis).reshape(-1).tolist()
    axes = [normalise_axis(a, rank, op) for a in (axis if isinstance(axis, list | tuple | range) else [axis])]
    if len(set(axes)) != len(axes):
        raise InvalidArgumentError(f"{op}: axis {axis!r} names the same axis twice. Name each axis once.")
    return tuple(sorted(axes))


def as_index(value: Any, op: str) -> int:
    """A Python int from an int, a numpy integer or a tensor that is at hand. Raises TypeError for anything else."""
    if isinstance(value, int | np.integer):
        return int(value)
    if hasattr(value, "numpy"):
        value = value.numpy()
    if isinstance(value, np.ndarray | np.generic) and value.size == 1 and value.dtype.kind in "iu":
        return int(value.reshape(()))
    raise TypeError(f"{op}: an int is needed, received {value!r} of type {type(value).__name__}.")


# -- elementwise bases -------------------------------------------------------------------------------------------------


class Unary(Elementwise, abstract=True):
    """One input, elementwise: shape and dtype pass through."""

    def infer(self, x: Spec, **attrs: Any) -> Spec:
        """The Spec of the input, if its dtype is allowed."""
        if x.dtype not in self.dtypes:
            check_dtypes(self, x)
        return x


class Binary(Elementwise, abstract=True):
    """Two inputs of one dtype that broadcast."""

    def infer(self, x: Spec, y: Spec, **attrs: Any) -> Spec:
        """The broadcast shape and the common dtype."""
        if x.dtype is not y.dtype or x.dtype not in self.dtypes:
            check_dtypes(self, x, y)
        if x.shape == y.shape:
            return x
        return Spec(broadcast_shapes(x.shape, y.shape, op=self.name), x.dtype)


class Compare(Elementwise, abstract=True):
    """Two inputs of one dtype that broadcast; the answer is bool."""

    result: ClassVar[DType] = bool_

    def infer(self, x: Spec, y: Spec, **attrs: Any) -> Spec:
        """The broadcast shape, bool."""
        check_dtypes(self, x, y)
        return Spec(broadcast_shapes(x.shape, y.shape, op=self.name), bool_)


# -- indices inside kernels --------------------------------------------------------------------------------------------


def strides_of(shape: Shape) -> list[Size]:
    """How many elements one step along each axis spans, row-major."""
    strides: list[Size] = [1] * len(shape)
    for i in range(len(shape) - 2, -1, -1):
        strides[i] = strides[i + 1] * shape[i + 1]
    return strides


def ravel(ir: Any, at: Sequence[Any], shape: Shape) -> Any:
    """The row-major position of an element, as an Expr."""
    position = ir.const(0)
    for index, stride in zip(at, strides_of(shape), strict=True):
        position = position + index * ir.size(stride)
    return position


def unravel(ir: Any, position: Any, shape: Shape) -> list[Any]:
    """The indices of the element at a row-major position, as Exprs."""
    indices: list[Any] = []
    for i, size in reversed(list(enumerate(shape))):
        if size == 1:
            indices.append(ir.const(0))
        elif i == 0 or all(s == 1 for s in shape[:i]):
            indices.append(position)
            position = ir.const(0)
        else:
            indices.append(position % ir.size(size))
            position = position // ir.size(size)
    return indices[::-1]


# -- samples -----------------------------------------------------------------------------------------------------------


def linspace(low: float, high: float, count: int, shape: Iterable[int] = ()) -> np.ndarray[Any, Any]:
    """Evenly spaced float32 numbers, in a shape."""
    made = np.linspace(low, high, count, dtype=np.float32)
    return made.reshape(tuple(shape)) if shape else made


def special_values(large: float = 3e38, **attrs: Any) -> Iterator[Case]:
    """Samples for an elementwise op of one input: NaN, infinities, zeros, a scalar, empty, odd sizes."""
    yield case(
        np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, -1.0, large, -large, 1e-30], np.float32),
        gradient=False,
        **attrs,
    )
    yield case(np.float32(0.3), **attrs)
    yield case(np.zeros((0, 3), np.float32), **attrs)
    yield case(linspace(0.1, 0.9, 105, (3, 5, 7)), **attrs)


def pairs(low: float = -3.0, high: float = 3.0, gradient: bool = True) -> Iterator[Case]:
    """Samples for an elementwise op of two floating inputs: equal shapes, broadcast both ways, scalar, empty."""
    rng = np.random.default_rng(7)

    def sample(*shape: int) -> np.ndarray[Any, Any]:
        return rng.uniform(low, high, shape).astype(np.float32)

    yield case(sample(5, 7), sample(5, 7), gradient=gradient)
    yield case(sample(3, 1, 5), sample(4, 1), gradient=gradient)
    yield case(sample(), sample(6), gradient=gradient)
    yield case(sample(0, 3), sample(3), gradient=gradient)


def integer_pairs(positive: bool = False) -> Iterator[Case]:
    """Samples of two int32 inputs, signs mixed, no zero in the second."""
    x = np.array([7, -7, 7, -7, 0, 5, -1, 100, 2**30, -(2**30), 9, 1], np.int32)
    y = np.array([3, 3, -3, -3, 4, 1, 2, 7, 3, 5, 9, -1], np.int32)
    yield case(np.abs(x) if positive else x, np.abs(y) if positive else y, gradient=False)


__all__ += ["integer_pairs"]
