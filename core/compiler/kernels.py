"""Placed values as kernels: each becomes a root (axes, one expression), and roots over the same points share a kernel.

Three ways to share: equal axes (siblings), a common row (folds over a row with stores along it), and a reduction
beside a contraction over the same elements (the bias gradient beside the weight gradient). Never across a dependency,
never above `MAX_BUFFERS` bindings.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ..graph.ir import State, Value
from ..kernel.ir import U32, Axis, Buffer, Builder, Expr, Kernel, Scalar, Store, rewrite, store_roots, walk
from ..kernel.levels import relevel
from ..shapes import Dim, Size, num_elements
from .fuse import splits
from .lower import Lowering, kernel_dtype
from .phases import contraction_in, guarded, split_axes, strides_of
from .scatter import scatter, scatters

MAX_BUFFERS = 8
MAX_EXPR_DEPTH = 160  # of what merging makes: emitters go down by recursion
SHORT_ROW, LONG_ROW = 64, 4096  # elements that one invocation walks: always, and where a sum walks as many


@dataclass(eq=False)
class Root:
    """One value to be stored: `expr` over `axes` (parallel) and `loops` (sequential), at row-major `index`."""

    value: Value
    axes: tuple[Axis, ...]
    loops: tuple[Axis, ...]
    index: Expr
    expr: Expr
    contraction: bool
    valid: Expr | None = None
    more: tuple[tuple[Expr, Expr], ...] = ()  # (index, expr) of further elements that the same point stores
    start: tuple[tuple[Axis, ...], Expr] | None = None  # loops, index: what is 0 before `expr` adds to it

    def loads(self) -> set[Value]:
        """The values it reads from memory, beside its own."""
        return {x.attr for x in walk(self.exprs) if x.op == "load"} - {self.value}

    @property
    def exprs(self) -> list[Expr]:
        """What it stores."""
        return [self.expr, *(expr for _, expr in self.more)]

    def moved(self, swap: dict[Axis, Axis], ir: Builder) -> Root:
        """The same over other axes."""
        exprs = {ir.axis(a): ir.axis(b) for a, b in swap.items() if a.extent != 1}
        index, expr, *more = rewrite([self.index, self.expr, *(x for pair in self.more for x in pair)], exprs)
        return replace(
            self,
            axes=tuple(swap.get(a, a) for a in self.axes),
            loops=tuple(swap.get(a, a) for a in self.loops),
            index=index,
            expr=expr,
            more=tuple(zip(more[::2], more[1::2], strict=True)),
        )


@dataclass(eq=False)
class Group:
    """Roots that one kernel computes."""

    roots: list[Root]
    axes: tuple[Axis, ...]
    special: Any = None  # a merged optimizer step
    reads: set[Value] = field(default_factory=set)

    def refresh(self) -> Group:
        """Collects what it reads."""
        self.reads = set().union(*(r.loads() for r in self.roots)) if self.roots else set()
        return self

    @property
    def values(self) -> list[Value]:
        """What it stores."""
        if self.special is not None:
            return [v for node in self.special.nodes for v in node.outputs]
        return [r.value for r in self.roots]

    @property
    def contraction(self) -> bool:
        return any(r.contraction for r in self.roots)


def make_root(lowering: Lowering, value: Value, expr_of: Value | None = None) -> Root:
    """Lowers a value over fresh axes, one per axis of its shape. `expr_of`: another value of that shape to copy."""
    ir = lowering.ir
    if expr_of is None and scatters(value):
        s = scatter(lowering, value)
        return Root(value, s.columns, s.rows, s.index, s.value, False, s.valid, start=(s.segments, s.first))
    if expr_of is None and splits(value.node) and (parts := _root_of_parts(lowering, value)) is not None:
        return parts
    contracted = contraction_in(value, lowering.placed) if expr_of is None else None
    if contracted is not None and (strides := strides_of(contracted, value)):
        return _root_of_phases(lowering, value, strides)
    axes = tuple(ir.new_axis(d) for d in value.sizes)
    at = tuple(ir.axis(a) for a in axes)
    expr = lowering._computed(value, at) if expr_of is None else lowering.element(expr_of, at)
    folds = [x for x in walk([expr]) if x.op == "fold"]
    contraction = bool(folds) and contracted is not None
    parallel, loops = [a for a in axes if a.extent != 1], []
    if folds and not contraction:
        used = frozenset().union(*(f.axes for f in folds))
        loops = [a for a in parallel if a not in used]  # of the last axis, or of another (softmax of columns)
        parallel = [a for a in parallel if a in used]
        if not parallel and loops and not used:  # folds over nothing parallel: stay parallel, the fold is shared work
            parallel, loops = loops, []
    return Root(value, tuple(parallel), tuple(loops), lowering.flat(value.sizes, at), expr, contraction)


def _root_of_parts(lowering: Lowering, value: Value) -> Root | None:
    """A concatenation of equal parts over the points of one part: each stores an element of every part."""
    assert value.node is not None
    ir, axis, parts = lowering.ir, value.node.attrs["axis"], value.node.inputs
    sizes = parts[0].sizes  # type: ignore[union-attr]
    axes = tuple(ir.new_axis(d) for d in sizes)
    at = tuple(ir.axis(a) for a in axes)
    pairs = []
    for i, part in enumerate(parts):
        moved = tuple(x + ir.size(sizes[axis]) * i if k == axis else x for k, x in enumerate(at))
        pairs.append((lowering.flat(value.sizes, moved), lowering.element(part, at)))  # type: ignore[arg-type]
    if any(x.op == "fold" for x in walk([e for _, e in pairs])):
        return None
    parallel = tuple(a for a in axes if a.extent != 1)
    return Root(value, parallel, (), *pairs[0], False, None, tuple(pairs[1:]))


def _root_of_phases(lowering: Lowering, value: Value, strides: Sequence[int]) -> Root:
    """A contraction of which each phase is a matrix product of its own (see phases.py)."""
    axes, at, valid = split_axes(lowering.ir, value.sizes, strides)
    expr = guarded(lowering._computed(value, at), valid)
    return Root(value, axes, (), lowering.flat(value.sizes, at), expr, True, None if valid.op == "const" else valid)


class Inner:
    """Which values only their own kernel reads: they need no memory. `kept` are needed elsewhere in any case."""

    def __init__(self, roots: Sequence[Root], kept: Container[Value]) -> None:
        self.kept = kept
        self.readers: dict[Value, set[Value]] = {}
        for r in roots:
            for v in r.loads():
                self.readers.setdefault(v, set()).add(r.value)

    def of(self, members: set[Value]) -> set[Value]:
        """Those among the values of one kernel."""
        return {v for v in members if v not in self.kept and v in self.readers and self.readers[v] <= members}


def merge_roots(roots: Sequence[Root], ir: Builder, written: dict[Value, State], merge: bool = True, *,
                steps: Sequence[Group] = (), alone: Container[Value] = (), kept: Container[Value] = ()) -> list[Group]:
    """The roots in kernels.

    `written`: values that become a state's; stored in place, they need no binding beside the old one. `steps`: kernels
    of their own, which stand between what they read and what reads their values. `alone`: values that may not join a
    kernel that is already there. `kept`: values that must be stored even if no other root reads them.
    """
    groups = list(steps)
    inner = Inner(roots, kept)
    for root in roots:
        if not (merge and root.value not in alone and _join(groups, root, ir, written, inner)):
            groups.append(Group([root], root.axes).refresh())
    for group in groups[len(steps) :] if merge else ():
        unread = inner.of(set(group.values))
        group.roots = [r for r in group.roots if r.value not in unread]
        group.refresh()
    return groups[len(steps) :]


def _join(groups: list[Group], root: Root, ir: Builder, written: dict[Value, State], inner: Inner) -> bool:
    """Puts the root into the first group that it fits; false if there is none."""
    loads = root.loads()
    if root.start is not None:
        return False
    for group in groups:
        if group.special is not None or group.roots[0].start is not None:
            continue
        if not (loads & (group.reads | set(group.values)) or _tiny(group, root)):
            continue
        members = {*group.values, root.value}
        bound = {written.get(v, v.state or v) for v in (loads | group.reads | members) - inner.of(members)}
        if len(bound) + (root.contraction or group.contraction) > MAX_BUFFERS:      # a contraction's workspace in WASM
            continue
        fitted = _fit(group, root, ir)
        if fitted is None:
            continue
        axes, roots = fitted
        forwarded = _forward(roots[-1], roots[:-1])
        if forwarded is None or _depends(groups, group, forwarded):
            continue
        group.roots, group.axes = [*roots[:-1], forwarded], axes
        group.refresh()
        return True
    return False


def _tiny(group: Group, root: Root) -> bool:
    """Kernels of one point each: worth a launch together even if they share nothing."""
    return not root.axes and not root.loops and not group.axes and not any(r.loops for r in group.roots)


def _forward(root: Root, others: Sequence[Root]) -> Root | None:
    """The root with what the others store at the same point taken from them instead of from memory; None if it
    reads elsewhere.
    """
    made = {r.value: r for r in others}
    swap: dict[Expr, Expr] = {}
    contraction = root.contraction
    for x in walk(root.exprs):
        if x.op != "load" or x.attr not in made:
            continue
        source = made[x.attr]
        if source.more and (found := _part_stored(source, x, root)) is not None:
            swap[x] = found
            continue
        if (
            x.args != (source.index,)
            or source.valid is not None
            or source.loops not in ((), root.loops)  # stored once per row, or at this very step along it
            or x.dtype != source.expr.dtype
        ):
            return None
        swap[x] = source.expr
        contraction = contraction or source.contraction
    if not swap:
        return root
    ir = root.expr.ir
    expr, *more = (relevel(ir, x) for x in rewrite(root.exprs, swap))
    pairs = tuple(zip((i for i, _ in root.more), more, strict=True))
    if max(_depth(x) for x in (expr, *more)) > MAX_EXPR_DEPTH:
        return None
    return replace(root, expr=expr, more=pairs, contraction=contraction)


def _depth(expr: Expr) -> int:
    """How many nodes are on the longest path of an expression; 0 if it is small."""
    nodes = walk([expr])
    if len(nodes) <= MAX_EXPR_DEPTH:
        return 0
    depth: dict[Expr, int] = {}
    for x in nodes:
        depth[x] = 1 + max([depth[a] for a in x.args], default=0)
    return depth[expr]


def _part_stored(source: Root, load: Expr, root: Root) -> Expr | None:
    """What a root of several elements stores where this load reads."""
    if source.valid is not None or source.loops != root.loops:
        return None
    stored = [(source.index, source.expr), *source.more]
    return next((x for i, x in stored if load.args == (i,) and x.dtype == load.dtype), None)


def _depends(groups: list[Group], group: Group, root: Root) -> bool:
    """Whether the root needs, by way of other groups, something this group stores. The reverse cannot be: roots
    come in order.
    """
    made_by = {v: g for g in groups for v in g.values}
    stack, seen = [made_by[v] for v in root.loads() if v in made_by], set()
    while stack:
        g = stack.pop()
        if g is group:
            return True
        if id(g) not in seen:
            seen.add(id(g))
            stack.extend(made_by[v] for v in g.reads if v in made_by)
    return False


def _fit(group: Group, root: Root, ir: Builder) -> tuple[tuple[Axis, ...], list[Root]] | None:
    """The axes and roots of the group with this root in it, last; None if it does not fit."""
    if root.contraction:
        return _around_contraction(group, root, ir) if not group.contraction else None
    if group.contraction:
        moved = _beside_contraction(group, root, ir) or _epilogue(group, root, ir)
        return None if moved is None else (group.axes, [*group.roots, moved])
    if [a.extent for a in group.axes] == [a.extent for a in root.axes]:
        moved = root.moved(dict(zip(root.axes, group.axes, strict=True)), ir)
        return group.axes, [*group.roots, _share_loops(group, moved, ir)]
    return _as_rows(group, root, ir)


def _as_rows(group: Group, root: Root, ir: Builder) -> tuple[tuple[Axis, ...], list[Root]] | None:
    """Both by the rows they have in common, the rest of the axes as loops."""
    rows = min(len(group.axes), len(root.axes))
    if rows == 0 or [a.extent for a in group.axes[:rows]] != [a.extent for a in root.axes[:rows]]:
        return None
    longer = group.roots if len(group.axes) > rows else [root]
    shorter = [root] if longer is group.roots else group.roots
    walked = _fold_length(shorter)
    if not walked or any(_tiles_badly(r, rows, walked) for r in longer):
        return None
    moved = root.moved(dict(zip(root.axes[:rows], group.axes[:rows], strict=True)), ir)
    moved = replace(moved, axes=moved.axes[:rows], loops=moved.axes[rows:] + moved.loops)
    changed = [replace(r, axes=r.axes[:rows], loops=r.axes[rows:] + r.loops) for r in group.roots]
    return group.axes[:rows], [*changed, _share_loops(Group(changed, group.axes[:rows]), moved, ir)]


def _around_contraction(group: Group, root: Root, ir: Builder) -> tuple[tuple[Axis, ...], list[Root]] | None:
    """A contraction that takes in sums which are already a group of their own."""
    around = Group([root], root.axes)
    for r in group.roots:
        moved = _beside_contraction(around, r, ir)
        if moved is None:
            return None
        around.roots.append(moved)
    return root.axes, [*around.roots[1:], root]


def _epilogue(group: Group, root: Root, ir: Builder) -> Root | None:
    """An elementwise root over the contraction's own points, which uses what the contraction stores."""
    if (
        [a.extent for a in group.axes] != [a.extent for a in root.axes]
        or _has_fold(root)
        or not root.loads() & set(group.values)
    ):
        return None
    return root.moved(dict(zip(root.axes, group.axes, strict=True)), ir)


