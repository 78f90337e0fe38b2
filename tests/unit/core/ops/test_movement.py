"""Thin functions of the movement ops with symbolic sizes, Python indexing, and their errors."""

import numpy as np
import pytest
import tideflow as tf
from tideflow.errors import InvalidArgumentError, UnimplementedError
from tideflow.graph.record import record
from tideflow.ops import movement, slicing
from tideflow.ops.op import Spec
from tideflow.ops.sizes import held_sizes
from tideflow.shapes import larger, smaller, symbol

N = symbol("n")


def sizes_after(function, *shapes):
    """The sizes of what a function of traced float tensors returns."""
    _, _, result = record(function, [Spec(s, tf.float32) for s in shapes])
    return tuple(result.sizes)


@pytest.mark.parametrize(
    "function, expected",
    [
        (lambda x: movement.reshape(x, (-1, 4)), (N * 3, 4)),
        (lambda x: movement.reshape(x, (N, -1)), (N, 12)),
        (lambda x: movement.transpose(x), (4, 3, N)),
        (lambda x: movement.expand_dims(x, -1), (N, 3, 4, 1)),
        (lambda x: movement.squeeze(x[:, :1], 1), (N, 4)),
        (lambda x: movement.concat([x, x], 0), (N * 2, 3, 4)),
        (lambda x: movement.stack([x, x], 0), (2, N, 3, 4)),
        (lambda x: movement.tile(x, (2, 1, 1)), (N * 2, 3, 4)),
        (lambda x: slicing.pad(x, [(1, 1), (0, 0), (0, 0)]), (N + 2, 3, 4)),
        (lambda x: slicing.split(x, 3, 1)[2], (N, 1, 4)),
        (lambda x: x[1:], (larger(N - 1, 0), 3, 4)),
        (lambda x: x[:-1, 1:-1], (larger(N - 1, 0), 1, 4)),
        (lambda x: x[:2], (smaller(2, N), 3, 4)),
        (lambda x: x[::-1], (N, 3, 4)),
        (lambda x: x[-1], (3, 4)),
        (lambda x: x[..., 0], (N, 3)),
        (lambda x: x[:, None, 1:], (N, 1, 2, 4)),
        (lambda x: tf.reduce_sum(x, axis=[0, -1]), (3,)),
        (lambda x: tf.zeros(tf.shape(x)), (N, 3, 4)),
        (lambda x: tf.reshape(x, [tf.shape(x)[0] * 3, 4]), (N * 3, 4)),
        (lambda x: tf.reshape(x, tf.concat([tf.shape(x)[:1], [12]], 0)), (N, 12)),
        (lambda x: tf.range(tf.shape(x)[0]), (N,)),
        (lambda x: tf.broadcast_to(x[0, :1], (tf.size(x) // 12, 4)), (N, 4)),
    ],
)
def test_symbolic_sizes_follow_the_ops(function, expected):
    assert sizes_after(function, (N, 3, 4)) == expected


def test_held_sizes_reads_what_a_traced_shape_holds():
    _, _, value = record(lambda x: tf.shape(x) * 2 + 1, [Spec((N, 3), tf.float32)])
    assert held_sizes(value) == [N * 2 + 1, 7]
    _, _, value = record(lambda x: tf.cast(x, tf.int32), [Spec((), tf.float32)])
    assert held_sizes(value) is None


def test_a_shape_that_depends_on_data_is_refused_while_tracing():
    with pytest.raises(TypeError, match="depends on data"):
        record(lambda x: tf.zeros([tf.cast(x, tf.int32), 2]), [Spec((), tf.float32)])


def test_a_mask_is_refused_while_tracing():
    with pytest.raises(UnimplementedError, match=r"tf\.where"):
        record(lambda x: x[x > 0], [Spec((3,), tf.float32)])


KEYS = [
    0,
    -1,
    slice(None),
    slice(1, None),
    slice(None, -1),
    slice(None, None, -1),
    slice(3, 0, -2),
    slice(-2, None),
    slice(7, 9),
    (0, 1),
    (slice(None), 2),
    (Ellipsis, 0),
    (None, 0),
    (slice(None), None, slice(1, 2)),
    (1, Ellipsis, slice(None, None, 2)),
    (slice(4, None, -1), Ellipsis),
    np.int64(1),
    (slice(None), slice(0, 0)),
]


@pytest.mark.parametrize("key", KEYS, ids=str)
def test_indexing_equals_numpy(key):
    x = np.arange(60, dtype=np.float32).reshape(5, 4, 3)
    np.testing.assert_array_equal(tf.constant(x)[key].numpy(), x[key])


@pytest.mark.parametrize(
    "key, error, message",
    [
        (5, InvalidArgumentError, "slice index 5 of dimension 0 out of bounds"),
        (-6, InvalidArgumentError, "out of bounds"),
        ((0, 0, 0, 0), InvalidArgumentError, "only 3 dims"),
        ((Ellipsis, Ellipsis), ValueError, "ellips"),
        ("a", TypeError, "valid indices"),
        ([0, 1], TypeError, "tf.gather"),
        (1.0, TypeError, "valid indices"),
        (slice(None, None, 0), InvalidArgumentError, "non-zero"),
    ],
)
def test_wrong_indices_say_what_is_wrong(key, error, message):
    with pytest.raises(error, match=message):
        tf.zeros((5, 4, 3))[key]


@pytest.mark.parametrize(
    "call, error, message",
    [
        (lambda: tf.reshape(tf.zeros(6), [4, -1]), InvalidArgumentError, "multiple of 4"),
        (lambda: tf.reshape(tf.zeros(6), [-1, -1]), InvalidArgumentError, "only one size"),
        (lambda: tf.reshape(tf.zeros(6), [4]), InvalidArgumentError, "6 values, but the requested shape has 4"),
        (lambda: tf.concat([tf.zeros((2, 3)), tf.zeros((2, 4))], 0), InvalidArgumentError, "input 1 has"),
        (lambda: tf.transpose(tf.zeros((2, 3)), [0, 0]), InvalidArgumentError, "once"),
        (lambda: tf.expand_dims(tf.zeros(3), 3), InvalidArgumentError, "out of range"),
        (lambda: tf.broadcast_to(tf.zeros(3), [2, 4]), InvalidArgumentError, "cannot be broadcast"),
        (lambda: tf.pad(tf.zeros(3), [[5, 0]], "REFLECT"), InvalidArgumentError, "no greater than 2"),
        (lambda: tf.pad(tf.zeros(3), [[5, 0]], "EDGE"), ValueError, "SYMMETRIC"),
        (lambda: tf.split(tf.zeros(5), 2), InvalidArgumentError, "evenly divide"),
        (lambda: tf.stack([]), ValueError, "empty"),
        (lambda: tf.tile(tf.zeros((2, 3)), [2]), InvalidArgumentError, "one number for each"),
        (lambda: tf.zeros([1.5]), TypeError, "size must be an int"),
        (lambda: tf.matmul(tf.zeros((2, 3)), tf.zeros((2, 3))), InvalidArgumentError, "transpose_b=True"),
        (lambda: tf.reduce_sum(tf.zeros(3), axis=[0, 0]), InvalidArgumentError, "twice"),
    ],
)
def test_errors_name_the_cause(call, error, message):
    with pytest.raises(error, match=message):
        call()
