"""The workloads in TensorFlow, in any precision: the native contender in float32, the reference in float64.

Runs in an interpreter that has TensorFlow (`TF_PYTHON`), without Tideflow.
"""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from ..workloads import EPSILON, LEARNING_RATE, NORM_EPSILON, Workload

Step = Callable[..., Any]


def make_step(w: Workload, dtype: str = "float32", corrected: bool = False) -> tuple[Step, list[Any]]:
    """A compiled step and what it takes from the host. It gives a result, a loss, or the first updated weights.

    `corrected`: Adam adds its epsilon after the correction of the second moment, as TensorFlow.js does, not before, as
    Keras does: with gradients near 1e-6 the losses differ in the third digit.
    """
    params = {a.name: tf.Variable(tf.cast(a.values(), dtype)) for a in w.params}
    given = [a.values() if a.dtype == "int32" else a.values().astype(dtype) for a in w.inputs]
    if w.kind == "compute":
        function = _expression(w)
        return (lambda: function(*params.values())), []
    if w.kind == "infer":
        return tf.function(lambda x: _mobilenet(w, params, x)), given
    if w.kind == "adam":
        update = _Adam({"w": params["w"]}, dtype, corrected)

        def run() -> Any:
            update([params["g"]])
            return params["w"][:16]
        return tf.function(run), []
    loss_of = {"mlp": _mlp, "cnn": _cnn, "transformer": _transformer, "lstm": _lstm}[w.name]
    update = _Adam(params, dtype, corrected)

    def step(*inputs: Any) -> Any:
        with tf.GradientTape() as tape:
            loss = loss_of(params, *inputs)
        update(tape.gradient(loss, list(params.values())))
        return loss
    return tf.function(step), given


class _Adam:
    """Keras' update, written out: Keras itself keeps its slots in float32."""

    def __init__(self, params: dict[str, Any], dtype: str, corrected: bool) -> None:
        self.params = list(params.values())
        self.first = [tf.Variable(tf.zeros_like(p)) for p in self.params]
        self.second = [tf.Variable(tf.zeros_like(p)) for p in self.params]
        self.count = tf.Variable(0.0, dtype=dtype)
        self.dtype, self.corrected = dtype, corrected

    def __call__(self, gradients: list[Any]) -> None:
        b1, b2 = tf.constant(0.9, self.dtype), tf.constant(0.999, self.dtype)
        count = self.count.assign_add(1.0)
        correction = tf.sqrt(1.0 - b2**count)
        rate = LEARNING_RATE * correction / (1.0 - b1**count)
        epsilon = EPSILON * correction if self.corrected else EPSILON
        for p, m, v, g in zip(self.params, self.first, self.second, gradients, strict=True):
            m.assign_add((g - m) * (1.0 - b1))
            v.assign_add((g * g - v) * (1.0 - b2))
            p.assign_sub(rate * m / (tf.sqrt(v) + epsilon))


def _expression(w: Workload) -> Step:
    stride = w.options.get("stride", 1)

    def layer_norm(x: Any, gamma: Any, beta: Any, axis: int) -> Any:
        mean, variance = tf.nn.moments(x, [axis], keepdims=True)
        shape = (-1, 1) if axis == 0 else (1, -1)
        return (x - mean) * tf.math.rsqrt(variance + NORM_EPSILON) * tf.reshape(gamma, shape) + tf.reshape(beta, shape)

    def chain12(x: Any, a: Any, b: Any, c: Any) -> Any:
        t = tf.tanh(x * a + b) * c - x
        return tf.nn.relu(tf.exp(-tf.sqrt(tf.abs(t) + 1.0)) * x)

    def adds(a: Any, b: Any) -> Any:
        for _ in range(w.options["count"]):
            a = a + b
        return a
    table: dict[str, Step] = {
        "chain4": lambda x, a, b, c: tf.nn.relu(x * a + b) * c - tf.tanh(x), "chain12": chain12,
        "softmax1": lambda x, *_: tf.nn.softmax(x, axis=1),
        "softmax0": lambda x, *_: tf.nn.softmax(x, axis=0),
        "layernorm1": lambda *a: layer_norm(*a, 1),
        "layernorm0": lambda *a: layer_norm(*a, 0),
        "sum1": lambda x, *_: tf.reduce_sum(x, 1),
        "sum0": lambda x, *_: tf.reduce_sum(x, 0),
        "depthwise": lambda a, b: tf.nn.depthwise_conv2d(a, b, [1, 1, 1, 1], "SAME"), "adds": adds, "adds_eager": adds,
    }
    if w.options.get("eager"):
        return lambda a, b: adds(tf.identity(a), tf.identity(b))
    if w.name.startswith("matmul"):
        return tf.function(lambda a, b: tf.matmul(a, b))
    if w.name.startswith("conv"):
        return tf.function(lambda a, b: tf.nn.conv2d(a, b, stride, "SAME"))
    return tf.function(table[w.name], autograph=False)


