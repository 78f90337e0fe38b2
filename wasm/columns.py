"""Sums of columns, read row by row: a matrix is walked in the order in which it lies in memory.

A fold along rows keeps its accumulators in registers and so walks down sixteen columns at a time: from row to row over
the rest of all others, another page each time, lines of few sets of the cache. Instead the sums are kept where the
result goes, a row that stays in the cache, and eight rows at a time are added to it. What is made of the sums comes
after. Each sum adds the same numbers in the same order.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import prod

from ..kernel.ir import F32, Axis, Builder, Expr, Store, rewrite, store_roots
from .lanes import Lanes, choose_lane, known_extent
from .lower import nodes_of, sequential_axes
from .unroll import combined

__all__ = ["Part", "Pass", "down_columns"]

_WORTH = 1 << 14  # elements: what is smaller lies in the nearest cache
_NARROW = 16  # columns that are walked down together anyway
_ROWS = (8, 7, 6, 5, 4)  # rows added at a time
_FEWEST = 16  # rows
_NODES = 320  # of the rows that are added at a time


@dataclass(frozen=True)
class Part:
    """The part of a row axis that a pass runs over, where its length is not known: whole groups of `rows`, or the rows
    that are left over.
    """

    axis: Axis
    rows: int
    rest: bool


@dataclass(frozen=True)
class Pass:
    """Stores over axes, outermost first, which are run over in this order."""

    axes: tuple[Axis, ...]
    stores: list[Store]
    part: Part | None = None


def down_columns(axes: tuple[Axis, ...], stores: Sequence[Store]) -> tuple[Axis, list[Pass]] | None:
    """The axis that vectors run along and the passes that together make the stores, or None if they are not sums of
    columns, or too small.
    """
    nodes = nodes_of(store_roots(list(stores)))
    if not _separate(stores, nodes):
        return None
    lane = choose_lane(axes, stores, nodes, frozenset(sequential_axes(nodes)))
    if lane is None or known_extent(lane) <= _NARROW:
        return None
    passes: list[Pass] = []
    known: dict[Expr, Expr] = {}
    left = list(stores)
    while left:
        values = rewrite([s.value for s in left], known)
        left = [replace(s, value=v) for s, v in zip(left, values, strict=True)]
        stage = _stage(left)
        made = None if stage is None else _stage_passes(axes, lane, stage)
        if stage is None or made is None:
            return None
        passes += made
        known = {s.value: _stored(s) for s, _ in stage}
        left = [s for s in left if s.buffer not in {done.buffer for done, _ in stage}]
    return lane, passes


def _separate(stores: Sequence[Store], nodes: Sequence[Expr]) -> bool:
    """Whether every store may keep numbers in its buffer before the last."""
    buffers = {s.buffer for s in stores}
    return (
        len(buffers) == len(stores)
        and all(s.valid is None and not s.loops and s.value.dtype == F32 for s in stores)
        and not any(x.op == "load" and x.attr in buffers for x in nodes)
    )


def _stage(stores: Sequence[Store]) -> list[tuple[Store, Expr]] | None:
    """Stores with their folds that are sums along the same axes and need no sums but their own; None if there are none.
    """
    found: list[tuple[Store, Expr]] = []
    for s in stores:
        folds = [x for x in nodes_of([s.value]) if x.op == "fold"]
        if len(folds) == 1 and _plain(folds[0]) and (not found or folds[0].attr.axes == found[0][1].attr.axes):
            found.append((s, folds[0]))
    return found or None


def _plain(fold: Expr) -> bool:
    accumulators = fold.attr.accumulators
    return len(accumulators) == 1 and accumulators[0].combine == "sum" and accumulators[0].dtype == F32


def _stage_passes(axes: tuple[Axis, ...], lane: Axis, stage: Sequence[tuple[Store, Expr]]) -> list[Pass] | None:
    """Zeros, groups of rows, the rows left over, and what is made of the sums."""
    others = [a for a in axes if a is not lane]
    rows = [a for a in stage[0][1].attr.axes if a.extent != 1]
    elements = nodes_of([f.args[1] for _, f in stage])
    if not _by_rows([*others, lane], rows, lane, stage, elements):
        return None
    last = rows[-1]
    height = _height(last, len(elements))
    if height is None:
        return None
    order = _order(others, rows, elements)
    passes = [Pass(axes, [replace(s, value=f.args[0]) for s, f in stage])]
    for groups, at, part in _groups(stage[0][0].value.ir, last, height):
        where = [groups if a is last else a for a in order if a is not last or groups is not None]
        passes.append(Pass((*where, lane), [_add(s, f.args[1], last, at) for s, f in stage], part))
    finished = [replace(s, value=rewrite([s.value], {_out(s, f): _stored(s)})[0]) for s, f in stage]
    if any(s.value is not _stored(s) for s in finished):
        passes.append(Pass(axes, finished))
    return passes


def _by_rows(
    columns: Sequence[Axis], rows: Sequence[Axis], lane: Axis, stage: Sequence[tuple[Store, Expr]],
    elements: Sequence[Expr],
) -> bool:
    """Whether vectors are read and stored as they lie in memory, and there are enough of them."""
    deep = prod(map(known_extent, rows))
    if deep < _FEWEST or deep * prod(map(known_extent, columns)) < _WORTH:
        return False
    along = Lanes(lane)
    loads = [x for x in elements if x.op == "load"]
    steps = [along.stride(x.args[0]) for x in loads]
    return (
        1 in steps
        and all(step in (0, 1) for step in steps)
        and all(along.stride(x.args[1]) == 0 for x in loads if len(x.args) > 1)
        and all(along.stride(s.index) == 1 for s, _ in stage)
    )


def _height(rows: Axis, size: int) -> int | None:
    """How many rows are added at a time: what leaves none over, if possible."""
    heights = [h for h in _ROWS if h * size <= _NODES]
    if isinstance(rows.extent, int):
        return next((h for h in heights if rows.extent % h == 0), heights[0] if heights else None)
    return heights[0] if heights else None


def _order(columns: Sequence[Axis], rows: Sequence[Axis], nodes: Sequence[Expr]) -> list[Axis]:
    """The axes but the lane, those first along which elements lie farther apart; `rows` stay in their order."""
    steps: dict[Axis, int] = {}
    for a in (*columns, *rows):
        found = [Lanes(a).stride(x.args[0]) for x in nodes if x.op == "load" and a in x.axes]
        if not found or None in found:
            return [*columns, *rows]
        steps[a] = max(abs(step or 0) for step in found)
    order = sorted((*columns, *rows), key=lambda a: -steps[a])
    return order if [a for a in order if a in set(rows)] == list(rows) else [*columns, *rows]


def _groups(ir: Builder, rows: Axis, height: int) -> Iterator[tuple[Axis | None, list[Expr], Part | None]]:
    """Groups of rows: the axis that numbers them, the rows of one, the part of the axis that there is."""
    if isinstance(rows.extent, int):
        count, rest = divmod(rows.extent, height)
        if count:
            groups = ir.new_axis(count)
            yield groups, [ir.axis(groups) * height + i for i in range(height)], None
        if rest:
            yield None, [ir.const(count * height + i) for i in range(rest)], None
        return
    groups, single = ir.new_axis(rows.extent), ir.new_axis(rows.extent)
    yield groups, [ir.axis(groups) * height + i for i in range(height)], Part(groups, height, False)
    yield single, [ir.axis(single)], Part(single, height, True)


def _add(store: Store, element: Expr, rows: Axis, at: Sequence[Expr]) -> Store:
    """The store of the sum so far and these rows."""
    total = _stored(store)
    for row in at:
        total = combined("sum", total, rewrite([element], {total.ir.axis(rows): row})[0])
    return replace(store, value=total)


def _out(store: Store, fold: Expr) -> Expr:
    return next(x for x in nodes_of([store.value]) if x.op == "out" and x.args[0] is fold)


def _stored(store: Store) -> Expr:
    """What the store has left in its buffer."""
    return store.value.ir.load(store.buffer, F32, store.index)
