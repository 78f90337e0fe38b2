"""Signatures and functions that share variables, one after another on one device, against the same on the host."""

import numpy as np
import pytest
import tideflow as tf
from tideflow.compiler.compile import PortSpec, Source, compile_model
from tideflow.graph.interpret import interpret
from tideflow.ops.optimizer import adam_step, sgd_step
from tideflow.runtime import execute
from tideflow.runtime.discover import find

DEVICES = [pytest.param("wasm", id="wasm"), pytest.param("gpu", id="wgsl", marks=pytest.mark.gpu)]


@pytest.fixture
def device(request, require):
    """The name of a device, if it is there."""
    found = find({"wasm": "WASM:0", "gpu": "GPU:0"}[request.param])
    require({"wasm": "wasm", "gpu": "wgsl"}[request.param], None if found.present else found.reason)
    return request.param


def variables(*shapes):
    rng = np.random.default_rng(0)
    return [tf.Variable(rng.uniform(-1, 1, s).astype(np.float32), name=f"v{i}") for i, s in enumerate(shapes)]


def run_both(functions, shared, calls, device):
    """Calls of signatures in one model, each compared with the graph; `functions`: name -> function of x."""
    specs = [tf.TensorSpec([None, 5])]
    graphs = {n: tf.function(f, input_signature=specs).get_concrete_function().graph for n, f in functions.items()}
    sources = [Source(n, g, [PortSpec("x")], [f"o{i}" for i in range(len(g.outputs))]) for n, g in graphs.items()]
    compiled = compile_model(sources, ["wgsl" if device == "gpu" else "wasm"], check=True)
    executor = execute.load(compiled.model, device)
    try:
        for number, (name, batch) in enumerate(calls):
            x = np.random.default_rng(number).uniform(-1, 1, (batch, 5)).astype(np.float32)
            where, found = f"call {number}, {name}", executor.run(name, {"x": x})
            outputs, writes = interpret(graphs[name], [x], plain=True)
            for state, value in writes:
                state.write(np.array(value))
            for i, wanted in enumerate(outputs):
                np.testing.assert_allclose(found[f"o{i}"].numpy(), wanted, rtol=1e-5, atol=1e-5, err_msg=where)
            for tensor, state in compiled.states.items():
                wanted = state.read()
                np.testing.assert_allclose(executor.read(tensor), wanted, rtol=1e-5, atol=1e-5, err_msg=where)
    finally:
        executor.close()


@pytest.mark.parametrize("device", DEVICES, indirect=True)
def test_signatures_with_optimizer_steps_over_overlapping_variables(device):
    a, b, c = variables((5, 3), (3,), (3,))
    m, s = variables((5, 3), (5, 3))
    s.assign(tf.abs(s))

    def first(x):
        y = tf.matmul(x, a) + b
        new, one, two = adam_step(a, m, s, tf.matmul(x, y, transpose_a=True), tf.constant(0.01), tf.constant(1.0))
        a.assign(new), m.assign(one), s.assign(two)
        b.assign(sgd_step(b, tf.reduce_sum(y, 0), tf.constant(0.01)))
        return tf.reduce_sum(y)

    def second(x):
        y = tf.matmul(x, a) * c
        b.assign(sgd_step(b, tf.reduce_sum(y, 0), tf.constant(0.02)))
        c.assign(sgd_step(c, tf.reduce_sum(y, 0) * b, tf.constant(0.02)))
        a.assign(sgd_step(a, a * 0.1, tf.constant(0.02)))
        return y

    def read_only(x):
        return tf.matmul(x, a) + b * c, a.value()

    calls = [("first", 4), ("second", 4), ("read_only", 1), ("first", 7), ("read_only", 7), ("second", 0), ("first", 4)]
    run_both({"first": first, "second": second, "read_only": read_only}, [a, b, c, m, s], calls, device)


@pytest.mark.parametrize("device", DEVICES, indirect=True)
def test_functions_hand_variables_over_to_each_other_and_to_the_host(device):
    v, w = variables((5,), (5,))

    @tf.function
    def add(x):
        v.assign_add(x)
        return v * 1.0

    @tf.function
    def swap():
        before = v.value()
        v.assign(w)
        w.assign(before)

    expected_v, expected_w = v.numpy(), w.numpy()
    with tf.device(device):
        for step in range(3):
            x = np.full(5, step + 1.0, np.float32)
            out = add(tf.constant(x))
            expected_v = expected_v + x
            np.testing.assert_allclose(out.numpy(), expected_v, rtol=1e-6)
            swap()
            expected_v, expected_w = expected_w, expected_v
            np.testing.assert_allclose(v.numpy(), expected_v, rtol=1e-6)
            if step == 1:
                v.assign(np.arange(5.0))
                expected_v = np.arange(5.0)
    expected_v = expected_v + 1.0
    np.testing.assert_allclose(add(tf.ones([5])).numpy(), expected_v, rtol=1e-6)
    np.testing.assert_allclose(w.numpy(), expected_w, rtol=1e-6)


@pytest.mark.parametrize("device", DEVICES, indirect=True)
def test_an_unread_output_keeps_its_value_when_the_variable_moves_on(device):
    (v,) = variables((5,))
    start = v.numpy()

    @tf.function
    def step():
        v.assign_add(tf.ones([5]))
        return v.value()

    with tf.device(device):
        outputs = [step() for _ in range(4)]
    for i, out in enumerate(outputs):
        np.testing.assert_allclose(out.numpy(), start + i + 1, rtol=1e-6)


@pytest.mark.parametrize("device", DEVICES, indirect=True)
def test_a_large_weight_is_updated_in_place_by_a_product(device):
    """The product is cut into blocks along its inner axis: none of its partial sums may land in the weight."""
    w = tf.Variable(np.random.default_rng(1).uniform(-1, 1, (70, 90)).astype(np.float32))
    start = w.numpy()

    @tf.function
    def step(x, y):
        w.assign_sub(tf.matmul(x, y, transpose_a=True) * 0.01)

    rng = np.random.default_rng(2)
    x, y = (rng.uniform(-1, 1, (900, n)).astype(np.float32) for n in (70, 90))
    with tf.device(device):
        step(tf.constant(x), tf.constant(y))
    np.testing.assert_allclose(w.numpy(), start - (x.T @ y) * 0.01, rtol=1e-4, atol=1e-4)
