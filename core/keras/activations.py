"""Activation functions by name."""

from __future__ import annotations

from typing import Any

from ..ops.dispatch import apply, convert
from ..ops.softmax import log_softmax as _log_softmax
from ..ops.softmax import softmax as _softmax
from . import registry

__all__ = [
    "deserialize",
    "elu",
    "exponential",
    "gelu",
    "get",
    "hard_sigmoid",
    "leaky_relu",
    "linear",
    "log_softmax",
    "mish",
    "relu",
    "relu6",
    "selu",
    "serialize",
    "sigmoid",
    "silu",
    "softmax",
    "softplus",
    "softsign",
    "swish",
    "tanh",
]


def linear(x: Any) -> Any:
    """x itself."""
    return x


def relu(x: Any, negative_slope: float = 0.0, max_value: float | None = None, threshold: float = 0.0) -> Any:
    """max(x, 0); with a slope below the threshold, and a largest value."""
    x = convert(x)
    if threshold == negative_slope == 0.0 and max_value == 6.0:
        return apply("relu6", x)
    if threshold == 0.0 and max_value is None:
        return apply("relu", x) if not negative_slope else apply("leaky_relu", x, alpha=float(negative_slope))
    out = apply("select", x >= threshold, x, (x - threshold) * negative_slope)
    return out if max_value is None else apply("minimum", out, float(max_value))


def leaky_relu(x: Any, negative_slope: float = 0.2) -> Any:
    """x, times the slope where negative."""
    return apply("leaky_relu", convert(x), alpha=float(negative_slope))


def relu6(x: Any) -> Any:
    """min(max(x, 0), 6)."""
    return apply("relu6", convert(x))


def sigmoid(x: Any) -> Any:
    """1 / (1 + exp(-x))."""
    return apply("sigmoid", convert(x))


def tanh(x: Any) -> Any:
    """The hyperbolic tangent."""
    return apply("tanh", convert(x))


def softmax(x: Any, axis: int = -1) -> Any:
    """exp(x) / sum(exp(x)) along an axis."""
    return _softmax(convert(x), axis=axis)


def log_softmax(x: Any, axis: int = -1) -> Any:
    """log(softmax(x))."""
    return _log_softmax(convert(x), axis=axis)


def softplus(x: Any) -> Any:
    """log(1 + exp(x))."""
    return apply("softplus", convert(x))


def softsign(x: Any) -> Any:
    """x / (1 + |x|)."""
    x = convert(x)
    return x / (apply("abs", x) + 1.0)


def elu(x: Any, alpha: float = 1.0) -> Any:
    """x, or alpha * (exp(x) - 1) where negative."""
    x = convert(x)
    return apply("select", x > 0.0, x, apply("expm1", apply("minimum", x, 0.0)) * float(alpha))


def selu(x: Any) -> Any:
    """Scaled elu, which keeps mean 0 and variance 1."""
    return elu(x, 1.6732632423543772) * 1.0507009873554805


def exponential(x: Any) -> Any:
    """exp(x)."""
    return apply("exp", convert(x))


def gelu(x: Any, approximate: bool = False) -> Any:
    """x times the normal distribution function of x."""
    return apply("gelu", convert(x), approximate=bool(approximate))


def silu(x: Any) -> Any:
    """x * sigmoid(x)."""
    x = convert(x)
    return x * apply("sigmoid", x)


swish = silu


def hard_sigmoid(x: Any) -> Any:
    """relu6(x + 3) / 6."""
    shifted = apply("add", convert(x), 3.0)
    return apply("relu6", shifted) * (1.0 / 6.0)


def mish(x: Any) -> Any:
    """x * tanh(softplus(x))."""
    x = convert(x)
    return x * apply("tanh", apply("softplus", x))


KNOWN: dict[str, Any] = {
    f.__name__: f
    for f in (
        elu,
        exponential,
        gelu,
        hard_sigmoid,
        leaky_relu,
        linear,
        log_softmax,
        mish,
        relu,
        relu6,
        selu,
        sigmoid,
        silu,
        softmax,
        softplus,
        softsign,
        tanh,
    )
} | {"swish": silu}


def get(identifier: Any) -> Any:
    """A function from None (linear), a name or a callable."""
    return linear if identifier is None else registry.get(identifier, KNOWN, "activation function identifier")


def serialize(activation: Any) -> Any:
    """The name of a function, or the configuration of a layer."""
    return registry.serialize(activation)


def deserialize(config: Any, custom_objects: Any = None) -> Any:
    """The function of a name or configuration."""
    return registry.deserialize(config, KNOWN | (custom_objects or {}), "activation")
