"""Sums into many segments: a kernel that adds rows where they belong, whatever else happens to the result."""

import numpy as np
import pytest
import tideflow as tf
from tideflow.compiler import scatter
from tideflow.compiler.compile import PortSpec, Source, compile_model
from tideflow.compiler.layout import lay_out
from tideflow.compiler.passes import run_passes
from tideflow.compiler.schedule import schedule
from tideflow.compiler.validate import validate
from tideflow.function.trace import TensorSpec, input_values, trace
from tideflow.ops.optimizer import sgd_step
from tideflow.runtime import execute
from tideflow.runtime.discover import find

SEGMENTS, COLUMNS = 500, 6


def graph_of(function, columns=(COLUMNS,), ids=(None,), dtype="int32"):
    specs = [TensorSpec([*ids, *columns]), TensorSpec(list(ids), dtype)]
    return trace(function, input_values(specs, ["x", "ids"], "batch"), "sums").graph


def data(rows=40, columns=(COLUMNS,), dtype=np.int32, seed=0):
    """Rows with ids that repeat, are missing, and are negative."""
    rng = np.random.default_rng(seed)
    ids = rng.integers(-1, SEGMENTS, rows).astype(dtype)
    if rows > 8:
        ids[4:8] = ids[3] = SEGMENTS - 1
    return [rng.standard_normal((rows, *columns)).astype(np.float32), ids]


def kernels_of(graph):
    graph = run_passes(graph)
    return schedule(graph, lay_out([graph]).steps[0]).kernels


def sums(x, ids):
    return tf.math.unsorted_segment_sum(tf.tanh(x) * 2.0, ids, SEGMENTS)


@pytest.mark.parametrize("rows", [0, 1, 40])
@pytest.mark.parametrize("options", [{}, {"fuse": False}, {"stages": True}], ids=str)
def test_kernel_adds_rows_in_order(rows, options):
    graph = graph_of(sums)
    (kernel,) = [k.kernel for k in kernels_of(graph)]
    assert len(kernel.stores) == 2 and kernel.stores[1].loops and len(kernel.axes) == 1
    report = validate(graph, data(rows), **options)
    assert report.ok, report


@pytest.mark.parametrize(
    "function",
    [
        lambda x, ids: [sums(x, ids), sums(x, ids) + 1.0, tf.reduce_sum(sums(x, ids), 0)],  # a result and read on
        lambda x, ids: [tf.transpose(sums(x, ids))],
        lambda x, ids: [(total := sums(x, ids)), total],  # two results
        lambda x, ids: [sums(x - tf.reduce_mean(x, 0, keepdims=True), ids)],
        lambda x, ids: [tf.math.unsorted_segment_sum(x @ tf.ones((COLUMNS, 7)), ids, SEGMENTS)],
    ],
)
def test_sums_beside_other_kernels(function):
    graph = graph_of(function)
    for options in ({}, {"stages": True}):
        report = validate(graph, data(), **options)
        assert report.ok, report


def test_sums_into_a_state_and_a_gradient():
    table = tf.Variable(np.ones((SEGMENTS, COLUMNS), np.float32), name="table")
    other = tf.Variable(np.ones((SEGMENTS, COLUMNS), np.float32), name="other")

    def function(x, ids):
        total = sums(x * tf.gather(table, tf.maximum(ids, 0)), ids)
        table.assign(sgd_step(table, total, tf.constant(0.1)))
        other.assign(total)
        return [total]

    report = validate(graph_of(function), data())
    assert report.ok, report


def test_ids_of_any_rank_and_integer_type():
    for ids, dtype in (((None, 4), "int64"), ((None,), "uint8"), ((3, 5), "int32")):
        graph = graph_of(sums, ids=ids, dtype=dtype)
        shape = tuple(d or 9 for d in ids)
        rng = np.random.default_rng(1)
        arrays = [rng.standard_normal((*shape, COLUMNS)).astype(np.float32), rng.integers(0, 200, shape).astype(dtype)]
        report = validate(graph, arrays)
        assert report.ok, report


def test_few_segments_columns_or_rows_are_folds():
    few = graph_of(lambda x, ids: tf.math.unsorted_segment_sum(x, ids, scatter.MIN_SEGMENTS - 1))
    thin = graph_of(lambda x, ids: tf.math.unsorted_segment_sum(x, ids, SEGMENTS), columns=())
    short = graph_of(lambda x, ids: tf.math.unsorted_segment_sum(x, ids, 40), ids=(5,))
    for graph in (few, thin, short):
        assert not any(s.loops for k in kernels_of(graph) for s in k.kernel.stores)


@pytest.mark.parametrize("device", ["WASM:0", pytest.param("GPU:0", marks=pytest.mark.gpu)])
def test_devices_give_the_sums_of_numpy(device, require):
    kind = "wgsl" if device == "GPU:0" else "wasm"
    require(kind, None if find(device).present else find(device).reason)
    graph = graph_of(lambda x, ids: [sums(x, ids)])
    source = Source("call", graph, [PortSpec("x"), PortSpec("ids")], ["total"])
    executor = execute.load(compile_model([source], [kind]).model, device)
    for rows in (40, 0, 7, 40):
        x, ids = data(rows, seed=rows)
        expected = np.zeros((SEGMENTS, COLUMNS), np.float32)
        np.add.at(expected, ids[ids >= 0], np.tanh(x)[ids >= 0] * 2)
        found = executor.run("call", {"x": x, "ids": ids})["total"].numpy()
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    executor.close()


def test_a_large_embedding_trains_alike_on_the_host_and_on_wasm(require):
    require("wasm", None if find("WASM:0").present else find("WASM:0").reason)
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 300, (24, 12)), rng.integers(0, 2, (24, 1)).astype(np.float32)
    weights = []
    for device in ("cpu", "wasm"):
        tf.keras.utils.set_random_seed(1)
        layers = tf.keras.layers
        body = [layers.Embedding(300, 8), layers.GlobalAveragePooling1D(), layers.Dense(1)]
        model = tf.keras.Sequential([layers.Input((12,), dtype="int32"), *body])
        model.compile(tf.keras.optimizers.Adam(0.01), "mse")
        with tf.device(device):
            model.fit(x, y, batch_size=10, epochs=2, verbose=0)
        weights.append(model.get_weights())
    for a, b in zip(*weights, strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-4, atol=1e-5)
