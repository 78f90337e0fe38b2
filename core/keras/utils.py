"""tf.keras.utils."""

from __future__ import annotations

import random as python_random
from typing import Any

import numpy as np

from . import initializers
from .naming import clear_session
from .registry import custom_object_scope, register_keras_serializable

__all__ = [
    "clear_session",
    "custom_object_scope",
    "normalize",
    "register_keras_serializable",
    "set_random_seed",
    "to_categorical",
]


def set_random_seed(seed: int) -> None:
    """Makes Python, numpy, `tf.random` and the weights of models made from here on reproducible."""
    from ..random import set_seed

    python_random.seed(seed)
    np.random.seed(seed % 2**32)
    set_seed(seed)
    initializers.set_seed(seed)


def to_categorical(x: Any, num_classes: int | None = None) -> np.ndarray[Any, Any]:
    """Class numbers as one-hot rows, float64. Raises ValueError for numbers outside 0 .. num_classes-1."""
    labels = np.asarray(x, dtype=np.int64)
    shape = labels.shape[:-1] if labels.ndim > 1 and labels.shape[-1] == 1 else labels.shape
    labels = labels.reshape(-1)
    count = int(num_classes if num_classes is not None else labels.max() + 1)
    if labels.size and (labels.min() < 0 or labels.max() >= count):
        raise ValueError(f"to_categorical: class numbers must be 0..{count - 1}, found {labels.min()}..{labels.max()}")
    made = np.zeros((labels.size, count))
    made[np.arange(labels.size), labels] = 1
    return made.reshape((*shape, count))


def normalize(x: Any, axis: int = -1, order: int = 2) -> np.ndarray[Any, Any]:
    """Divides by the norm along an axis; zero vectors stay."""
    array = np.asarray(x, dtype=float)
    norm = np.linalg.norm(array, order, axis, keepdims=True)
    return array / np.where(norm == 0, 1, norm)
