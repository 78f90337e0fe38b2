"""How weights start. Numbers come from Philox, so that a seed gives the same weights on every machine."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..dtypes import as_dtype
from ..eager.tensor import constant
from ..ops.dispatch import apply, replaced
from . import registry
from .naming import snake_case

__all__ = [
    "Constant",
    "GlorotNormal",
    "GlorotUniform",
    "HeNormal",
    "HeUniform",
    "Identity",
    "Initializer",
    "LecunNormal",
    "LecunUniform",
    "Ones",
    "Orthogonal",
    "RandomNormal",
    "RandomUniform",
    "TruncatedNormal",
    "VarianceScaling",
    "Zeros",
    "deserialize",
    "get",
    "serialize",
]

_generator = np.random.default_rng()
TRUNCATED_DEVIATION = 0.87962566103423978  # of a normal distribution cut at two deviations


def set_seed(seed: int | None) -> None:
    """Makes the seeds of initializers without one reproducible."""
    global _generator
    _generator = np.random.default_rng(seed)


def make_seed() -> int:
    """A random seed."""
    return int(_generator.integers(1, 2**31 - 1))


class Initializer:
    """The base: called with a shape, gives a tensor."""

    def __call__(self, shape: Any, dtype: Any = None, **kwargs: Any) -> Any:
        """A tensor of this shape.

        Inside a trace the numbers are drawn by the program, so that no file need hold them.
        """
        kind = as_dtype(dtype or "float32")
        made = self.values(tuple(int(d) for d in shape))
        if isinstance(made, np.ndarray):
            return constant(made.astype(kind.numpy), kind)
        return made if made.dtype is kind else apply("cast", made, dtype=kind.name)

    def values(self, shape: tuple[int, ...]) -> Any:
        """The numbers, as a float32 tensor made by ops, or as an array."""
        raise NotImplementedError

    def get_config(self) -> dict[str, Any]:
        """What makes an equal one."""
        return {}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        """An initializer of this configuration."""
        return cls(**config)

    def clone(self) -> Any:
        """An equal one."""
        return type(self).from_config(self.get_config())


class Zeros(Initializer):
    """All 0."""

    def values(self, shape: tuple[int, ...]) -> Any:
        return _filled(0.0, shape)


class Ones(Initializer):
    """All 1."""

    def values(self, shape: tuple[int, ...]) -> Any:
        return _filled(1.0, shape)


class Constant(Initializer):
    """All `value`."""

    def __init__(self, value: Any = 0.0) -> None:
        self.value = value

    def values(self, shape: tuple[int, ...]) -> Any:
        return _filled(self.value, shape)

    def get_config(self) -> dict[str, Any]:
        return {"value": np.asarray(self.value).tolist()}


class Identity(Initializer):
    """The identity matrix times `gain`."""

    def __init__(self, gain: float = 1.0) -> None:
        self.gain = gain

    def values(self, shape: tuple[int, ...]) -> Any:
        if len(shape) != 2:
            raise ValueError(
                f"Identity matrix initializer can only be used for 2D matrices. Received: shape={shape} of rank "
                f"{len(shape)}."
            )
        return self.gain * np.eye(*shape)

    def get_config(self) -> dict[str, Any]:
        return {"gain": self.gain}


class RandomInitializer(Initializer):
    """The base of random ones: the same seed gives the same numbers at each call."""

    def __init__(self, seed: int | None = None) -> None:
        self._given_seed = seed
        self.seed = make_seed() if seed is None else int(seed)

    def uniform(self, shape: tuple[int, ...], low: float, high: float) -> Any:
        """Uniform numbers of this seed."""
        return self._draw("random_uniform", shape) * (high - low) + low

    def normal(self, shape: tuple[int, ...], truncated: bool = False) -> Any:
        """Standard normal numbers of this seed; `truncated`: none beyond two deviations."""
        return self._draw("truncated_normal" if truncated else "random_normal", shape)

    def _draw(self, op: str, shape: tuple[int, ...]) -> Any:
        """The seed is the key of the generator, which counts from 0."""
        key = constant(np.array([self.seed & 0xFFFFFFFF, (self.seed >> 32) & 0xFFFFFFFF, 0, 0], np.uint32))
        return apply(op, key, shape=shape, dtype="float32", offset=0)

    def get_config(self) -> dict[str, Any]:
        return {"seed": self._given_seed}


class RandomUniform(RandomInitializer):
    """Uniform between `minval` and `maxval`."""

    def __init__(self, minval: float = -0.05, maxval: float = 0.05, seed: int | None = None) -> None:
        super().__init__(seed)
        self.minval, self.maxval = minval, maxval

    def values(self, shape: tuple[int, ...]) -> Any:
        return self.uniform(shape, self.minval, self.maxval)

    def get_config(self) -> dict[str, Any]:
        return {"minval": self.minval, "maxval": self.maxval, **super().get_config()}


class RandomNormal(RandomInitializer):
    """Normal with `mean` and `stddev`."""

    def __init__(self, mean: float = 0.0, stddev: float = 0.05, seed: int | None = None) -> None:
        super().__init__(seed)
        self.mean, self.stddev = mean, stddev

    def values(self, shape: tuple[int, ...]) -> Any:
        return self.mean + self.stddev * self.normal(shape)

    def get_config(self) -> dict[str, Any]:
        return {"mean": self.mean, "stddev": self.stddev, **super().get_config()}


class TruncatedNormal(RandomNormal):
    """Normal, numbers beyond two deviations drawn again."""

    def values(self, shape: tuple[int, ...]) -> Any:
        return self.mean + self.stddev * self.normal(shape, truncated=True)


class Orthogonal(RandomInitializer):
    """A matrix with orthogonal rows or columns, times `gain`."""

    def __init__(self, gain: float = 1.0, seed: int | None = None) -> None:
        super().__init__(seed)
        self.gain = gain

    def values(self, shape: tuple[int, ...]) -> Any:
        if len(shape) < 2:
            raise ValueError(
                f"The tensor to initialize must be at least two-dimensional. Received: shape={shape} of rank "
                f"{len(shape)}."
            )
        rows, columns = math.prod(shape[:-1]), shape[-1]
        with replaced(()):
            normal = self.normal((max(rows, columns), min(rows, columns))).numpy()
        q, r = np.linalg.qr(normal.astype(np.float64))
        q = q * np.sign(np.diag(r))
        return self.gain * (q if rows >= columns else q.T).reshape(shape)

    def get_config(self) -> dict[str, Any]:
        return {"gain": self.gain, **super().get_config()}


class VarianceScaling(RandomInitializer):
    """Deviation sqrt(scale / n): n is the number of inputs ("fan_in"), outputs ("fan_out") or their mean
    ("fan_avg")."""

    def __init__(
        self, scale: float = 1.0, mode: str = "fan_in", distribution: str = "truncated_normal", seed: int | None = None
    ) -> None:
        if scale <= 0.0:
            raise ValueError(f"Argument `scale` must be positive float. Received: scale={scale}")
        if mode not in ("fan_in", "fan_out", "fan_avg"):
            raise ValueError(f"Invalid `mode` argument: {mode}. Please use one of ('fan_in', 'fan_out', 'fan_avg')")
        if distribution.lower() not in ("uniform", "truncated_normal", "untruncated_normal", "normal"):
            raise ValueError(
                f"Invalid `distribution` argument: {distribution}. Please use 'uniform', 'truncated_normal' or "
                "'untruncated_normal'"
            )
        super().__init__(seed)
        self.scale, self.mode = scale, mode
        self.distribution = "truncated_normal" if distribution == "normal" else distribution.lower()

    def values(self, shape: tuple[int, ...]) -> Any:
        fan_in, fan_out = compute_fans(shape)
        count = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}[self.mode]
        variance = self.scale / max(1.0, count)
        if self.distribution == "uniform":
            limit = math.sqrt(3.0 * variance)
            return self.uniform(shape, -limit, limit)
        if self.distribution == "truncated_normal":
            return math.sqrt(variance) / TRUNCATED_DEVIATION * self.normal(shape, truncated=True)
        return math.sqrt(variance) * self.normal(shape)

    def get_config(self) -> dict[str, Any]:
        return {"scale": self.scale, "mode": self.mode, "distribution": self.distribution, **super().get_config()}


class _Fixed(VarianceScaling):
    """A VarianceScaling whose only argument is the seed."""

    settings: tuple[float, str, str]

    def __init__(self, seed: int | None = None) -> None:
        super().__init__(*self.settings, seed=seed)

    def get_config(self) -> dict[str, Any]:
        return {"seed": self._given_seed}


class GlorotUniform(_Fixed):
    """Uniform within sqrt(6 / (fan_in + fan_out)): the default of most kernels."""

    settings = (1.0, "fan_avg", "uniform")


class GlorotNormal(_Fixed):
    """Truncated normal, variance 2 / (fan_in + fan_out)."""

    settings = (1.0, "fan_avg", "truncated_normal")


class HeUniform(_Fixed):
    """Uniform within sqrt(6 / fan_in)."""

    settings = (2.0, "fan_in", "uniform")


class HeNormal(_Fixed):
    """Truncated normal, variance 2 / fan_in."""

    settings = (2.0, "fan_in", "truncated_normal")


class LecunUniform(_Fixed):
    """Uniform within sqrt(3 / fan_in)."""

    settings = (1.0, "fan_in", "uniform")


class LecunNormal(_Fixed):
    """Truncated normal, variance 1 / fan_in."""

    settings = (1.0, "fan_in", "truncated_normal")


def _filled(value: Any, shape: tuple[int, ...]) -> Any:
    """The value, broadcast."""
    return apply("broadcast_to", constant(np.asarray(value, np.float32)), shape=shape)


def compute_fans(shape: tuple[int, ...]) -> tuple[int, int]:
    """Inputs and outputs of one unit of a kernel of this shape."""
    if len(shape) == 0:
        return 1, 1
    if len(shape) == 1:
        return shape[0], shape[0]
    receptive = math.prod(shape[:-2])
    return shape[-2] * receptive, shape[-1] * receptive


_CLASSES = [
    Constant,
    GlorotNormal,
    GlorotUniform,
    HeNormal,
    HeUniform,
    Identity,
    LecunNormal,
    LecunUniform,
    Ones,
    Orthogonal,
    RandomNormal,
    RandomUniform,
    TruncatedNormal,
    VarianceScaling,
    Zeros,
]
KNOWN: dict[str, Any] = {c.__name__: c for c in _CLASSES} | {snake_case(c.__name__): c for c in _CLASSES}
KNOWN |= {"uniform": RandomUniform, "normal": RandomNormal, "one": Ones, "zero": Zeros}


def get(identifier: Any) -> Any:
    """An initializer from a name, a configuration, a class or an object."""
    return registry.get(identifier, KNOWN, "initializer identifier")


def serialize(initializer: Any) -> Any:
    """The configuration of an initializer."""
    return registry.serialize(initializer)


def deserialize(config: Any, custom_objects: Any = None) -> Any:
    """The initializer of a configuration."""
    return registry.deserialize(config, KNOWN | (custom_objects or {}), "initializer")
