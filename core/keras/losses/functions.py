"""Losses as functions of (y_true, y_pred) that give one value per sample."""

from __future__ import annotations

import math
from typing import Any

from ...ops.dispatch import apply, convert
from ...ops.losses import sigmoid_cross_entropy, softmax_cross_entropy, sparse_softmax_cross_entropy
from ...ops.reduce import reduce_max, reduce_mean, reduce_sum
from .pairs import EPSILON, class_numbers, clip, logits_before, pair

__all__ = [
    "binary_crossentropy",
    "categorical_crossentropy",
    "categorical_hinge",
    "cosine_similarity",
    "hinge",
    "huber",
    "kl_divergence",
    "log_cosh",
    "mean_absolute_error",
    "mean_absolute_percentage_error",
    "mean_squared_error",
    "mean_squared_logarithmic_error",
    "poisson",
    "sparse_categorical_crossentropy",
    "squared_hinge",
]


def mean_squared_error(y_true: Any, y_pred: Any) -> Any:
    """mean((y_true - y_pred) ** 2) over the last axis."""
    y_true, y_pred = pair(y_true, y_pred)
    return reduce_mean(apply("square", y_true - y_pred), (-1 % len(y_pred.sizes),))


def mean_absolute_error(y_true: Any, y_pred: Any) -> Any:
    """mean(|y_true - y_pred|) over the last axis."""
    y_true, y_pred = pair(y_true, y_pred)
    return reduce_mean(apply("abs", y_true - y_pred), (-1 % len(y_pred.sizes),))


def mean_absolute_percentage_error(y_true: Any, y_pred: Any) -> Any:
    """100 * mean(|y_true - y_pred| / |y_true|) over the last axis."""
    y_true, y_pred = pair(y_true, y_pred)
    part = apply("abs", (y_true - y_pred) / apply("maximum", apply("abs", y_true), EPSILON))
    return reduce_mean(part, (-1 % len(y_pred.sizes),)) * 100.0


def mean_squared_logarithmic_error(y_true: Any, y_pred: Any) -> Any:
    """mean((log(1 + y_true) - log(1 + y_pred)) ** 2) over the last axis; values below 1e-7 count as 1e-7."""
    y_true, y_pred = pair(y_true, y_pred)
    difference = apply("log1p", apply("maximum", y_true, EPSILON)) - apply("log1p", apply("maximum", y_pred, EPSILON))
    return reduce_mean(apply("square", difference), (-1 % len(y_pred.sizes),))


def huber(y_true: Any, y_pred: Any, delta: float = 1.0) -> Any:
    """Squared below `delta`, linear above, mean over the last axis."""
    y_true, y_pred = pair(y_true, y_pred)
    error = apply("abs", y_true - y_pred)
    value = apply("select", error <= delta, apply("square", error) * 0.5, error * delta - 0.5 * delta * delta)
    return reduce_mean(value, (-1 % len(y_pred.sizes),))


def binary_crossentropy(
    y_true: Any, y_pred: Any, from_logits: bool = False, label_smoothing: float = 0.0, axis: int = -1
) -> Any:
    """-y log p - (1 - y) log(1 - p), mean over an axis."""
    y_true, y_pred = pair(y_true, y_pred)
    if label_smoothing:
        y_true = y_true * (1.0 - label_smoothing) + 0.5 * label_smoothing
    logits = y_pred if from_logits else logits_before(y_pred, "sigmoid")
    if logits is not None:
        value = sigmoid_cross_entropy(logits, y_true)
    else:
        p = clip(y_pred)
        value = -(y_true * apply("log", p) + (1.0 - y_true) * apply("log", 1.0 - p))
    return reduce_mean(value, (axis % len(y_pred.sizes),))


def categorical_crossentropy(
    y_true: Any, y_pred: Any, from_logits: bool = False, label_smoothing: float = 0.0, axis: int = -1
) -> Any:
    """-sum(y log p) over an axis; labels are one-hot or probabilities."""
    y_true, y_pred = pair(y_true, y_pred)
    if y_pred.sizes[axis] == 1:
        raise ValueError(
            f"categorical_crossentropy with one class (y_pred has shape {tuple(y_pred.sizes)}) is always 0: use "
            "binary_crossentropy"
        )
    if label_smoothing:
        y_true = y_true * (1.0 - label_smoothing) + label_smoothing / y_pred.sizes[axis]
    logits = y_pred if from_logits else logits_before(y_pred, "softmax")
    if logits is not None and axis % len(y_pred.sizes) == len(y_pred.sizes) - 1:
        return softmax_cross_entropy(logits, y_true)
    p = y_pred / reduce_sum(y_pred, (axis % len(y_pred.sizes),), True)
    return -reduce_sum(y_true * apply("log", clip(p)), (axis % len(y_pred.sizes),))


