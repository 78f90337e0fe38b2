"""Layers of several inputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...ops.dispatch import apply
from .layer import Layer

__all__ = ["Add", "Average", "Concatenate", "Maximum", "Minimum", "Multiply", "Subtract", "add", "concatenate"]


class Merge(Layer):
    """The base: folds a list of inputs with one op."""

    op = "add"

    def call(self, inputs: Sequence[Any]) -> Any:
        if not isinstance(inputs, list | tuple) or len(inputs) < 1:
            raise ValueError(
                f"A merge layer should be called on a list of inputs. Received: inputs={inputs} (not a list of tensors)"
            )
        out = inputs[0]
        for x in inputs[1:]:
            out = apply(self.op, out, x)
        return out


class Add(Merge):
    """The sum."""


class Subtract(Merge):
    """The first minus the second."""

    op = "subtract"


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


class Concatenate(Layer):
    """Inputs one after another along an axis."""

    def __init__(self, axis: int = -1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.axis = axis

    def call(self, inputs: Sequence[Any]) -> Any:
        return apply("concat", *inputs, axis=self.axis % len(inputs[0].sizes))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "axis": self.axis}


def add(inputs: Sequence[Any], **kwargs: Any) -> Any:
    """The sum of the inputs."""
    return Add(**kwargs)(inputs)


def concatenate(inputs: Sequence[Any], axis: int = -1, **kwargs: Any) -> Any:
    """The inputs one after another along an axis."""
    return Concatenate(axis, **kwargs)(inputs)
