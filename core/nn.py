"""tf.nn: convolutions, pooling, activations, normalisation and losses, with TensorFlow's signatures.

Thin: arguments are converted here, the work is in the ops. Channels-first layouts ("NCHW") are transposed around the
op. Long only because one namespace is one file.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from .eager.tensor import convert_to_tensor
from .errors import InvalidArgumentError, UnimplementedError
from .ops import conv as conv_ops
from .ops import losses as loss_ops
from .ops import pool as pool_ops
from .ops import softmax as softmax_ops
from .ops.dispatch import apply
from .ops.elementwise import cast, maximum, select, square, stop_gradient
from .ops.gather import gather
from .ops.linalg import matmul
from .ops.movement import broadcast_to, concat, reshape, shape_tuple, transpose
from .ops.reduce import reduce_mean, reduce_sum

__all__ = [
    "atrous_conv2d",
    "avg_pool",
    "avg_pool1d",
    "avg_pool2d",
    "avg_pool3d",
    "batch_normalization",
    "bias_add",
    "conv1d",
    "conv1d_transpose",
    "conv2d",
    "conv2d_transpose",
    "conv3d",
    "conv3d_transpose",
    "conv_transpose",
    "convolution",
    "crelu",
    "depth_to_space",
    "depthwise_conv2d",
    "dropout",
    "elu",
    "embedding_lookup",
    "gelu",
    "l2_loss",
    "l2_normalize",
    "leaky_relu",
    "local_response_normalization",
    "log_poisson_loss",
    "log_softmax",
    "lrn",
    "max_pool",
    "max_pool1d",
    "max_pool2d",
    "max_pool3d",
    "moments",
    "normalize_moments",
    "pool",
    "relu",
    "relu6",
    "selu",
    "separable_conv2d",
    "sigmoid",
    "sigmoid_cross_entropy_with_logits",
    "silu",
    "softmax",
    "softmax_cross_entropy_with_logits",
    "softplus",
    "softsign",
    "space_to_depth",
    "sparse_softmax_cross_entropy_with_logits",
    "swish",
    "tanh",
    "weighted_cross_entropy_with_logits",
    "zero_fraction",
]


# -- arguments ---------------------------------------------------------------------------------------------------------


def _channels_first(data_format: str | None, rank: int) -> bool:
    """Whether a layout such as "NCHW" has its channels before the spatial axes."""
    allowed = {1: ("NWC", "NCW"), 2: ("NHWC", "NCHW"), 3: ("NDHWC", "NCDHW")}[rank]
    if data_format is None:
        return False
    if data_format not in allowed:
        raise ValueError(f"data_format must be one of {allowed} for {rank} spatial axes, received {data_format!r}.")
    return data_format == allowed[1]


def _spatial(value: Any, rank: int, first: bool, name: str) -> tuple[int, ...]:
    """Strides, dilations or windows: an int, one per spatial axis, or one per axis with 1 for batch and channels."""
    if value is None:
        return (1,) * rank
    values = [int(v) for v in np.ravel(value)]
    if len(values) == 1:
        return (values[0],) * rank
    if len(values) == rank + 2:
        others = (values[0], values[1 if first else -1])
        if others != (1, 1):
            raise InvalidArgumentError(f"{name}: must be 1 for the batch and the channel axis, received {values}.")
        values = values[2:] if first else values[1:-1]
    if len(values) != rank:
        raise ValueError(f"{name} should be of length 1, {rank} or {rank + 2} but was {len(values)}: {value!r}.")
    return tuple(values)


def _padding(padding: Any, rank: int, first: bool) -> Any:
    """ "SAME", "VALID", or the spatial pairs of an explicit padding for all axes."""
    if isinstance(padding, str):
        return padding
    pairs = [tuple(int(n) for n in p) for p in padding]
    if len(pairs) == rank + 2:
        pairs = pairs[2:] if first else pairs[1:-1]
    if len(pairs) != rank:
        raise ValueError(
            f"explicit padding needs a pair (before, after) for each of {rank + 2} axes, received {padding!r}."
        )
    return tuple(pairs)


def _in_channels_last(function: Callable[[Any], Any], x: Any, first: bool) -> Any:
    """function(x) with x and the result in channels-first layout if `first`."""
    if not first:
        return function(x)
    rank = len(x.sizes)
    y = function(transpose(x, [0, *range(2, rank), 1]))
    return transpose(y, [0, rank - 1, *range(1, rank - 1)])


def _check_rank(x: Any, rank: int, name: str) -> None:
    if len(x.sizes) != rank + 2:
        raise InvalidArgumentError(
            f"{name}: the input must have {rank + 2} axes (batch, {rank} spatial, channels), its shape is "
            f"{tuple(x.sizes)}."
        )


def _same_dtype(x: Any, like: Any) -> tuple[Any, Any]:
    like = convert_to_tensor(like)
    return convert_to_tensor(x, None if hasattr(x, "dtype") else like.dtype), like


# -- convolutions ------------------------------------------------------------------------------------------------------


def _convolve(
    rank: int, input: Any, filters: Any, strides: Any, padding: Any, data_format: str | None, dilations: Any
) -> Any:
    x, w = convert_to_tensor(input), convert_to_tensor(filters)
    first = _channels_first(data_format, rank)
    _check_rank(x, rank, f"conv{rank}d")
    channels, taken = x.sizes[1 if first else -1], w.sizes[-2]
    if not isinstance(channels, int) or channels % taken:
        raise InvalidArgumentError(
            f"conv{rank}d: input depth must be evenly divisible by filter depth: {channels} vs {taken} (input "
            f"shape {tuple(x.sizes)}, filter shape {tuple(w.sizes)})."
        )
    attrs = {
        "strides": _spatial(strides, rank, first, "strides"),
        "dilations": _spatial(dilations, rank, first, "dilations"),
        "padding": _padding(padding, rank, first),
        "groups": channels // taken,
    }
    return _in_channels_last(lambda v: conv_ops.conv(v, w, **attrs), x, first)


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
    first = _channels_first(data_format, rank)
    _check_rank(x, rank, f"conv{rank}d_transpose")
    shape = shape_tuple(output_shape, f"conv{rank}d_transpose")
    if len(shape) == rank:
        raise ValueError(
            f"conv{rank}d_transpose: output_shape must name every axis, batch and channels included; received {shape}."
        )
    shape = (shape[0], *shape[2:], shape[1]) if first else shape
    attrs = {
        "strides": _spatial(strides, rank, first, "strides"),
        "dilations": _spatial(dilations, rank, first, "dilations"),
        "padding": _padding(padding, rank, first),
    }
    return _in_channels_last(lambda v: conv_ops.conv_input_grad(v, w, input_shape=shape, **attrs), x, first)


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


# -- pooling -----------------------------------------------------------------------------------------------------------


def _pool(
    function: Callable[..., Any],
    input: Any,
    ksize: Any,
    strides: Any,
    padding: Any,
    data_format: str | None,
    rank: int | None = None,
) -> Any:
    x = convert_to_tensor(input)
    rank = len(x.sizes) - 2 if rank is None else rank
    _check_rank(x, rank, function.__name__)
    first = _channels_first(data_format, rank)
    window, step = _spatial(ksize, rank, first, "ksize"), _spatial(strides, rank, first, "strides")
    return _in_channels_last(lambda v: function(v, window, step, _padding(padding, rank, first)), x, first)


def max_pool(
    input: Any, ksize: Any, strides: Any, padding: Any, data_format: str | None = None, name: str | None = None
) -> Any:
    """The maximum of each window; as many spatial axes as the input has. The gradient goes to the first maximum."""
    return _pool(pool_ops.max_pool, input, ksize, strides, padding, data_format)


def max_pool1d(
    input: Any, ksize: Any, strides: Any, padding: Any, data_format: str = "NWC", name: str | None = None
) -> Any:
    """The maximum of each window of `[batch, width, channels]`."""
    return _pool(pool_ops.max_pool, input, ksize, strides, padding, data_format, 1)


def max_pool2d(
    input: Any, ksize: Any, strides: Any, padding: Any, data_format: str = "NHWC", name: str | None = None
) -> Any:
    """The maximum of each window of `[batch, height, width, channels]`."""
    return _pool(pool_ops.max_pool, input, ksize, strides, padding, data_format, 2)


def max_pool3d(
    input: Any, ksize: Any, strides: Any, padding: Any, data_format: str = "NDHWC", name: str | None = None
) -> Any:
    """The maximum of each window of `[batch, depth, height, width, channels]`."""
    return _pool(pool_ops.max_pool, input, ksize, strides, padding, data_format, 3)


def avg_pool(
    input: Any, ksize: Any, strides: Any, padding: Any, data_format: str | None = None, name: str | None = None
) -> Any:
    """The mean of each window over its positions inside the input; as many spatial axes as the input has."""
    return _pool(pool_ops.avg_pool, input, ksize, strides, padding, data_format)


def avg_pool1d(
    input: Any, ksize: Any, strides: Any, padding: Any, data_format: str = "NWC", name: str | None = None
) -> Any:
    """The mean of each window of `[batch, width, channels]`."""
    return _pool(pool_ops.avg_pool, input, ksize, strides, padding, data_format, 1)


def avg_pool2d(
    input: Any, ksize: Any, strides: Any, padding: Any, data_format: str = "NHWC", name: str | None = None
) -> Any:
    """The mean of each window of `[batch, height, width, channels]`."""
    return _pool(pool_ops.avg_pool, input, ksize, strides, padding, data_format, 2)


def avg_pool3d(
    input: Any, ksize: Any, strides: Any, padding: Any, data_format: str = "NDHWC", name: str | None = None
) -> Any:
    """The mean of each window of `[batch, depth, height, width, channels]`."""
    return _pool(pool_ops.avg_pool, input, ksize, strides, padding, data_format, 3)


def pool(
    input: Any,
    window_shape: Any,
    pooling_type: str,
    strides: Any = None,
    padding: Any = "VALID",
    data_format: str | None = None,
    dilations: Any = None,
    name: str | None = None,
) -> Any:
    """max_pool or avg_pool by name: "MAX" or "AVG"."""
    if dilations is not None and any(d != 1 for d in np.ravel(dilations)):
        raise UnimplementedError(
            f"pool: dilations {dilations!r} are not available; gather the windows with strided slices instead."
        )
    functions = {"MAX": pool_ops.max_pool, "AVG": pool_ops.avg_pool}
    if pooling_type not in functions:
        raise ValueError(f"pooling_type must be 'MAX' or 'AVG', received {pooling_type!r}.")
    return _pool(functions[pooling_type], input, window_shape, strides, padding, data_format)


# -- activations -------------------------------------------------------------------------------------------------------


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


# -- losses ------------------------------------------------------------------------------------------------------------


def softmax_cross_entropy_with_logits(labels: Any, logits: Any, axis: int = -1, name: str | None = None) -> Any:
    """-sum(labels * log_softmax(logits)) along `axis`; labels are probabilities."""
    labels, logits = _same_dtype(labels, logits)
    labels = cast(labels, logits.dtype)
    rank = len(logits.sizes)
    if axis not in (-1, rank - 1):
        order = [i for i in range(rank) if i != axis % rank] + [axis % rank]
        labels, logits = transpose(labels, order), transpose(logits, order)
    if tuple(labels.sizes) != tuple(logits.sizes):
        labels = broadcast_to(labels, logits.sizes)
    return loss_ops.softmax_cross_entropy(logits, labels)


def sparse_softmax_cross_entropy_with_logits(labels: Any, logits: Any, name: str | None = None) -> Any:
    """-log_softmax(logits)[label] for each row; labels are integers from 0 to classes - 1.

    A label out of range raises InvalidArgumentError on the host and gives NaN on a device.
    """
    labels, logits = convert_to_tensor(labels), convert_to_tensor(logits)
    if tuple(labels.sizes) != tuple(logits.sizes[:-1]):
        raise ValueError(
            "`labels.shape` must equal `logits.shape` except for the last dimension. Received: labels.shape="
            f"{tuple(labels.sizes)} and logits.shape={tuple(logits.sizes)}"
        )
    return loss_ops.sparse_softmax_cross_entropy(logits, labels)


def _check_same_shape(logits: Any, labels: Any) -> None:
    if tuple(labels.sizes) != tuple(logits.sizes):
        raise ValueError(
            f"`logits` and `labels` must have the same shape, received ({logits.shape} vs {labels.shape})."
        )


def sigmoid_cross_entropy_with_logits(labels: Any = None, logits: Any = None, name: str | None = None) -> Any:
    """-labels * log(sigmoid(logits)) - (1 - labels) * log(1 - sigmoid(logits)), stable."""
    if labels is None or logits is None:
        raise ValueError("Both `labels` and `logits` must be provided.")
    labels, logits = _same_dtype(labels, logits)
    _check_same_shape(logits, labels)
    return loss_ops.sigmoid_cross_entropy(logits, labels)


def weighted_cross_entropy_with_logits(labels: Any, logits: Any, pos_weight: Any, name: str | None = None) -> Any:
    """sigmoid_cross_entropy_with_logits in which a positive label counts `pos_weight` times."""
    labels, logits = _same_dtype(labels, logits)
    _check_same_shape(logits, labels)
    weight = (pos_weight - 1.0) * labels + 1.0
    return (1.0 - labels) * logits + weight * (apply("log1p", apply("exp", -abs(logits))) + relu(-logits))


def log_poisson_loss(targets: Any, log_input: Any, compute_full_loss: bool = False, name: str | None = None) -> Any:
    """exp(log_input) - targets * log_input, and Stirling's log(targets!) for targets above 1 if `compute_full_loss`."""
    targets, log_input = _same_dtype(targets, log_input)
    result = apply("exp", log_input) - log_input * targets
    if compute_full_loss:
        stirling = targets * apply("log", targets) - targets + 0.5 * apply("log", (2.0 * math.pi) * targets)
        result = result + select((targets >= 0.0) & (targets <= 1.0), targets * 0.0, stirling)
    return result


