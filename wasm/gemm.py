"""Matrix products and what is one in disguise (convolutions and their gradients): packed panels, a 5x8 register tile.

    for each batch, for each block of NC columns:
        for each block of k: pack B into panels of 8 columns            (all of B first, where that is small: `whole_b`)
            for each block of MC rows: pack A into panels of 5 rows; multiply into C
        for each row of C: the stores, with the sums read from C

Packing evaluates the factor expressions, so guards (im2col) and elementwise prologues cost one pass; the epilogue is an
ordinary loop nest. Panels are padded with zeros: the multiplication has no edges. C is scratch memory, rows of `NC` rounded up to 8.
The tile 5x8 is the largest that leaves V8 enough registers; see the facts about WebAssembly in the design notes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import prod

from ..kernel.contract import Contract
from ..kernel.ir import Axis, Expr, Store, store_roots
from ..shapes import Size, ceil_div
from . import encode
from .encode import Code
from .lanes import GATHER_COST, Lanes, _cost, known_extent
from .lower import Lowering, nodes_of
from .nest import VALUE, Bound, Nests

__all__ = ["TILE", "Blocks", "blocks", "emit", "pays", "tile", "workspace"]

ROWS, COLUMNS = 5, 8                      # the register tile
_K, _M, _N = 384, 100, 1024             # block sizes aimed at: panels of A and B in the first cache, a block of A in the second
_WHOLE_B = 8 << 20                        # bytes of packed B up to which it is packed at once
TILE = 0                                  # the number of the function `tile` in a module that has contractions
_MIN_WORK = 4096                          # multiplications below which the plain loops win


@dataclass(frozen=True)
class Blocks:
    """How one contraction is cut. A block of k is `outer` values of all k axes but the last, times `last` of the last one."""

    rows: int
    columns: int
    outer: int
    last: int
    count: int | None                     # number of k blocks, where it is known

    @property
    def k(self) -> int:
        """The largest number of k in a block."""
        return self.outer * self.last

    @property
    def width(self) -> int:
        """Elements of a row of C."""
        return _round_up(self.columns, COLUMNS)

    @property
    def whole_b(self) -> bool:
        """Whether B is packed as a whole before the first row."""
        return self.count is not None and 4 * self.count * self.k * self.width <= _WHOLE_B

    @property
    def a_bytes(self) -> int:
        """Packed A."""
        return 4 * self.k * _round_up(self.rows, ROWS)

    @property
    def b_bytes(self) -> int:
        """Packed B."""
        return 4 * self.k * self.width * ((self.count or 1) if self.whole_b else 1)


def _round_up(n: int, to: int) -> int:
    return -(-n // to) * to


def _real(axes: Sequence[Axis]) -> tuple[Axis, ...]:
    """Without those of extent 1, which no expression mentions."""
    return tuple(a for a in axes if a.extent != 1)


def _total(axes: Sequence[Axis]) -> Size:
    total: Size = 1
    for a in axes:
        total = a.extent * total
    return total


def pays(contract: Contract) -> bool:
    """Whether packing is worth it, and the stores are of the kinds that `emit` makes."""
    m, n, k = _real(contract.m), _real(contract.n), _real(contract.k)
    if not m or not n or not k or (len(n) > 1 and not isinstance(_total(n), int)):
        return False
    if any(not isinstance(a.extent, int) for a in k[1:]):
        return False
    sizes = [prod(known_extent(a) for a in axes) for axes in (m, n, k)]
    if sizes[0] < 4 or sizes[1] < 4 or sizes[2] < 3 or prod(sizes) < _MIN_WORK:
        return False
    main, side = _split(contract)
    if not main or any(s.loops for s in main) or any(x.op == "fold" and x is not contract.fold for x in nodes_of(store_roots(main))):
        return False
    if any(x.op == "out" and x.args[0] is contract.fold and x.attr != contract.index for x in nodes_of(store_roots(main))):
        return False
    loads = [{x.attr for x in nodes_of(store_roots(g)) if x.op == "load"} for g in (main, side)]
    stored = [{s.buffer for s in g} for g in (main, side)]
    factors = {x.attr for x in nodes_of([contract.a, contract.b]) if x.op == "load"}
    return not (loads[0] & stored[1] or loads[1] & stored[0] or factors & stored[0])


def _split(contract: Contract) -> tuple[list[Store], list[Store]]:
    """The stores that need the contraction, and the others."""
    outs = set(contract.outs)
    main = [s for s in contract.kernel.stores if not outs.isdisjoint(nodes_of(store_roots([s])))]
    return main, [s for s in contract.kernel.stores if s not in main]


def blocks(contract: Contract) -> Blocks:
    """Block sizes for a contraction."""
    m, n = (_total(_real(axes)) for axes in (contract.m, contract.n))
    rows = _M if not isinstance(m, int) or m > _M else m
    if not isinstance(n, int):
        columns = 512
    elif len(_real(contract.n)) > 1 or n <= _N:
        columns = n
    else:
        columns = _round_up(-(-n // -(-n // _N)), COLUMNS)
    axes = _real(contract.k)
    inner, outer = axes[-1].extent, _total(axes[:-1])
    if not isinstance(inner, int):
        return Blocks(rows, columns, 1, 512, None)
    if inner > _K:
        parts = -(-inner // _K)
        return Blocks(rows, columns, 1, _round_up(-(-inner // parts), 4), outer * parts if isinstance(outer, int) else None)
    fit = max(1, _K // inner)
    if not isinstance(outer, int):
        return Blocks(rows, columns, fit, inner, None)
    parts = -(-outer // fit)
    return Blocks(rows, columns, -(-outer // parts), inner, parts)


def workspace(contract: Contract) -> Size:
    """Bytes of scratch memory: packed A, packed B, C."""
    cut = blocks(contract)
    rows: Size = _round_up(cut.rows, ROWS) if cut.whole_b else ceil_div(_total(_real(contract.m)), ROWS) * ROWS
    return cut.a_bytes + cut.b_bytes + rows * (4 * cut.width)


def emit(f: Nests, contract: Contract, scratch: int, emit_stores: Callable[..., None], nests: Callable[..., list]) -> None:
    """Emits the kernel of a contraction; `scratch` is the local with the address of its workspace."""
    main, side = _split(contract)
    if side:
        for axes, stores in nests(contract.kernel.axes, [_alone(s, contract) for s in side]):
            emit_stores(f, axes, stores)
    _Gemm(f, contract, scratch, lambda *args, **kw: emit_stores(f, *args, **kw)).emit(main)


def _alone(store: Store, contract: Contract) -> Store:
    """A store whose folds no longer carry the contraction with them."""
    from dataclasses import replace

    from ..kernel.ir import FoldSpec, rewrite

    fold = contract.fold
    count = len(fold.attr.accumulators)
    swap: dict[Expr, Expr] = {}
    for x in nodes_of(store_roots([store])):
        if x.op == "out" and x.args[0] is fold:
            spec = FoldSpec(fold.attr.axes, (fold.attr.accumulators[x.attr],), fold.attr.level)
            args = (fold.args[x.attr], fold.args[count + x.attr])
            axes = frozenset().union(*(a.axes for a in args)) - frozenset(spec.axes)
            one = x.ir._make("fold", "tuple", args, spec, None, None, axes, (spec.axes, spec.accumulators, None))
            swap[x] = x.ir._make("out", x.dtype, (one,), 0, None, None, axes)
    return replace(store, value=rewrite([store.value], swap)[0])


class _Gemm:
    """The emission of one contraction. Numbers that are known are ints, others locals wrapped as functions that push them."""

    def __init__(self, f: Nests, contract: Contract, scratch: int, emit_stores: Callable[..., None]) -> None:
        self.f, self.code, self.contract, self.emit_stores = f, f.code, contract, emit_stores
        self.cut = blocks(contract)
        self.batch, self.m, self.n, self.k = (_real(x) for x in (contract.batch, contract.m, contract.n, contract.k))
        self.a = self._pointer(scratch, 0)
        self.b = self._pointer(scratch, self.cut.a_bytes)
        self.c = self._pointer(scratch, self.cut.a_bytes + self.cut.b_bytes)

    # -- small helpers ----------------------------------------------------------------------------------------------------

    def _pointer(self, local: int, offset: int) -> int:
        return self._assign(lambda: (self.code.get(local), self._plus(offset)))

    def _assign(self, push: Callable[[], object]) -> int:
        local = self.f.local(encode.I32)
        push()
        self.code.set(local)
        return local

    def _plus(self, n: int) -> None:
        if n:
            self.code.i32(n), self.code.op("i32.add")

    def _times(self, n: int) -> None:
        if n != 1:
            self.code.i32(n), self.code.op("i32.mul")

    def _push(self, bound: Bound) -> None:
        self.f._push(bound)

    def _size(self, axes: Sequence[Axis]) -> Bound:
        """The product of the extents."""
        total = _total(axes)
        if isinstance(total, int):
            return total

        def push() -> None:
            for i, a in enumerate(axes):
                self._push(self.f._extent(a))
                if i:
                    self.code.op("i32.mul")

        return self._getter(self._assign(push))

    def _getter(self, local: int) -> Callable[[], None]:
        return lambda: self.code.get(local)

    def _repeat(self, start: Bound, stop: Bound, step: int, inside: Callable[[int], None]) -> None:
        """for i in range(start, stop, step): inside(local of i)"""
        f = self.f
        mark = f.enter()
        i = self._assign(lambda: self._push(start))
        self.code.block()
        if not (isinstance(start, int) and isinstance(stop, int) and start < stop):
            self.code.get(i), self._push(stop), self.code.op("i32.ge_s"), self.code.br_if(0)
        self.code.loop()
        body = f.enter()
        inside(i)
        f.leave(body)
        self.code.get(i), self._plus(step), self.code.tee(i), self._push(stop), self.code.op("i32.lt_s"), self.code.br_if(0)
        self.code.end(), self.code.end()
        f.leave(mark)

    def _at_most(self, limit: int, start: int | None, stop: Bound) -> Bound:
        """min(limit, stop - start)"""
        if start is None:
            return stop if isinstance(stop, int) else limit
        if isinstance(stop, int) and stop % limit == 0:
            return limit
        left = self._assign(lambda: (self._push(stop), self.code.get(start), self.code.op("i32.sub")))
        self.code.i32(limit), self.code.get(left), self.code.i32(limit), self.code.get(left), self.code.op("i32.lt_s"), self.code.op("select")
        self.code.set(left)
        return self._getter(left)

    def _rounded(self, n: Bound, to: int) -> Bound:
        if isinstance(n, int):
            return _round_up(n, to)
        return self._getter(self._assign(lambda: (n(), self._plus(to - 1), self.code.i32(to), self.code.op("i32.div_u"), self._times(to))))

    def _decode(self, flat: int, axes: Sequence[Axis]) -> None:
        """Binds the axes to the coordinates of a flat index."""
        f, code = self.f, self.code
        rest = flat
        for i, a in reversed(list(enumerate(axes))):
            if i == 0:
                f.remember(f.axes, a, rest)
                return
            extent = f._extent(a)
            here = self._assign(lambda rest=rest, extent=extent: (code.get(rest), self._push(extent), code.op("i32.rem_u")))   # type: ignore[misc]
            rest = self._assign(lambda rest=rest, extent=extent: (code.get(rest), self._push(extent), code.op("i32.div_u")))   # type: ignore[misc]
            f.remember(f.axes, a, here)

    # -- the loops --------------------------------------------------------------------------------------------------------

    def emit(self, main: list[Store]) -> None:
        """All loops of the contraction."""
        mark = self.f.enter()
        self.f.nest(self.batch, [], lambda: self._columns(main))
        self.f.leave(mark)

    def _columns(self, main: list[Store]) -> None:
        n = self._size(self.n)
        if isinstance(n, int) and n <= self.cut.columns:
            self._one_block(main, None, n)
        else:
            self._repeat(0, n, self.cut.columns, lambda j: self._one_block(main, j, self._at_most(self.cut.columns, j, n)))

    def _one_block(self, main: list[Store], j: int | None, columns: Bound) -> None:
        """C for one block of columns, and its stores."""
        padded = self._rounded(columns, COLUMNS)
        m = self._size(self.m)
        if self.cut.whole_b:
            self._whole_b(main, j, columns, padded, m)
            return
        self._fill_zero(self.c, lambda: (self._push(self._rounded(m, ROWS)), self._times(4 * self.cut.width)))

        def one_k(k: _KBlock, index: int | None) -> None:
            self._pack(self.contract.b, self.n, j, columns, COLUMNS, k, self.b)
            self._repeat(0, m, self.cut.rows, lambda i: self._one_product(i, m, padded, k, self.b, first=i, add=True))

        self._k_blocks(one_k)
        self._repeat(0, m, 1, lambda i: self._stores(main, i, i, j, columns))

    def _whole_b(self, main: list[Store], j: int | None, columns: Bound, padded: Bound, m: Bound) -> None:
        step = 4 * self.cut.k * self.cut.width

        def place(index: int | None) -> int:
            if index is None:
                return self.b
            return self._assign(lambda: (self.code.get(index), self._times(step), self.code.get(self.b), self.code.op("i32.add")))

        self._k_blocks(lambda k, index: self._pack(self.contract.b, self.n, j, columns, COLUMNS, k, place(index)))

        def rows(i: int) -> None:
            self._k_blocks(lambda k, index: self._one_product(i, m, padded, k, place(index), first=None, add=index))
            count = self._at_most(self.cut.rows, i, m)
            self._repeat(0, count, 1, lambda r: self._stores(main, self._assign(
                lambda: (self.code.get(i), self.code.get(r), self.code.op("i32.add"))), r, j, columns))

        self._repeat(0, m, self.cut.rows, rows)

    def _k_blocks(self, inside: Callable[[_KBlock, int | None], None]) -> None:
        """Runs over the blocks of k; `index` is a local with the block's number, None if there is only one."""
        cut, outer_axes, last = self.cut, self.k[:-1], self.k[-1]
        if cut.count == 1:
            inside(_KBlock(None, (0, cut.last), cut.k), None)
            return
        f = self.f
        mark = f.enter()
        index = self._assign(lambda: self.code.i32(-1))

        def numbered(k: _KBlock) -> None:
            self.code.get(index), self._plus(1), self.code.set(index)
            inside(k, index)

        outer = self._size(outer_axes)
        if cut.last == last.extent:

            def group(q: int) -> None:
                count = self._at_most(cut.outer, q, outer)
                stop = self._getter(self._assign(lambda: (self.code.get(q), self._push(count), self.code.op("i32.add"))))
                total = count * cut.last if isinstance(count, int) else self._getter(self._assign(lambda: (count(), self._times(cut.last))))
                numbered(_KBlock((self._getter(q), stop), (0, cut.last), total))

            self._repeat(0, outer, cut.outer, group)
        else:
            end = f._extent(last)

            def slices(q: int | None) -> None:
                def one(s: int) -> None:
                    count = self._at_most(cut.last, s, end)
                    stop = self._getter(self._assign(lambda: (self.code.get(s), self._push(count), self.code.op("i32.add"))))
                    outer_range = (0, 1) if q is None else (self._getter(q), self._getter(self._assign(lambda: (self.code.get(q), self._plus(1)))))
                    numbered(_KBlock(outer_range, (self._getter(s), stop), count))

                self._repeat(0, end, cut.last, one)

            if outer_axes:
                self._repeat(0, outer, 1, slices)
            else:
                slices(None)
        f.leave(mark)

    # -- packing ----------------------------------------------------------------------------------------------------------

    def _pack(self, x: Expr, axes: Sequence[Axis], start: int | None, count: Bound, width: int, k: _KBlock, to: int) -> None:
        """Packs a factor into panels of `width` rows (of A) or columns (of B): element (i, k) of panel p at p*width*K + k*width + i."""
        f = self.f
        mark = f.enter()
        lane = self._pack_lane(x, axes)
        depth = {a: i for i, a in enumerate([*self.batch, *axes, *self.k])}
        lowered = Lowering(x.ir, depth).expr(x)
        f.plan(nodes_of([lowered]))
        panel = self._assign(lambda: (self._push(k.count), self._times(4 * width)))       # bytes
        self._zero_last_panel(to, panel, count, width)
        root = [(lowered, VALUE)]
        f.hoist(root)

        def one(i: int) -> None:
            """One row, along k."""
            at = self._place(to, panel, i, width)
            self._bind(start, i, axes)
            self._over_k(root, k, self.k[-1] if lane is self.k[-1] else None, lambda: self._put_along(lowered, at, 4 * width))

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
            if isinstance(lane.extent, int) and (lane.extent < 4 or (lane is own and len(axes) > 1 and lane.extent % 4)):
                continue
            if not isinstance(lane.extent, int) and lane is own and len(axes) > 1:
                continue
            lanes = Lanes(lane)
            if lanes.stride(x) == 0:
                continue
            cost = sum(_cost(lanes, n) for n in nodes) + (GATHER_COST - 3 if lane is not own else 0)
            if cost < least:
                best, least = lane, cost
        return best

    def _place(self, to: int, panel: int, i: int, width: int) -> int:
        code = self.code
        return self._assign(lambda: (
            code.get(to), code.get(i), code.i32(width), code.op("i32.div_u"), code.get(panel), code.op("i32.mul"), code.op("i32.add"),
            code.get(i), code.i32(width), code.op("i32.rem_u"), self._times(4), code.op("i32.add")))

    def _bind(self, start: int | None, i: int, axes: Sequence[Axis]) -> None:
        flat = i if start is None else self._assign(lambda: (self.code.get(start), self.code.get(i), self.code.op("i32.add")))
        self._decode(flat, axes)

    def _over_k(self, root: list, k: _KBlock, lane: Axis | None, body: Callable[[], None]) -> None:
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
            code.get(at), f.scalar(x), code.memory("f32.store")
            code.get(at), self._plus(step), code.set(at)
            return
        value = f.vector_local(x, 0)
        for i in range(4):
            code.get(at), code.get(value), code.memory("v128.store32_lane", i * step, i)
        code.get(at), self._plus(4 * step), code.set(at)

    def _pack_across(self, x: Expr, lane: Axis, axes: Sequence[Axis], start: int | None, count: Bound, width: int, k: _KBlock, to: int,
                     panel: int) -> None:
        """Packs several rows (columns) at once, loaded as vectors, for one k after the other."""
        f, code = self.f, self.code
        root = [(x, VALUE)]
        lanes = f.lane_of(lane)
        lanes.stride(x)
        whole = width == COLUMNS and not lanes.wrapped and (len(axes) == 1 or lane.extent % COLUMNS == 0)      # type: ignore[operator]
        size = COLUMNS if whole else 4
        full = count - count % size if isinstance(count, int) else self._getter(
            self._assign(lambda: (count(), code.i32(-size), code.op("i32.and"))))

        def several(i: int) -> None:
            straight = width == COLUMNS
            places = [self._place(to, panel, i, width)]
            for j in range(1, 1 if straight else 4):
                next_ = self._assign(lambda j=j: (code.get(i), self._plus(j)))                                # type: ignore[misc]
                places.append(self._place(to, panel, next_, width))
            self._bind(start, i, axes)
            f.lane, f.parts = lanes, size // 4
            at = self._assign(lambda: code.i32(0))

            def put() -> None:
                for part in range(f.parts):
                    if straight:
                        code.get(places[0]), f.vector(x, part), code.memory("v128.store", 16 * part)
                    else:
                        value = f.vector_local(x, part)
                        for lane_number, place in enumerate(places):
                            code.get(place), code.get(at), code.op("i32.add"), code.get(value)
                            code.memory("v128.store32_lane", 0, lane_number)
                moved = places[0] if straight else at
                code.get(moved), self._plus(4 * width), code.set(moved)

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
                last = self._assign(lambda: (code.get(to), code.get(panel), self._times(count // width), code.op("i32.add")))
                self._fill_zero(last, lambda: code.get(panel))
            return
        count(), code.i32(width), code.op("i32.rem_u")
        code.if_()
        mark = self.f.enter()
        last = self._assign(lambda: (code.get(to), code.get(panel), count(), code.i32(width), code.op("i32.div_u"), code.op("i32.mul"),
                                     code.op("i32.add")))
        self._fill_zero(last, lambda: code.get(panel))
        self.f.leave(mark)
        code.end()

    def _fill_zero(self, at: int, size: Callable[[], object]) -> None:
        """Zeros `size` bytes, a multiple of 4, from `at`."""
        code = self.code
        mark = self.f.enter()
        end = self._assign(size)

        def clear(i: int) -> None:
            code.get(at), code.get(i), code.op("i32.add"), code.i32(0), code.memory("i32.store")

        self._repeat(0, self._getter(end), 4, clear)
        self.f.leave(mark)

    # -- multiplying ------------------------------------------------------------------------------------------------------

    def _one_product(self, i: int, m: Bound, padded: Bound, k: _KBlock, b: int, first: int | None, add: int | bool | None) -> None:
        """Packs a block of A and multiplies: rows `first`.. of C (from 0 if None); `add`: always, or where that local is not 0."""
        f, code = self.f, self.code
        mark = f.enter()
        count = self._at_most(self.cut.rows, i, m)
        self._pack(self.contract.a, self.m, i, count, ROWS, k, self.a)
        rows = self._rounded(count, ROWS)
        k4 = self._assign(lambda: (self._push(k.count), self._times(4)))

        def column(j: int) -> None:
            b_at = self._assign(lambda: (code.get(j), code.get(k4), code.op("i32.mul"), code.get(b), code.op("i32.add")))
            row_bytes = 4 * self.cut.width
            c_at = self._assign(lambda: (
                code.get(j), self._times(4), code.get(self.c), code.op("i32.add"),
                *(() if first is None else (code.get(first), self._times(row_bytes), code.op("i32.add")))))
            a_at = self._assign(lambda: code.get(self.a))

            def row(_: int) -> None:
                code.get(a_at), code.get(b_at), code.get(k4), code.get(c_at), code.i32(row_bytes)
                code.i32(int(add is True)) if add is None or add is True else code.get(add)
                code.call(TILE)
                code.get(a_at), code.get(k4), self._times(ROWS), code.op("i32.add"), code.set(a_at)
                code.get(c_at), self._plus(ROWS * row_bytes), code.set(c_at)

            self._repeat(0, rows, ROWS, row)

        self._repeat(0, padded, COLUMNS, column)
        f.leave(mark)

    # -- stores -----------------------------------------------------------------------------------------------------------

    def _stores(self, main: list[Store], i: int, row: int, j: int | None, columns: Bound) -> None:
        """The stores of one row: i is its number, `row` its place in C."""
        f, code = self.f, self.code
        mark = f.enter()
        self._decode(i, self.m)
        base = self._assign(lambda: (
            code.get(row), self._times(4 * self.cut.width), code.get(self.c), code.op("i32.add"),
            *(() if j is None else (code.get(j), self._times(4), code.op("i32.sub")))))
        f.remember(f.bases, -1, base)
        ir = self.contract.fold.ir
        index = ir.const(0)
        for a in self.n:
            index = index * ir.size(a.extent) + ir.axis(a)
        bounds = None
        if j is not None:
            stop = self._assign(lambda: (code.get(j), self._push(columns), code.op("i32.add")))
            bounds = {self.n[0]: (self._getter(j), self._getter(stop))}
        swap = {out: (-1, index) for out in self.contract.outs}
        self.emit_stores(self.n, main, swap=swap, fixed=[*self.batch, *self.m], bounds=bounds)
        f.leave(mark)


@dataclass(frozen=True)
class _KBlock:
    """A block of k: the range of the (flattened) outer axes, None for all of them; that of the last axis; how many in all."""

    outer: tuple[Bound, Bound] | None
    last: tuple[Bound, Bound]
    count: Bound


def tile() -> tuple[int, bytes]:
    """The function that multiplies one tile: C[5, 8] (+)= sum over k of A[5, k] B[k, 8], all sums in locals.

    Its parameters: a, b, 4 * number of k, c, bytes from one row of C to the next, and whether to add to what C holds. It is a
    function of its own so that its registers are its own, and so that engines that compile hot functions anew while a
    program runs have it fast within the first product.
    """
    code = Code(6)
    a, b, k4, c, row_bytes, add = range(6)
    rows = [c] + [code.local(encode.I32) for _ in range(ROWS - 1)]
    end = code.local(encode.I32)
    sums = [[code.local(encode.V128) for _ in range(COLUMNS // 4)] for _ in range(ROWS)]
    columns = [code.local(encode.V128) for _ in range(COLUMNS // 4)]
    spread = code.local(encode.V128)
    for above, row in pairwise(rows):
        code.get(above), code.get(row_bytes), code.op("i32.add"), code.set(row)
    code.get(add)
    code.if_()
    for row, totals in zip(rows, sums, strict=True):
        for j, total in enumerate(totals):
            code.get(row), code.memory("v128.load", 16 * j), code.set(total)
    code.end()                                             # locals start as zeros
    code.get(a), code.get(k4), code.i32(ROWS), code.op("i32.mul"), code.op("i32.add"), code.set(end)
    code.block()
    code.get(a), code.get(end), code.op("i32.ge_u"), code.br_if(0)
    code.loop()
    for j, local in enumerate(columns):
        code.get(b), code.memory("v128.load", 16 * j), code.set(local)
    for i, totals in enumerate(sums):
        code.get(a), code.memory("v128.load32_splat", 4 * i), code.set(spread)
        for j, total in enumerate(totals):
            code.get(spread), code.get(columns[j]), code.op("f32x4.mul"), code.get(total), code.op("f32x4.add"), code.set(total)
    code.get(b), code.i32(4 * COLUMNS), code.op("i32.add"), code.set(b)
    code.get(a), code.i32(4 * ROWS), code.op("i32.add"), code.tee(a)
    code.get(end), code.op("i32.lt_u"), code.br_if(0)
    code.end(), code.end()
    for row, totals in zip(rows, sums, strict=True):
        for j, total in enumerate(totals):
            code.get(row), code.get(total), code.memory("v128.store", 16 * j)
    return 6, code.body()
