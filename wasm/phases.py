"""Contractions whose taps depend on a phase, as one contraction for each phase, over the taps that it has.

The gradient of a convolution with stride 2 and a window of 3 (see compiler/phases.py) adds up two taps or one along an
axis; as one contraction with the phase for a batch it multiplies by zeros where there is only one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from math import prod

from ..kernel.contract import Contract, find_contract
from ..kernel.index import linear
from ..kernel.ir import I32, Axis, Expr, FoldSpec, Kernel, Store, store_roots
from .lower import nodes_of
from .ranges import rewritten, simplified

__all__ = ["phases"]

_MOST = 9  # phases: each is code of its own

_Conditions = frozenset[Expr] | None  # None: all there are


def phases(kernel: Kernel, contract: Contract) -> list[tuple[Kernel, Contract | None]]:
    """Kernels that together store what this one does, each with its contraction, if it has one left."""
    axes = _phase_axes(contract)
    if not axes or len(contract.fold.attr.accumulators) != 1 or prod(a.extent for a in axes) > _MOST:  # type: ignore[misc]
        return [(kernel, contract)]
    ir, made = contract.fold.ir, []
    for at in product(*(range(a.extent) for a in axes)):  # type: ignore[arg-type]
        known = {ir.axis(a): ir.const(i) for a, i in zip(axes, at, strict=True)}
        left = tuple(a for a in kernel.axes if a not in axes)
        stores = rewritten(kernel.stores, known)
        part = replace(kernel, axes=left, stores=tuple(rewritten(stores, _empty_sums(stores))))
        found = find_contract(part)
        if found is not None:
            part = replace(part, stores=tuple(rewritten(part.stores, _without_empty_taps(found))))
            found = find_contract(part)
        made.append((part, found))
    return made


def _phase_axes(contract: Contract) -> list[Axis]:
    """The batch axes that decide which taps there are."""
    found: dict[Axis, None] = {}
    for limit in _common(contract):
        mixed = [a for a in contract.batch if a in limit.axes and isinstance(a.extent, int)]
        if limit.op in ("lt", "le") and limit.axes <= {*mixed, *contract.k}:
            found.update(dict.fromkeys(mixed))
    return list(found)


def _empty_sums(stores: Sequence[Store]) -> dict[Expr, Expr]:
    """Zeros for the sums of nothing but zeros."""
    sums = [x for x in nodes_of(store_roots(list(stores))) if x.op == "out" and len(x.args[0].args) == 2]
    return {x: x.ir.const(0.0) for x in sums if _sums_up(x.args[0]) and _needed(x.args[0].args[1]) is None}


def _sums_up(fold: Expr) -> bool:
    return bool(fold.attr.accumulators[0].combine == "sum" and fold.args[0] is fold.ir.const(0.0))


def _without_empty_taps(contract: Contract) -> dict[Expr, Expr]:
    """What stands for the fold, or for its result if no tap is left, with axes as short as the conditions make them."""
    fold, ir = contract.fold, contract.fold.ir
    lengths = {a: a.extent for a in contract.k}
    for limit in _common(contract):
        found = _length(limit)
        if found is not None and found[0] in lengths:
            lengths[found[0]] = min(lengths[found[0]], found[1])  # type: ignore[type-var]
    if any(n == 0 for n in lengths.values()):
        return {out: ir.const(0.0) for out in contract.outs}
    short = {a: a if n == a.extent else ir.new_axis(n) for a, n in lengths.items()}
    swap = {ir.axis(a): ir.axis(b) for a, b in short.items() if a is not b}
    values = [fold.args[0], simplified([fold.args[1]], swap)[fold.args[1]]]
    spec = FoldSpec(tuple(short.values()), fold.attr.accumulators, fold.attr.level)
    free = frozenset().union(*(v.axes for v in values)) - frozenset(spec.axes)
    key = (spec.axes, spec.accumulators, None)
    return {fold: ir._make("fold", "tuple", tuple(values), spec, None, None, free, key)}


def _length(limit: Expr) -> tuple[Axis, int] | None:
    """The axis that a condition bounds, and how far: factor * axis + a < b."""
    if limit.op not in ("lt", "le") or limit.args[0].dtype != I32:
        return None
    (terms, constant), (more, other) = linear(limit.args[0]), linear(limit.args[1])
    if len(terms) != 1 or more:
        return None
    ((term, factor),) = terms.items()
    if term.op != "axis" or factor <= 0:
        return None
    return term.attr, max(0, -(-(other - constant + (limit.op == "le")) // factor))


def _common(contract: Contract) -> Sequence[Expr]:
    """The conditions without which both factors are 0. (One alone is not enough: 0 times infinity is not 0.)"""
    a, b = _needed(contract.a), _needed(contract.b)
    return sorted(a & b, key=lambda x: x.number) if a is not None and b is not None else ()


def _needed(x: Expr) -> _Conditions:
    """The conditions without any of which x is 0."""
    if x.op == "const":
        return None if x.attr == 0 else frozenset()
    if x.op == "load":
        return _parts(x.args[1]) if len(x.args) > 1 else frozenset()
    if x.op == "select":
        yes, no = _needed(x.args[1]), _needed(x.args[2])
        if no is None:
            return None if yes is None else yes | _parts(x.args[0])
        return no if yes is None else yes & no
    if x.op in ("mul", "add", "sub"):
        a, b = map(_needed, x.args)
        return b if a is None else a if b is None else a & b
    return frozenset()


def _parts(condition: Expr) -> frozenset[Expr]:
    """The conditions of which this is the conjunction."""
    if condition.op != "and":
        return frozenset((condition,))
    return _parts(condition.args[0]) | _parts(condition.args[1])
