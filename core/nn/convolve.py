"""Convolutions, their transposes, depthwise and separable ones."""

from __future__ import annotations

from typing import Any

from ..eager.tensor import convert_to_tensor
from ..errors import InvalidArgumentError
from ..ops import conv as conv_ops
from ..ops.movement import reshape, shape_tuple
from .arguments import channels_first, check_rank, in_channels_last, padding_pairs, spatial

__all__ = [
    "atrous_conv2d",
    "conv1d",
    "conv1d_transpose",
    "conv2d",
    "conv2d_transpose",
    "conv3d",
    "conv3d_transpose",
    "conv_transpose",
    "convolution",
    "depthwise_conv2d",
    "separable_conv2d",
]


def _convolve(
    rank: int, input: Any, filters: Any, strides: Any, padding: Any, data_format: str | None, dilations: Any
) -> Any:
    x, w = convert_to_tensor(input), convert_to_tensor(filters)
    first = channels_first(data_format, rank)
    check_rank(x, rank, f"conv{rank}d")
    channels, taken = x.sizes[1 if first else -1], w.sizes[-2]
    if not isinstance(channels, int) or channels % taken:
        raise InvalidArgumentError(
            f"conv{rank}d: input depth must be evenly divisible by filter depth: {channels} vs {taken} (input "
            f"shape {tuple(x.sizes)}, filter shape {tuple(w.sizes)})."
        )
    attrs = {
        "strides": spatial(strides, rank, first, "strides"),
        "dilations": spatial(dilations, rank, first, "dilations"),
        "padding": padding_pairs(padding, rank, first),
        "groups": channels // taken,
    }
    return in_channels_last(lambda v: conv_ops.conv(v, w, **attrs), x, first)


def conv1d(
    input: Any,
    filters: Any,
    stride: Any,
    padding: Any,
    data_format: str = "NWC",
    dilations: Any = None,
    name: str | None = None,
) -> Any:
    """Slides 1-D filters `[width, in_channels / groups, out_channels]` over `[batch, width, in_channels]`."""
    return _convolve(1, input, filters, stride, padding, data_format, dilations)


def conv2d(
    input: Any,
    filters: Any,
    strides: Any,
    padding: Any,
    data_format: str = "NHWC",
    dilations: Any = None,
    name: str | None = None,
) -> Any:
    """Slides 2-D filters over a batch of images.

    Args:
        input: ``[batch, height, width, in_channels]`` (``"NHWC"``) or ``[batch, in_channels, height, width]``.
        filters: ``[filter_height, filter_width, in_channels / groups, out_channels]``, dtype of `input`.
        strides: an int, or one per spatial axis.
        padding: ``"SAME"``, ``"VALID"``, or explicit ``[[0, 0], [top, bottom], [left, right], [0, 0]]``.

    Returns:
        ``[batch, out_height, out_width, out_channels]``. Under ``"SAME"``, ``out = ceil(in / stride)`` and an odd
        padding goes to the bottom and right, as in TensorFlow.

    Raises:
        InvalidArgumentError: if the channels of `input` are not a multiple of those of `filters`.
    """
    return _convolve(2, input, filters, strides, padding, data_format, dilations)


def conv3d(
    input: Any,
    filters: Any,
    strides: Any,
    padding: Any,
    data_format: str = "NDHWC",
    dilations: Any = None,
    name: str | None = None,
) -> Any:
    """Slides 3-D filters over `[batch, depth, height, width, in_channels]`."""
    return _convolve(3, input, filters, strides, padding, data_format, dilations)


def convolution(
    input: Any,
    filters: Any,
    strides: Any = None,
    padding: Any = "VALID",
    data_format: str | None = None,
    dilations: Any = None,
    name: str | None = None,
) -> Any:
    """Convolution over 1, 2 or 3 spatial axes, as many as the filters have."""
    filters = convert_to_tensor(filters)
    return _convolve(len(filters.sizes) - 2, input, filters, strides, padding, data_format, dilations)


