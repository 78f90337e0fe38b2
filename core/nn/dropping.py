"""Dropout."""

from __future__ import annotations

from typing import Any

from ..eager.generator import draw_from_seeds
from ..eager.tensor import convert_to_tensor
from ..ops import random as random_ops

__all__ = ["dropout"]


def dropout(x: Any, rate: Any, noise_shape: Any = None, seed: int | None = None, name: str | None = None) -> Any:
    """Sets a fraction `rate` of the elements to 0 and divides the others by 1 - rate.

    Args:
        x: floating.
        rate: the probability that an element is dropped, in [0, 1).
        noise_shape: the shape of the decisions, which broadcast to that of `x`; None entries take the size of `x`.
        seed: with tf.random.set_seed, decides the numbers: eagerly they are TensorFlow's.
    """
    x, share, shape = _checked(x, rate, noise_shape)
    if share == 0.0:
        return x
    key_counter, offset = draw_from_seeds("RandomUniform", x.dtype, x.sizes if shape is None else shape, seed)
    return random_ops.dropout(x, key_counter, share, shape, offset)


def _checked(x: Any, rate: Any, noise_shape: Any) -> tuple[Any, float, Any]:
    x = convert_to_tensor(x)
    if not x.dtype.is_floating:
        raise ValueError(f"x has to be a floating point tensor since it will be scaled. Got a {x.dtype.name} tensor.")
    share = float(rate)
    if not 0.0 <= share < 1.0:
        raise ValueError(f"`rate` must be a scalar tensor or a float in the range [0, 1), received {share}.")
    if noise_shape is None:
        return x, share, None
    wanted = [None if n is None else n if not hasattr(n, "numpy") else int(n) for n in noise_shape]
    return x, share, tuple(d if n is None else n for n, d in zip(wanted, x.sizes, strict=True))
