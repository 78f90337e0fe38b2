"""Eager tensors as TensorFlow shows and treats them; what leaks out of a trace is named."""

import numpy as np
import pytest
import tideflow as tf


def test_arrays_leave_operators_to_tensors():
    x = tf.constant([1.0, 2.0])
    for made in (np.float32(2) * x, np.ones(2, np.float32) + x, np.ones(2) - x):
        assert tf.is_tensor(made) and made.dtype is tf.float32


def test_text_is_that_of_tensorflow():
    x = tf.constant([[1.0, 2.0], [3.0, 4.0]])
    assert repr(x) == ("<tf.Tensor: shape=(2, 2), dtype=float32, numpy=\narray([[1., 2.],\n       [3., 4.]], "
                       "dtype=float32)>")
    assert str(x) == "tf.Tensor(\n[[1. 2.]\n [3. 4.]], shape=(2, 2), dtype=float32)"
    assert repr(tf.constant(1)) == "<tf.Tensor: shape=(), dtype=int32, numpy=1>"
    assert str(tf.constant(1)) == "tf.Tensor(1, shape=(), dtype=int32)"


def test_set_shape_checks():
    x = tf.ones([2, 3])
    x.set_shape([None, 3])
    with pytest.raises(ValueError, match="not compatible"):
        x.set_shape([3, 3])


def test_leaked_tensor_is_named():
    kept = []

    @tf.function
    def f(x):
        kept.append(x * 2.0)
        return x

    f(tf.constant(1.0))
    with pytest.raises(TypeError, match="out of scope"):
        kept[0] + 1.0


def test_assign_add_does_not_broadcast():
    v = tf.Variable([1.0, 2.0])
    with pytest.raises(tf.errors.InvalidArgumentError, match="shapes must be equal"):
        v.assign_add(1.0)
    assert v.assign_add([1.0, 1.0]).numpy().tolist() == [2.0, 3.0]


def test_symbolic_bool_is_refused_by_tensorflows_error():
    @tf.function
    def f(x):
        return x if x > 0 else -x

    with pytest.raises(tf.errors.OperatorNotAllowedInGraphError, match=r"tf\.where"):
        f(tf.constant(1.0))


def test_concrete_function_takes_tensors_by_position_and_name():
    @tf.function
    def f(x, y):
        return x - y

    c = f.get_concrete_function(tf.TensorSpec([None]), tf.TensorSpec([]))
    assert c(tf.constant([3.0, 4.0]), tf.constant(1.0)).numpy().tolist() == [2.0, 3.0]
    assert c(np.float32([3.0]), y=1.0).numpy().tolist() == [2.0]
    for wrong in (lambda: c(tf.constant([1.0])), lambda: c(tf.constant([1.0]), tf.constant(1)),
                  lambda: c(tf.constant(1.0), tf.constant(1.0)), lambda: c(tf.constant([1.0]), z=1.0)):
        with pytest.raises(TypeError):
            wrong()


def test_numpy_scalars_are_tensors_for_a_function():
    traces = []

    @tf.function
    def f(x):
        traces.append(1)
        return x + 1

    for x in (np.float32(1), np.float32(2), tf.constant(3.0)):
        f(x)
    assert len(traces) == 1


def test_batch_jacobian():
    x = tf.constant([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        y = tf.stack([x[:, 0] * x[:, 1], x[:, 0], x[:, 1] ** 2], axis=1)
    assert tape.batch_jacobian(y, x).numpy()[1].tolist() == [[4.0, 3.0], [1.0, 0.0], [0.0, 8.0]]
    assert tape.batch_jacobian(y, tf.ones([3, 1])) is None
    with pytest.raises(ValueError, match="first dimension"):
        tape.batch_jacobian(y, tf.ones([2, 2]))


def test_watching_integers_goes_on():
    with tf.GradientTape() as tape:
        tape.watch(n := tf.constant(2))
        y = n * n
    assert tape.gradient(y, n) is None


@pytest.mark.parametrize("dtype", [tf.float32, tf.float64, tf.int32, tf.uint8])
@pytest.mark.parametrize("name", ["__add__", "__radd__", "__sub__", "__rsub__", "__mul__", "__truediv__",
                                  "__rtruediv__", "__lt__", "__ge__"])
def test_operators_ask_numpy_and_agree_with_the_ops(name, dtype):
    """The short way of two eager tensors gives what the op gives under a tape, where there is no short way."""
    x, y = tf.constant([[250, 3], [0, 7]], dtype), tf.constant([10, 0], dtype)
    for other in (y, 2):
        short = getattr(x, name)(other)
        with tf.GradientTape():
            long = getattr(x, name)(other)
        assert short.dtype is long.dtype
        np.testing.assert_array_equal(short.numpy(), long.numpy())


def test_operators_that_fail_give_the_errors_of_the_ops():
    with pytest.raises(tf.errors.InvalidArgumentError, match="do not broadcast"):
        tf.ones([2]) + tf.ones([3])
    with pytest.raises(tf.errors.InvalidArgumentError, match="expected to be a float32 tensor"):
        tf.ones([2]) * tf.ones([2], tf.float64)
    with pytest.raises(TypeError, match="Cannot convert"):
        tf.constant([1]) - 1.5
    assert tf.constant(2**31 - 1) + 1 == tf.constant(-(2**31))        # wraps without a warning


def test_text_is_held_as_bytes():
    x = tf.constant([["a"], ["é"]])
    assert x.dtype is tf.string and x.numpy().tolist() == [[b"a"], ["é".encode()]]
    assert tf.constant("hi").numpy() == b"hi" and repr(tf.constant("hi")).endswith("numpy=b'hi'>")
    assert tf.constant(np.array(["x"])).numpy().tolist() == [b"x"]
    with pytest.raises(ValueError, match="mixed types"):
        tf.constant([1, "a"])