def atrous_conv2d(value: Any, filters: Any, rate: int, padding: Any, name: str | None = None) -> Any:
    """conv2d with holes of `rate - 1` in the filters."""
    return _convolve(2, value, filters, 1, padding, "NHWC", rate)


def _convolve_transposed(
    rank: int,
    input: Any,
    filters: Any,
    output_shape: Any,
    strides: Any,
    padding: Any,
    data_format: str | None,
    dilations: Any,
) -> Any:
    x, w = convert_to_tensor(input), convert_to_tensor(filters)
    first = channels_first(data_format, rank)
    check_rank(x, rank, f"conv{rank}d_transpose")
    shape = shape_tuple(output_shape, f"conv{rank}d_transpose")
    if len(shape) == rank:
        raise ValueError(
            f"conv{rank}d_transpose: output_shape must name every axis, batch and channels included; received {shape}."
        )
    shape = (shape[0], *shape[2:], shape[1]) if first else shape
    attrs = {
        "strides": spatial(strides, rank, first, "strides"),
        "dilations": spatial(dilations, rank, first, "dilations"),
        "padding": padding_pairs(padding, rank, first),
    }
    return in_channels_last(lambda v: conv_ops.conv_input_grad(v, w, input_shape=shape, **attrs), x, first)


def conv1d_transpose(
    input: Any,
    filters: Any,
    output_shape: Any,
    strides: Any,
    padding: Any = "SAME",
    data_format: str = "NWC",
    dilations: Any = None,
    name: str | None = None,
) -> Any:
    """The transpose of conv1d; filters `[width, out_channels, in_channels]`."""
    return _convolve_transposed(1, input, filters, output_shape, strides, padding, data_format, dilations)


def conv2d_transpose(
    input: Any,
    filters: Any,
    output_shape: Any,
    strides: Any,
    padding: Any = "SAME",
    data_format: str = "NHWC",
    dilations: Any = None,
    name: str | None = None,
) -> Any:
    """The transpose (gradient) of conv2d, or deconvolution; filters `[height, width, out_channels, in_channels]`."""
    return _convolve_transposed(2, input, filters, output_shape, strides, padding, data_format, dilations)


def conv3d_transpose(
    input: Any,
    filters: Any,
    output_shape: Any,
    strides: Any,
    padding: Any = "SAME",
    data_format: str = "NDHWC",
    dilations: Any = None,
    name: str | None = None,
) -> Any:
    """The transpose of conv3d; filters `[depth, height, width, out_channels, in_channels]`."""
    return _convolve_transposed(3, input, filters, output_shape, strides, padding, data_format, dilations)


def conv_transpose(
    input: Any,
    filters: Any,
    output_shape: Any,
    strides: Any,
    padding: Any = "SAME",
    data_format: str | None = None,
    dilations: Any = None,
    name: str | None = None,
) -> Any:
    """Transposed convolution over as many spatial axes as the filters have."""
    filters = convert_to_tensor(filters)
    return _convolve_transposed(
        len(filters.sizes) - 2, input, filters, output_shape, strides, padding, data_format, dilations
    )


def depthwise_conv2d(
    input: Any,
    filter: Any,
    strides: Any,
    padding: Any,
    data_format: str | None = None,
    dilations: Any = None,
    name: str | None = None,
) -> Any:
    """Filters each channel by itself; `filter` is `[height, width, in_channels, channel_multiplier]`."""
    w = convert_to_tensor(filter)
    height, width, channels, multiplier = w.sizes
    return _convolve(
        2, input, reshape(w, (height, width, 1, channels * multiplier)), strides, padding, data_format, dilations
    )


def separable_conv2d(
    input: Any,
    depthwise_filter: Any,
    pointwise_filter: Any,
    strides: Any,
    padding: Any,
    data_format: str | None = None,
    dilations: Any = None,
    name: str | None = None,
) -> Any:
    """depthwise_conv2d, then a convolution with the 1 x 1 `pointwise_filter`."""
    middle = depthwise_conv2d(input, depthwise_filter, strides, padding, data_format, dilations)
    return _convolve(2, middle, pointwise_filter, 1, "VALID", data_format, None)
