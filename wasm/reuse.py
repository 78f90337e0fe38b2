"""Computes once what a fold sums and a store needs again: softmax takes each exponential one time.

    y[j] = e(j) / sum(e(r) over r)      becomes      y[j] = e(j), for all j;   then   y[j] = y[j] / sum(y[r] over r)

The output holds the values in between: it is in the cache, and reading it is cheaper than computing them again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..kernel.ir import Expr, Store, rewrite, store_roots
from .lanes import Lanes
from .lower import nodes_of

_WORTH = 12  # operations of an element from which it is stored rather than computed twice
_SHORTEST = 16  # elements


def reuse(stores: Sequence[Store]) -> tuple[list[Store], list[Store]]:
    """Stores to make first, and the stores that then read what those have written."""
    nodes = nodes_of(store_roots(list(stores)))
    loaded = {x.attr for x in nodes if x.op == "load"}
    folds = [x for x in nodes if x.op == "fold" and _plain_sum(x)]
    for store in stores:
        if len(store.loops) != 1 or store.valid is not None or store.buffer in loaded or _short(store):
            continue
        inside = set(nodes_of([store.value]))
        for fold in folds:
            element = _same_element(fold, store)
            if fold in inside and element in inside and _costs(element, store) and _in_order(element, store):
                return _split(stores, store, fold, element)
    return [], list(stores)


def _plain_sum(fold: Expr) -> bool:
    spec = fold.attr
    return len(spec.axes) == 1 and len(spec.accumulators) == 1 and spec.accumulators[0].combine == "sum"


def _short(store: Store) -> bool:
    extent = store.loops[0].extent
    return isinstance(extent, int) and extent < _SHORTEST


def _same_element(fold: Expr, store: Store) -> Expr | None:
    """What the fold sums, at the place of the store's loop."""
    ir, axis, loop = fold.ir, fold.attr.axes[0], store.loops[0]
    if axis.extent != loop.extent:
        return None
    return rewrite([fold.args[1]], {ir.axis(axis): ir.axis(loop)})[0]


def _costs(element: Expr, store: Store) -> bool:
    if element.dtype != store.value.dtype:
        return False
    return sum(store.loops[0] in x.axes and x.op != "axis" for x in nodes_of([element])) >= _WORTH


def _in_order(element: Expr, store: Store) -> bool:
    """Whether vectors of what is read are vectors of what is stored. A transposed result is written in pieces, and
    would have to be read in pieces again.
    """
    along = Lanes(store.loops[0])
    if along.stride(store.index) != 1:
        return True
    return all(along.stride(x.args[0]) in (0, 1) for x in nodes_of([element]) if x.op == "load")


def _split(stores: Sequence[Store], store: Store, fold: Expr, element: Expr) -> tuple[list[Store], list[Store]]:
    ir, axis, loop = fold.ir, fold.attr.axes[0], store.loops[0]
    (at_axis,) = rewrite([store.index], {ir.axis(loop): ir.axis(axis)})
    stored = ir.load(store.buffer, element.dtype, store.index)
    summed = ir.load(store.buffer, element.dtype, at_axis)
    values = rewrite([s.value for s in stores], {element: stored, fold.args[1]: summed})
    # nothing but the new loads may still need the elements: computing them again would gain nothing
    if element in set(nodes_of(values)):
        return [], list(stores)
    first = replace(store, value=element)
    if _scaled(element):
        values = [_by_reciprocal(v, stored) for v in values]
    return [first], [replace(s, value=v) for s, v in zip(stores, values, strict=True)]


def _scaled(element: Expr) -> bool:
    """Whether the largest element is 1 (e^(x - max x)), so that one over their sum cannot overflow."""
    folds = [x for x in nodes_of([element]) if x.op == "fold"]
    return len(folds) == 1 and [a.combine for a in folds[0].attr.accumulators] == ["max"]


def _by_reciprocal(x: Expr, stored: Expr) -> Expr:
    """stored / sum as stored * (1 / sum): one division for each row."""
    if x.op != "truediv" or x.args[0] is not stored or x.args[1].op != "out":
        return x
    return stored * x.ir.binary("truediv", x.ir.const(1.0), x.args[1])
