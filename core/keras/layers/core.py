"""Dense, Activation and the layers that only look at shapes: Input, Flatten, Reshape, Rescaling, Permute."""

from __future__ import annotations

import math
from typing import Any

from ...ops.dispatch import apply
from ...shapes import num_elements
from .. import activations, regularizers
from ..symbolic import KerasTensor
from .checks import features, known_size, positive_int
from .layer import Layer

__all__ = ["Activation", "Dense", "Flatten", "Identity", "Input", "InputLayer", "Permute", "Rescaling", "Reshape"]


class InputLayer(Layer):
    """The place of an input in a model."""

    def __init__(
        self,
        shape: Any = None,
        batch_size: int | None = None,
        dtype: Any = None,
        sparse: Any = None,
        ragged: Any = None,
        batch_shape: Any = None,
        input_tensor: Any = None,
        optional: bool = False,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(name=name, dtype=dtype, **kwargs)
        if shape is None and batch_shape is None:
            raise ValueError("You must pass a `shape` argument.")
        if shape is not None and isinstance(shape, int):
            shape = (shape,)
        self.batch_shape = tuple(batch_shape) if batch_shape is not None else (batch_size, *shape)  # type: ignore[misc]
        self.built = True
        self.tensor = KerasTensor(self.batch_shape, self._dtype, self.name)

    def call(self) -> Any:
        return self.tensor

    def get_config(self) -> dict[str, Any]:
        return {"batch_shape": list(self.batch_shape), "dtype": self._dtype, "name": self.name}


def Input(
    shape: Any = None,
    batch_size: int | None = None,
    dtype: Any = None,
    sparse: Any = None,
    ragged: Any = None,
    batch_shape: Any = None,
    name: str | None = None,
    tensor: Any = None,
    optional: bool = False,
) -> KerasTensor:
    """A symbolic input of `shape` (without the batch axis), from which a functional model is built."""
    layer = InputLayer(shape, batch_size, dtype, batch_shape=batch_shape, name=name or None)
    return layer.tensor


class Dense(Layer):
    """A fully connected layer: ``activation(inputs @ kernel + bias)`` over the last axis."""

    supports_masking = True

    def __init__(
        self,
        units: int,
        activation: Any = None,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(activity_regularizer=activity_regularizer, **kwargs)
        self.units = positive_int("units", units, self)
        self.activation = activations.get(activation)
        self.use_bias = bool(use_bias)
        self.declare_weight("kernel", kernel_initializer, kernel_regularizer, kernel_constraint)
        self.declare_weight("bias", bias_initializer, bias_regularizer, bias_constraint)
        self._features: int | None = None

    def build(self, input_shape: Any = None) -> None:
        self._features = known_size(input_shape, -1, self)
        self.kernel = self.make_weight("kernel", (self._features, self.units))
        self.bias = self.make_weight("bias", (self.units,)) if self.use_bias else None

    def call(self, inputs: Any) -> Any:
        features(inputs, self._features, -1, self)
        if len(inputs.sizes) > 2:
            rows = apply("reshape", inputs, shape=(num_elements(inputs.sizes[:-1]), inputs.sizes[-1]))
            outputs = apply("reshape", rows @ self.kernel, shape=(*inputs.sizes[:-1], self.units))
        else:
            outputs = inputs @ self.kernel
        if self.bias is not None:
            outputs = outputs + self.bias
        return self.activation(outputs)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "units": self.units,
            "activation": activations.serialize(self.activation),
            "use_bias": self.use_bias,
            "activity_regularizer": regularizers.serialize(self.activity_regularizer),
        }


class Activation(Layer):
    """Applies an activation function."""

    supports_masking = True

    def __init__(self, activation: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.activation = activations.get(activation)
        self.built = True

    def call(self, inputs: Any) -> Any:
        return self.activation(inputs)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "activation": activations.serialize(self.activation)}


class Identity(Layer):
    """Gives its inputs."""

    supports_masking = True

    def call(self, inputs: Any) -> Any:
        return apply("identity", inputs)


class Flatten(Layer):
    """Makes one axis of all but the first."""

    def __init__(self, data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.data_format = data_format or "channels_last"
        self.built = True

    def call(self, inputs: Any) -> Any:
        if self.data_format == "channels_first" and len(inputs.sizes) > 2:
            inputs = apply("transpose", inputs, perm=(0, *range(2, len(inputs.sizes)), 1))
        return apply("reshape", inputs, shape=(inputs.sizes[0], num_elements(inputs.sizes[1:])))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "data_format": self.data_format}


class Reshape(Layer):
    """Gives every sample this shape; one size may be -1."""

    def __init__(self, target_shape: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.target_shape = tuple(int(d) for d in target_shape)
        if self.target_shape.count(-1) > 1:
            raise ValueError(
                f"There must be at most one unknown dimension (-1) in target_shape. "
                f"Received: target_shape={self.target_shape}."
            )
        self.built = True

    def call(self, inputs: Any) -> Any:
        target: list[Any] = list(self.target_shape)
        total = num_elements(inputs.sizes[1:])
        known = math.prod(d for d in target if d != -1)
        if -1 in target:
            target[target.index(-1)] = total // known
        if isinstance(total, int) and num_elements(target) != total:
            raise ValueError(
                f"The total size of the tensor must be unchanged. Received: input_shape={tuple(inputs.sizes[1:])}, "
                f"target_shape={self.target_shape}"
            )
        return apply("reshape", inputs, shape=(inputs.sizes[0], *target))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "target_shape": list(self.target_shape)}


class Permute(Layer):
    """Permutes the axes of every sample; `dims` counts them from 1."""

    def __init__(self, dims: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.dims = tuple(dims)
        if sorted(self.dims) != list(range(1, len(self.dims) + 1)):
            raise ValueError(
                "Invalid permutation argument `dims` for Permute Layer. The set of indices in `dims` must be "
                f"consecutive and start from 1. Received dims={self.dims}"
            )

    def call(self, inputs: Any) -> Any:
        return apply("transpose", inputs, perm=(0, *self.dims))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "dims": list(self.dims)}


class Rescaling(Layer):
    """inputs * scale + offset."""

    def __init__(self, scale: float, offset: float = 0.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.scale, self.offset = scale, offset
        self.built = True

    def call(self, inputs: Any) -> Any:
        if not inputs.dtype.is_floating:
            inputs = apply("cast", inputs, dtype=self._dtype)
        outputs = inputs * float(self.scale)
        return outputs + float(self.offset) if self.offset else outputs

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "scale": self.scale, "offset": self.offset}
