"""Kernel IR to a WebAssembly module: one function per kernel, and `run`, which walks the steps of a program.

A kernel's function takes the addresses of its buffers (its workspace last, if it needs one) and the address of its
words: the sizes, then the scalars; a contraction also whether its workspace holds the packed factor already; a large
kernel also which share of it to make, of how many. `run(table, first, last)` executes steps first .. last-1 and
returns last; `table` holds the address of every region, then per step its words. `part(table, first, last, share,
shares)`, which modules with large kernels have, makes one share of each step: of what is not shared, share 0 is all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from math import prod
from typing import Any

from ..kernel.contract import Contract, find_contract
from ..kernel.ir import F32, Axis, Builder, Expr, Kernel, Store, rewrite, store_roots
from ..kernel.structure import structure
from ..shapes import Size, larger
from . import encode, gemm
from .columns import Part, down_columns
from .encode import Code
from .functions import expand
from .lanes import Lanes, choose_lane, known_extent, loop_lane
from .lower import Lowering, Target, nodes_of, sequential_axes
from .nest import ADDRESS, CONDITION, LIGHT, VALUE, Nests, Range, Root
from .phases import phases
from .ranges import cut_ranges, unroll_remainders
from .reuse import reuse
from .scalar import wasm_type
from .share import Share, cut, worth_sharing
from .tile import REST, tile
from .unroll import unroll_folds
from .walk import Entry, StepCode, undivided, walk

__all__ = ["StepCode", "emit_module", "factor_buffers", "workspace"]

_LINE = 4  # vectors of a line of the cache
_KEPT = 4, 12  # vectors that fit the registers, and are worth walking memory in steps
_LARGE = 1 << 10  # elements from which four blocks of heavier ones are, at the price of longer code


def workspace(kernel: Kernel) -> Size:
    """Bytes of scratch memory that the kernel's function needs, 0 if none."""
    found = _contract(kernel)
    if found is None:
        return 0
    size: Size = 0
    for _, part in phases(kernel, found):
        if part is not None and gemm.pays(part):
            size = larger(size, gemm.workspace(part))
    return gemm.workspace(found) if isinstance(size, int) and size == 0 else size  # its function takes one in any case


def factor_buffers(kernel: Kernel) -> frozenset[int] | None:
    """The buffers of the factor that the kernel packs, if what it packed stays good while they do; else None."""
    found = _contract(kernel)
    if found is None or not gemm.keeps_b(found):
        return None
    return frozenset(x.attr for x in nodes_of([found.b]) if x.op == "load")


def _contract(kernel: Kernel) -> Contract | None:
    """The contraction that gets packed panels, if any."""
    found = find_contract(kernel)
    return found if found is not None and gemm.pays(found) else None


def emit_module(
    kernels: Sequence[Kernel],
    steps: Sequence[Entry | tuple[int, Sequence[int]]],
    num_regions: int,
    known: dict[Any, Any] | None = None,
) -> bytes:
    """The module of a program. Kernels of equal structure become one function; `known` keeps functions for the modules
    of other programs, which mostly compute the same forward pass.
    """
    known = {} if known is None else known
    keys = [structure(kernel) for kernel in kernels]
    different = dict(zip(reversed(keys), reversed(kernels), strict=True))
    contracts = {key: _contract(kernel) for key, kernel in different.items()}
    shared = {key for key, kernel in different.items() if worth_sharing(kernel, contracts[key])}
    functions: list[tuple[int, bool, bytes]] = []
    contracting = any(contract is not None for contract in contracts.values())
    if shared or contracting:
        params, body = cut()
        functions.append((params, True, body))  # function number CUT
    if contracting:
        made = tile(), tile(REST, 2)  # functions number TILE and PAIR
        functions += [(params, False, body) for params, body in made]
    numbers: dict[tuple[Any, ...], int] = {}
    for key in keys:
        if key not in numbers:
            numbers[key] = len(functions)
            if key not in known:
                known[key] = emit_kernel(different[key], contracts[key] is not None, key in shared)
            params, body = known[key]
            functions.append((params, False, body))
    of_kernel = [numbers[key] for key in keys]
    keeping = {numbers[key] for key, contract in contracts.items() if contract is not None}
    sharing = {numbers[key] for key in shared}
    body = walk(kernels, steps, of_kernel, [f[0] for f in functions], num_regions, keeping, sharing)
    functions.append((5 if sharing else 3, True, body))
    if not sharing:
        return encode.module(functions, ("run", len(functions) - 1))
    part = len(functions) - 1
    functions.append((3, True, undivided(part)))
    return encode.module(functions, ("run", part + 1), ("part", part))


