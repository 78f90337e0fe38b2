"""Normalization by the statistics of a batch."""

from __future__ import annotations

from typing import Any

from ...ops.dispatch import apply
from ...ops.normalize import batch_norm
from .checks import known_size
from .layer import Layer

__all__ = ["BatchNormalization"]


class BatchNormalization(Layer):
    """Normalizes each channel by mean and variance of the batch in training, by moving averages of them otherwise."""

    supports_masking = True

    def __init__(
        self,
        axis: int = -1,
        momentum: float = 0.99,
        epsilon: float = 0.001,
        center: bool = True,
        scale: bool = True,
        beta_initializer: Any = "zeros",
        gamma_initializer: Any = "ones",
        moving_mean_initializer: Any = "zeros",
        moving_variance_initializer: Any = "ones",
        beta_regularizer: Any = None,
        gamma_regularizer: Any = None,
        beta_constraint: Any = None,
        gamma_constraint: Any = None,
        synchronized: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.axis, self.momentum, self.epsilon, self.center, self.scale = (
            axis,
            float(momentum),
            float(epsilon),
            center,
            scale,
        )
        self.synchronized = bool(synchronized)
        self.declare_weight("gamma", gamma_initializer, gamma_regularizer, gamma_constraint)
        self.declare_weight("beta", beta_initializer, beta_regularizer, beta_constraint)
        for name, initializer in (("mean", moving_mean_initializer), ("variance", moving_variance_initializer)):
            self.declare_weight(f"moving_{name}", initializer, parts=("initializer",))
        self.gamma: Any = None
        self.beta: Any = None

    def build(self, input_shape: Any = None) -> None:
        shape = (known_size(input_shape, self.axis, self),)
        if self.scale:
            self.gamma = self.make_weight("gamma", shape)
        if self.center:
            self.beta = self.make_weight("beta", shape)
        self.moving_mean = self.make_weight("moving_mean", shape, trainable=False)
        self.moving_variance = self.make_weight("moving_variance", shape, trainable=False)

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        axis = self.axis % len(inputs.sizes)
        if not (training and self._trainable):
            return self._by_averages(inputs, axis)
        order = (*(i for i in range(len(inputs.sizes)) if i != axis), axis)
        last = axis == len(inputs.sizes) - 1
        x = inputs if last else apply("transpose", inputs, perm=order)
        outputs, mean, variance = batch_norm(x, self.gamma, self.beta, self.epsilon)
        for average, value in ((self.moving_mean, mean), (self.moving_variance, variance)):
            average.assign(average * self.momentum + value * (1.0 - self.momentum))
        return outputs if last else apply("transpose", outputs, perm=tuple(order.index(i) for i in range(len(order))))

    def _by_averages(self, inputs: Any, axis: int) -> Any:
        """Normalized by what training has gathered."""
        rank = len(inputs.sizes)
        factor = apply("rsqrt", self.moving_variance + self.epsilon)
        if self.gamma is not None:
            factor = factor * self.gamma
        outputs = (inputs - self._spread(self.moving_mean, rank, axis)) * self._spread(factor, rank, axis)
        return outputs if self.beta is None else outputs + self._spread(self.beta, rank, axis)

    def _spread(self, x: Any, rank: int, axis: int) -> Any:
        """Per-channel values in a shape that broadcasts."""
        if axis == rank - 1:
            return x
        return apply("reshape", x, shape=tuple(x.sizes[0] if i == axis else 1 for i in range(rank)))

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "axis": self.axis,
            "momentum": self.momentum,
            "epsilon": self.epsilon,
            "center": self.center,
            "scale": self.scale,
            "synchronized": self.synchronized,
        }
