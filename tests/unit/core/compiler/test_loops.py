"""Loops in programs: how many kernels an iteration takes, what is stored where, and that the kernels are right."""

import numpy as np
import pytest
import tideflow as tf
from tideflow.compiler.compile import PortSpec, Source, compile_model
from tideflow.compiler.graphs import load_graph
from tideflow.compiler.passes import run_passes
from tideflow.compiler.validate import validate
from tideflow.errors import ModelError
from tideflow.function.host import open_model
from tideflow.graph.interpret import interpret
from tideflow.program.format import GraphRef, StepKind
from tideflow.program.read import read_model
from tideflow.program.write import write_model

ROWS, TIME, FEATURES, UNITS = 3, 5, 4, 6


def graph_of(function, *specs):
    return tf.function(function, input_signature=[tf.TensorSpec(s) for s in specs]).get_concrete_function().graph


def training(kind):
    """Loss and gradients of a recurrent layer, as a function of the inputs."""
    layer = getattr(tf.keras.layers, kind)(UNITS)
    layer(tf.zeros((1, TIME, FEATURES)))

    def function(x):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(layer(x) ** 2)
        return [loss, *tape.gradient(loss, layer.trainable_weights)]

    return function


def loops(program):
    """How many dispatches each loop of a program has."""
    return [s.body for s in program.steps if s.kind == StepKind.LOOP]


@pytest.mark.parametrize("stages", [False, True])
@pytest.mark.parametrize("kind", ["LSTM", "GRU", "SimpleRNN"])
def test_kernels_of_a_recurrent_layer_equal_the_graph(kind, stages):
    graph = graph_of(training(kind), [None, TIME, FEATURES])
    x = np.random.default_rng(1).standard_normal((ROWS, TIME, FEATURES)).astype(np.float32)
    report = validate(graph, [x], stages=stages)
    assert report.ok, report


@pytest.mark.parametrize(
    ("kind", "wgsl", "wasm"),
    [("LSTM", [1, 1], [2, 2]), ("GRU", [1, 1], [2, 2]), ("SimpleRNN", [1, 1], [1, 2])],
)
def test_an_iteration_is_one_dispatch_on_a_gpu(kind, wgsl, wasm):
    graph = graph_of(training(kind), [None, TIME, FEATURES])
    outputs = [f"y{i}" for i in range(len(graph.outputs))]
    model = compile_model([Source("call", graph, [PortSpec("x")], outputs)], ["wgsl", "wasm"]).model
    assert loops(model.programs[0]) == wgsl and loops(model.programs[1]) == wasm


def test_unused_results_and_carried_values_are_dropped():
    def function(x):
        def step(carried, v):
            a, b, unused = carried
            return a + v, b * 0.5 + a, unused + 1.0

        return tf.scan(step, x, (tf.zeros(2), tf.zeros(2), tf.zeros(2)))[0]

    graph = run_passes(graph_of(function, [4, 2]))
    (scan,) = [n for n in graph.nodes if n.op.name == "scan"]
    assert scan.attrs["carried"] == 1 and len(scan.outputs) == 2      # the last value, and all of them
    assert [n.op.name for n in scan.attrs["body"].graph.nodes] == ["add"]


def test_padded_parts_that_fill_a_tensor_are_joined():
    def function(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            a, b, c = tf.split(x, 3, axis=1)
            y = tf.reduce_sum(a * a + tf.sin(b) * c)
        return tape.gradient(y, x)

    graph = graph_of(function, [2, 6])
    names = [n.op.name for n in run_passes(graph).nodes]
    assert "concat" in names and "pad" not in names
    x = np.random.default_rng(2).standard_normal((2, 6)).astype(np.float32)
    assert validate(graph, [x]).ok
    plain = run_passes(graph, ["join"])
    for a, b in zip(interpret(run_passes(graph), [x])[0], interpret(plain, [x])[0], strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_file_keeps_loops_and_every_reader_runs_them():
    def function(x):
        rows = tf.map_fn(lambda row: tf.scan(lambda a, v: a * 0.5 + v, row), x)
        return tf.cond(x[0, 0] > 0.0, lambda: rows, lambda: -rows)

    graph = graph_of(function, [3, 4])
    compiled = compile_model([Source("call", graph, [PortSpec("x")], ["y"])], ["wasm", "wgsl"], graphs=True)
    model = read_model(write_model(compiled.model))
    x = np.arange(12, dtype=np.float32).reshape(3, 4) + 1.0
    expected, _ = interpret(graph, [x])
    again = load_graph(model, model.signatures[0], {})
    np.testing.assert_allclose(interpret(again, [x])[0][0], expected[0], rtol=1e-6)
    for device in ("cpu", "wasm"):
        opened = open_model(model, device)
        np.testing.assert_allclose(opened.run("call", {"x": x})["y"].numpy(), expected[0], rtol=1e-5)
        opened.close()


def test_large_versions_are_not_kept():
    size = 1 << 16

    def function(x):
        return tf.while_loop(lambda i, a: i < 1000, lambda i, a: (i + 1, a * 0.999), (tf.constant(0), x))[1]

    graph = run_passes(graph_of(function, [size]))
    (scan,) = [n for n in graph.nodes if n.op.name == "scan"]
    assert not any(scan.attrs["history"])
    model = compile_model([Source("call", graph, [PortSpec("x")], ["y"])], ["wasm"]).model
    opened = open_model(model, "wasm")
    found = opened.run("call", {"x": np.ones(size, np.float32)})["y"].numpy()
    opened.close()
    np.testing.assert_allclose(found, np.full(size, 0.999**1000), rtol=1e-4)


def test_bodies_that_nest_too_deep_or_name_later_graphs_are_refused():
    graph = graph_of(lambda x: tf.map_fn(lambda row: row * 2.0, x), [3, 4])
    model = compile_model([Source("call", graph, [PortSpec("x")], ["y"])], (), graphs=True).model
    (body,) = [a for n in model.graphs[1].nodes for a in n.attrs if a.name == "body"]
    assert body.value == GraphRef(0) and load_graph(model, model.signatures[0], {}).nodes
    body.value = GraphRef(1)
    with pytest.raises(ModelError, match="only earlier ones"):
        load_graph(model, model.signatures[0], {})


def test_the_packed_weights_of_a_loop_are_renewed_in_every_run():
    layer = tf.keras.layers.SimpleRNN(32, return_sequences=True)
    x = np.random.default_rng(3).standard_normal((16, 6, 8)).astype(np.float32)
    layer(x)
    run = tf.function(lambda x: layer(x))
    for scale in (1.0, -0.5):
        layer.set_weights([w * scale for w in layer.get_weights()])
        expected = layer(tf.constant(x)).numpy()
        with tf.device("/WASM:0"):
            np.testing.assert_allclose(run(tf.constant(x)).numpy(), expected, rtol=1e-4, atol=1e-5)
