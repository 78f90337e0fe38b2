"""The graph: recording, verifying, interpreting."""

import numpy as np
import pytest
import tideflow as tf
from tideflow.errors import InternalError
from tideflow.graph.interpret import bind, interpret
from tideflow.graph.ir import Graph, Node, Rewriter, Value, reachable, uses
from tideflow.graph.record import record
from tideflow.graph.verify import verify
from tideflow.ops.op import Spec, find_op
from tideflow.shapes import symbol

BATCH = symbol("batch")
FLOAT = tf.float32


def recorded(function, *shapes):
    recorder, inputs, results = record(function, [Spec(s, FLOAT) for s in shapes])
    results = results if isinstance(results, tuple) else (results,)
    return Graph("test", tuple(inputs), tuple(recorder.nodes), tuple(map(recorder.lift, results)))


def test_recording_shares_constants_and_keeps_symbols():
    graph = recorded(lambda x: (x * 2.0 + 2.0, x - 2.0), (BATCH, 3))
    assert [n.op.name for n in graph.nodes] == ["multiply", "add", "subtract"]
    assert len({n.inputs[1] for n in graph.nodes}) == 1
    assert graph.outputs[0].sizes == (BATCH, 3)


def test_nodes_say_which_line_made_them():
    graph = recorded(lambda x: tf.sin(x), (2,))
    assert graph.nodes[0].where.startswith("test_graph.py:")


def test_interpreting_reads_states_and_writes_none():
    v = tf.Variable([1.0, 2.0])

    @tf.function
    def f(x):
        v.assign_add(x)
        return v * 2.0

    graph = f.get_concrete_function(tf.TensorSpec([2])).graph
    outputs, writes = interpret(graph, [np.ones(2, np.float32)])
    np.testing.assert_array_equal(outputs[0], [4.0, 6.0])
    assert [s for s, _ in writes] == [v.state]
    np.testing.assert_array_equal(writes[0][1], [2.0, 3.0])
    np.testing.assert_array_equal(v.numpy(), [1.0, 2.0])


def test_sizes_are_bound_by_every_input():
    specs = [Spec((BATCH, 3), FLOAT), Spec((2 * BATCH,), FLOAT)]
    assert bind(specs, [np.zeros((4, 3)), np.zeros(8)]) == {"batch": 4}
    with pytest.raises(ValueError, match=r"input 1 has size 9 on axis 0; expected .* = 8"):
        bind(specs, [np.zeros((4, 3)), np.zeros(9)])
    with pytest.raises(ValueError, match="input 0 has shape"):
        bind(specs, [np.zeros(4), np.zeros(8)])


def test_a_value_used_before_it_is_made_is_found():
    graph = recorded(lambda x: tf.sin(tf.cos(x)), (2,))
    with pytest.raises(InternalError, match="made later or never"):
        verify(graph.with_(nodes=graph.nodes[::-1]))
    with pytest.raises(InternalError, match="made by no node"):
        verify(graph.with_(nodes=graph.nodes[:1]))


def test_a_shape_that_the_op_does_not_give_is_found():
    x = Value((2,), FLOAT)
    node = Node(find_op("sin"), [x], {}, [Spec((3,), FLOAT)])
    with pytest.raises(InternalError, match="its shape rule gives"):
        verify(Graph("test", (x,), (node,), node.outputs))


def test_reachable_and_uses():
    graph = recorded(lambda x: (tf.sin(x) + tf.cos(x), tf.tan(x)), (2,))
    names = [n.op.name for n in reachable(graph.outputs[:1])]
    assert sorted(names[:2]) == ["cos", "sin"] and names[2:] == ["add"]
    assert [n.op.name for n in uses(graph)[graph.inputs[0]]] == ["sin", "cos", "tan"]


def test_long_chains_need_no_recursion():
    def function(x):
        for _ in range(3000):
            x = x + 1.0
        return x

    graph = recorded(function, ())
    assert len(reachable(graph.outputs)) == 3000
    assert interpret(graph, [np.float32(0.0)])[0][0] == 3000.0


def test_the_rewriter_makes_again_only_what_changed():
    graph = recorded(lambda x: (tf.sin(x) * 2.0, tf.cos(x)), (2,))
    rewriter = Rewriter()
    sin, multiply, cos = graph.nodes
    rewriter.replaced[sin.outputs[0]] = graph.inputs[0]
    rewriter.keep(multiply), rewriter.keep(cos)
    made = rewriter.finish(graph)
    assert made.nodes[1] is cos and made.nodes[0] is not multiply and made.nodes[0].inputs[0] is graph.inputs[0]
    verify(made)