def emit_kernel(kernel: Kernel, contraction: bool, sharing: bool) -> tuple[int, bytes]:
    """The number of parameters and the body of a kernel's function; `contraction`: by packed panels (see gemm.py);
    `sharing`: in shares, if so told (see share.py).
    """
    kernel = replace(kernel, stores=expand(kernel.stores))
    contract = find_contract(kernel) if contraction else None
    params = len(kernel.buffers) + 2 * (contract is not None) + 1 + 2 * sharing
    f = Nests(Code(params))
    share = Share(f, params - 2, params - 1) if sharing else None
    f.bases = {i: i for i in range(len(kernel.buffers))}
    words = len(kernel.buffers) + (contract is not None)
    _load_words(f, kernel, words)
    for part, found in [(kernel, None)] if contract is None else phases(kernel, contract):
        if found is None or not gemm.pays(found):
            _emit_loops(f, part, share)
            continue
        few = gemm.few_rows(found)
        if few is not None:
            f.push(f.extent(few))
            f.code.i32(gemm.FEW).op("i32.le_s").if_()
            mark = f.enter()
            _emit_loops(f, part, Share(f, params - 2, params - 1) if sharing else None)
            f.leave(mark)
            f.code.else_()
        gemm.emit(f, found, words - 1, words + 1, emit_stores, nests, share)
        if few is not None:
            f.code.end()
    return params, f.code.body()


def _emit_loops(f: Nests, kernel: Kernel, share: Share | None) -> None:
    for whole, made in nests(kernel.axes, unroll_folds(kernel.stores)):
        for axes, stores in cut_ranges(*unroll_remainders(whole, made)):
            early, stores = reuse(stores)
            emit_nest(f, axes, stores, early, share)


def _load_words(f: Nests, kernel: Kernel, pointer: int) -> None:
    """Loads sizes and scalars into locals."""
    word = 0
    for size in kernel.sizes:
        f.sizes[size] = f.local(encode.I32)
        f.code.get(pointer).memory("i32.load", 4 * word).set(f.sizes[size])
        word += 1
    for scalar in kernel.scalars:
        for i in range(scalar.words):
            local = f.words[scalar, i] = f.local(wasm_type(scalar.dtype))
            f.code.get(pointer).memory("f32.load" if scalar.dtype == F32 else "i32.load", 4 * word).set(local)
            word += 1


# -- loop nests -----------------------------------------------------------------------------------------------------


def nests(axes: tuple[Axis, ...], stores: Sequence[Store]) -> list[tuple[tuple[Axis, ...], list[Store]]]:
    """The stores by the axes they really run over: one that is made only where an axis is 0 needs no loop over it."""
    groups: dict[tuple[Axis, ...], list[Store]] = {}
    for store in stores:
        left, narrowed = narrow(axes, store)
        groups.setdefault(left, []).append(narrowed)
    if len(groups) > 1 and _mixed(list(groups.values())):
        return [(axes, list(stores))]
    return list(groups.items())


def narrow(axes: tuple[Axis, ...], store: Store) -> tuple[tuple[Axis, ...], Store]:
    """Drops the axes that the store's condition ties to 0."""
    if store.valid is None:
        return axes, store
    ir = store.value.ir
    tied: dict[Expr, Expr] = {}
    kept: list[Expr] = []
    stack = [store.valid]
    while stack:
        x = stack.pop()
        if x.op == "and":
            stack.extend(x.args)
        elif (
            x.op == "eq"
            and x.args[0].op == "axis"
            and x.args[1].op == "const"
            and x.args[1].attr == 0
            and x.args[0].attr in axes
        ):
            tied[x.args[0]] = ir.const(0)
        else:
            kept.append(x)
    if not tied:
        return axes, store
    valid = None
    for x in reversed(kept):
        valid = x if valid is None else ir.binary("and", valid, x)
    roots = [store.index, store.value] + ([] if valid is None else [valid])
    index, value, *rest = rewrite(roots, tied)
    gone = {x.attr for x in tied}
    return tuple(a for a in axes if a not in gone), replace(
        store, index=index, value=value, valid=rest[0] if rest else None
    )


def _mixed(groups: list[list[Store]]) -> bool:
    """Whether one group loads what another one stores."""
    loads = [{x.attr for x in nodes_of(store_roots(g)) if x.op == "load"} for g in groups]
    stored = [{s.buffer for s in g} for g in groups]
    return any(loads[i] & stored[j] for i in range(len(groups)) for j in range(len(groups)) if i != j)


