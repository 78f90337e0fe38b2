"""Activation functions."""

from __future__ import annotations

from typing import Any

from ..eager.tensor import convert_to_tensor
from ..ops import softmax as softmax_ops
from ..ops.dispatch import apply
from ..ops.movement import concat

__all__ = [
    "crelu",
    "elu",
    "gelu",
    "leaky_relu",
    "log_softmax",
    "relu",
    "relu6",
    "selu",
    "sigmoid",
    "silu",
    "softmax",
    "softplus",
    "softsign",
    "swish",
    "tanh",
]


def relu(features: Any, name: str | None = None) -> Any:
    """max(features, 0); the gradient at 0 is 0."""
    return apply("relu", convert_to_tensor(features))


def relu6(features: Any, name: str | None = None) -> Any:
    """min(max(features, 0), 6)."""
    return apply("relu6", convert_to_tensor(features))


def leaky_relu(features: Any, alpha: float = 0.2, name: str | None = None) -> Any:
    """features where positive, else alpha * features."""
    return apply("leaky_relu", convert_to_tensor(features), alpha=float(alpha))


def crelu(features: Any, axis: int = -1, name: str | None = None) -> Any:
    """relu(features) and relu(-features), side by side along `axis`."""
    x = convert_to_tensor(features)
    return concat([relu(x), relu(-x)], axis)


def elu(features: Any, name: str | None = None) -> Any:
    """features where positive, else exp(features) - 1."""
    return apply("elu", convert_to_tensor(features))


def selu(features: Any, name: str | None = None) -> Any:
    """Scaled elu, with the constants of self-normalising networks."""
    return apply("selu", convert_to_tensor(features))


def gelu(features: Any, approximate: bool = False, name: str | None = None) -> Any:
    """features * P(X <= features) for a standard normal X; `approximate` uses tanh."""
    return apply("gelu", convert_to_tensor(features), approximate=bool(approximate))


def silu(features: Any, beta: float = 1.0) -> Any:
    """features * sigmoid(beta * features)."""
    x = convert_to_tensor(features)
    return x * apply("sigmoid", x if isinstance(beta, float | int) and beta == 1.0 else x * beta)


swish = silu


def sigmoid(x: Any, name: str | None = None) -> Any:
    """1 / (1 + exp(-x))."""
    return apply("sigmoid", convert_to_tensor(x))


def tanh(x: Any, name: str | None = None) -> Any:
    """The hyperbolic tangent."""
    return apply("tanh", convert_to_tensor(x))


def softplus(features: Any, name: str | None = None) -> Any:
    """log(1 + exp(features))."""
    return apply("softplus", convert_to_tensor(features))


def softsign(features: Any, name: str | None = None) -> Any:
    """features / (1 + |features|)."""
    return apply("softsign", convert_to_tensor(features))


def softmax(logits: Any, axis: int | None = None, name: str | None = None) -> Any:
    """exp(logits) divided by its sum along `axis` (default: the last)."""
    return softmax_ops.softmax(convert_to_tensor(logits), -1 if axis is None else axis)


def log_softmax(logits: Any, axis: int | None = None, name: str | None = None) -> Any:
    """log(softmax(logits)), stable."""
    return softmax_ops.log_softmax(convert_to_tensor(logits), -1 if axis is None else axis)
