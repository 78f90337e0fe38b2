"""Packing a factor of a contraction into panels, and the small tools that this and gemm.py share.

Packing evaluates the factor's expression, so guards (im2col) and elementwise prologues cost one pass. It runs along
whatever axis the factor's loads are contiguous in: the last k, or the last of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod

from ..kernel.ir import Axis, Expr, rewrite
from ..shapes import Size
from . import encode
from .encode import Code
from .lanes import GATHER_COST, Lanes, cost, known_extent
from .lower import Lowering, nodes_of
from .nest import VALUE, Bound, Nests
from .tile import COLUMNS, ROWS

__all__ = ["KBlock", "Packing", "round_up", "total"]

_MANY = 1 << 19  # numbers of a factor from which patches are packed several at once, by longer code


def round_up(n: int, to: int) -> int:
    """The next multiple."""
    return -(-n // to) * to


def total(axes: Sequence[Axis]) -> Size:
    """The product of the extents."""
    product: Size = 1
    for a in axes:
        product = a.extent * product
    return product


@dataclass(frozen=True)
class KBlock:
    """A block of k: the range of the (flattened) outer axes, None for all of them; that of the last axis; how many in
    all.
    """

    outer: tuple[Bound, Bound] | None
    last: tuple[Bound, Bound]
    count: Bound


class Packing:
    """Numbers that are known are ints, others locals wrapped as functions that push them (`Bound`)."""

    def __init__(self, f: Nests, batch: Sequence[Axis], k: Sequence[Axis]) -> None:
        self.f, self.code = f, f.code
        self.batch, self.k = batch, k

    # -- small helpers -----------------------------------------------------------------------------------------------

    def _pointer(self, local: int, offset: int) -> int:
        return self._assign(lambda: (self.code.get(local), self._plus(offset)))

    def _assign(self, push: Callable[[], object]) -> int:
        local = self.f.local(encode.I32)
        push()
        self.code.set(local)
        return local

    def _plus(self, n: int) -> Code:
        return self.code.i32(n).op("i32.add") if n else self.code

    def _sum(self, local: int, n: int) -> int:
        return self._assign(lambda: (self.code.get(local), self._plus(n)))

    def _times(self, n: int) -> Code:
        return self.code.i32(n).op("i32.mul") if n != 1 else self.code

    def _push(self, bound: Bound) -> Code:
        self.f.push(bound)
        return self.code

    def _size(self, axes: Sequence[Axis]) -> Bound:
        """The product of the extents."""
        size = total(axes)
        if isinstance(size, int):
            return size

        def push() -> None:
            for i, a in enumerate(axes):
                self._push(self.f.extent(a))
                if i:
                    self.code.op("i32.mul")

        return self._getter(self._assign(push))

    def _getter(self, local: int) -> Callable[[], object]:
        return lambda: self.code.get(local)

    def _repeat(self, start: Bound, stop: Bound, step: int, inside: Callable[[int], None]) -> None:
        """for i in range(start, stop, step): inside(local of i)"""
        f = self.f
        mark = f.enter()
        i = self._assign(lambda: self._push(start))
        self.code.block()
        if not (isinstance(start, int) and isinstance(stop, int) and start < stop):
            self.code.get(i)
            self._push(stop)
            self.code.op("i32.ge_s").br_if(0)
        self.code.loop()
        body = f.enter()
        inside(i)
        f.leave(body)
        self.code.get(i)
        self._plus(step)
        self.code.tee(i)
        self._push(stop)
        self.code.op("i32.lt_s").br_if(0)
        self.code.end().end()
        f.leave(mark)

    def _at_most(self, limit: int, start: int | None, stop: Bound) -> Bound:
        """min(limit, stop - start)"""
        if start is None:
            return stop if isinstance(stop, int) else limit
        if isinstance(stop, int) and stop % limit == 0:
            return limit
        left = self._assign(lambda: (self._push(stop), self.code.get(start), self.code.op("i32.sub")))
        self.code.i32(limit).get(left).i32(limit).get(left).op("i32.lt_s").op("select")
        self.code.set(left)
        return self._getter(left)

    def _rounded(self, n: Bound, to: int) -> Bound:
        if isinstance(n, int):
            return round_up(n, to)
        return self._getter(
            self._assign(
                lambda: (n(), self._plus(to - 1), self.code.i32(to), self.code.op("i32.div_u"), self._times(to))
            )
        )

    def _decode(self, flat: int, axes: Sequence[Axis]) -> None:
        """Binds the axes to the coordinates of a flat index."""
        f = self.f
        rest = flat
        for i, a in reversed(list(enumerate(axes))):
            if i == 0:
                f.remember(f.axes, a, rest)
                return
            extent = f.extent(a)
            f.remember(f.axes, a, self._divided(rest, extent, "i32.rem_u"))
            rest = self._divided(rest, extent, "i32.div_u")

    def _divided(self, number: int, by: Bound, op: str) -> int:
        return self._assign(lambda: (self.code.get(number), self._push(by), self.code.op(op)))

    # -- packing -----------------------------------------------------------------------------------------------------

    def _pack(
        self, x: Expr, axes: Sequence[Axis], start: int | None, count: Bound, width: int, k: KBlock, to: int
    ) -> None:
        """Packs a factor into panels of `width` rows (of A) or columns (of B): element (i, k) of panel p at p*width*K
        + k*width + i.
        """
        f = self.f
        mark = f.enter()
        lane = self._pack_lane(x, axes)
        patches = width == ROWS and lane is self.k[-1] and len(self.k) > 1
        if patches and prod(known_extent(a) for a in (*axes, *self.k)) >= _MANY:
            self._pack_rows(x, axes, start, count, k, to)
            f.leave(mark)
            return
        depth = {a: i for i, a in enumerate([*self.batch, *axes, *self.k])}
        lowered = Lowering(x.ir, depth).expr(x)
        f.plan(nodes_of([lowered]))
        panel = self._assign(lambda: (self._push(k.count), self._times(4 * width)))  # bytes
        self._zero_last_panel(to, panel, count, width)
        root = [(lowered, VALUE)]
        f.hoist(root)

        def one(i: int) -> None:
            """One row, along k."""
            at = self._place(to, panel, i, width)
            self._bind(start, i, axes)
            self._over_k(
                root, k, self.k[-1] if lane is self.k[-1] else None, lambda: self._put_along(lowered, at, 4 * width)
            )

        if lane is None or lane is self.k[-1]:
            self._repeat(0, count, 1, one)
        else:
            self._pack_across(lowered, lane, axes, start, count, width, k, to, panel)
        f.leave(mark)

    def _pack_lane(self, x: Expr, axes: Sequence[Axis]) -> Axis | None:
        """The axis along which packing loads vectors: the last k, or the last of the factor's own."""
        nodes = [n for n in nodes_of([x]) if n.op != "const"]
        best, least = None, 4 * len(nodes)
        own = axes[-1]
        for lane in (self.k[-1], own):
            if isinstance(lane.extent, int) and (
                lane.extent < 4 or (lane is own and len(axes) > 1 and lane.extent % 4)
            ):
                continue
            if not isinstance(lane.extent, int) and lane is own and len(axes) > 1:
                continue
            lanes = Lanes(lane)
            if lanes.stride(x) == 0:
                continue
            price = sum(cost(lanes, n) for n in nodes) + (GATHER_COST - 3 if lane is not own else 0)
            if price < least:
                best, least = lane, price
        return best

    def _place(self, to: int, panel: int, i: int, width: int) -> int:
        code = self.code
        return self._assign(
            lambda: (
                code.get(to),
                code.get(i),
                code.i32(width),
                code.op("i32.div_u"),
                code.get(panel),
                code.op("i32.mul"),
                code.op("i32.add"),
                code.get(i),
                code.i32(width),
                code.op("i32.rem_u"),
                self._times(4),
                code.op("i32.add"),
            )
        )

    def _bind(self, start: int | None, i: int, axes: Sequence[Axis]) -> None:
        flat = (
            i
            if start is None
            else self._assign(lambda: (self.code.get(start), self.code.get(i), self.code.op("i32.add")))
        )
        self._decode(flat, axes)

    def _over_k(self, root: list, k: KBlock, lane: Axis | None, body: Callable[[], None]) -> None:
        """Loops over the k of a block, which may be part of the outer axes or of the last one."""
        f, outer, last = self.f, self.k[:-1], self.k[-1]
        bounds = {last: k.last}
        if k.outer is None or len(outer) <= 1:
            if k.outer is not None and outer:
                bounds[outer[0]] = k.outer
            f.nest(self.k, root, body, lane, 1, bounds)
            return
        f.hoist(root)

        def group(q: int) -> None:
            self._decode(q, outer)
            f.nest(self.k[-1:], root, body, lane, 1, bounds)

        self._repeat(k.outer[0], k.outer[1], 1, group)

    def _put_along(self, x: Expr, at: int, step: int) -> None:
        """Stores x for one or four k, `step` bytes apart, and moves on."""
        f, code = self.f, self.code
        if f.lane is None:
            code.get(at)
            f.scalar(x)
            code.memory("f32.store")
            code.get(at)
            self._plus(step)
            code.set(at)
            return
        value = f.vector_local(x, 0)
        for i in range(4):
            code.get(at).get(value).memory("v128.store32_lane", i * step, i)
        code.get(at)
        self._plus(4 * step)
        code.set(at)

    def _pack_rows(self, x: Expr, axes: Sequence[Axis], start: int | None, count: Bound, k: KBlock, to: int) -> None:
        """Packs the rows of a panel together: four k of each are loaded, turned and stored as vectors of rows. Where
        rows are missing in the last panel, the last one takes their places. It is for patches, which overlap and so
        are in the cache: rows of a large matrix are read faster one after the other.
        """
        f, code, ir = self.f, self.code, x.ir
        copies = [tuple(ir.new_axis(a.extent) for a in axes) for _ in range(ROWS)]
        swaps = [{ir.axis(a): ir.axis(b) for a, b in zip(axes, copy, strict=True)} for copy in copies]
        depth = {a: i for i, a in enumerate([*self.batch, *axes, *self.k])}
        depth |= {b: depth[a] for copy in copies for a, b in zip(axes, copy, strict=True)}
        lowering = Lowering(ir, depth)
        rows = [lowering.expr(rewrite([x], swap)[0]) for swap in swaps]
        f.plan(nodes_of(rows))
        roots = [(row, VALUE) for row in rows]
        f.hoist(roots)
        at = self._assign(lambda: code.get(to))
        full = isinstance(count, int) and count % ROWS == 0

        def panel(i: int) -> None:
            for r, copy in enumerate(copies):
                row = self._sum(i, r)
                if not full:
                    self._push(count).i32(1).op("i32.sub").get(row)
                    self._push(count).get(row).op("i32.le_s").op("select").set(row)
                self._bind(start, row, copy)
            self._over_k(roots, k, self.k[-1], lambda: self._put_rows(rows, at))

        self._repeat(0, count, ROWS, panel)

    def _put_rows(self, rows: Sequence[Expr], at: int) -> None:
        """Stores one or four k of all rows of a panel, and moves on."""
        f, code = self.f, self.code
        if f.lane is None:
            for r, row in enumerate(rows):
                code.get(at)
                f.scalar(row)
                code.memory("f32.store", 4 * r)
        else:
            loaded = [f.vector_local(row, 0) for row in rows]
            for i, turned in enumerate(self._turned(loaded[:4])):
                code.get(at).get(turned).memory("v128.store", 4 * ROWS * i)
                code.get(at).get(loaded[4]).memory("v128.store32_lane", 4 * ROWS * i + 16, i)
        code.get(at)
        self._plus(4 * ROWS * (1 if f.lane is None else 4))
        code.set(at)

    def _turned(self, rows: Sequence[int]) -> list[int]:
        """Four vectors transposed."""
        f, code = self.f, self.code

        def mixed(a: int, b: int, lanes: tuple[int, ...]) -> int:
            local = f.local(encode.V128)
            code.get(a).get(b)
            code.shuffle(lanes)
            code.set(local)
            return local

        low = [mixed(a, b, (0, 4, 1, 5)) for a, b in (rows[:2], rows[2:])]
        high = [mixed(a, b, (2, 6, 3, 7)) for a, b in (rows[:2], rows[2:])]
        return [mixed(*pair, lanes) for pair in (low, high) for lanes in ((0, 1, 4, 5), (2, 3, 6, 7))]

    def _pack_across(
        self,
        x: Expr,
        lane: Axis,
        axes: Sequence[Axis],
        start: int | None,
        count: Bound,
        width: int,
        k: KBlock,
        to: int,
        panel: int,
    ) -> None:
        """Packs several rows (columns) at once, loaded as vectors, for one k after the other."""
        f, code = self.f, self.code
        root = [(x, VALUE)]
        lanes = f.lane_of(lane)
        lanes.stride(x)
        whole = width == COLUMNS and not lanes.wrapped and (len(axes) == 1 or lane.extent % COLUMNS == 0)
        size = COLUMNS if whole else 4
        full = (
            count - count % size
            if isinstance(count, int)
            else self._getter(self._assign(lambda: (count(), code.i32(-size), code.op("i32.and"))))
        )

        def several(i: int) -> None:
            straight = width == COLUMNS
            places = [self._place(to, panel, i, width)]
            for j in range(1, 1 if straight else 4):
                places.append(self._place(to, panel, self._sum(i, j), width))
            self._bind(start, i, axes)
            f.lane, f.parts = lanes, size // 4
            at = self._assign(lambda: code.i32(0))

            def put() -> None:
                for part in range(f.parts):
                    if straight:
                        code.get(places[0])
                        f.vector(x, part)
                        code.memory("v128.store", 16 * part)
                    else:
                        value = f.vector_local(x, part)
                        for lane_number, place in enumerate(places):
                            code.get(place).get(at).op("i32.add").get(value)
                            code.memory("v128.store32_lane", 0, lane_number)
                moved = places[0] if straight else at
                code.get(moved)
                self._plus(4 * width)
                code.set(moved)

            self._over_k(root, k, None, put)
            f.lane, f.parts = None, 1

        def single(i: int) -> None:
            at = self._place(to, panel, i, width)
            self._bind(start, i, axes)
            self._over_k(root, k, None, lambda: self._put_along(x, at, 4 * width))

        if not isinstance(full, int) or full:
            self._repeat(0, full, size, several)
        if not isinstance(full, int) or full != count:
            self._repeat(full, count, 1, single)

    def _zero_last_panel(self, to: int, panel: int, count: Bound, width: int) -> None:
        """Padding: the last panel starts as zeros if it will not be full."""
        code = self.code
        if isinstance(count, int):
            if count % width:
                last = self._assign(
                    lambda: (code.get(to), code.get(panel), self._times(count // width), code.op("i32.add"))
                )
                self._fill_zero(last, lambda: code.get(panel))
            return
        count()
        code.i32(width).op("i32.rem_u")
        code.if_()
        mark = self.f.enter()
        last = self._assign(
            lambda: (
                code.get(to),
                code.get(panel),
                count(),
                code.i32(width),
                code.op("i32.div_u"),
                code.op("i32.mul"),
                code.op("i32.add"),
            )
        )
        self._fill_zero(last, lambda: code.get(panel))
        self.f.leave(mark)
        code.end()

    def _fill_zero(self, at: int, size: Callable[[], object]) -> None:
        """Zeros `size` bytes, a multiple of 4, from `at`."""
        code = self.code
        mark = self.f.enter()
        end = self._assign(size)

        def clear(i: int) -> None:
            code.get(at).get(i).op("i32.add").i32(0).memory("i32.store")

        self._repeat(0, self._getter(end), 4, clear)
        self.f.leave(mark)
