"""What is measured: each cell is a name, a unit of work and a function that makes something to call."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import tideflow as tf
from tideflow import keras
from tideflow.keras import layers

Step = Callable[[], object]
RNG = np.random.default_rng(0)


@dataclass(frozen=True)
class Cell:
    """`make()` returns a function that does the work once and waits for its result; `flops` of one call, or 0."""

    name: str
    make: Callable[[], Step]
    flops: float = 0.0


def normal(*shape: int) -> tf.Tensor:
    """Float32 noise."""
    return tf.constant(RNG.standard_normal(shape, np.float32))


def compiled(function: Callable, *arguments: tf.Tensor) -> Step:
    """One call of a compiled function, its result read back."""
    traced = tf.function(function)
    return lambda: traced(*arguments).numpy()


def matmul(size: int) -> Step:
    """Square product."""
    return compiled(tf.matmul, normal(size, size), normal(size, size))


def elementwise() -> Step:
    """A chain that should fuse into one kernel."""
    return compiled(lambda x, a, b, c: tf.nn.relu(x * a + b) * c - tf.tanh(x),
                    *(normal(1000, 1000) for _ in range(4)))


def softmax() -> Step:
    """Rows of 1,024."""
    return compiled(tf.nn.softmax, normal(1024, 1024))


def train(model: "keras.Model", shape: tuple[int, ...], batch: int) -> Step:
    """One step of `train_on_batch` with Adam, loss read back."""
    model.compile(tf.keras.optimizers.Adam(1e-3), "sparse_categorical_crossentropy")
    x = RNG.standard_normal((batch, *shape), np.float32)
    y = RNG.integers(0, 10, batch).astype(np.int32)
    return lambda: model.train_on_batch(x, y)


def mlp() -> Step:
    """784-256-128-10, batch 128."""
    return train(tf.keras.Sequential([
        tf.keras.Input((784,)), layers.Dense(256, activation="relu"), layers.Dense(128, activation="relu"),
        layers.Dense(10, activation="softmax")]), (784,), 128)


def cnn() -> Step:
    """Two convolutions on 28x28, batch 64."""
    return train(tf.keras.Sequential([
        tf.keras.Input((28, 28, 1)), layers.Conv2D(32, 3, activation="relu"), layers.MaxPooling2D(),
        layers.Conv2D(64, 3, activation="relu"), layers.MaxPooling2D(), layers.Flatten(),
        layers.Dense(10, activation="softmax")]), (28, 28, 1), 64)


CELLS = [
    Cell("matmul 512", lambda: matmul(512), 2 * 512**3),
    Cell("matmul 1024", lambda: matmul(1024), 2 * 1024**3),
    Cell("relu(x*a+b)*c-tanh(x), 1M", elementwise),
    Cell("softmax 1024x1024", softmax),
    Cell("train MLP 784-256-128-10, batch 128", mlp),
    Cell("train CNN (2 conv), batch 64", cnn),
]
