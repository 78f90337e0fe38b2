"""Convolution and pooling over images."""

from __future__ import annotations

from typing import Any

from ...ops.conv import conv2d
from ...ops.dispatch import apply
from ...ops.pool import avg_pool, max_pool
from ...ops.reduce import reduce_max, reduce_mean
from .. import activations, regularizers
from . import checks
from .layer import Layer

__all__ = [
    "AveragePooling2D",
    "Conv2D",
    "DepthwiseConv2D",
    "GlobalAveragePooling2D",
    "GlobalMaxPooling2D",
    "MaxPooling2D",
]

LAST, FIRST = "channels_last", "channels_first"


class Spatial(Layer):
    """The base of layers over [batch, rows, columns, channels]; channels may come first, then axes are moved
    around the op."""

    data_format: str

    def to_last(self, x: Any) -> Any:
        """With channels last."""
        checks.rank(x.sizes, 4, self)
        return apply("transpose", x, perm=(0, 2, 3, 1)) if self.data_format == FIRST else x

    def from_last(self, x: Any) -> Any:
        """As the caller has it."""
        return apply("transpose", x, perm=(0, 3, 1, 2)) if self.data_format == FIRST else x


class BaseConv(Spatial):
    """What Conv2D and DepthwiseConv2D share."""

    def __init__(
        self,
        kernel_size: Any,
        strides: Any,
        padding: str,
        data_format: str | None,
        dilation_rate: Any,
        activation: Any,
        use_bias: bool,
        bias: tuple[Any, Any, Any],
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.kernel_size = checks.pair(kernel_size, "kernel_size")
        self.strides = checks.pair(strides, "strides")
        self.padding = checks.one_of("padding", padding, ("valid", "same"))
        self.data_format = checks.one_of("data_format", data_format or LAST, (LAST, FIRST))
        self.dilation_rate = checks.pair(dilation_rate, "dilation_rate")
        self.activation = activations.get(activation)
        self.use_bias = bool(use_bias)
        self.declare_weight("bias", *bias)
        self.bias: Any = None
        self._channels: int | None = None

    def channels(self, input_shape: Any) -> int:
        """The number of input channels."""
        checks.rank(input_shape, 4, self)
        self._channels = checks.known_size(input_shape, -1 if self.data_format == LAST else 1, self)
        return self._channels

    def convolve(self, inputs: Any, kernel: Any, groups: int) -> Any:
        """Convolution, bias, activation."""
        checks.rank(inputs.sizes, 4, self)
        checks.features(inputs, self._channels, -1 if self.data_format == LAST else 1, self)
        outputs = conv2d(
            self.to_last(inputs),
            kernel,
            strides=self.strides,
            padding=self.padding.upper(),
            dilations=self.dilation_rate,
            groups=groups,
        )
        if self.bias is not None:
            outputs = outputs + self.bias
        return self.from_last(self.activation(outputs))

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "kernel_size": list(self.kernel_size),
            "strides": list(self.strides),
            "padding": self.padding,
            "data_format": self.data_format,
            "dilation_rate": list(self.dilation_rate),
            "activation": activations.serialize(self.activation),
            "use_bias": self.use_bias,
            "activity_regularizer": regularizers.serialize(self.activity_regularizer),
        }


class Conv2D(BaseConv):
    """Slides `filters` filters over an image."""

    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        strides: Any = (1, 1),
        padding: str = "valid",
        data_format: str | None = None,
        dilation_rate: Any = (1, 1),
        groups: int = 1,
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
        super().__init__(
            kernel_size,
            strides,
            padding,
            data_format,
            dilation_rate,
            activation,
            use_bias,
            (bias_initializer, bias_regularizer, bias_constraint),
            activity_regularizer=activity_regularizer,
            **kwargs,
        )
        self.filters = checks.positive_int("filters", filters, self)
        self.groups = checks.positive_int("groups", groups, self)
        if self.filters % self.groups:
            raise ValueError(
                f"The number of filters must be evenly divisible by the number of groups. "
                f"Received: groups={groups}, filters={filters}."
            )
        self.declare_weight("kernel", kernel_initializer, kernel_regularizer, kernel_constraint)

    def build(self, input_shape: Any = None) -> None:
        channels = self.channels(input_shape)
        if channels % self.groups:
            raise ValueError(
                f"The number of input channels must be evenly divisible by the number of groups. Received "
                f"groups={self.groups}, but the input has {channels} channels (full input shape is "
                f"{tuple(input_shape)})."
            )
        shape = (*self.kernel_size, channels // self.groups, self.filters)
        self.kernel = self.make_weight("kernel", shape)
        if self.use_bias:
            self.bias = self.make_weight("bias", (self.filters,))

    def call(self, inputs: Any) -> Any:
        return self.convolve(inputs, self.kernel, self.groups)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "filters": self.filters,
            "groups": self.groups,
        }


