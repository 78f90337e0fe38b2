"""Gradients of strided, dilated and grouped convolutions, large enough for packed products, on each device: odd sizes,
windows that the stride divides or not, phases without a tap, and what is fused behind a gradient.
"""

import numpy as np
import pytest
import tideflow as tf
from tideflow.runtime.discover import find

DEVICES = [pytest.param("WASM:0", id="wasm"), pytest.param("GPU:0", id="wgsl", marks=pytest.mark.gpu)]
CASES = [
    # size, window, stride, dilation, padding, groups, batch
    (12, 3, 2, 1, "SAME", 1, 2),
    (13, 3, 2, 1, "SAME", 1, 2),
    (13, 3, 2, 1, "VALID", 1, 2),
    (12, 2, 2, 1, "VALID", 1, 2),
    (11, 4, 2, 1, "SAME", 1, 2),
    (13, 1, 2, 1, "SAME", 1, 3),
    (14, 5, 3, 1, "SAME", 1, 2),
    (13, 2, 3, 1, "VALID", 1, 2),
    (15, 3, 2, 2, "VALID", 1, 2),
    (16, 3, 2, 3, "VALID", 1, 2),
    (19, 4, 4, 2, "VALID", 1, 2),
    (11, 3, 1, 2, "SAME", 1, 2),
    (11, 3, 2, 1, "SAME", 4, 2),
    (13, 3, 3, 1, "VALID", 8, 2),
    (14, 3, 2, 1, "SAME", 8, 2),
    (13, 3, 1, 1, "SAME", 8, 2),
]


@pytest.fixture(scope="module", params=DEVICES)
def device(request, require):
    found = find(request.param)
    require({"WASM:0": "wasm", "GPU:0": "wgsl"}[request.param], None if found.present else found.reason)
    return request.param


def arrays(*shapes):
    rng = np.random.default_rng(0)
    return [tf.constant(rng.standard_normal(s).astype(np.float32)) for s in shapes]


def check(function, given, device):
    """The function compiled for a device, and on the host."""
    with tf.device("cpu"):
        wanted = [t.numpy() for t in function(*given)]
    with tf.device(device):
        found = [t.numpy() for t in tf.function(function)(*given)]
    for f, w in zip(found, wanted, strict=True):
        np.testing.assert_allclose(f, w, rtol=1e-4, atol=1e-4 * max(1.0, np.abs(w).max()))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_gradients_equal_those_of_the_host(case, device):
    size, window, stride, dilation, padding, groups, batch = case
    x, w = arrays((batch, size, size - 1, 8), (window, window, 8 // groups, 8 if groups < 8 else 16))

    def gradients(x, w):
        with tf.GradientTape() as tape:
            tape.watch([x, w])
            y = tf.nn.conv2d(x, w, stride, padding, dilations=dilation)
            loss = tf.reduce_sum(y * tf.sin(y))
        return tape.gradient(loss, [x, w])

    check(gradients, (x, w), device)


@pytest.mark.parametrize(("size", "stride"), [(12, 2), (13, 2), (13, 3)])
def test_what_follows_a_gradient_is_computed_with_it(size, stride, device):
    """The mask of a relu, read where the phases of an odd size end, and a second reader of the same values."""
    x, w = arrays((2, size, size, 8), (3, 3, 8, 8))

    def gradients(x, w):
        with tf.GradientTape() as tape:
            tape.watch([x, w])
            h = tf.nn.relu(x) / (1.0 + x * x)
            loss = tf.reduce_sum(tf.square(tf.nn.conv2d(h, w, stride, "SAME")))
        dx, dw = tape.gradient(loss, [x, w])
        return dx, dw, tf.reduce_sum(dx, [0, 1, 2]), tf.exp(-tf.abs(dx))

    check(gradients, (x, w), device)


@pytest.mark.parametrize("stride", [2, 3])
def test_transposed_convolutions_of_any_batch(stride, device):
    w, b = arrays((4, 4, 8, 8), (8,))

    def upwards(y, w, b):
        shape = (tf.shape(y)[0], 10 * stride, 10 * stride, 8)
        return (tf.nn.relu(tf.nn.conv2d_transpose(y, w, shape, stride, "SAME") + b),)

    compiled = tf.function(upwards, input_signature=[tf.TensorSpec([None, 10, 10, 8]), tf.TensorSpec(w.shape),
                                                     tf.TensorSpec(b.shape)])
    for batch in (1, 3):
        (y,) = arrays((batch, 10, 10, 8))
        with tf.device("cpu"):
            wanted = upwards(y, w, b)[0].numpy()
        with tf.device(device):
            found = compiled(y, w, b)[0].numpy()
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-3)


def test_infinite_gradients_stay_where_they_are_read(device):
    """A tap that does not exist for a phase adds nothing, whatever the gradient holds: not infinity times 0."""
    (w,) = arrays((3, 3, 8, 8))
    dy = np.zeros((1, 6, 6, 8), np.float32)
    dy[0, 2, 3, 1] = np.inf

    def upwards(dy, w):
        return (tf.nn.conv2d_transpose(dy, w, (1, 12, 12, 8), 2, "SAME"),)

    with tf.device(device):
        found = tf.function(upwards)(tf.constant(dy), w)[0].numpy()
    finite = np.isfinite(found)
    assert finite.sum() == found.size - 9 * 8 and not found[finite].any()
