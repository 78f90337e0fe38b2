"""Orders the kernels of a graph and says where each value is stored: in scratch memory, in an output, or in place in a
state.

A state is overwritten in place when every kernel that reads its old value can run before; a kernel that reads it
itself must read only the element it stores. Otherwise the new value goes to scratch and is copied at the end.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ..errors import UnimplementedError
from ..graph.ir import Graph, Node, State, Value, uses
from ..kernel.ir import Axis, Builder, Store, rewrite, store_roots, walk
from ..shapes import num_elements
from .fuse import Fusion, choose_placed, is_control
from .kernels import MAX_BUFFERS, Closed, Group, Root, close, make_root, merge_roots, name_of
from .layout import StepGroup
from .loops import MAX_DEPTH, START, LoopGroup, Part, Repeat, Shift, copies_of, loop_group, parts_of, tied
from .lower import Lowering

LANES = 64  # elements of one aligned block: what a row of a merged optimizer step covers


@dataclass(frozen=True, eq=False)
class Place:
    """A key for memory: "input", "constant" and "scratch" hold `what` (a Value), "output" has a position, "state" a
    State,
    "gradient" is (chunk key, State), "chunk" a chunk's key, "private" the key of a chunk of gradients."""

    kind: str
    what: Any

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Place) or self.kind != other.kind:
            return False
        if self.what is other.what or isinstance(self.what, Value):  # `==` of two Values would build an `equal`
            return self.what is other.what
        return bool(self.what == other.what)

    def __hash__(self) -> int:
        return hash((self.kind, self.what))


@dataclass
class Schedule:
    """Closed kernels and loops of them, in order; each buffer is a Place, or a Part of one inside a loop."""

    kernels: list[Any] = field(default_factory=list)
    fused: bool = True


def schedule(graph: Graph, steps: Sequence[StepGroup], fuse: bool = True) -> Schedule:
    """The kernels of a graph of primitives. `fuse` false: one kernel per value (to prove fusion neutral)."""
    fusion = choose_placed(graph, fuse)
    return _Scheduler(graph, fusion, steps, fuse).run()


