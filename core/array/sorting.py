"""tf.sort and tf.argsort."""

from __future__ import annotations

from typing import Any

from ..eager.tensor import convert_to_tensor
from ..ops import sort as sort_ops

__all__ = ["argsort", "sort"]


def _descending(direction: str) -> bool:
    if direction not in ("ASCENDING", "DESCENDING"):
        raise ValueError(f"Argument `direction` should be one of 'ASCENDING' or 'DESCENDING'. Received: {direction!r}")
    return direction == "DESCENDING"


def sort(values: Any, axis: int = -1, direction: str = "ASCENDING", name: str | None = None) -> Any:
    """The values sorted along an axis.

    >>> sort([3.0, 1.0, 2.0]).numpy().tolist()
    [1.0, 2.0, 3.0]
    """
    return sort_ops.sort(convert_to_tensor(values), axis, _descending(direction))


def argsort(
    values: Any, axis: int = -1, direction: str = "ASCENDING", stable: bool = False, name: str | None = None
) -> Any:
    """The indices (int32) that sort the values along an axis; equal values keep their order."""
    return sort_ops.argsort(convert_to_tensor(values), axis, _descending(direction))
