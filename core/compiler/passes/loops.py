"""Ops with bodies, made ready for kernels: bodies of primitives, branches as selects, loops without what nobody needs.

Versions of a carried value and results that equal one are the same memory, so a result that is a carried value becomes
a slice of the value's history.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...autodiff.bodies import Body
from ...errors import UnimplementedError
from ...graph.ir import Graph, Node, Rewriter, Value, reachable, uses
from ...ops.op import Spec, find_op
from ...shapes import num_elements
from .dce import drop_unused

HISTORY_BYTES = 64 << 20  # of all versions of a carried value; a larger one keeps two


def lower_bodies(graph: Graph, inner: Callable[[Graph], Graph]) -> Graph:
    """`inner` are the passes for a body's graph."""
    if not any(n.op.kind == "control" for n in graph.nodes):
        return graph
    graph = _join_branches(graph)
    while True:
        graph = drop_unused(graph)
        pruned = _each_scan(graph, _pruned)
        if pruned is graph:
            break
        graph = pruned
    graph = _each_scan(graph, lambda node, _, graph: _ready(node, inner))
    return drop_unused(_each_scan(graph, _with_history))


def _each_scan(graph: Graph, change: Callable[[Node, dict[Value, list[Node]], Graph], Any]) -> Graph:
    """The graph with each scan changed: `change` gives None (as it was), or (new nodes, new values of its outputs)."""
    rewriter, users, changed = Rewriter(), uses(graph), False
    for node in graph.nodes:
        if node.op.name == "while":
            raise UnimplementedError(
                f"a while_loop whose number of iterations is not known in advance runs on the host ({node.where}); "
                "pass maximum_iterations to run it on a device"
            )
        found = None
        if node.op.name == "scan":
            inputs = tuple(rewriter.get(v) for v in node.inputs)
            moved = Node(node.op, inputs, node.attrs, [v.spec for v in node.outputs], node.where)
            found = change(moved, {new: users.get(old, []) + [node] * any(old is r for r in graph.results)
                                   for old, new in zip(node.outputs, moved.outputs, strict=True)}, graph)
        if found is None:
            rewriter.keep(node)
            continue
        changed = True
        nodes, outputs = found
        rewriter.nodes += nodes
        rewriter.replaced.update((o, n) for o, n in zip(node.outputs, outputs, strict=True) if n is not None)
    return rewriter.finish(graph) if changed else graph


# -- branches ----------------------------------------------------------------------------------------------------------


def _join_branches(graph: Graph) -> Graph:
    """Both sides of each `cond`, and a select for each output."""
    if not any(n.op.name == "cond" for n in graph.nodes):
        return graph
    rewriter = Rewriter()
    select = find_op("select")

    def take(node: Node, replaced: dict[Value, Value]) -> None:
        inputs = [None if v is None else replaced.get(v, v) for v in node.inputs]
        if node.op.name != "cond":
            made = Node(node.op, inputs, node.attrs, [v.spec for v in node.outputs], node.where)
            rewriter.nodes.append(made)
            replaced.update(zip(node.outputs, made.outputs, strict=True))
            return
        condition, *rest = inputs
        sides = [_inlined(node.attrs[which], rest, take) for which in ("yes", "no")]
        for out, yes, no in zip(node.outputs, *sides, strict=True):
            made = Node(select, (condition, yes, no), {}, [out.spec], node.where)
            rewriter.nodes.append(made)
            replaced[out] = made.outputs[0]

    for node in graph.nodes:
        if node.op.name == "cond":
            take(node, rewriter.replaced)
        else:
            rewriter.keep(node)
    return rewriter.finish(graph)


def _inlined(body: Body, inputs: list[Any], take: Callable[[Node, dict[Value, Value]], None]) -> list[Value]:
    replaced: dict[Value, Value] = dict(zip(body.graph.inputs, inputs, strict=True))
    for node in body.graph.nodes:
        if node.op.stateful:
            raise UnimplementedError(f"op {node.op.name} inside a branch of tf.cond runs on the host")
        take(node, replaced)
    return [replaced.get(v, v) for v in body.graph.outputs]


