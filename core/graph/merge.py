"""Merges nodes that compute the same."""

from __future__ import annotations

from typing import Any

import numpy as np

from .ir import Graph, Rewriter, Value

__all__ = ["merge_equal"]


def merge_equal(graph: Graph) -> Graph:
    """Of nodes with one op, the same inputs and attributes, the first stays."""
    rewriter = Rewriter()
    seen: dict[Any, tuple[Value, ...]] = {}
    for node in graph.nodes:
        inputs = [rewriter.get(v) for v in node.inputs]
        key = (
            node.op.name,
            tuple(_identity(v) for v in inputs),
            tuple((name, _exact(node.attrs[name])) for name in sorted(node.attrs)),
        )
        found = None if node.op.stateful else seen.get(key)
        if found is not None:
            rewriter.replaced.update(zip(node.outputs, found, strict=True))
            continue
        rewriter.keep(node)
        seen[key] = rewriter.nodes[-1].outputs
    return rewriter.finish(graph)


def _exact(attr: Any) -> Any:
    """What two attributes share only if they are the same: 0.0 == -0.0 and 1 == 1.0 == True are not."""
    if isinstance(attr, tuple):
        return type(attr), tuple(map(_exact, attr))
    return type(attr), repr(attr) if isinstance(attr, float | np.inexact) else attr


def _identity(value: Value | None) -> Any:
    if value is None or value.constant is None:
        return id(value)
    return (
        (value.dtype.name, value.constant.shape, value.constant.tobytes())
        if value.constant.nbytes <= 256
        else id(value)
    )
