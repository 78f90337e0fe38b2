"""Graphs as prepared calls on the host: what is run, what is kept, and that states are only written at the end."""

import gc
import weakref

import numpy as np
import pytest
import tideflow as tf
from tideflow.function.function import run_on_host
from tideflow.graph.interpret import interpret
from tideflow.graph.merge import _exact


def graph_of(function, *specs):
    return tf.function(function).get_concrete_function(*specs).graph


FREE = tf.TensorSpec([None, 3])


def test_sizes_are_bound_anew_for_each_shape():
    graph = graph_of(lambda x: tf.reshape(x, [-1]) + tf.cast(tf.shape(x)[0], tf.float32), FREE)
    for rows in (1, 4, 2, 4, 7, 1, 5, 6):
        x = np.arange(rows * 3, dtype=np.float32).reshape(rows, 3)
        (found,), writes = interpret(graph, [x])
        np.testing.assert_array_equal(found, x.ravel() + rows)
        assert writes == []
    assert len(graph.__dict__["_prepared"]._ready) <= 4


def test_a_shape_that_does_not_fit_is_refused():
    graph = graph_of(lambda x: x + 1.0, FREE)
    with pytest.raises(ValueError, match=r"input 0 has size 4 on axis 1; expected 3"):
        interpret(graph, [np.ones((2, 4), np.float32)])


def test_nodes_that_nobody_needs_are_not_run():
    def function(x):
        tf.matmul(x, tf.ones([3, 3]))                   # not used
        return x * 2.0

    graph = graph_of(function, FREE)
    assert [node.op.name for node in graph.nodes if node.op.name == "matmul"] == ["matmul"]
    x = np.ones((2, 3), np.float32)
    (found,), _ = interpret(graph, [x])
    np.testing.assert_array_equal(found, 2 * x)
    assert "matmul" not in [node.op.name for node in graph.__dict__["_prepared"]._nodes]


def test_intermediate_values_are_let_go():
    alive = []

    class Watched(np.ndarray):
        pass

    def function(x):
        return tf.exp(tf.negative(x)) + 1.0

    graph = graph_of(function, FREE)
    prepared_input = np.ones((2, 3), np.float32).view(Watched)
    interpret(graph, [np.asarray(prepared_input)])
    prepared = graph.__dict__["_prepared"]
    prepared._ready.clear()
    original = prepared._calls[0]

    def negative(x, **attrs):
        made = original[0](x, **attrs).view(Watched)
        alive.append(weakref.ref(made))
        return made

    def plain(x, y, **attrs):
        gc.collect()
        assert alive[0]() is None, "the result of the first call is needed by the second alone"
        return np.add(np.asarray(x), y)

    prepared._calls[0] = (negative, *original[1:])
    exp = prepared._calls[1]
    prepared._calls[1] = (lambda x, **attrs: np.exp(np.asarray(x)), *exp[1:])
    prepared._calls[2] = (plain, *prepared._calls[2][1:])
    interpret(graph, [np.ones((2, 3), np.float32)])
    assert alive


def test_written_states_are_arrays_of_their_own():
    v, w = tf.Variable(np.zeros(3, np.float32)), tf.Variable(np.zeros(3, np.float32))

    def function(x):
        v.assign(x)                                     # the caller's array
        w.assign(w + x)
        return w.value(), v + 1.0

    graph = graph_of(function, tf.TensorSpec([3]))
    x = np.array([1, 2, 3], np.float32)
    shown, _ = run_on_host(graph, [x])
    x[:], shown[:] = 9, 9                               # what others can see is not the state
    np.testing.assert_array_equal(v.numpy(), [1, 2, 3])
    np.testing.assert_array_equal(w.numpy(), [1, 2, 3])


def test_composites_without_a_kernel_are_expanded_and_equal_nodes_run_once():
    def function(x):
        return tf.nn.gelu(x, approximate=True) + tf.nn.gelu(x, approximate=True), tf.nn.gelu(x)

    graph = graph_of(function, FREE)
    x = np.linspace(-3.0, 3.0, 12, dtype=np.float32).reshape(4, 3)
    (doubled, exact), _ = interpret(graph, [x])
    np.testing.assert_array_equal(doubled, 2.0 * tf.nn.gelu(x, approximate=True).numpy())
    np.testing.assert_array_equal(exact, tf.nn.gelu(x).numpy())
    names = [node.op.name for node in graph.__dict__["_prepared"]._nodes]
    assert names.count("tanh") == 1 and names.count("erf") == 1 and "gelu" not in names
    (again, as_well), _ = interpret(graph, [x], plain=True)
    assert again.tobytes() == doubled.tobytes() and as_well.tobytes() == exact.tobytes()
    names = [node.op.name for node in graph.__dict__["_plain"]._nodes]
    assert names.count("gelu") == 3 and "tanh" not in names


@pytest.mark.parametrize("values", [(0.0, -0.0), (-0.0, 0.0)], ids=str)
def test_attributes_that_differ_in_sign_alone_stay_apart(values):
    spec = tf.TensorSpec([2])
    graph = graph_of(lambda x: [1.0 / tf.pad(x, [[1, 1]], constant_values=v) for v in values], spec)
    found, _ = interpret(graph, [np.ones(2, np.float32)])
    for value, array in zip(values, found, strict=True):
        assert array[0] == np.copysign(np.inf, value)


@pytest.mark.parametrize(("one", "other"), [
    (0.0, -0.0), (1, 1.0), (1, True), ((1, 2), (1.0, 2)), (((0.0,),), ((-0.0,),)), (np.float32(0), np.float32(-0.0)),
], ids=str)
def test_equal_attributes_that_are_not_the_same_have_different_keys(one, other):
    assert _exact(one) != _exact(other) and _exact(one) == _exact(one)


def test_equal_nodes_give_outputs_and_states_of_their_own():
    v, w = (tf.Variable(np.zeros(3, np.float32)) for _ in range(2))

    @tf.function
    def function(x):
        v.assign(tf.exp(x))
        w.assign(tf.exp(x))
        return tf.tanh(x), tf.tanh(x), tf.exp(x)

    for _ in range(2):
        p, q, r = function(tf.zeros(3))
        p.numpy()[0] = 99.0
        r.numpy()[0] = 99.0
        v.state.array[1] = 99.0
        np.testing.assert_array_equal(q.numpy(), [0.0, 0.0, 0.0])
        np.testing.assert_array_equal(v.numpy(), [1.0, 99.0, 1.0])
        np.testing.assert_array_equal(w.numpy(), [1.0, 1.0, 1.0])
