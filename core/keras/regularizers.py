"""Penalties on weights and activities, added to the loss."""

from __future__ import annotations

from typing import Any

from ..ops.dispatch import apply
from . import registry

__all__ = ["L1", "L1L2", "L2", "Regularizer", "deserialize", "get", "l1", "l1_l2", "l2", "serialize"]


class Regularizer:
    """The base: called with a tensor, gives a scalar."""

    def __call__(self, x: Any) -> Any:
        """The penalty."""
        raise NotImplementedError

    def get_config(self) -> dict[str, Any]:
        """What makes an equal one."""
        return {}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        """A regularizer of this configuration."""
        return cls(**config)


class L1L2(Regularizer):
    """l1 * sum(|x|) + l2 * sum(x * x)."""

    def __init__(self, l1: float = 0.0, l2: float = 0.0) -> None:
        self.l1, self.l2 = float(l1 or 0.0), float(l2 or 0.0)

    def __call__(self, x: Any) -> Any:
        total: Any = None
        for factor, op in ((self.l1, "abs"), (self.l2, "square")):
            if factor:
                part = apply("reduce_sum", apply(op, x), axis=None, keepdims=False) * factor
                total = part if total is None else total + part
        return 0.0 if total is None else total

    def get_config(self) -> dict[str, Any]:
        return {"l1": self.l1, "l2": self.l2}


class L1(L1L2):
    """l1 * sum(|x|)."""

    def __init__(self, l1: float = 0.01) -> None:
        super().__init__(l1=l1)

    def get_config(self) -> dict[str, Any]:
        return {"l1": self.l1}


class L2(L1L2):
    """l2 * sum(x * x)."""

    def __init__(self, l2: float = 0.01) -> None:
        super().__init__(l2=l2)

    def get_config(self) -> dict[str, Any]:
        return {"l2": self.l2}


def l1_l2(l1: float = 0.01, l2: float = 0.01) -> L1L2:
    """Both penalties."""
    return L1L2(l1, l2)


l1, l2 = L1, L2
KNOWN: dict[str, Any] = {"L1": L1, "L2": L2, "L1L2": L1L2, "l1": L1, "l2": L2, "l1_l2": l1_l2}


def get(identifier: Any) -> Any:
    """A regularizer from None, a name, a configuration or an object."""
    return registry.get(identifier, KNOWN, "regularizer identifier")


def serialize(regularizer: Any) -> Any:
    """The configuration of a regularizer."""
    return registry.serialize(regularizer)


def deserialize(config: Any, custom_objects: Any = None) -> Any:
    """The regularizer of a configuration."""
    return registry.deserialize(config, KNOWN | (custom_objects or {}), "regularizer")