def sparse_categorical_crossentropy(
    y_true: Any, y_pred: Any, from_logits: bool = False, ignore_class: int | None = None, axis: int = -1
) -> Any:
    """-log p[label]; labels are class numbers, with the shape of y_pred without its last axis (or with a last axis
    of 1)."""
    y_pred = convert(y_pred)
    y_true = class_numbers(convert(y_true), y_pred)
    logits = y_pred if from_logits else logits_before(y_pred, "softmax")
    if logits is None:
        logits = apply("log", clip(y_pred))
    if ignore_class is None:
        return sparse_softmax_cross_entropy(logits, y_true)
    valid = apply("not_equal", y_true, ignore_class)
    value = sparse_softmax_cross_entropy(logits, apply("select", valid, y_true, y_true * 0))
    return apply("select", valid, value, value * 0.0)


def kl_divergence(y_true: Any, y_pred: Any) -> Any:
    """sum(y_true * log(y_true / y_pred)) over the last axis."""
    y_true, y_pred = pair(y_true, y_pred)
    y_true, y_pred = (apply("minimum", apply("maximum", p, EPSILON), 1.0) for p in (y_true, y_pred))
    return reduce_sum(y_true * apply("log", y_true / y_pred), (-1 % len(y_pred.sizes),))


def poisson(y_true: Any, y_pred: Any) -> Any:
    """mean(y_pred - y_true * log(y_pred)) over the last axis."""
    y_true, y_pred = pair(y_true, y_pred)
    return reduce_mean(y_pred - y_true * apply("log", y_pred + EPSILON), (-1 % len(y_pred.sizes),))


def log_cosh(y_true: Any, y_pred: Any) -> Any:
    """mean(log(cosh(y_pred - y_true))) over the last axis."""
    y_true, y_pred = pair(y_true, y_pred)
    difference = y_pred - y_true
    value = difference + apply("softplus", difference * -2.0) - math.log(2.0)
    return reduce_mean(value, (-1 % len(y_pred.sizes),))


def cosine_similarity(y_true: Any, y_pred: Any, axis: int = -1) -> Any:
    """Minus the cosine of the angle between the two along an axis."""
    y_true, y_pred = pair(y_true, y_pred)
    axes = (axis % len(y_pred.sizes),)
    a, b = (x * apply("rsqrt", apply("maximum", reduce_sum(x * x, axes, True), 1e-12)) for x in (y_true, y_pred))
    return -reduce_sum(a * b, axes)


def hinge(y_true: Any, y_pred: Any) -> Any:
    """mean(max(1 - y_true * y_pred, 0)) over the last axis; labels are -1 and 1, or 0 and 1."""
    y_true, y_pred = pair(y_true, y_pred)
    value = apply("maximum", 1.0 - _signs(y_true) * y_pred, 0.0)
    return reduce_mean(value, (-1 % len(y_pred.sizes),))


def squared_hinge(y_true: Any, y_pred: Any) -> Any:
    """mean(max(1 - y_true * y_pred, 0) ** 2) over the last axis; labels are -1 and 1, or 0 and 1."""
    y_true, y_pred = pair(y_true, y_pred)
    value = apply("square", apply("maximum", 1.0 - _signs(y_true) * y_pred, 0.0))
    return reduce_mean(value, (-1 % len(y_pred.sizes),))


def categorical_hinge(y_true: Any, y_pred: Any) -> Any:
    """max(largest wrong score - right score + 1, 0) over the last axis; labels are one-hot."""
    y_true, y_pred = pair(y_true, y_pred)
    axes = (-1 % len(y_pred.sizes),)
    right, wrong = reduce_sum(y_true * y_pred, axes), reduce_max((1.0 - y_true) * y_pred, axes)
    return apply("maximum", wrong - right + 1.0, 0.0)


def _signs(y_true: Any) -> Any:
    """Labels of 0 and 1 as -1 and 1; others as they are."""
    other = reduce_max(apply("abs", y_true * (y_true - 1.0)), None)
    return apply("select", apply("equal", other, 0.0), y_true * 2.0 - 1.0, y_true)
