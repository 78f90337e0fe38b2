"""Layers that add or multiply noise in training, and drop whole features."""

from __future__ import annotations

import math
from typing import Any

from ...ops.dispatch import apply
from ...ops.random import dropout, random_normal, random_uniform
from .. import regularizers
from ..random import SeedGenerator
from . import checks
from .layer import Layer
from .spatial import FIRST, data_format_of

__all__ = [
    "ActivityRegularization",
    "AlphaDropout",
    "GaussianDropout",
    "GaussianNoise",
    "SpatialDropout1D",
    "SpatialDropout2D",
    "SpatialDropout3D",
]

ALPHA, SCALE = 1.6732632423543772, 1.0507009873554805  # selu's, which AlphaDropout keeps self-normalising


class _Noise(Layer):
    """The base: a strength between 0 and 1, and a source of random numbers if it is not 0."""

    supports_masking = True
    argument = "rate"

    def __init__(self, strength: float, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not 0 <= strength <= 1:
            raise ValueError(
                f"Invalid value received for argument `{self.argument}`. Expected a float value between 0 and 1. "
                f"Received: {self.argument}={strength}"
            )
        self.strength, self.seed = strength, seed
        self.seed_generator = SeedGenerator(seed, name=f"{self.name}/seed") if strength > 0 else None
        self.built = True

    def call(self, inputs: Any, training: bool = False) -> Any:
        return inputs if not training or self.seed_generator is None else self.disturb(inputs)

    def disturb(self, x: Any) -> Any:
        """What training computes."""
        raise NotImplementedError

    def normal(self, x: Any) -> Any:
        """Standard normal numbers in the shape of x."""
        assert self.seed_generator is not None
        key_counter, offset = self.seed_generator.draw(x.sizes)
        return random_normal(key_counter, x.sizes, x.dtype.name, offset)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), self.argument: self.strength, "seed": self.seed}


class GaussianNoise(_Noise):
    """Adds normal numbers of deviation `stddev` in training."""

    argument = "stddev"

    def __init__(self, stddev: float, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(stddev, seed, **kwargs)
        self.stddev = stddev

    def disturb(self, x: Any) -> Any:
        """x plus noise."""
        return x + self.normal(x) * float(self.stddev)


class GaussianDropout(_Noise):
    """Multiplies by normal numbers of mean 1 and deviation sqrt(rate / (1 - rate)) in training."""

    def __init__(self, rate: float, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(rate, seed, **kwargs)
        self.rate = rate

    def disturb(self, x: Any) -> Any:
        """x times noise."""
        return x * (self.normal(x) * math.sqrt(self.rate / (1.0 - self.rate)) + 1.0)


class AlphaDropout(_Noise):
    """Dropout that keeps mean and variance of what selu gives."""

    def __init__(self, rate: float, noise_shape: Any = None, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(rate, seed, **kwargs)
        self.rate = rate
        self.noise_shape = None if noise_shape is None else list(noise_shape)

    def disturb(self, x: Any) -> Any:
        """x where kept, selu's lower limit elsewhere, then scaled and shifted."""
        assert self.seed_generator is not None
        low = -ALPHA * SCALE
        given = self.noise_shape or [None] * len(x.sizes)
        shape = tuple(s if n is None else n for n, s in zip(given, x.sizes, strict=True))
        key_counter, offset = self.seed_generator.draw(shape)
        kept = random_uniform(key_counter, shape, x.dtype.name, offset) >= float(self.rate)
        scale = ((1 - self.rate) * (1 + self.rate * low**2)) ** -0.5
        return apply("select", kept, x, low) * scale - scale * low * self.rate

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "noise_shape": self.noise_shape}


class _SpatialDropout(_Noise):
    """The base: drops whole channels."""

    rank = 2

    def __init__(
        self, rate: float, data_format: str | None = None, seed: int | None = None, **kwargs: Any
    ) -> None:
        super().__init__(rate, seed, **kwargs)
        self.rate, self.data_format = rate, data_format_of(data_format)

    def disturb(self, x: Any) -> Any:
        """x with some of its channels 0, the others scaled."""
        assert self.seed_generator is not None
        checks.rank(x.sizes, self.rank + 2, self)
        ones = (1,) * self.rank
        batch, *_, last = x.sizes
        noise = (batch, x.sizes[1], *ones) if self.data_format == FIRST else (batch, *ones, last)
        key_counter, offset = self.seed_generator.draw(noise)
        return dropout(x, key_counter, self.rate, noise, offset)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        return config if self.rank == 1 else {**config, "data_format": self.data_format}


class SpatialDropout1D(_SpatialDropout):
    """Drops whole channels of sequences in training."""

    rank = 1

    def __init__(self, rate: float, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(rate, None, seed, **kwargs)


class SpatialDropout2D(_SpatialDropout):
    """Drops whole channels of images in training."""


class SpatialDropout3D(_SpatialDropout):
    """Drops whole channels of volumes in training."""

    rank = 3


class ActivityRegularization(Layer):
    """Gives its inputs, and adds their norms to the loss."""

    supports_masking = True

    def __init__(self, l1: float = 0.0, l2: float = 0.0, **kwargs: Any) -> None:
        super().__init__(activity_regularizer=regularizers.L1L2(l1, l2), **kwargs)
        self.l1, self.l2 = l1, l2
        self.built = True

    def call(self, inputs: Any) -> Any:
        return apply("identity", inputs)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        config.pop("activity_regularizer", None)
        return {**config, "l1": self.l1, "l2": self.l2}
