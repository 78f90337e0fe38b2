"""Loads that four neighbouring invocations make alike, marked in the shader.

Where invocations of a quad (four neighbours of a subgroup) compute neighbouring columns, all load the same rows.
A software adapter loads lane by lane: there up to four such loads can be one, of which each invocation takes a part,
and exchanges in registers. That needs a feature, so the shader has plain loads under `MARK` with their number, and the
JavaScript runtime rewrites them where the feature is there (`quads.js`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..kernel.ir import Axis, Expr
from .lanes import LANES, multiple_of

MARK = "// quad"
Load = tuple[int, Expr, Expr | None]          # of a buffer: the index, the guard


def quad_axis(axes: Sequence[Axis], square: tuple[Axis, Axis] | None) -> Axis | None:
    """The axis of which the invocations of a quad take neighbours; None: quads may differ in any axis."""
    if square is not None:
        return square[1]
    return axes[-1] if axes and multiple_of(axes[-1].extent, LANES) else None


def quad_sets(loads: Iterable[Load], axis: Axis, bound: frozenset[Axis]) -> dict[Load, tuple[Load, ...]]:
    """Two to four loads each, inside loops, that do not depend on `axis`; `bound` are the axes of the points."""
    found: dict[object, dict[Load, None]] = {}
    for load in loads:
        buffer, index, valid = load
        axes = index.axes if valid is None else index.axes | valid.axes
        if axis not in axes and not axes <= bound:
            found.setdefault((buffer, axes), {})[load] = None
    sets: dict[Load, tuple[Load, ...]] = {}
    for members in found.values():
        supply = list(members)
        for start in range(0, len(supply) - 1, LANES):          # one alone is none
            some = tuple(supply[start : start + LANES])
            sets.update(dict.fromkeys(some, some))
    return sets