# -- scans -------------------------------------------------------------------------------------------------------------


def _ready(node: Node, inner: Callable[[Graph], Graph]) -> Any:
    """The scan with a body of primitives."""
    body: Body = node.attrs["body"]
    graph = inner(_with_constants(body.graph, node))
    made = Node(node.op, node.inputs, {**node.attrs, "body": Body(graph, body.symbols)},
                [v.spec for v in node.outputs], node.where)
    return [made], made.outputs


def _with_constants(graph: Graph, node: Node) -> Graph:
    """The body with small constants of the surrounding graph in it."""
    first = node.attrs["carried"] + node.attrs["stacked"]
    rewriter = Rewriter()
    for inside, outside in zip(graph.inputs[first:], node.inputs[first:], strict=True):
        if outside is not None and outside.constant is not None and outside.constant.size == 1:
            rewriter.replaced[inside] = Value(inside.sizes, inside.dtype, constant=outside.constant)
    if not rewriter.replaced:
        return graph
    for n in graph.nodes:
        rewriter.keep(n)
    return rewriter.finish(graph)


def _pruned(node: Node, users: dict[Value, list[Node]], _: Graph) -> Any:
    """The scan without results, carried values, slices and constants that nothing needs."""
    attrs, body = node.attrs, node.attrs["body"].graph
    carried, stacked, history = attrs["carried"], attrs["stacked"], attrs["history"]
    versions = [j for j, h in enumerate(history) if h]
    used = [bool(users[v]) for v in node.outputs]
    wanted = [used[j] or (history[j] and used[carried + versions.index(j)]) for j in range(carried)]
    results = [i for i in range(carried, len(body.outputs)) if used[i + len(versions)]]
    while True:
        roots = [body.outputs[i] for i in results] + [body.outputs[j] for j in range(carried) if wanted[j]]
        nodes = reachable(roots)
        read = {v for n in nodes for v in n.inputs if v is not None} | set(roots)
        more = [w or body.inputs[j] in read for j, w in enumerate(wanted)]
        if more == wanted:
            break
        wanted = more
    kept = [wanted[i] if i < carried else v in read for i, v in enumerate(body.inputs)]
    keep_history = tuple(h and used[carried + versions.index(j)] for j, h in enumerate(history) if wanted[j])
    same_history = all(used[carried + k] for k in range(len(versions)))
    if all(kept) and len(results) == len(body.outputs) - carried and same_history:
        return None
    finals = [j for j in range(carried) if wanted[j]]
    graph = Graph(body.name, tuple(v for v, k in zip(body.inputs, kept, strict=True) if k), tuple(nodes),
                  tuple(body.outputs[i] for i in (*finals, *results)))
    changed = {**attrs, "body": Body(graph, attrs["body"].symbols), "carried": len(finals), "history": keep_history,
               "stacked": sum(kept[carried : carried + stacked])}
    still = [j for j in versions if used[carried + versions.index(j)] and wanted[j]]
    old = [*finals, *(carried + versions.index(j) for j in still), *(i + len(versions) for i in results)]
    made = Node(node.op, [v for v, k in zip(node.inputs, kept, strict=True) if k], changed,
                [node.outputs[i].spec for i in old], node.where)
    outputs: list[Value | None] = [None] * len(node.outputs)
    for position, i in enumerate(old):
        outputs[i] = made.outputs[position]
    return [made], outputs


