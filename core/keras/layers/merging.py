"""Layers of several inputs: joined element by element, side by side, or by products."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...ops.dispatch import apply
from ...ops.elementwise import minimum as smaller
from ...ops.elementwise import square
from ...ops.linalg import matmul
from ...ops.movement import full
from ...ops.reduce import reduce_sum
from ...shapes import num_elements
from .layer import Layer

__all__ = [
    "Add",
    "Average",
    "Concatenate",
    "Dot",
    "Maximum",
    "Minimum",
    "Multiply",
    "Subtract",
    "add",
    "average",
    "concatenate",
    "dot",
    "maximum",
    "minimum",
    "multiply",
    "subtract",
]


class Merge(Layer):
    """The base: folds a list of inputs with one op. Inputs of fewer axes get axes of size 1 after the batch."""

    supports_masking = True
    op = "add"

    def build(self, input_shape: Any = None) -> None:
        _check_list(self, input_shape)

    def call(self, inputs: Sequence[Any]) -> Any:
        _check_list(self, inputs)
        rank = max(len(x.sizes) for x in inputs)
        inputs = [_spread(x, rank) for x in inputs]
        out = inputs[0]
        for x in inputs[1:]:
            out = apply(self.op, out, x)
        return out

    def compute_mask(self, inputs: Any, previous_mask: Any = None) -> Any:
        """Steps that count in any input; None if an input has no mask."""
        if previous_mask is None or any(m is None for m in previous_mask):
            return None
        out = previous_mask[0]
        for m in previous_mask[1:]:
            out = apply("logical_or", out, m)
        return out


def _check_list(layer: Layer, inputs: Any) -> None:
    if not isinstance(inputs, list | tuple) or len(inputs) < 1 or isinstance(inputs[0], int | None):
        raise ValueError(
            f"A merge layer should be called on a list of inputs. Received: inputs={inputs} (not a list of tensors)"
        )
    if isinstance(layer, Dot) and len(inputs) != 2:
        raise ValueError(f"A `Dot` layer should be called on exactly 2 inputs. Received: inputs={inputs}")


def _spread(x: Any, rank: int) -> Any:
    missing = rank - len(x.sizes)
    return apply("reshape", x, shape=(*x.sizes[:1], *[1] * missing, *x.sizes[1:])) if missing and x.sizes else x


class Add(Merge):
    """The sum."""


class Subtract(Merge):
    """The first minus the second."""

    op = "subtract"

    def call(self, inputs: Sequence[Any]) -> Any:
        _check_list(self, inputs)
        if len(inputs) != 2:
            raise ValueError(
                f"A `Subtract` layer should be called on exactly 2 inputs. Received: inputs={inputs}"
            )
        return super().call(inputs)


class Multiply(Merge):
    """The product."""

    op = "multiply"


class Maximum(Merge):
    """The largest, element by element."""

    op = "maximum"


class Minimum(Merge):
    """The smallest, element by element."""

    op = "minimum"


class Average(Merge):
    """The mean, element by element."""

    def call(self, inputs: Sequence[Any]) -> Any:
        return super().call(inputs) * (1.0 / len(inputs))


class Concatenate(Merge):
    """Inputs one after another along an axis."""

    def __init__(self, axis: int = -1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.axis = axis

    def call(self, inputs: Sequence[Any]) -> Any:
        _check_list(self, inputs)
        return apply("concat", *inputs, axis=self.axis % len(inputs[0].sizes))

    def compute_mask(self, inputs: Any, previous_mask: Any = None) -> Any:
        """The masks one after another; inputs without one count wholly. None unless the steps are joined."""
        if previous_mask is None or self.axis % len(inputs[0].sizes) != 1:
            return super().compute_mask(inputs, previous_mask)
        masks = [
            full(x.sizes[:2], True, "bool") if m is None else m
            for x, m in zip(inputs, previous_mask, strict=True)
        ]
        return apply("concat", *masks, axis=1)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "axis": self.axis}


class Dot(Merge):
    """Sums of products of two inputs along an axis of each, sample by sample.

    Args:
        axes: an int, or one for each input.
        normalize: scale the inputs to length 1 along their axes before: the results are cosines.
    """

    def __init__(self, axes: Any, normalize: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not isinstance(axes, int):
            if not isinstance(axes, list | tuple):
                raise TypeError(
                    f"Invalid type for argument `axes`: it should be a list or an int. Received: axes={axes}"
                )
            if len(axes) != 2 or not all(isinstance(a, int) for a in axes):
                raise ValueError(
                    "Invalid format for argument `axes`: it should contain two elements, integers. Received: "
                    f"axes={axes}"
                )
            axes = list(axes)
        self.axes, self.normalize = axes, bool(normalize)

    def _axes(self, ranks: Sequence[int]) -> tuple[int, int]:
        given = [self.axes] * 2 if isinstance(self.axes, int) else self.axes
        a, b = (axis % rank for axis, rank in zip(given, ranks, strict=True))
        if 0 in (a, b):
            raise ValueError("Cannot perform batch_dot over axis 0. If your inputs are not batched, add a batch axis.")
        return a, b

    def build(self, input_shape: Any = None) -> None:
        super().build(input_shape)
        first, second = input_shape
        a, b = self._axes([len(first), len(second)])
        if first[a] != second[b]:
            raise ValueError(
                f"Incompatible input shapes: axis values {first[a]} (at axis {a}) != {second[b]} (at axis {b}). Full "
                f"input shapes: {first}, {second}"
            )

    def call(self, inputs: Sequence[Any]) -> Any:
        _check_list(self, inputs)
        x, y = inputs
        a, b = self._axes([len(x.sizes), len(y.sizes)])
        if self.normalize:
            x, y = _unit(x, a), _unit(y, b)
        rows = [i for i in range(1, len(x.sizes)) if i != a]
        columns = [i for i in range(1, len(y.sizes)) if i != b]
        left = apply("transpose", x, perm=(0, *rows, a))
        right = apply("transpose", y, perm=(0, b, *columns))
        m, n = [x.sizes[i] for i in rows], [y.sizes[i] for i in columns]
        left = apply("reshape", left, shape=(x.sizes[0], num_elements(m), x.sizes[a]))
        right = apply("reshape", right, shape=(x.sizes[0], x.sizes[a], num_elements(n)))
        return apply("reshape", matmul(left, right), shape=(x.sizes[0], *((*m, *n) or (1,))))

    def compute_mask(self, inputs: Any, previous_mask: Any = None) -> Any:
        """None: the steps are gone."""
        return None

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "axes": self.axes, "normalize": self.normalize}


def _unit(x: Any, axis: int) -> Any:
    return x * smaller(apply("rsqrt", reduce_sum(square(x), (axis,), True)), 1e7)


def add(inputs: Sequence[Any], **kwargs: Any) -> Any:
    """The sum of the inputs."""
    return Add(**kwargs)(inputs)


def subtract(inputs: Sequence[Any], **kwargs: Any) -> Any:
    """The first input minus the second."""
    return Subtract(**kwargs)(inputs)


def multiply(inputs: Sequence[Any], **kwargs: Any) -> Any:
    """The product of the inputs."""
    return Multiply(**kwargs)(inputs)


def average(inputs: Sequence[Any], **kwargs: Any) -> Any:
    """The mean of the inputs."""
    return Average(**kwargs)(inputs)


def maximum(inputs: Sequence[Any], **kwargs: Any) -> Any:
    """The largest of the inputs, element by element."""
    return Maximum(**kwargs)(inputs)


def minimum(inputs: Sequence[Any], **kwargs: Any) -> Any:
    """The smallest of the inputs, element by element."""
    return Minimum(**kwargs)(inputs)


def concatenate(inputs: Sequence[Any], axis: int = -1, **kwargs: Any) -> Any:
    """The inputs one after another along an axis."""
    return Concatenate(axis, **kwargs)(inputs)


def dot(inputs: Sequence[Any], axes: Any = -1, **kwargs: Any) -> Any:
    """Sums of products of two inputs along an axis of each."""
    return Dot(axes, **kwargs)(inputs)