# -- normalisation and the rest ----------------------------------------------------------------------------------------


def bias_add(value: Any, bias: Any, data_format: str | None = None, name: str | None = None) -> Any:
    """value + bias along the channel axis: the last, or axis 1 if `data_format` starts with "NC"."""
    value, bias = convert_to_tensor(value), convert_to_tensor(bias)
    if len(bias.sizes) != 1:
        raise InvalidArgumentError(f"bias_add: the bias must have one axis, its shape is {tuple(bias.sizes)}.")
    first = data_format is not None and data_format.startswith("NC")
    channels = value.sizes[1 if first else -1]
    if bias.sizes[0] != channels:
        raise InvalidArgumentError(
            f"bias_add: must provide as many biases as the channel dimension of the input: {bias.sizes[0]} biases, "
            f"{channels} channels (input shape {tuple(value.sizes)})."
        )
    return value + (reshape(bias, (-1, *[1] * (len(value.sizes) - 2))) if first else bias)


def moments(x: Any, axes: Any, shift: Any = None, keepdims: bool = False, name: str | None = None) -> tuple[Any, Any]:
    """Mean and variance over `axes`. float16 is summed in float32."""
    x = convert_to_tensor(x)
    y = cast(x, "float32") if x.dtype.name == "float16" else x
    mean = reduce_mean(y, axes, True)
    difference = y - stop_gradient(mean)
    variance = reduce_mean(square(difference), axes, keepdims)
    mean = mean if keepdims else reshape(mean, variance.sizes)
    return cast(mean, x.dtype), cast(variance, x.dtype)