def _has_fold(root: Root) -> bool:
    return any(x.op == "fold" for x in walk(root.exprs))


def _fold_length(roots: Sequence[Root]) -> int:
    """How long the longest walk is that these roots take anyway; 1 if its length is not known, 0 for none."""
    longest = 0
    for r in roots:
        for x in walk([r.expr]):
            if x.op == "fold":
                total = num_elements(a.extent for a in x.attr.axes)
                longest = max(longest, total if isinstance(total, int) else 1)
    return longest


def _tiles_badly(root: Root, rows: int, walked: int) -> bool:
    """Whether running this root row by row would lose much parallelism: its rows are long, and longer than those that
    are walked anyway.
    """
    total = num_elements(a.extent for a in root.axes[rows:])
    return not isinstance(total, int) or total > max(SHORT_ROW, min(walked, LONG_ROW))


def _share_loops(group: Group, root: Root, ir: Builder) -> Root:
    """Sequential loops of equal extents become the same axes, so that their bodies can share."""
    for other in group.roots:
        if root.loops and [a.extent for a in other.loops] == [a.extent for a in root.loops]:
            return root.moved(dict(zip(root.loops, other.loops, strict=True)), ir)
    return root


def _beside_contraction(group: Group, root: Root, ir: Builder) -> Root | None:
    """A sum over the elements that the contraction multiplies anyway: stored by the points whose other axes are 0. Such
    points must exist: an axis that may be empty when the program runs has none.
    """
    if root.loops or any(r.valid is not None for r in group.roots):
        return None
    side = [x for x in walk([root.expr]) if x.op == "fold"]
    main = [x for r in group.roots for x in walk([r.expr]) if x.op == "fold"]
    if (
        len(side) != 1
        or len(main) != 1
        or len(side[0].attr.accumulators) != 1
        or side[0].attr.accumulators[0].combine != "sum"
    ):
        return None
    if side[0].attr.axes != main[0].attr.axes or main[0].args[1].op != "mul" or not root.axes:
        return None
    for start in range(len(group.axes) - len(root.axes) + 1):
        axes = group.axes[start : start + len(root.axes)]
        others = [a for a in group.axes if a not in axes]
        if [a.extent for a in axes] != [a.extent for a in root.axes] or any(not _has_some(a.extent) for a in others):
            continue
        moved = root.moved(dict(zip(root.axes, axes, strict=True)), ir)
        fold = next(x for x in walk([moved.expr]) if x.op == "fold")
        if any(fold.args[1] is factor for factor in main[0].args[1].args):
            valid: Expr | None = None
            for other in others:
                zero = ir.axis(other).eq(0)
                valid = zero if valid is None else valid & zero
            return replace(moved, axes=group.axes, valid=valid)
    return None


