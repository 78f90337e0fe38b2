"""Random state: `tf.random.Generator`, the global seed, and the counters that ops draw from.

Eagerly the numbers are TensorFlow's.

Inside a trace a draw reads an RNG cell, which the host advances once after each run; several draws of one trace are
told apart by their offsets.
"""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..dtypes import as_dtype, uint32
from ..errors import UnimplementedError
from ..graph.ir import State
from ..ops import random as random_ops
from ..ops.dispatch import Value, apply
from ..shapes import Size, as_shape, num_elements
from .tensor import EagerTensor, constant, convert_to_tensor
from .variable import current_trace

__all__ = [
    "Generator",
    "draw_from_seeds",
    "get_global_generator",
    "key_counter_of",
    "set_global_generator",
    "set_seed",
]

WORD, WIDE = (1 << 64) - 1, (1 << 128) - 1
DEFAULT_GRAPH_SEED = 87654321  # TensorFlow's global seed where only an op has one
RESERVED = 256  # counters that TensorFlow moves on for each number drawn


def key_counter_of(seed: Any) -> Any:
    """Key and counter of a stateless draw, from a tensor of two integers, scrambled as TensorFlow does."""
    seed = convert_to_tensor(seed) if isinstance(seed, Value) or hasattr(seed, "dtype") else constant(seed)
    return apply("key_counter_from_seed", seed)


def _key_counter(key: int, counter: int) -> EagerTensor:
    words = [key & 0xFFFFFFFF, key >> 32, *(counter >> (32 * i) & 0xFFFFFFFF for i in range(4))]
    return EagerTensor(np.array(words, np.uint32), uint32)


