"""Iterations of a fold that add nothing are skipped, instead of being computed and masked.

The part of a split reduction past the end, and the taps of a convolution outside the image, contribute the neutral
element: a masked value, or a product with a guarded load. What all accumulators of a loop have in common becomes the
end of the loop or a `continue`, and the masks and guards go. No `continue` in the innermost loop: lanes that part there
cost a software adapter more than the masks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from ..kernel.index import from_linear, linear
from ..kernel.ir import I32, Axis, Expr, Store, rebuild, store_roots, walk

Conditions = dict[Expr, None]              # a set in the order of discovery: the text must not depend on hashes


def skip_neutral(stores: Sequence[Store], groups: Callable[[Sequence[Expr]], dict[Expr, list[Expr]]],
                 lane: Axis | None) -> tuple[tuple[Store, ...], dict[Expr, tuple[Expr, ...]]]:
    """Stores with masks taken off, and for each fold under which conditions an iteration counts.

    Folds that share a loop (`groups`) get the same conditions or none.
    """
    order = walk(store_roots(stores))
    together = groups(order)
    wanted: dict[Expr, tuple[Expr, ...]] = {}
    for x in order:
        if x.op == "fold" and x not in wanted:
            wanted.update(dict.fromkeys(together[x], tuple(_common(together[x], lane))))
    if not any(wanted.values()) or (lane is not None and _indexed_by_folds(order, stores)):
        return tuple(stores), {}
    done: dict[Expr, Expr] = {}
    skips: dict[Expr, tuple[Expr, ...]] = {}
    known: dict[tuple[Expr, ...], dict[Expr, Expr]] = {}
    for x in order:
        args = tuple(done[a] for a in x.args)
        new = x if all(a is b for a, b in zip(args, x.args, strict=True)) else rebuild(x, args)
        if x.op == "fold" and wanted[x]:
            conditions = tuple(done[c] for c in wanted[x])
            new = _stripped(new, conditions, known.setdefault(conditions, {c: x.ir.const(True) for c in conditions}))
            skips[new] = conditions
        done[x] = new
    return tuple(replace(s, index=done[s.index], value=done[s.value], valid=None if s.valid is None else done[s.valid])
                 for s in stores), skips


def _indexed_by_folds(order: Sequence[Expr], stores: Sequence[Store]) -> bool:
    """Whether an index or a guard needs a fold: those are rewritten lane by lane, which would lose the conditions."""
    needs: set[Expr] = set()
    for x in order:
        if x.op == "fold" or any(a in needs for a in x.args):
            needs.add(x)
    places = [a for x in order if x.op == "load" for a in x.args]
    places += [a for s in stores for a in (s.index, s.valid) if a is not None]
    return any(a in needs for a in places)


def _common(folds: Sequence[Expr], lane: Axis | None) -> list[Expr]:
    """Conditions that all folds have; those of a lane, of no loop axis, of other folds, of the innermost loop stay."""
    found = [_of_fold(f) for f in folds]
    axes = [a for a in folds[0].attr.axes if a.extent != 1]
    common = [c for c in found[0] if all(c in other for other in found) and lane not in c.axes]
    common = [c for c in common if c.axes & frozenset(axes) and all(x.op not in ("out", "acc") for x in walk([c]))]
    return [c for c in common if axes[-1] not in c.axes or loop_end(c, axes[-1]) is not None]


def loop_end(condition: Expr, axis: Axis) -> Expr | None:
    """e if the condition is `axis < e`, with an e that does not depend on the axis."""
    if condition.op not in ("lt", "le") or condition.args[0].dtype != I32:
        return None
    ir, (a, b) = condition.ir, condition.args
    terms, constant = linear(a - b)
    if terms.pop(ir.axis(axis), 0) != 1 or any(axis in t.axes for t in terms):
        return None
    return ir.const(condition.op == "le", I32) - from_linear(ir, terms, constant)


def _of_fold(f: Expr) -> Conditions:
    """Conditions without which an iteration leaves all accumulators as they are."""
    accumulators = f.attr.accumulators
    result: Conditions | None = None
    for accumulator, value in zip(accumulators, f.args[len(accumulators):], strict=True):
        if accumulator.combine == "custom":
            return {}
        if value.op == "select" and value.args[2] is f.ir.neutral(accumulator):
            found = _conjuncts(value.args[0])
            if accumulator.combine == "sum":
                found.update(_zero_unless(value.args[1]))
        else:
            found = _zero_unless(value) if accumulator.combine == "sum" else {}
        result = found if result is None else {c: None for c in result if c in found}
    return result or {}


def _zero_unless(x: Expr) -> Conditions:
    """Conditions without which x is 0. A product with a guarded 0 counts as 0, whatever the other factor is."""
    if x.op == "load" and len(x.args) > 1:
        return _conjuncts(x.args[1])
    if x.op == "mul":
        return {**_zero_unless(x.args[0]), **_zero_unless(x.args[1])}
    if x.op == "add":
        other = _zero_unless(x.args[1])
        return {c: None for c in _zero_unless(x.args[0]) if c in other}
    if x.op == "select" and x.args[2].op == "const" and x.args[2].attr == 0:
        return {**_conjuncts(x.args[0]), **_zero_unless(x.args[1])}
    return {}


def _conjuncts(x: Expr) -> Conditions:
    if x.op == "and":
        return {**_conjuncts(x.args[0]), **_conjuncts(x.args[1])}
    return {x: None}


def _new(roots: Sequence[Expr], done: dict[Expr, Expr]) -> list[Expr]:
    """What is reachable without passing what is done, operands first."""
    seen: dict[Expr, None] = {}
    stack = [(r, False) for r in roots]
    while stack:
        x, ready = stack.pop()
        if ready:
            seen.setdefault(x)
        elif x not in done and x not in seen:
            stack.append((x, True))
            stack += [(a, False) for a in x.args]
    return list(seen)


def _stripped(fold: Expr, conditions: tuple[Expr, ...], done: dict[Expr, Expr]) -> Expr:
    """The fold over iterations in which the conditions hold: `done` says so, and remembers what was rewritten."""
    ir, spec, count = fold.ir, fold.attr, len(fold.attr.accumulators)
    for x in _new(fold.args[count:], done):
        args = tuple(done[a] for a in x.args)
        if x.op == "load" and len(args) == 2 and args[1].op == "const" and args[1].attr:
            done[x] = rebuild(x, args[:1])
        else:
            done[x] = x if all(a is b for a, b in zip(args, x.args, strict=True)) else rebuild(x, args)
    args = (*fold.args[:count], *(done[v] for v in fold.args[count:]))
    # the conditions are part of what it is: it depends on their axes, and differs from the fold without them
    key = (spec.axes, spec.accumulators, None, conditions)
    return ir._make("fold", "tuple", args, spec, None, None, fold.axes, key)
