"""Removes nodes that change nothing: identities, reshapes of reshapes, reductions of one element, x * 1, x + 0."""

from __future__ import annotations

import numpy as np

from ...graph.ir import Graph, Node, Rewriter, Value
from ...ops.op import find_op
from ...shapes import num_elements

_OF_ONE = frozenset({"reduce_sum", "reduce_max", "reduce_min", "reduce_prod", "reduce_all", "reduce_any"})
# what changes nothing; signed: -0.0 + 0.0 is 0.0, and so is -0.0 - -0.0
_NEUTRAL = {"add": -0.0, "subtract": 0.0, "multiply": 1.0, "truediv": 1.0}


def simplify(graph: Graph) -> Graph:
    """One walk: each node is replaced by one of its inputs where that is the same value."""
    rewriter = Rewriter()
    for node in graph.nodes:
        inputs = [rewriter.get(v) for v in node.inputs]
        same = _same_as(node, inputs)
        if same is not None:
            rewriter.replaced[node.outputs[0]] = same
        elif node.op.name == "reshape" and inputs[0].node is not None and inputs[0].node.op.name == "reshape":
            made = Node(node.op, (inputs[0].node.inputs[0],), node.attrs, [node.outputs[0].spec], node.where)
            rewriter.nodes.append(made)
            rewriter.replaced[node.outputs[0]] = made.outputs[0]
        elif node.op.name in _OF_ONE and num_elements(inputs[0].sizes) == num_elements(node.outputs[0].sizes):
            out = node.outputs[0]
            made = Node(find_op("reshape"), (inputs[0],), {"shape": out.sizes}, [out.spec], node.where)
            rewriter.nodes.append(made)
            rewriter.replaced[out] = made.outputs[0]
        else:
            rewriter.keep(node)
    return rewriter.finish(graph)


def _same_as(node: Node, inputs: list[Value]) -> Value | None:
    """The input that equals the node's only output, if one does."""
    name, first = node.op.name, inputs[0] if inputs else None
    if first is None or len(node.outputs) != 1:
        return None
    out = node.outputs[0]
    if name in _OF_ONE and first.spec == out.spec:
        return first
    if name in ("identity", "stop_gradient"):
        return first
    if name in ("reshape", "broadcast_to", "cast") and first.spec == out.spec:
        return first
    if name == "transpose" and tuple(node.attrs["perm"]) == tuple(range(len(out.sizes))):
        return first
    if name in _NEUTRAL and len(inputs) == 2:
        if _is_constant(inputs[1], _NEUTRAL[name]) and first.spec == out.spec:
            return first
        if name in ("add", "multiply") and _is_constant(first, _NEUTRAL[name]) and inputs[1].spec == out.spec:
            return inputs[1]
    return None


def _is_constant(value: Value, number: float) -> bool:
    """Whether every element is that number; zeros of floats by their sign too."""
    if value.constant is None or value.constant.size != 1:
        return False
    element = value.constant.reshape(-1)[0]
    return bool(element == number and (not value.dtype.is_floating or np.signbit(element) == np.signbit(number)))