def emit_nest(
    f: Nests, axes: tuple[Axis, ...], stores: Sequence[Store], early: Sequence[Store] = (), share: Share | None = None
) -> None:
    """Loops over the axes and makes the stores, sums of columns row by row (see columns.py)."""
    found = None if early else down_columns(axes, stores)
    if found is None:
        emit_stores(f, axes, stores, early=early, share=share)
        return
    lane, passes = found
    bounds = {} if share is None else share.bounds([*(a for a in axes if a is not lane), lane], lane)
    for one in passes:
        rows = {} if one.part is None else {one.part.axis: _range(f, one.part)}
        emit_stores(f, one.axes, one.stores, bounds=bounds | rows, lane=lane)


def _range(f: Nests, part: Part) -> Range:
    """How many groups of rows there are, or which rows are left over."""
    extent = f.extent(part.axis)

    def groups() -> None:
        f.push(extent)
        f.code.i32(part.rows).op("i32.div_u")

    if not part.rest:
        return 0, groups
    return lambda: (groups(), f.code.i32(part.rows).op("i32.mul")), extent


def emit_stores(
    f: Nests,
    axes: Sequence[Axis],
    stores: Sequence[Store],
    swap: dict[Expr, tuple[int, Expr]] | None = None,
    fixed: Sequence[Axis] = (),
    bounds: dict[Axis, Range] | None = None,
    early: Sequence[Store] = (),
    share: Share | None = None,
    lane: Axis | None = None,
) -> None:
    """Loops over the axes and makes the stores.

    `fixed` axes have a local already and are not looped over; `swap` replaces expressions by loads (buffer, index);
    `bounds` are ranges of axes that are not run over as a whole; `share`: the stores are divided among threads. At each
    point `early` stores come first: the others read what they have written. `lane`: the axis that vectors run along,
    where it is not chosen here; the others are then looped over in their order.
    """
    stores = [*early, *stores]
    in_order = lane is not None
    roots = store_roots(stores)
    originals = nodes_of(roots, swap or ())  # what is swapped for a load is not computed here
    sequential = sequential_axes(originals) + [a for s in stores for a in s.loops]
    lane = lane or choose_lane(axes, stores, originals, frozenset(sequential))
    order = [a for a in axes if a is not lane] + ([lane] if lane is not None else [])
    turned = not (bounds or in_order) and _gathers(order, lane, originals)
    across = turned or (not (bounds or in_order) and _keeps_vectors(order, lane, originals))
    if across:
        order[-2:] = reversed(order[-2:])
    depth = {a: i for i, a in enumerate([*fixed, *order, *sequential])}
    lowering = Lowering(roots[0].ir, depth)
    for x, (buffer, index) in (swap or {}).items():
        lowering.replace(x, lowering.expr(_load(x.ir, buffer, index)))
    targets = [lowering.store(s) for s in stores]
    nodes = nodes_of([e for t in targets for e, _ in _roots(t)])
    f.plan(nodes)
    phases = [targets[: len(early)], targets[len(early) :]] if early else [targets]
    needed = [root for t in phases[0] for root in _roots(t)]  # what later phases read may not exist before
    unroll = _LINE if turned else 1 if across else _unroll(f, order, lane, nodes)
    if share is not None and order:
        bounds = share.bounds(order, lane)
    elif share is not None:
        share.first_only()
    mark = f.enter()
    f.nest(order, needed, lambda: _phases(f, phases), lane, unroll, bounds)
    f.leave(mark)
    if share is not None and not order:
        f.code.end()


def _gathers(order: Sequence[Axis], lane: Axis | None, nodes: Sequence[Expr]) -> bool:
    """Whether vectors are gathered from places far apart, while the axis next to the lane reads one after the other: a
    transpose. A loop over that axis inside takes from a few lines of the cache all they have.
    """
    if lane is None or len(order) < 2 or known_extent(lane) < 4 * _LINE or any(x.op == "fold" for x in nodes):
        return False
    along, beside = Lanes(lane), Lanes(order[-2])
    steps = [(along.stride(x.args[0]), beside.stride(x.args[0])) for x in nodes if x.op == "load"]
    return any(a not in (0, 1) and b == 1 for a, b in steps) and all(a is not None for a, _ in steps)


