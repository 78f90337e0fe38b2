"""Expressions, Adam and the MLP in plain numpy, as one would write them by hand."""

from collections.abc import Callable
from typing import Any

import numpy as np

from ..workloads import EPSILON, LEARNING_RATE, NORM_EPSILON, Workload

Step = Callable[[], Any]


def knows(w: Workload) -> bool:
    """Whether a workload is written here."""
    return w.name == "mlp" or w.kind == "adam" or w.name.startswith("matmul") or w.name in EXPRESSIONS


def make_step(w: Workload) -> Step | None:
    """A step that gives a result, a loss or the first updated weights; None for what numpy has no words for."""
    if w.name == "mlp":
        return _mlp(w)
    if w.kind == "adam":
        return _adam_step(w)
    operands = [a.values() for a in w.params]
    if w.name.startswith("matmul"):
        return lambda: np.matmul(*operands)
    function = EXPRESSIONS.get(w.name)
    return (lambda: function(*operands)) if function else None


def _softmax(x: np.ndarray, axis: int) -> np.ndarray:
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def _layer_norm(x: np.ndarray, gamma: np.ndarray, beta: np.ndarray, axis: int) -> np.ndarray:
    shape = (-1, 1) if axis == 0 else (1, -1)
    centred = x - x.mean(axis, keepdims=True)
    variance = np.square(centred).mean(axis, keepdims=True)
    return centred / np.sqrt(variance + np.float32(NORM_EPSILON)) * gamma.reshape(shape) + beta.reshape(shape)


def _chain12(x: np.ndarray, a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    t = np.tanh(x * a + b) * c - x
    return np.maximum(np.exp(-np.sqrt(np.abs(t) + 1)) * x, 0)


def _adds(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    for _ in range(1000):
        a = a + b
    return a


EXPRESSIONS: dict[str, Callable[..., np.ndarray]] = {
    "chain4": lambda x, a, b, c: np.maximum(x * a + b, 0) * c - np.tanh(x), "chain12": _chain12,
    "softmax1": lambda x, *_: _softmax(x, 1), "softmax0": lambda x, *_: _softmax(x, 0),
    "layernorm1": lambda *a: _layer_norm(*a, 1), "layernorm0": lambda *a: _layer_norm(*a, 0),
    "sum1": lambda x, *_: x.sum(1), "sum0": lambda x, *_: x.sum(0), "adds": _adds, "adds_eager": _adds,
}


class _Adam:
    """Keras' update in place."""

    def __init__(self, arrays: list[np.ndarray]) -> None:
        self.arrays = arrays
        self.first = [np.zeros_like(a) for a in arrays]
        self.second = [np.zeros_like(a) for a in arrays]
        self.count = 0

    def __call__(self, gradients: list[np.ndarray]) -> None:
        self.count += 1
        rate = np.float32(LEARNING_RATE * np.sqrt(1 - 0.999**self.count) / (1 - 0.9**self.count))
        for a, m, v, g in zip(self.arrays, self.first, self.second, gradients, strict=True):
            m += (g - m) * np.float32(0.1)
            v += (g * g - v) * np.float32(0.001)
            a -= rate * m / (np.sqrt(v) + np.float32(EPSILON))


def _adam_step(w: Workload) -> Step:
    weight, gradient = (a.values() for a in w.params)
    update = _Adam([weight])

    def step() -> np.ndarray:
        update([gradient])
        return weight[:16]
    return step


def _mlp(w: Workload) -> Step:
    w1, b1, w2, b2, w3, b3 = arrays = [a.values() for a in w.params]
    x, y = (a.values() for a in w.inputs)
    update, rows = _Adam(arrays), np.arange(len(y))

    def step() -> np.ndarray:
        h1 = np.maximum(x @ w1 + b1, 0)
        h2 = np.maximum(h1 @ w2 + b2, 0)
        probabilities = _softmax(h2 @ w3 + b3, 1)
        loss = -np.log(probabilities[rows, y]).mean()
        d3 = probabilities
        d3[rows, y] -= 1
        d3 /= np.float32(len(y))
        d2 = (d3 @ w3.T) * (h2 > 0)
        d1 = (d2 @ w2.T) * (h1 > 0)
        update([x.T @ d1, d1.sum(0), h1.T @ d2, d2.sum(0), h2.T @ d3, d3.sum(0)])
        return np.array(loss)
    return step
