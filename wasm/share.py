"""Shares of a kernel: threads take them one by one, and any number of them makes the same bits as the whole.

A large kernel's function is also told which share it is to make, of how many: a range of one parallel axis of each of
its nests, or of the rows of a contraction. Points do not depend on each other, and a range of the axis that vectors run
along begins at a multiple of what a round of the loop takes, so every element is computed by the same instructions,
sums in the same order, however many shares there are.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from ..kernel.contract import Contract
from ..kernel.ir import Axis, Kernel, store_roots
from . import encode
from .encode import Code
from .lanes import known_extent
from .lower import nodes_of
from .nest import Bound, Nests

__all__ = ["CUT", "LINES", "VECTORS", "Share", "cut", "worth_sharing"]

LINES = 20  # rows of a contraction: whole panels, which are packed in blocks of four
CUT = 0  # the number of the function in a module that has shared kernels
VECTORS = 16  # elements: a multiple of what one round of a vector loop takes
_LEAST = 1 << 14  # elements computed, and
_LEAST_PRODUCTS = 1 << 17  # multiplications of a contraction, below which a kernel is done before others have joined
_MANY = 8  # extent of an axis that has something for everybody


def worth_sharing(kernel: Kernel, contract: Contract | None) -> bool:
    """Whether a kernel may be large enough for several threads, and has an axis to share."""
    if contract is not None:
        return prod(known_extent(a) for a in (*kernel.axes, *contract.k)) >= _LEAST_PRODUCTS
    if not any(a.extent != 1 for a in kernel.axes):
        return False
    roots = store_roots(list(kernel.stores))
    loops = max(prod(map(known_extent, (*kernel.axes, *s.loops))) for s in kernel.stores)
    return max(loops, *(prod(map(known_extent, x.axes)) for x in nodes_of(roots))) >= _LEAST


def cut() -> tuple[int, bytes]:
    """The function that says where a share begins: min(extent, unit * floor(share * number of units / shares)).

    Its parameters: extent, unit, share, number of shares.
    """
    code = Code(4)
    extent, unit, share, shares = range(4)
    units, start = code.local(encode.I32), code.local(encode.I32)
    code.get(extent).get(unit).op("i32.add").i32(1).op("i32.sub").get(unit).op("i32.div_u").set(units)  # rounded up
    code.get(units).get(shares).op("i32.div_u").get(share).op("i32.mul")  # in two parts: neither overflows
    code.get(units).get(shares).op("i32.rem_u").get(share).op("i32.mul").get(shares).op("i32.div_u")
    code.op("i32.add").get(unit).op("i32.mul").tee(start)
    code.get(extent).get(start).get(extent).op("i32.lt_u").op("select")
    return 4, code.body()


class Share:
    """The share that a function is told to make: locals `number` and `count`."""

    def __init__(self, f: Nests, number: int, count: int) -> None:
        self.f, self.number, self.count = f, number, count
        self._known: dict[tuple[object, int], tuple[Bound, Bound]] = {}

    def range(self, extent: Bound, unit: int, key: object = None) -> tuple[Bound, Bound]:
        """Where this share of an extent begins and ends; `key` names an extent that is not a number."""
        name = (extent if isinstance(extent, int) else key, unit)
        if name[0] is None or name not in self._known:
            self._known[name] = (self._edge(extent, unit, 0), self._edge(extent, unit, 1))
        return self._known[name]

    def _edge(self, extent: Bound, unit: int, after: int) -> Bound:
        f, code = self.f, self.f.code
        edge = len(code.types)
        code.local(encode.I32)
        f.push(extent)
        code.i32(unit).get(self.number)
        if after:
            code.i32(1).op("i32.add")
        code.get(self.count).call(CUT).set(edge)
        return lambda: code.get(edge)

    def bounds(self, axes: Sequence[Axis], lane: Axis | None) -> dict[Axis, tuple[Bound, ...]]:
        """The range of one axis, and its extent where that is known: what it leaves over is left over by the last."""
        axis = choose(axes, lane)
        start, stop = self.range(self.f.extent(axis), VECTORS if axis is lane else 1, axis.extent)
        return {axis: (start, stop, axis.extent) if isinstance(axis.extent, int) else (start, stop)}

    def first_only(self) -> Code:
        """Opens a block that only the first share runs."""
        return self.f.code.get(self.number).op("i32.eqz").if_()


def choose(axes: Sequence[Axis], lane: Axis | None) -> Axis:
    """The outermost axis that has something for everybody. A size that is not known may be 1."""
    for axis in axes:
        if isinstance(axis.extent, int) and axis.extent >= _MANY * (VECTORS if axis is lane else 1):
            return axis

    def pieces(axis: Axis) -> int:
        return (axis.extent if isinstance(axis.extent, int) else _MANY) // (VECTORS if axis is lane else 1)

    return max(axes, key=pieces)