def _keeps_vectors(order: Sequence[Axis], lane: Axis | None, nodes: Sequence[Expr]) -> bool:
    """Whether several vectors are the same all along the axis next to the lane (the weights of a depthwise
    convolution), so that a loop over that axis inside finds them in registers.
    """
    if lane is None or len(order) < 2 or order[-1] is not lane or known_extent(order[-2]) < _KEPT[0]:
        return False
    if any(x.op == "fold" for x in nodes):
        return False
    moving = [x for x in nodes if order[-2] in x.axes]
    kept = {a for x in moving for a in x.args if a.dtype == F32 and lane in a.axes and order[-2] not in a.axes}
    return _KEPT[0] <= len(kept) <= _KEPT[1] and len(kept) >= sum(x.op == "load" for x in moving)


def _phases(f: Nests, phases: Sequence[Sequence[Target]]) -> None:
    for targets in phases:
        _body(f, targets)


def _load(ir: Builder, buffer: int, index: Expr) -> Expr:
    return ir._make("load", F32, (index,), buffer, None, None, index.axes)


def _roots(target: Target) -> list[Root]:
    found: list[Root] = [(target.address, ADDRESS), (target.value, VALUE)]
    return found if target.valid is None else [*found, (target.valid, CONDITION)]


def _unroll(f: Nests, axes: Sequence[Axis], lane: Axis | None, nodes: Sequence[Expr]) -> int:
    """Blocks of four lanes per round: several where folds run inside, so that whole cache lines are used, and where
    long computations of many elements gain from being interleaved.
    """
    if lane is None:
        return 1
    lanes = f.lane_of(lane)
    steps = [lanes.stride(x.args[0]) for x in nodes if x.op == "mem"]
    for x in nodes:
        lanes.stride(x)
    if lanes.wrapped or any(s is None for s in steps):
        return 1
    accumulators = sum(len(x.attr.accumulators) for x in nodes if x.op == "fold" and lane in x.axes)
    if accumulators:
        blocks = 4 if accumulators <= 2 else 2 if accumulators <= 4 else 1
    else:
        blocks = 2 if len(nodes) <= LIGHT else 4 if prod(map(known_extent, axes)) >= _LARGE else 1
    while isinstance(lane.extent, int) and lane.extent < 4 * blocks:
        blocks //= 2
    return max(1, blocks)


def _body(f: Nests, targets: Sequence[Target]) -> None:
    """What happens at one point: all values first, then the stores; stores with loops of their own in between."""
    single = [t for t in targets if not t.loops]
    if f.lane is not None and f.parts > 1:
        f.interleave([t.value for t in single])
    values = [[_value(f, t.value, part) for part in range(f.parts if f.lane else 1)] for t in single]
    by_loops: dict[tuple[Axis, ...], list[Target]] = {}
    for t in targets:
        if t.loops:
            by_loops.setdefault(t.loops, []).append(t)
    for loops, group in by_loops.items():
        roots = [root for t in group for root in _roots(t)]
        alone = f.lane is not None or any(t.in_order for t in group)
        inner = None if alone else loop_lane(loops, [e for e, _ in roots], may_reorder=False)
        unroll = _unroll(f, loops, inner, nodes_of([e for e, _ in roots]))
        mark = f.enter()
        f.nest(loops, roots, partial(_body, f, [replace(t, loops=()) for t in group]), inner, unroll)
        f.leave(mark)
    for t, locals_ in zip(single, values, strict=True):
        for part, local in enumerate(locals_):
            if f.lane is not None:
                f.store_vector(t, local, part)
            else:
                _store_scalar(f, t, local)


def _value(f: Nests, x: Expr, part: int) -> int:
    """A local with the value as it goes to memory: bool as 0 or 1."""
    if f.lane is None:
        return f.scalar_local(x) if x.op != "const" else _constant(f, x)
    if x.dtype != "bool":
        return f.vector_local(x, part)
    local = f.local(encode.V128)
    f.vector(x, part)
    f.code.v128(encode.u32_bytes(1) * 4).op("v128.and").set(local)
    return local


def _constant(f: Nests, x: Expr) -> int:
    local = f.local(wasm_type(x.dtype))
    f.scalar(x)
    f.code.set(local)
    return local


def _store_scalar(f: Nests, t: Target, local: int) -> None:
    code = f.code
    if t.valid is not None:
        f.scalar(t.valid)
        code.if_()
    inside = f.enter()
    f.scalar(t.address)
    code.get(local)
    code.memory("f32.store" if t.value.dtype == F32 else "i32.store", t.offset)
    f.leave(inside)
    if t.valid is not None:
        code.end()