def normalize_moments(
    counts: Any, mean_ss: Any, variance_ss: Any, shift: Any, name: str | None = None
) -> tuple[Any, Any]:
    """Mean and variance from counts, sums and sums of squares."""
    mean = mean_ss / counts
    variance = variance_ss / counts - square(mean)
    return (mean if shift is None else mean + shift), variance


def batch_normalization(
    x: Any, mean: Any, variance: Any, offset: Any, scale: Any, variance_epsilon: float, name: str | None = None
) -> Any:
    """(x - mean) / sqrt(variance + epsilon) * scale + offset; `offset` and `scale` may be None."""
    factor = apply("rsqrt", variance + variance_epsilon)
    if scale is not None:
        factor = factor * scale
    return x * factor + (-mean * factor if offset is None else offset - mean * factor)


def l2_loss(t: Any, name: str | None = None) -> Any:
    """sum(t ** 2) / 2."""
    return reduce_sum(square(convert_to_tensor(t))) * 0.5


def l2_normalize(x: Any, axis: Any = None, epsilon: float = 1e-12, name: str | None = None) -> Any:
    """x / sqrt(max(sum(x ** 2), epsilon)) along `axis`."""
    x = convert_to_tensor(x)
    return x * apply("rsqrt", maximum(reduce_sum(square(x), axis, True), epsilon))


