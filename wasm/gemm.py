"""Matrix products and what is one in disguise (convolutions and their gradients): packed panels, a 5x8 register tile.

    for each batch, for each block of NC columns:
        for each block of k: pack B into panels of 8 columns            (all of B first, where that is small: `whole_b`)
            for each block of MC rows: pack A into panels of 5 rows; multiply into C
        for each row of C: the stores, with the sums read from C

Packing evaluates the factor expressions, so guards (im2col) and elementwise prologues cost one pass; the epilogue is
an ordinary loop nest. Panels are padded with zeros: the multiplication has no edges. C is scratch memory, rows of
`NC` rounded up to 8. The tile 5x8 is the largest that leaves V8 enough registers; see the facts about WebAssembly in
the design notes. Where the last panel of A has few rows, they are multiplied with two panels of B at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import prod

from ..kernel.contract import Contract
from ..kernel.ir import Axis, Expr, FoldSpec, Store, rewrite, store_roots
from ..shapes import Size, ceil_div
from .lanes import known_extent
from .lower import nodes_of
from .nest import Bound, Nests
from .pack import KBlock, Packing, round_up, total
from .percolumn import per_column
from .share import LINES, Share
from .tile import COLUMNS, PAIR, REST, ROWS, TILE
from .unroll import ROUNDS

__all__ = ["FEW", "Blocks", "blocks", "emit", "few_rows", "keeps_b", "pays", "workspace"]

_K, _M, _N = 384, 100, 1024  # block sizes aimed at: panels of A and B in the first cache, a block of A in the second
_SUMS, _AHEAD = -1, -2  # buffers in the workspace: a row of C, and what is computed for columns before there are rows
_WHOLE_B = 8 << 20  # bytes of packed B up to which it is packed at once
_BATCHES = 4  # products side by side from which threads take whole ones, not rows of each
_MIN_WORK = 4096  # multiplications below which the plain loops win
FEW = 4  # rows up to which B is read where it lies: packing it costs more than multiplying,
_LARGE_B = 1 << 14  # if B has so many elements


@dataclass(frozen=True)
class Blocks:
    """How one contraction is cut. A block of k is `outer` values of all k axes but the last, times `last` of the last
    one.
    """

    rows: int
    columns: int
    outer: int
    last: int
    count: int | None  # number of k blocks, where it is known

    @property
    def k(self) -> int:
        """The largest number of k in a block."""
        return self.outer * self.last

    @property
    def width(self) -> int:
        """Elements of a row of C."""
        return round_up(self.columns, COLUMNS)

    @property
    def whole_b(self) -> bool:
        """Whether B is packed as a whole before the first row."""
        return self.count is not None and 4 * self.count * self.k * self.width <= _WHOLE_B

    @property
    def a_bytes(self) -> int:
        """Packed A."""
        return 4 * self.k * round_up(self.rows, ROWS)

    @property
    def b_bytes(self) -> int:
        """Packed B."""
        return 4 * self.k * self.width * ((self.count or 1) if self.whole_b else 1)


def _real(axes: Sequence[Axis]) -> tuple[Axis, ...]:
    """Without those of extent 1, which no expression mentions."""
    return tuple(a for a in axes if a.extent != 1)


def pays(contract: Contract) -> bool:
    """Whether packing is worth it, and the stores are of the kinds that `emit` makes."""
    m, n, k = _real(contract.m), _real(contract.n), _real(contract.k)
    if not m or not n or not k or (len(n) > 1 and not isinstance(total(n), int)):
        return False
    if any(not isinstance(a.extent, int) for a in k[1:]):
        return False
    sizes = [prod(known_extent(a) for a in axes) for axes in (m, n, k)]
    if all(isinstance(a.extent, int) for a in k) and sizes[2] <= ROUNDS and n[-1].extent in (4, 8, 12, 16, 24, 32):
        return False  # written out, with the columns' factors in registers
    if sizes[0] < 4 or sizes[1] < 4 or sizes[2] < 3 or prod(sizes) < _MIN_WORK:
        return False
    main, side = _split(contract)
    if (
        not main
        or any(s.loops for s in main)
        or any(x.op == "fold" and x is not contract.fold for x in nodes_of(store_roots(main)))
    ):
        return False
    if any(
        x.op == "out" and x.args[0] is contract.fold and x.attr != contract.index for x in nodes_of(store_roots(main))
    ):
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


def few_rows(contract: Contract) -> Axis | None:
    """The axis of the rows, if there may be as few as FEW only when the program runs, and B is large."""
    m, n, k = _real(contract.m), _real(contract.n), _real(contract.k)
    if len(m) != 1 or isinstance(m[0].extent, int) or _real(contract.batch):
        return None
    size = total((*n, *k))
    return m[0] if isinstance(size, int) and size >= _LARGE_B else None


def blocks(contract: Contract) -> Blocks:
    """Block sizes for a contraction."""
    m, n = (total(_real(axes)) for axes in (contract.m, contract.n))
    rows = _M if not isinstance(m, int) or m > _M else m
    if not isinstance(n, int):
        columns = 512
    elif len(_real(contract.n)) > 1 or n <= _N:
        columns = n
    else:
        columns = round_up(-(-n // -(-n // _N)), COLUMNS)
    axes = _real(contract.k)
    inner, outer = axes[-1].extent, total(axes[:-1])
    if not isinstance(inner, int):
        return Blocks(rows, columns, 1, 512, None)
    if inner > _K:
        parts = -(-inner // _K)
        return Blocks(
            rows, columns, 1, round_up(-(-inner // parts), 4), outer * parts if isinstance(outer, int) else None
        )
    fit = max(1, _K // inner)
    if not isinstance(outer, int):
        return Blocks(rows, columns, fit, inner, None)
    parts = -(-outer // fit)
    return Blocks(rows, columns, -(-outer // parts), inner, parts)


def keeps_b(contract: Contract) -> bool:
    """Whether packed B, once made, serves every run with the same B: it is packed as a whole, for all columns."""
    cut, n = blocks(contract), total(_real(contract.n))
    return cut.whole_b and not _real(contract.batch) and isinstance(n, int) and n <= cut.columns


def workspace(contract: Contract) -> Size:
    """Bytes of scratch memory: what is computed for columns, packed A, packed B, C."""
    cut = blocks(contract)
    ahead = _ahead_bytes(contract, len(per_column(contract, _split(contract)[0])))
    rows: Size = round_up(cut.rows, ROWS) if cut.whole_b else ceil_div(total(_real(contract.m)), ROWS) * ROWS
    return ahead + cut.a_bytes + cut.b_bytes + rows * (4 * cut.width)


def _ahead_bytes(contract: Contract, count: int) -> int:
    """Bytes of `count` values for every column."""
    n = total(_real(contract.n))
    return 4 * count * round_up(n, COLUMNS) if count and isinstance(n, int) else 0


def emit(
    f: Nests,
    contract: Contract,
    scratch: int,
    kept: int,
    emit_stores: Callable[..., None],
    nests: Callable[..., list],
    share: Share | None,
) -> None:
    """Emits the kernel of a contraction; `scratch` is the local with the address of its workspace, `kept` one that is
    not 0 where that holds packed B from the run before. Every `share` needs a workspace of its own.
    """
    main, side = _split(contract)
    if side:
        for axes, stores in nests(contract.kernel.axes, [_alone(s, contract) for s in side]):
            emit_stores(f, axes, stores, share=share)
    _Gemm(f, contract, main, scratch, kept, lambda *args, **kw: emit_stores(f, *args, **kw), share).emit(main)


def _alone(store: Store, contract: Contract) -> Store:
    """A store whose folds no longer carry the contraction with them."""
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


class _Gemm(Packing):
    """The emission of one contraction. Numbers that are known are ints, others locals wrapped as functions that push
    them.
    """

    def __init__(
        self,
        f: Nests,
        contract: Contract,
        main: list[Store],
        scratch: int,
        kept: int,
        emit_stores: Callable[..., None],
        share: Share | None,
    ) -> None:
        super().__init__(f, _real(contract.batch), _real(contract.k))
        self.kept = kept if keeps_b(contract) else None
        self.contract, self.emit_stores, self.cut, self.share = contract, emit_stores, blocks(contract), share
        self.m, self.n = _real(contract.m), _real(contract.n)
        step, ahead = _ahead_bytes(contract, 1) // 4, per_column(contract, main)
        self.ahead = {x: self._column() + i * step for i, x in enumerate(ahead)}  # where it is kept
        start = _ahead_bytes(contract, len(ahead))
        self.scratch = scratch
        self.a = self._pointer(scratch, start)
        self.b = self._pointer(scratch, start + self.cut.a_bytes)
        self.c = self._pointer(scratch, start + self.cut.a_bytes + self.cut.b_bytes)

    # -- the loops ---------------------------------------------------------------------------------------------------

    def emit(self, main: list[Store]) -> None:
        """All loops of the contraction."""
        mark = self.f.enter()
        by_batch = self.share is not None and self.batch and known_extent(self.batch[0]) >= _BATCHES
        bounds = self.share.bounds(self.batch[:1], None) if self.share is not None and by_batch else None
        m = self._size(self.m)
        rows: tuple[Bound, Bound] = (0, m)
        if self.share is not None and not by_batch:
            rows = self.share.range(m, LINES)
        self.code.block()
        if not isinstance(rows[0], int):  # a share of no rows has nothing to pack
            self._push(rows[0])
            self._push(rows[1]).op("i32.ge_s").br_if(0)
        if self.ahead:
            self.f.remember(self.f.bases, _AHEAD, self.scratch)
            self.emit_stores(self.n, [Store(_AHEAD, index, x) for x, index in self.ahead.items()])
        self.f.nest(self.batch, [], lambda: self._columns(main, rows), bounds=bounds)
        self.code.end()
        self.f.leave(mark)

    def _column(self) -> Expr:
        """The number of a column."""
        ir = self.contract.fold.ir
        index = ir.const(0)
        for a in self.n:
            index = index * ir.size(a.extent) + ir.axis(a)
        return index

    def _columns(self, main: list[Store], rows: tuple[Bound, Bound]) -> None:
        n = self._size(self.n)
        if isinstance(n, int) and n <= self.cut.columns:
            self._one_block(main, None, n, rows)
        else:
            self._repeat(
                0, n, self.cut.columns, lambda j: self._one_block(main, j, self._at_most(self.cut.columns, j, n), rows)
            )

    def _one_block(self, main: list[Store], j: int | None, columns: Bound, rows: tuple[Bound, Bound]) -> None:
        """These rows of C for one block of columns, and their stores."""
        padded = self._rounded(columns, COLUMNS)
        if self.cut.whole_b:
            self._whole_b(main, j, columns, padded, rows)
            return
        start, m = rows
        self._clear(start, self._rounded(m, ROWS))

        def one_k(k: KBlock, index: int | None) -> None:
            self._pack(self.contract.b, self.n, j, columns, COLUMNS, k, self.b)
            self._repeat(
                start, m, self.cut.rows, lambda i: self._one_product(i, m, padded, k, self.b, first=i, add=True)
            )

        self._k_blocks(one_k)
        self._repeat(start, m, 1, lambda i: self._stores(main, i, i, j, columns))

    def _clear(self, start: Bound, stop: Bound) -> None:
        """Rows of C as zeros."""
        row_bytes = 4 * self.cut.width
        if isinstance(start, int):
            self._fill_zero(self.c, lambda: (self._push(stop), self._times(row_bytes)))
            return
        at = self._assign(
            lambda: (self._push(start), self._times(row_bytes), self.code.get(self.c), self.code.op("i32.add"))
        )
        self._fill_zero(
            at, lambda: (self._push(stop), self._push(start), self.code.op("i32.sub"), self._times(row_bytes))
        )

    def _whole_b(
        self, main: list[Store], j: int | None, columns: Bound, padded: Bound, range_: tuple[Bound, Bound]
    ) -> None:
        step = 4 * self.cut.k * self.cut.width
        start, m = range_

        def place(index: int | None) -> int:
            if index is None:
                return self.b
            return self._assign(
                lambda: (self.code.get(index), self._times(step), self.code.get(self.b), self.code.op("i32.add"))
            )

        if self.kept is not None:
            self.code.get(self.kept).op("i32.eqz").if_()
        self._k_blocks(lambda k, index: self._pack(self.contract.b, self.n, j, columns, COLUMNS, k, place(index)))
        if self.kept is not None:
            self.code.end()

        def rows(i: int) -> None:
            self._k_blocks(lambda k, index: self._one_product(i, m, padded, k, place(index), first=None, add=index))
            count = self._at_most(self.cut.rows, i, m)
            self._repeat(
                0,
                count,
                1,
                lambda r: self._stores(
                    main,
                    self._assign(lambda: (self.code.get(i), self.code.get(r), self.code.op("i32.add"))),
                    r,
                    j,
                    columns,
                ),
            )

        self._repeat(start, m, self.cut.rows, rows)

    def _k_blocks(self, inside: Callable[[KBlock, int | None], None]) -> None:
        """Runs over the blocks of k; `index` is a local with the block's number, None if there is only one."""
        cut, outer_axes, last = self.cut, self.k[:-1], self.k[-1]
        if cut.count == 1:
            inside(KBlock(None, (0, cut.last), cut.k), None)
            return
        f = self.f
        mark = f.enter()
        index = self._assign(lambda: self.code.i32(-1))

        def numbered(k: KBlock) -> None:
            self.code.get(index)
            self._plus(1)
            self.code.set(index)
            inside(k, index)

        outer = self._size(outer_axes)
        if cut.last == last.extent:

            def group(q: int) -> None:
                count = self._at_most(cut.outer, q, outer)
                stop = self._getter(
                    self._assign(lambda: (self.code.get(q), self._push(count), self.code.op("i32.add")))
                )
                number = (
                    count * cut.last
                    if isinstance(count, int)
                    else self._getter(self._assign(lambda: (count(), self._times(cut.last))))
                )
                numbered(KBlock((self._getter(q), stop), (0, cut.last), number))

            self._repeat(0, outer, cut.outer, group)
        else:
            end = f.extent(last)

            def slices(q: int | None) -> None:
                def one(s: int) -> None:
                    count = self._at_most(cut.last, s, end)
                    stop = self._getter(
                        self._assign(lambda: (self.code.get(s), self._push(count), self.code.op("i32.add")))
                    )
                    outer_range = (
                        (0, 1)
                        if q is None
                        else (self._getter(q), self._getter(self._assign(lambda: (self.code.get(q), self._plus(1)))))
                    )
                    numbered(KBlock(outer_range, (self._getter(s), stop), count))

                self._repeat(0, end, cut.last, one)

            if outer_axes:
                self._repeat(0, outer, 1, slices)
            else:
                slices(None)
        f.leave(mark)

    # -- multiplying -------------------------------------------------------------------------------------------------

    def _one_product(
        self, i: int, m: Bound, padded: Bound, k: KBlock, b: int, first: int | None, add: int | bool | None
    ) -> None:
        """Packs a block of A and multiplies: rows `first`.. of C (from 0 if None); `add`: always, or where that local
        is not 0.
        """
        f, code = self.f, self.code
        mark = f.enter()
        count = self._at_most(self.cut.rows, i, m)
        self._pack(self.contract.a, self.m, i, count, ROWS, k, self.a)
        rows, rest = self._whole_tiles(count)
        k4 = self._assign(lambda: (self._push(k.count), self._times(4)))

        def column(j: int) -> None:
            b_at = self._assign(
                lambda: (code.get(j), code.get(k4), code.op("i32.mul"), code.get(b), code.op("i32.add"))
            )
            row_bytes = 4 * self.cut.width
            c_at = self._assign(
                lambda: (
                    code.get(j),
                    self._times(4),
                    code.get(self.c),
                    code.op("i32.add"),
                    *(() if first is None else (code.get(first), self._times(row_bytes), code.op("i32.add"))),
                )
            )
            a_at = self._assign(lambda: code.get(self.a))

            def multiply(function: int) -> None:
                code.get(a_at).get(b_at).get(k4).get(c_at).i32(row_bytes)
                code.i32(int(add is True)) if add is None or add is True else code.get(add)
                code.call(function)

            def row(_: int) -> None:
                multiply(TILE)
                code.get(a_at).get(k4)
                self._times(ROWS)
                code.op("i32.add").set(a_at)
                code.get(c_at)
                self._plus(ROWS * row_bytes)
                code.set(c_at)

            if not isinstance(rows, int) or rows:
                self._repeat(0, rows, ROWS, row)
            if rest is not None:
                self._rest(rest, j, padded, multiply, b_at, c_at, k4)

        self._repeat(0, padded, COLUMNS, column)
        f.leave(mark)

    def _whole_tiles(self, count: Bound) -> tuple[Bound, Bound | None]:
        """The rows that are multiplied in tiles of all rows; and whether that leaves some for tiles of few, None if it
        cannot.
        """
        code, m = self.code, total(self.m)
        if isinstance(m, int) and not 1 <= m % ROWS <= REST:  # all blocks of rows but the last are whole panels
            return self._rounded(count, ROWS), None
        if isinstance(count, int):
            return count - count % ROWS, 1
        rows, over = self._rounded(count, ROWS), self._assign(lambda: (count(), code.i32(ROWS).op("i32.rem_u")))
        rest = self._assign(lambda: (code.get(over).i32(1).op("i32.sub").i32(REST).op("i32.lt_u")))
        whole = self._assign(
            lambda: (count(), code.get(over).op("i32.sub"), self._push(rows), code.get(rest).op("select"))
        )
        return self._getter(whole), self._getter(rest)

    def _rest(
        self, rest: Bound, j: int, padded: Bound, multiply: Callable[[int], None], b_at: int, c_at: int, k4: int
    ) -> None:
        """The last rows, few: at every second panel of B together with the one before, and at a last odd one alone."""
        code = self.code
        if not isinstance(rest, int):
            self._push(rest).if_()
        code.get(j).i32(COLUMNS).op("i32.and").if_()
        code.get(b_at).get(k4).i32(COLUMNS).op("i32.mul").op("i32.sub").set(b_at)
        code.get(c_at).i32(4 * COLUMNS).op("i32.sub").set(c_at)
        multiply(PAIR)
        if not isinstance(padded, int) or padded // COLUMNS % 2:
            code.else_().get(j).i32(COLUMNS).op("i32.add")
            self._push(padded).op("i32.eq").if_()
            multiply(TILE)
            code.end()
        code.end()
        if not isinstance(rest, int):
            code.end()

    # -- stores ------------------------------------------------------------------------------------------------------

    def _stores(self, main: list[Store], i: int, row: int, j: int | None, columns: Bound) -> None:
        """The stores of one row: i is its number, `row` its place in C."""
        f, code = self.f, self.code
        mark = f.enter()
        self._decode(i, self.m)
        base = self._assign(
            lambda: (
                code.get(row),
                self._times(4 * self.cut.width),
                code.get(self.c),
                code.op("i32.add"),
                *(() if j is None else (code.get(j), self._times(4), code.op("i32.sub"))),
            )
        )
        f.remember(f.bases, _SUMS, base)
        bounds = None
        if j is not None:
            stop = self._assign(lambda: (code.get(j), self._push(columns), code.op("i32.add")))
            bounds = {self.n[0]: (self._getter(j), self._getter(stop))}
        swap = {out: (_SUMS, self._column()) for out in self.contract.outs}
        swap |= {x: (_AHEAD, index) for x, index in self.ahead.items()}
        self.emit_stores(self.n, main, swap=swap, fixed=[*self.batch, *self.m], bounds=bounds)
        f.leave(mark)
