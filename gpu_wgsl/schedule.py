"""How a kernel is spread over invocations: the register tile of a contraction, vec4 lanes, elements per invocation.

An invocation of a contraction computes a tile of `rows` x `columns` outputs, because every load then serves a row or a
column of products; the tile shrinks until enough invocations remain. Elementwise kernels compute a few vec4 per
invocation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod

from ..kernel.index import linear
from ..kernel.ir import BOOL, Axis, Expr, Kernel, Store, store_roots, walk
from ..kernel.split import guess
from ..shapes import Size, ceil_div, num_elements
from .coalesce import coalesce
from .lanes import LANES, Substitution, multiple_of, roll, sums_of, unroll, vectorise
from .unfold import MAX_TRIPS, MAX_WINDOW, unfold

LOAD_COST = 3.0                 # of one element, in multiply-adds; on software adapters a vec4 costs as much as four
TURNED = 16                     # rows of a tile that a quad shares: each invocation loads a fourth of them
SIDE = 8                        # of a square workgroup
ENOUGH = 64                     # workgroups that keep a GPU busy: invocations take more points only beyond
FEW = 8                         # workgroups below which they are made smaller, so that a few cores share them evenly,
NARROW = 32                     # but not below this
LITTLE = 1 << 20                # products of a whole kernel up to which its text counts more than its speed:
LITTLE_TILE = 16                # outputs per invocation then,
LITTLE_TRIPS = 4                # and iterations of a fold that is written out
WRITTEN_TILE = 16               # outputs per invocation where all taps of each are written out
MIDDLE = 1 << 26                # products up to which half a tile will do where the taps of a window are written out
TAP_ROWS = 4                    # of a tile that has all taps of a filter's row besides
ROLLED = 4                      # rows from which a loop stores them
TEAM_POINTS = 1 << 15           # up to which a team takes one together


@dataclass(frozen=True)
class Options:
    """What a target wants. The defaults suit software adapters and are correct everywhere."""

    workgroup: int = 64
    wide_workgroup: int = 256           # of an elementwise kernel on large arrays
    min_invocations: int = 256          # tiles are not made larger than this leaves
    max_tile: int = 64                  # outputs per invocation
    tiles: tuple[int, ...] = (8, 7, 6, 5, 4, 3, 2, 1)           # its rows, and columns where they are no vec4
    elements: int = 4                   # steps of an invocation of an elementwise kernel
    vector: bool = True
    shared: bool = False                # contractions with tiles in workgroup memory, where they are large enough:
    smallest: tuple[int, int, int] = (48, 32, 16)       # m, n and k below which such a tile is mostly edge
    team: int = 0                       # invocations that share a row: its sums and its stores; 0: each takes a row
    team_trips: int = 64                # of a sum that is shared, at least
    max_flops: int = 2**33              # of one dispatch: beyond, the grid is split, for drivers lose patience


# What a GPU likes: tiles in registers; tiles and sums of rows in workgroup memory; large tiles where a load is dear
FAMILIES = {
    "direct": Options(),
    "shared": Options(shared=True, team=64),
    "wide": Options(max_tile=256, tiles=(16, 12, 8, 7, 6, 5, 4, 3, 2, 1)),
}


@dataclass(frozen=True)
class Plan:
    """A scheduled kernel: one invocation runs `stores` for `elements` points of `axes`.

    `square`: a workgroup takes SIDE x SIDE points of these two axes, so that its invocations share what they load.
    """

    axes: tuple[Axis, ...]
    stores: tuple[Store, ...]
    lane: Axis | None
    elements: int
    workgroup: int
    square: tuple[Axis, Axis] | None = None
    team: bool = False                  # a workgroup takes one point, and shares its loops

    @property
    def points(self) -> Size:
        """How many points the axes have, those of a square's edge past the end included."""
        square = self.square or ()
        return num_elements(ceil_div(a.extent, SIDE) * SIDE if a in square else a.extent for a in self.axes)


