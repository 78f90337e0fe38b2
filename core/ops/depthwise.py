"""Depthwise convolution on the host: a weighted sum of shifted inputs, without a matrix product.

With zeros around it, an input is one long row in which every tap of a filter is a shift: windows that begin where the
padding is are computed and thrown away, and numpy walks tens of thousands of elements at a time. The windows of a
stride are taken from copies that hold every stride-th position.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import prod
from typing import Any

import numpy as np

from .parts import blocks, run_parts
from .windows import Window

__all__ = ["depthwise"]

BLOCK = 1 << 15     # elements of a row at a time: input, weights and sums stay in the cache
LARGE = 1 << 18     # elements of a result that are worth several threads

Array = Any


def depthwise(x: Array, w: Array, geometry: Sequence[Window], out: tuple[int, ...]) -> Array:
    """Each channel of x with its own filter: x `[batch, *sizes, channels]`, w `[*window, 1, channels]`, `out` the shape
    of the result, which is not empty.
    """
    y = np.empty(out, x.dtype)
    channels, window = out[-1], w.shape[:-2]
    each, taps, reach = _plan(tuple(geometry), window)
    row, count = prod(each) * channels, min(max(1, BLOCK // channels), prod(each))
    weights = np.empty((len(taps), count, channels), x.dtype)
    weights[...] = w.reshape(-1, 1, channels)
    weights = weights.reshape(len(taps), -1)

    def one(rows: slice) -> None:
        phases = _phases(x[rows], geometry, each)
        total = next(iter(phases.values())).size
        sums, product = np.empty(total, x.dtype), np.empty(count * channels, x.dtype)
        for part in blocks(total - reach * channels, len(product)):
            target, size = sums[part], part.stop - part.start
            term = product[:size]
            for number, (phase, shift) in enumerate(taps):
                start = part.start + shift * channels
                source = phases[phase][start : start + size]
                np.multiply(source, weights[number, :size], out=term if number else target)
                if number:
                    np.add(target, term, out=target)
        grid = sums.reshape(-1, *each, channels)
        y[rows] = grid[(slice(None), *(slice(0, g.out) for g in geometry))]

    run_parts([(one, rows) for rows in blocks(out[0], max(1, LARGE // 4 // row) if y.size >= LARGE else out[0])])
    return y


@lru_cache(256)
def _plan(geometry: tuple[Window, ...], window: tuple[int, ...]) -> tuple[Sequence[int], Sequence[Any], int]:
    """How many positions of each axis have the same rest of the stride; for each tap the rests of what it reads and its
    shift in positions; the largest shift.
    """
    each = [-(-max((g.out - 1) * g.stride + g.reach, g.before + g.size) // g.stride) for g in geometry]
    taps = []
    for k in np.ndindex(*window):
        shift, rests = 0, []
        for i, g, size in zip(k, geometry, each, strict=True):
            step, rest = divmod(i * g.dilation, g.stride)
            shift = shift * size + step
            rests.append(rest)
        taps.append((tuple(rests), shift))
    return each, taps, max(shift for _, shift in taps)


def _phases(x: Array, geometry: Sequence[Window], each: Sequence[int]) -> dict[tuple[int, ...], Array]:
    """For each rest of the strides, the positions with that rest, zeros around them, as one long row."""
    size = [n * g.stride for n, g in zip(each, geometry, strict=True)]
    whole = np.zeros((len(x), *size, x.shape[-1]), x.dtype)
    whole[(slice(None), *(slice(g.before, g.before + g.size) for g in geometry))] = x
    if all(g.stride == 1 for g in geometry):
        return {(0,) * len(geometry): whole.reshape(-1)}
    found = {}
    for rest in np.ndindex(*(g.stride for g in geometry)):
        where = (slice(None), *(slice(i, None, g.stride) for i, g in zip(rest, geometry, strict=True)))
        found[rest] = whole[where].reshape(-1)
    return found
