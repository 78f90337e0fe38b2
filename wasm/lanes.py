"""How a value varies over the four lanes of a vector: the same in all, a fixed step apart, or anyhow; and which axis
pays.

A block of four lanes starts at a multiple of 4 of the lane axis. That is what lets `i % 32` count up and `i // 32`
stand still inside a block.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import gcd

from ..kernel.ir import I32, Axis, Expr, Store
from .lower import nodes_of

UNKNOWN_EXTENT = 64  # what a symbolic extent is taken for when costs are compared
GATHER_COST = 7  # a lane-by-lane load, in units of one vector instruction
EMULATED_COST = 9  # an operation that SIMD128 lacks, lane by lane


class Lanes:
    """The variation of expressions along one lane axis, remembered."""

    def __init__(self, axis: Axis) -> None:
        self.axis = axis
        self.wrapped = False  # some value relies on blocks of four (div, mod): unroll by one block only
        self._known: dict[Expr, tuple[int | None, int]] = {}

    def stride(self, x: Expr) -> int | None:
        """0: the same in all lanes; n: lane i has the value of lane 0 plus n*i; None: anything."""
        return self.visit(x)[0]

    def visit(self, x: Expr) -> tuple[int | None, int]:
        """The stride and, for an index, what the value of lane 0 is a multiple of."""
        found = self._known.get(x)
        if found is None:
            found = self._known[x] = self._variation(x)
        return found

    def _variation(self, x: Expr) -> tuple[int | None, int]:
        op = x.op
        if op == "axis":
            return (1, 4) if x.attr is self.axis else (0, 1)
        if op == "acc":  # its axes do not tell what the fold's values depend on
            return None, 1
        if op == "const":
            return 0, abs(int(x.attr)) if x.dtype == I32 else 1
        if op in ("fold", "out") and self.axis not in x.axes:
            return 0, 1
        if x.dtype != I32 or op not in ("add", "sub", "mul", "div", "mod"):
            return (0, 1) if all(self.visit(a)[0] == 0 for a in x.args) else (None, 1)
        (s, m), (t, n) = self.visit(x.args[0]), self.visit(x.args[1])
        if s is None or t is None:
            return None, 1
        if x.op in ("add", "sub"):
            return (s + t if x.op == "add" else s - t), gcd(m, n)
        if x.args[1].op != "const":
            return (0, 1) if s == t == 0 else (None, 1)
        by = x.args[1].attr
        if x.op == "mul":
            return s * by, m * abs(by)
        if s == 0:
            return (0, 1) if x.op == "div" else (0, gcd(m, by))
        if s > 0 and by > 0 and m % (4 * s) == 0 and by % (4 * s) == 0:  # the block does not cross a multiple of `by`
            self.wrapped = True
            return (0, 1) if x.op == "div" else (s, gcd(m, by))
        return None, 1


def known_extent(axis: Axis) -> int:
    """The extent, or a guess at it."""
    return axis.extent if isinstance(axis.extent, int) else UNKNOWN_EXTENT


def choose_lane(
    axes: Sequence[Axis], stores: Sequence[Store], originals: Sequence[Expr], sequential: frozenset[Axis]
) -> Axis | None:
    """The parallel axis along which vectors run, or None where folds and loops are better vectorised by themselves."""
    nodes = [x for x in originals if x.op not in ("const", "fold", "out")]
    weights = {x: _trips(x.axes & sequential) for x in nodes}
    inner = innermost_lanes(stores, originals)
    best: Axis | None = None
    least = sum(weights[x] * (1 if inner.get(x) else 4) for x in nodes) + sum(
        _trips(frozenset(s.loops)) * (1 if s.loops else 4) for s in stores
    )
    for axis in reversed(axes):
        if axis.extent == 1 or (isinstance(axis.extent, int) and axis.extent < 4):
            continue
        lanes = Lanes(axis)
        total = sum(weights[x] * cost(lanes, x) for x in nodes)
        total += sum(_trips(frozenset(s.loops)) * (1 if lanes.stride(s.index) == 1 else GATHER_COST) for s in stores)
        if isinstance(axis.extent, int):
            blocks, rest = divmod(axis.extent, 4)
            total = total * (blocks + rest) * 4 // axis.extent
        if total < least:
            best, least = axis, total
    return best


def _trips(axes: frozenset[Axis]) -> int:
    n = 1
    for a in axes:
        n *= max(1, known_extent(a))
    return n


def cost(lanes: Lanes, x: Expr) -> int:
    """The cost of one node for four lanes."""
    stride = lanes.stride(x)
    if x.op == "load":
        index = lanes.stride(x.args[0])
        return (
            1
            if index in (0, 1) and (len(x.args) == 1 or lanes.stride(x.args[1]) == 0)
            else 2
            if index == 1
            else GATHER_COST
        )
    if stride is not None:
        return 1
    if x.op in ("div", "mod", "quot", "rem") and not power_of_two(x.args[1]):
        return EMULATED_COST
    return 1


def power_of_two(x: Expr) -> bool:
    """Whether x is a constant power of two."""
    return x.op == "const" and x.attr > 0 and x.attr & (x.attr - 1) == 0


def innermost_lanes(stores: Sequence[Store], originals: Sequence[Expr]) -> dict[Expr, bool]:
    """For each node inside a fold or store loop, whether vectors may run along that loop's own innermost axis."""
    result: dict[Expr, bool] = {}
    for store in stores:
        if store.loops:
            mark_inner(loop_lane(store.loops, [store.index, store.value], may_reorder=False), [store.value], result)
    for x in originals:
        if x.op == "fold" and all(a.combine != "custom" for a in x.attr.accumulators):
            values = x.args[len(x.attr.accumulators) :]
            mark_inner(loop_lane(x.attr.axes, values, may_reorder=True), values, result)
    return result


def mark_inner(axis: Axis | None, roots: Sequence[Expr], result: dict[Expr, bool]) -> None:
    """Notes the nodes that a loop vectorised along `axis` computes four at a time."""
    if axis is not None:
        for x in nodes_of(roots):
            if axis in x.axes:
                result[x] = True


def loop_lane(axes: Sequence[Axis], roots: Sequence[Expr], may_reorder: bool) -> Axis | None:
    """The axis of a sequential loop along which vectors may run: no gathers, nothing lane by lane."""
    for axis in reversed(axes):
        if not isinstance(axis.extent, int) or axis.extent >= 8:
            lanes = Lanes(axis)
            nodes = [x for x in nodes_of(roots) if axis in x.axes]
            if all(cost(lanes, x) <= 2 for x in nodes) and not any(x.op == "fold" for x in nodes):
                return axis
        if not may_reorder:
            break
    return None
