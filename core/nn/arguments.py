"""What the functions of tf.nn do with their arguments: layouts, strides, padding."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..eager.tensor import convert_to_tensor
from ..errors import InvalidArgumentError
from ..ops.movement import transpose

__all__ = [
    "channels_first",
    "check_rank",
    "in_channels_last",
    "padding_pairs",
    "same_dtype",
    "spatial",
]


def channels_first(data_format: str | None, rank: int) -> bool:
    """Whether a layout such as "NCHW" has its channels before the spatial axes."""
    allowed = {1: ("NWC", "NCW"), 2: ("NHWC", "NCHW"), 3: ("NDHWC", "NCDHW")}[rank]
    if data_format is None:
        return False
    if data_format not in allowed:
        raise ValueError(f"data_format must be one of {allowed} for {rank} spatial axes, received {data_format!r}.")
    return data_format == allowed[1]


def spatial(value: Any, rank: int, first: bool, name: str) -> tuple[int, ...]:
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


def padding_pairs(padding: Any, rank: int, first: bool) -> Any:
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


def in_channels_last(function: Callable[[Any], Any], x: Any, first: bool) -> Any:
    """function(x) with x and the result in channels-first layout if `first`."""
    if not first:
        return function(x)
    rank = len(x.sizes)
    y = function(transpose(x, [0, *range(2, rank), 1]))
    return transpose(y, [0, rank - 1, *range(1, rank - 1)])


def check_rank(x: Any, rank: int, name: str) -> None:
    if len(x.sizes) != rank + 2:
        raise InvalidArgumentError(
            f"{name}: the input must have {rank + 2} axes (batch, {rank} spatial, channels), its shape is "
            f"{tuple(x.sizes)}."
        )


def same_dtype(x: Any, like: Any) -> tuple[Any, Any]:
    like = convert_to_tensor(like)
    return convert_to_tensor(x, None if hasattr(x, "dtype") else like.dtype), like
