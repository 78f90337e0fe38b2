"""Checks of arguments that several layers share."""

from __future__ import annotations

import operator
from typing import Any


def positive_int(name: str, value: Any, owner: Any) -> int:
    """An int above 0. Raises ValueError."""
    whole = hasattr(value, "__index__") and not isinstance(value, bool)
    if not whole or operator.index(value) <= 0:
        raise ValueError(
            f"Received an invalid value for `{name}` in {type(owner).__name__}, expected a positive integer. "
            f"Received: {name}={value!r}"
        )
    return operator.index(value)


def known_size(shape: Any, axis: int, owner: Any) -> int:
    """The size of an axis that must be known to make weights. Raises ValueError."""
    size = shape[axis] if len(shape) >= abs(axis) else None
    if size is None:
        raise ValueError(
            f"Layer {owner.name!r} ({type(owner).__name__}) needs a known size on axis {axis} of its input. "
            f"Received: input shape {tuple(shape)}. Give the size in `Input`."
        )
    return int(size)


def rank(shape: Any, wanted: int, owner: Any) -> None:
    """Raises ValueError if an input has another number of axes."""
    if len(shape) != wanted:
        raise ValueError(
            f'Input 0 of layer "{owner.name}" is incompatible with the layer: expected ndim={wanted}, found '
            f"ndim={len(shape)}. Full shape received: {tuple(shape)}"
        )


def per_axis(value: Any, count: int, name: str, least: int = 1) -> tuple[int, ...]:
    """`count` ints of at least `least`, from one or from as many. Raises ValueError."""
    made = (value,) * count if isinstance(value, int) else tuple(value) if isinstance(value, list | tuple) else ()
    if len(made) != count or any(not isinstance(v, int) or isinstance(v, bool) or v < least for v in made):
        kind = "positive integers" if least else "integers that are not negative"
        raise ValueError(f"The `{name}` argument must be a tuple of {count} {kind}. Received: {name}={value}")
    return made


def one_of(name: str, value: Any, allowed: tuple[Any, ...]) -> Any:
    """A value among the allowed ones (text in lower case). Raises ValueError."""
    value = value.lower() if isinstance(value, str) else value
    if value not in allowed:
        raise ValueError(
            f"Invalid value for argument `{name}`: {value!r}; expected one of {', '.join(map(repr, allowed))}"
        )
    return value


def features(inputs: Any, size: int | None, axis: int, owner: Any) -> None:
    """Raises ValueError if inputs have another size on an axis than the layer was built for."""
    found = inputs.sizes[axis] if inputs.sizes else None
    if size is not None and found != size:
        shape = tuple(d if isinstance(d, int) else None for d in inputs.sizes)
        raise ValueError(
            f'Input 0 of layer "{owner.name}" is incompatible with the layer: expected axis {axis} of input '
            f"shape to have value {size}, but received input with shape {shape}"
        )


def at_least_rank(shape: Any, wanted: int, owner: Any) -> None:
    """Raises ValueError if an input has fewer axes."""
    if len(shape) < wanted:
        raise ValueError(
            f'Input 0 of layer "{owner.name}" is incompatible with the layer: expected min_ndim={wanted}, found '
            f"ndim={len(shape)}. Full shape received: {tuple(shape)}"
        )
