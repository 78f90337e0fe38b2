"""A sum of padded parts that fill a tensor side by side is their concatenation: what gradients of slices add up to."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from ..ops.op import find_op
from .ir import Graph, Node, Rewriter, Value

MOST = 6  # parts: a kernel binds eight buffers


@dataclass(frozen=True)
class _Filled:
    """Ranges along one axis that are filled by values; the rest is 0."""

    axis: int
    parts: tuple[tuple[int, int, Value], ...]  # first, end, what is there


def join_pads(graph: Graph) -> Graph:
    """Each `add` that completes a tensor becomes a `concat`."""
    if sum(n.op.name == "pad" for n in graph.nodes) < 2:
        return graph
    rewriter = Rewriter()
    filled: dict[Value, _Filled] = {}
    for node in graph.nodes:
        found = None
        if node.op.name == "pad":
            found = _of_pad(node, rewriter.get(node.inputs[0]))
        elif node.op.name == "add":
            found = _joined(*(filled.get(v) for v in node.inputs if v is not None))
        if found is None:
            rewriter.keep(node)
            continue
        out = node.outputs[0]
        filled[out] = found
        if node.op.name == "add" and _complete(found, out):
            made = Node(find_op("concat"), [v for _, _, v in found.parts], {"axis": found.axis}, [out.spec], node.where)
            rewriter.nodes.append(made)
            rewriter.replaced[out] = made.outputs[0]
        else:
            rewriter.keep(node)
    return rewriter.finish(graph)


def _of_pad(node: Node, x: Value | None) -> _Filled | None:
    axes = [i for i, (before, after) in enumerate(node.attrs["paddings"]) if (before, after) != (0, 0)]
    if len(axes) != 1 or node.attrs["constant_value"] != 0 or x is None:
        return None
    before, size = node.attrs["paddings"][axes[0]][0], x.sizes[axes[0]]
    if not isinstance(before, int) or not isinstance(size, int):
        return None
    return _Filled(axes[0], ((before, before + size, x),))


def _joined(a: _Filled | None, b: _Filled | None = None) -> _Filled | None:
    if a is None or b is None or a.axis != b.axis or len(a.parts) + len(b.parts) > MOST:
        return None
    parts = tuple(sorted((*a.parts, *b.parts), key=lambda p: p[:2]))
    apart = all(end <= start for (_, end, _), (start, _, _) in pairwise(parts))
    return _Filled(a.axis, parts) if apart else None


def _complete(found: _Filled, out: Value) -> bool:
    ends = [0, *(end for _, end, _ in found.parts)]
    starts = [*(start for start, _, _ in found.parts), out.sizes[found.axis]]
    return ends == starts
