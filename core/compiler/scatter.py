"""Sums into segments (an embedding's gradient) as a kernel that adds each row where it belongs.

A fold over all rows for every segment takes segments * rows steps. Here each point owns one column: it sets the column
to 0, then adds the rows one after another, in order, so that the result is the same each time.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..graph.ir import Value
from ..kernel.ir import F32, I32, Axis, Expr
from ..kernel.split import guess
from ..shapes import num_elements
from .lower import Lowering

MIN_COLUMNS, MIN_SEGMENTS = 4, 32  # fewer columns leave a GPU idle; few segments are sums like others
MIN_COMPARISONS = 1 << 14


def scatters(value: Value) -> bool:
    """Whether a value is such a sum, and large enough."""
    node = value.node
    if node is None or node.op.name != "unsorted_segment_sum" or value.dtype.name != "float32":
        return False
    segments, columns = value.sizes[0], num_elements(value.sizes[1:])
    if not isinstance(segments, int) or not isinstance(columns, int):
        return False
    rows = guess(num_elements(node.inputs[1].sizes))  # type: ignore[union-attr]
    return segments >= MIN_SEGMENTS and columns >= MIN_COLUMNS and segments * rows >= MIN_COMPARISONS


@dataclass(frozen=True)
class Scatter:
    """At each point of `columns`: 0 at `first` for every segment, then in the loops `rows` the new value at `index`."""

    columns: tuple[Axis, ...]
    segments: tuple[Axis, ...]
    first: Expr
    rows: tuple[Axis, ...]
    index: Expr
    value: Expr
    valid: Expr


def scatter(lowering: Lowering, value: Value) -> Scatter:
    """The kernel of a value that `scatters`."""
    node, ir = value.node, lowering.ir
    assert node is not None
    x, ids = node.inputs
    assert x is not None and ids is not None
    columns = tuple(ir.new_axis(d) for d in value.sizes[1:])
    segment = ir.new_axis(value.sizes[0])
    rows = tuple(ir.new_axis(d) for d in ids.sizes)
    at, of = tuple(map(ir.axis, rows)), tuple(map(ir.axis, columns))
    place = ir.cast(lowering.element(ids, at), I32)
    valid: Expr = ir.call("le", ir.const(0), place) & ir.call("lt", place, ir.size(value.sizes[0]))
    index = lowering.flat(value.sizes, (ir.select(valid, place, ir.const(0)), *of))
    total = ir.load(value, F32, index) + lowering.element(x, (*at, *of))
    first = lowering.flat(value.sizes, (ir.axis(segment), *of))
    kept = tuple(a for a in columns if a.extent != 1)
    return Scatter(kept, (segment,), first, tuple(a for a in rows if a.extent != 1), index, total, valid)
