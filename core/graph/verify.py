"""Checks a graph: every value made before it is used, each op's shape rule re-run and equal to the stored shapes."""

from __future__ import annotations

from ..errors import InternalError
from .ir import Graph, Value


def verify(graph: Graph, after: str = "trace") -> Graph:
    """Returns the graph, or raises InternalError that names the node and the pass it came from."""
    known: set[Value] = set(graph.inputs)
    for i, node in enumerate(graph.nodes):
        for v in node.inputs:
            if v is not None and v.node is not None and v not in known:
                raise InternalError(
                    f"graph {graph.name!r} after {after}: node {i} ({node!r}) reads a value that is made later or never"
                )
        specs = node.op.infer(*(None if v is None else v.spec for v in node.inputs), **node.attrs)
        specs = specs if isinstance(specs, tuple) else (specs,)
        if tuple(v.spec for v in node.outputs) != specs:
            raise InternalError(
                f"graph {graph.name!r} after {after}: node {i} ({node!r}) stores {node.outputs}, its shape rule gives "
                f"{specs}"
            )
        known.update(node.outputs)
    for v in graph.results:
        if v.node is not None and v not in known:
            raise InternalError(f"graph {graph.name!r} after {after}: a result is made by no node of the graph")
    return graph