def _with_history(node: Node, users: dict[Value, list[Node]], _: Graph) -> Any:
    """Last values, and results that are carried values, as parts of the history."""
    attrs, body = node.attrs, node.attrs["body"].graph
    carried, length = attrs["carried"], attrs["length"]
    after = {v: j for j, v in reversed(list(enumerate(body.outputs[:carried])))}
    before = {v: j for j, v in enumerate(body.inputs[:carried])}
    aliases: dict[int, tuple[int, int]] = {}  # result -> (carried value, first version)
    same: dict[int, int] = {}  # result -> an equal one before
    seen: dict[Value, int] = {}
    for i, v in enumerate(body.outputs[carried:], start=carried):
        if v in after:
            aliases[i] = after[v], 1
        elif v in before:
            aliases[i] = before[v], 0
        elif v in seen:
            same[i] = seen[v]
        seen.setdefault(v, i)
    small = [_small(v.sizes, length) for v in body.inputs[:carried]]
    history = tuple(
        h or any(j == a for a, _ in aliases.values()) or (small[j] and bool(users[node.outputs[j]]))
        for j, h in enumerate(attrs["history"])
    )
    results = [i for i in range(carried, len(body.outputs)) if i not in aliases and i not in same]
    if len(results) == len(body.outputs) - carried and history == tuple(attrs["history"]):
        return None if not any(h and users[node.outputs[j]] for j, h in enumerate(history)) else _finals(node, history)
    old_versions = [j for j, h in enumerate(attrs["history"]) if h]
    versions = [j for j, h in enumerate(history) if h]
    graph = body.with_(outputs=(*body.outputs[:carried], *(body.outputs[i] for i in results)))
    specs = [*(v.spec for v in node.outputs[:carried]),
             *(Spec((length + 1, *body.inputs[j].sizes), body.inputs[j].dtype) for j in versions),
             *(node.outputs[i + len(old_versions)].spec for i in results)]
    made = Node(node.op, node.inputs, {**attrs, "body": Body(graph, attrs["body"].symbols), "history": history}, specs,
                node.where)
    extra: list[Node] = [made]
    outputs: list[Value] = list(made.outputs[:carried])
    outputs += [made.outputs[carried + versions.index(j)] for j in old_versions]
    for i in range(carried, len(body.outputs)):
        at = same.get(i, i)
        if at in aliases:
            j, start = aliases[at]
            outputs.append(_versions(extra, made.outputs[carried + versions.index(j)], start, length, attrs["reverse"]))
        else:
            outputs.append(made.outputs[carried + len(versions) + results.index(at)])
    for j in versions:
        outputs[j] = _last(extra, made.outputs[carried + versions.index(j)], length)
    return extra, outputs


def _finals(node: Node, history: tuple[bool, ...]) -> Any:
    """Last values as parts of the history, where there is one."""
    carried, extra = node.attrs["carried"], [node]
    outputs: list[Value] = list(node.outputs)
    for position, j in enumerate(j for j, h in enumerate(history) if h):
        outputs[j] = _last(extra, node.outputs[carried + position], node.attrs["length"])
    return extra, outputs


def _small(sizes: Any, length: Any) -> bool:
    total = num_elements((length, *sizes))
    return not isinstance(total, int) or 4 * total <= HISTORY_BYTES


def _last(nodes: list[Node], versions: Value, length: Any) -> Value:
    part = _slice(nodes, versions, length, 1)
    shape = versions.sizes[1:]
    made = Node(find_op("reshape"), (part,), {"shape": shape}, [Spec(shape, part.dtype)])
    nodes.append(made)
    return made.outputs[0]


def _versions(nodes: list[Node], versions: Value, start: int, length: Any, reverse: bool) -> Value:
    part = _slice(nodes, versions, start, length)
    if reverse:
        made = Node(find_op("reverse"), (part,), {"axes": (0,)}, [part.spec])
        nodes.append(made)
        return made.outputs[0]
    return part


def _slice(nodes: list[Node], x: Value, start: Any, count: Any) -> Value:
    size = (count, *x.sizes[1:])
    attrs = {"begin": (start, *([0] * (len(x.sizes) - 1))), "size": size}
    made = Node(find_op("slice"), (x,), attrs, [Spec(size, x.dtype)])
    nodes.append(made)
    return made.outputs[0]
