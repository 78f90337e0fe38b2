"""Accuracies as functions of (y_true, y_pred) that give one value per sample."""

from __future__ import annotations

from typing import Any

from ...ops.dispatch import apply, convert
from ...ops.reduce import reduce_sum
from ..losses.pairs import class_numbers, logits_before, pair

__all__ = [
    "accuracy",
    "binary_accuracy",
    "categorical_accuracy",
    "sparse_categorical_accuracy",
    "sparse_top_k_categorical_accuracy",
    "top_k_categorical_accuracy",
]


def _hits(a: Any, b: Any) -> Any:
    return apply("cast", apply("equal", a, b), dtype="float32")


def accuracy(y_true: Any, y_pred: Any) -> Any:
    """1 where y_true == y_pred."""
    y_true, y_pred = pair(y_true, y_pred)
    return _hits(y_true, y_pred)


def binary_accuracy(y_true: Any, y_pred: Any, threshold: float = 0.5) -> Any:
    """1 where y_pred > threshold agrees with y_true."""
    y_true, y_pred = pair(y_true, y_pred)
    return _hits(y_true, apply("cast", y_pred > threshold, dtype=y_pred.dtype.name))


def categorical_accuracy(y_true: Any, y_pred: Any) -> Any:
    """1 where the largest elements are at the same place."""
    y_true, y_pred = convert(y_true), convert(y_pred)
    axis = len(y_pred.sizes) - 1
    return _hits(
        apply("argmax", y_true, axis=axis, output_type="int64"),
        apply("argmax", scores(y_pred), axis=axis, output_type="int64"),
    )


def sparse_categorical_accuracy(y_true: Any, y_pred: Any) -> Any:
    """1 where the largest element is at the class number."""
    y_true, y_pred = convert(y_true), convert(y_pred)
    y_true = class_numbers(y_true, y_pred)
    largest = apply("argmax", scores(y_pred), axis=len(y_pred.sizes) - 1, output_type="int64")
    return _hits(y_true, largest if y_true.dtype is largest.dtype else apply("cast", largest, dtype=y_true.dtype.name))


def sparse_top_k_categorical_accuracy(y_true: Any, y_pred: Any, k: int = 5) -> Any:
    """1 where the class is among the k largest: fewer than k others are larger."""
    y_true, y_pred = convert(y_true), convert(y_pred)
    y_true = class_numbers(y_true, y_pred)
    chosen = apply(
        "one_hot", y_true, depth=int(y_pred.sizes[-1]), on_value=1.0, off_value=0.0, axis=-1, dtype="float32"
    )
    own = reduce_sum(y_pred * chosen, (len(y_pred.sizes) - 1,), True)
    larger = reduce_sum(apply("cast", y_pred > own, dtype="float32"), (len(y_pred.sizes) - 1,))
    return apply("cast", larger < float(k), dtype="float32")


def scores(y_pred: Any) -> Any:
    """Logits instead of probabilities where they are at hand: the order is the same, and nothing more need be
    computed."""
    logits = logits_before(y_pred, "softmax")
    return y_pred if logits is None else logits


def top_k_categorical_accuracy(y_true: Any, y_pred: Any, k: int = 5) -> Any:
    """1 where the class of a one-hot label is among the k largest."""
    y_true = convert(y_true)
    labels = apply("argmax", y_true, axis=len(y_true.sizes) - 1, output_type="int64")
    return sparse_top_k_categorical_accuracy(labels, y_pred, k)
