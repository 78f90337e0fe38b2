"""Computes what depends on constants alone, if the result is small."""

from __future__ import annotations

import numpy as np

from ...graph.ir import Graph, Node, Rewriter, Value
from ...shapes import Dim

LARGEST = 1024  # elements: a larger constant costs more bytes in the file than it saves time


def fold_constants(graph: Graph) -> Graph:
    """Nodes whose inputs are all constants become constants."""
    rewriter = Rewriter()
    for node in graph.nodes:
        inputs = [rewriter.get(v) for v in node.inputs]
        if not _foldable(node, inputs):
            rewriter.keep(node)
            continue
        made = node.op.numpy(*(None if v is None else v.constant for v in inputs), **node.attrs)
        for old, array in zip(node.outputs, made if isinstance(made, tuple) else (made,), strict=True):
            rewriter.replaced[old] = Value(old.sizes, old.dtype, constant=np.asarray(array).astype(old.dtype.numpy))
    return rewriter.finish(graph)


def _foldable(node: Node, inputs: list[Value | None]) -> bool:
    if node.op.stateful or not all(v is None or v.constant is not None for v in inputs):
        return False
    if any(_symbolic(a) for a in node.attrs.values()):
        return False
    sizes = [d for v in node.outputs for d in v.sizes]
    return all(isinstance(d, int) for d in sizes) and all(int(np.prod(v.sizes)) <= LARGEST for v in node.outputs)


def _symbolic(attr: object) -> bool:
    return isinstance(attr, Dim) or (isinstance(attr, tuple) and any(_symbolic(a) for a in attr))
