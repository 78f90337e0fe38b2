"""Short folds of known length, such as pooling windows, written out: constant offsets instead of loops."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from math import prod

from ..kernel.ir import F32, Expr, FoldSpec, Store, rebuild, rewrite, store_roots
from .lower import nodes_of

__all__ = ["ROUNDS", "combined", "unroll_folds"]

ROUNDS = 9  # folds of more rounds stay loops
_NODES = 320  # and those whose rounds together would have more nodes than this

_OP = {"sum": "add", "prod": "mul", "min": "min", "max": "max"}


def unroll_folds(stores: Sequence[Store], keep: Expr | None = None) -> tuple[Store, ...]:
    """The stores with short folds written out, except the fold `keep`."""
    nodes = nodes_of(store_roots(list(stores)))
    if not any(x.op == "fold" and x is not keep and _short(x) for x in nodes):
        return tuple(stores)
    done: dict[Expr, Expr] = {}
    written: dict[Expr, list[Expr]] = {}
    for x in nodes:
        if x.op == "out" and x.args[0] is not keep and _short(done[x.args[0]]):
            fold = done[x.args[0]]
            if fold not in written:
                written[fold] = _write_out(fold)
            done[x] = written[fold][x.attr]
        elif all(done[a] is a for a in x.args):
            done[x] = x
        else:
            done[x] = rebuild(x, tuple(done[a] for a in x.args))
    return tuple(
        replace(s, index=done[s.index], value=done[s.value], valid=None if s.valid is None else done[s.valid])
        for s in stores
    )


def _short(fold: Expr) -> bool:
    extents = [a.extent for a in fold.attr.axes]
    if not all(isinstance(e, int) for e in extents):
        return False
    rounds = prod(extents)
    if not 0 < rounds <= ROUNDS or any(a.combine not in _OP for a in fold.attr.accumulators):
        return False
    inside = [x for x in nodes_of(fold.args[len(fold.attr.accumulators) :]) if not x.axes.isdisjoint(fold.attr.axes)]
    return rounds * len(inside) <= _NODES and not any(x.op == "fold" for x in inside)


def _write_out(fold: Expr) -> list[Expr]:
    spec: FoldSpec = fold.attr
    ir = fold.ir
    values = fold.args[len(spec.accumulators) :]
    totals: list[Expr] | None = None
    for at in product(*(range(a.extent) for a in spec.axes)):
        here = rewrite(values, {ir.axis(a): ir.const(i) for a, i in zip(spec.axes, at, strict=True) if a.extent != 1})
        totals = (
            here
            if totals is None
            else [combined(a.combine, t, v) for a, t, v in zip(spec.accumulators, totals, here, strict=True)]
        )
    assert totals is not None
    return totals


def combined(combine: str, total: Expr, value: Expr) -> Expr:
    """One round more; a product and its sum may become one instruction (see fuse.py)."""
    if combine == "sum" and value.op == "mul" and value.dtype == F32:
        return value.ir.call("fma", *value.args, total)
    return value.ir.binary(_OP[combine], total, value)
