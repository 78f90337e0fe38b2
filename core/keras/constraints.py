"""Constraints: what a weight is projected onto after each update."""

from __future__ import annotations

from typing import Any

from ..ops.dispatch import apply, convert
from ..ops.reduce import reduce_sum
from . import registry
from .naming import snake_case

__all__ = [
    "Constraint",
    "MaxNorm",
    "MinMaxNorm",
    "NonNeg",
    "UnitNorm",
    "deserialize",
    "get",
    "max_norm",
    "min_max_norm",
    "non_neg",
    "serialize",
    "unit_norm",
]

EPSILON = 1e-7


class Constraint:
    """The base: called with a weight, gives the nearest value that is allowed."""

    def __call__(self, w: Any) -> Any:
        """The projected value."""
        raise NotImplementedError

    def get_config(self) -> dict[str, Any]:
        """What makes an equal one."""
        return {}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        """A constraint of this configuration."""
        return cls(**config)


def _norm(w: Any, axis: Any) -> Any:
    axes = (axis,) if isinstance(axis, int) else tuple(axis)
    return apply("sqrt", reduce_sum(w * w, tuple(a % len(w.sizes) for a in axes), True))


class MaxNorm(Constraint):
    """The norm along an axis is at most `max_value`."""

    def __init__(self, max_value: float = 2, axis: Any = 0) -> None:
        self.max_value, self.axis = max_value, axis

    def __call__(self, w: Any) -> Any:
        w = convert(w)
        norms = _norm(w, self.axis)
        return w * (apply("minimum", norms, float(self.max_value)) / (norms + EPSILON))

    def get_config(self) -> dict[str, Any]:
        return {"max_value": self.max_value, "axis": self.axis}


class NonNeg(Constraint):
    """Negative elements become 0."""

    def __call__(self, w: Any) -> Any:
        return apply("maximum", convert(w), 0.0)


class UnitNorm(Constraint):
    """The norm along an axis is 1."""

    def __init__(self, axis: Any = 0) -> None:
        self.axis = axis

    def __call__(self, w: Any) -> Any:
        w = convert(w)
        return w / (_norm(w, self.axis) + EPSILON)

    def get_config(self) -> dict[str, Any]:
        return {"axis": self.axis}


class MinMaxNorm(Constraint):
    """The norm along an axis moves into [min_value, max_value] by the fraction `rate`."""

    def __init__(self, min_value: float = 0.0, max_value: float = 1.0, rate: float = 1.0, axis: Any = 0) -> None:
        self.min_value, self.max_value, self.rate, self.axis = min_value, max_value, rate, axis

    def __call__(self, w: Any) -> Any:
        w = convert(w)
        norms = _norm(w, self.axis)
        inside = apply("minimum", apply("maximum", norms, float(self.min_value)), float(self.max_value))
        return w * ((inside * float(self.rate) + norms * (1.0 - self.rate)) / (norms + EPSILON))

    def get_config(self) -> dict[str, Any]:
        return {"min_value": self.min_value, "max_value": self.max_value, "rate": self.rate, "axis": self.axis}


max_norm, min_max_norm, non_neg, unit_norm = MaxNorm, MinMaxNorm, NonNeg, UnitNorm
_CLASSES = [MaxNorm, MinMaxNorm, NonNeg, UnitNorm]
KNOWN: dict[str, Any] = {c.__name__: c for c in _CLASSES} | {snake_case(c.__name__): c for c in _CLASSES}


def get(identifier: Any) -> Any:
    """A constraint from None, a name, a configuration or an object."""
    return registry.get(identifier, KNOWN, "constraint identifier")


def serialize(constraint: Any) -> Any:
    """The configuration of a constraint."""
    return registry.serialize(constraint)


def deserialize(config: Any, custom_objects: Any = None) -> Any:
    """The constraint of a configuration."""
    return registry.deserialize(config, KNOWN | (custom_objects or {}), "constraint")
