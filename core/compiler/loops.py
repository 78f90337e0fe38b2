"""Loops in a schedule: the body of a scan is scheduled by itself, its memory tied to that of the surrounding graph.

A carried value lives in a region with a slot for each of its versions (two, used in turns, if nobody needs them all);
iteration n reads slot n and stores slot n + 1. Slices and results lie in their stacks. So a kernel of the body is an
ordinary kernel whose buffers begin at another place in each iteration: `Part` says where. A WASM program adds that to
addresses; a WGSL kernel adds it to indices (`shifted`), because storage bindings cannot move that finely.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ..graph.ir import Graph, Node, Value
from ..kernel.ir import Builder, Expr, Store, rewrite, store_roots, walk
from ..shapes import Dim, Size, num_elements
from .kernels import Closed, close

__all__ = ["MAX_DEPTH", "START", "LoopGroup", "Part", "Repeat", "Shift", "copies_of", "dims_of", "flat", "loop_group",
           "parts_of", "shifted", "tied"]

START = "start"  # the name of kernels that copy what a loop starts from
MAX_DEPTH = 4  # of loops in each other: as many iteration numbers may be bound


@dataclass(frozen=True)
class Shift:
    """How the start of a buffer moves: `stride` elements times a number that follows from the iteration n.

    `kind`: "now" n; "next" n + 1; "back" length - 1 - n; "turn" n % 2; "other" (n + 1) % 2; "fixed": `length`, whatever
    the iteration is.
    """

    kind: str
    stride: Size
    depth: int
    length: Size = 0

    def number(self, ir: Builder) -> Expr:
        """The number as an index expression."""
        if self.kind == "fixed":
            return ir.size(self.length)
        n = ir.iteration(self.depth)
        if self.kind == "next":
            return n + 1
        if self.kind == "back":
            return ir.size(self.length) - 1 - n
        return {"now": n, "turn": n % 2, "other": (n + 1) % 2}[self.kind]

    def at(self, n: int, length: int) -> int:
        """The number in iteration n."""
        return {"now": n, "next": n + 1, "back": length - 1 - n, "turn": n % 2, "other": (n + 1) % 2,
                "fixed": length}[self.kind]


@dataclass(frozen=True)
class Part:
    """A part of a place that moves with the iterations."""

    place: Any
    shifts: tuple[Shift, ...]


@dataclass
class Repeat:
    """`body` (kernels whose buffers are Places and Parts, and Repeats) `count` times.

    `carried`: memory of carried values of which at most the last version is read after the loop; `loose`: not even
    that.
    """

    count: Size
    body: list[Any] = field(default_factory=list)
    carried: frozenset[Any] = frozenset()
    loose: frozenset[Any] = frozenset()


def flat(entries: Sequence[Any]) -> list[Closed]:
    """The kernels among kernels and loops, those of a loop once."""
    return [k for e in entries for k in (flat(e.body) if isinstance(e, Repeat) else [e])]


@dataclass(eq=False)
class LoopGroup:
    """A scan in the order of the kernels. `buffers` are what stands for the memory of its carried values."""

    node: Node
    buffers: list[Value]
    given: list[Value]  # slices and constants, as they have memory

    @property
    def nodes(self) -> list[Node]:
        """As a merged optimizer step has them."""
        return [self.node]

    @property
    def graph(self) -> Graph:
        """The body's."""
        return self.node.attrs["body"].graph  # type: ignore[no-any-return]


def loop_group(node: Node) -> LoopGroup:
    """The loop of a scan, with memory for its carried values: their history, or two versions."""
    attrs = node.attrs
    carried, history = attrs["carried"], attrs["history"]
    versions = iter(node.outputs[carried:])
    buffers = []
    for v, h in zip(attrs["body"].graph.inputs[:carried], history, strict=True):
        buffers.append(next(versions) if h else Value((2, *v.sizes), v.dtype, label=f"{v.label}:turns"))
    return LoopGroup(node, buffers, list(node.inputs[carried:]))  # type: ignore[arg-type]