def local_response_normalization(
    input: Any, depth_radius: int = 5, bias: float = 1.0, alpha: float = 1.0, beta: float = 0.5, name: str | None = None
) -> Any:
    """input / (bias + alpha * sum of squares over neighbouring channels) ** beta."""
    x = convert_to_tensor(input)
    channel = np.arange(x.sizes[-1])
    band = (np.abs(channel[:, None] - channel) <= depth_radius).astype(x.dtype.numpy)
    return x / (matmul(square(x), convert_to_tensor(band)) * alpha + bias) ** beta


lrn = local_response_normalization


def zero_fraction(value: Any, name: str | None = None) -> Any:
    """The fraction of elements that are zero, float32."""
    value = convert_to_tensor(value)
    return reduce_mean(cast(apply("equal", value, 0), "float32"))


def embedding_lookup(params: Any, ids: Any, max_norm: float | None = None, name: str | None = None) -> Any:
    """The rows of `params` at `ids`, scaled down to `max_norm` if given."""
    rows = gather(convert_to_tensor(params) if not hasattr(params, "sizes") else params, convert_to_tensor(ids), 0)
    if max_norm is None:
        return rows
    norm = apply("sqrt", reduce_sum(square(rows), (-1,), True))
    return rows * (max_norm / maximum(norm, max_norm))


def depth_to_space(input: Any, block_size: int, data_format: str = "NHWC", name: str | None = None) -> Any:
    """Moves channels into blocks of `block_size` x `block_size` pixels."""

    def move(x: Any) -> Any:
        n, height, width, channels = x.sizes
        rest = channels // block_size**2
        blocks = transpose(reshape(x, (n, height, width, block_size, block_size, rest)), (0, 1, 3, 2, 4, 5))
        return reshape(blocks, (n, height * block_size, width * block_size, rest))

    return _in_channels_last(move, convert_to_tensor(input), _channels_first(data_format, 2))


def space_to_depth(input: Any, block_size: int, data_format: str = "NHWC", name: str | None = None) -> Any:
    """Moves blocks of `block_size` x `block_size` pixels into channels."""

    def move(x: Any) -> Any:
        n, height, width, channels = x.sizes
        split = reshape(x, (n, height // block_size, block_size, width // block_size, block_size, channels))
        return reshape(
            transpose(split, (0, 1, 3, 2, 4, 5)),
            (n, height // block_size, width // block_size, block_size**2 * channels),
        )

    return _in_channels_last(move, convert_to_tensor(input), _channels_first(data_format, 2))
