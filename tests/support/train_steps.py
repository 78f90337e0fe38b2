"""Hand-written train steps, as Keras traces them: Adam, a loss over a symbolic batch, accuracy as metrics."""

from itertools import pairwise

import numpy as np
import tideflow as tf
from tideflow.ops.dispatch import apply
from tideflow.ops.optimizer import adam_step


class Training:
    """Variables, slots, metrics; `step(x, y, learning_rate)` gives (loss, accuracy)."""

    def __init__(self, forward, shapes, seed=0):
        rng = np.random.default_rng(seed)
        self.forward = forward
        self.weights = [tf.Variable(self._start(rng, s), name=f"weight{i}") for i, s in enumerate(shapes)]
        self.slots = [(self._zeros(v), self._zeros(v)) for v in self.weights]
        self.iterations = tf.Variable(np.int64(0), trainable=False, role="COUNTER", name="iterations")
        self.total, self.count, self.correct = (
            tf.Variable(np.float32(0), trainable=False, role="METRIC", name=n) for n in ("total", "count", "correct")
        )

    @staticmethod
    def _start(rng, shape):
        scale = np.sqrt(2 / np.prod(shape[:-1])) if len(shape) > 1 else 0
        return (rng.standard_normal(shape) * scale).astype(np.float32)

    @staticmethod
    def _zeros(v):
        return tf.Variable(np.zeros(v.shape, np.float32), trainable=False, role="OPTIMIZER_SLOT")

    def step(self, x, y, learning_rate):
        with tf.GradientTape() as tape:
            logits = self.forward(x, self.weights)
            losses = apply("sparse_softmax_cross_entropy", logits, y)
            size = apply("dimension", size=x.sizes[0], dtype="float32")
            summed = tf.reduce_sum(losses)
            loss = summed / size
        number = tf.cast(self.iterations, "float32") + 1.0
        for v, (m, s), g in zip(self.weights, self.slots, tape.gradient(loss, self.weights), strict=True):
            new, first, second = adam_step(v, m, s, g, learning_rate, number)
            v.assign(new), m.assign(first), s.assign(second)
        self.iterations.assign_add(1)
        right = tf.reduce_sum(tf.cast(tf.argmax(logits, 1) == y, "float32"))
        self.total.assign_add(summed), self.count.assign_add(size), self.correct.assign_add(right)
        return loss, self.correct / self.count

    def traced(self, *shape):
        """The graph for inputs of a shape, the batch left open."""
        specs = [tf.TensorSpec([None, *shape]), tf.TensorSpec([None], "int64"), tf.TensorSpec([])]
        return tf.function(self.step, input_signature=specs).get_concrete_function().graph


def perceptron(sizes=(784, 256, 128, 10)):
    """Dense layers, and their train step's graph."""

    def forward(x, weights):
        for i in range(0, len(weights), 2):
            x = x @ weights[i] + weights[i + 1]
            x = tf.nn.relu(x) if i + 2 < len(weights) else x
        return x

    shapes = [s for a, b in pairwise(sizes) for s in ((a, b), (b,))]
    return Training(forward, shapes).traced(sizes[0])


def convolutional(channels=(32, 64), hidden=64):
    """Two convolutions with pooling on 8 x 8 images, two dense layers; their train step's graph."""

    def forward(x, weights):
        x = x * (1 / 16)
        for w, b in (weights[:2], weights[2:4]):
            x = tf.nn.max_pool2d(tf.nn.relu(tf.nn.conv2d(x, w, 1, "SAME") + b), 2, 2, "VALID")
        x = tf.reshape(x, [-1, 4 * channels[1]])
        return tf.nn.relu(x @ weights[4] + weights[5]) @ weights[6] + weights[7]

    first, second = channels
    shapes = [
        (3, 3, 1, first),
        (first,),
        (3, 3, first, second),
        (second,),
        (4 * second, hidden),
        (hidden,),
        (hidden, 10),
        (10,),
    ]
    return Training(forward, shapes).traced(8, 8, 1)


def batch(size, *shape, seed=0):
    """Inputs of a train step."""
    rng = np.random.default_rng(seed)
    return [rng.uniform(0, 1, (size, *shape)).astype(np.float32), rng.integers(0, 10, size), np.float32(1e-3)]
