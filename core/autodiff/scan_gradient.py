"""The gradient of a loop is a loop in the other direction.

Going forward, results of contractions, reductions and costly functions are kept for every iteration (*residuals*, those
of one shape side by side), and the versions of the carried values; going back, other elementwise values are computed
again from those. What the gradient of a constant of
the loop (a weight) sums over iterations is not summed inside: its factors are stacked, and one contraction after the
loop does it all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ..graph.ir import Graph, Node, Value, reachable
from ..graph.join import join_pads
from ..graph.record import Recorder, expand_node
from ..kernel.ir import CALLS
from ..ops.dispatch import apply, pushed
from ..ops.movement import full
from ..ops.op import Spec, find_op
from ..shapes import Size
from .bodies import Body, record_closed
from .gradients import Recording, gradients

DEAR = frozenset(CALLS)  # functions that cost more than loading what they gave
MOST_PARTS = 6  # residuals side by side

__all__ = ["cond_gradient", "scan_gradient", "with_residuals"]


@dataclass
class Plan:
    """How to go back through a body. Values are those of `joint`, which holds a copy of the body and its gradient."""

    body: Body  # primitives only
    inputs: list[Value]  # of the copy
    seeds: dict[int, Value]  # output of the body -> its incoming gradient
    gradients: list[Value | None]  # one per input
    original: dict[Value, Value]  # copy -> value of the body
    kept: list[Value] = field(default_factory=list)  # forward values to keep, as copies
    versions: tuple[bool, ...] = ()  # of which carried values all versions are needed


def primitive(body: Body) -> Body:
    """The body with composites expanded."""
    found = body.cache.get("primitive")
    if found is None:
        if all(n.op.kind != "composite" for n in body.graph.nodes):
            found = body
        else:
            found = Body(_expanded(body.graph), body.symbols)
            found.cache["primitive"] = found
        body.cache["primitive"] = found
    return found  # type: ignore[no-any-return]


def _expanded(graph: Graph) -> Graph:
    replaced: dict[Value, Value] = {}
    nodes: list[Node] = []

    def take(node: Node) -> None:
        inputs = [None if v is None else replaced.get(v, v) for v in node.inputs]
        if node.op.kind == "composite":
            inner, outputs = expand_node(node, inputs)
            for n in inner:
                take(n)
            replaced.update((o, replaced.get(v, v)) for o, v in zip(node.outputs, outputs, strict=True))
            return
        made = Node(node.op, inputs, node.attrs, [v.spec for v in node.outputs], node.where)
        nodes.append(made)
        replaced.update(zip(node.outputs, made.outputs, strict=True))

    for node in graph.nodes:
        take(node)
    return Graph(graph.name, graph.inputs, tuple(nodes), tuple(replaced.get(v, v) for v in graph.outputs))


# -- going back through one iteration ----------------------------------------------------------------------------------


def plan_of(
    body: Body, carried: int, seeded: tuple[bool, ...], wanted: tuple[bool, ...], held: frozenset[Value] | None = None
) -> Plan:
    """The plan for a body of primitives, given which outputs have gradients coming in and which inputs want one.

    `held`: the values that were kept; None leaves the choice to the plan.
    """
    key = ("plan", carried, seeded, wanted, held)
    found = body.cache.get(key)
    if found is None:
        found = body.cache[key] = _make_plan(body, carried, seeded, wanted, held)
    return found  # type: ignore[no-any-return]


def _make_plan(
    body: Body, carried: int, seeded: tuple[bool, ...], wanted: tuple[bool, ...], held: frozenset[Value] | None
) -> Plan:
    graph, recorder, record = body.graph, Recorder(f"{body.graph.name}_gradient"), Recording()
    copies: dict[Value, Value] = {v: Value(v.sizes, v.dtype, label=v.label) for v in graph.inputs}
    inputs = list(copies.values())
    with pushed(recorder):
        with pushed(record):
            for node in graph.nodes:
                made = apply(node.op, *(None if v is None else copies.get(v, v) for v in node.inputs), **node.attrs)
                copies.update(zip(node.outputs, made if isinstance(made, tuple) else (made,), strict=True))
        outputs = [copies.get(v, v) for v in graph.outputs]
        seeds = {i: Value(o.sizes, o.dtype, label=f"d{i}") for i, (o, s) in enumerate(zip(outputs, seeded, strict=True))
                 if s and o.dtype.is_floating}
        sources = [v for v, w in zip(inputs, wanted, strict=True) if w and v.dtype.is_floating]
        found = dict(zip(sources, gradients(record.entries, [outputs[i] for i in seeds], list(seeds.values()), sources),
                         strict=True))
        made = [None if found.get(v) is None else recorder.lift(found[v]) for v in inputs]
    plan = Plan(body, inputs, seeds, made, {c: v for v, c in copies.items()})
    if held is None:
        _choose_kept(plan, carried)
    else:
        plan.kept = [c for c, v in plan.original.items() if v in held]
    return plan


def _choose_kept(plan: Plan, carried: int) -> None:
    """Which forward values the way back takes from memory: results of loops, moved to what they are only used for."""
    results = [g for g in plan.gradients if g is not None]
    kept: dict[Value, None] = {}
    while True:
        readers = _readers(results, kept, plan.original)
        fresh = [v for v in readers if v.node is not None and v in plan.original and not _again(v.node)
                 and v not in kept]
        kept.update((v, None) for v in fresh)
        if not fresh:
            break
    for v in list(kept):
        while (later := _only_use(v, _readers(results, kept, plan.original), plan.original)) is not None:
            del kept[v]
            kept[later] = None
            v = later
    needed = _readers(results, kept, plan.original)
    plan.kept = [v for v in kept if v in needed or any(v is r for r in results)]
    plan.versions = tuple(v in needed for v in plan.inputs[:carried])


def _again(node: Node) -> bool:
    """Whether its outputs are computed again on the way back rather than kept."""
    if node.op.name in DEAR:
        return False
    return node.op.kind == "elementwise" or bool(getattr(node.op, "cheap", False))


def _readers(results: Sequence[Value], kept: dict[Value, None], forward: dict[Value, Value]) -> dict[Value, list[Node]]:
    """The values that the results need, kept ones not looked behind, each with the nodes that read it."""
    found: dict[Value, list[Node]] = {v: [] for v in results}
    stack, seen = [v for v in results if v not in kept], set()
    while stack:
        node = stack.pop().node
        if node is None or node in seen:
            continue
        seen.add(node)
        for v in dict.fromkeys(v for v in node.inputs if v is not None):
            found.setdefault(v, []).append(node)
            if v not in kept:
                stack.append(v)
    return found


def _only_use(v: Value, readers: dict[Value, list[Node]], forward: dict[Value, Value]) -> Value | None:
    """The elementwise forward value that is all that v is needed for, of its shape; None if there is none."""
    users = readers.get(v, [])
    if len(users) != 1 or users[0].op.kind != "elementwise" or len(users[0].outputs) != 1:
        return None
    (later,) = users[0].outputs
    return later if later in forward and later.spec == v.spec else None


def with_residuals(body: Body, carried: int, stacked: int) -> tuple[Body, tuple[bool, ...]]:
    """The body with residuals among its results, and of which carried values all versions are needed."""
    base = primitive(body)
    found = base.cache.get(("kept", carried))
    if found is None:
        floating = tuple(s.dtype.is_floating for s in base.output_specs)
        plan = plan_of(base, carried, floating, tuple(s.dtype.is_floating for s in base.input_specs))
        groups = _groups([plan.original[v] for v in plan.kept])
        residuals, nodes = [], list(base.graph.nodes)
        where: dict[Value, tuple[int, int]] = {}  # residual -> number of the result, first element along the last axis
        for number, group in enumerate(groups):
            if len(group) > 1:
                sizes = group[0].sizes
                spec = Spec((*sizes[:-1], len(group) * sizes[-1]), group[0].dtype)
                nodes.append(Node(find_op("concat"), group, {"axis": len(sizes) - 1}, [spec]))
            residuals.append(nodes[-1].outputs[0] if len(group) > 1 else group[0])
            where.update((v, (number, i * v.sizes[-1] if len(group) > 1 else -1)) for i, v in enumerate(group))
        graph = base.graph.with_(nodes=tuple(nodes), outputs=(*base.graph.outputs, *residuals))
        made = Body(graph, base.symbols)
        made.cache["base"] = base
        made.cache["residuals"] = where
        found = base.cache["kept", carried] = (made, plan.versions)
    return found  # type: ignore[no-any-return]


def _groups(values: Sequence[Value]) -> list[list[Value]]:
    """Values of one shape and dtype together, a few at a time: one stack for each group."""
    groups: dict[Any, list[list[Value]]] = {}
    for v in values:
        alone = not v.sizes or not isinstance(v.sizes[-1], int)
        found = groups.setdefault(id(v) if alone else (v.sizes, v.dtype), [[]])
        if len(found[-1]) == MOST_PARTS:
            found.append([])
        found[-1].append(v)
    return [group for found in groups.values() for group in found]


# -- going back through the loop ---------------------------------------------------------------------------------------


def scan_gradient(
    dys: Sequence[Any], inputs: Sequence[Any], outputs: Sequence[Any], *, body: Body, carried: int, stacked: int,
    length: Size, reverse: bool, history: tuple[bool, ...],
) -> list[Any]:
    """One gradient (or None) per input of a scan."""
    attrs = {"carried": carried, "stacked": stacked, "length": length, "reverse": reverse}
    base = body.cache.get("base")  # without residuals
    versions = dys[carried : carried + sum(history)]
    count = len((base or body).output_specs)
    if base is not None and all(d is None for d in (*versions, *dys[len(versions) + count :])):
        return _Way(dys, inputs, outputs, body, carried, stacked, length, reverse, history).gradients()
    # nothing was kept, or something depends on what was kept (a gradient of a gradient): forward once more
    followed = [j for j, h in enumerate(history) if h]
    plain = body
    if any(d is not None for d in versions):
        graph = body.graph
        plain = Body(graph.with_(outputs=(*graph.outputs, *(graph.outputs[j] for j in followed))), body.symbols)
    used, needed = with_residuals(plain, carried, stacked)
    made = apply("scan", *inputs, body=used, history=needed, **attrs)
    again = made if isinstance(made, tuple) else (made,)
    results = [*dys[:carried], *([None] * sum(needed)), *dys[carried + len(versions) :]]
    if plain is not body:
        results += [None if d is None else _after(d, length, reverse) for d in versions]
    results += [None] * (len(again) - len(results))
    found = _Way(results, inputs, again, used, carried, stacked, length, reverse, needed).gradients()
    for j, d in zip(followed, versions, strict=True):
        if d is not None:
            first = apply("reshape", apply("slice", d, begin=(0,) * len(d.sizes), size=(1, *d.sizes[1:])),
                          shape=tuple(d.sizes[1:]))
            found[j] = first if found[j] is None else apply("add", found[j], first)
    return found


def _after(versions: Any, length: Size, reverse: bool) -> Any:
    """Of all versions those after an iteration, in the order of the slices."""
    sizes = versions.sizes[1:]
    made = apply("slice", versions, begin=(1, *([0] * len(sizes))), size=(length, *sizes))
    return apply("reverse", made, axes=(0,)) if reverse else made


class _Way:
    """One scan and what came back to it."""

    def __init__(
        self, dys: Sequence[Any], inputs: Sequence[Any], outputs: Sequence[Any], body: Body, carried: int, stacked: int,
        length: Size, reverse: bool, history: tuple[bool, ...],
    ) -> None:
        self.inputs, self.carried, self.stacked = inputs, carried, stacked
        self.length, self.reverse = length, reverse
        base = body.cache["base"]
        count, versions = len(base.output_specs), sum(history)
        floating = [s.dtype.is_floating for s in base.output_specs]
        results = dys[carried + versions : versions + count]
        seeded = tuple(f and (i < carried or results[i - carried] is not None) for i, f in enumerate(floating))
        self.finals, self.results = dys[:carried], results
        wanted = tuple(s.dtype.is_floating for s in base.input_specs)
        self.plan = plan_of(base, carried, seeded, wanted, frozenset(body.cache["residuals"]))
        stacks = outputs[versions + count :]
        numbers = body.cache["residuals"]
        self.known: dict[Value, Any] = {}  # copies of forward values -> their stacks, in the order of the slices
        self.packed: dict[Value, tuple[int, int]] = {}  # those that lie side by side: (number of the stack, where)
        self.stacks = stacks
        for v in self.plan.kept:
            i, start = numbers[self.plan.original[v]]
            if start < 0:
                self.known[v] = stacks[i]
            else:
                self.packed[v] = i, start
        self.all_versions = dict(zip((j for j, h in enumerate(history) if h),
                                     outputs[carried : carried + versions], strict=True))

    def stack_of(self, v: Value) -> Any:
        """The tensor that stacks a forward value over the iterations, or None if there is none."""
        if v in self.packed and v not in self.known:
            number, start = self.packed[v]
            begin = (*([0] * len(v.sizes)), start)
            self.known[v] = apply("slice", self.stacks[number], begin=begin, size=(self.length, *v.sizes))
        if v in self.known:
            return self.known[v]
        position = next((i for i, x in enumerate(self.plan.inputs) if x is v), None)
        if position is None or position >= self.carried + self.stacked:
            return None
        if position >= self.carried:
            return self.inputs[position]
        versions = self.all_versions.get(position)
        if versions is None:
            return None
        zeros = (0,) * len(v.sizes)
        made = apply("slice", versions, begin=(0, *zeros), size=(self.length, *v.sizes))
        self.known[v] = apply("reverse", made, axes=(0,)) if self.reverse else made
        return self.known[v]

    def gradients(self) -> list[Any]:
        """One gradient (or None) per input."""
        plan, first = self.plan, self.carried + self.stacked
        back = [j for j in range(self.carried) if plan.inputs[j].dtype.is_floating]
        out = _Outputs(self)
        found = {i: g for i, g in enumerate(plan.gradients) if g is not None}
        sums = {i: out.summed(g) for i, g in found.items() if i >= first}
        slices = {i: out.stacked(g) for i, g in found.items() if self.carried <= i < first}
        made = self._run(back, out)
        gradient: list[Any] = [None] * len(self.inputs)
        for position, j in enumerate(back):
            gradient[j] = made[position]
        stacks = made[len(back) + len(out.accumulated) :]
        for i, number in slices.items():
            gradient[i] = stacks[number]
        totals = made[len(back) : len(back) + len(out.accumulated)]
        for i, recipe in sums.items():
            gradient[i] = recipe(stacks, totals)
        return gradient

    def _run(self, back: list[int], out: _Outputs) -> tuple[Any, ...]:
        """The loop in the other direction: gradients of carried values, accumulated sums, stacks."""
        plan = self.plan
        inputs: list[Value] = [plan.seeds[j] for j in back]
        totals = [Value(g.sizes, g.dtype, label="total") for g in out.accumulated]
        results: list[Value] = []
        recorder = Recorder("totals")
        with pushed(recorder):
            for j in back:
                found = plan.gradients[j]
                results.append(recorder.lift(full(plan.inputs[j].sizes, 0, plan.inputs[j].dtype))
                               if found is None else found)
            results += [apply("add", t, g) for t, g in zip(totals, out.accumulated, strict=True)]
        results += out.stacks
        needed = _readers(results, dict.fromkeys(plan.kept), plan.original)
        slices = {plan.seeds[self.carried + i]: dy for i, dy in enumerate(self.results)
                  if dy is not None and self.carried + i in plan.seeds}
        slices = {v: dy for v, dy in slices.items() if v in needed}
        wide: dict[int, Value] = {}  # residuals side by side come in as one, and are cut inside
        cuts: list[tuple[Value, Value, int]] = []
        for v in [*plan.kept, *plan.inputs[: self.carried + self.stacked]]:
            if v in needed and v in self.packed:
                number, start = self.packed[v]
                sizes = self.stacks[number].sizes[1:]
                whole = wide.setdefault(number, Value(sizes, v.dtype, label="residuals"))
                slices[whole] = self.stacks[number]
                cuts.append((v, whole, start))
            elif v in needed:
                slices[v] = self.stack_of(v)
        consts = {v: x for v, x in zip(plan.inputs, self.inputs, strict=True) if v in needed and v not in slices}
        given = [*inputs, *totals, *slices, *consts]
        body = Body(_cut_out(f"{plan.body.graph.name}_back", given, results, cuts), plan.body.symbols)
        starts = [self.finals[j] if self.finals[j] is not None
                  else full(self.inputs[j].sizes, 0, self.inputs[j].dtype) for j in back]
        zeros = [full(g.sizes, 0, g.dtype) for g in out.accumulated]
        from .control import scan

        return scan(body, [*starts, *zeros], list(slices.values()), list(consts.values()), self.length,
                    not self.reverse)


def _cut_out(
    name: str, given: Sequence[Value], results: Sequence[Value], cuts: Sequence[tuple[Value, Value, int]]
) -> Graph:
    """The graph from these values to the results, with inputs of its own. `cuts`: (value, given one that it is a part
    of, where that part begins along the last axis).
    """
    fresh = {v: Value(v.sizes, v.dtype, label=v.label) for v in given}
    inputs, nodes = tuple(fresh.values()), []
    for v, whole, start in cuts:
        attrs = {"begin": (*([0] * (len(v.sizes) - 1)), start), "size": tuple(v.sizes)}
        nodes.append(Node(find_op("slice"), (fresh[whole],), attrs, [v.spec]))
        fresh[v] = nodes[-1].outputs[0]
    for node in _between(results, {*given, *(v for v, _, _ in cuts)}):
        values = [None if v is None else fresh.get(v, v) for v in node.inputs]
        made = Node(node.op, values, node.attrs, [v.spec for v in node.outputs], node.where)
        nodes.append(made)
        for old, new in zip(node.outputs, made.outputs, strict=True):
            fresh.setdefault(old, new)
    graph = join_pads(Graph(name, inputs, tuple(nodes), tuple(fresh.get(v, v) for v in results)))
    return graph.with_(nodes=tuple(reachable(graph.outputs)))


def _between(results: Sequence[Value], given: set[Value]) -> list[Node]:
    """The nodes between the given values and the results, operands first."""
    done: dict[Node, None] = {}
    stack = [(v.node, False) for v in reversed(results) if v.node is not None and v not in given]
    while stack:
        node, ready = stack.pop()
        if node in done:
            continue
        if ready:
            done[node] = None
            continue
        stack.append((node, True))
        stack += [(v.node, False) for v in reversed(node.inputs)
                  if v is not None and v.node is not None and v not in given and v.node not in done]
    return list(done)


class _Outputs:
    """What the loop back gives beside the gradients of carried values: stacks, and sums that it has to form itself."""

    def __init__(self, way: _Way) -> None:
        self.way = way
        self.stacks: list[Value] = []
        self.accumulated: list[Value] = []

    def stacked(self, v: Value) -> int:
        """The number of the stack of this value."""
        for i, held in enumerate(self.stacks):
            if held is v:
                return i
        self.stacks.append(v)
        return len(self.stacks) - 1

    def _factor(self, v: Value) -> Any:
        """A function of the stacks that gives the value over all iterations; None for what is the same in each."""
        if v in self.way.plan.original or any(v is x for x in self.way.plan.inputs):
            ready = self.way.stack_of(v)
            if ready is not None:
                return lambda stacks: ready
            if v.node is None:
                return None
        if v.constant is not None:
            return None
        number = self.stacked(v)
        return lambda stacks: stacks[number]

    def summed(self, v: Value) -> Any:
        """A function of (stacks, totals) that gives the sum of this value over all iterations."""
        recipe = self._recipe(v)
        if recipe is not None:
            return recipe
        self.accumulated.append(v)
        number = len(self.accumulated) - 1
        return lambda stacks, totals: totals[number]

    def _recipe(self, v: Value) -> Any:
        """The sum as one op on stacks, if the value is of a kind that allows it."""
        node = v.node
        if node is None or v in self.way.plan.original:
            return None
        name = node.op.name
        if name == "matmul" and node.attrs["transpose_a"] and not node.attrs["transpose_b"]:
            return self._product(node)
        if name == "reduce_sum":
            return self._total(node)
        if name == "reshape":
            inner = self._recipe(node.inputs[0])  # type: ignore[arg-type]
            return inner and (lambda stacks, totals: apply("reshape", inner(stacks, totals), shape=tuple(v.sizes)))
        if name == "pad" and node.attrs["constant_value"] == 0:
            inner = self._recipe(node.inputs[0])  # type: ignore[arg-type]
            return inner and (lambda stacks, totals: apply("pad", inner(stacks, totals), **node.attrs))
        if name == "add" and all(x is not None and x.sizes == v.sizes for x in node.inputs):
            parts = [self.summed(x) for x in node.inputs]  # type: ignore[arg-type]
            return lambda stacks, totals: apply("add", *(p(stacks, totals) for p in parts))
        return None

    def _product(self, node: Node) -> Any:
        """a.T @ b in each iteration: one product over iterations and rows together."""
        if any(len(x.sizes) != 2 for x in node.inputs):  # type: ignore[union-attr]
            return None
        a, b = (self._factor(x) for x in node.inputs)  # type: ignore[arg-type]
        if a is None or b is None:
            return None

        def rows(x: Any) -> Any:
            return apply("reshape", x, shape=(x.sizes[0] * x.sizes[1], x.sizes[2]))

        return lambda stacks, totals: apply("matmul", rows(a(stacks)), rows(b(stacks)), transpose_a=True,
                                            transpose_b=False)

    def _total(self, node: Node) -> Any:
        """A sum over axes in each iteration: one sum over those and the iterations."""
        x = node.inputs[0]
        assert x is not None
        factor = self._factor(x)
        if factor is None:
            return None
        axis = node.attrs["axis"]
        axes = tuple(range(len(x.sizes))) if axis is None else axis
        sizes = tuple(node.outputs[0].sizes)

        def total(stacks: Any, totals: Any) -> Any:
            made = apply("reduce_sum", factor(stacks), axis=(0, *(a + 1 for a in axes)), keepdims=False)
            return made if tuple(made.sizes) == sizes else apply("reshape", made, shape=sizes)

        return total


# -- branches ----------------------------------------------------------------------------------------------------------


def cond_gradient(dys: Sequence[Any], condition: Any, inputs: Sequence[Any], yes: Body, no: Body) -> list[Any]:
    """The gradient of whichever branch was taken, for the condition (None) and the inputs."""
    present = [i for i, d in enumerate(dys) if d is not None]
    wanted = [i for i, x in enumerate(inputs) if x.dtype.is_floating]
    specs = [*(Spec(x.sizes, x.dtype) for x in inputs), *(Spec(dys[i].sizes, dys[i].dtype) for i in present)]

    def branch(body: Body) -> Body:
        graph = primitive(body).graph

        def back(*values: Any) -> Any:
            record, given = Recording(), values[: len(inputs)]
            made: dict[Value, Any] = dict(zip(graph.inputs, given, strict=True))
            with pushed(record):
                for node in graph.nodes:
                    out = apply(node.op, *(None if v is None else made.get(v, v) for v in node.inputs), **node.attrs)
                    made.update(zip(node.outputs, out if isinstance(out, tuple) else (out,), strict=True))
            targets = [made.get(graph.outputs[i], graph.outputs[i]) for i in present]
            found = gradients(record.entries, targets, values[len(inputs) :], [given[i] for i in wanted])
            return [full(inputs[i].sizes, 0, inputs[i].dtype) if g is None else g
                    for i, g in zip(wanted, found, strict=True)]

        return record_closed(back, specs, f"{body.graph.name}_gradient")

    gradient: list[Any] = [None] * (len(inputs) + 1)
    if present and wanted:
        made = apply("cond", condition, *inputs, *(dys[i] for i in present), yes=branch(yes), no=branch(no))
        for i, g in zip(wanted, made if isinstance(made, tuple) else (made,), strict=True):
            gradient[i + 1] = g
    return gradient
