"""tf.scan, tf.map_fn, tf.foldl, tf.foldr, tf.while_loop, tf.cond, tf.case, tf.switch_case: eager, traced, gradients."""

import numpy as np
import pytest
import tideflow as tf
from tideflow.errors import InvalidArgumentError, UnimplementedError

X = np.arange(8, dtype=np.float32).reshape(4, 2) * np.float32(0.3) - np.float32(0.2)


def several(x, v):
    """Every kind of loop and branch."""
    i, w = tf.while_loop(lambda i, w: i < 5, lambda i, w: (i + 1, w * v + x[0]), (tf.constant(0), x[0]))
    j, u = tf.while_loop(lambda i, w: tf.reduce_sum(w) < 50.0, lambda i, w: (i + 1, w * 2.0 + tf.abs(x[0]) + 1.0),
                         (tf.constant(0), x[0]), maximum_iterations=20)
    return [
        tf.scan(lambda a, x: a * v + x, x, initializer=tf.zeros(2)),
        tf.scan(lambda a, x: a + x, x, reverse=True),
        tf.map_fn(lambda t: t * t + v, x),
        tf.foldl(lambda a, x: a * 0.5 + x, x),
        tf.foldr(lambda a, x: a * 0.5 + x, x),
        i, w, j, u,
        tf.cond(tf.reduce_sum(x) > 0, lambda: x[0] * 2, lambda: tf.sqrt(x[1])),
        tf.switch_case(tf.cast(x[0, 0], tf.int32), [lambda: x[0] + 1, lambda: x[0] + 2, lambda: x[0] * v]),
        tf.case([(x[0, 0] > 5.0, lambda: x[0]), (x[0, 1] < 1.0, lambda: x[1] * v)], lambda: x[2]),
    ]


def with_gradients(x, v):
    with tf.GradientTape() as tape:
        tape.watch(x)
        found = several(x, v)
        total = sum(tf.reduce_sum(y) for y in found if y.dtype == tf.float32)
    return found + tape.gradient(total, [x, v])


@pytest.mark.parametrize("device", ["/CPU:0", "/WASM:0", pytest.param("/GPU:0", marks=pytest.mark.gpu)])
def test_traced_loops_equal_python_loops(device):
    v = tf.Variable([1.0, 2.0])
    expected = with_gradients(tf.constant(X), v)
    try:
        context = tf.device(device)
    except Exception as error:
        pytest.skip(str(error))
    with context:
        found = tf.function(with_gradients)(tf.constant(X), v)
    for a, b in zip(expected, found, strict=True):
        np.testing.assert_allclose(b.numpy(), a.numpy(), rtol=1e-4, atol=1e-5)


def test_gradient_of_a_gradient_of_a_scan():
    def scanned(x):
        return tf.scan(lambda a, k: a * k + tf.tanh(a), x, initializer=tf.ones([]))[-1]

    def unrolled(x):
        a = tf.ones([])
        for k in range(3):
            a = a * x[k] + tf.tanh(a)
        return a

    def second(function, x):
        with tf.GradientTape() as outer:
            outer.watch(x)
            with tf.GradientTape() as inner:
                inner.watch(x)
                y = function(x)
            first = inner.gradient(y, x)
            total = tf.reduce_sum(first * tf.constant([1.0, -2.0, 3.0]))
        return first, outer.gradient(total, x)

    x = tf.constant([0.3, 0.4, 0.5])
    for a, b in zip(tf.function(lambda x: second(scanned, x))(x), second(unrolled, x), strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-5)


def test_variables_assigned_in_a_loop_are_carried():
    total = tf.Variable(0.0)

    @tf.function
    def run(x):
        return tf.scan(lambda a, x: (total.assign_add(x), a + total)[1], x, initializer=0.0)

    np.testing.assert_allclose(run(tf.constant([1.0, 2.0, 3.0])).numpy(), [1.0, 4.0, 10.0])
    assert total.numpy() == 6.0