def _has_some(size: Size) -> bool:
    """Whether a size is never 0, as far as is known."""
    return size > 0 if isinstance(size, int) else size.kind == "symbol" and size.args[1] > 0


# -- closing -----------------------------------------------------------------------------------------------------------


@dataclass
class Closed:
    """A kernel whose loads and stores name buffers by number, and the value behind each buffer."""

    kernel: Kernel
    values: list[Any]


def close(ir: Builder, name: str, axes: Sequence[Axis], stores: Sequence[tuple[Any, Store]]) -> Closed:
    """A Kernel of stores to places (any keys, equal for equal memory; `load.attr` are such keys too)."""
    made = [s for _, s in stores]
    roots = join_folds(ir, store_roots(made), axes)
    places: dict[Any, int] = {}
    dtypes: dict[Any, str] = {}
    nodes = walk(roots)
    for x in nodes:
        if x.op == "load":
            places.setdefault(x.attr, len(places))
            dtypes.setdefault(x.attr, x.dtype)
    supply = iter(roots)
    for place, _ in stores:
        places.setdefault(place, len(places))
    swap: dict[Expr, Expr] = {}
    for x in nodes:  # operands first: loads inside indices of loads are ready
        if x.op == "load":
            args = tuple(rewrite(x.args, swap))
            swap[x] = ir._make("load", x.dtype, args, places[x.attr], None, None, x.axes)
    final = []
    for place, s in stores:
        index, value = rewrite([next(supply), next(supply)], swap)
        valid = None if s.valid is None else rewrite([next(supply)], swap)[0]
        if value.dtype == "bool":
            value = ir.cast(value, U32)
        dtypes.setdefault(place, value.dtype)
        final.append(Store(places[place], index, value, valid, s.loops))
    written = {s.buffer for s in final}
    buffers = tuple(Buffer(f"b{i}", dtypes[p], i in written) for p, i in places.items())
    sizes, scalars = _uniforms(axes, final)
    return Closed(Kernel(name, tuple(axes), tuple(final), buffers, sizes, scalars), list(places))


