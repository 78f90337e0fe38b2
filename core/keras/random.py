"""Random state of layers: a key and a counter that moves on with every draw, inside a trace when the run is done."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..eager.variable import Variable, current_trace
from ..ops.random import num_blocks
from ..runtime.values import advance_counter
from . import initializers

__all__ = ["SeedGenerator"]


class SeedGenerator:
    """The state of one source of random numbers: uint32 [key, key, counter low, counter high]."""

    def __init__(self, seed: int | None = None, name: str | None = None, **kwargs: Any) -> None:
        if seed is None:
            seed = initializers.make_seed()
        if not isinstance(seed, int) or seed < 0:
            raise ValueError(f"Argument `seed` must be a non-negative integer. Received: seed={seed}")
        self.seed = seed
        self.state = Variable(
            np.array([seed & 0xFFFFFFFF, (seed >> 32) & 0xFFFFFFFF, 0, 0], np.uint32),
            trainable=False,
            name=name or "seed_generator",
            role="RNG",
        )

    def draw(self, shape: Any) -> tuple[Any, Any]:
        """(key_counter, offset) for a draw of this shape; the state moves on."""
        blocks: Any = num_blocks(shape)
        trace = current_trace()
        if trace is None:
            before = self.state.value()
            if int(blocks):
                self.state.state.write(advance_counter(self.state.state.read(), int(blocks), True))
            return before, 0
        offset = trace.advances.get(self.state.state, 0)
        trace.advance(self.state.state, blocks)
        return self.state, offset

    def get_config(self) -> dict[str, Any]:
        """What makes an equal one."""
        return {"seed": self.seed}
