"""Sums over all axes but the last few become sums over one axis: a bias' gradient then walks the same rows as the
weight's, whatever the rank of what flows back. Beside a convolution's gradient, which walks images, they stay.
"""

from __future__ import annotations

from ...graph.ir import Graph, Node, Rewriter
from ...ops.op import find_op
from ...shapes import num_elements


def flatten_sums(graph: Graph) -> Graph:
    """`reduce_sum` over the first axes, two at least, becomes a reshape and one over the first axis."""
    rewriter = Rewriter()
    images = {v for node in graph.nodes if node.op.name.endswith("_filter_grad") for v in node.inputs}
    for node in graph.nodes:
        x = rewriter.get(node.inputs[0]) if node.inputs else None
        if x is None or node.op.name != "reduce_sum" or not _leading(node, len(x.sizes)) or node.inputs[0] in images:
            rewriter.keep(node)
            continue
        count = len(node.attrs["axis"])
        flat = (num_elements(x.sizes[:count]), *x.sizes[count:])
        reshape = Node(find_op("reshape"), (x,), {"shape": flat}, [type(x.spec)(flat, x.dtype)], node.where)
        out = node.outputs[0].spec
        summed = Node(
            node.op,
            (reshape.outputs[0],),
            {"axis": (0,), "keepdims": False},
            [type(out)(flat[1:], x.dtype)],
            node.where,
        )
        rewriter.nodes += [reshape, summed]
        made = summed.outputs[0]
        if made.spec != out:
            back = Node(find_op("reshape"), (made,), {"shape": tuple(out.shape)}, [out], node.where)
            rewriter.nodes.append(back)
            made = back.outputs[0]
        rewriter.replaced[node.outputs[0]] = made
    return rewriter.finish(graph)


def _leading(node: Node, rank: int) -> bool:
    axes = node.attrs["axis"]
    return axes is not None and 1 < len(axes) < rank and tuple(axes) == tuple(range(len(axes)))
