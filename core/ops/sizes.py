"""Sizes that travel as tensors: what `tf.shape(x)` gave is an integer tensor, and shape arguments take it back.

In a trace such a tensor has no value yet, but the ops that made it say what it holds: `held_sizes` reads them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..shapes import Dim, Size, larger, num_elements, smaller

__all__ = ["as_size", "as_sizes", "held_sizes"]

_ARITHMETIC: dict[str, Callable[[Any, Any], Any]] = {
    "add": lambda a, b: a + b,
    "subtract": lambda a, b: a - b,
    "multiply": lambda a, b: a * b,
    "floordiv": lambda a, b: a // b,
    "floormod": lambda a, b: a % b,
    "maximum": larger,
    "minimum": smaller,
}
_SAME = ("identity", "reshape", "stop_gradient", "cast")


def held_sizes(value: Any) -> list[Size] | None:
    """The sizes that an integer tensor holds, flat, or None if they depend on data."""
    if not value.dtype.is_integer:
        return None
    if hasattr(value, "host"):
        return [int(d) for d in value.host().reshape(-1)]
    if getattr(value, "constant", None) is not None:
        return [int(d) for d in np.asarray(value.constant).reshape(-1)]
    node = getattr(value, "node", None)
    if node is None:
        return None
    name, attrs = node.op.name, node.attrs
    if name == "dimension":
        return [attrs["size"]]
    if name == "full" and isinstance(num_elements(attrs["shape"]), int):
        return [attrs["value"]] * int(num_elements(attrs["shape"]))  # type: ignore[call-overload]
    parts = [None if v is None else held_sizes(v) for v in node.inputs]
    if not parts or any(p is None for p in parts):
        return None
    return _computed(name, attrs, node, parts)


def _computed(name: str, attrs: dict[str, Any], node: Any, parts: list[Any]) -> list[Size] | None:
    if name in _SAME:
        return list(parts[0])
    if name == "concat" and len(node.outputs[0].sizes) == 1:
        return [d for p in parts for d in p]
    if name == "slice" and len(attrs["begin"]) == 1:
        start, size = attrs["begin"][0], attrs["size"][0]
        return parts[0][start : start + size] if isinstance(start, int) and isinstance(size, int) else None
    if name == "strided_slice" and len(attrs["begin"]) == 1 and isinstance(attrs["shape"][0], int):
        return [parts[0][attrs["begin"][0] + i * attrs["strides"][0]] for i in range(attrs["shape"][0])]
    if name == "reduce_prod" and not node.outputs[0].sizes:
        return [num_elements(parts[0])]
    if name in _ARITHMETIC:
        a, b = parts
        count = max(len(a), len(b))
        if len(a) in (1, count) and len(b) in (1, count):
            a, b = a * (count // len(a)), b * (count // len(b))
            return [_ARITHMETIC[name](x, y) for x, y in zip(a, b, strict=True)]
    return None


def as_size(value: Any, op: str) -> Size:
    """One size: an int, a Dim, or a tensor that holds one. Raises TypeError for anything else."""
    found = as_sizes(value, op)
    if len(found) != 1:
        raise TypeError(f"{op}: one size is needed, received {value!r}.")
    return found[0]


def as_sizes(value: Any, op: str) -> tuple[Size, ...]:
    """A shape argument as a tuple of sizes: ints, Dims, a TensorShape, an array, tensors; None becomes -1."""
    if value is None:
        return (-1,)
    if isinstance(value, Dim):
        return (value,)
    if isinstance(value, int | np.integer) and not isinstance(value, bool):
        return (int(value),)
    if hasattr(value, "as_list"):
        value = value.as_list()
    if isinstance(value, list | tuple):
        return tuple(d for v in value for d in as_sizes(v, op))
    if isinstance(value, np.ndarray) and value.dtype.kind in "iu":
        return tuple(int(d) for d in value.reshape(-1))
    if hasattr(value, "sizes"):
        found = held_sizes(value)
        if found is not None:
            return tuple(found)
        raise TypeError(
            f"{op}: a shape must be known while a tf.function is traced, but {value!r} depends on data. "
            f"Use tf.shape(x) or sizes of x.shape, or -1 for one of them."
        )
    if isinstance(value, np.ndarray) and value.size == 0:
        return ()
    raise TypeError(f"{op}: a size must be an int, received {value!r} of type {type(value).__name__}.")
