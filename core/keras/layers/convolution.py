"""Convolutions: plain, depthwise and separable, over 1, 2 or 3 spatial axes."""

from __future__ import annotations

from typing import Any

from ...ops.conv import conv
from ...ops.dispatch import apply
from ...ops.slicing import pad
from .. import activations, regularizers
from . import checks
from .spatial import Spatial, data_format_of

__all__ = [
    "BaseConv",
    "Conv1D",
    "Conv2D",
    "Conv3D",
    "DepthwiseConv1D",
    "DepthwiseConv2D",
    "SeparableConv1D",
    "SeparableConv2D",
]


class BaseConv(Spatial):
    """What all convolutions share: the window, the bias and the activation."""

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
        self.kernel_size = checks.per_axis(kernel_size, self.rank, "kernel_size")
        self.strides = checks.per_axis(strides, self.rank, "strides")
        self.padding = checks.one_of("padding", padding, self.paddings())
        self.data_format = data_format_of(data_format)
        self.dilation_rate = checks.per_axis(dilation_rate, self.rank, "dilation_rate")
        if max(self.strides) > 1 and max(self.dilation_rate) > 1:
            raise ValueError(
                f"`strides > 1` not supported in conjunction with `dilation_rate > 1`. Received: "
                f"strides={self.strides} and dilation_rate={self.dilation_rate}"
            )
        self.activation = activations.get(activation)
        self.use_bias = bool(use_bias)
        self.declare_weight("bias", *bias)
        self.bias: Any = None
        self._channels: int | None = None

    def paddings(self) -> tuple[str, ...]:
        """What `padding` may be."""
        return ("valid", "same")

    def channels(self, input_shape: Any) -> int:
        """The number of input channels, which later inputs must have too."""
        self._channels = self.input_channels(input_shape)
        return self._channels

    def checked(self, inputs: Any) -> Any:
        """The inputs with channels last. Raises ValueError if they are not as the layer was built for."""
        checks.rank(inputs.sizes, self.rank + 2, self)
        checks.features(inputs, self._channels, self.channel_axis, self)
        return self.to_last(inputs)

    def convolve(self, x: Any, kernel: Any, groups: int) -> Any:
        """The convolution alone, of inputs with channels last."""
        padding = self.padding.upper()
        if padding == "CAUSAL":
            x, padding = pad(x, [(0, 0), (self.dilation_rate[0] * (self.kernel_size[0] - 1), 0), (0, 0)]), "VALID"
        return conv(x, kernel, strides=self.strides, padding=padding, dilations=self.dilation_rate, groups=groups)

    def finish(self, x: Any) -> Any:
        """Bias, activation, and the axes as the caller has them."""
        return self.from_last(self.activation(x if self.bias is None else x + self.bias))

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


class Conv(BaseConv):
    """The base of convolutions with `filters` filters."""

    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        strides: Any = 1,
        padding: str = "valid",
        data_format: str | None = None,
        dilation_rate: Any = 1,
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
        self.kernel = self.make_weight("kernel", (*self.kernel_size, channels // self.groups, self.filters))
        if self.use_bias:
            self.bias = self.make_weight("bias", (self.filters,))

    def call(self, inputs: Any) -> Any:
        return self.finish(self.convolve(self.checked(inputs), self.kernel, self.groups))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "filters": self.filters, "groups": self.groups}


class Conv1D(Conv):
    """Slides `filters` filters along a sequence; padding "causal" looks at earlier steps only."""

    rank = 1

    def paddings(self) -> tuple[str, ...]:
        return ("valid", "same", "causal")


class Conv2D(Conv):
    """Slides `filters` filters over an image."""


class Conv3D(Conv):
    """Slides `filters` filters through a volume."""

    rank = 3


class DepthwiseConv(BaseConv):
    """The base of convolutions of every channel by itself, `depth_multiplier` times."""

    def __init__(
        self,
        kernel_size: Any,
        strides: Any = 1,
        padding: str = "valid",
        depth_multiplier: int = 1,
        data_format: str | None = None,
        dilation_rate: Any = 1,
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
        shape = (*self.kernel_size, channels, self.depth_multiplier)
        self.kernel = self.make_weight("depthwise", shape, called="kernel")
        if self.use_bias:
            self.bias = self.make_weight("bias", (channels * self.depth_multiplier,))

    def call(self, inputs: Any) -> Any:
        return self.finish(depthwise(self, self.checked(inputs), self.kernel, self.depth_multiplier))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "depth_multiplier": self.depth_multiplier}


class DepthwiseConv1D(DepthwiseConv):
    """Convolves every channel of a sequence by itself."""

    rank = 1


class DepthwiseConv2D(DepthwiseConv):
    """Convolves every channel of an image by itself."""


class SeparableConv(BaseConv):
    """The base of depthwise convolutions that a 1x1 convolution follows."""

    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        strides: Any = 1,
        padding: str = "valid",
        data_format: str | None = None,
        dilation_rate: Any = 1,
        depth_multiplier: int = 1,
        activation: Any = None,
        use_bias: bool = True,
        depthwise_initializer: Any = "glorot_uniform",
        pointwise_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        depthwise_regularizer: Any = None,
        pointwise_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        depthwise_constraint: Any = None,
        pointwise_constraint: Any = None,
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
        self.depth_multiplier = checks.positive_int("depth_multiplier", depth_multiplier, self)
        self.declare_weight("depthwise", depthwise_initializer, depthwise_regularizer, depthwise_constraint)
        self.declare_weight("pointwise", pointwise_initializer, pointwise_regularizer, pointwise_constraint)

    def build(self, input_shape: Any = None) -> None:
        channels = self.channels(input_shape)
        many = channels * self.depth_multiplier
        shape = (*self.kernel_size, channels, self.depth_multiplier)
        self.depthwise_kernel = self.make_weight("depthwise", shape, called="depthwise_kernel")
        shape = (*[1] * self.rank, many, self.filters)
        self.pointwise_kernel = self.make_weight("pointwise", shape, called="pointwise_kernel")
        if self.use_bias:
            self.bias = self.make_weight("bias", (self.filters,))

    def call(self, inputs: Any) -> Any:
        middle = depthwise(self, self.checked(inputs), self.depthwise_kernel, self.depth_multiplier)
        return self.finish(conv(middle, self.pointwise_kernel))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "filters": self.filters, "depth_multiplier": self.depth_multiplier}


class SeparableConv1D(SeparableConv):
    """A depthwise convolution along a sequence, then a 1x1 convolution."""

    rank = 1


class SeparableConv2D(SeparableConv):
    """A depthwise convolution over an image, then a 1x1 convolution."""


def depthwise(layer: BaseConv, x: Any, kernel: Any, multiplier: int) -> Any:
    """Every channel by itself; `kernel` is [window..., channels, multiplier]."""
    channels = kernel.sizes[-2]
    flat = apply("reshape", kernel, shape=(*layer.kernel_size, 1, channels * multiplier))
    return layer.convolve(x, flat, channels)