class Generator:
    """A stream of random numbers with a state of its own. The algorithm is Philox.

    >>> Generator.from_seed(1).normal([2]).shape
    TensorShape([2])
    """

    def __init__(self, copy_from: Generator | None = None, state: Any = None, alg: Any = None) -> None:
        """Use `from_seed`, `from_state` or `from_non_deterministic_state`."""
        if copy_from is not None:
            key, counter = copy_from._position()
        elif state is not None:
            _check_algorithm(alg)
            low, high, key = (
                int(w) & WORD for w in np.asarray(state.numpy() if hasattr(state, "numpy") else state).ravel()
            )
            counter = low | high << 64
        else:
            raise ValueError("Generator: give `state` or `copy_from`, or use Generator.from_seed(...).")
        self.cell = State("generator", (4,), uint32, "RNG")
        self._place(key, counter)

    @classmethod
    def from_seed(cls, seed: int, alg: Any = None) -> Generator:
        """A generator whose state is made from an integer."""
        counter = int(seed) & WIDE
        return cls(state=[counter & WORD, counter >> 64, WORD if seed < 0 else 0], alg=alg)

    @classmethod
    def from_state(cls, state: Any, alg: Any) -> Generator:
        """A generator with this state: the counter's low and high word and the key, 64 bits each."""
        return cls(state=state, alg=alg)

    @classmethod
    def from_key_counter(cls, key: Any, counter: Any, alg: Any) -> Generator:
        """A generator with this key and counter (two 64-bit words)."""
        return cls(state=[*np.ravel(counter), int(np.ravel(key)[0])], alg=alg)

    @classmethod
    def from_non_deterministic_state(cls, alg: Any = None) -> Generator:
        """A generator with a state from the operating system."""
        return cls(state=[0, 0, int.from_bytes(os.urandom(8), "little")], alg=alg)

    def _place(self, key: int, counter: int) -> None:
        words = [key & 0xFFFFFFFF, key >> 32, counter & 0xFFFFFFFF, counter >> 32 & 0xFFFFFFFF]
        self.cell.write(np.array(words, np.uint32))
        self._high = counter >> 64

    def _position(self) -> tuple[int, int]:
        words = [int(w) for w in self.cell.read()]
        return words[0] | words[1] << 32, words[2] | words[3] << 32 | self._high << 64

    def reserve(self, blocks: Size) -> tuple[Any, Size]:
        """The key and counter of the next draw, and its offset from them; the state moves on by `blocks`."""
        recorder = current_trace()
        if recorder is None:
            key, counter = self._position()
            self._place(key, (counter + int(blocks)) & WIDE)  # type: ignore[arg-type]
            return _key_counter(key, counter), 0
        if self._high:
            raise UnimplementedError(
                "Generator: inside a tf.function the counter must be below 2**64; this one is not (a negative seed?)."
            )
        offset = recorder.advances.get(self.cell, 0)
        recorder.advance(self.cell, blocks)
        return recorder.read(self.cell), offset

    def skip(self, delta: int) -> Any:
        """Moves the state on as if `delta` numbers had been drawn; returns the state before."""
        before = self.state
        self.reserve(delta * RESERVED)
        return before

    def reset_from_seed(self, seed: int) -> None:
        """Sets the state as `from_seed` does."""
        self._place(*Generator.from_seed(seed)._position())

    def reset(self, state: Any) -> None:
        """Sets the state."""
        self._place(*Generator(state=state)._position())

    @property
    def state(self) -> EagerTensor:
        """The counter's low and high word and the key, as int64."""
        key, counter = self._position()
        return constant(np.array([counter & WORD, counter >> 64, key], np.uint64).view(np.int64))

    @property
    def key(self) -> EagerTensor:
        """The key, uint64."""
        return constant(np.uint64(self._position()[0]))

    @property
    def algorithm(self) -> int:
        """1: Philox."""
        return 1

    def _reserved(self, shape: Any) -> tuple[Any, tuple[Size, ...], Size]:
        sizes = as_shape(shape)
        key_counter, offset = self.reserve(num_elements(sizes) * RESERVED)
        return key_counter, sizes, offset

    def normal(
        self, shape: Any, mean: Any = 0.0, stddev: Any = 1.0, dtype: Any = "float32", name: str | None = None
    ) -> Any:
        """Normal numbers."""
        key_counter, sizes, offset = self._reserved(shape)
        return random_ops.random_normal(key_counter, sizes, dtype, offset) * stddev + mean

    def truncated_normal(
        self, shape: Any, mean: Any = 0.0, stddev: Any = 1.0, dtype: Any = "float32", name: str | None = None
    ) -> Any:
        """Normal numbers within two standard deviations."""
        key_counter, sizes, offset = self._reserved(shape)
        return random_ops.truncated_normal(key_counter, sizes, dtype, offset) * stddev + mean

    def uniform(
        self, shape: Any, minval: Any = 0, maxval: Any = None, dtype: Any = "float32", name: str | None = None
    ) -> Any:
        """Numbers from minval (included) to maxval (excluded; 1 for floating dtypes)."""
        key_counter, sizes, offset = self._reserved(shape)
        return uniform_between(key_counter, sizes, minval, maxval, dtype, offset)

    def uniform_full_int(self, shape: Any, dtype: Any = "uint64", name: str | None = None) -> Any:
        """Integers of all bit patterns."""
        key_counter, sizes, offset = self._reserved(shape)
        return random_ops.random_bits(key_counter, sizes, dtype, offset)

    def make_seeds(self, count: int = 1) -> Any:
        """Seeds for stateless draws: int64 of shape [2, count]."""
        seeds = self.uniform_full_int([count], "int64").numpy()
        return constant(np.stack([seeds, np.zeros_like(seeds)]))

    def split(self, count: int = 1) -> list[Generator]:
        """Independent generators."""
        keys = self.uniform_full_int([count], "uint64").numpy()
        return [Generator(state=[0, 0, int(k)]) for k in keys]


def uniform_between(
    key_counter: Any, shape: Sequence[Size], minval: Any, maxval: Any, dtype: Any, offset: Size = 0
) -> Any:
    """Uniform numbers of any dtype; integers need `maxval`."""
    kind = as_dtype(dtype)
    if kind.is_integer:
        if maxval is None:
            raise ValueError(f"Must specify maxval for integer dtype {kind.name}.")
        low, high = int(minval or 0), int(maxval)
        return random_ops.random_uniform_int(key_counter, shape, low, high, kind, offset)
    drawn = random_ops.random_uniform(key_counter, shape, kind, offset)
    maxval = 1 if maxval is None else maxval
    if all(isinstance(v, int | float) for v in (minval, maxval)) and (minval, maxval) == (0, 1):
        return drawn
    minval = convert_to_tensor(minval, kind)
    return drawn * (convert_to_tensor(maxval, kind) - minval) + minval


