"""Moments, normalisation, bias, embedding, blocks of pixels."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..eager.tensor import convert_to_tensor
from ..errors import InvalidArgumentError
from ..ops.dispatch import apply
from ..ops.elementwise import cast, maximum, square, stop_gradient
from ..ops.gather import gather
from ..ops.linalg import matmul
from ..ops.movement import reshape, transpose
from ..ops.reduce import reduce_mean, reduce_sum
from .arguments import channels_first, in_channels_last

__all__ = [
    "batch_normalization",
    "bias_add",
    "depth_to_space",
    "embedding_lookup",
    "l2_loss",
    "l2_normalize",
    "local_response_normalization",
    "lrn",
    "moments",
    "normalize_moments",
    "space_to_depth",
    "zero_fraction",
]


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

    return in_channels_last(move, convert_to_tensor(input), channels_first(data_format, 2))


def space_to_depth(input: Any, block_size: int, data_format: str = "NHWC", name: str | None = None) -> Any:
    """Moves blocks of `block_size` x `block_size` pixels into channels."""

    def move(x: Any) -> Any:
        n, height, width, channels = x.sizes
        split = reshape(x, (n, height // block_size, block_size, width // block_size, block_size, channels))
        return reshape(
            transpose(split, (0, 1, 3, 2, 4, 5)),
            (n, height // block_size, width // block_size, block_size**2 * channels),
        )

    return in_channels_last(move, convert_to_tensor(input), channels_first(data_format, 2))
