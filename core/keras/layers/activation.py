"""Activations as layers."""

from __future__ import annotations

from typing import Any

from ...ops.dispatch import apply
from ...ops.elementwise import select
from ...ops.reduce import reduce_logsumexp
from .. import activations
from .checks import known_size
from .layer import Layer

__all__ = ["ELU", "LeakyReLU", "PReLU", "ReLU", "Softmax"]

MASKED = -1e9  # the score of what a mask leaves out


class ReLU(Layer):
    """max(x, 0), with a slope below the threshold and a largest value."""

    supports_masking = True

    def __init__(
        self, max_value: float | None = None, negative_slope: float = 0.0, threshold: float = 0.0, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        for name, value in (("max_value", max_value), ("negative_slope", negative_slope), ("threshold", threshold)):
            if value is not None and value < 0:
                raise ValueError(f"{name} of a ReLU layer cannot be a negative value. Received: {name}={value}")
        self.max_value, self.negative_slope, self.threshold = max_value, negative_slope, threshold
        self.built = True

    def call(self, inputs: Any) -> Any:
        return activations.relu(inputs, self.negative_slope, self.max_value, self.threshold)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "max_value": self.max_value,
            "negative_slope": self.negative_slope,
            "threshold": self.threshold,
        }


class LeakyReLU(Layer):
    """x, times `negative_slope` where negative."""

    supports_masking = True

    def __init__(self, negative_slope: float = 0.3, **kwargs: Any) -> None:
        if "alpha" in kwargs:
            negative_slope = kwargs.pop("alpha")
        super().__init__(**kwargs)
        if negative_slope is None or negative_slope < 0:
            raise ValueError(
                "The negative_slope value of a Leaky ReLU layer cannot be None or negative value. Expected a "
                f"float. Received: negative_slope={negative_slope}"
            )
        self.negative_slope = negative_slope
        self.built = True

    def call(self, inputs: Any) -> Any:
        return activations.leaky_relu(inputs, self.negative_slope)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "negative_slope": self.negative_slope}


class ELU(Layer):
    """x, or alpha * (exp(x) - 1) where negative."""

    supports_masking = True

    def __init__(self, alpha: float = 1.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.alpha = alpha
        self.built = True

    def call(self, inputs: Any) -> Any:
        return activations.elu(inputs, self.alpha)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "alpha": self.alpha}


class PReLU(Layer):
    """x, times a learned slope where negative. Axes in `shared_axes` (counted with the batch) share their slopes."""

    supports_masking = True

    def __init__(
        self,
        alpha_initializer: Any = "Zeros",
        alpha_regularizer: Any = None,
        alpha_constraint: Any = None,
        shared_axes: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.declare_weight("alpha", alpha_initializer, alpha_regularizer, alpha_constraint)
        self.shared_axes = (
            None if shared_axes is None else [shared_axes] if isinstance(shared_axes, int) else list(shared_axes)
        )

    def build(self, input_shape: Any = None) -> None:
        shared = self.shared_axes or []
        axes = range(1, len(input_shape))
        self.alpha = self.make_weight("alpha", [1 if i in shared else known_size(input_shape, i, self) for i in axes])

    def call(self, inputs: Any) -> Any:
        return activations.relu(inputs) - self.alpha * activations.relu(-inputs)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "shared_axes": self.shared_axes}


class Softmax(Layer):
    """exp(x) / sum(exp(x)) along an axis, or several; where a `mask` is False the result is 0."""

    supports_masking = True

    def __init__(self, axis: Any = -1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.axis = axis if isinstance(axis, int) else list(axis)
        self.built = True

    def call(self, inputs: Any, mask: Any = None) -> Any:
        if mask is not None:
            mask = mask if mask.dtype.name == "bool" else mask > 0.5
            inputs = select(mask, inputs, MASKED)
        if isinstance(self.axis, int) or len(self.axis) == 1:
            outputs = activations.softmax(inputs, self.axis if isinstance(self.axis, int) else self.axis[0])
        else:
            outputs = apply("exp", inputs - reduce_logsumexp(inputs, self.axis, True))
        return outputs if mask is None else select(mask, outputs, 0.0)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "axis": self.axis}
