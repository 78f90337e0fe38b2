"""What the stores of a contraction compute for every column alone: once, before the rows, into the workspace.

Batch normalization behind a 1x1 convolution scales by gamma / sqrt(variance + epsilon), which is the same for all
pixels; a root and a division for each of them took a third of the time of a small network.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..kernel.contract import Contract
from ..kernel.ir import F32, Expr, Store
from .lanes import known_extent
from .lower import nodes_of

__all__ = ["per_column"]

_ROWS = 8  # rows from which computing ahead pays


def per_column(contract: Contract, stores: Sequence[Store]) -> list[Expr]:
    """The largest computed f32 parts of the stores' values that depend on axes of the columns, and on no others."""
    columns = frozenset(a for a in contract.n if a.extent != 1)
    rows = 1
    for axis in contract.m:
        rows *= known_extent(axis)
    if rows < _ROWS or not columns or any(not isinstance(a.extent, int) for a in columns):
        return []
    stored = {s.buffer for s in contract.kernel.stores}
    outs = set(contract.outs)
    found: dict[Expr, None] = {}
    seen: set[Expr] = set()
    stack = [s.value for s in stores]
    while stack:
        x = stack.pop()
        if x in seen or x in outs:
            continue
        seen.add(x)
        if x.dtype == F32 and x.args and x.op != "load" and x.axes and x.axes <= columns:
            if not any(y.op == "load" and y.attr in stored for y in nodes_of([x])):
                found[x] = None
        else:
            stack.extend(x.args if x.op != "load" else ())
    return sorted(found, key=lambda x: x.number)