def _uniforms(axes: Sequence[Axis], stores: Sequence[Store]) -> tuple[tuple[Dim, ...], tuple[Scalar, ...]]:
    sizes: dict[Dim, None] = {}
    scalars: dict[Scalar, None] = {}
    loops = [a for s in stores for a in s.loops]
    for a in (*axes, *loops):
        if isinstance(a.extent, Dim):
            sizes[a.extent] = None
    for x in walk(store_roots(stores)):
        if x.op == "size":
            sizes[x.attr] = None
        elif x.op == "scalar":
            scalars[x.attr[0]] = None
        elif x.op == "fold":
            sizes.update((a.extent, None) for a in x.attr.axes if isinstance(a.extent, Dim))
    return tuple(sizes), tuple(scalars)


def join_folds(ir: Builder, roots: Sequence[Expr], axes: Sequence[Axis]) -> list[Expr]:
    """Folds over the same axes that do not need each other become one loop with several accumulators.

    One that varies along fewer of the kernel's axes may join; one outside a store's own loop cannot join one inside it.
    """
    parallel = frozenset(axes)
    folds = [x for x in walk(roots) if x.op == "fold" and all(a.combine != "custom" for a in x.attr.accumulators)]
    by_axes: dict[Any, list[Expr]] = {}
    for f in folds:
        by_axes.setdefault(f.attr.axes, []).append(f)
    swap: dict[Expr, Expr] = {}
    for group in by_axes.values():
        widest = max(group, key=lambda f: len(f.axes))
        members = [
            f
            for f in group
            if f.axes <= widest.axes
            and widest.axes - f.axes <= parallel
            and (f.axes == widest.axes or f.args[1] in widest.args[-1].args)
        ]
        if len(members) < 2 or any(f in walk(g.args) for f in members for g in members if f is not g):
            continue
        _join_members(ir, members, swap)
    return rewrite(roots, swap) if swap else list(roots)


