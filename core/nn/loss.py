"""Cross-entropies and other losses, one value per row or element."""

from __future__ import annotations

import math
from typing import Any

from ..eager.tensor import convert_to_tensor
from ..ops import losses as loss_ops
from ..ops.dispatch import apply
from ..ops.elementwise import cast, select
from ..ops.movement import broadcast_to, transpose
from .activation import relu
from .arguments import same_dtype

__all__ = [
    "log_poisson_loss",
    "sigmoid_cross_entropy_with_logits",
    "softmax_cross_entropy_with_logits",
    "sparse_softmax_cross_entropy_with_logits",
    "weighted_cross_entropy_with_logits",
]


def softmax_cross_entropy_with_logits(labels: Any, logits: Any, axis: int = -1, name: str | None = None) -> Any:
    """-sum(labels * log_softmax(logits)) along `axis`; labels are probabilities."""
    labels, logits = same_dtype(labels, logits)
    labels = cast(labels, logits.dtype)
    rank = len(logits.sizes)
    if axis not in (-1, rank - 1):
        order = [i for i in range(rank) if i != axis % rank] + [axis % rank]
        labels, logits = transpose(labels, order), transpose(logits, order)
    if tuple(labels.sizes) != tuple(logits.sizes):
        labels = broadcast_to(labels, logits.sizes)
    return loss_ops.softmax_cross_entropy(logits, labels)


def sparse_softmax_cross_entropy_with_logits(labels: Any, logits: Any, name: str | None = None) -> Any:
    """-log_softmax(logits)[label] for each row; labels are integers from 0 to classes - 1.

    A label out of range raises InvalidArgumentError on the host and gives NaN on a device.
    """
    labels, logits = convert_to_tensor(labels), convert_to_tensor(logits)
    if tuple(labels.sizes) != tuple(logits.sizes[:-1]):
        raise ValueError(
            "`labels.shape` must equal `logits.shape` except for the last dimension. Received: labels.shape="
            f"{tuple(labels.sizes)} and logits.shape={tuple(logits.sizes)}"
        )
    return loss_ops.sparse_softmax_cross_entropy(logits, labels)


def _check_same_shape(logits: Any, labels: Any) -> None:
    if tuple(labels.sizes) != tuple(logits.sizes):
        raise ValueError(
            f"`logits` and `labels` must have the same shape, received ({logits.shape} vs {labels.shape})."
        )


def sigmoid_cross_entropy_with_logits(labels: Any = None, logits: Any = None, name: str | None = None) -> Any:
    """-labels * log(sigmoid(logits)) - (1 - labels) * log(1 - sigmoid(logits)), stable."""
    if labels is None or logits is None:
        raise ValueError("Both `labels` and `logits` must be provided.")
    labels, logits = same_dtype(labels, logits)
    _check_same_shape(logits, labels)
    return loss_ops.sigmoid_cross_entropy(logits, labels)


def weighted_cross_entropy_with_logits(labels: Any, logits: Any, pos_weight: Any, name: str | None = None) -> Any:
    """sigmoid_cross_entropy_with_logits in which a positive label counts `pos_weight` times."""
    labels, logits = same_dtype(labels, logits)
    _check_same_shape(logits, labels)
    weight = (pos_weight - 1.0) * labels + 1.0
    return (1.0 - labels) * logits + weight * (apply("log1p", apply("exp", -abs(logits))) + relu(-logits))


def log_poisson_loss(targets: Any, log_input: Any, compute_full_loss: bool = False, name: str | None = None) -> Any:
    """exp(log_input) - targets * log_input, and Stirling's log(targets!) for targets above 1 if `compute_full_loss`."""
    targets, log_input = same_dtype(targets, log_input)
    result = apply("exp", log_input) - log_input * targets
    if compute_full_loss:
        stirling = targets * apply("log", targets) - targets + 0.5 * apply("log", (2.0 * math.pi) * targets)
        result = result + select((targets >= 0.0) & (targets <= 1.0), targets * 0.0, stirling)
    return result
