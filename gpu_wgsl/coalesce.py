"""Neighbouring axes that every index walks as one become one: no division to find the place of a point.

An integer division per point costs a software adapter more than the arithmetic of a short chain, and rows of 28 pixels
make poor tiles where the 25,088 rows of the batch could be cut anywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..kernel.index import linear
from ..kernel.ir import Axis, Builder, Expr, Store, rewrite, store_roots, walk
from ..shapes import num_elements


def coalesce(axes: Sequence[Axis], stores: Sequence[Store]) -> tuple[list[Axis], tuple[Store, ...]]:
    """The axes and stores with as many neighbouring axes joined as can be; the order of points stays."""
    kept, done = [a for a in axes if a.extent != 1], tuple(stores)
    at = len(kept) - 2
    while at >= 0:
        joined = _join(kept[at], kept[at + 1], done)
        if joined is not None:
            kept[at : at + 2], done = [joined[0]], joined[1]
        at -= 1
    return kept, done


def _join(outer: Axis, inner: Axis, stores: tuple[Store, ...]) -> tuple[Axis, tuple[Store, ...]] | None:
    """One axis in place of two, or None if some index needs them apart."""
    ir, roots = stores[0].index.ir, store_roots(stores)
    if not isinstance(inner.extent, int) or not all(_walks_both(ir, x, outer, inner) for x in _indices(roots, stores)):
        return None
    both = Axis(f"{outer.name}{inner.name}", num_elements((outer.extent, inner.extent)))
    point = ir.axis(both)
    swap: dict[Expr, Expr] = {ir.axis(outer): point // inner.extent, ir.axis(inner): point % inner.extent}
    found = iter(rewrite(roots, swap))
    made = tuple(replace(s, index=next(found), value=next(found), valid=None if s.valid is None else next(found))
                 for s in stores)
    apart = any(x.op in ("div", "mod") and x.args[0] is point for x in walk(store_roots(made)))
    return None if apart else (both, made)


def _indices(roots: Sequence[Expr], stores: Sequence[Store]) -> list[Expr]:
    return [s.index for s in stores] + [x.args[0] for x in walk(roots) if x.op == "load"]


def _walks_both(ir: Builder, index: Expr, outer: Axis, inner: Axis) -> bool:
    """Whether a step of the outer axis is as far as all steps of the inner one."""
    if outer not in index.axes and inner not in index.axes:
        return True
    terms, _ = linear(index)
    step = terms.get(ir.axis(inner), 0)
    return terms.get(ir.axis(outer), 0) == step * inner.extent          # type: ignore[operator]
