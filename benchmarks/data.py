"""Numbers that Python and JavaScript make alike, bit for bit, so that every contender starts from the same data.

`page/data.js` is the same hash. An array is described, not stored: (name, shape, seed, low, high, dtype).
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Array:
    """Uniform numbers in [low, high): float32, or int32 rounded down. `low == high`: that number everywhere."""

    name: str
    shape: tuple[int, ...]
    seed: int
    low: float = -1.0
    high: float = 1.0
    dtype: str = "float32"

    @property
    def size(self) -> int:
        """How many elements."""
        return int(np.prod(self.shape, dtype=np.int64))

    def values(self) -> np.ndarray:
        """The array itself."""
        unit = hashed(self.size, self.seed) * (self.high - self.low) + self.low
        made = np.floor(unit).astype(np.int32) if self.dtype == "int32" else unit.astype(np.float32)
        return made.reshape(self.shape)

    def describe(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def hashed(count: int, seed: int) -> np.ndarray:
    """`count` multiples of 2**-24 in [0, 1), as float64: each a hash of its position and the seed."""
    with np.errstate(over="ignore"):
        h = np.arange(count, dtype=np.uint32) + np.uint32(seed * 0x9E3779B9 & 0xFFFFFFFF)
        h ^= h >> np.uint32(16)
        h *= np.uint32(0x7FEB352D)
        h ^= h >> np.uint32(15)
        h *= np.uint32(0x846CA68B)
        h ^= h >> np.uint32(16)
    return (h >> np.uint32(8)).astype(np.float64) * 2.0**-24


def sample(values: np.ndarray, count: int = 16) -> np.ndarray:
    """`count` elements spread over a result, as float64: what is compared with the reference."""
    flat = np.asarray(values, np.float64).reshape(-1)
    return flat[[i * (flat.size - 1) // max(1, count - 1) for i in range(min(count, flat.size))]]
