"""Contractions with tiles in workgroup memory: fits a kernel into `shaders/shared.wgsl`.

For GPUs with memory of their own for a workgroup, where reading a number from it is some ten times cheaper than through
the caches. The axes of a contraction are flattened to z, m, n and k; loads, guards and epilogue are the kernel's own
expressions, so that convolutions and their gradients are matrix products whose operands are computed on the way in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..kernel.contract import Contract, find_contract
from ..kernel.index import linear
from ..kernel.ir import F32, Axis, Builder, Expr, Kernel, Store, rewrite, store_roots, walk
from ..kernel.split import guess
from ..shapes import Dim, Size, ceil_div, num_elements
from . import text
from .body import Block, Body
from .lanes import LANES, Substitution, multiple_of
from .launch import Emitted, Slots, arguments, bindings, grid_of, group_number
from .shaders import instantiate

__all__ = ["emit_shared"]

EACH = 8                    # rows and columns of results of an invocation
LARGE = 512                 # m and n from which tiles of 128 x 128 leave enough workgroups


def emit_shared(kernel: Kernel, smallest: tuple[int, int, int], parts: int, work: Size,
                lengths: Sequence[int | None]) -> Emitted | None:
    """The shader of a contraction, or None if the kernel is none, is below the `smallest` m, n and k, or computes other
    sums beside it.
    """
    contract = _fitting(kernel, smallest)
    return None if contract is None else _Shared(kernel, contract).emit(parts, work, lengths)


def _fitting(kernel: Kernel, smallest: tuple[int, int, int]) -> Contract | None:
    found = find_contract(kernel)
    folds = [x for x in walk(store_roots(kernel.stores)) if x.op == "fold"]
    if found is None or len(folds) != 1 or any(s.loops for s in kernel.stores):
        return None
    start = found.fold.args[found.index]
    alone = len(found.fold.attr.accumulators) == 1 and start is start.ir.neutral(found.fold.attr.accumulators[0])
    sizes = [guess(num_elements(a.extent for a in axes)) for axes in (found.m, found.n, found.k)]
    return found if alone and all(s >= t for s, t in zip(sizes, smallest, strict=True)) else None


@dataclass(frozen=True)
class _Flat:
    """Several axes taken as one of `size` points."""

    axes: tuple[Axis, ...]
    size: Size

    def at(self, place: Expr) -> dict[Axis, Expr]:
        """The values of the axes at a point."""
        ir, found = place.ir, {}
        for number, axis in reversed(list(enumerate(self.axes))):
            if axis.extent == 1:
                found[axis] = ir.const(0)
                continue
            first = all(a.extent == 1 for a in self.axes[:number])
            extent = ir.size(axis.extent)
            found[axis] = place if first else place % extent
            place = place // extent
        return found


def _flat(axes: Sequence[Axis]) -> _Flat:
    return _Flat(tuple(axes), num_elements(a.extent for a in axes))


class _Shared:
    def __init__(self, kernel: Kernel, contract: Contract) -> None:
        self.kernel, self.contract = kernel, contract
        self.ir: Builder = contract.fold.ir
        self.z, self.m, self.n, self.k = map(_flat, (contract.batch, contract.m, contract.n, contract.k))
        self.lane = Axis("lane", LANES)
        large = guess(self.m.size) >= LARGE and guess(self.n.size) >= LARGE
        self.side, self.depth = (16, 8) if large else (8, 16)
        self.edge = self.side * EACH
        self.depth_axis = Axis("k", self._padded(self.k.size, self.depth))
        self.batch = Axis("z", self.z.size)

    def _padded(self, size: Size, by: int) -> Size:
        return size if multiple_of(size, by) else ceil_div(size, by) * by

    # -- expressions ---------------------------------------------------------------------------------------------------

    def _element(self, flat: _Flat, quad: Expr) -> tuple[Expr, Expr]:
        """Four neighbours from 4 * quad on, none past the end, and which of them are not repeated ones."""
        ir, lane = self.ir, self.ir.axis(self.lane)
        if multiple_of(flat.size, LANES):
            last = ir.size(flat.size // LANES) - 1
            return ir.binary("min", quad, last) * LANES + lane, ir.binary("le", quad, last)
        at, last = quad * LANES + lane, ir.size(flat.size) - 1
        return ir.binary("min", at, last), ir.binary("le", at, last)

    def _operand(self, value: Expr, flat: _Flat) -> tuple[Expr, Axis]:
        """Four neighbours of a factor, 0 past the end of k; and the axis that counts the fours."""
        ir = self.ir
        quad = Axis("q", self._padded(flat.size, self.edge) // LANES)
        at, _ = self._element(flat, ir.axis(quad))
        step, last = ir.axis(self.depth_axis), ir.size(self.k.size) - 1
        swap = {**self.z.at(ir.axis(self.batch)), **flat.at(at), **self.k.at(ir.binary("min", step, last))}
        four = Substitution(swap, self.lane)(value)
        return ir.select(ir.binary("le", step, last), four, ir.const(0.0)), quad

    def _results(self) -> tuple[list[Store], tuple[Axis, Axis], dict[object, str]]:
        """The stores of an invocation, the axes that count its rows and columns, the names of its sums."""
        ir, names, stores = self.ir, dict[object, str](), list[Store]()
        rows = Axis("rows", self._padded(self.m.size, self.edge) // EACH)
        columns = Axis("columns", self._padded(self.n.size, self.edge) // EACH)
        lastrow = ir.size(self.m.size) - 1
        for i in range(EACH):
            down = ir.axis(rows) * EACH + i
            for j in range(EACH // LANES):
                key = (self.lane, i, j)          # the lane tells the sums of one kernel from those of another
                total = ir._make("scalar", F32, (), key, None, None, frozenset((self.lane,)))
                names[key] = f"sum{i}_{j}"
                across, inside = self._element(self.n, ir.axis(columns) * (EACH // LANES) + j)
                inside = inside & ir.binary("le", down, lastrow)
                at = self.m.at(ir.binary("min", down, lastrow))
                swap = Substitution({**self.z.at(ir.axis(self.batch)), **at, **self.n.at(across)}, self.lane)
                stores += [_guarded(swap.store(s), inside) for s in self._summed(total)]
        return stores, (rows, columns), names

    def _summed(self, total: Expr) -> list[Store]:
        """The stores of the kernel with the sum in place of the fold."""
        swap = dict.fromkeys(self.contract.outs, total)
        return [replace(s, index=rewrite([s.index], swap)[0], value=rewrite([s.value], swap)[0],
                        valid=None if s.valid is None else rewrite([s.valid], swap)[0]) for s in self.kernel.stores]

    # -- text ----------------------------------------------------------------------------------------------------------

    def emit(self, parts: int, work: Size, lengths: Sequence[int | None]) -> Emitted:
        """The shader."""
        (a, quads_a), (b, quads_b) = (self._operand(v, f) for v, f in
                                   ((self.contract.a, self.m), (self.contract.b, self.n)))
        stores, (down, across), names = self._results()
        blocks_m, blocks_n = ceil_div(self.m.size, self.edge), ceil_div(self.n.size, self.edge)
        sizes = self._sizes([a, b, *store_roots(stores)], (blocks_m, blocks_n, self.k.size, self.z.size))
        slots = Slots(self.kernel, sizes, parts)
        body = Body(stores, self.kernel.buffers, self.lane, {**slots.texts, **names}, more=(a, b))
        groups = ceil_div(num_elements((self.z.size, blocks_m, blocks_n)), parts)
        epilogue = self._block({self.batch: "z", down: "rows", across: "columns"})
        body.write_stores(epilogue)
        orders = {True: ("e % DEPTH", "e / DEPTH"), False: ("e / QUADS", "e % QUADS")}     # along k, along the tile
        k_of_a, q_of_a = orders[self._along_k(self.contract.a, self.m)]
        k_of_b, q_of_b = orders[self._along_k(self.contract.b, self.n)]
        code = instantiate(
            "shared", SIDE=self.side, DEPTH=self.depth, THREADS=self.side**2, QUADS=self.edge // LANES,
            TILE=self.edge // LANES * self.depth, ARGUMENTS=arguments(groups, parts), GROUP=group_number(groups, parts),
            BLOCKS_M=body.extent(blocks_m), BLOCKS_N=body.extent(blocks_n), BATCH=body.extent(self.z.size),
            K=body.extent(self.k.size), LOAD_A=self._function(body, a, quads_a), K_OF_A=k_of_a, Q_OF_A=q_of_a,
            LOAD_B=self._function(body, b, quads_b), K_OF_B=k_of_b, Q_OF_B=q_of_b,
            ZERO=_lines(f"var {n} = vec4<f32>();" for n in names.values()), MULTIPLY=_lines(_products()),
            STORES=_lines([*epilogue.lines, *epilogue.tail]), HELPERS=body.helpers.text(),
            BINDINGS=bindings(self.kernel, body.wide, lengths) + slots.declared)
        return Emitted(code, "main", grid_of(groups), sizes, self.kernel.scalars, parts, ceil_div(work, parts))

    def _sizes(self, roots: Sequence[Expr], others: Sequence[Size]) -> tuple[Dim, ...]:
        found = dict.fromkeys(self.kernel.sizes)
        found.update(dict.fromkeys(x.attr for x in walk(list(roots)) if x.op == "size"))
        found.update(dict.fromkeys(s for s in others if isinstance(s, Dim)))
        return tuple(found)

    def _block(self, names: dict[Axis, str]) -> Block:
        block = Block(None, tuple(names))
        block.axes.update(names)
        return block

    def _function(self, body: Body, four: Expr, quad: Axis) -> str:
        block = self._block({self.batch: "z", quad: "q", self.depth_axis: "k"})
        value = text.spread(body.root(four, block), F32, body.vector(four), True)
        return _lines([*block.lines, f"return {value};"])

    def _along_k(self, value: Expr, flat: _Flat) -> bool:
        """Whether neighbours along k are neighbours in memory, and those along the tile are not."""
        for x in walk([value]):
            if x.op == "load":
                terms, _ = linear(x.args[0])
                steps = {y.attr: f for y, f in terms.items() if y.op == "axis"}
                if self.k.axes and steps.get(self.k.axes[-1]) == 1 and steps.get(flat.axes[-1]) != 1:
                    return True
        return False


def _guarded(s: Store, inside: Expr) -> Store:
    if inside.op == "const" and inside.attr:
        return s
    return replace(s, valid=inside if s.valid is None else s.valid & inside)


def _products() -> list[str]:
    tile = [(i, j) for i in range(EACH) for j in range(EACH // LANES)]
    return [f"  sum{i}_{j} += left{i // LANES}.{'xyzw'[i % LANES]} * right{j};" for i, j in tile]


def _lines(statements: object) -> str:
    return "\n".join(f"  {s}" for s in statements)  # type: ignore[attr-defined]
