"""One file, opened for numpy, WASM and WebGPU: the same training, the same predictions."""

import numpy as np
import pytest
import tideflow as tf
from tideflow.compiler.compile import PortSpec, Source, compile_model
from tideflow.function.host import open_model
from tideflow.program.read import read_model
from tideflow.program.write import write_model

pytestmark = pytest.mark.gpu


def model():
    """Softmax regression: `train(x, y, rate) -> loss` by one gradient step, `predict(x)`."""
    kernel = tf.Variable(np.zeros((16, 3), np.float32), name="kernel")

    def train(x, y, rate):
        with tf.GradientTape() as tape:
            chosen = tf.reduce_sum(tf.nn.log_softmax(x @ kernel) * y, axis=-1)
            loss = -tf.reduce_mean(chosen)
        kernel.assign_sub(rate * tape.gradient(loss, kernel))
        return loss

    x, y = tf.TensorSpec([None, 16], tf.float32), tf.TensorSpec([None, 3], tf.float32)
    trained = tf.function(train).get_concrete_function(x, y, tf.TensorSpec([], tf.float32)).graph
    predicted = tf.function(lambda x: tf.nn.softmax(x @ kernel)).get_concrete_function(x).graph
    sources = [Source("train", trained, [PortSpec("x"), PortSpec("y"), PortSpec("rate", True, 0.1)], ["loss"]),
               Source("predict", predicted, [PortSpec("x")], ["p"])]
    return write_model(compile_model(sources, ["wasm", "wgsl"], graphs=True).model)


def test_devices_agree(gpu, require):
    pytest.importorskip("wasmtime", reason="no wasmtime")
    data, rng = model(), np.random.default_rng(1)
    batches = [(rng.standard_normal((n, 16)).astype(np.float32), np.eye(3, dtype=np.float32)[rng.integers(0, 3, n)])
               for n in (1, 7, 64, 1000)]
    batches.append(batches[1])
    results = []
    for device in ("cpu", "wasm", gpu):
        opened = open_model(read_model(data), device)
        losses = [float(opened.run("train", {"x": x, "y": y})["loss"]) for x, y in batches]
        predictions = opened.run("predict", {"x": batches[3][0]})["p"].numpy()
        number = next(i for i, tensor in enumerate(opened.model.tensors) if tensor.name.startswith("kernel"))
        results.append((losses, predictions, opened.read(number)))
        opened.close()
    for other in results[1:]:
        for expected, actual in zip(results[0], other, strict=True):
            np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)
    assert results[0][0][-1] < results[0][0][1]         # the second time, that batch is easier
