"""Drops nodes that no result needs."""

from __future__ import annotations

from ...graph.ir import Graph, reachable


def drop_unused(graph: Graph) -> Graph:
    """Keeps what outputs and written states need, and stateful nodes, in the order they had."""
    needed = set(reachable([*graph.results, *(v for n in graph.nodes if n.op.stateful for v in n.outputs)]))
    return graph.with_(nodes=tuple(n for n in graph.nodes if n in needed))
