"""Kernels in which neighbouring points read the same window take the whole window at once.

The gradient of a pooling layer reads, for each pixel, the window around it: a point that stores all pixels of a window
loads that once. Such axes are divided by the size of the window in some index.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod

from ..kernel.index import linear
from ..kernel.ir import Axis, Expr, Kernel, store_roots, walk
from ..kernel.split import guess
from ..shapes import num_elements
from .lanes import multiple_of, unroll
from .unfold import MAX_TRIPS

MOST = 4                    # points along an axis


def by_windows(kernel: Kernel, most: int, enough: int) -> Kernel:
    """The kernel with a point for each window, if it has windows of at most so many pixels, and `enough` of them."""
    order = walk(store_roots(kernel.stores))
    if any(s.loops for s in kernel.stores) or not all(_is_short(x) for x in order if x.op == "fold"):
        return kernel
    axes, stores = list(kernel.axes), kernel.stores
    points, taken = prod(guess(a.extent) for a in axes), 1
    for axis, size in _divided(order, kernel).items():
        if taken * size <= most and points // (taken * size) > enough:
            stores, axes[axes.index(axis)] = unroll(stores, axis, size)
            taken *= size
    return kernel if taken == 1 else replace(kernel, axes=tuple(axes), stores=stores)


def _is_short(fold: Expr) -> bool:
    """Whether the fold is written out: then it is of a window, and windows share what they load."""
    trips = num_elements(a.extent for a in fold.attr.axes)
    return isinstance(trips, int) and trips <= MAX_TRIPS


def _divided(order: Sequence[Expr], kernel: Kernel) -> dict[Axis, int]:
    """The axes of the kernel that some index divides by a small number, but for the one that runs along memory."""
    found: dict[Axis, int] = {}
    for x in order:
        if x.op == "div" and x.args[0].op == "axis" and x.args[1].op == "const":
            axis, size = x.args[0].attr, x.args[1].attr
            if axis in kernel.axes and 1 < size <= MOST and multiple_of(axis.extent, size):
                found[axis] = max(size, found.get(axis, 0))
    along = {t.attr for s in kernel.stores for t, step in linear(s.index)[0].items() if t.op == "axis" and step == 1}
    return {a: size for a, size in found.items() if a not in along}
