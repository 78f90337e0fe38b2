"""Convolution on the host as matrix products: the windows of an input as the rows of a matrix, a part of the batch at
a time, so that what was just copied is still in the cache when it is multiplied.

Two forms, the faster by measurement: window after window, whose copy moves runs of (last axis of the window) *
channels elements; or, for few channels, tap after tap, whose copy moves runs along the last axis of the output.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from math import prod
from typing import Any

import numpy as np

from .parts import blocks, run_parts
from .products import alone
from .windows import Window

__all__ = ["chunks", "each_part", "transposed", "waves"]

CHUNK = 1 << 18  # elements of the copy made at a time: about what a second-level cache holds
WAVE = 8  # parts whose results are kept at a time, or more of them,
KEPT = 1 << 21  # as long as these have fewer elements together
FEW_CHANNELS = 4  # up to here tap after tap is faster

Array = Any


def each_part(x: Array, geometry: Sequence[Window], use: Callable[[int, slice, Array], None]) -> int:
    """Calls `use(number, rows, matrix)` for parts of the batch, each with the matrix of its windows: one row per
    window, its taps and channels as columns. In any order, on several threads. Returns how many there are.
    """
    out, channels = [g.out for g in geometry], x.shape[-1]
    if _is_plain(geometry):
        use(0, slice(0, len(x)), x[(slice(None), *(slice(0, n) for n in out))].reshape(-1, channels))
        return 1
    make = _by_taps if channels <= FEW_CHANNELS else _by_windows

    def one(number: int, rows: slice) -> None:
        use(number, rows, make(_padded(x[rows], geometry), geometry))

    parts = [(one, i, rows) for i, rows in enumerate(chunks(len(x), _row(geometry, channels)))]
    with alone:
        run_parts(parts)
    return len(parts)


def waves(batch: int, geometry: Sequence[Window], channels: int, size: int) -> Iterator[slice]:
    """Slices of the batch that `each_part` divides as it does the whole batch, for what keeps `size` elements of each
    part: few parts each, but enough for all threads.
    """
    if _is_plain(geometry):
        return blocks(batch, max(1, batch))
    return blocks(batch, _step(_row(geometry, channels)) * max(WAVE, KEPT // max(1, size)))


def _is_plain(geometry: Sequence[Window]) -> bool:
    """Whether the windows are single positions, one beside the other: the input is their matrix."""
    return not any(g.kernel > 1 or g.padded or g.stride > 1 for g in geometry)


def _row(geometry: Sequence[Window], channels: int) -> int:
    """How many elements the windows of one member of the batch have."""
    return prod(g.out * g.kernel for g in geometry) * channels


def _by_windows(part: Array, geometry: Sequence[Window]) -> Array:
    """The matrix by a copy of window after window."""
    kernel, step = [g.kernel for g in geometry], part.strides
    windows = np.lib.stride_tricks.as_strided(
        part,
        (len(part), *(g.out for g in geometry), *kernel, part.shape[-1]),
        writeable=False,
        strides=(
            step[0],
            *(s * g.stride for s, g in zip(step[1:-1], geometry, strict=True)),
            *(s * g.dilation for s, g in zip(step[1:-1], geometry, strict=True)),
            step[-1],
        ),
    )
    return windows.reshape(-1, prod(kernel) * part.shape[-1])


def _by_taps(part: Array, geometry: Sequence[Window]) -> Array:
    """The same by a copy for each tap and channel."""
    taps = list(np.ndindex(*(g.kernel for g in geometry)))
    by_channel = np.ascontiguousarray(np.moveaxis(part, -1, 0))
    copy = np.empty((len(taps), part.shape[-1], len(part), *(g.out for g in geometry)), part.dtype)
    for tap, target in zip(taps, copy, strict=True):
        target[...] = by_channel[(slice(None), slice(None), *(
            slice(k * g.dilation, k * g.dilation + (g.out - 1) * g.stride + 1, g.stride)
            for k, g in zip(tap, geometry, strict=True)
        ))]
    return copy.reshape(len(taps) * part.shape[-1], -1).T


def _padded(x: Array, geometry: Sequence[Window]) -> Array:
    """x with zeros around it, as far as the windows reach."""
    if not any(g.padded for g in geometry):
        return x
    sizes = [max((g.out - 1) * g.stride + g.reach, g.before + g.size) for g in geometry]
    result = np.zeros((x.shape[0], *sizes, x.shape[-1]), x.dtype)
    result[(slice(None), *(slice(g.before, g.before + g.size) for g in geometry))] = x
    return result


def transposed(geometry: Sequence[Window]) -> tuple[Window, ...] | None:
    """The windows by which dy gives dx, with the filters turned around; None where windows skip positions."""
    if any(g.stride > 1 or g.before > g.reach - 1 for g in geometry):
        return None
    return tuple(Window(g.out, g.kernel, 1, g.dilation, g.size, g.reach - 1 - g.before, True) for g in geometry)


def chunks(batch: int, row: int) -> Iterator[slice]:
    """Slices of the batch such that `row` elements for each of its members stay below CHUNK, if one member does."""
    return blocks(batch, _step(row))


def _step(row: int) -> int:
    return max(1, CHUNK // max(1, row))