class _Scheduler:
    def __init__(
        self, graph: Graph, fusion: Fusion, steps: Sequence[StepGroup], fuse: bool, ir: Builder | None = None,
        depth: int = 0,
    ) -> None:
        self.graph, self.fusion, self.steps, self.fuse, self.depth = graph, fusion, steps, fuse, depth
        self.ir = ir or Builder()
        inputs = graph.inputs if depth else ()  # those of a loop's body are in memory, scalars too
        self.lowering = Lowering(self.ir, {**fusion.placed, **dict.fromkeys(inputs)})
        self.loops = [n for n in graph.nodes if is_control(n)]
        stepped = [n for s in steps for n in s.nodes]
        self.stepped = {v for n in (*stepped, *self.loops) for v in n.outputs}
        self._start([])

    def _start(self, groups: list[Group]) -> None:
        """Forgets all places."""
        self.groups = groups
        self.maker = {v: g for g in groups for v in g.values}
        self.reading: dict[State, list[Group]] = {}
        for g in groups:
            self._note_reads(g)
        self.homes: dict[Value, Place] = {}
        self.more: dict[Value, list[Place]] = {}
        self.overwrites: dict[int, list[State]] = {}  # by identity of the group: states it stores in place
        self.feeds: dict[str, list[Group]] = {}  # by key of an optimizer step: copies that bring it gradients

    def _note_reads(self, group: Group) -> None:
        for v in group.reads:
            if v.state is not None:
                self.reading.setdefault(v.state, []).append(group)

    def run(self) -> Schedule:
        roots = [make_root(self.lowering, v) for v in self.fusion.placed if v not in self.stepped]
        written = {v: s for s, v in self.graph.writes}
        alone: set[Value] = set()
        while True:
            steps = [*(self._step_group(s) for s in self.steps), *(self._loop_group(n) for n in self.loops)]
            kept = self._kept(steps)
            groups = merge_roots(roots, self.ir, written, self.fuse, steps=steps, alone=alone, kept=kept)
            self._start([*groups, *steps])
            self._choose_homes()
            # a value with several places, or not stored in place after all, takes more bindings than merging assumed
            full = [g for g in groups if len(g.roots) > 1 and self._bindings(g) > MAX_BUFFERS]
            if not full:
                return Schedule([k for g in self._order() for k in self._close(g)], self.fuse)
            alone |= {g.roots[-1].value for g in full}

    def _kept(self, steps: Sequence[Group]) -> set[Value]:
        """What must be stored whichever kernels read it: results, what steps and loops read, what copies read."""
        found = set(self.graph.results).union(*(g.reads for g in steps))
        for v in list(found):
            if v.node is not None and not self._is_stored(v) and v not in self.stepped:
                found |= make_root(self.lowering, Value(v.sizes, v.dtype), expr_of=v).loads()
        return found

    # -- places --------------------------------------------------------------------------------------------------------

    def _choose_homes(self) -> None:
        """Where each stored value lives, and where else it must go."""
        for group in [g for g in self.groups if isinstance(g.special, StepGroup)]:
            self._choose_step_homes(group)
        for group in [g for g in self.groups if isinstance(g.special, LoopGroup)]:
            self._place_given(group)
        for step in self.steps:
            for node in step.nodes:
                gradient = node.inputs[len(node.outputs)]
                assert gradient is not None
                copy = self._want(gradient, Place("gradient", (step.key, node.inputs[0].state)))  # type: ignore[union-attr]
                self.feeds.setdefault(step.key, []).extend(copy)
        for i, v in enumerate(self.graph.outputs):
            self._want(v, Place("output", i))
        writes = [(s, v) for s, v in self.graph.writes if v.state is not s and self.homes.get(v) != Place("state", s)]
        copied = {s: self._copy(v) for s, v in writes if not self._is_stored(v)}
        for state, v in writes:
            self._choose_state_home(state, v, copied.get(state))
        for v in self.maker:
            self.homes.setdefault(v, Place("scratch", v))

    def _choose_step_homes(self, group: Group) -> None:
        """An optimizer step overwrites its states in any case: an old value that is needed later is kept in scratch."""
        after = self._after(group)
        for node in group.special.nodes:
            for v, old in zip(node.outputs, node.inputs, strict=False):
                self.homes[v] = Place("state", old.state)
                if any(id(h) in after for h in self._readers(old.state)):
                    kept = self._copy(old, Place("state", old.state))
                    self.homes[old] = self.homes[kept] = Place("scratch", kept)
                    self.maker[old] = self.maker[kept]
                self.overwrites.setdefault(id(group), []).append(old.state)

    def _choose_state_home(self, state: State, value: Value, copied: Value | None) -> None:
        """In place if possible; else the value is stored elsewhere and copied when all have read the old one."""
        place = Place("state", state)
        full = value in self.homes and self._bindings(self.maker[value]) >= MAX_BUFFERS
        if copied is None and (full or (value in self.homes and self._adds_up(value))):
            copied = self._copy(value)
        stored = value if copied is None else copied
        if self._in_place(self.maker[stored], stored, state):
            self._store(stored, place)
        else:
            last = self._copy(stored)
            self.homes[last] = place
            self.overwrites[id(self.maker[last])] = [state]

    def _is_stored(self, value: Value) -> bool:
        """Whether a kernel of our own making stores it, and may store it at other places too."""
        return value in self.fusion.placed and value not in self.stepped

    def _want(self, value: Value, place: Place) -> list[Group]:
        """The value must get there. Returns the copying kernel if one is needed."""
        full = value in self.homes and value in self.maker and self._bindings(self.maker[value]) >= MAX_BUFFERS
        full = full or (value in self.homes and self._adds_up(value))
        if self._is_stored(value) and not full:
            self._store(value, place)
            return []
        copy = self._copy(value)
        self.homes[copy] = place
        return [self.maker[copy]]

    def _adds_up(self, value: Value) -> bool:
        """Whether its kernel adds to what it has stored: it can have one place only."""
        return value in self.maker and any(r.start is not None for r in self.maker[value].roots)

    def _store(self, value: Value, place: Place) -> None:
        if value not in self.homes:
            self.homes[value] = place
        else:
            self.more.setdefault(value, []).append(place)

    def _copy(self, value: Value, place: Place | None = None) -> Value:
        """A new kernel that copies a value (from `place`, else from its home); returns what stands for the copy."""
        stand_in = Value(value.sizes, value.dtype, label=value.label or "copy")
        root = make_root(self.lowering, stand_in, expr_of=value)
        group = Group([root], root.axes).refresh()
        if place is not None:
            swap = {x: self.ir.load(place, x.dtype, x.args[0]) for x in walk([root.expr]) if x.op == "load"}
            group.roots = [replace(root, expr=rewrite([root.expr], swap)[0])]
        self.groups.append(group)
        self._note_reads(group)
        self.maker[stand_in] = group
        return stand_in

    def _bindings(self, group: Group) -> int:
        """How many buffers a kernel binds."""
        bound: set[Any] = {v if v.state is None else Place("state", v.state) for v in group.reads}
        for v in group.values:
            bound |= {self.homes.get(v, v), *self.more.get(v, ())}
        return len(bound) + group.contraction  # a contraction's workspace in WASM

    def _in_place(self, writer: Group, value: Value, state: State) -> bool:
        """Whether the writer may store over the old value, given the kernels that read it."""
        root = next(r for r in writer.roots if r.value is value)
        if root.more:
            return False
        for r in writer.roots:
            loads = [x for x in walk(r.exprs) if x.op == "load" and getattr(x.attr, "state", None) is state]
            if any(x.args != (root.index,) for x in loads):
                return False
            # other points read what one of them stores; a later loop reads what this one has stored
            late = any(x.axes & frozenset(root.loops) for x in loads) and r.loops != root.loops
            if loads and r is not root and (root.valid is not None or late):
                return False
        if any(g is not writer and self._needs(g, writer) for g in self._readers(state)):
            return False
        self.overwrites.setdefault(id(writer), []).append(state)
        return True

    # -- order ---------------------------------------------------------------------------------------------------------

    def _readers(self, state: State) -> list[Group]:
        """The kernels that read the old value of a state from its place."""
        return [
            g
            for g in self.reading.get(state, ())
            if any(v.state is state and self.maker.get(v) in (None, g) for v in g.reads)
        ]

    def _before(self, group: Group) -> list[Group]:
        """What must run before a kernel: the makers of what it reads, the readers of what it overwrites."""
        found = [self.maker[v] for v in group.reads if v in self.maker]
        if isinstance(group.special, StepGroup):
            found += self.feeds.get(group.special.key, [])
        for state in self.overwrites.get(id(group), ()):
            found += self._readers(state)
        return [g for g in found if g is not group]

    def _needs(self, group: Group, other: Group) -> bool:
        """Whether `group` runs after `other` whatever the order."""
        stack, seen = [group], set()
        while stack:
            g = stack.pop()
            if g is other:
                return True
            if id(g) not in seen:
                seen.add(id(g))
                stack.extend(self._before(g))
        return False

    def _after(self, group: Group) -> set[int]:
        """The kernels that run after this one whatever the order, by identity."""
        followers: dict[int, list[Group]] = {}
        for g in self.groups:
            for h in self._before(g):
                followers.setdefault(id(h), []).append(g)
        found: set[int] = set()
        stack = [group]
        while stack:
            for g in followers.get(id(stack.pop()), ()):
                if id(g) not in found:
                    found.add(id(g))
                    stack.append(g)
        return found

    def _order(self) -> list[Group]:
        """Makers before readers, readers of an old state before what overwrites it; else as the graph has it."""
        order: list[Group] = []
        done: set[int] = set()
        path: dict[int, Iterator[Group]] = {}           # kernels that wait, and what each has still to wait for
        stack: list[Group] = []
        for first in self.groups:
            stack.append(first)
            while stack:
                g = stack[-1]
                if id(g) not in path and id(g) not in done:
                    path[id(g)] = iter(self._before(g))
                waits = next(path[id(g)], None) if id(g) in path else None
                if waits is None:
                    stack.pop()
                    if path.pop(id(g), None) is not None:
                        done.add(id(g))
                        order.append(g)
                elif id(waits) in path:
                    raise AssertionError(f"schedule: kernels {name_of(waits.values)} wait for each other")
                elif id(waits) not in done:
                    stack.append(waits)
        return order

    # -- kernels -------------------------------------------------------------------------------------------------------

    def _place_of(self, value: Any) -> Place:
        """The memory behind a load of this value."""
        if isinstance(value, Place):
            return value
        if value in self.homes:
            return self.homes[value]
        if value.constant is not None:
            return Place("constant", value)
        return Place("state", value.state) if value.state is not None else Place("input", value)

    def _close(self, group: Group) -> list[Any]:
        stores: list[tuple[Any, Store]] = []
        if isinstance(group.special, LoopGroup):
            return self._close_loop(group.special)
        if isinstance(group.special, StepGroup):
            stores = self._step_stores(group.special, group.axes)
            name = group.special.nodes[0].op.name
            axes = group.axes
        else:
            name, axes = name_of(group.values), group.axes
            for r in group.roots:
                for place in (self.homes[r.value], *self.more.get(r.value, ())):
                    if r.start is not None:
                        stores.append((place, Store(0, r.start[1], self.ir.const(0.0), None, r.start[0])))
                    for index, expr in ((r.index, r.expr), *r.more):
                        stores.append((place, Store(0, index, expr, r.valid, r.loops)))
        # what a kernel overwrites in place is stored last: everything that reads the old element has read it by then
        stores.sort(key=lambda item: item[0].kind in ("state", "chunk"))
        return [self._resolve(name, axes, stores)]

    def _resolve(self, name: str, axes: Sequence[Any], stores: Sequence[tuple[Place, Store]]) -> Closed:
        loads = [x for x in walk(store_roots([s for _, s in stores])) if x.op == "load"]
        swap: dict[Any, Any] = {}
        for x in loads:
            swap[x] = self.ir._make(
                "load", x.dtype, tuple(rewrite(x.args, swap)), self._place_of(x.attr), None, None, x.axes
            )
        made = []
        for place, s in stores:
            index, value = rewrite([s.index, s.value], swap)
            valid = None if s.valid is None else rewrite([s.valid], swap)[0]
            made.append((place, Store(0, index, value, valid, s.loops)))
        return close(self.ir, name, axes, made)

    def _step_group(self, step: StepGroup) -> Group:
        blocks = step.chunks[0].size // (4 * LANES)
        axes = (self.ir.new_axis(blocks), self.ir.new_axis(LANES))
        scalars = {v for v in step.nodes[0].inputs[len(step.chunks) + 1 :] if v is not None}
        reads = {v for n in step.nodes for v in n.inputs[: len(step.chunks) + 1] if v is not None}
        for v in scalars:
            reads |= {x.attr for x in walk([self.lowering.element(v, ())]) if x.op == "load"}
        group = Group([], axes, special=step)
        group.reads = reads
        return group

    # -- loops ---------------------------------------------------------------------------------------------------------

    def _loop_group(self, node: Node) -> Group:
        if self.depth == MAX_DEPTH:
            raise UnimplementedError(f"loops nest more than {MAX_DEPTH} deep: they run on the host")
        loop = loop_group(node)
        group = Group([], (), special=loop)
        group.reads = {v for v in loop.given if v is not None}
        for v in node.inputs[: node.attrs["carried"]]:
            group.reads |= self._start_of(v).loads()
        return group

    def _start_of(self, value: Any) -> Root:
        """The copy of a value that a loop starts from."""
        return make_root(self.lowering, Value(value.sizes, value.dtype, label="start"), expr_of=value)

    def _place_given(self, group: Group) -> None:
        """Scalars and host-owned words get memory of their own: a loop's kernels read constants from there."""
        loop: LoopGroup = group.special
        for i, v in enumerate(loop.given):
            bare = v.node is None and v.constant is None and v not in self.lowering.placed
            if bare and (v.state.host_owned if v.state is not None else v.sizes == ()):
                loop.given[i] = self._copy(v)
                group.reads.add(loop.given[i])

    def _close_loop(self, loop: LoopGroup) -> list[Any]:
        """Copies of what it starts from, the loop, and copies of last values that no history holds."""
        node, attrs = loop.node, loop.node.attrs
        length = attrs["length"]
        for v in loop.buffers:
            self.homes.setdefault(v, Place("scratch", v))
        starts = [(self._start_of(v), self._place_of(b)) for v, b in zip(node.inputs, loop.buffers, strict=False)]
        fusion = choose_placed(loop.graph, self.fuse, inside=True)
        inner = _Scheduler(loop.graph, fusion, (), self.fuse, self.ir, self.depth + 1)
        parts = parts_of(loop, self.depth, self._place_of)
        translated = {Place(kind, what): part for (kind, what), part in parts.items()}
        body = [tied(k, translated) for k in inner.run().kernels]
        ends = []
        for j, (buffer, h) in enumerate(zip(loop.buffers, attrs["history"], strict=True)):
            if not h and self.lasting(node.outputs[j]):
                stand_in = Value(node.outputs[j].sizes, node.outputs[j].dtype, label="last")
                last = Shift("fixed", num_elements(stand_in.sizes), self.depth, length % 2)
                ends.append((self._start_of(stand_in), self._place_of(node.outputs[j]), stand_in,
                             Part(self._place_of(buffer), (last,))))
        made = [*self._copies(starts, START), Repeat(length, body, *self._last_only(loop))]
        for root, place, stand_in, part in ends:
            closed = self._copies([(root, place)], "last")[0]
            swap = {Place("input", stand_in): part}
            made.append(tied(closed, swap))
        return made

    def _last_only(self, loop: LoopGroup) -> tuple[frozenset[Place], frozenset[Place]]:
        """Memory of carried values of which at most the last version is read after the loop; not even that."""
        node, attrs = loop.node, loop.node.attrs
        readers = uses(self.graph)
        last, loose = [], []
        for j, (buffer, h) in enumerate(zip(loop.buffers, attrs["history"], strict=True)):
            place = self._place_of(buffer)
            if not h:
                last.append(place)
                loose += [] if self.lasting(node.outputs[j]) else [place]
            elif not any(buffer is v for v in self.graph.results) and all(
                n.op.name == "slice" and n.attrs["begin"][0] == attrs["length"] for n in readers.get(buffer, ())
            ):
                last.append(place)
        return frozenset(last), frozenset(loose)

    def lasting(self, value: Value) -> bool:
        """Whether a last value is used."""
        return any(value in g.reads for g in self.groups) or any(value is v for v in self.graph.results)

    def _copies(self, pairs: Sequence[tuple[Root, Place]], name: str) -> list[Closed]:
        made = []
        for numbers in copies_of(pairs):
            axes = pairs[numbers[0]][0].axes
            stores: list[tuple[Any, Store]] = []
            for i in numbers:
                root, place = pairs[i]
                moved = root.moved(dict(zip(root.axes, axes, strict=True)), self.ir)
                stores.append((place, Store(0, moved.index, moved.expr, moved.valid, moved.loops)))
            made.append(self._resolve(name, axes, stores))
        return made

    def _step_stores(self, step: StepGroup, axes: Sequence[Axis]) -> list[tuple[Place, Store]]:
        """One update of whole chunks: block after block, parameters, gradients and slots at the same position."""
        node, count = step.nodes[0], len(step.chunks)
        index = self.ir.axis(axes[0]) * LANES + self.ir.axis(axes[1])
        places = [Place("chunk", c.key) for c in step.chunks]
        read = [self.ir.load(p, "f32", index) for p in places]
        gradient = self.ir.load(Place("private", step.key), "f32", index)
        scalars = [self.lowering.element(v, ()) for v in node.inputs[count + 1 :] if v is not None]
        made = node.op.lower(self.ir, *read, gradient, *scalars, **node.attrs)
        values = made if isinstance(made, tuple) else (made,)
        return [(p, Store(0, index, value)) for p, value in zip(places, values, strict=True)]