# -- the global seed ---------------------------------------------------------------------------------------------------


class _Global:
    """The global seed and what follows from it."""

    def __init__(self) -> None:
        self.seed: int | None = None
        self.op_seeds = random.Random()
        self.positions: dict[Any, int] = {}  # counter of each (op, dtype, seeds) that is drawn from again
        self.cells: dict[int | None, Generator] = {}  # what traces draw from, by op seed
        self.generator: Generator | None = None


_global = _Global()


def set_seed(seed: int) -> None:
    """Sets the global seed: from here on tf.random.normal and the like give the same numbers in each run of a program.

    Compiled functions keep drawing from their own cells, which start again too.
    """
    _global.seed = int(seed)
    _global.op_seeds = random.Random(int(seed))
    _global.positions.clear()
    _global.generator = None
    for op_seed, generator in _global.cells.items():
        generator._place(_trace_key(op_seed), 0)


def get_global_generator() -> Generator:
    """The generator that is used where none is named; its first state follows the global seed."""
    if _global.generator is None:
        seed = _global.seed
        _global.generator = Generator.from_non_deterministic_state() if seed is None else Generator.from_seed(seed)
    return _global.generator


def set_global_generator(generator: Generator) -> None:
    """Replaces the global generator."""
    _global.generator = generator


def draw_from_seeds(op: str, dtype: Any, shape: Sequence[Size], seed: int | None) -> tuple[Any, Size]:
    """Key, counter and offset for one draw by an op without a generator; `op` is TensorFlow's name of it.

    Eagerly: with a global seed each call gets an op seed of its own unless `seed` gives one; calls with the same seeds
    go on where the last one stopped. All as in TensorFlow. In a trace: from the cell of this op seed.
    """
    if current_trace() is not None:
        name = "truncated_normal" if op == "TruncatedNormal" else "random_uniform"
        blocks = random_ops.num_blocks(shape, name) * (1 if as_dtype(dtype).size <= 4 else 2)
        cell = _global.cells.get(seed)
        if cell is None:
            cell = _global.cells[seed] = Generator(state=[0, 0, _trace_key(seed)])
        return cell.reserve(blocks)
    if _global.seed is None and seed is None:
        return _key_counter(int.from_bytes(os.urandom(8), "little"), 0), 0
    first = DEFAULT_GRAPH_SEED if _global.seed is None else _global.seed
    second = _global.op_seeds.randint(0, 2**31 - 1) if seed is None else int(seed)
    if (first, second) == (0, 0):
        second = 2**31 - 1  # two zeros would mean "no seed"
    stream = (op, as_dtype(dtype).name, first, second)
    position = _global.positions.get(stream, 0)
    if seed is not None:
        _global.positions[stream] = position + int(num_elements(shape)) * RESERVED  # type: ignore[arg-type]
    return _key_counter(first & WORD, position + ((second & WORD) << 64)), 0


def _trace_key(op_seed: int | None) -> int:
    if _global.seed is None and op_seed is None:
        return int.from_bytes(os.urandom(8), "little")
    first = DEFAULT_GRAPH_SEED if _global.seed is None else _global.seed
    pair = [first & WORD, 0 if op_seed is None else op_seed & WORD]
    words = key_words(np.array(pair, np.uint64))
    return words[0] | words[1] << 32


def key_words(seed: np.ndarray[Any, Any]) -> list[int]:
    """The words of `key_counter_of` for a host array."""
    from ..ops.op import find_op

    return [int(w) for w in find_op("key_counter_from_seed").numpy(seed)]


def _check_algorithm(alg: Any) -> None:
    if alg is not None and str(getattr(alg, "value", alg)).lower() not in ("1", "philox", "auto_select", "3"):
        raise UnimplementedError(f"Generator: the algorithm {alg!r} is not available; use 'philox'.")
