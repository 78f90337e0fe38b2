"""Normalization of each sample by its own statistics: by rows, groups of channels, root mean square, or length."""

from __future__ import annotations

from typing import Any

from ...ops.dispatch import apply
from ...ops.elementwise import minimum, square
from ...ops.normalize import layer_norm
from ...ops.reduce import reduce_mean, reduce_sum
from . import checks
from .layer import Layer

__all__ = ["GroupNormalization", "LayerNormalization", "RMSNormalization", "UnitNormalization"]


class RowNormalization(Layer):
    """The base of layers that normalize over some axes: `axis` is an int or a list of ints."""

    supports_masking = True

    def __init__(self, axis: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not isinstance(axis, int | list | tuple):
            raise TypeError(
                f"Expected an int or a list/tuple of ints for the argument 'axis', but received: {axis!r}"
            )
        self.axis = axis if isinstance(axis, int) else list(axis)

    def axes(self, rank: int) -> tuple[int, ...]:
        """The axes, counted from 0, in order. Raises ValueError for one that the inputs lack."""
        given = [self.axis] if isinstance(self.axis, int) else self.axis
        if any(not -rank <= a < rank for a in given):
            raise ValueError(f"Axis {given} is out of bounds for an input of {rank} axes. Received: axis={self.axis}")
        return tuple(sorted(a % rank for a in given))

    def weight_shape(self, input_shape: Any) -> tuple[int, ...]:
        """The sizes along the axes."""
        return tuple(checks.known_size(input_shape, a, self) for a in self.axes(len(input_shape)))

    def spread(self, weight: Any, x: Any, axes: tuple[int, ...]) -> Any:
        """A weight over the axes in a shape that broadcasts against x."""
        if axes == tuple(range(len(x.sizes) - len(axes), len(x.sizes))):
            return weight
        return apply("reshape", weight, shape=tuple(d if i in axes else 1 for i, d in enumerate(x.sizes)))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "axis": self.axis}


class LayerNormalization(RowNormalization):
    """Normalizes each sample over some axes (the last by default) to mean 0 and variance 1."""

    def __init__(
        self,
        axis: Any = -1,
        epsilon: float = 0.001,
        center: bool = True,
        scale: bool = True,
        beta_initializer: Any = "zeros",
        gamma_initializer: Any = "ones",
        beta_regularizer: Any = None,
        gamma_regularizer: Any = None,
        beta_constraint: Any = None,
        gamma_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        if kwargs.pop("rms_scaling", False):
            raise ValueError("LayerNormalization: rms_scaling=True is deprecated; use keras.layers.RMSNormalization.")
        super().__init__(axis, **kwargs)
        self.epsilon, self.center, self.scale = float(epsilon), bool(center), bool(scale)
        self.declare_weight("gamma", gamma_initializer, gamma_regularizer, gamma_constraint)
        self.declare_weight("beta", beta_initializer, beta_regularizer, beta_constraint)
        self.gamma: Any = None
        self.beta: Any = None

    def build(self, input_shape: Any = None) -> None:
        shape = self.weight_shape(input_shape)
        if self.scale:
            self.gamma = self.make_weight("gamma", shape)
        if self.center:
            self.beta = self.make_weight("beta", shape)

    def call(self, inputs: Any) -> Any:
        rank = len(inputs.sizes)
        axes = self.axes(rank)
        order = (*(i for i in range(rank) if i not in axes), *axes)
        if order == tuple(range(rank)):
            return layer_norm(inputs, self.gamma, self.beta, self.epsilon, len(axes))
        moved = layer_norm(
            apply("transpose", inputs, perm=order), self.gamma, self.beta, self.epsilon, len(axes)
        )
        return apply("transpose", moved, perm=tuple(order.index(i) for i in range(rank)))

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "epsilon": self.epsilon,
            "center": self.center,
            "scale": self.scale,
            "rms_scaling": False,
        }


