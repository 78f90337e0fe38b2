"""Depthwise convolution on the host: a weighted sum of shifted inputs, without a matrix product.

With zeros around it, an input is one long row in which every tap of a filter is a shift: windows that begin where the
padding is are computed and thrown away, and numpy walks tens of thousands of elements at a time. The windows of a
stride are taken from copies that hold every stride-th position. In each of them the taps' shifts are evenly spaced, so
einsum adds all their products in one walk.
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

BLOCK = 1 << 14     # elements of a row at a time: input, weights and sums stay in the cache
LARGE = 1 << 18     # elements of a result that is made a few images at a time
SHARED = 3 << 18    # multiplications for an image that are worth several threads; below they wait for Python's lock
AXES = "xyz"        # letters of the axes of a window

Array = Any


def depthwise(x: Array, w: Array, geometry: Sequence[Window], out: tuple[int, ...]) -> Array:
    """Each channel of x with its own filter: x `[batch, *sizes, channels]`, w `[*window, 1, channels]`, `out` the shape
    of the result, which is not empty.
    """
    y = np.empty(out, x.dtype)
    channels, window = out[-1], w.shape[:-2]
    each, grids, reach = _plan(tuple(geometry), window)
    row, count = prod(each) * channels, min(max(1, BLOCK // channels), prod(each))
    weights = np.empty((*window, count, channels), x.dtype)
    weights[...] = w
    weights = weights.reshape(*window, -1)
    axes = AXES[: len(window)]
    formula = f"{axes}n,{axes}n->n"

    def one(rows: slice) -> None:
        phases = _phases(x[rows], geometry, each)
        total = next(iter(phases.values())).size
        sums, term = np.empty(total, x.dtype), np.empty(count * channels if len(grids) > 1 else 0, x.dtype)
        for part in blocks(total - reach * channels, count * channels):
            target, size = sums[part], part.stop - part.start
            for number, (phase, taps, shift, steps) in enumerate(grids):
                of_taps = weights[(*taps, slice(size))]
                strides = (*(step * channels * x.itemsize for step in steps), x.itemsize)
                seen = np.ndarray(of_taps.shape, x.dtype, phases[phase], (part.start + shift * channels) * x.itemsize,
                                  strides)
                into = term[:size] if number else target
                if of_taps.size == size:            # a single tap
                    np.multiply(seen.reshape(-1), of_taps.reshape(-1), out=into)
                else:
                    np.einsum(formula, seen, of_taps, out=into)
                if number:
                    np.add(target, term[:size], out=target)
        grid = sums.reshape(-1, *each, channels)
        y[rows] = grid[(slice(None), *(slice(0, g.out) for g in geometry))]

    parts = [(one, rows) for rows in blocks(out[0], max(1, LARGE // 4 // row) if y.size >= LARGE else out[0])]
    run_parts(parts if row * prod(window) >= SHARED else [(_one_by_one, parts)])
    return y


def _one_by_one(parts: Sequence[Any]) -> None:
    for function, rows in parts:
        function(rows)


@lru_cache(256)
def _plan(geometry: tuple[Window, ...], window: tuple[int, ...]) -> tuple[Sequence[int], Sequence[Any], int]:
    """How many positions of each axis have the same rest of the stride; for each combination of rests that taps read
    (rests, slices of the taps, shift of the first of them in positions, steps to the next along each axis); the largest
    shift.
    """
    each = [-(-max((g.out - 1) * g.stride + g.reach, g.before + g.size) // g.stride) for g in geometry]
    lengths = [prod(each[i + 1 :]) for i in range(len(each))]
    grids = []
    for first in np.ndindex(*(min(k, g.step) for k, g in zip(window, geometry, strict=True))):
        begin = [divmod(k * g.dilation, g.stride) for k, g in zip(first, geometry, strict=True)]
        taps = tuple(slice(k, None, g.step) for k, g in zip(first, geometry, strict=True))
        shift = sum(step * length for (step, _), length in zip(begin, lengths, strict=True))
        steps = tuple(g.step * g.dilation // g.stride * length for g, length in zip(geometry, lengths, strict=True))
        grids.append((tuple(rest for _, rest in begin), taps, shift, steps))
    reach = sum((g.reach - 1) // g.stride * length for g, length in zip(geometry, lengths, strict=True))
    return each, grids, reach


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
