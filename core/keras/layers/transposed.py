"""Transposed convolutions: from few pixels to many."""

from __future__ import annotations

from typing import Any

from ...ops.conv import conv_input_grad
from ...shapes import Size
from . import checks
from .convolution import BaseConv

__all__ = ["Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose"]


class ConvTranspose(BaseConv):
    """The base: the gradient of a convolution with `filters` input channels, as a layer."""

    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        strides: Any = 1,
        padding: str = "valid",
        output_padding: Any = None,
        data_format: str | None = None,
        dilation_rate: Any = 1,
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
        self.output_padding = (
            None if output_padding is None else checks.per_axis(output_padding, self.rank, "output_padding", least=0)
        )
        for i, (extra, stride) in enumerate(zip(self.output_padding or (), self.strides, strict=False)):
            if extra >= stride:
                raise ValueError(
                    f"`output_padding` must be strictly less than `strides` for all dimensions. At dimension {i}, "
                    f"`output_padding` is {extra} but `strides` is {stride}. Received: "
                    f"output_padding={self.output_padding}, strides={self.strides}"
                )
        self.declare_weight("kernel", kernel_initializer, kernel_regularizer, kernel_constraint)

    def build(self, input_shape: Any = None) -> None:
        self.kernel = self.make_weight("kernel", (*self.kernel_size, self.filters, self.channels(input_shape)))
        if self.use_bias:
            self.bias = self.make_weight("bias", (self.filters,))

    def call(self, inputs: Any) -> Any:
        x = self.checked(inputs)
        outputs = conv_input_grad(
            x,
            self.kernel,
            input_shape=(x.sizes[0], *(self._size(x.sizes[i + 1], i) for i in range(self.rank)), self.filters),
            strides=self.strides,
            padding=self.padding.upper(),
            dilations=self.dilation_rate,
        )
        return self.finish(outputs)

    def _size(self, size: Size, axis: int) -> Size:
        """The output's size along a spatial axis."""
        stride, reach = self.strides[axis], (self.kernel_size[axis] - 1) * self.dilation_rate[axis] + 1
        extra = None if self.output_padding is None else self.output_padding[axis]
        if self.padding == "valid":
            return (size - 1) * stride + reach + (max(reach, stride) - reach if extra is None else extra)
        return size * stride if extra is None else (size - 1) * stride + reach % 2 + extra

    def get_config(self) -> dict[str, Any]:
        padding = self.output_padding and list(self.output_padding)
        return {**super().get_config(), "filters": self.filters, "output_padding": padding}


class Conv1DTranspose(ConvTranspose):
    """A transposed convolution of sequences."""

    rank = 1


class Conv2DTranspose(ConvTranspose):
    """A transposed convolution of images."""


class Conv3DTranspose(ConvTranspose):
    """A transposed convolution of volumes."""

    rank = 3
