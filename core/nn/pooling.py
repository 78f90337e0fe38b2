"""Maximum and average pooling over 1, 2 or 3 spatial axes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..eager.tensor import convert_to_tensor
from ..errors import UnimplementedError
from ..ops import pool as pool_ops
from .arguments import channels_first, check_rank, in_channels_last, padding_pairs, spatial

__all__ = [
    "avg_pool",
    "avg_pool1d",
    "avg_pool2d",
    "avg_pool3d",
    "max_pool",
    "max_pool1d",
    "max_pool2d",
    "max_pool3d",
    "pool",
]


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
    check_rank(x, rank, function.__name__)
    first = channels_first(data_format, rank)
    window, step = spatial(ksize, rank, first, "ksize"), spatial(strides, rank, first, "strides")
    return in_channels_last(lambda v: function(v, window, step, padding_pairs(padding, rank, first)), x, first)


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
