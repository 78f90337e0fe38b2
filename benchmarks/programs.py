"""The workloads as Tideflow programs: each one `.tide` file for WebAssembly and WebGPU, made natively.

`expression(workload, *operands)` is shared with the native and the Pyodide contenders.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tideflow as tf
from tideflow import keras
from tideflow.compiler.compile import PortSpec, Source, compile_model
from tideflow.function.trace import TensorSpec, input_values, trace
from tideflow.keras import layers
from tideflow.program.write import write_model

from .workloads import EPSILON, LEARNING_RATE, NORM_EPSILON, Workload

TARGETS = ("wgsl", "wasm")


class Missing(Exception):
    """Tideflow has not got what a workload needs; says what."""


def build(workload: Workload, targets: Sequence[str] = TARGETS) -> bytes:
    """The file of a workload. Raises Missing."""
    if workload.options.get("eager"):
        raise Missing("the JavaScript runtime runs compiled programs only")
    if workload.kind == "compute":
        return _computation(workload, targets)
    if workload.kind == "adam":
        return _adam(workload, targets)
    if workload.name == "transformer":
        return _step(workload, transformer_loss, targets)
    return keras_file(keras_model(workload), workload, targets)


# ---- expressions ---------------------------------------------------------------------------------------------------

def expression(w: Workload, *operands: Any) -> Any:
    """What a workload of kind "compute" computes."""
    if w.name.startswith("matmul"):
        return tf.matmul(*operands)
    if w.name.startswith("conv"):
        return tf.nn.conv2d(*operands, strides=w.options["stride"], padding="SAME")
    if w.name == "depthwise":
        return tf.nn.depthwise_conv2d(*operands, strides=[1, 1, 1, 1], padding="SAME")
    return SMALL[w.name](*operands)


def _chain12(x: Any, a: Any, b: Any, c: Any) -> Any:
    t = tf.tanh(x * a + b) * c - x
    t = tf.exp(-tf.sqrt(tf.abs(t) + 1.0))
    return tf.nn.relu(t * x)


def _layer_norm(axis: int) -> Callable[..., Any]:
    shape = (-1, 1) if axis == 0 else (1, -1)

    def compute(x: Any, gamma: Any, beta: Any) -> Any:
        mean, variance = tf.nn.moments(x, [axis], keepdims=True)
        scaled = (x - mean) * tf.math.rsqrt(variance + NORM_EPSILON)
        return scaled * tf.reshape(gamma, shape) + tf.reshape(beta, shape)
    return compute


def _adds(a: Any, b: Any) -> Any:
    for _ in range(1000):
        a = a + b
    return a


SMALL: dict[str, Callable[..., Any]] = {
    "chain4": lambda x, a, b, c: tf.nn.relu(x * a + b) * c - tf.tanh(x),
    "chain12": _chain12,
    "softmax1": lambda x, *_: tf.nn.softmax(x, axis=1), "softmax0": lambda x, *_: tf.nn.softmax(x, axis=0),
    "layernorm1": _layer_norm(1), "layernorm0": _layer_norm(0),
    "sum1": lambda x, *_: tf.reduce_sum(x, axis=1), "sum0": lambda x, *_: tf.reduce_sum(x, axis=0),
    "adds": _adds, "adds_eager": _adds,
}


def _computation(w: Workload, targets: Sequence[str]) -> bytes:
    operands = [tf.Variable(a.values(), trainable=False, name=a.name) for a in w.params]
    graph = trace(lambda: expression(w, *(v.value() for v in operands)), [], "run").graph
    return write_model(compile_model([Source("run", graph, [], ["result"])], targets).model)


# ---- training steps ------------------------------------------------------------------------------------------------

def new_adam() -> Any:
    """The optimizer of every workload."""
    return keras.optimizers.Adam(LEARNING_RATE, epsilon=EPSILON)


def _adam(w: Workload, targets: Sequence[str]) -> bytes:
    weight, gradient = (tf.Variable(a.values(), name=a.name, trainable=a.name == "w") for a in w.params)
    optimizer = new_adam()
    optimizer.build([weight])

    def update() -> Any:
        optimizer.apply_gradients([(gradient.value(), weight)])
        return weight[:16]

    graph = trace(update, [], "run").graph
    return write_model(compile_model([Source("run", graph, [], ["result"])], targets).model)


def transformer_loss(weights: dict[str, Any], x: Any, y: Any) -> Any:
    """Mean squared error of one block, normalised after each half."""
    heads, (batch, length, width) = 4, x.shape

    def dense(t: Any, name: str) -> Any:
        return tf.matmul(t, weights[f"{name}/kernel"]) + weights[f"{name}/bias"]

    def split(t: Any) -> Any:
        return tf.transpose(tf.reshape(t, (batch, length, heads, width // heads)), (0, 2, 1, 3))

    def norm(t: Any, name: str) -> Any:
        mean, variance = tf.nn.moments(t, [-1], keepdims=True)
        scaled = (t - mean) * tf.math.rsqrt(variance + NORM_EPSILON)
        return scaled * weights[f"{name}/gamma"] + weights[f"{name}/beta"]

    q, k, v = (split(dense(x, n)) for n in ("query", "key", "value"))
    attention = tf.nn.softmax(tf.matmul(q, k, transpose_b=True) * (width // heads) ** -0.5)
    mixed = tf.reshape(tf.transpose(tf.matmul(attention, v), (0, 2, 1, 3)), (batch, length, width))
    h = norm(x + dense(mixed, "output"), "norm1")
    out = norm(h + dense(tf.nn.gelu(dense(h, "up"), approximate=True), "down"), "norm2")
    return tf.reduce_mean(tf.square(out - y))


def training_step(w: Workload, loss_of: Callable[..., Any]) -> Callable[[Any, Any], Any]:
    """step(x, y) -> loss: gradients by the tape, one Adam update."""
    weights = {a.name: tf.Variable(a.values(), name=a.name) for a in w.params}
    optimizer = new_adam()
    optimizer.build(list(weights.values()))

    def step(x: Any, y: Any) -> Any:
        with tf.GradientTape() as tape:
            loss = loss_of(weights, x, y)
        optimizer.apply_gradients(zip(tape.gradient(loss, list(weights.values())), weights.values(), strict=True))
        return loss
    return step


def _step(w: Workload, loss_of: Callable[..., Any], targets: Sequence[str]) -> bytes:
    values = input_values([TensorSpec(a.shape, a.dtype) for a in w.inputs], [a.name for a in w.inputs])
    graph = trace(training_step(w, loss_of), values, "train_step").graph
    source = Source("train_step", graph, [PortSpec(a.name) for a in w.inputs], ["loss"])
    return write_model(compile_model([source], targets).model)


# ---- Keras models --------------------------------------------------------------------------------------------------

def keras_model(w: Workload) -> Any:
    """A compiled Keras model with the workload's weights. Raises Missing."""
    make = {"mlp": _mlp, "cnn": _cnn, "lstm": _lstm, "mobilenet": _mobilenet}[w.name]
    needed = {"lstm": ["LSTM"], "mobilenet": ["DepthwiseConv2D"]}.get(w.name, [])
    absent = [n for n in needed if not hasattr(layers, n)]
    if absent:
        raise Missing(f"keras.layers.{', '.join(absent)} is not there yet")
    model = make(w)
    if w.kind == "train":
        model.compile(new_adam(), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


def keras_file(model: Any, w: Workload, targets: Sequence[str]) -> bytes:
    """What `model.save` writes."""
    from tideflow.keras.saving import model_bytes
    if w.kind == "train":
        x, y = (np.zeros(a.shape, a.dtype) for a in w.inputs)
        model._prepare("train_step", (TensorSpec([None, *x.shape[1:]], x.dtype), TensorSpec([None], y.dtype), None))
    return model_bytes(model, targets)


def _mlp(w: Workload) -> Any:
    model = keras.Sequential([keras.Input((784,)), layers.Dense(256, activation="relu"),
                              layers.Dense(128, activation="relu"), layers.Dense(10)])
    model.set_weights([a.values() for a in w.params])
    return model


def _cnn(w: Workload) -> Any:
    model = keras.Sequential([
        keras.Input((28, 28, 1)), layers.Conv2D(16, 3, padding="same", activation="relu"), layers.MaxPooling2D(),
        layers.Conv2D(32, 3, padding="same", activation="relu"), layers.MaxPooling2D(), layers.Flatten(),
        layers.Dense(10)])
    model.set_weights([a.values() for a in w.params])
    return model


def _lstm(w: Workload) -> Any:
    model = keras.Sequential([keras.Input((50, 16)), layers.LSTM(64), layers.Dense(10)])
    model.set_weights([a.values() for a in w.params])
    return model


def _mobilenet(w: Workload) -> Any:
    body: list[Any] = [keras.Input((96, 96, 3)), layers.Conv2D(8, 3, 2, "same", use_bias=False), *_normalised()]
    for _, out, stride in w.options["blocks"]:
        body += [layers.DepthwiseConv2D(3, stride, "same", use_bias=False), *_normalised(),
                 layers.Conv2D(out, 1, use_bias=False), *_normalised()]
    model = keras.Sequential([*body, layers.GlobalAveragePooling2D(), layers.Dense(1000, activation="softmax")])
    supply = [a.values() for a in w.params]
    arrays: list[np.ndarray] = []
    for i in range(0, len(supply) - 2, 3):
        kernel, scale, shift = supply[i:i + 3]
        arrays += [kernel, scale, shift, np.zeros_like(scale), np.ones_like(scale) - NORM_EPSILON]
    model.set_weights([*arrays, *supply[-2:]])
    return model


def _normalised() -> list[Any]:
    return [layers.BatchNormalization(epsilon=NORM_EPSILON), layers.ReLU(6.0)]