def _join_members(ir: Builder, members: Sequence[Expr], swap: dict[Expr, Expr]) -> None:
    spec = members[0].attr
    accumulators = tuple(a for f in members for a in f.attr.accumulators)
    starts = [x for f in members for x in f.args[: len(f.attr.accumulators)]]
    values = [x for f in members for x in f.args[len(f.attr.accumulators) :]]
    joined = replace(spec, accumulators=accumulators, level=max(f.attr.level for f in members))
    args = (*starts, *values)
    free = frozenset().union(*(x.axes for x in args)) - frozenset(spec.axes)
    loop = ir._make("fold", "tuple", args, joined, None, None, free, (spec.axes, accumulators, None))
    position = 0
    for f in members:
        for i, a in enumerate(f.attr.accumulators):
            old = ir._make("out", a.dtype, (f,), i, None, None, f.axes)
            swap[old] = ir._make("out", a.dtype, (loop,), position, None, None, free)
            position += 1


def name_of(values: Sequence[Value]) -> str:
    """A short name for people: the ops that end in this kernel."""
    names = [v.node.op.name if v.node else "copy" for v in values]
    return "+".join(dict.fromkeys(names))


__all__ = ["MAX_BUFFERS", "Closed", "Group", "Root", "close", "kernel_dtype", "make_root", "merge_roots", "name_of"]