class DepthwiseConv2D(BaseConv):
    """Convolves every channel by itself, `depth_multiplier` times."""

    def __init__(
        self,
        kernel_size: Any,
        strides: Any = (1, 1),
        padding: str = "valid",
        depth_multiplier: int = 1,
        data_format: str | None = None,
        dilation_rate: Any = (1, 1),
        activation: Any = None,
        use_bias: bool = True,
        depthwise_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        depthwise_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        depthwise_constraint: Any = None,
        bias_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            kernel_size,
            strides,
            padding,
            data_format,
            dilation_rate,
            activation,
            use_bias,
            (bias_initializer, bias_regularizer, bias_constraint),
            activity_regularizer=activity_regularizer,
            **kwargs,
        )
        self.depth_multiplier = checks.positive_int("depth_multiplier", depth_multiplier, self)
        self.declare_weight("depthwise", depthwise_initializer, depthwise_regularizer, depthwise_constraint)

    def build(self, input_shape: Any = None) -> None:
        channels = self.channels(input_shape)
        self.kernel = self.make_weight("depthwise", (*self.kernel_size, channels, self.depth_multiplier))
        if self.use_bias:
            self.bias = self.make_weight("bias", (channels * self.depth_multiplier,))

    def call(self, inputs: Any) -> Any:
        assert self._channels is not None
        kernel = apply("reshape", self.kernel, shape=(*self.kernel_size, 1, self._channels * self.depth_multiplier))
        return self.convolve(inputs, kernel, self._channels)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "depth_multiplier": self.depth_multiplier}


class Pooling2D(Spatial):
    """The base of pooling over windows."""

    function: Any

    def __init__(
        self,
        pool_size: Any = (2, 2),
        strides: Any = None,
        padding: str = "valid",
        data_format: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.pool_size = checks.pair(pool_size, "pool_size")
        self.strides = self.pool_size if strides is None else checks.pair(strides, "strides")
        self.padding = checks.one_of("padding", padding, ("valid", "same"))
        self.data_format = checks.one_of("data_format", data_format or LAST, (LAST, FIRST))
        self.built = True

    def call(self, inputs: Any) -> Any:
        return self.from_last(
            type(self).function(self.to_last(inputs), self.pool_size, self.strides, self.padding.upper())
        )

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "pool_size": list(self.pool_size),
            "strides": list(self.strides),
            "padding": self.padding,
            "data_format": self.data_format,
        }


class MaxPooling2D(Pooling2D):
    """The largest value of each window."""

    function = staticmethod(max_pool)


class AveragePooling2D(Pooling2D):
    """The mean of each window, padding not counted."""

    function = staticmethod(avg_pool)


class GlobalPooling2D(Spatial):
    """The base of pooling over whole images."""

    function: Any

    def __init__(self, data_format: str | None = None, keepdims: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.data_format = checks.one_of("data_format", data_format or LAST, (LAST, FIRST))
        self.keepdims = bool(keepdims)
        self.built = True

    def call(self, inputs: Any) -> Any:
        checks.rank(inputs.sizes, 4, self)
        return type(self).function(inputs, (1, 2) if self.data_format == LAST else (2, 3), self.keepdims)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "data_format": self.data_format, "keepdims": self.keepdims}


class GlobalAveragePooling2D(GlobalPooling2D):
    """The mean of each channel."""

    function = staticmethod(reduce_mean)


class GlobalMaxPooling2D(GlobalPooling2D):
    """The largest value of each channel."""

    function = staticmethod(reduce_max)
