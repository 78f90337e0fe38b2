"""Masks of tensors: which steps of a sequence count. A layer that masks attaches one, the layers after it find it, and
losses and metrics leave the other steps out. A mask lives as long as its tensor.
"""

from __future__ import annotations

import weakref
from typing import Any

from ..function.trace import flatten, map_structure
from ..ops.dispatch import apply, convert
from ..ops.movement import dimension
from ..ops.reduce import reduce_sum
from ..shapes import num_elements

__all__ = ["any_masks", "attach", "mask_of", "masked_weight", "masks_of"]

_held: dict[int, tuple[Any, Any]] = {}  # identity of a tensor -> (weak reference, mask)


def any_masks() -> bool:
    """Whether any tensor has a mask now: nothing need be looked up otherwise."""
    return bool(_held)


def mask_of(x: Any) -> Any:
    """The bool mask of a tensor, or None."""
    found = _held.get(id(x))
    return found[1] if found is not None and found[0]() is x else None


def masks_of(structure: Any) -> Any:
    """The masks of tensors in the same structure; None if none has one."""
    if not any(mask_of(x) is not None for x in flatten(structure)):
        return None
    return map_structure(mask_of, structure)


def attach(outputs: Any, mask: Any) -> None:
    """Gives tensors their masks: one for all, or one each in the same structure. None leaves what there is."""
    leaves = flatten(outputs)
    masks = flatten(mask) if isinstance(mask, list | tuple | dict) else [mask] * len(leaves)
    for x, m in zip(leaves, masks, strict=False):
        if m is not None and x is not None:
            _attach_one(x, m)


def _attach_one(x: Any, mask: Any) -> None:
    key = id(x)

    def forget(reference: Any) -> None:
        if _held.get(key, (None,))[0] is reference:  # else another tensor has the place by now
            del _held[key]

    _held[key] = (weakref.ref(x, forget), mask)


def masked_weight(sample_weight: Any, y_pred: Any, dtype: str, reduction: str | None) -> Any:
    """Weights of samples, 0 where the predictions are masked; None if there are neither weights nor a mask.

    Under a mean over the batch the others weigh more, so that it is the mean over them alone.
    """
    mask = mask_of(y_pred) if _held else None
    if mask is None:
        return sample_weight
    weight = apply("cast", mask, dtype=dtype)
    if reduction in ("mean", "sum_over_batch_size"):
        total = dimension(num_elements(mask.sizes), weight.dtype)
        weight = weight * apply("divide_no_nan", total, reduce_sum(weight, None))
    if sample_weight is None:
        return weight
    given = convert(sample_weight)
    given = given if given.dtype is weight.dtype else apply("cast", given, dtype=dtype)
    if len(given.sizes) > len(weight.sizes) and given.sizes[-1] == 1:
        given = apply("reshape", given, shape=tuple(given.sizes[:-1]))
    if len(given.sizes) < len(weight.sizes):
        given = apply("reshape", given, shape=(*given.sizes, *(1,) * (len(weight.sizes) - len(given.sizes))))
    return weight * given
