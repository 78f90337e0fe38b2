"""tf.nn.experimental."""

from __future__ import annotations

from typing import Any

from ..eager.generator import key_counter_of
from ..ops import random as random_ops
from .dropping import _checked

__all__ = ["stateless_dropout"]


def stateless_dropout(
    x: Any, rate: Any, seed: Any, rng_alg: Any = "auto_select", noise_shape: Any = None, name: str | None = None
) -> Any:
    """Dropout decided by `seed`, two integers, alone."""
    x, share, shape = _checked(x, rate, noise_shape)
    return x if share == 0.0 else random_ops.dropout(x, key_counter_of(seed), share, shape)
