"""Loads that four neighbouring invocations make alike, marked in the shader.

Where invocations of a quad (four neighbours of a subgroup) compute neighbouring columns, all load the same rows.
A software adapter loads lane by lane: there up to four such loads can be one, of which each invocation takes a part,
and exchanges in registers. That needs a feature, so the shader has plain loads under a mark with their number, and the
JavaScript runtime rewrites them where the feature is there (`quads.js`).

Rows of a tile are turned where they come in fours: the first of four is row `QUAD` for an invocation, the next ones are
those of its neighbours across, below and diagonally. So each loads its own row and takes the others from these three,
one exchange each, without choosing among them. `QUAD` is a constant 0 until the runtime makes it the place in the quad.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

from ..kernel.ir import BOOL, Axis, Expr, Store, rewrite, store_roots, walk
from .lanes import LANES, multiple_of

MARK = "// quad"                # loads of any places, in the order in which the invocations of a quad make them
TURN = "// turn"                # a load for each of four turned rows, or of one vec4 whose components are such rows
QUAD = "quad"
DECLARED = f"const {QUAD}: i32 = 0i;\n"


class Load(NamedTuple):
    """A load of a buffer. `rows`: of four neighbours that are turned rows."""

    buffer: int
    index: Expr
    valid: Expr | None
    rows: bool = False

    @property
    def axes(self) -> frozenset[Axis]:
        """What the place and the guard depend on."""
        return self.index.axes if self.valid is None else self.index.axes | self.valid.axes


def quad_axis(axes: Sequence[Axis], square: tuple[Axis, Axis] | None) -> Axis | None:
    """The axis of which the invocations of a quad take neighbours; None: quads may differ in any axis."""
    if square is not None:
        return square[1]
    return axes[-1] if axes and multiple_of(axes[-1].extent, LANES) else None


def quad_sets(loads: Iterable[Load], axis: Axis, bound: frozenset[Axis]) -> dict[Load, tuple[Load, ...]]:
    """Two to four loads each, inside loops, that do not depend on `axis`; `bound` are the axes of the points."""
    found: dict[object, dict[Load, None]] = {}
    for load in loads:
        if axis not in load.axes and not load.axes <= bound:
            found.setdefault((load.buffer, load.axes), {})[load] = None
    sets: dict[Load, tuple[Load, ...]] = {}
    for members in found.values():
        supply = list(members)
        for start in range(0, len(supply) - 1, LANES):          # one alone is none
            some = tuple(supply[start : start + LANES])
            sets.update(dict.fromkeys(some, some))
    return sets


def turned(x: Expr) -> list[Expr]:
    """The turned numbers in an expression."""
    return [y for y in walk([x]) if y.op == "turn"]


def settled(stores: Sequence[Store]) -> tuple[Store, ...]:
    """The stores with turned numbers as constants."""
    order = walk(store_roots(stores))
    swap = {y: y.ir.const(y.attr) for y in order if y.op == "turn"}
    swap |= {y: y.args[0] for y in order if y.op == "xor" and y.args[1].op == "turn"}
    if not swap:
        return tuple(stores)
    roots = [x for s in stores for x in (s.index, s.value, s.valid) if x is not None]
    made = iter(rewrite(roots, swap))
    return tuple(replace(s, index=next(made), value=next(made), valid=None if s.valid is None else next(made))
                 for s in stores)


def may_turn(stores: Sequence[Store], axis: Axis | None) -> bool:
    """Whether loops load turned rows that are the same along `axis`, and do not end with a row.

    A condition in a loop may become its end, and invocations of a quad must all be there when they exchange.
    """
    folds = [x for x in walk(store_roots(stores)) if x.op == "fold"]
    inside = walk([v for f in folds for v in f.args[len(f.attr.accumulators):]])
    rows = [x for x in inside if x.op == "load" and axis not in x.axes and turned(x)]
    return axis is not None and bool(rows) and not any(x.dtype == BOOL and turned(x) for x in inside)


def turn_sets(loads: Iterable[Load], axis: Axis, bound: frozenset[Axis]) -> dict[Load, tuple[Load, ...]]:
    """Loads of turned rows, inside loops, that are the same along `axis`: four that differ in the row alone, or one of
    four rows that are neighbours.
    """
    sets: dict[Load, tuple[Load, ...]] = {}
    found: dict[object, dict[int, Load]] = {}
    for load in loads:
        if load.valid is not None or axis in load.axes or load.axes <= bound:
            continue
        if load.rows:
            sets[load] = (load,)
            continue
        row, *more = turned(load.index)
        if not more:
            (base,) = rewrite([load.index], {row: row.ir.const(0)})
            found.setdefault((load.buffer, base), {})[row.attr] = load
    for members in found.values():
        if len(members) == LANES:
            rows = tuple(members[number] for number in range(LANES))
            sets.update(dict.fromkeys(rows, rows))
    return sets