class RMSNormalization(RowNormalization):
    """Divides each sample by its root mean square over some axes, and scales it."""

    supports_masking = False

    def __init__(self, axis: Any = -1, epsilon: float = 1e-06, **kwargs: Any) -> None:
        super().__init__(axis, **kwargs)
        self.epsilon = float(epsilon)

    def build(self, input_shape: Any = None) -> None:
        self.scale = self.add_weight(self.weight_shape(input_shape), "ones", name="scale")

    def call(self, x: Any) -> Any:
        axes = self.axes(len(x.sizes))
        factor = apply("rsqrt", reduce_mean(square(x), axes, True) + self.epsilon)
        return x * factor * self.spread(self.scale, x, axes)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "epsilon": self.epsilon}


class UnitNormalization(RowNormalization):
    """Scales each sample to length 1 over some axes."""

    def __init__(self, axis: Any = -1, **kwargs: Any) -> None:
        super().__init__(axis, **kwargs)
        self.built = True

    def call(self, inputs: Any) -> Any:
        length = apply("rsqrt", reduce_sum(square(inputs), self.axes(len(inputs.sizes)), True))
        return inputs * minimum(length, 1e12)


class GroupNormalization(Layer):
    """Normalizes groups of channels of each sample to mean 0 and variance 1; `groups=-1`: each channel by itself."""

    supports_masking = True

    def __init__(
        self,
        groups: int = 32,
        axis: int = -1,
        epsilon: float = 0.001,
        center: bool = True,
        scale: bool = True,
        beta_initializer: Any = "zeros",
        gamma_initializer: Any = "ones",
        beta_regularizer: Any = None,
        gamma_regularizer: Any = None,
        beta_constraint: Any = None,
        gamma_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        if not isinstance(groups, int) or (groups <= 0 and groups != -1):
            raise ValueError(
                "Received an invalid value for argument `groups`, expected a positive integer (or `-1` for instance "
                f"normalization). Received: groups={groups}"
            )
        super().__init__(**kwargs)
        self.groups, self.axis, self.epsilon = groups, axis, float(epsilon)
        self.center, self.scale = bool(center), bool(scale)
        self.declare_weight("gamma", gamma_initializer, gamma_regularizer, gamma_constraint)
        self.declare_weight("beta", beta_initializer, beta_regularizer, beta_constraint)
        self.gamma: Any = None
        self.beta: Any = None

    def build(self, input_shape: Any = None) -> None:
        channels = checks.known_size(input_shape, self.axis, self)
        if self.groups == -1:
            self.groups = channels
        if channels < self.groups:
            raise ValueError(
                f"Number of groups ({self.groups}) cannot be more than the number of channels ({channels})."
            )
        if channels % self.groups:
            raise ValueError(
                f"Number of groups ({self.groups}) must be a multiple of the number of channels ({channels})."
            )
        if self.scale:
            self.gamma = self.make_weight("gamma", (channels,))
        if self.center:
            self.beta = self.make_weight("beta", (channels,))

    def call(self, inputs: Any) -> Any:
        rank = len(inputs.sizes)
        axis = self.axis % rank
        apart = (*inputs.sizes[:axis], self.groups, inputs.sizes[axis] // self.groups, *inputs.sizes[axis + 1 :])
        order = (0, axis, *(i for i in range(1, rank + 1) if i != axis))
        grouped = apply("transpose", apply("reshape", inputs, shape=apart), perm=order)
        normal = layer_norm(grouped, None, None, self.epsilon, rank - 1)
        together = apply("transpose", normal, perm=tuple(order.index(i) for i in range(rank + 1)))
        outputs = apply("reshape", together, shape=inputs.sizes)
        shape = tuple(d if i == axis else 1 for i, d in enumerate(inputs.sizes))
        for weight, combine in ((self.gamma, "multiply"), (self.beta, "add")):
            if weight is not None:
                spread = weight if axis == rank - 1 else apply("reshape", weight, shape=shape)
                outputs = apply(combine, outputs, spread)
        return outputs

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "groups": self.groups,
            "axis": self.axis,
            "epsilon": self.epsilon,
            "center": self.center,
            "scale": self.scale,
        }
