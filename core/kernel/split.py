"""Splits a long reduction with few results into two kernels, so that a GPU has enough to do.

The first kernel reduces `chunks` parts of the fold, each at every point; the second reduces the parts and does all else
that the kernel did. The number of chunks is static while the sizes may be symbols: the last chunks may be partly or
wholly empty. Works for plain reductions (a loss, bias gradients, BatchNorm's statistics) and for contractions
(gradients of filters).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..shapes import Dim, Size, ceil_div, num_elements
from .ir import Axis, Buffer, Builder, Expr, Kernel, Scalar, Store, rewrite, store_roots, walk

__all__ = ["Scratch", "Split", "guess", "renumber", "separate", "should_split", "split_reduction", "split_start"]

MIN_PARALLEL = 2048         # invocations below which a GPU idles
MIN_CHUNKS, MAX_CHUNKS = 4, 64
MIN_TRIPS = 16              # a chunk shorter than this is not worth a partial result
LONG = 1024                 # a shorter fold is over before a second dispatch would have started
TILE = 64                   # results that one invocation of a contraction computes
GUESS = 64                  # what a symbolic size is taken for


@dataclass(frozen=True, eq=False)
class Scratch:
    """Memory between the two kernels: `elements` of `dtype`."""

    dtype: str
    elements: Size


@dataclass(frozen=True)
class Split:
    """Two kernels in order. `places` say what their buffers are: buffer numbers of the original kernel, or Scratch."""

    first: Kernel
    second: Kernel
    first_places: tuple[int | Scratch, ...]
    second_places: tuple[int | Scratch, ...]


def guess(size: Size) -> int:
    """A likely value of a size."""
    if isinstance(size, int):
        return size
    return size.evaluate({s.args[0]: min(max(GUESS, s.args[1]), s.args[2]) for s in size.symbols()})


def separate(kernel: Kernel) -> Kernel:
    """The kernel with a fold of its own for every sum of a shared loop that depends on other axes than its siblings.

    A bias gradient beside a weight gradient is then computed, stored and split once, not for every row of the weights.
    Emitters write folds of one loop as one loop again.
    """
    swap: dict[Expr, Expr] = {}
    for x in walk(store_roots(kernel.stores)):
        if x.op == "out" and _is_mixed(x.args[0]):
            fold, number, count = x.args[0], int(x.attr), len(x.args[0].attr.accumulators)
            args = (fold.args[number], fold.args[count + number])
            spec = replace(fold.attr, accumulators=(fold.attr.accumulators[number],))
            axes = (args[0].axes | args[1].axes) - frozenset(spec.axes)
            alone = x.ir._make("fold", "tuple", args, spec, None, None, axes, (spec.axes, spec.accumulators, None))
            swap[x] = x.ir._make("out", x.dtype, (alone,), 0, None, None, axes)
    return replace(kernel, stores=tuple(_rewritten(s, swap) for s in kernel.stores)) if swap else kernel


def _is_mixed(fold: Expr) -> bool:
    """Whether the accumulators of a fold depend on different axes, and none on another."""
    count = len(fold.attr.accumulators)
    if count < 2 or any(a.combine == "custom" for a in fold.attr.accumulators):
        return False
    return len({value.axes - frozenset(fold.attr.axes) for value in fold.args[count:]}) > 1


def should_split(kernel: Kernel) -> int | None:
    """The number of chunks that pays, or None."""
    folds = _splittable(kernel)
    if not folds:
        return None
    trips = guess(num_elements(a.extent for a in folds[0].attr.axes))
    points = guess(num_elements(a.extent for a in kernel.axes))
    if trips < LONG:
        return None
    parallel = max(1, points // (TILE if _shares_loads(kernel, folds) else 1))
    chunks = min(MAX_CHUNKS, MIN_PARALLEL // parallel, trips // MIN_TRIPS)
    if chunks < MIN_CHUNKS:
        return None
    axes = folds[0].attr.axes
    fewer = range(chunks, chunks // 2, -1)              # rather a few less than a remainder, which is masked
    return next((c for c in fewer if _divides(c, _leading(axes, c))), chunks)


def _divides(by: int, axes: Sequence[Axis]) -> bool:
    total = num_elements(a.extent for a in axes)
    return ceil_div(total, by) * by == total


def _leading(axes: tuple[Axis, ...], chunks: int) -> tuple[Axis, ...]:
    """The outermost axes of a fold that are cut into chunks: enough of them that chunks have some length."""
    lead = 1
    while lead < len(axes) and guess(num_elements(a.extent for a in axes[:lead])) < 4 * chunks:
        lead += 1
    return axes[:lead]


def split_reduction(kernel: Kernel, chunks: int) -> Split | None:
    """Splits the folds of a kernel into `chunks` parts, or None if it has folds that cannot be split."""
    folds = _splittable(kernel)
    if not folds or chunks < 2:
        return None
    ir: Builder = folds[0].ir
    planes = _Planes(kernel, chunks)
    part = ir.new_axis(chunks, "part")
    stores: list[Store] = []
    swap: dict[Expr, Expr] = {}
    for fold in folds:
        partial = _partial(fold, part, chunks)
        for number, accumulator in enumerate(fold.attr.accumulators):
            plane = planes.add(fold, accumulator.dtype)
            stores.append(plane.store(partial[number], ir.axis(part)))
            out = ir._make("out", accumulator.dtype, (fold,), number, None, None, fold.axes)
            swap[out] = ir.reduce(accumulator.combine, [chunks], lambda c, plane=plane: plane.load(c))
    scratch = planes.scratch()
    first = replace(kernel, name=f"{kernel.name}_parts", axes=(part, *kernel.axes), stores=tuple(stores))
    joined = tuple(_rewritten(s, swap) for s in kernel.stores)
    second = replace(kernel, name=f"{kernel.name}_join", stores=joined, flops=0)
    first, first_places = _close(first, scratch)
    second, second_places = _close(second, scratch)
    return Split(first, second, first_places, second_places)


def split_start(kernel: Kernel) -> list[tuple[Kernel, list[int]]]:
    """A kernel that first sets in a loop what it then adds to: the setting as a kernel of its own, at all elements at
    once. Each with the buffers that it uses.
    """
    first, *rest = kernel.stores
    if not (rest and first.loops and first.value.op == "const" and any(s.buffer == first.buffer for s in rest)):
        return [(kernel, list(range(len(kernel.buffers))))]
    filled = replace(first, loops=())
    start = replace(kernel, name=f"{kernel.name}_start", axes=(*first.loops, *kernel.axes), stores=(filled,), flops=0)
    return [renumber(start), renumber(replace(kernel, stores=tuple(rest)))]


def renumber(kernel: Kernel) -> tuple[Kernel, list[int]]:
    """The kernel with only the buffers that it uses, and which of them these are."""
    closed, places = _close(kernel, {})
    return closed, list(places)  # type: ignore[arg-type]


def _splittable(kernel: Kernel) -> list[Expr]:
    """The outermost folds, if all have the same loop, reduce only, and none needs another."""
    if any(s.loops for s in kernel.stores):
        return []
    order = walk(store_roots(kernel.stores))
    inner: set[Expr] = set()
    for x in order:
        if x.op == "fold":
            inner.update(n for n in walk(list(x.args)) if n.op == "fold")
    folds = [x for x in order if x.op == "fold" and x not in inner]
    same = {f.attr.axes for f in folds}
    if len(same) != 1 or any(n.attr.level >= folds[0].attr.level for n in inner):
        return []
    for f in folds:
        count = len(f.attr.accumulators)
        for accumulator, start in zip(f.attr.accumulators, f.args[:count], strict=True):
            if accumulator.combine == "custom" or start is not f.ir.neutral(accumulator):
                return []
        if any(not n.axes & set(f.attr.axes) for v in f.args[count:] for n in walk([v]) if n.op == "fold"):
            return []                   # a fold that is the same in every iteration: each chunk would do it again
    return folds


def _shares_loads(kernel: Kernel, folds: Sequence[Expr]) -> bool:
    """Whether loads of a fold depend on different axes, so that an invocation computes a tile of results."""
    parallel = set(kernel.axes)
    return any(len({frozenset(x.axes & parallel) for x in walk(list(f.args)) if x.op == "load"}) > 1 for f in folds)


def _partial(fold: Expr, part: Axis, chunks: int) -> list[Expr]:
    """The results of one part of a fold: a range of the leading loop axes, taken as one axis."""
    ir, spec = fold.ir, fold.attr
    leading = _leading(spec.axes, chunks)
    rest = spec.axes[len(leading):]
    total = num_elements(a.extent for a in leading)
    length = ceil_div(total, chunks)
    exact = length * chunks == total
    count = len(spec.accumulators)

    def body(*at: Expr) -> list[tuple[str, Expr]]:
        place = ir.axis(part) * ir.size(length) + at[0]
        end = ir.size(total)
        inside = None if exact else place < end
        swap = _unflatten(ir, place if exact else ir.binary("min", place, end - 1), leading)
        swap.update((ir.axis(a), x) for a, x in zip(rest, at[1:], strict=True) if a.extent != 1)
        values = rewrite(fold.args[count:], swap)
        if inside is not None:
            neutral = map(ir.neutral, spec.accumulators)
            values = [ir.select(inside, v, n) for v, n in zip(values, neutral, strict=True)]
        return [(a.combine, v) for a, v in zip(spec.accumulators, values, strict=True)]

    return list(ir.fold([length, *(a.extent for a in rest)], body))


def _unflatten(ir: Builder, place: Expr, axes: Sequence[Axis]) -> dict[Expr, Expr]:
    swap: dict[Expr, Expr] = {}
    for number, axis in reversed(list(enumerate(axes))):
        if axis.extent == 1:
            continue
        extent = ir.size(axis.extent)
        swap[ir.axis(axis)] = place if number == 0 else place % extent
        place = place // extent
    return swap


@dataclass
class _Plane:
    """Where the parts of one accumulator lie: [chunks, points of the axes it depends on], from `base` on."""

    key: Scratch
    dtype: str
    axes: tuple[Axis, ...]
    others: tuple[Axis, ...]
    base: Size
    ir: Builder

    def index(self, part: Expr) -> Expr:
        """The element of a part at this point."""
        at = part
        for axis in self.axes:
            at = at * self.ir.size(axis.extent) + self.ir.axis(axis)
        return self.ir.size(self.base) + at

    def store(self, value: Expr, part: Expr) -> Store:
        """Stores a part, once for all the points that have the same."""
        valid = None
        for axis in self.others:
            first = self.ir.axis(axis).eq(self.ir.const(0))
            valid = first if valid is None else valid & first
        return Store(self.key, self.index(part), value, valid)  # type: ignore[arg-type]

    def load(self, part: Expr) -> Expr:
        """Loads a part."""
        return self.ir.load(self.key, self.dtype, self.index(part))


class _Planes:
    """All parts, in one scratch buffer for each dtype."""

    def __init__(self, kernel: Kernel, chunks: int) -> None:
        self.kernel, self.chunks = kernel, chunks
        self.ends: dict[str, Size] = {}
        self.keys: dict[str, Scratch] = {}

    def add(self, fold: Expr, dtype: str) -> _Plane:
        """Memory for one more accumulator."""
        axes = tuple(a for a in self.kernel.axes if a in fold.axes)
        others = tuple(a for a in self.kernel.axes if a not in fold.axes and a.extent != 1)
        base = self.ends.get(dtype, 0)
        self.ends[dtype] = base + num_elements(a.extent for a in axes) * self.chunks
        key = self.keys.setdefault(dtype, Scratch(dtype, 0))
        return _Plane(key, dtype, axes, others, base, fold.ir)

    def scratch(self) -> dict[Scratch, Scratch]:
        """The keys used so far, each with the scratch of its final size."""
        return {key: Scratch(dtype, self.ends[dtype]) for dtype, key in self.keys.items()}


def _rewritten(s: Store, swap: dict[Expr, Expr]) -> Store:
    index, value = rewrite([s.index, s.value], swap)
    return replace(s, index=index, value=value, valid=None if s.valid is None else rewrite([s.valid], swap)[0])


def _close(kernel: Kernel, scratch: dict[Scratch, Scratch]) -> tuple[Kernel, tuple[int | Scratch, ...]]:
    """Numbers the buffers that a kernel uses, and lists the sizes and scalars that it needs."""
    order = walk(store_roots(kernel.stores))
    loads = [x for x in order if x.op == "load"]
    written: set[int | Scratch] = {s.buffer for s in kernel.stores}
    used = {x.attr for x in loads} | written
    keys: list[int | Scratch] = [b for b in range(len(kernel.buffers)) if b in used] + [s for s in scratch if s in used]
    number = {key: i for i, key in enumerate(keys)}
    buffers = tuple(replace(kernel.buffers[k], written=k in written) if isinstance(k, int)
                    else Buffer("parts", k.dtype, k in written) for k in keys)
    stores = tuple(replace(s, buffer=number[s.buffer]) for s in _renumbered(kernel.stores, order, number))
    sizes, scalars = _sizes(kernel.axes, stores), _scalars(kernel, order)
    closed = replace(kernel, stores=stores, buffers=buffers, sizes=sizes, scalars=scalars)
    return closed, tuple(scratch.get(k, k) if isinstance(k, Scratch) else k for k in keys)


def _renumbered(stores: Sequence[Store], order: Sequence[Expr], number: dict[int | Scratch, int]) -> list[Store]:
    """The stores with every load's buffer renumbered, innermost loads first."""
    done: dict[Expr, Expr] = {}
    for x in order:
        if x.op == "load":
            args = tuple(rewrite(list(x.args), done))
            axes = frozenset().union(*(a.axes for a in args))
            done[x] = x.ir._make("load", x.dtype, args, number[x.attr], None, None, axes)
    return [_rewritten(s, done) for s in stores]


def _sizes(axes: Sequence[Axis], stores: Sequence[Store]) -> tuple[Dim, ...]:
    found: dict[Dim, None] = {}
    loops = list(axes)
    for x in walk(store_roots(stores)):
        if x.op == "size":
            found.setdefault(x.attr)
        elif x.op == "fold":
            loops += x.attr.axes
    for axis in loops:
        if isinstance(axis.extent, Dim):
            found.setdefault(axis.extent)
    return tuple(found)


def _scalars(kernel: Kernel, order: Sequence[Expr]) -> tuple[Scalar, ...]:
    used = {x.attr[0] for x in order if x.op == "scalar"}
    return tuple(s for s in kernel.scalars if s in used)
