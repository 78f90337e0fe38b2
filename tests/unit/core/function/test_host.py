"""Opening a file on each device: numpy on its graphs, its own programs, programs compiled from its graphs."""

import numpy as np
import pytest
import tideflow as tf
from tideflow.compiler.compile import PortSpec, Source, compile_model
from tideflow.errors import InvalidArgumentError, NoExecutorError
from tideflow.function.host import HostModel, RecompiledModel, open_model
from tideflow.program.read import read_model
from tideflow.program.write import write_model
from tideflow.runtime.execute import Executor


def make(targets, graphs=True):
    """`train(x, rate=0.5)`: w += rate * column sums of x; gives x @ w of before. `predict(x)`: relu(x @ w)."""
    w = tf.Variable(np.arange(12, dtype=np.float32).reshape(4, 3) / 8, name="w")

    def train(x, rate):
        y = x @ w
        w.assign_add(rate * tf.reshape(tf.reduce_sum(x, axis=0), (4, 1)) + tf.zeros_like(w))
        return y

    x, rate = tf.TensorSpec([None, 4], tf.float32), tf.TensorSpec([], tf.float32)
    trained = tf.function(train).get_concrete_function(x, rate).graph
    predicted = tf.function(lambda x: tf.nn.relu(x @ w - 2.0)).get_concrete_function(x).graph
    sources = [Source("train", trained, [PortSpec("x"), PortSpec("rate", True, 0.5)], ["y"]),
               Source("predict", predicted, [PortSpec("x")], ["p"])]
    return read_model(write_model(compile_model(sources, targets, graphs=graphs).model))


def expected(x, runs):
    w = np.arange(12, dtype=np.float32).reshape(4, 3) / 8
    for _ in range(runs):
        w = w + 0.5 * x.sum(0)[:, None]
    return w


def check(opened, kind):
    assert isinstance(opened, kind)
    x = np.random.default_rng(0).standard_normal((5, 4)).astype(np.float32)
    for run in range(3):
        np.testing.assert_allclose(opened.run("train", {"x": x})["y"], x @ expected(x, run), rtol=1e-4, atol=1e-5)
    w = expected(x, 3)
    number = next(i for i, tensor in enumerate(opened.model.tensors) if tensor.name.startswith("w"))
    np.testing.assert_allclose(opened.read(number), w, rtol=1e-4, atol=1e-5)
    p = opened.run("predict", {"x": x[:2]})["p"]
    np.testing.assert_allclose(p, np.maximum(x[:2] @ w - 2, 0), rtol=1e-4, atol=1e-5)
    again = read_model(write_model(opened.save_into()))
    opened.close()
    np.testing.assert_allclose(HostModel(again).read(number), w, rtol=1e-4, atol=1e-5)


def test_numpy_interprets_the_graphs():
    check(open_model(make([]), "cpu"), HostModel)


def test_programs_run_where_the_file_has_them(require):
    pytest.importorskip("wasmtime", reason="no wasmtime")
    check(open_model(make(["wasm"]), "wasm"), Executor)


def test_programs_are_compiled_from_graphs_where_it_has_not(require):
    pytest.importorskip("wasmtime", reason="no wasmtime")
    check(open_model(make(["wgsl"]), "wasm"), RecompiledModel)


def test_a_file_without_graphs_names_the_alternatives():
    with pytest.raises(NoExecutorError, match=r"tideflow\[wasm\]"):
        open_model(make(["wasm"], graphs=False), "cpu")
    with pytest.raises(NoExecutorError, match="no WASM programs for WASM:0, and no graphs"):
        open_model(make(["wgsl"], graphs=False), "wasm")


def test_errors_are_those_of_every_device():
    opened = open_model(make([]), "cpu")
    with pytest.raises(InvalidArgumentError, match="train: input 'x' is missing"):
        opened.run("train")
    with pytest.raises(InvalidArgumentError, match=r"no signature 'fit'; it has \['predict', 'train'\]"):
        opened.run("fit")
    with pytest.raises(InvalidArgumentError, match=r"shape \(2, 3\)"):
        opened.run("predict", {"x": np.zeros((2, 3), np.float32)})
    with pytest.raises(InvalidArgumentError, match="not part of the model's state"):
        opened.read(opened.model.signatures[1].inputs[0].tensor)


def test_equal_new_values_are_states_of_their_own():
    v, w = (tf.Variable(np.zeros(3, np.float32), name=name) for name in "vw")

    def assign(x):
        v.assign(tf.exp(x))
        w.assign(tf.exp(x))
        return tf.exp(x)

    graph = tf.function(assign).get_concrete_function(tf.TensorSpec([3])).graph
    model = compile_model([Source("assign", graph, [PortSpec("x")], ["y"])], [], graphs=True).model
    opened = open_model(read_model(write_model(model)), "cpu")
    made = opened.run("assign", {"x": np.zeros(3, np.float32)})["y"]
    first, second = opened._states.values()
    first.array[0] = 99.0
    np.testing.assert_array_equal(second.array, [1.0, 1.0, 1.0])
    np.testing.assert_array_equal(made.numpy(), [1.0, 1.0, 1.0])
