"""Levels of folds: a fold inside another one must run along axes of its own.

The builder numbers folds from the inside out when it makes them. Where a load is later exchanged for the expression
behind it, a fold may come to lie in one of its own level, along the same axes: `relevel` moves the outer one up.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from .ir import Builder, Expr, rebuild, walk

__all__ = ["relevel"]


def relevel(ir: Builder, root: Expr) -> Expr:
    """The expression with every fold above the folds in its values."""
    done: dict[Expr, Expr] = {}
    levels: dict[Expr, int] = {}
    for x in walk([root]):
        args = tuple(done[a] for a in x.args)
        made = x if all(a is b for a, b in zip(args, x.args, strict=True)) else rebuild(x, args)
        if made.op == "fold":
            count = len(made.attr.accumulators)
            inside = max((levels.get(a, 0) for a in made.args[count:]), default=0)
            if made.attr.level <= inside:
                made = _raised(ir, made, inside + 1)
            levels[made] = max(made.attr.level, *(levels.get(a, 0) for a in made.args))
        else:
            levels[made] = max((levels.get(a, 0) for a in made.args), default=0)
        done[x] = made
    return done[root]


def _raised(ir: Builder, fold: Expr, level: int) -> Expr:
    """The same fold along the axes of another level."""
    spec = fold.attr
    axes = tuple(ir._fold_axis(level, i, a.extent) for i, a in enumerate(spec.axes))
    swap: dict[Expr, Expr] = {ir.axis(a): ir.axis(b) for a, b in zip(spec.axes, axes, strict=True) if a.extent != 1}
    dtypes, extents = tuple(a.dtype for a in spec.accumulators), tuple(a.extent for a in spec.axes)
    custom = any(a.combine == "custom" for a in spec.accumulators)
    for i, a in enumerate(spec.accumulators if custom else ()):
        old, new = ((at, dtypes, extents) for at in (spec.level, level))
        carried = ir._make("acc", a.dtype, (), (old, i), None, None, frozenset(spec.axes))
        swap[carried] = ir._make("acc", a.dtype, (), (new, i), None, None, frozenset(axes))
    count = len(spec.accumulators)
    values = tuple(_substitute(v, swap, {}) for v in fold.args[count:])
    args = (*fold.args[:count], *values)
    free = frozenset().union(*(x.axes for x in args)) - frozenset(axes)
    made = replace(spec, axes=axes, level=level)
    key = (level, dtypes, extents) if custom else None
    return ir._make("fold", "tuple", args, made, None, None, free, (axes, spec.accumulators, key))


def _substitute(x: Expr, swap: Mapping[Expr, Expr], done: dict[Any, Expr]) -> Expr:
    """x with leaves exchanged, but not those that a fold inside binds itself."""
    if x in swap:
        return swap[x]
    if not x.args:
        return x
    found = done.get(x)
    if found is None:
        inner: Mapping[Expr, Expr] = swap
        if x.op == "fold":
            inner = {old: new for old, new in swap.items() if not _binds(x, old)}
        count = len(x.attr.accumulators) if x.op == "fold" else 0
        memo = done if inner is swap else {}
        args = tuple(
            _substitute(a, swap, done) if i < count else _substitute(a, inner, memo) for i, a in enumerate(x.args)
        )
        found = x if all(a is b for a, b in zip(args, x.args, strict=True)) else rebuild(x, args)
        done[x] = found
    return found


def _binds(fold: Expr, leaf: Expr) -> bool:
    """Whether an axis or accumulator belongs to this fold."""
    spec = fold.attr
    if leaf.op == "axis":
        return leaf.attr in spec.axes
    own = (spec.level, tuple(a.dtype for a in spec.accumulators), tuple(a.extent for a in spec.axes))
    return bool(leaf.attr[0] == own)
