"""The largest elements of rows."""

from __future__ import annotations

from typing import Any

from ..eager.tensor import convert_to_tensor
from ..ops import sort as sort_ops
from ..ops.common import as_index
from ..ops.dispatch import apply
from ..ops.elementwise import cast, select
from ..ops.gather import gather
from ..ops.movement import expand_dims
from ..ops.reduce import reduce_sum

__all__ = ["in_top_k", "top_k"]


def top_k(input: Any, k: Any = 1, sorted: bool = True, index_type: Any = "int32", name: str | None = None) -> Any:
    """The k largest elements along the last axis, largest first, and their indices: (values, indices)."""
    return sort_ops.top_k(convert_to_tensor(input), as_index(k, "top_k"), index_type)


def in_top_k(targets: Any, predictions: Any, k: Any, name: str | None = None) -> Any:
    """Whether each target class is among the k largest predictions of its row; ties count as in, NaN as out."""
    targets, scores = convert_to_tensor(targets), convert_to_tensor(predictions)
    inside = (targets >= 0) & (targets < scores.sizes[1])
    own = gather(scores, expand_dims(select(inside, targets, 0), 1), axis=1, batch_dims=1)
    better = reduce_sum(cast(scores > own, "int32"), (1,))
    return inside & apply("is_finite", own)[:, 0] & (better < as_index(k, "in_top_k"))
