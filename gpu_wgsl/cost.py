"""How much a kernel computes: a driver resets a GPU that is busy with one dispatch for about two seconds."""

from __future__ import annotations

from collections.abc import Iterable

from ..kernel.ir import F32, Axis, Kernel, store_roots, walk
from ..shapes import Size, num_elements

__all__ = ["flops"]

CALL = 20                   # operations of a mathlib function, about
FREE = ("load", "const", "axis", "size", "scalar", "acc", "out", "fold", "iteration", "bitcast")


def flops(kernel: Kernel) -> Size:
    """Floating-point operations of one run: each expression is computed at every point of the axes it depends on."""
    total: dict[frozenset[Axis], int] = {}
    for x in walk(store_roots(kernel.stores)):
        if x.op == "fold":
            axes, count = x.axes | frozenset(x.attr.axes), len(x.attr.accumulators)
        elif x.dtype == F32 and x.op not in FREE:
            axes, count = x.axes, CALL if x.op == "call" else 1
        else:
            continue
        total[axes] = total.get(axes, 0) + count
    result: Size = 0
    for axes, count in total.items():
        result = result + count * num_elements(_extents(axes))
    return result


def _extents(axes: Iterable[Axis]) -> list[Size]:
    return [a.extent for a in sorted(axes, key=lambda a: (str(a.extent), a.name))]
