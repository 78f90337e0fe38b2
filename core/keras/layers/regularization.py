"""Layers that act in training only."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...eager.tensor import constant
from ...ops.dispatch import apply
from ...ops.random import dropout
from ..random import SeedGenerator
from .layer import Layer

__all__ = ["Dropout"]


class Dropout(Layer):
    """Sets a fraction `rate` of its inputs to 0 in training and scales the rest by 1 / (1 - rate)."""

    supports_masking = True

    def __init__(self, rate: float, noise_shape: Any = None, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not 0 <= rate <= 1:
            raise ValueError(
                "Invalid value received for argument `rate`. Expected a float value between 0 and 1. Received: "
                f"rate={rate}"
            )
        self.rate, self.seed = rate, seed
        self.noise_shape = None if noise_shape is None else list(noise_shape)
        self.seed_generator = SeedGenerator(seed, name=f"{self.name}/seed") if rate > 0 else None
        self.built = True

    def call(self, inputs: Any, training: bool = False) -> Any:
        if not training or self.seed_generator is None:
            return inputs
        if self.rate == 1:
            return apply("broadcast_to", constant(np.zeros((), inputs.dtype.numpy)), shape=inputs.sizes)
        noise = None
        if self.noise_shape is not None:
            noise = tuple(s if n is None else n for n, s in zip(self.noise_shape, inputs.sizes, strict=True))
        key_counter, offset = self.seed_generator.draw(noise or inputs.sizes)
        return dropout(inputs, key_counter, self.rate, noise, offset)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "rate": self.rate, "seed": self.seed, "noise_shape": self.noise_shape}
