"""Passes: what each removes, and what it must leave."""

import numpy as np
import pytest
import tideflow as tf
from tideflow.compiler.passes import PASSES, REQUIRED, run_passes
from tideflow.graph.interpret import interpret
from tideflow.graph.verify import verify


def traced(function, *specs):
    return tf.function(function, input_signature=specs).get_concrete_function().graph


def ops(graph):
    return [n.op.name for n in graph.nodes]


VECTOR = tf.TensorSpec([None])


def test_what_changes_nothing_goes():
    graph = traced(lambda x: tf.identity(tf.reshape(x, [-1]) * 1.0 - 0.0) / 1.0, VECTOR)
    assert ops(run_passes(graph)) == []


@pytest.mark.parametrize("change", [lambda x: x + 0.0, lambda x: x - -0.0, lambda x: 0.0 - x, lambda x: 1.0 / x])
def test_what_changes_a_negative_zero_stays(change):
    graph = traced(change, VECTOR)
    made = run_passes(graph)
    assert len(made.nodes) == 1
    with np.errstate(divide="ignore"):
        x = np.array([-0.0, 0.0, 1.0], np.float32)
        found, expected = (np.signbit(interpret(g, [x], plain=True)[0][0]) for g in (made, graph))
        np.testing.assert_array_equal(found, expected)


def test_a_broadcasting_neutral_stays():
    graph = traced(lambda x: x * tf.ones([2, 1]), tf.TensorSpec([3]))
    assert ops(run_passes(graph)) == ["multiply"]


def test_a_chain_of_reshapes_is_one():
    graph = traced(lambda x: tf.reshape(tf.reshape(tf.reshape(x, [-1, 2, 3]), [-1]), [-1, 3]), tf.TensorSpec([None, 6]))
    assert ops(run_passes(graph)) == ["reshape"]


def test_equal_nodes_are_one_and_what_nobody_needs_goes():
    graph = traced(lambda x: (tf.sin(x) + tf.sin(x), tf.cos(x))[0], VECTOR)
    assert ops(run_passes(graph)) == ["sin", "add"]


def test_constants_that_differ_in_sign_or_dtype_are_not_equal():
    graph = traced(lambda x: (x * 0.0, x * -0.0, tf.cast(x, "int32") * 0), VECTOR)
    assert ops(run_passes(graph)).count("multiply") == 3


def test_small_constants_are_folded_and_large_ones_are_not():
    graph = traced(lambda x: (x + tf.reduce_sum(tf.ones([4]) * 2.0), tf.ones([64, 64]) * x), tf.TensorSpec([]))
    made = run_passes(graph)
    assert [n.op.name for n in made.nodes if not n.inputs] == ["full"]
    assert interpret(made, [np.float32(1.0)])[0][0] == 9.0


def test_an_assignment_without_readers_stays_and_an_unread_value_goes():
    v = tf.Variable(1.0)

    def function(x):
        v.assign(x * 2.0)
        tf.sin(x)
        return x

    assert ops(run_passes(traced(function, tf.TensorSpec([])))) == ["multiply"]


@pytest.mark.parametrize("name", sorted(set(PASSES) - REQUIRED))
def test_each_pass_may_be_skipped(name):
    def function(x):
        y = tf.nn.gelu(tf.identity(x) * 1.0)
        return y + tf.nn.gelu(x), tf.constant([1.0]) + tf.constant([2.0])

    graph = traced(function, VECTOR)
    x = np.linspace(-1, 1, 5).astype(np.float32)
    expected, _ = interpret(graph, [x], plain=True)
    for a, b in zip(interpret(verify(run_passes(graph, [name])), [x], plain=True)[0], expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)


@pytest.mark.parametrize("name", ["bodies", "expand", "no such pass"])
def test_a_pass_that_cannot_be_skipped_is_named(name):
    with pytest.raises(ValueError, match="may be skipped"):
        run_passes(traced(lambda x: x, VECTOR), [name])