def parts_of(group: LoopGroup, depth: int, place_of: Any) -> dict[tuple[str, Any], Any]:
    """(kind, key) of the body's own places -> the part of the surrounding memory that is meant."""
    attrs, graph = group.node.attrs, group.graph
    carried, stacked, length = attrs["carried"], attrs["stacked"], attrs["length"]
    found: dict[tuple[str, Any], Any] = {}
    slices = "back" if attrs["reverse"] else "now"
    for j, (v, buffer) in enumerate(zip(graph.inputs, group.buffers, strict=False)):
        size = num_elements(v.sizes)
        old, new = ("now", "next") if attrs["history"][j] else ("turn", "other")
        found["input", v] = Part(place_of(buffer), (Shift(old, size, depth, length),))
        found["output", j] = Part(place_of(buffer), (Shift(new, size, depth, length),))
    for i, (v, outer) in enumerate(zip(graph.inputs[carried:], group.given, strict=True)):
        found["input", v] = place_of(outer)
        if i < stacked:
            found["input", v] = Part(place_of(outer), (Shift(slices, num_elements(v.sizes), depth, length),))
    versions = sum(attrs["history"])
    for i, v in enumerate(graph.outputs[carried:], start=carried):
        place = place_of(group.node.outputs[i + versions])
        found["output", i] = Part(place, (Shift(slices, num_elements(v.sizes), depth, length),))
    return found


def tied(closed: Any, parts: dict[Any, Any]) -> Any:
    """A kernel (or loop) of the body with its places exchanged for those of the surrounding graph."""
    if isinstance(closed, Repeat):
        return replace(closed, body=[tied(c, parts) for c in closed.body], carried=frozenset(), loose=frozenset())
    values = []
    for value in closed.values:
        inner, shifts = (value.place, value.shifts) if isinstance(value, Part) else (value, ())
        outer = parts.get(inner, inner)
        if isinstance(outer, Part):
            values.append(Part(outer.place, outer.shifts + shifts))
        else:
            values.append(Part(outer, shifts) if shifts else outer)
    return Closed(closed.kernel, values)


def shifted(closed: Closed) -> Closed:
    """The kernel with whole places as buffers, its indices moved by the iteration numbers; equal places once."""
    if not any(isinstance(v, Part) for v in closed.values):
        return closed
    kernel = closed.kernel
    roots = store_roots(list(kernel.stores))
    ir = roots[0].ir

    def moved(buffer: int, index: Expr) -> tuple[Any, Expr]:
        value = closed.values[buffer]
        if not isinstance(value, Part):
            return value, index
        for s in value.shifts:
            factors, constant = _factors(s.stride)
            part = s.number(ir)
            for f in factors:
                part = part * ir.size(f)
            index = index + part * constant
        return value.place, index

    swap: dict[Expr, Expr] = {}
    for x in walk(roots):
        if x.op == "load":
            index, *valid = rewrite(x.args, swap)
            place, index = moved(x.attr, index)
            args = (index, *valid)
            axes = frozenset().union(*(a.axes for a in args))
            swap[x] = ir._make("load", x.dtype, args, place, None, None, axes)
    stores = []
    for s in kernel.stores:
        index, value = rewrite([s.index, s.value], swap)
        valid = None if s.valid is None else rewrite([s.valid], swap)[0]
        place, index = moved(s.buffer, index)
        stores.append((place, Store(0, index, value, valid, s.loops)))
    return close(ir, kernel.name, kernel.axes, stores)


def _factors(size: Size) -> tuple[list[Size], int]:
    """A size as symbols and a number to be multiplied, so that a multiple of four is seen as one."""
    if isinstance(size, int):
        return [], size
    if size.kind == "mul":
        parts = [_factors(x) for x in size.args]
        return [f for found, _ in parts for f in found], parts[0][1] * parts[1][1]
    if size.kind == "sum" and len(size.args) == 2 and size.args[1] == 0:
        (term, factor), _ = size.args
        factors, constant = _factors(term)
        return factors, constant * factor
    return [size], 1


def copies_of(pairs: Sequence[tuple[Any, Any]]) -> list[list[int]]:
    """Which of these (axes, anything) can be stored by one kernel: those over equal extents, a few at a time."""
    groups: dict[tuple[Size, ...], list[list[int]]] = {}
    for i, (root, _) in enumerate(pairs):
        key = tuple(a.extent for a in root.axes) if not root.loops else (i, -1)
        found = groups.setdefault(key, [[]])
        if len(found[-1]) == 3:
            found.append([])
        found[-1].append(i)
    return [g for found in groups.values() for g in found]


def dims_of(count: Size, kernels: Sequence[Closed]) -> list[Dim]:
    """The sizes that a WASM program needs to walk these kernels: the count, and how far their buffers move."""
    sizes: list[Any] = [count]
    for closed in kernels:
        for v in closed.values:
            if isinstance(v, Part):
                sizes += [x for s in v.shifts for x in (s.stride, s.length)]
    return list(dict.fromkeys(x for x in sizes if isinstance(x, Dim)))