def _entropy(logits: Any, labels: Any) -> Any:
    return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))


def _dense(p: dict[str, Any], t: Any, name: str) -> Any:
    return tf.matmul(t, p[f"{name}/kernel"]) + p[f"{name}/bias"]


def _mlp(p: dict[str, Any], x: Any, y: Any) -> Any:
    h = tf.nn.relu(_dense(p, tf.nn.relu(_dense(p, x, "dense1")), "dense2"))
    return _entropy(_dense(p, h, "dense3"), y)


def _cnn(p: dict[str, Any], x: Any, y: Any) -> Any:
    for name in ("conv1", "conv2"):
        x = tf.nn.relu(tf.nn.conv2d(x, p[f"{name}/kernel"], 1, "SAME") + p[f"{name}/bias"])
        x = tf.nn.max_pool2d(x, 2, 2, "VALID")
    return _entropy(_dense(p, tf.reshape(x, (x.shape[0], -1)), "dense"), y)


def _transformer(p: dict[str, Any], x: Any, y: Any) -> Any:
    heads, (batch, length, width) = 4, x.shape

    def dense(t: Any, name: str) -> Any:
        return tf.tensordot(t, p[f"{name}/kernel"], 1) + p[f"{name}/bias"]

    def split(t: Any) -> Any:
        return tf.transpose(tf.reshape(t, (batch, length, heads, width // heads)), (0, 2, 1, 3))

    def norm(t: Any, name: str) -> Any:
        mean, variance = tf.nn.moments(t, [-1], keepdims=True)
        return (t - mean) * tf.math.rsqrt(variance + NORM_EPSILON) * p[f"{name}/gamma"] + p[f"{name}/beta"]

    q, k, v = (split(dense(x, n)) for n in ("query", "key", "value"))
    attention = tf.nn.softmax(tf.matmul(q, k, transpose_b=True) * (width // heads) ** -0.5)
    mixed = tf.reshape(tf.transpose(tf.matmul(attention, v), (0, 2, 1, 3)), (batch, length, width))
    h = norm(x + dense(mixed, "output"), "norm1")
    out = norm(h + dense(tf.nn.gelu(dense(h, "up"), approximate=True), "down"), "norm2")
    return tf.reduce_mean(tf.square(out - y))


def _lstm(p: dict[str, Any], x: Any, y: Any) -> Any:
    units = 64
    projected = tf.tensordot(x, p["lstm/kernel"], 1) + p["lstm/bias"]
    h = c = tf.zeros((x.shape[0], units), x.dtype)
    for t in range(x.shape[1]):
        i, f, g, o = tf.split(projected[:, t] + tf.matmul(h, p["lstm/recurrent"]), 4, axis=1)
        c = tf.sigmoid(f) * c + tf.sigmoid(i) * tf.tanh(g)
        h = tf.sigmoid(o) * tf.tanh(c)
    return _entropy(_dense(p, h, "dense"), y)


def _mobilenet(w: Workload, p: dict[str, Any], x: Any) -> Any:
    def finish(t: Any, name: str) -> Any:
        return tf.nn.relu6(t * p[f"{name}/scale"] + p[f"{name}/shift"])

    x = finish(tf.nn.conv2d(x, p["stem/kernel"], 2, "SAME"), "stem")
    for i, (_, _, stride) in enumerate(w.options["blocks"]):
        kernel = p[f"depthwise{i}/kernel"]
        x = finish(tf.nn.depthwise_conv2d(x, kernel, [1, stride, stride, 1], "SAME"), f"depthwise{i}")
        x = finish(tf.nn.conv2d(x, p[f"pointwise{i}/kernel"], 1, "SAME"), f"pointwise{i}")
    return tf.nn.softmax(_dense(p, tf.reduce_mean(x, (1, 2)), "classes"))
