"""Fewer kernels per iteration for a GPU, where each is a dispatch.

absorb   a contraction whose result is read in equal slices by the kernel after it (a cell's gates) becomes part of that
         kernel: each point folds one element of every slice.
rotate   a contraction that ends an iteration and gives a carried value moves to the start of the next one: it reads
         what the last iteration stored, or, in the first, what the loop starts from.

Both work on kernels whose indices hold the iteration numbers already (`loops.shifted`), and keep what is stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..kernel.ir import Axis, Builder, Expr, Store, rewrite, store_roots, walk
from ..kernel.levels import relevel
from .kernels import MAX_BUFFERS, Closed, close
from .loops import Repeat, shifted

__all__ = ["fuse_loops"]

MOST_SLICES = 4  # folds of a point: more take the registers of all


@dataclass
class _Open:
    """A kernel whose loads name places."""

    name: str
    axes: tuple[Axis, ...]
    stores: list[tuple[Any, Store]]

    @property
    def ir(self) -> Builder:
        return self.stores[0][1].value.ir

    @property
    def roots(self) -> list[Expr]:
        return store_roots([s for _, s in self.stores])

    @property
    def loads(self) -> list[Expr]:
        return [x for x in walk(self.roots) if x.op == "load"]

    @property
    def has_fold(self) -> bool:
        return any(x.op == "fold" for x in walk(self.roots))

    def closed(self) -> Closed:
        """As a kernel."""
        return close(self.ir, self.name, self.axes, self.stores)


def fuse_loops(entries: Sequence[Any], depth: int = 0) -> list[Any]:
    """Kernels and loops with fewer kernels in the loops, and what has to be done after a loop instead."""
    made: list[Any] = []
    for entry in entries:
        if not isinstance(entry, Repeat):
            made.append(shifted(entry))
            continue
        kernels = [k for k in entry.body if isinstance(k, Closed)]
        local = {v for k in kernels for v in k.values if getattr(v, "kind", "") == "scratch"}
        body = fuse_loops(entry.body, depth + 1)
        if all(isinstance(k, Closed) for k in body):
            body = _absorbed(body, local)
            body, after = _rotated(body, entry, depth)
        else:
            after = []
        made += [replace(entry, body=body), *after]
    return made


def _open(closed: Closed) -> _Open:
    kernel, swap = closed.kernel, {}
    for x in walk(store_roots(list(kernel.stores))):
        if x.op == "load":
            args = tuple(rewrite(x.args, swap))
            axes = frozenset().union(*(a.axes for a in args))
            swap[x] = x.ir._make("load", x.dtype, args, closed.values[x.attr], None, None, axes)
    return _Open(kernel.name, kernel.axes, [(closed.values[s.buffer], _swapped(s, swap)) for s in kernel.stores])


def _swapped(s: Store, swap: dict[Expr, Expr], axes: dict[Axis, Axis] | None = None) -> Store:
    index, value = rewrite([s.index, s.value], swap)
    valid = None if s.valid is None else rewrite([s.valid], swap)[0]
    loops = tuple((axes or {}).get(a, a) for a in s.loops)
    return replace(s, index=index, value=relevel(index.ir, value), valid=valid, loops=loops)


# -- a contraction read in slices --------------------------------------------------------------------------------------


def _absorbed(body: list[Closed], local: set[Any]) -> list[Closed]:
    """`local`: memory that nothing outside of the loop reads."""
    made = list(body)
    i = 0
    while i + 1 < len(made):
        others = {v for k in (*made[:i], *made[i + 2 :]) for v in k.values}
        joined = _absorb(_open(made[i]), _open(made[i + 1]), local - others)
        if joined is None:
            i += 1
        else:
            made[i : i + 2] = [joined]
    return made


def _absorb(first: _Open, second: _Open, unread: set[Any]) -> Closed | None:
    """The second kernel with the first in it, if each point of the second reads elements that the first folds. What
    goes to `unread` memory is not stored.
    """
    if len(first.stores) != 1 or not first.has_fold or second.has_fold or len(first.axes) != len(second.axes):
        return None
    place, store = first.stores[0]
    if store.valid is not None or store.loops or any(s.loops or s.valid is not None for _, s in second.stores):
        return None
    loads = [x for x in second.loads if x.attr == place]
    slices = _slices(first, second)
    if not loads or slices is None or any(x.attr == place for x in first.loads):
        return None
    written = {p for p, _ in second.stores}
    if any(x.attr in written for x in first.loads if not _disjoint(x, second)):
        return None
    parts = [_swapped(store, swap) for swap in slices]
    swap: dict[Expr, Expr] = {}
    for x in loads:
        found = next((p for p in parts if x.args == (p.index,)), None)
        if found is None or found.value.dtype != x.dtype:
            return None
        swap[x] = found.value
    stores = [*((place, p) for p in parts if place not in unread), *((p, _swapped(s, swap)) for p, s in second.stores)]
    made = _Open(f"{first.name}+{second.name}", second.axes, stores).closed()
    return made if len(made.kernel.buffers) <= MAX_BUFFERS else None


def _disjoint(load: Expr, second: _Open) -> bool:
    """Whether the second kernel stores another version than the first reads: it is of this iteration."""
    stored = [s for p, s in second.stores if p == load.attr]
    return all(_iterations(s.index) and _iterations(load) and s.index is not load.args[0] for s in stored)


def _iterations(x: Expr) -> bool:
    return any(n.op == "iteration" for n in walk([x]))


def _slices(first: _Open, second: _Open) -> list[dict[Expr, Expr]] | None:
    """For each slice, what the axes of the first kernel are in terms of those of the second."""
    ir = second.ir
    *rows, wide = first.axes
    *others, narrow = second.axes
    if [a.extent for a in rows] != [a.extent for a in others]:
        return None
    if not isinstance(wide.extent, int) or not isinstance(narrow.extent, int) or narrow.extent < 2:
        return None
    count = wide.extent // narrow.extent
    if count * narrow.extent != wide.extent or not 1 < count <= MOST_SLICES:
        return None
    same = {ir.axis(a): ir.axis(b) for a, b in zip(rows, others, strict=True) if a.extent != 1}
    return [{**same, ir.axis(wide): ir.axis(narrow) + i * narrow.extent} for i in range(count)]


# -- a contraction at the end ------------------------------------------------------------------------------------------


def _rotated(body: list[Closed], loop: Repeat, depth: int) -> tuple[list[Closed], list[Closed]]:
    """The body with its last kernel in front, and that kernel once more after the loop if its result is needed."""
    if len(body) < 2:
        return body, []
    last, first = _open(body[-1]), _open(body[0])
    if not last.has_fold or first.has_fold or len(last.stores) != 1:
        return body, []
    place, store = last.stores[0]
    ir = first.ir
    n = ir.iteration(depth)
    readers = [k for k in body if place in k.values]
    same_axes = [a.extent for a in last.axes] == [a.extent for a in first.axes]
    if len(readers) != 2 or not same_axes or store.loops or store.valid is not None or place not in loop.carried:
        return body, []
    if any(s.loops or s.valid is not None for _, s in first.stores):
        return body, []
    swap = {ir.axis(a): ir.axis(b) for a, b in zip(last.axes, first.axes, strict=True) if a.extent != 1}
    before = _swapped(store, {**swap, n: n - 1})
    loads = [x for x in first.loads if x.attr == place]
    if any(x.args != (before.index,) or x.dtype != before.value.dtype for x in loads):
        return body, []
    written = {p for k in body for p, b in zip(k.values, k.kernel.buffers, strict=True) if b.written}
    if any(x.attr in written and not _iterations(x) for x in last.loads):
        return body, []  # memory of one iteration only: the next one writes over it
    guarded = _guarded(ir, store, {**swap, n: n - 1}, n)
    values = {x: ir.select(n.eq(0), x, guarded) for x in loads}
    stores = [(p, _swapped(s, values)) for p, s in first.stores]
    if any(x.attr == place for x in last.loads):  # it goes on from its own last version: that is stored too
        if not loads:
            return body, []
        stores.append((place, replace(before, value=values[loads[0]])))
    joined = _Open(f"{last.name}+{first.name}", first.axes, stores).closed()
    if len(joined.kernel.buffers) > MAX_BUFFERS:
        return body, []
    after = []
    if place not in loop.loose:
        end = _swapped(store, {n: ir.size(loop.count) - 1})
        after = [_Open(last.name, last.axes, [(place, end)]).closed()]
    return [joined, *body[1:-1]], after


def _guarded(ir: Builder, store: Store, swap: dict[Expr, Expr], n: Expr) -> Expr:
    """The value of the iteration before, with no loads in the first iteration."""
    there = n.ir.binary("ge", n, ir.const(1))
    for x in walk([store.value]):
        if x.op == "load" and _iterations(x):
            index, *valid = rewrite(x.args, swap)
            both = there if not valid else there & valid[0]
            swap[x] = ir._make("load", x.dtype, (index, both), x.attr, None, None, index.axes | both.axes)
    return relevel(ir, rewrite([store.value], swap)[0])
