"""Replaces composites by their expansions, until only primitives are left."""

from __future__ import annotations

from collections.abc import Callable

from .ir import Graph, Node, Rewriter
from .record import expand_node

__all__ = ["expand_composites"]


def expand_composites(graph: Graph, stays: Callable[[Node], bool] = lambda node: False) -> Graph:
    """Every composite becomes the nodes of its `expand`, but for those of which `stays` is true."""
    rewriter = Rewriter()
    for node in graph.nodes:
        _take(rewriter, node, stays)
    return rewriter.finish(graph)


def _take(rewriter: Rewriter, node: Node, stays: Callable[[Node], bool]) -> None:
    if node.op.kind != "composite" or stays(node):
        rewriter.keep(node)
        return
    inner, outputs = expand_node(node, [rewriter.get(v) for v in node.inputs])
    for n in inner:
        _take(rewriter, n, stays)
    rewriter.replaced.update(
        (old, rewriter.replaced.get(new, new)) for old, new in zip(node.outputs, outputs, strict=True))
