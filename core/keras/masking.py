"""Masks of tensors: which steps of a sequence count. A layer that masks attaches one, the layers after it find it.

An eager tensor's mask lives as long as the tensor. Values of a trace cannot be watched, so theirs lives as long as the
outermost call of a layer that is under way.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from ..function.trace import flatten, map_structure

__all__ = ["any_masks", "attach", "mask_of", "masks_of", "scope"]

_eager: dict[int, tuple[Any, Any]] = {}  # identity of a tensor -> (weak reference, mask)
_traced: ContextVar[dict[int, tuple[Any, Any]] | None] = ContextVar("keras_masks", default=None)


@contextmanager
def scope() -> Iterator[None]:
    """The outermost call of a layer: masks of traced values are dropped at its end."""
    token = _traced.set({})
    try:
        yield
    finally:
        _traced.reset(token)


def any_masks() -> bool:
    """Whether any tensor has a mask now: nothing need be looked up otherwise."""
    return bool(_eager) or bool(_traced.get())


def mask_of(x: Any) -> Any:
    """The bool mask of a tensor, or None."""
    found = _eager.get(id(x))
    if found is not None and found[0]() is x:
        return found[1]
    traced = (_traced.get() or {}).get(id(x))
    return None if traced is None else traced[1]


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
    try:
        _eager[key] = (weakref.ref(x, lambda _: _eager.pop(key, None)), mask)
    except TypeError:  # a value of a trace: held, so that its identity stays its own
        traced = _traced.get()
        if traced is not None:
            traced[key] = (x, mask)
