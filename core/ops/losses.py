"""The cross-entropies, stable for logits of any size. One loss per row (dense, sparse) or per element (sigmoid)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ..dtypes import FLOATING, INTEGER
from ..errors import InvalidArgumentError
from ..kernel.ir import Builder, Expr, View
from .dispatch import apply
from .gather import one_hot
from .movement import expand_dims
from .op import Case, Elementwise, Pattern, Spec, case
from .softmax import log_sum_exp_rows, row_statistics

__all__ = ["sigmoid_cross_entropy", "softmax_cross_entropy", "sparse_softmax_cross_entropy"]

Array = Any


def softmax_cross_entropy(logits: Any, labels: Any) -> Any:
    """-sum(labels * log_softmax(logits)) over the last axis."""
    return apply("softmax_cross_entropy", logits, labels)


def sparse_softmax_cross_entropy(logits: Any, labels: Any) -> Any:
    """-log_softmax(logits)[label] for each row; labels have the shape of logits without its last axis."""
    return apply("sparse_softmax_cross_entropy", logits, labels)


def sigmoid_cross_entropy(logits: Any, labels: Any) -> Any:
    """-labels * log(sigmoid(logits)) - (1 - labels) * log(1 - sigmoid(logits)) for each element."""
    return apply("sigmoid_cross_entropy", logits, labels)


class SoftmaxCrossEntropy(Pattern):
    """Dense labels. As in TensorFlow the gradient of the logits is softmax - labels: labels are taken to sum to 1."""

    name, version, dtypes = "softmax_cross_entropy", 1, FLOATING

    def infer(self, logits: Spec, labels: Spec) -> Spec:
        if not logits.shape or logits.shape != labels.shape:
            raise InvalidArgumentError(
                f"{self.name}: logits and labels must have one shape [..., classes]: logits_size={tuple(logits.shape)} "
                f"labels_size={tuple(labels.shape)}. For integer labels use sparse_softmax_cross_entropy_with_logits."
            )
        return Spec(logits.shape[:-1], logits.dtype)

    def numpy(self, logits: Array, labels: Array) -> Array:
        shifted, logarithm = log_sum_exp_rows(logits)
        with np.errstate(all="ignore"):
            return np.asarray((labels * (logarithm - shifted)).sum(axis=-1), logits.dtype)

    def grad(self, dy: Any, logits: Any, labels: Any, *, out: Any) -> Any:
        dy = expand_dims(dy, -1)
        return dy * (apply("softmax", logits) - labels), -dy * apply("log_softmax", logits)

    def lower(self, ir: Builder, at: Sequence[Expr], logits: View, labels: View) -> Expr:
        largest, total = row_statistics(ir, logits, at)
        logarithm = ir.call("log", total)
        return ir.sum(logits.shape[-1:], lambda j: labels.at(*at, j) * (logarithm - (logits.at(*at, j) - largest)))

    def cases(self) -> Iterator[Case]:
        rng = np.random.default_rng(2)
        for shape in ((4, 5), (2, 3, 7), (6,), (0, 3)):
            weights = rng.random(shape) + 0.1
            yield case(rng.standard_normal(shape) * 2.0, weights / weights.sum(-1, keepdims=True))
        yield case([[500.0, -500.0], [0.0, np.nan]], [[0.0, 1.0], [1.0, 0.0]], gradient=False)


class SparseSoftmaxCrossEntropy(Pattern):
    """Integer labels. A label outside [0, classes) is an error on the host; on a device its loss is NaN."""

    name, version, dtypes, same = "sparse_softmax_cross_entropy", 1, FLOATING, (0,)

    def infer(self, logits: Spec, labels: Spec) -> Spec:
        if not logits.shape or labels.shape != logits.shape[:-1]:
            raise InvalidArgumentError(
                f"{self.name}: labels must have the shape of logits without its last axis: logits have shape "
                f"{tuple(logits.shape)}, labels have shape {tuple(labels.shape)}. For one-hot labels use "
                "softmax_cross_entropy_with_logits."
            )
        if labels.dtype not in INTEGER:
            raise InvalidArgumentError(
                f"{self.name}: labels must be integers, received {labels.dtype.name}. For probabilities use "
                "softmax_cross_entropy_with_logits."
            )
        return Spec(labels.shape, logits.dtype)

    def numpy(self, logits: Array, labels: Array) -> Array:
        classes = logits.shape[-1]
        wrong = (labels < 0) | (labels >= classes)
        if wrong.any():
            where = tuple(int(i) for i in np.argwhere(wrong)[0])
            raise InvalidArgumentError(
                f"{self.name}: received a label value of {labels[where]} at position {where}, which is outside the "
                f"valid range of [0, {classes}). Give the last layer more units, or check the labels."
            )
        shifted, logarithm = log_sum_exp_rows(logits)
        picked = np.take_along_axis(shifted, labels[..., None].astype(np.intp), axis=-1)
        return np.asarray((logarithm - picked)[..., 0], logits.dtype)

    def grad(self, dy: Any, logits: Any, labels: Any, *, out: Any) -> Any:
        target = one_hot(labels, logits.sizes[-1], dtype=logits.dtype)
        return expand_dims(dy, -1) * (apply("softmax", logits) - target), None

    def lower(self, ir: Builder, at: Sequence[Expr], logits: View, labels: View) -> Expr:
        largest, total = row_statistics(ir, logits, at)
        label = ir.cast(labels.at(*at), "i32")
        valid = (label >= 0) & (label < logits.shape[-1])
        with ir.guard(valid):
            picked = logits.at(*at, label)
        return ir.select(valid, ir.call("log", total) - (picked - largest), ir.const(float("nan")))

    def cases(self) -> Iterator[Case]:
        rng = np.random.default_rng(3)
        yield case(rng.standard_normal((6, 5)) * 2.0, [0, 4, 2, 2, 1, 3])
        yield case(rng.standard_normal((2, 3, 4)), rng.integers(0, 4, (2, 3)))
        yield case(rng.standard_normal(7) * 3.0, np.int32(6))
        yield case([[800.0, -800.0], [0.0, np.nan]], [1, 0], gradient=False)
        yield case(np.zeros((0, 3)), np.zeros(0, np.int32))


class SigmoidCrossEntropy(Elementwise):
    """max(x, 0) - x * z + log(1 + exp(-|x|)): neither overflows nor loses digits."""

    name, version, dtypes = "sigmoid_cross_entropy", 1, FLOATING

    def numpy(self, logits: Array, labels: Array) -> Array:
        with np.errstate(all="ignore"):
            return np.asarray(np.maximum(logits, 0) - logits * labels + np.log1p(np.exp(-np.abs(logits))))

    def grad(self, dy: Any, logits: Any, labels: Any, *, out: Any) -> Any:
        return dy * (apply("sigmoid", logits) - labels), -dy * logits

    def lower(self, ir: Builder, logits: Expr, labels: Expr) -> Expr:
        tail = ir.call("log1p", ir.call("exp", -ir.unary("abs", logits)))
        return ir.call("max", logits, 0.0) - logits * labels + tail

    def cases(self) -> Iterator[Case]:
        rng = np.random.default_rng(4)
        yield case(rng.standard_normal((4, 5)) * 3.0, rng.random((4, 5)))
        yield case(rng.standard_normal((3, 1)), rng.random((1, 4)))
        yield case([0.0, 1000.0, -1000.0, np.nan], [1.0, 0.0, 1.0, 0.0], gradient=False)
        yield case(np.zeros((0, 2)), np.zeros((0, 2)))
