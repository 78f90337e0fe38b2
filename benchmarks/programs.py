"""The workloads as Tideflow programs: each one `.tide` file for WebAssembly and WebGPU, made natively.

`expression(workload, *operands)` is shared with the native and the Pyodide contenders.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tideflow as tf
from tideflow import keras
from tideflow.compiler.compile import PortSpec, Source, compile_model
from tideflow.function.trace import TensorSpec, input_values, trace
from tideflow.keras import layers
from tideflow.program.write import write_model

from .data import Array
from .workloads import EPSILON, LEARNING_RATE, NORM_EPSILON, Workload

TARGETS = ("wgsl", "wasm")


class Missing(Exception):
    """Tideflow has not got what a workload needs; says what."""


@dataclass(frozen=True)
class Built:
    """A file, and the names that its tensors of weights and operands have there, with what belongs in them."""

    file: bytes
    tensors: list[tuple[str, Array]]


def build(workload: Workload, targets: Sequence[str] = TARGETS, empty: bool = False) -> Built:
    """The file of a workload. Raises Missing.

    `empty`: with zeros for all weights and operands, which compress to nothing; a page fills them in.
    """
    if workload.options.get("eager"):
        raise Missing("the JavaScript runtime runs compiled programs only")
    try:
        if workload.kind in ("compute", "adam") or workload.name == "transformer":
            return _functions(workload, targets, empty)
        return _keras_file(workload, targets, empty)
    except RecursionError:
        raise Missing("the compiler cannot take an expression this deep: RecursionError") from None


def initial(array: Array, empty: bool = False) -> np.ndarray:
    """What a tensor starts with."""
    return np.zeros(array.shape, array.dtype) if empty else array.values()


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


def _functions(w: Workload, targets: Sequence[str], empty: bool) -> Built:
    """A program of plain functions on variables."""
    variables = {a.name: tf.Variable(initial(a, empty), name=a.name) for a in w.params}
    values, name, result = [], "run", "result"
    if w.kind == "compute":
        def run(*_: Any) -> Any:
            return expression(w, *(v.value() for v in variables.values()))
    elif w.kind == "adam":
        run = update_step(variables["w"], variables["g"])
    else:
        run, name, result = training_step(variables, transformer_loss), "train_step", "loss"
        values = input_values([TensorSpec(a.shape, a.dtype) for a in w.inputs], [a.name for a in w.inputs])
    source = Source(name, trace(run, values, name).graph, [PortSpec(a.name) for a in w.inputs], [result])
    file = write_model(compile_model([source], targets).model)
    return Built(file, [(v.state.name, a) for v, a in zip(variables.values(), w.params, strict=True)])


# ---- training steps ------------------------------------------------------------------------------------------------

def new_adam() -> Any:
    """The optimizer of every workload."""
    return keras.optimizers.Adam(LEARNING_RATE, epsilon=EPSILON)


def update_step(weight: Any, gradient: Any) -> Callable[[], Any]:
    """step() -> the first weights, after one Adam update with this gradient."""
    optimizer = new_adam()
    optimizer.build([weight])

    def update() -> Any:
        optimizer.apply_gradients([(gradient.value(), weight)])
        return weight[:16]
    return update


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


def training_step(weights: dict[str, Any], loss_of: Callable[..., Any]) -> Callable[[Any, Any], Any]:
    """step(x, y) -> loss: gradients by the tape, one Adam update of variables by name."""
    optimizer = new_adam()
    optimizer.build(list(weights.values()))

    def step(x: Any, y: Any) -> Any:
        with tf.GradientTape() as tape:
            loss = loss_of(weights, x, y)
        optimizer.apply_gradients(zip(tape.gradient(loss, list(weights.values())), weights.values(), strict=True))
        return loss
    return step


# ---- Keras models --------------------------------------------------------------------------------------------------

def keras_model(w: Workload, empty: bool = False) -> Any:
    """A compiled Keras model with the workload's weights. Raises Missing."""
    make = {"mlp": _mlp, "cnn": _cnn, "lstm": _lstm, "mobilenet": _mobilenet}[w.name]
    needed = {"lstm": ["LSTM"], "mobilenet": ["DepthwiseConv2D"]}.get(w.name, [])
    absent = [n for n in needed if not hasattr(layers, n)]
    if absent:
        raise Missing(f"keras.layers.{', '.join(absent)} is not there yet")
    model = make(w)
    model.set_weights([initial(a, empty) for a in keras_arrays(w)])
    if w.kind == "train":
        model.compile(new_adam(), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


def keras_arrays(w: Workload) -> list[Array]:
    """What the weights of the Keras model start with, in its order."""
    if w.kind != "infer":
        return list(w.params)
    made: list[Array] = []
    for i in range(0, len(w.params) - 2, 3):
        kernel, scale, shift = w.params[i:i + 3]
        mean, variance = (Array(f"{scale.name}/{n}", scale.shape, 0, v, v)
                          for n, v in (("mean", 0.0), ("variance", 1.0 - NORM_EPSILON)))
        made += [kernel, scale, shift, mean, variance]
    return [*made, *w.params[-2:]]


def _keras_file(w: Workload, targets: Sequence[str], empty: bool) -> Built:
    """What `model.save` writes."""
    from tideflow.keras.saving import model_bytes
    model = keras_model(w, empty)
    if w.kind == "train":
        x, y = (np.zeros(a.shape, a.dtype) for a in w.inputs)
        model._prepare("train_step", (TensorSpec([None, *x.shape[1:]], x.dtype), TensorSpec([None], y.dtype), None))
    file = model_bytes(model, targets)
    return Built(file, [(v.state.name, a) for v, a in zip(model.weights, keras_arrays(w), strict=True)])


def _mlp(w: Workload) -> Any:
    return keras.Sequential([keras.Input((784,)), layers.Dense(256, activation="relu"),
                             layers.Dense(128, activation="relu"), layers.Dense(10)])


def _cnn(w: Workload) -> Any:
    return keras.Sequential([
        keras.Input((28, 28, 1)), layers.Conv2D(16, 3, padding="same", activation="relu"), layers.MaxPooling2D(),
        layers.Conv2D(32, 3, padding="same", activation="relu"), layers.MaxPooling2D(), layers.Flatten(),
        layers.Dense(10)])


def _lstm(w: Workload) -> Any:
    return keras.Sequential([keras.Input((50, 16)), layers.LSTM(64), layers.Dense(10)])


def _mobilenet(w: Workload) -> Any:
    body: list[Any] = [keras.Input((96, 96, 3)), layers.Conv2D(8, 3, 2, "same", use_bias=False), *_normalised()]
    for _, out, stride in w.options["blocks"]:
        body += [layers.DepthwiseConv2D(3, stride, "same", use_bias=False), *_normalised(),
                 layers.Conv2D(out, 1, use_bias=False), *_normalised()]
    return keras.Sequential([*body, layers.GlobalAveragePooling2D(), layers.Dense(1000, activation="softmax")])


def _normalised() -> list[Any]:
    return [layers.BatchNormalization(epsilon=NORM_EPSILON), layers.ReLU(6.0)]
