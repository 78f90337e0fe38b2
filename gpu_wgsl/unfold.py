"""Folds with fewer iterations: short ones are written out, long ones take four at once where loads become vec4 or
an iteration does next to nothing, and the loop along a window that slides over the rows of a tile is written out.

Loops are dear on software adapters, and a load of four neighbours costs a GPU what one element costs. A large register
tile has few loads for its work already: it takes two iterations at once, for an iteration costs there as much again
for every sum as a product does, while four would no longer fit into the cache of instructions. And rows that are
neighbouring pixels of a convolution load what the windows of the others load too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import reduce
from itertools import product
from math import prod

from ..kernel.index import linear
from ..kernel.ir import BOOL, Accumulator, Axis, Expr, FoldSpec, Store, rebuild, walk
from .lanes import LANES, Substitution, is_multiple, multiple_of

QUARTER = 4                 # vectors of results up to which an invocation takes four iterations at once
LIGHT = 16                  # expressions of an iteration
MAX_TRIPS = 9               # of a fold that is written out: a pooling window, a filter of one channel
MAX_NODES = 5000            # expressions that a fold may become when it is written out
MAX_WINDOW = 5              # taps of a loop over neighbouring pixels that is written out,
MAX_TERMS = 96              # and products of vectors that an iteration may then have
MAX_PAIR = 24               # vectors of results of an invocation that takes two iterations at once
COMBINE = {"sum": "add", "prod": "mul", "min": "min", "max": "max"}
COMBINE_BOOL = {"sum": "or", "max": "or", "prod": "and", "min": "and"}


def unfold(stores: Sequence[Store], results: int, rows: tuple[Axis, int] | None = None,
           trips: int = MAX_TRIPS) -> tuple[Store, ...]:
    """The stores with their folds shortened. `results`: how many an invocation computes, which multiplies the text;
    `rows`: the axis of which it takes so many neighbours; `trips`: of folds that are written out, at most.
    """
    visit = _Unfold(max(1, results), rows, trips)

    def store(s: Store) -> Store:
        valid = None if s.valid is None else visit(s.valid)
        return replace(s, index=visit(s.index), value=visit(s.value), valid=valid)

    return tuple(map(store, stores))


class _Unfold:
    def __init__(self, results: int, rows: tuple[Axis, int] | None, trips: int) -> None:
        self.width, self.rows, self.trips = results, rows, trips
        self.done: dict[Expr, Expr] = {}
        self.results: dict[Expr, list[Expr]] = {}        # folds that are written out
        self.blocks: dict[Axis, Axis] = {}                 # innermost axes that are taken several at once

    def __call__(self, root: Expr) -> Expr:
        for x in walk([root]):
            if x not in self.done:
                self.done[x] = self._visit(x)
        return self.done[root]

    def _visit(self, x: Expr) -> Expr:
        args = tuple(self.done[a] for a in x.args)
        if x.op == "out" and x.args[0] in self.results:
            return self.results[x.args[0]][int(x.attr)]
        if x.op == "fold" and all(a.combine != "custom" for a in x.attr.accumulators):
            return self._fold(x, args)
        return x if all(a is b for a, b in zip(args, x.args, strict=True)) else rebuild(x, args)

    def _fold(self, x: Expr, args: tuple[Expr, ...]) -> Expr:
        spec: FoldSpec = x.attr
        count = len(spec.accumulators)
        inits, values = args[:count], args[count:]
        if self._is_short(spec, values):
            points = list(product(*(range(a.extent) for a in spec.axes)))         # type: ignore[arg-type]
            self.results[x] = self._combined(x, inits, values, spec.axes, points)
            return x
        inner = spec.axes[-1]
        divisible = multiple_of(inner.extent, LANES) and inner.extent != 0
        if self.width <= QUARTER and divisible and (_has_neighbours(values, inner) or _is_light(values)):
            return self._together(x, inits, values, inner, LANES)
        window = self._window(spec, values)
        if window is not None:
            return self._slide(x, inits, values, window)
        if QUARTER < self.width <= MAX_PAIR and multiple_of(inner.extent, 2) and inner.extent != 0:
            if all(n.op != "fold" for n in walk(list(values))):
                return self._together(x, inits, values, inner, 2)
        return x if all(a is b for a, b in zip(args, x.args, strict=True)) else rebuild(x, args)

    def _is_short(self, spec: FoldSpec, values: Sequence[Expr]) -> bool:
        extents = [a.extent for a in spec.axes if isinstance(a.extent, int)]
        trips = prod(extents)
        if len(extents) < len(spec.axes) or not 0 < trips <= self.trips:
            return False
        order = walk(list(values))
        return trips * len(order) * self.width <= MAX_NODES and all(n.op != "fold" for n in order)

    def _combined(self, x: Expr, inits: Sequence[Expr], values: Sequence[Expr], axes: Sequence[Axis],
                  points: Sequence[tuple[int, ...]]) -> list[Expr]:
        ir, accumulators = x.ir, x.attr.accumulators
        swaps = [Substitution({a: ir.const(p) for a, p in zip(axes, point, strict=True)}) for point in points]
        results = []
        for accumulator, start, value in zip(accumulators, inits, values, strict=True):
            terms = [swap(value) for swap in swaps]
            if start is not ir.neutral(accumulator):
                terms.insert(0, start)
            results.append(_reduce(accumulator, terms))
        return results

    def _window(self, spec: FoldSpec, values: Sequence[Expr]) -> Axis | None:
        """A loop of which an iteration loads for one row what another loads for a row beside it."""
        if self.rows is None or len(spec.axes) < 2:
            return None
        row, count = self.rows
        short = [a for a in spec.axes if isinstance(a.extent, int) and 1 < a.extent <= MAX_WINDOW]
        order = walk(list(values)) if short else []
        if any(x.op == "fold" for x in order):
            return None
        for axis in short:
            if self.width * axis.extent > MAX_TERMS:        # type: ignore[operator]
                continue
            for x in order:
                if x.op == "load" and row in x.args[0].axes and axis in x.args[0].axes:
                    terms, _ = linear(x.args[0])
                    step, far = terms.get(x.ir.axis(row), 0), terms.get(x.ir.axis(axis), 0)
                    if step and far and far % step == 0 and abs(far // step) < count:
                        return axis
        return None

    def _slide(self, x: Expr, inits: Sequence[Expr], values: Sequence[Expr], window: Axis) -> Expr:
        """The same fold without the loop along a window: an iteration adds up its taps."""
        assert isinstance(window.extent, int)
        swaps = [Substitution({window: x.ir.const(tap)}) for tap in range(window.extent)]
        axes = tuple(a for a in x.attr.axes if a is not window)
        return self._shortened(x, inits, values, axes, swaps)

    def _together(self, x: Expr, inits: Sequence[Expr], values: Sequence[Expr], inner: Axis, count: int) -> Expr:
        """The same fold with `count` iterations of its innermost axis at once."""
        axis = self.blocks.get(inner)
        if axis is None:
            axis = self.blocks[inner] = Axis(inner.name + "q", inner.extent // count)
        swaps = [Substitution({inner: x.ir.axis(axis) * count + lane}) for lane in range(count)]
        return self._shortened(x, inits, values, (*x.attr.axes[:-1], axis), swaps)

    def _shortened(self, x: Expr, inits: Sequence[Expr], values: Sequence[Expr], axes: tuple[Axis, ...],
                   swaps: Sequence[Substitution]) -> Expr:
        """The fold over `axes`, an iteration of which does what the old ones at these places did."""
        ir, spec = x.ir, x.attr
        combined = [_reduce(accumulator, [swap(value) for swap in swaps])
                    for accumulator, value in zip(spec.accumulators, values, strict=True)]
        args = (*inits, *combined)
        free = frozenset().union(*(a.axes for a in args)) - frozenset(axes)
        new = FoldSpec(axes, spec.accumulators, spec.level)
        return ir._make("fold", "tuple", args, new, None, None, free, (axes, spec.accumulators, None))


def _reduce(accumulator: Accumulator, terms: Sequence[Expr]) -> Expr:
    op = (COMBINE_BOOL if accumulator.dtype == BOOL else COMBINE)[accumulator.combine]
    return reduce(lambda a, b: a.ir.binary(op, a, b), terms)


def _is_light(values: Sequence[Expr]) -> bool:
    """Whether an iteration is so little work that the loop around it costs as much."""
    order = walk(list(values))
    return len(order) <= LIGHT and all(x.op not in ("fold", "call") for x in order)


def _has_neighbours(values: Sequence[Expr], axis: Axis) -> bool:
    """Whether some load takes neighbours from a multiple of four on, under a guard that is the same for all four."""
    for x in walk(list(values)):
        if x.op != "load" or axis not in x.args[0].axes or (len(x.args) > 1 and axis in x.args[1].axes):
            continue
        terms, constant = linear(x.args[0])
        if constant % LANES == 0 and terms.pop(x.ir.axis(axis), 0) == 1:
            if all(axis not in t.axes and (f % LANES == 0 or is_multiple(t, LANES)) for t, f in terms.items()):
                return True
    return False
