"""Random graphs with a symbolic batch, and their gradients: compiled with fusion and without, equal to numpy.

Each graph is made from its seed alone, so a failure is repeated by its test id.
"""

import numpy as np
import pytest
import tideflow as tf
from tideflow.autodiff.gradients import Recording, gradients
from tideflow.compiler.compile import PortSpec, Source, compile_model
from tideflow.graph.interpret import interpret
from tideflow.graph.ir import Graph
from tideflow.graph.record import record
from tideflow.ops.dispatch import apply, pushed
from tideflow.ops.op import Spec
from tideflow.runtime import execute
from tideflow.runtime.discover import find
from tideflow.shapes import symbol

BATCH = symbol("batch")
UNARY = ("tanh", "sigmoid", "relu", "square", "sin", "abs", "softplus", "elu", "negative", "identity", "stop_gradient")
BINARY = ("add", "subtract", "multiply", "maximum", "minimum", "squared_difference")


class Maker:
    """Grows a graph of float values of ranks 1 to 3 whose first axis is the batch, beside weights without one."""

    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)

    def pick(self, values):
        """One of the values, later ones more often."""
        weights = np.arange(1.0, len(values) + 1)
        return values[self.rng.choice(len(values), p=weights / weights.sum())]

    def weight(self, *shape):
        return self.rng.uniform(-1, 1, shape).astype(np.float32)

    def step(self, values):
        """One more value."""
        kind = self.rng.choice([name for name in dir(self) if name.startswith("make_")])
        return getattr(self, kind)(self.pick(values), values)

    def make_unary(self, x, values):
        return apply(str(self.rng.choice(UNARY)), x)

    def make_binary(self, x, values):
        same = [v for v in values if tuple(v.sizes) == tuple(x.sizes)]
        return apply(str(self.rng.choice(BINARY)), x, self.pick(same))

    def make_scale(self, x, values):
        return x * self.weight(x.sizes[-1] if isinstance(x.sizes[-1], int) else 1) + 0.5

    def make_dense(self, x, values):
        if len(x.sizes) < 2:
            return x * 2
        return x @ self.weight(x.sizes[-1], int(self.rng.integers(1, 9)))

    def make_scores(self, x, values):
        """A product over the batch and back."""
        if len(x.sizes) != 2:
            return x + 1
        return x @ tf.tanh(tf.matmul(x, x, transpose_a=True) * 0.1)

    def make_softmax(self, x, values):
        return tf.nn.softmax(x) if len(x.sizes) > 1 else x

    def make_normalise(self, x, values):
        axes = [self.rng.choice(len(x.sizes))] if self.rng.random() < 0.7 else None
        mean = tf.reduce_mean(x, axes, keepdims=True)
        return (x - mean) * tf.math.rsqrt(tf.reduce_mean(tf.square(x - mean), axes, keepdims=True) + 0.3)

    def make_reduce(self, x, values):
        if len(x.sizes) < 2:
            return x - tf.reduce_max(x)
        name = str(self.rng.choice(["reduce_sum", "reduce_mean", "reduce_max", "reduce_logsumexp"]))
        axis = int(self.rng.integers(1, len(x.sizes)))
        return apply(name, x, axis=(axis,), keepdims=bool(self.rng.random() < 0.5)) * 0.5

    def make_split_features(self, x, values):
        size = x.sizes[-1]
        if len(x.sizes) == 2 and size % 2 == 0:
            return tf.transpose(tf.reshape(x, [-1, 2, size // 2]), [0, 2, 1])
        return x * 0.5

    def make_flatten(self, x, values):
        return tf.reshape(x, [x.sizes[0], -1]) if len(x.sizes) == 3 else tf.reverse(x, [0])

    def make_pad(self, x, values):
        return tf.pad(x, [[0, 0]] * (len(x.sizes) - 1) + [[1, 2]], constant_values=0.5) if len(x.sizes) > 1 else x

    def make_slice(self, x, values):
        return x[..., ::-1][..., : max(1, x.sizes[-1] - 1)] if len(x.sizes) > 1 else x

    def make_concat(self, x, values):
        fitting = [v for v in values if tuple(v.sizes[:-1]) == tuple(x.sizes[:-1]) and len(v.sizes) > 1]
        return tf.concat([x, self.pick(fitting)], -1) if fitting and len(x.sizes) > 1 and x.sizes[-1] < 16 else x

    def make_gather(self, x, values):
        if len(x.sizes) < 2:
            return x
        return tf.gather(x, self.rng.integers(0, x.sizes[-1], 3).astype(np.int32), axis=-1)

    def make_select(self, x, values):
        return tf.where(x > 0.2, x * 0.3, tf.exp(x * 0.5))

    def make_cumsum(self, x, values):
        return tf.cumsum(x, axis=-1, reverse=bool(self.rng.random() < 0.5)) * 0.2 if len(x.sizes) > 1 else x

    def make_conv(self, x, values):
        if len(x.sizes) != 3:
            return x
        strides = int(self.rng.integers(1, 3))
        filters = self.weight(2, x.sizes[-1], int(self.rng.integers(1, 6)))
        return tf.nn.conv1d(
            x, filters, strides, str(self.rng.choice(["SAME", "VALID"] if x.sizes[1] > 2 else ["SAME"]))
        )


def build(seed, x, bias):
    """Outputs of the graph of a seed, and gradients of one of them."""
    maker = Maker(seed)
    recorder = Recording()
    with pushed(recorder):
        values = [x, x * bias]
        for _ in range(int(maker.rng.integers(4, 14))):
            values.append(maker.step(values))
        loss = tf.reduce_mean(tf.square(values[-1])) + tf.reduce_sum(tf.tanh(values[-2])) * 0.1
    found = gradients(recorder.entries, [loss], [None], [x, bias])
    return [values[-1], values[len(values) // 2], loss, *(g for g in found if g is not None)]


@pytest.mark.parametrize("fuse", [True, False], ids=["fused", "alone"])
@pytest.mark.parametrize("seed", range(60))
def test_random_graph_equals_numpy(seed, fuse, require):
    require("wasm", None if find("WASM:0").present else find("WASM:0").reason)
    compare(seed, fuse, "WASM:0")


@pytest.mark.gpu
@pytest.mark.parametrize("seed", range(0, 60, 3))
def test_random_graph_on_the_gpu_equals_numpy(seed, require):
    require("wgsl", None if find("GPU:0").present else find("GPU:0").reason)
    compare(seed, True, "GPU:0")


def compare(seed, fuse, device):
    recorder, inputs, results = record(
        lambda x, b: build(seed, x, b), [Spec((BATCH, 6), tf.float32), Spec((6,), tf.float32)], f"seed{seed}"
    )
    values = [recorder.lift(r) for r in results]
    graph = Graph(f"seed{seed}", tuple(inputs), tuple(recorder.nodes), tuple(values))
    names = [f"out{i}" for i in range(len(values))]
    source = Source("call", graph, [PortSpec("x"), PortSpec("b")], names)
    compiled = compile_model([source], ["wgsl" if device == "GPU:0" else "wasm"], fuse=fuse)
    executor = execute.load(compiled.model, device)
    try:
        for batch in (1, 5, 16, 0) if device == "WASM:0" else (1, 5, 16):  # WGSL does not define 0.0 / 0.0
            rng = np.random.default_rng(1000 + seed)
            x, bias = rng.uniform(-1, 1, (batch, 6)).astype(np.float32), rng.uniform(-1, 1, 6).astype(np.float32)
            found = executor.run("call", {"x": x, "b": bias})
            for name, expected in zip(names, interpret(graph, [x, bias])[0], strict=True):
                actual = np.asarray(found[name].numpy())
                scale = max(1.0, float(np.abs(expected).max(initial=0)))
                np.testing.assert_allclose(
                    actual, expected, rtol=2e-4, atol=2e-5 * scale, err_msg=f"batch {batch}, {name}"
                )
    finally:
        executor.close()
