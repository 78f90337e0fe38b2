"""Targets and predictions brought into forms that fit each other."""

from __future__ import annotations

from typing import Any

from ...ops.dispatch import apply, convert

__all__ = ["EPSILON", "class_numbers", "clip", "logits_before", "pair"]

EPSILON = 1e-7


def class_numbers(y_true: Any, y_pred: Any) -> Any:
    """Class numbers of the shape of y_pred without its last axis. Raises ValueError for another shape."""
    if len(y_true.sizes) == len(y_pred.sizes) and y_true.sizes[-1] == 1:
        y_true = apply("reshape", y_true, shape=tuple(y_true.sizes[:-1]))
    if len(y_true.sizes) != len(y_pred.sizes) - 1:
        raise ValueError(
            f"Argument `output` must have rank (ndim) `target.ndim - 1`. Received: target.shape={tuple(y_true.sizes)}, "
            f"output.shape={tuple(y_pred.sizes)}. For one-hot labels use categorical_crossentropy."
        )
    return apply("cast", y_true, dtype="int64") if not y_true.dtype.is_integer else y_true


def logits_before(y_pred: Any, name: str) -> Any:
    """The logits that a softmax or sigmoid turned into y_pred, if that is how it was made in this trace: the loss
    is exact then."""
    node = getattr(y_pred, "node", None)
    while node is not None and node.op.name == "identity":
        y_pred = node.inputs[0]
        node = y_pred.node
    return node.inputs[0] if node is not None and node.op.name == name else None


def clip(p: Any) -> Any:
    """Probabilities whose logarithms are finite."""
    return apply("minimum", apply("maximum", p, EPSILON), 1.0 - EPSILON)


def pair(y_true: Any, y_pred: Any) -> tuple[Any, Any]:
    """Both as tensors of the prediction's dtype; a missing last axis of 1 is added or dropped, as in Keras."""
    y_pred = convert(y_pred)
    if not y_pred.dtype.is_floating:
        y_pred = apply("cast", y_pred, dtype="float32")
    y_true = convert(y_true)
    if y_true.dtype is not y_pred.dtype:
        y_true = apply("cast", y_true, dtype=y_pred.dtype.name)
    if len(y_true.sizes) == len(y_pred.sizes) + 1 and y_true.sizes[-1] == 1:
        y_true = apply("reshape", y_true, shape=tuple(y_true.sizes[:-1]))
    elif len(y_true.sizes) == len(y_pred.sizes) - 1 and y_pred.sizes[-1] == 1:
        y_true = apply("reshape", y_true, shape=(*y_true.sizes, 1))
    if len(y_true.sizes) != len(y_pred.sizes) or any(
        a != b and 1 not in (a, b) for a, b in zip(y_true.sizes, y_pred.sizes, strict=True)
    ):
        raise ValueError(
            "Arguments `target` and `output` must have the same shape. Received: "
            f"target.shape={tuple(y_true.sizes)}, output.shape={tuple(y_pred.sizes)}"
        )
    return y_true, y_pred
