"""Random graphs with a symbolic batch, states and integers, made from a seed alone; the least of one that fails.

made = make(seed)                     # a traced Graph, and a function that makes its inputs for a batch
smaller, arrays = minimise(made.graph, made.inputs(5), fails)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tideflow as tf
from tideflow.compiler.compile import PortSpec, Source, compile_model
from tideflow.function.trace import TensorSpec, input_values, trace
from tideflow.graph.interpret import bind, interpret
from tideflow.graph.ir import Graph, Rewriter, Value, reachable
from tideflow.ops.dispatch import apply
from tideflow.ops.normalize import layer_norm
from tideflow.ops.optimizer import adam_step, momentum_step, sgd_step
from tideflow.runtime import execute

UNARY = ("tanh", "sigmoid", "relu", "square", "sin", "abs", "softplus", "elu", "negative", "identity", "exp")
BINARY = ("add", "subtract", "multiply", "maximum", "minimum", "squared_difference")


@dataclass
class Made:
    """A graph, and `inputs(batch, seed)`: arrays for it. States hold their values in `graph.states()`."""

    graph: Graph
    inputs: Callable[..., list[np.ndarray]]
    seed: int


class Maker:
    """Grows float values of ranks 0 to 4 beside weights, and assigns some of them to variables."""

    def __init__(self, rng: np.random.Generator, features: int) -> None:
        self.rng, self.features = rng, features
        self.variables: list[Any] = []
        self.slots: dict[Any, Any] = {}

    def chance(self, p: float) -> bool:
        return bool(self.rng.random() < p)

    def choice(self, items: Sequence[Any]) -> Any:
        return items[int(self.rng.integers(len(items)))]

    def pick(self, values: Sequence[Any]) -> Any:
        """One of the values, later ones more often."""
        weights = np.arange(1.0, len(values) + 1)
        return values[self.rng.choice(len(values), p=weights / weights.sum())]

    def weight(self, *shape: int) -> np.ndarray:
        return self.rng.uniform(-1, 1, shape).astype(np.float32)

    def axis(self, x: Any) -> int:
        return int(self.rng.integers(0, len(x.sizes)))

    def step(self, values: list[Any]) -> Any:
        """One more value."""
        kind = self.choice([name for name in dir(self) if name.startswith("make_")])
        return getattr(self, kind)(self.pick(values), values)

    # values

    def make_unary(self, x, values):
        name = self.choice(UNARY)
        return apply(name, x * 0.3 if name == "exp" else x)

    def make_binary(self, x, values):
        same = [v for v in values if tuple(v.sizes) == tuple(x.sizes) or v.sizes == ()]
        y = self.pick(same)
        return apply(self.choice(BINARY), *((x, y) if self.chance(0.5) else (y, x)))

    def make_broadcast(self, x, values):
        fitting = [
            v for v in values if 0 < len(v.sizes) < len(x.sizes) and tuple(x.sizes[-len(v.sizes) :]) == tuple(v.sizes)
        ]
        return x + self.pick(fitting) if fitting else x * 0.7

    def make_outer(self, x, values):
        """A row against a column."""
        if len(x.sizes) != 1:
            return x - 0.1
        return tf.expand_dims(x, 1) * self.weight(1, int(self.rng.integers(1, 6)))

    def make_scale(self, x, values):
        return x * self.weight(x.sizes[-1] if x.sizes and isinstance(x.sizes[-1], int) else 1) + 0.5

    def make_variable(self, x, values):
        """A product or a sum with a variable's value of now."""
        v = self.choice(self.variables)
        if not x.sizes or not v.sizes or x.sizes[-1] != v.sizes[-1]:
            return x + tf.reduce_sum(v) * 0.1
        if len(v.sizes) == 2:
            return tf.matmul(x, v) if len(x.sizes) >= 2 and x.sizes[-1] == v.sizes[0] else x
        return x * v

    def make_dense(self, x, values):
        if len(x.sizes) < 2 or not isinstance(x.sizes[-1], int):
            return x * 2.0
        return x @ self.weight(x.sizes[-1], int(self.rng.integers(1, self.features + 3)))

    def make_scores(self, x, values):
        """A product over the batch and back."""
        return x @ tf.tanh(tf.matmul(x, x, transpose_a=True) * 0.1) if len(x.sizes) == 2 else x + 1.0

    def make_softmax(self, x, values):
        return (tf.nn.softmax(x) if self.chance(0.5) else tf.nn.log_softmax(x)) if len(x.sizes) > 1 else x

    def make_normalise(self, x, values):
        if not x.sizes:
            return x
        axes = [self.axis(x)] if self.chance(0.7) else None
        mean = tf.reduce_mean(x, axes, keepdims=True)
        return (x - mean) * tf.math.rsqrt(tf.reduce_mean(tf.square(x - mean), axes, keepdims=True) + 0.3)

    def make_row_norm(self, x, values):
        """Samples of one or two axes with mean 0 and variance 1, scaled or not; or of root mean square 1."""
        known = [isinstance(d, int) and d > 0 for d in x.sizes]
        axes = 2 if len(x.sizes) > 2 and all(known[-2:]) and self.chance(0.3) else 1
        if len(x.sizes) <= axes or not known[-1]:
            return x * 0.8
        shape = tuple(x.sizes[-axes:])
        if self.chance(0.2):
            return x * tf.math.rsqrt(tf.reduce_mean(tf.square(x), -1, keepdims=True) + 0.1) * self.weight(shape[-1])
        gamma, beta = (tf.constant(self.weight(*shape)) if self.chance(0.7) else None for _ in range(2))
        return layer_norm(x, gamma, beta, 0.1, axes)

    def make_residual(self, x, values):
        """What a block of a transformer does: x beside something made of it, normalised."""
        size = x.sizes[-1] if len(x.sizes) > 1 else None
        if not isinstance(size, int) or size == 0:
            return x
        hidden = tf.nn.gelu(x @ self.weight(size, 5) + self.weight(5), approximate=self.chance(0.3))
        total = x + hidden @ self.weight(5, size) + self.weight(size)
        return layer_norm(total, tf.constant(self.weight(size)), None, 0.1) if self.chance(0.7) else total

    def make_products(self, x, values):
        """A chain of products of batches of matrices, transposed by a flag or by moving axes."""
        if len(x.sizes) != 3:
            return x
        y = x
        for _ in range(self.choice([1, 2, 3])):
            z = tf.matmul(y, x, transpose_a=True) if self.chance(0.5) else tf.matmul(tf.transpose(y, [0, 2, 1]), x)
            y = tf.matmul(x, z * 0.2, transpose_b=self.chance(0.5)) if self.chance(0.7) else tf.matmul(x, z) * 0.2
        return y + self.weight(1, 1, 1)

    def make_masked_softmax(self, x, values):
        """Scores of steps, scaled, those of later steps left out; its shape is that of the scores."""
        if len(x.sizes) != 3:
            return x
        scores = tf.matmul(x * 0.5, x, transpose_b=True)
        steps = tf.range(tf.shape(scores)[1]) if not isinstance(x.sizes[1], int) else tf.range(x.sizes[1])
        if self.chance(0.7):
            scores = tf.where(tf.expand_dims(steps, 1) >= tf.expand_dims(steps, 0), scores, -1e9)
        return tf.matmul(tf.nn.softmax(scores), x)

    def make_projected_heads(self, x, values):
        """Attention of two heads, projected in and out."""
        size = x.sizes[-1] if len(x.sizes) == 3 else None
        if not isinstance(size, int) or size == 0:
            return x
        batch, steps, _ = x.sizes

        def heads():
            rows = tf.reshape(x, (-1, size)) @ self.weight(size, 6) + self.weight(6)
            return tf.transpose(tf.reshape(rows, (batch, steps, 2, 3)), [0, 2, 1, 3])

        scores = tf.nn.softmax(tf.matmul(heads(), heads(), transpose_b=True))
        joined = tf.reshape(tf.transpose(tf.matmul(scores, heads()), [0, 2, 1, 3]), (-1, 6))
        return tf.reshape(joined @ self.weight(6, size), (batch, steps, size)) + x

    def make_reduce(self, x, values):
        if not x.sizes:
            return x * 1.5
        name = self.choice(["reduce_sum", "reduce_mean", "reduce_max", "reduce_min", "reduce_logsumexp"])
        axes = tuple(sorted({self.axis(x) for _ in range(self.choice([1, 1, 2]))}))
        if 0 in axes and name != "reduce_sum":
            x = tf.concat([x, tf.zeros([1, *x.sizes[1:]])], 0) if isinstance(x.sizes[0], int) else x
        return apply(name, x, axis=axes, keepdims=self.chance(0.5)) * 0.5

    def make_total(self, x, values):
        return tf.reduce_sum(tf.tanh(x)) * 0.1

    def make_split_features(self, x, values):
        size = x.sizes[-1] if x.sizes else 1
        if len(x.sizes) == 2 and isinstance(size, int) and size % 2 == 0:
            return tf.transpose(tf.reshape(x, [-1, 2, size // 2]), [0, 2, 1])
        return x * 0.5

    def make_flatten(self, x, values):
        if len(x.sizes) >= 3:
            return tf.reshape(x, [x.sizes[0], -1])
        return tf.reshape(x, [-1]) if x.sizes else tf.reshape(x, [1])

    def make_transpose(self, x, values):
        if len(x.sizes) < 2:
            return x
        order = [int(i) for i in self.rng.permutation(len(x.sizes))]
        return (
            tf.transpose(x, order)
            if self.chance(0.3)
            else tf.transpose(tf.transpose(x, order) * 1.1, np.argsort(order))
        )

    def make_pad(self, x, values):
        return tf.pad(x, [[0, 0]] * (len(x.sizes) - 1) + [[1, 2]], constant_values=0.5) if len(x.sizes) > 1 else x

    def make_slice(self, x, values):
        if len(x.sizes) < 2 or not isinstance(x.sizes[-1], int):
            return x
        return x[..., ::-1][..., : max(1, x.sizes[-1] - 1)]

    def make_batch_slice(self, x, values):
        return tf.reverse(x, [0]) if x.sizes else x

    def make_concat(self, x, values):
        fitting = [v for v in values if len(v.sizes) > 1 and tuple(v.sizes[:-1]) == tuple(x.sizes[:-1])]
        small = len(x.sizes) > 1 and isinstance(x.sizes[-1], int) and x.sizes[-1] < 16
        return tf.concat([x, self.pick(fitting)], -1) if fitting and small else x

    def make_gather(self, x, values):
        if len(x.sizes) < 2 or not isinstance(x.sizes[-1], int):
            return x
        return tf.gather(x, self.rng.integers(0, x.sizes[-1], 3).astype(np.int32), axis=-1)

    def make_embed(self, x, values):
        """Rows of a table by the labels."""
        return tf.gather(self.weight(4, int(self.rng.integers(1, 7))), self.labels)

    def make_segments(self, x, values):
        if len(x.sizes) != 2 or tuple(x.sizes[:1]) != tuple(self.labels.sizes):
            return x
        return tf.math.unsorted_segment_sum(x, tf.cast(self.labels, "int32"), 4)

    def make_one_hot(self, x, values):
        return tf.one_hot(self.labels, 4) * 0.5

    def make_mask(self, x, values):
        return tf.where(self.mask, self.scalar, 0.25)

    def make_flag(self, x, values):
        return x * tf.cast(self.flag, "float32") + tf.cast(self.count, "float32")

    def make_argmax(self, x, values):
        if len(x.sizes) < 2 or not isinstance(x.sizes[-1], int):
            return x
        return tf.cast(tf.argmax(x, -1, output_type=self.choice(["int64", "int32"])), "float32") * 0.1

    def make_select(self, x, values):
        return tf.where(x > 0.2, x * 0.3, tf.sin(x * 0.5))

    def make_steps_as_rows(self, x, values):
        """Batch and steps as one axis, and back."""
        if len(x.sizes) != 3:
            return x
        rows = tf.tanh(tf.reshape(x, [-1, x.sizes[-1]]))
        return tf.reshape(rows, tuple(x.sizes)) if self.chance(0.6) else rows

    def make_attention(self, x, values):
        if len(x.sizes) != 3:
            return x
        scores = tf.nn.softmax(tf.matmul(x, x, transpose_b=True) * 0.5)
        return tf.matmul(scores, x)

    def make_heads(self, x, values):
        if len(x.sizes) != 3 or not isinstance(x.sizes[-1], int) or x.sizes[-1] % 2:
            return x
        batch, steps, features = x.sizes
        apart = tf.transpose(tf.reshape(x, (batch, steps, 2, features // 2)), [0, 2, 1, 3])
        together = tf.transpose(apart * 1.1, [0, 2, 1, 3])
        return tf.reshape(together, (batch, steps, features)) if self.chance(0.7) else apart

    def make_batch_concat(self, x, values):
        """The batch twice: a size that is a multiple of a symbol."""
        if len(x.sizes) < 2:
            return x
        return tf.concat([x, x * 0.5], 0)

    def make_previous(self, x, values):
        """Each row beside the one before it."""
        if len(x.sizes) < 2 or isinstance(x.sizes[0], int):
            return x
        return x - tf.pad(x, [[1, 0]] + [[0, 0]] * (len(x.sizes) - 1))[:-1]

    def make_cumsum(self, x, values):
        return tf.cumsum(x, axis=-1, reverse=self.chance(0.5)) * 0.2 if len(x.sizes) > 1 else x

    def make_conv(self, x, values):
        if len(x.sizes) != 3 or not isinstance(x.sizes[1], int) or not isinstance(x.sizes[2], int):
            return x
        filters = self.weight(2, x.sizes[-1], int(self.rng.integers(1, 6)))
        return tf.nn.conv1d(
            x, filters, int(self.rng.integers(1, 3)), self.choice(["SAME", "VALID"] if x.sizes[1] > 2 else ["SAME"])
        )

    def make_pool(self, x, values):
        if len(x.sizes) != 2 or x.sizes[-1] != 6:
            return x
        image = tf.reshape(x, [-1, 3, 2, 1]) * self.weight(1, 1, 1, 2)
        pool = tf.nn.max_pool2d if self.chance(0.5) else tf.nn.avg_pool2d
        return pool(image, 2, self.choice([1, 2]), self.choice(["SAME", "VALID"]))

    # states

    def assign(self, values: list[Any]) -> None:
        """Writes one variable in one of the ways that programs do."""
        getattr(self, self.choice([name for name in dir(self) if name.startswith("write_")]))(
            self.choice(self.variables), values
        )

    def write_swap(self, v, values):
        same = [w for w in self.variables if w is not v and w.sizes == v.sizes]
        if same:
            w = self.choice(same)
            old_v, old_w = v.value(), w.value()
            v.assign(old_w)
            w.assign(old_v * 0.5 if self.chance(0.5) else old_v)

    def write_crossed(self, v, values):
        """x, y = f(x, y), g(x, y) with the old values of both."""
        same = [w for w in self.variables if w is not v and w.sizes == v.sizes]
        if same:
            w = self.choice(same)
            a, b = tf.tanh(w) + v * 0.5, tf.sin(v) - w * 0.25
            v.assign(a), w.assign(b)

    def write_rotated(self, v, values):
        if v.sizes:
            v.assign(tf.reverse(v, [0]) * 0.9)

    def write_transposed(self, v, values):
        if len(v.sizes) == 2 and v.sizes[0] == v.sizes[1]:
            v.assign(tf.transpose(v) + 0.1)

    def write_decayed(self, v, values):
        v.assign(v * 0.9 + 0.05)

    def write_normalised(self, v, values):
        v.assign(v / (tf.sqrt(tf.reduce_sum(tf.square(v))) + 1.0))

    def write_softmax(self, v, values):
        if len(v.sizes) == 2:
            v.assign(tf.nn.softmax(v))

    def write_reduced(self, v, values):
        """The mean over everything but the last axis of some value."""
        fitting = [x for x in values if x.sizes and v.sizes and x.sizes[-1] == v.sizes[-1]]
        if len(v.sizes) == 1 and fitting:
            x = self.pick(fitting)
            v.assign_add(tf.reduce_sum(x, axis=list(range(len(x.sizes) - 1))) * 0.01)
        elif not v.sizes:
            v.assign_add(tf.reduce_sum(self.pick(values)) * 0.01)

    def write_outer_product(self, v, values):
        """A weight's update by hand: W -= x' dy."""
        left = [x for x in values if len(v.sizes) == 2 and len(x.sizes) == 2 and x.sizes[1] == v.sizes[0]]
        right = [x for x in values if len(v.sizes) == 2 and len(x.sizes) == 2 and x.sizes[1] == v.sizes[1]]
        pairs = [(a, b) for a in left for b in right if a.sizes[0] == b.sizes[0]]
        if pairs:
            a, b = self.pick(pairs)
            v.assign_sub(tf.matmul(a, b, transpose_a=True) * 0.01)

    def write_step(self, v, values):
        """One optimizer step for several variables, slots included."""
        several = [w for w in self.variables if w.trainable][: self.choice([1, 2, 3])]
        rate = self.scalar * 0.01
        total = sum(tf.reduce_sum(tf.sin(w)) for w in several) * tf.reduce_mean(tf.tanh(self.pick(values)))
        kind = self.choice(["sgd", "momentum", "adam"])
        for w in several:
            gradient = tf.cos(w) * total if self.chance(0.7) else tf.ones(w.sizes) * self.scalar
            if kind == "sgd":
                w.assign(sgd_step(w, gradient, rate))
            elif kind == "momentum":
                new, m = momentum_step(w, self.slot(w, 0), gradient, rate, momentum=0.9)
                w.assign(new), self.slot(w, 0).assign(m)
            else:
                new, m, s = adam_step(w, self.slot(w, 0), self.slot(w, 1), gradient, rate, tf.constant(3.0))
                w.assign(new), self.slot(w, 0).assign(m), self.slot(w, 1).assign(s)

    def slot(self, v: Any, number: int) -> Any:
        """A variable that mirrors another."""
        found = self.slots.get((id(v), number))
        if found is None:
            start = np.full([int(d) for d in v.sizes], 0.1 * (number + 1), np.float32)
            found = self.slots[id(v), number] = tf.Variable(start, trainable=False, role="OPTIMIZER_SLOT")
        return found


def make(seed: int, features: int = 6, steps: tuple[int, int] = (4, 14), writes: int = 5) -> Made:
    """The graph of a seed; `features` is the size of most axes."""
    rng = np.random.default_rng(seed)
    maker = Maker(rng, features)
    shapes = [(features,), (features,), (), (features, features), (features, features), (1,), (3, 4)]
    maker.variables = [tf.Variable(maker.weight(*s), name=f"state{i}") for i, s in enumerate(shapes)]
    specs = [
        TensorSpec([None, features]),
        TensorSpec([None], "int64"),
        TensorSpec([None], "bool"),
        TensorSpec([]),
        TensorSpec([], "bool"),
        TensorSpec([], "int32"),
        TensorSpec([None], "uint8"),
        TensorSpec([None, None, 4]),
    ]
    names = ["x", "labels", "mask", "scalar", "flag", "count", "unused", "sequence"]

    def function(x, labels, mask, scalar, flag, count, unused, sequence):
        maker.labels, maker.mask, maker.scalar, maker.flag, maker.count = labels, mask, scalar, flag, count
        values, outputs = [x, scalar + 0.0] + ([sequence * 0.5] if rng.random() < 0.4 else []), []
        for _ in range(int(rng.integers(*steps))):
            values.append(maker.step(values))
            if writes and rng.random() < writes / 14:
                maker.assign(values)
            if rng.random() < 0.15:
                outputs.append(maker.choice(maker.variables).value())
        outputs += [values[-1], maker.pick(values), maker.pick(values)]
        outputs += [
            maker.choice(
                [labels > 1, tf.cast(labels, "int32") + 1, x, mask, scalar, tf.constant([1.0, 2.0]), values[-1]]
            )
        ]
        if rng.random() < 0.5:
            with_gradient(outputs, x, values[-1])
        return outputs

    def with_gradient(outputs, x, y):
        from tideflow.autodiff.gradients import Recording, gradients
        from tideflow.ops.dispatch import pushed

        recorder = Recording()
        with pushed(recorder):
            again = [x, x * maker.variables[0]]
            for _ in range(int(rng.integers(2, 6))):
                again.append(maker.step(again))
            loss = tf.reduce_sum(tf.tanh(again[-1])) * 0.1
        found = gradients(recorder.entries, [loss], [None], [x, maker.variables[0]])
        outputs += [g for g in found if g is not None]

    graph = trace(
        function, input_values([TensorSpec(s.shape, s.dtype) for s in specs], names, "batch"), f"seed{seed}"
    ).graph

    def inputs(batch: int, seed: int = 0) -> list[np.ndarray]:
        draw = np.random.default_rng(1000 + seed)
        return [
            draw.uniform(-1, 1, (batch, features)).astype(np.float32),
            draw.integers(0, 4, batch),
            draw.random(batch) < 0.5,
            np.asarray(draw.uniform(0.1, 1), np.float32),
            np.asarray(draw.random() < 0.5),
            np.asarray(draw.integers(0, 5), np.int32),
            draw.integers(0, 256, batch).astype(np.uint8),
            draw.uniform(-1, 1, (batch, (3, 1, 7, 0)[seed % 4], 4)).astype(np.float32),
        ]

    return Made(graph, inputs, seed)


# running


def runs_on_numpy(graph: Graph, arrays: Sequence[Any]) -> bool:
    """Whether the graph has a result for these sizes: a maximum or a position over nothing has none."""
    try:
        with np.errstate(all="ignore"):
            interpret(graph, arrays, plain=True)
    except ValueError:
        return False
    return True


def compare_on_device(graph: Graph, sets: Sequence[Sequence[Any]], device: str, *, fuse: bool = True) -> str:
    """Runs the graph on each set of inputs, one after another; says what differs from numpy, or "".

    States have the values of before when it returns.
    """
    names = [f"in{i}" for i in range(len(graph.inputs))]
    source = Source("call", graph, [PortSpec(n) for n in names], [f"out{i}" for i in range(len(graph.outputs))])
    before = {s: s.read().copy() for s in graph.states()}
    compiled = compile_model([source], ["wgsl" if device == "GPU:0" else "wasm"], fuse=fuse)
    executor = execute.load(compiled.model, device)
    try:
        for arrays in sets:
            found = executor.run("call", dict(zip(names, arrays, strict=True)))
            with np.errstate(all="ignore"):
                outputs, writes = interpret(graph, arrays, plain=True)
            for state, array in writes:
                state.write(np.array(array))
            pairs = [(f"out{i}", found[f"out{i}"].numpy(), wanted) for i, wanted in enumerate(outputs)]
            pairs += [(f"state {s.name}", executor.read(i), s.read()) for i, s in compiled.states.items()]
            for name, actual, expected in pairs:
                if text := difference(np.asarray(actual), np.asarray(expected)):
                    return f"{name}, shapes {[np.shape(a) for a in arrays]}: {text}"
    finally:
        executor.close()
        for state, array in before.items():
            state.write(array)
    return ""


def difference(actual: np.ndarray, expected: np.ndarray) -> str:
    """How two arrays differ, or ""."""
    if (actual.shape, actual.dtype) != (expected.shape, expected.dtype):
        return f"is {actual.dtype}{actual.shape}, expected {expected.dtype}{expected.shape}"
    if expected.dtype.kind != "f":
        same = actual == expected
    else:
        scale = max(1.0, float(np.abs(expected[np.isfinite(expected)]).max(initial=0.0)))
        same = np.isclose(actual, expected, rtol=2e-4, atol=2e-5 * scale, equal_nan=True)
    if same.all():
        return ""
    at = tuple(int(i) for i in np.argwhere(~same)[0])
    return f"{int((~same).sum())} of {same.size} elements differ; {at} is {actual[at]}, expected {expected[at]}"


# making failures small


def minimise(
    graph: Graph, arrays: Sequence[Any], fails: Callable[[Graph, list[Any]], bool], rounds: int = 6
) -> tuple[Graph, list[Any]]:
    """A smaller graph that still fails: results are dropped, and values become inputs with what they had."""
    current, given = graph, [np.asarray(a) for a in arrays]
    for _ in range(rounds):
        before = (len(current.nodes), len(current.results))
        for kind in ("outputs", "writes"):
            for i in reversed(range(len(getattr(current, kind)))):
                kept = getattr(current, kind)
                candidate = _prune(current.with_(**{kind: kept[:i] + kept[i + 1 :]}))
                if _still(fails, candidate, given):
                    current = candidate
        for value in [v for n in reversed(current.nodes) for v in n.outputs]:
            if value.node in current.nodes and (cut := _cut(current, given, value)) and _still(fails, *cut):
                current, given = cut
        if (len(current.nodes), len(current.results)) == before:
            break
    return current, given


def _still(fails: Callable[[Graph, list[Any]], bool], graph: Graph, arrays: list[Any]) -> bool:
    try:
        return bool(graph.results) and fails(graph, arrays)
    except Exception:
        return False


def _prune(graph: Graph) -> Graph:
    needed = set(reachable(graph.results))
    return graph.with_(nodes=tuple(n for n in graph.nodes if n in needed))


def _cut(graph: Graph, arrays: list[Any], value: Value) -> tuple[Graph, list[Any]] | None:
    """The graph with a value as an input."""
    probe = graph.with_(outputs=(value,), writes=())
    array = interpret(probe, arrays)[0][0]
    fresh = Value(value.sizes, value.dtype, label=f"was_{value.node.op.name}")
    rewriter = Rewriter(replaced={value: fresh})
    for node in graph.nodes:
        rewriter.keep(node)
    made = _prune(rewriter.finish(graph).with_(inputs=(*graph.inputs, fresh)))
    bind([v.spec for v in made.inputs], [*arrays, array])
    return made, [*arrays, np.asarray(array)]


def show(graph: Graph) -> str:
    """The graph as text."""
    names: dict[Value, str] = {}

    def name(v: Value | None) -> str:
        if v is None:
            return "-"
        if v not in names:
            if v.constant is not None:
                names[v] = f"const{list(v.constant.shape)}" + (
                    f"={v.constant.reshape(-1)[0]}" if v.constant.size == 1 else ""
                )
            elif v.state is not None:
                names[v] = f"{v.state.name}{list(v.sizes)}"
            else:
                names[v] = f"{v.label or 'v'}{len(names)}"
        return names[v]

    used = {v for n in graph.nodes for v in n.inputs} | set(graph.results)
    lines = [f"inputs {', '.join(f'{name(v)}: {v.dtype.name}{list(v.sizes)}' for v in graph.inputs if v in used)}"]
    for node in graph.nodes:
        made = ", ".join(f"{name(v)}: {v.dtype.name}{list(v.sizes)}" for v in node.outputs)
        lines.append(f"{made} = {node.op.name}({', '.join(map(name, node.inputs))}) {node.attrs or ''}")
    lines.append(f"outputs {', '.join(map(name, graph.outputs))}")
    lines += [f"{s.name} <- {name(v)}" for s, v in graph.writes]
    return "\n".join(lines)


__all__ = ["Made", "compare_on_device", "make", "minimise", "runs_on_numpy", "show"]