def test_variables_assigned_in_a_branch_keep_their_value_in_the_other():
    v = tf.Variable(1.0)

    @tf.function
    def run(x):
        return tf.cond(x > 0.0, lambda: v.assign_add(x) * 1.0, lambda: x)

    assert run(tf.constant(2.0)).numpy() == 3.0 and v.numpy() == 3.0
    assert run(tf.constant(-2.0)).numpy() == -2.0 and v.numpy() == 3.0


def test_the_branch_not_taken_adds_no_nan_to_the_gradient():
    @tf.function
    def slope(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = tf.cond(x > 0.0, lambda: tf.sqrt(x), lambda: x * 2.0)
        return tape.gradient(y, x)

    for device in ("/CPU:0", "/WASM:0"):
        with tf.device(device):
            assert slope(tf.constant(-1.0)).numpy() == 2.0


def test_nested_loops_compile():
    @tf.function
    def table(x):
        return tf.map_fn(lambda row: tf.scan(lambda a, y: a * 0.5 + y, row), x)

    expected = table.python_function(tf.constant(X)).numpy()
    for device in ("/CPU:0", "/WASM:0"):
        with tf.device(device):
            np.testing.assert_allclose(table(tf.constant(X)).numpy(), expected, rtol=1e-5)


def test_a_loop_whose_length_is_data_runs_on_the_host():
    @tf.function
    def grow(x):
        return tf.while_loop(lambda x: tf.reduce_sum(x) < 5.0, lambda x: (x * 2.0,), (x,))[0]

    np.testing.assert_allclose(grow(tf.constant([0.1, 0.2])).numpy(), [3.2, 6.4], rtol=1e-6)


def test_lengths_may_be_symbols():
    @tf.function(input_signature=[tf.TensorSpec([None, 2]), tf.TensorSpec([None, 2])])
    def run(x, start):
        return tf.scan(lambda a, x: a * 0.5 + x, x, initializer=start)

    for device in ("/CPU:0", "/WASM:0"):
        for length, rows in ((3, 1), (1, 4), (5, 2)):
            x = np.random.default_rng(length).standard_normal((length, 2)).astype(np.float32)
            start = np.ones((rows, 2), np.float32)
            with tf.device(device):
                found = run(x, start).numpy()
            a = start
            for t in range(length):
                a = a * np.float32(0.5) + x[t]
                np.testing.assert_allclose(found[t], a, rtol=1e-5)


def test_mistakes_are_named():
    traced = tf.function(lambda x: tf.scan(lambda a, k: tf.cast(a, tf.int32), x))
    with pytest.raises(TypeError, match="loop variable 0 is float32"):
        traced(tf.constant([1.0, 2.0]))
    with pytest.raises(ValueError, match="shape"):
        tf.function(lambda x: tf.scan(lambda a, k: tf.concat([a, a], 0), x))(tf.constant([[1.0], [2.0]]))
    with pytest.raises(TypeError, match="callable"):
        tf.cond(tf.constant(True), 1, 2)
    with pytest.raises(TypeError, match="fn_output_signature"):
        tf.map_fn(lambda x: tf.cast(x, tf.int32), tf.constant([1.0]))
    with pytest.raises(ValueError, match="1\\+ dimensional"):
        tf.scan(lambda a, x: a, tf.constant(1.0))
    with pytest.raises(TypeError, match=r"float32.*int32"):
        tf.function(lambda x: tf.cond(x > 0, lambda: 1.0, lambda: 1))(tf.constant(1.0))
    with pytest.raises(InvalidArgumentError, match="None of the conditions"):
        tf.case([(tf.constant(False), lambda: 1)])
    generator = tf.random.Generator.from_seed(1)
    with pytest.raises(UnimplementedError, match="random numbers"):
        tf.function(lambda x: tf.map_fn(lambda k: k + generator.normal([]), x))(tf.constant([1.0]))
