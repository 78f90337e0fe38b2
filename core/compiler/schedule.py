"""Orders the kernels of a graph and says where each value is stored: in scratch memory, in an output, or in place in a
state.

A state is overwritten in place when every kernel that reads its old value can run before; a kernel that reads it
itself must read only the element it stores. Otherwise the new value goes to scratch and is copied at the end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ..graph.ir import Graph, State, Value
from ..kernel.ir import Axis, Builder, Store, rewrite, store_roots, walk
from .fuse import Fusion, choose_placed
from .kernels import Closed, Group, Root, close, make_root, merge_roots, name_of
from .layout import StepGroup
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
        # tuples ask for identity first: what dataclasses of Python 3.13 generate would build an `equal` of two Values
        return isinstance(other, Place) and (self.kind, self.what) == (other.kind, other.what)

    def __hash__(self) -> int:
        return hash((self.kind, self.what))


@dataclass
class Schedule:
    """Closed kernels in order; each buffer is a Place."""

    kernels: list[Closed] = field(default_factory=list)


def schedule(graph: Graph, steps: Sequence[StepGroup], fuse: bool = True) -> Schedule:
    """The kernels of a graph of primitives. `fuse` false: one kernel per value (to prove fusion neutral)."""
    fusion = choose_placed(graph, fuse)
    return _Scheduler(graph, fusion, steps, fuse).run()


class _Scheduler:
    def __init__(self, graph: Graph, fusion: Fusion, steps: Sequence[StepGroup], fuse: bool) -> None:
        self.graph, self.fusion, self.steps, self.fuse = graph, fusion, steps, fuse
        self.ir = Builder()
        self.lowering = Lowering(self.ir, fusion.placed)
        self.stepped = {v for s in steps for n in s.nodes for v in n.outputs}
        self.homes: dict[Value, Place] = {}
        self.more: dict[Value, list[Place]] = {}
        self.copies: list[tuple[Value, Place]] = []
        self.overwrites: dict[int, list[State]] = {}  # by identity of the group: states it stores in place

    def run(self) -> Schedule:
        roots = [make_root(self.lowering, v) for v in self.fusion.placed if v not in self.stepped]
        groups = merge_roots(roots, self.ir, {v: s for s, v in self.graph.writes}, self.fuse)
        groups += [self._step_group(s) for s in self.steps]
        self._choose_homes(groups)
        order = self._order(groups)
        done = Schedule()
        for group in order:
            done.kernels.append(self._close(group))
        for value, place in self.copies:
            done.kernels.append(self._copy(value, place))
        return done

    # -- places --------------------------------------------------------------------------------------------------------

    def _choose_homes(self, groups: list[Group]) -> None:
        """Where each stored value lives, and where else it must go."""
        maker = {v: g for g in groups for v in g.values}
        for step in self.steps:
            for node in step.nodes:
                gradient = node.inputs[len(node.outputs)]
                self._want(gradient, Place("gradient", (step.key, node.inputs[0].state)))
                for v, old in zip(node.outputs, node.inputs, strict=False):
                    self.homes[v] = Place("state", old.state)
        for i, v in enumerate(self.graph.outputs):
            self._want(v, Place("output", i))
        for state, v in self.graph.writes:
            if v in self.stepped:
                continue
            place = Place("state", state)
            if v in maker and self._in_place(groups, maker[v], v, state):
                self._want(v, place)
            else:
                self.copies.append((v, place))
        for v in maker:
            self.homes.setdefault(v, Place("scratch", v))

    def _want(self, value: Value, place: Place) -> None:
        if value not in self.fusion.placed or value in self.stepped:
            self.copies.append((value, place))
        elif value not in self.homes:
            self.homes[value] = place
        else:
            self.more.setdefault(value, []).append(place)

    def _in_place(self, groups: list[Group], writer: Group, value: Value, state: State) -> bool:
        """Whether the writer may store over the old value, given the kernels that read it."""
        for group in groups:
            old = next((v for v in group.reads if v.state is state), None)
            if old is None:
                continue
            if group is writer:
                root = next(r for r in group.roots if r.value is value)
                loads = [x for r in group.roots for x in walk([r.expr]) if x.op == "load" and x.attr is old]
                if any(x.args != (root.index,) for x in loads):
                    return False
            elif self._needs(groups, group, writer):
                return False
        self.overwrites.setdefault(id(writer), []).append(state)
        return True

    def _needs(self, groups: list[Group], group: Group, other: Group) -> bool:
        """Whether `group` runs after `other` whatever the order."""
        maker = {v: g for g in groups for v in g.values}
        stack, seen = [group], set()
        while stack:
            g = stack.pop()
            if g is other:
                return True
            if id(g) not in seen:
                seen.add(id(g))
                stack.extend(maker[v] for v in g.reads if v in maker)
                stack.extend(
                    h
                    for h in groups
                    for s in self.overwrites.get(id(g), ())
                    if h is not g and any(v.state is s for v in h.reads)
                )
        return False

    # -- order ---------------------------------------------------------------------------------------------------------

    def _order(self, groups: list[Group]) -> list[Group]:
        """Makers before readers, readers of an old state before the kernel that overwrites it; else as the graph
        has it.
        """
        maker = {v: g for g in groups for v in g.values}
        before: dict[int, list[Group]] = {}
        for g in groups:
            needs = [maker[v] for v in g.reads if v in maker and maker[v] is not g]
            overwritten = set(self.overwrites.get(id(g), ()))
            if isinstance(g.special, StepGroup):
                overwritten |= {s for c in g.special.chunks for s in c.offsets}
            needs += [
                h for h in groups if h is not g and any(v.state in overwritten for v in h.reads if v.state is not None)
            ]
            before[id(g)] = needs
        order: list[Group] = []
        done: set[int] = set()

        def visit(g: Group, path: frozenset[int]) -> None:
            if id(g) in done:
                return
            if id(g) in path:
                raise AssertionError(f"schedule: kernels {name_of(g.values)} wait for each other")
            for h in before[id(g)]:
                visit(h, path | {id(g)})
            done.add(id(g))
            order.append(g)

        for g in groups:
            visit(g, frozenset())
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

    def _close(self, group: Group) -> Closed:
        stores: list[tuple[Any, Store]] = []
        if isinstance(group.special, StepGroup):
            stores = self._step_stores(group.special, group.axes)
            name = group.special.nodes[0].op.name
            axes = group.axes
        else:
            name, axes = name_of(group.values), group.axes
            for r in group.roots:
                for place in (self.homes[r.value], *self.more.get(r.value, ())):
                    stores.append((place, Store(0, r.index, r.expr, r.valid, r.loops)))
        # what a kernel overwrites in place is stored last: everything that reads the old element has read it by then
        stores.sort(key=lambda item: item[0].kind in ("state", "chunk"))
        return self._resolve(name, axes, stores)

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

    def _copy(self, value: Value, place: Place) -> Closed:
        root: Root = make_root(self.lowering, value, expr_of=value)
        return self._resolve("copy", root.axes, [(place, Store(0, root.index, root.expr, None, root.loops))])

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
