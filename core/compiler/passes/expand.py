"""Replaces composites by their expansions, until only primitives are left."""

from __future__ import annotations

from ...graph.ir import Graph, Node, Rewriter
from ...graph.record import expand_node


def expand_composites(graph: Graph) -> Graph:
    """Every composite becomes the nodes of its `expand`."""
    rewriter = Rewriter()
    for node in graph.nodes:
        _take(rewriter, node)
    return rewriter.finish(graph)


def _take(rewriter: Rewriter, node: Node) -> None:
    if node.op.kind != "composite":
        rewriter.keep(node)
        return
    inner, outputs = expand_node(node, [rewriter.get(v) for v in node.inputs])
    for n in inner:
        _take(rewriter, n)
    rewriter.replaced.update((old, rewriter.get(new)) for old, new in zip(node.outputs, outputs, strict=True))
