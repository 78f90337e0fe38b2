"""Depthwise convolution on the host: a weighted sum of shifted inputs, without a matrix product.

With zeros around it, an input is one long row in which every tap of a filter is a shift: windows that begin where the
padding is are computed and thrown away, and numpy walks tens of thousands of elements at a time. The windows of a
stride are taken from copies that hold every stride-th position.
"""

from __future__ import annotations

from collections.abc import Sequence
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
    each = [-(-max((g.out - 1) * g.stride + g.reach, g.before + g.size) // g.stride) for g in geometry]
    row = prod(each) * out[-1]
    whole = max(1, BLOCK // out[-1]) * out[-1]
    taps = []
    for k in np.ndindex(*w.shape[:-2]):
        steps = [divmod(i * g.dilation, g.stride) for i, g in zip(k, geometry, strict=True)]
        shift = 0
        for (step, _), size in zip(steps, each, strict=True):
            shift = shift * size + step
        weights = np.tile(w[k].reshape(-1), whole // out[-1] if row >= whole else prod(each))
        taps.append((tuple(phase for _, phase in steps), shift * out[-1], weights))

    def one(rows: slice) -> None:
        phases = _phases(x[rows], geometry, each)
        total = next(iter(phases.values())).size
        used = total - max(shift for _, shift, _ in taps)
        sums, product = np.empty(total, x.dtype), np.empty(len(taps[0][2]), x.dtype)
        for part in blocks(used, len(product)):
            target, term = sums[part], product[: part.stop - part.start]
            for number, (phase, shift, weights) in enumerate(taps):
                source = phases[phase][part.start + shift : part.stop + shift]
                np.multiply(source, weights[: len(term)], out=term if number else target)
                if number:
                    np.add(target, term, out=target)
        grid = sums.reshape(-1, *each, out[-1])
        y[rows] = grid[(slice(None), *(slice(0, g.out) for g in geometry))]

    run_parts([(one, rows) for rows in blocks(out[0], max(1, LARGE // 4 // row) if y.size >= LARGE else out[0])])
    return y


def _phases(x: Array, geometry: Sequence[Window], each: Sequence[int]) -> dict[tuple[int, ...], Array]:
    """For each rest of the strides, the positions with that rest, zeros around them, as one long row."""
    size = [n * g.stride for n, g in zip(each, geometry, strict=True)]
    whole = np.zeros((len(x), *size, x.shape[-1]), x.dtype)
    whole[(slice(None), *(slice(g.before, g.before + g.size) for g in geometry))] = x
    found = {}
    for rest in np.ndindex(*(g.stride for g in geometry)):
        where = (slice(None), *(slice(i, None, g.stride) for i, g in zip(rest, geometry, strict=True)))
        found[rest] = whole[where].reshape(-1)
    return found
