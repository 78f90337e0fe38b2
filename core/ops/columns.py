"""Convolution on the host as matrix products: the windows of an input as the rows of a matrix, a part of the batch at
a time, so that what was just copied is still in the cache when it is multiplied.

Two forms, the faster by measurement: window after window, whose copy moves runs of (last axis of the window) *
channels elements; or, for few channels, tap after tap, whose copy moves runs along the last axis of the output.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod
from typing import Any

import numpy as np

from .windows import Window

__all__ = ["chunks", "columns", "transposed"]

CHUNK = 1 << 18  # elements of the copy made at a time: about what a second-level cache holds
FEW_CHANNELS = 4  # up to here tap after tap is faster

Array = Any


def columns(x: Array, geometry: Sequence[Window]) -> Iterator[tuple[slice, Array]]:
    """Parts of the batch, each with the matrix of its windows: one row per window, its taps and channels as columns.

    The memory of a matrix is used again for the next part.
    """
    kernel, out, channels = [g.kernel for g in geometry], [g.out for g in geometry], x.shape[-1]
    if prod(kernel) == 1 and not any(g.padded or g.stride > 1 for g in geometry):
        yield slice(0, len(x)), x[(slice(None), *(slice(0, n) for n in out))].reshape(-1, channels)
        return
    if channels <= FEW_CHANNELS:
        yield from _tap_by_tap(x, geometry)
        return
    part, copy = None, np.empty(0, x.dtype)
    for rows in chunks(len(x), prod(out) * prod(kernel) * channels):
        part = _padded(x[rows], geometry, part)
        step = part.strides
        windows = np.lib.stride_tricks.as_strided(
            part,
            (len(part), *out, *kernel, channels),
            writeable=False,
            strides=(
                step[0],
                *(s * g.stride for s, g in zip(step[1:-1], geometry, strict=True)),
                *(s * g.dilation for s, g in zip(step[1:-1], geometry, strict=True)),
                step[-1],
            ),
        )
        copy = copy if copy.shape == windows.shape else np.empty(windows.shape, x.dtype)
        copy[...] = windows
        yield rows, copy.reshape(-1, prod(kernel) * channels)


def _tap_by_tap(x: Array, geometry: Sequence[Window]) -> Iterator[tuple[slice, Array]]:
    """The same with a copy for each tap and channel."""
    taps = list(np.ndindex(*(g.kernel for g in geometry)))
    out, channels = [g.out for g in geometry], x.shape[-1]
    part, copy = None, np.empty(0, x.dtype)
    for rows in chunks(len(x), prod(out) * len(taps) * channels):
        part = _padded(x[rows], geometry, part)
        by_channel = np.ascontiguousarray(np.moveaxis(part, -1, 0))
        shape = (len(taps), channels, len(part), *out)
        copy = copy if copy.shape == shape else np.empty(shape, x.dtype)
        for tap, target in zip(taps, copy, strict=True):
            target[...] = by_channel[(slice(None), slice(None), *(
                slice(k * g.dilation, k * g.dilation + (g.out - 1) * g.stride + 1, g.stride)
                for k, g in zip(tap, geometry, strict=True)
            ))]
        yield rows, copy.reshape(len(taps) * channels, -1).T


def _padded(x: Array, geometry: Sequence[Window], before: Array | None) -> Array:
    """x with zeros around it, as far as the windows reach; in the memory of the part before, if that has its size."""
    if not any(g.padded for g in geometry):
        return x
    sizes = [max((g.out - 1) * g.stride + g.reach, g.before + g.size) for g in geometry]
    result = before if before is not None and len(before) == len(x) else np.zeros(
        (x.shape[0], *sizes, x.shape[-1]), x.dtype)
    result[(slice(None), *(slice(g.before, g.before + g.size) for g in geometry))] = x
    return result


def transposed(geometry: Sequence[Window]) -> tuple[Window, ...] | None:
    """The windows by which dy gives dx, with the filters turned around; None where windows skip positions."""
    if any(g.stride > 1 or g.before > g.reach - 1 for g in geometry):
        return None
    return tuple(Window(g.out, g.kernel, 1, g.dilation, g.size, g.reach - 1 - g.before, True) for g in geometry)


def chunks(batch: int, row: int) -> Iterator[slice]:
    """Slices of the batch such that `row` elements for each of its members stay below CHUNK, if one member does."""
    step = max(1, CHUNK // max(1, row))
    return (slice(start, min(batch, start + step)) for start in range(0, batch, step))
