"""Decides which values get memory of their own; all others are computed inside the kernels that read them.

One walk from the results back to the inputs. For each value it is known which kernels (named by the values they
store, the *roots*) would compute it, and whether they read it at their own index (*aligned*) or elsewhere. The rules:

* results, and what an optimizer step or a host-visible place needs, are placed;
* movement costs nothing and is never placed for its own sake: its operand is looked at instead;
* a value behind a fold (matmul, reduction, pooling, softmax) is computed inside another kernel only as its epilogue:
  aligned, by one root, and at most one contraction per kernel;
* a light elementwise value is recomputed where that is cheaper than storing and loading it.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass, field

from ..graph.ir import Graph, Node, Value, uses
from ..kernel.ir import CALLS
from ..shapes import num_elements

CONTRACTIONS = frozenset(
    {"matmul", *(f"conv{n}d{part}" for n in (1, 2, 3) for part in ("", "_input_grad", "_filter_grad"))}
)
DEAR = frozenset(CALLS) | {"rsqrt", "softplus", "sqrt"}
DEAR_COST, RANDOM_COST = 8, 30
LIGHT = 4  # operations that are recomputed rather than stored and loaded
MAX_WALKS = 3
MAX_DEPTH = 64  # ops on a path inside one kernel, DEEP ones counted so often
DEEP, DEEP_COST = frozenset({"floormod", "floordiv"}), 6
MAX_PARTS = 6  # of a concatenation that one kernel stores
MAX_LOADS = 6  # with the result and the workspace of a WASM contraction: 8 bindings, what devices allow


def is_step(node: Node) -> bool:
    """Whether this is an optimizer step: (variable, slots..., gradient, scalars...) -> (variable, slots...); merged
    per chunk.
    """
    return node.op.name.endswith("_step")


def is_control(node: Node) -> bool:
    """Whether this is a loop: its inputs and outputs are in memory, except what its carried values start from."""
    return node.op.kind == "control"


def splits(node: Node | None) -> bool:
    """Whether this joins equal parts that are computed: a point can store an element of each (a cell's four gates)."""
    if node is None or node.op.name != "concat" or len(node.inputs) > MAX_PARTS:
        return False
    parts = node.inputs
    same = all(v is not None and v.sizes == parts[0].sizes for v in parts)  # type: ignore[union-attr]
    return same and any(v.node is not None and not is_movement(v.node) for v in parts)  # type: ignore[union-attr]


def is_heavy(node: Node) -> bool:
    """Whether an output element needs a loop."""
    return node.op.kind == "pattern" and not getattr(node.op, "cheap", False)


def is_movement(node: Node) -> bool:
    """Whether an output element is an input element (or a constant)."""
    return node.op.kind == "pattern" and bool(getattr(node.op, "cheap", False))


@dataclass
class Fusion:
    """The decision: the values with memory of their own, and of the others the roots that compute them."""

    placed: dict[Value, None] = field(default_factory=dict)
    roots: dict[Value, frozenset[Value]] = field(default_factory=dict)


def choose_placed(graph: Graph, fuse: bool = True, inside: bool = False) -> Fusion:
    """See the module. With `fuse` false every value that a node makes is placed, except movement (for tests of
    neutrality).

    What a value costs depends on which of its operands are placed, so the walk is repeated with what it found.
    """
    fusion = _walk(graph, fuse, _Costs(graph, {}), inside)
    for _ in range(MAX_WALKS if fuse else 0):
        again = _walk(graph, fuse, _Costs(graph, fusion.placed), inside)
        if again.placed.keys() == fusion.placed.keys():
            break
        fusion = again
    _limit_depth(graph, fusion)
    _limit_loads(graph, fusion)
    fusion.placed = dict.fromkeys(v for n in graph.nodes for v in n.outputs if v in fusion.placed)
    return fusion


def _walk(graph: Graph, fuse: bool, costs: _Costs, inside: bool = False) -> Fusion:
    """One walk from the results to the inputs."""
    readers = uses(graph)
    results = set(graph.results)
    fusion = Fusion()
    aligned: dict[Value, bool] = {}
    content: dict[Value, str] = {}  # root -> "", "fold" or "contraction": what is inside it already
    behind: dict[Value, list[Node]] = {}  # the nodes with loops that read a value, by way of movement or at once
    for node in reversed(graph.nodes):
        for v in node.outputs:
            consumers = readers.get(v, [])
            if v not in results and not consumers:
                continue
            behind[v] = [h for c in consumers for h in _loops_behind(c, behind, fusion)]
            roots: set[Value] = set()
            same_index = True
            place = v in results or is_step(node) or is_control(node)
            for c in consumers:
                for w in c.outputs:
                    if w in fusion.placed:
                        roots.add(w)
                    elif w in fusion.roots:
                        roots |= fusion.roots[w]
                place = place or (is_step(c) and c.inputs[len(c.outputs)] is v) or _in_memory(v, c)
                same_index = same_index and _pointwise(v, c, fusion)
                same_index = same_index and all(aligned.get(w, False) for w in c.outputs if w in aligned)
            movement = is_movement(node)
            if not place and not movement:
                place = not fuse or any(_must_place(v, h, costs) for h in behind[v])
                # the roots of a loop's body are few and mostly end in one kernel, which computes v once
                together = inside and same_index and not costs.folds[v]
                place = place or (not together and _dearer_inline(v, node, roots, same_index, costs, content))
            if place:
                fusion.placed[v] = None
                aligned[v] = True
                content.setdefault(v, "")
                if is_heavy(node):
                    content[v] = "contraction" if node.op.name in CONTRACTIONS else "fold"
            else:
                fusion.roots[v] = frozenset(roots)
                aligned[v] = same_index
                if is_heavy(node):
                    for r in roots:
                        content[r] = "contraction" if node.op.name in CONTRACTIONS else "fold"
    return fusion


def _in_memory(v: Value, consumer: Node) -> bool:
    """Whether a loop reads v from memory: slices and constants, and what it starts from if that is computed."""
    if not is_control(consumer):
        return False
    reads = any(x is v for x in consumer.inputs[consumer.attrs["carried"] :])
    return reads or not is_movement(v.node)  # type: ignore[arg-type]


def _loops_behind(consumer: Node, behind: dict[Value, list[Node]], fusion: Fusion) -> list[Node]:
    if is_heavy(consumer):
        return [consumer]
    if splits(consumer) and consumer.outputs[0] in fusion.placed:
        return []
    return [h for w in consumer.outputs for h in behind.get(w, ())] if is_movement(consumer) else []


def _limit_depth(graph: Graph, fusion: Fusion) -> None:
    """Places a value now and then in a long chain: what lowers and emits expressions goes down by recursion."""
    depth: dict[Value, int] = {}
    for node in graph.nodes:
        inside = [depth.get(v, 0) for v in node.inputs if v is not None and v not in fusion.placed]
        total = max(inside, default=0) + (DEEP_COST if node.op.name in DEEP else 1)
        if total > MAX_DEPTH:
            for v in node.outputs:
                fusion.placed[v] = None
        depth.update((v, total) for v in node.outputs)


def _limit_loads(graph: Graph, fusion: Fusion) -> None:
    """Places more values where a kernel would bind more buffers than every device allows, the fullest parts first."""
    before = -1
    while len(fusion.placed) > before:  # a value placed late may add a buffer to what was counted before
        before = len(fusion.placed)
        loads: dict[Value, frozenset[Value]] = {}
        for node in graph.nodes:
            inputs = [v for v in node.inputs if v is not None]
            together = _reads(inputs, loads, fusion)
            while len(together) > MAX_LOADS and not (is_step(node) or is_control(node)):
                widest = max(inputs, key=lambda v: len(_reads([v], loads, fusion)))
                if len(_reads([widest], loads, fusion)) == 1:
                    break  # an op of too many inputs
                fusion.placed[widest] = None
                together = _reads(inputs, loads, fusion)
            loads.update((v, together) for v in node.outputs)


def _reads(values: Sequence[Value], loads: dict[Value, frozenset[Value]], fusion: Fusion) -> frozenset[Value]:
    """The buffers that a reader of these values binds for them."""
    found: set[Value] = set()
    for v in values:
        if v.node is None:
            small = v.sizes == () or (v.constant is not None and v.constant.size == 1)
            found |= set() if small else {v}
        else:
            found |= {v} if v in fusion.placed else loads[v]
    return frozenset(found)


def _pointwise(v: Value, consumer: Node, fusion: Fusion) -> bool:
    """Whether the consumer reads v at its own index."""
    if splits(consumer) and consumer.outputs[0] in fusion.placed:
        return True
    if consumer.op.kind == "elementwise" or consumer.op.name == "reshape":
        return num_elements(v.sizes) == num_elements(consumer.outputs[0].sizes)
    return False


def _must_place(v: Value, consumer: Node, costs: _Costs) -> bool:
    """Whether a consumer that loops over v reads it too often to recompute it."""
    if costs.folds[v]:
        return True
    if consumer.op.name in CONTRACTIONS:
        return costs.weight[v] > 1 or len(costs.loads[v]) > 1
    return False


def _dearer_inline(
    v: Value, node: Node, roots: set[Value], same_index: bool, costs: _Costs, content: dict[Value, str]
) -> bool:
    """Whether computing v inside its readers costs more than storing it."""
    if costs.folds[v]:
        if v.sizes == () and same_index and all(r.sizes == () for r in roots):
            return False
        if len(roots) != 1 or not same_index:
            return True
        inside = content.get(next(iter(roots)), "")
        if not is_heavy(node):
            return False
        return bool(inside) if node.op.name in CONTRACTIONS else inside == "contraction"
    if len(roots) <= 1:
        return False
    if not costs.loads[v]:
        return costs.weight[v] > 4
    return costs.weight[v] > LIGHT or len(costs.loads[v]) > 1


class _Costs:
    """What computing a value inside its reader takes, given the values that are `placed`: operations, the values of its
    own size that are loaded (a bias or a channel's mean costs next to nothing), and whether there is a fold in it.
    """

    def __init__(self, graph: Graph, placed: Container[Value]) -> None:
        self.weight: dict[Value, int] = {}
        self.loads: dict[Value, frozenset[Value]] = {}
        self.folds: dict[Value, bool] = {}
        for node in graph.nodes:
            inputs = [v for v in node.inputs if v is not None]
            leaf = {v for v in inputs if v.node is None or v in placed}
            self.weight.update((v, 0) for v in leaf if v.node is None)
            self.folds.update((v, False) for v in leaf if v.node is None)
            self.loads.update((v, frozenset(() if v.sizes == () else (v,))) for v in leaf if v.node is None)
            for v in node.outputs:
                inside = {i: None for i in inputs if i not in leaf and not self.folds[i]}
                self.folds[v] = is_heavy(node) or any(self.folds[i] for i in inputs if i not in leaf)
                self.weight[v] = _op_cost(node) + sum(self.weight[i] for i in inside)
                own = frozenset(i for i in inputs if i not in inside)
                found = own.union(*(self.loads[i] for i in inside))
                self.loads[v] = frozenset(x for x in found if _large(x, v))


def _large(x: Value, like: Value) -> bool:
    """Whether reading x for each element of `like` is a load of about that many elements."""
    if x.constant is not None and x.constant.size == 1:
        return False
    if num_elements(x.sizes) == num_elements(like.sizes):
        return True
    if len(x.sizes) != len(like.sizes):
        return len(x.sizes) > len(like.sizes)
    return not any(a == 1 and b != 1 for a, b in zip(x.sizes, like.sizes, strict=True))     # else a row's mean


def _op_cost(node: Node) -> int:
    if is_movement(node):
        return 0
    if node.op.name in DEAR:
        return DEAR_COST
    return RANDOM_COST if "random" in node.op.name or node.op.name == "dropout" else 1