def schedule(kernel: Kernel, options: Options) -> Plan:
    """Chooses and applies the schedule of a kernel."""
    if not any(s.loops for s in kernel.stores):
        joined, changed = coalesce(kernel.axes, kernel.stores)
        kernel = replace(kernel, axes=tuple(joined), stores=changed)
    shape = _Shape(kernel, options)
    taps, each = shape.taps(), 1
    if taps is not None:
        kernel, each = _written(kernel, taps), guess(taps.extent)
        low = tuple(t for t in options.tiles if t <= TAP_ROWS)
        options = replace(options, max_tile=shape.window_tile() // 2, tiles=low)
        shape = _Shape(kernel, options)
    axes, stores, lane = list(kernel.axes), kernel.stores, None
    rows, columns = shape.tile()
    sliding = (shape.outer, rows) if shape.outer is not None and rows > 1 else None
    stores = unfold(stores, rows * columns * each // (LANES if shape.vector else 1), sliding, shape.trips)
    if shape.row is not None:
        stores, _, lane = vectorise(stores, shape.row)
    across = down = None
    if shape.inner is not None:
        at = across = axes.index(shape.inner)
        if shape.vector and columns % LANES == 0:
            stores, axes[at], lane = vectorise(stores, shape.inner)
            columns //= LANES
        if columns > 1:
            stores, axes[at] = unroll(stores, axes[at], columns, lane=lane)
    if shape.outer is not None and rows > 1:
        down = axes.index(shape.outer)
        summed = rows >= ROLLED and not any(s.loops for s in stores) and sums_of(stores, shape.outer)
        spread = roll if summed else unroll
        turned = shape.turns and rows % LANES == 0
        stores, axes[down] = spread(stores, shape.outer, rows, lane=lane, turned=turned)
    kept = tuple(a for a in axes if a.extent != 1)
    points = guess(num_elements(a.extent for a in kept))
    single = bool(shape.folds) or any(s.loops for s in stores)
    elements = 1 if single else max(1, min(options.elements, points // (options.wide_workgroup * ENOUGH)))
    workgroup = options.workgroup if single or points < options.wide_workgroup * ENOUGH // 4 else options.wide_workgroup
    while (single and workgroup > NARROW and points < FEW * workgroup) or (workgroup > 8 and workgroup >= 2 * points):
        workgroup //= 2
    if options.team and rows == columns == 1 and points <= TEAM_POINTS and _is_row_work(kept, stores, options):
        return Plan(kept, tuple(stores), lane, 1, options.team, team=True)
    square = None
    if down is not None and across is not None and workgroup == SIDE * SIDE and _worth_square(axes[down], axes[across]):
        square = (axes[down], axes[across])
    return Plan(kept, tuple(stores), lane, elements, workgroup, square)


def _written(kernel: Kernel, axis: Axis) -> Kernel:
    """The kernel with the stores of all points of an axis at one point."""
    stores, block = unroll(kernel.stores, axis, guess(axis.extent))
    only = Substitution({block: stores[0].index.ir.const(0)})
    return replace(kernel, axes=tuple(a for a in kernel.axes if a is not axis), stores=tuple(map(only.store, stores)))


def _is_row_work(axes: Sequence[Axis], stores: Sequence[Store], options: Options) -> bool:
    """Whether sums are long, none inside another or continued from a start, along memory."""
    folds = [x for x in walk(store_roots(stores)) if x.op == "fold"]
    for f in folds:
        count = len(f.attr.accumulators)
        plain = all(a.combine != "custom" and start is f.ir.neutral(a) and a.dtype != BOOL
                    for a, start in zip(f.attr.accumulators, f.args[:count], strict=True))
        if not plain or any(x.op == "fold" for v in f.args[count:] for x in walk([v]) if x.axes & set(f.attr.axes)):
            return False
    longest = max((guess(num_elements(a.extent for a in f.attr.axes)) for f in folds), default=0)
    return longest >= options.team_trips and all(_is_along(axes, f) for f in folds)


def _is_along(axes: Sequence[Axis], fold: Expr) -> bool:
    """Whether neighbouring iterations of a fold read neighbours, and neighbouring points do not."""
    along = False
    for x in walk(list(fold.args)):
        if x.op == "load":
            terms, _ = linear(x.args[0])
            steps = {y.attr: f for y, f in terms.items() if y.op == "axis"}
            along = along or 0 < steps.get(fold.attr.axes[-1], 0) <= LANES
            if axes and steps.get(axes[-1]) == 1:
                return False
    return along


def _worth_square(down: Axis, across: Axis) -> bool:
    """Whether a workgroup would else lie along one row, and squares waste little at the edges."""
    if not isinstance(across.extent, int) or across.extent % SIDE or across.extent == SIDE:
        return False
    rows = guess(down.extent)
    return (rows >= SIDE and rows % SIDE == 0) or rows >= 8 * SIDE


class _Shape:
    """What matters of a kernel for its schedule.

    `inner` is the axis along which stores are contiguous: columns of a tile. `outer` is the axis of the rows: one that
    some load of a fold does not depend on, so that rows share that load.
    """

    def __init__(self, kernel: Kernel, options: Options) -> None:
        self.options = options
        self.axes = [a for a in kernel.axes if a.extent != 1]
        order = walk(store_roots(kernel.stores))
        self.folds = [x for x in order if x.op == "fold"]
        inside = walk([v for f in self.folds for v in f.args[len(f.attr.accumulators):]])
        self.loads = [x for x in inside if x.op == "load"]
        fixed = any(s.loops for s in kernel.stores)
        fixed = fixed or any(a.combine == "custom" for f in self.folds for a in f.attr.accumulators)
        self.inner = None if fixed else self._inner(kernel.stores)
        self.row = self._row(kernel.stores) if options.vector else None
        self.vector = self.inner is not None and options.vector and multiple_of(self.inner.extent, LANES)
        self.outer = None if self.inner is None else self._outer()
        trips = max((prod(guess(a.extent) for a in f.attr.axes) for f in self.folds), default=0)
        self.products = trips * prod(guess(a.extent) for a in self.axes)
        self.trips = LITTLE_TRIPS if self.products <= LITTLE else MAX_TRIPS         # of a fold that is written out
        self.is_short = trips <= self.trips
        self.turns = self._turns()

    def _turns(self) -> bool:
        """Whether rows may be turned for quads (quads.py): these lie along columns, and there are no windows of pixels,
        of which neighbouring rows share loads already.
        """
        if not self.vector or not multiple_of(self.inner.extent, LANES * LANES):        # type: ignore[union-attr]
            return False
        short = (1 < guess(a.extent) <= MAX_WINDOW for f in self.folds for a in f.attr.axes)
        return not any(short)

    def _inner(self, stores: tuple[Store, ...]) -> Axis | None:
        for s in stores:
            terms, _ = linear(s.index)
            for axis in reversed(self.axes):
                if terms.get(s.index.ir.axis(axis)) == 1:
                    return axis
        return self.axes[-1] if self.axes else None

    def _row(self, stores: tuple[Store, ...]) -> Axis | None:
        """The loop along a row that all looped stores share, if it can be taken in vec4."""
        looped = [s for s in stores if s.loops]
        if not looped or any(s.loops != looped[0].loops for s in looped):
            return None
        axis = looped[0].loops[-1]
        steps = [linear(s.index)[0].get(s.index.ir.axis(axis)) for s in looped]
        carried = any(axis in f.axes for f in self.folds)
        return axis if multiple_of(axis.extent, LANES) and not carried and all(f == 1 for f in steps) else None

    def _outer(self) -> Axis | None:
        shared = [x for x in self.loads if self.inner in x.axes]
        rows = [a for a in self.axes if a is not self.inner and any(a not in x.axes for x in shared)]
        rows = [a for a in rows if any(a in x.axes for x in self.loads)]
        large = [a for a in rows if guess(a.extent) >= 4]
        return large[-1] if large else max(rows, key=lambda a: guess(a.extent), default=None)

    def tile(self) -> tuple[int, int]:
        """Rows and columns per invocation: the least loads per product for which enough invocations remain."""
        if self.inner is None:
            return 1, 1
        if not self.folds:
            return 1, LANES if self.vector else 1
        shared = any(self.inner not in x.axes for x in self.loads)
        rows = self.options.tiles if self.outer is not None else (1,)
        if self.vector:
            columns: tuple[int, ...] = (16, 8, 4, 1) if shared else (4, 1) if self._contiguous() else (1,)
        else:
            columns = self.options.tiles if shared else (1,)
        points = prod(guess(a.extent) for a in self.axes)
        tiles = [(r, c) for r in rows for c in columns]
        if self.outer is not None and self.turns and multiple_of(self.outer.extent, TURNED):
            tiles.append((TURNED, LANES))
        largest = self._largest()
        tiles = [(r, c) for r, c in tiles if r * c <= largest]
        return max(tiles, key=lambda tile: self._worth(tile[0], tile[1], points))

    def _largest(self) -> int:
        """Outputs per invocation: a driver compiles a large tile in the time that small kernels take in many steps."""
        if self.products <= LITTLE:
            return min(LITTLE_TILE, self.options.max_tile)
        if self.is_short:
            return min(WRITTEN_TILE, self.options.max_tile)
        return self.window_tile() if self._has_window() else self.options.max_tile

    def window_tile(self) -> int:
        """Outputs of an invocation that has the taps of a window in its text: compiled in half the time, as fast."""
        return self.options.max_tile // (2 if self.products <= MIDDLE else 1)

    def _has_window(self) -> bool:
        """Whether some fold has a short loop that, like the rows, moves what is loaded: `unfold` writes it out."""
        short = [a for f in self.folds for a in f.attr.axes if len(f.attr.axes) > 1 and guess(a.extent) <= MAX_WINDOW]
        return any(self.outer in x.axes and not x.axes.isdisjoint(short) for x in self.loads)

    def taps(self) -> Axis | None:
        """The columns of a filter whose gradient sums over the pixels of a row, two at a time: what one tap loads for a
        pixel, the next one loads for the pixel beside it.
        """
        if not self.vector or self.outer is None or not self.folds:
            return None
        points = prod(guess(a.extent) for a in self.axes)
        along = self.folds[0].attr.axes[-1]
        if not multiple_of(along.extent, 2):
            return None
        for axis in self.axes:
            if axis is self.inner or axis is self.outer or not isinstance(axis.extent, int) or axis.extent > MAX_WINDOW:
                continue
            steps = [(linear(x.args[0])[0], x.ir) for x in self.loads if axis in x.axes]
            shared = any(t.get(ir.axis(axis), 0) == t.get(ir.axis(along)) for t, ir in steps)
            if shared and points >= self.options.min_invocations * self.options.max_tile // 2 * axis.extent:
                return axis
        return None

    def _contiguous(self) -> bool:
        """Whether the loads in folds take neighbours along `inner`."""
        at = self.inner
        steps = [linear(x.args[0])[0] for x in self.loads if at in x.axes]
        return all(t.get(x) == 1 for t in steps for x in t if x.op == "axis" and x.attr is at)

    def _worth(self, rows: int, columns: int, points: int) -> float:
        """Products per instruction, less when the edges are cut or few invocations remain."""
        loads = columns + (rows // LANES if self.turns and rows == TURNED else rows)
        worth, invocations = rows * columns / (LOAD_COST * loads + rows * columns), float(points)
        for axis, size in ((self.outer, rows), (self.inner, columns)):
            if axis is None or size == 1:
                continue
            extent = max(1, guess(axis.extent))          # an empty kernel is compiled too
            blocks = -(-extent // size)
            worth *= extent / (blocks * size) * (1.0 if multiple_of(axis.extent, size) else 0.9)
            invocations *= blocks / extent
        return worth * min(1.0, invocations / self.options.min_invocations)
