"""Random numbers as pure functions of a key and a counter, element by element TensorFlow's.

`key_counter` is uint32: two words of key, then two or four of the counter (the missing ones are 0). Element i of a draw
is made from word i % 4 of block counter + offset + i // 4; the attribute `offset`, in blocks, is for traces that draw
several times from one state. Nothing is stored: dropout's gradient makes its mask again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from ..dtypes import FLOATING, INTEGER, as_dtype
from ..errors import InvalidArgumentError
from ..kernel.ir import U32, Builder, Expr, View
from ..kernel.philox import philox4x32, philox_blocks, philox_numpy
from ..shapes import Shape, Size, ceil_div, num_elements
from .common import ravel
from .dispatch import apply
from .op import Case, Pattern, Spec, case, no_gradient

__all__ = [
    "dropout",
    "num_blocks",
    "random_bits",
    "random_normal",
    "random_uniform",
    "random_uniform_int",
    "truncated_normal",
]

Array = Any
RESERVED = 256  # blocks that TensorFlow reserves for four truncated normals
TRIES = 4  # blocks that a kernel looks at for them: 16 normals contain fewer than four good ones once in 10^15 times
SCRAMBLE = (0x3EC8F720, 0x02461E29)  # the key with which TensorFlow scrambles seeds
NOT_DIFFERENTIABLE = "random numbers depend on no differentiable input"


def random_bits(key_counter: Any, shape: Any, dtype: Any = "uint32", offset: Size = 0) -> Any:
    """Integers of all bit patterns."""
    return apply("random_bits", key_counter, shape=tuple(shape), dtype=as_dtype(dtype).name, offset=offset)


def random_uniform(key_counter: Any, shape: Any, dtype: Any = "float32", offset: Size = 0) -> Any:
    """Numbers from 0 (included) to 1 (excluded)."""
    return apply("random_uniform", key_counter, shape=tuple(shape), dtype=as_dtype(dtype).name, offset=offset)


def random_uniform_int(
    key_counter: Any, shape: Any, minval: int, maxval: int, dtype: Any = "int32", offset: Size = 0
) -> Any:
    """Integers from minval (included) to maxval (excluded)."""
    return apply(
        "random_uniform_int",
        key_counter,
        shape=tuple(shape),
        minval=int(minval),
        maxval=int(maxval),
        dtype=as_dtype(dtype).name,
        offset=offset,
    )


def random_normal(key_counter: Any, shape: Any, dtype: Any = "float32", offset: Size = 0) -> Any:
    """Standard normal numbers."""
    return apply("random_normal", key_counter, shape=tuple(shape), dtype=as_dtype(dtype).name, offset=offset)


def truncated_normal(key_counter: Any, shape: Any, dtype: Any = "float32", offset: Size = 0) -> Any:
    """Standard normal numbers, those of magnitude 2 and more drawn again."""
    return apply("truncated_normal", key_counter, shape=tuple(shape), dtype=as_dtype(dtype).name, offset=offset)


def dropout(x: Any, key_counter: Any, rate: float, noise_shape: Any = None, offset: Size = 0) -> Any:
    """x / (1 - rate) where a uniform number is at least `rate`, else 0; sizes 1 in `noise_shape` share one decision."""
    shape = None if noise_shape is None else tuple(noise_shape)
    return apply("dropout", x, key_counter, rate=float(rate), noise_shape=shape, offset=offset)


def num_blocks(shape: Sequence[Size], op: str = "random_uniform") -> Size:
    """How many counters a draw of 32-bit numbers uses: by how much to advance before the next."""
    groups = ceil_div(num_elements(shape), 4)
    return groups * RESERVED if op == "truncated_normal" else groups


# -- shared ------------------------------------------------------------------------------------------------------------


def _words(key_counter: Array, offset: int) -> tuple[tuple[int, int], int]:
    """Key and 128-bit counter of a host array."""
    words = [int(w) for w in key_counter]
    counter = sum(w << (32 * i) for i, w in enumerate(words[2:]))
    return (words[0], words[1]), counter + int(offset)


def _bits(key_counter: Array, offset: int, count: int) -> Array:
    """The first `count` words of the stream."""
    key, counter = _words(key_counter, offset)
    return philox_blocks(key, counter, -(-count // 4)).reshape(-1)[:count]


def _block(ir: Builder, key_counter: View, offset: Size, index: Expr) -> tuple[Expr, Expr, Expr, Expr]:
    """The block at counter + offset + index (an i32)."""

    def word(i: int) -> Expr:
        return key_counter.at(ir.const(i)) if key_counter.scalar_word is None else key_counter.scalar_word(i)

    steps = ir.cast(index, U32)
    if offset != 0:
        steps = steps + ir.cast(ir.size(offset), U32)
    low = word(2) + steps
    carry = ir.cast(low < steps, U32)
    second = word(3) + carry
    if key_counter.shape[0] == 4:
        return philox4x32(ir, (word(0), word(1)), (low, second, ir.const(0, U32), ir.const(0, U32)))
    carry = ir.cast(second < carry, U32)
    third = word(4) + carry
    fourth = word(5) + ir.cast(third < carry, U32)
    return philox4x32(ir, (word(0), word(1)), (low, second, third, fourth))


def _lane(ir: Builder, words: Sequence[Expr], lane: Expr) -> Expr:
    """One of four values."""
    return ir.select(lane < 2, ir.select(lane.eq(0), words[0], words[1]), ir.select(lane.eq(2), words[2], words[3]))


def _element_bits(ir: Builder, key_counter: View, offset: Size, index: Expr) -> Expr:
    return _lane(ir, _block(ir, key_counter, offset, index // 4), index % 4)


def _unit(ir: Builder, bits: Expr) -> Expr:
    """[0, 1) from the low 23 bits, as TensorFlow: they are the mantissa of a number from 1 to 2."""
    mantissa = (bits & ir.const(0x7FFFFF, U32)) | ir.const(0x3F800000, U32)
    return ir.bitcast(mantissa, "f32") - 1.0


def _box_muller(ir: Builder, first: Expr, second: Expr) -> tuple[Expr, Expr]:
    """Two normal numbers from two words."""
    radius = ir.unary("sqrt", ir.call("log", ir.call("max", _unit(ir, first), 1e-7)) * -2.0)
    angle = _unit(ir, second) * (2.0 * np.pi)
    return ir.call("sin", angle) * radius, ir.call("cos", angle) * radius


def _units(bits: Array, dtype: Any) -> Array:
    """The same on the host: float32 from a word, float64 from two (high word first), float16 from low bits of one."""
    if dtype == np.float64:
        pairs = bits.reshape(-1, 2).astype(np.uint64)
        mantissa = ((pairs[:, 0] & np.uint64(0xFFFFF)) << np.uint64(32)) | pairs[:, 1] | np.uint64(1023 << 52)
        return mantissa.view(np.float64) - 1.0
    if dtype == np.float16:
        return ((bits & np.uint32(0x3FF)).astype(np.uint16) | np.uint16(15 << 10)).view(np.float16) - np.float16(1.0)
    return ((bits & np.uint32(0x7FFFFF)) | np.uint32(0x3F800000)).view(np.float32) - np.float32(1.0)


def _normals(bits: Array, dtype: Any) -> Array:
    """As many normal numbers as there are words (half as many float64); float16 is rounded from float32."""
    wide = np.float64 if dtype == np.float64 else np.float32
    units = _units(bits, wide)
    radius = np.sqrt(wide(-2.0) * np.log(np.maximum(units[0::2], wide(1e-7))))
    angle = (2.0 * np.pi * units[1::2].astype(np.float64)).astype(wide)
    made = np.empty(units.shape, wide)
    made[0::2] = np.sin(angle) * radius
    made[1::2] = np.cos(angle) * radius
    return made


class _Draw(Pattern, abstract=True):
    """A draw of `shape` and `dtype`."""

    version = 1
    same = (0,)
    grad = no_gradient(NOT_DIFFERENTIABLE)

    draw: Callable[..., Any]  # (key_counter, count, dtype, offset, **attrs) -> `count` numbers in one axis

    def infer(self, key_counter: Spec, *, shape: Shape, dtype: str, **attrs: Any) -> Any:
        _check_key(self.name, key_counter)
        if as_dtype(dtype) not in self.dtypes:
            known = ", ".join(sorted(d.name for d in self.dtypes))
            raise InvalidArgumentError(f"{self.name}: dtype {dtype} is not available; it draws {known}.")
        return Spec(shape, as_dtype(dtype))

    def numpy(self, key_counter: Array, *, shape: tuple[int, ...], dtype: str, offset: int, **attrs: Any) -> Array:
        kind = as_dtype(dtype).numpy
        made = self.draw(key_counter, math.prod(shape), kind, offset, **attrs)
        return np.asarray(made).astype(kind, copy=False).reshape(shape)

    def samples(self, **attrs: Any) -> Iterator[Case]:
        """Short and long keys, a counter about to carry, an offset; shapes empty, odd and scalar."""
        short = np.array([1, 2, 0xFFFFFFFE, 0], np.uint32)
        long = np.array([123456789, 987654321, 0xFFFFFFFD, 0xFFFFFFFF, 7, 5], np.uint32)
        for key_counter, shape, offset in (
            (short, (3, 7), 0),
            (long, (21,), 0),
            (short, (5,), 3),
            (long, (), 0),
            (short, (0, 2), 0),
        ):
            yield case(key_counter, gradient=False, shape=shape, offset=offset, **attrs)


def _check_key(name: str, key_counter: Spec) -> None:
    if key_counter.dtype.name != "uint32" or key_counter.shape not in ((4,), (6,)):
        raise InvalidArgumentError(
            f"{name}: key_counter must be uint32 of shape (4,) or (6,), two words of key, then the counter, low word "
            f"first; received {key_counter.dtype.name} of shape {tuple(key_counter.shape)}."
        )


# -- ops ---------------------------------------------------------------------------------------------------------------


class KeyCounterFromSeed(Pattern):
    """Two integers scrambled into a key and a counter, so that seeds close to each other give unrelated numbers."""

    name, version, dtypes = "key_counter_from_seed", 1, INTEGER
    grad = no_gradient(NOT_DIFFERENTIABLE)

    def infer(self, seed: Spec) -> Spec:
        if seed.shape != (2,) or seed.dtype not in INTEGER:
            raise InvalidArgumentError(
                f"seed must be two integers, for example [1, 2]; received {seed.dtype.name} of shape {seed.shape}."
            )
        return Spec((6,), as_dtype("uint32"))

    def numpy(self, seed: Array) -> Array:
        words = [int(seed[i]) >> shift & 0xFFFFFFFF for i in (0, 1) for shift in (0, 32)]
        mixed = philox_numpy(SCRAMBLE, [[w] for w in words])[0]
        return np.array([mixed[0], mixed[1], 0, 0, mixed[2], mixed[3]], np.uint32)

    def lower(self, ir: Builder, at: Sequence[Expr], seed: View) -> Expr:
        words: list[Expr] = []
        for part in (0, 1):
            x = seed.at(ir.const(part)) if seed.scalar_word is None else seed.scalar_word(part)
            sign = ir.bitcast(x >> ir.const(31, x.dtype), U32) if x.dtype == "i32" else ir.const(0, U32)
            words += [ir.bitcast(x, U32), sign]
        first, second, third, fourth = philox4x32(ir, [ir.const(k, U32) for k in SCRAMBLE], words)
        zero, i = ir.const(0, U32), at[0]
        high = ir.select(i.eq(4), third, ir.select(i.eq(5), fourth, zero))
        return ir.select(i.eq(0), first, ir.select(i.eq(1), second, high))

    def cases(self) -> Iterator[Case]:
        yield case(np.array([1, 2], np.int32), gradient=False)
        yield case(np.array([-5, 2**31 - 1], np.int32), gradient=False)
        yield case(np.array([2**32 - 1, 0], np.uint32), gradient=False)


class RandomBits(_Draw):
    """32 bits from one word; 64 from two, the low word first."""

    name, dtypes = "random_bits", frozenset(map(as_dtype, ("int32", "uint32", "int64", "uint64")))

    def draw(self, key_counter: Array, count: int, dtype: Any, offset: int) -> Array:
        if dtype.itemsize == 4:
            return _bits(key_counter, offset, count).view(dtype)
        return np.ascontiguousarray(_bits(key_counter, offset, 2 * count)).astype("<u4").view("<u8").view(dtype)

    def lower(
        self, ir: Builder, at: Sequence[Expr], key_counter: View, *, shape: Shape, dtype: str, offset: Size
    ) -> Expr:
        return ir.bitcast(
            _element_bits(ir, key_counter, offset, ravel(ir, at, shape)), "u32" if dtype == "uint32" else "i32"
        )

    def cases(self) -> Iterator[Case]:
        yield from self.samples(dtype="uint32")
        yield from self.samples(dtype="int32")


class RandomUniform(_Draw):
    """[0, 1)."""

    name, dtypes = "random_uniform", FLOATING

    def draw(self, key_counter: Array, count: int, dtype: Any, offset: int) -> Array:
        return _units(_bits(key_counter, offset, count * (2 if dtype == np.float64 else 1)), dtype)

    def lower(
        self, ir: Builder, at: Sequence[Expr], key_counter: View, *, shape: Shape, dtype: str, offset: Size
    ) -> Expr:
        return _unit(ir, _element_bits(ir, key_counter, offset, ravel(ir, at, shape)))

    def cases(self) -> Iterator[Case]:
        yield from self.samples(dtype="float32")


class RandomUniformInt(_Draw):
    """minval + bits % (maxval - minval): biased for spans that are not small beside 2**32, as TensorFlow's."""

    name, dtypes = "random_uniform_int", frozenset(map(as_dtype, ("int32", "uint32", "int64", "uint64")))

    def infer(self, key_counter: Spec, *, minval: int = 0, maxval: int = 1, **attrs: Any) -> Any:
        spec = super().infer(key_counter, **attrs)
        if not spec.dtype.min <= minval < maxval <= int(spec.dtype.max) + 1:
            raise InvalidArgumentError(
                f"{self.name}: need minval < maxval, received minval={minval}, maxval={maxval} for {spec.dtype.name}."
            )
        return spec

    def draw(self, key_counter: Array, count: int, dtype: Any, offset: int, *, minval: int, maxval: int) -> Array:
        unsigned = np.dtype(f"u{dtype.itemsize}")
        bits = RandomBits.draw(self, key_counter, count, unsigned, offset)  # type: ignore[arg-type]
        low = unsigned.type(minval % (1 << (8 * dtype.itemsize)))
        return (bits % unsigned.type(maxval - minval) + low).view(dtype)

    def lower(
        self,
        ir: Builder,
        at: Sequence[Expr],
        key_counter: View,
        *,
        shape: Shape,
        dtype: str,
        minval: int,
        maxval: int,
        offset: Size,
    ) -> Expr:
        bits = _element_bits(ir, key_counter, offset, ravel(ir, at, shape))
        found = ir.binary("rem", bits, ir.const(maxval - minval, U32)) + ir.const(minval, U32)
        return ir.bitcast(found, "u32" if dtype == "uint32" else "i32")

    def cases(self) -> Iterator[Case]:
        yield from self.samples(dtype="int32", minval=-5, maxval=17)
        yield case(
            np.array([5, 6, 7, 8], np.uint32),
            gradient=False,
            shape=(9,),
            dtype="int32",
            offset=0,
            minval=-(2**31),
            maxval=2**31 - 1,
        )


class RandomNormal(_Draw):
    """Box-Muller: two numbers from two words."""

    name, dtypes = "random_normal", FLOATING

    def draw(self, key_counter: Array, count: int, dtype: Any, offset: int) -> Array:
        even = count + count % 2
        return _normals(_bits(key_counter, offset, even * (2 if dtype == np.float64 else 1)), dtype)[:count]

    def lower(
        self, ir: Builder, at: Sequence[Expr], key_counter: View, *, shape: Shape, dtype: str, offset: Size
    ) -> Expr:
        index = ravel(ir, at, shape)
        words = _block(ir, key_counter, offset, index // 4)
        lane = index % 4
        sine, cosine = _box_muller(ir, ir.select(lane < 2, words[0], words[2]), ir.select(lane < 2, words[1], words[3]))
        return ir.select((lane % 2).eq(0), sine, cosine)

    def cases(self) -> Iterator[Case]:
        yield from self.samples(dtype="float32")


class TruncatedNormal(_Draw):
    """Normal numbers below 2 in magnitude; each group of four (float64: two) starts at a reserved counter."""

    name, dtypes = "truncated_normal", FLOATING

    def draw(self, key_counter: Array, count: int, dtype: Any, offset: int) -> Array:
        size = 2 if dtype == np.float64 else 4
        key, counter = _words(key_counter, offset)
        return _first_good(key, counter, np.arange(-(-count // size)), size, dtype, 2).reshape(-1)[:count]

    def lower(
        self, ir: Builder, at: Sequence[Expr], key_counter: View, *, shape: Shape, dtype: str, offset: Size
    ) -> Expr:
        index = ravel(ir, at, shape)
        group, wanted = index // 4, index % 4

        def look(number: Expr, seen: Expr, value: Expr) -> list[tuple[str, Expr]]:
            words = _block(ir, key_counter, offset, group * RESERVED + number)
            for normal in (*_box_muller(ir, words[0], words[1]), *_box_muller(ir, words[2], words[3])):
                good = ir.unary("abs", normal) < 2.0
                value = ir.select(good & seen.eq(wanted), normal, value)
                seen = seen + ir.cast(good, "i32")
            return [("custom", seen), ("custom", value)]

        return ir.fold((TRIES,), look, (ir.const(0), ir.const(0.0)))[1]

    def cases(self) -> Iterator[Case]:
        yield from self.samples(dtype="float32")
        yield case(np.array([3, 1, 4, 1], np.uint32), gradient=False, shape=(400,), dtype="float32", offset=0)


def _first_good(key: tuple[int, int], counter: int, groups: Array, size: int, dtype: Any, blocks: int) -> Array:
    """The first `size` normals below 2 in magnitude of each group, from `blocks` blocks, or more where these fail."""
    starts = groups.astype(np.uint64) * np.uint64(RESERVED * size // 4)
    steps = (starts[:, None] + np.arange(blocks, dtype=np.uint64)).reshape(-1)
    normals = _normals(philox_blocks(key, counter, steps).reshape(-1), dtype).reshape(len(groups), blocks * size)
    good = np.abs(normals) < 2.0
    order = np.argsort(~good, axis=1, kind="stable")[:, :size]
    found = np.take_along_axis(normals, order, axis=1)
    short = np.flatnonzero(good.sum(axis=1) < size)
    if short.size:
        found[short] = _first_good(key, counter, groups[short], size, dtype, 2 * blocks)
    return found


class Dropout(Pattern):
    """x / (1 - rate) where a uniform number is at least `rate`, else 0.

    Linear in x: its gradient is dropout with the same key.
    """

    name, version, dtypes, same = "dropout", 1, FLOATING, (0,)

    def infer(self, x: Spec, key_counter: Spec, *, rate: float, noise_shape: Shape | None, offset: Size) -> Spec:
        _check_key(self.name, key_counter)
        if not 0.0 <= rate < 1.0:
            raise ValueError(f"`rate` must be a scalar in the range [0, 1), received {rate}.")
        if noise_shape is not None:
            fits = len(noise_shape) == len(x.shape) and all(
                n in (1, d) for n, d in zip(noise_shape, x.shape, strict=True)
            )
            if not fits:
                raise InvalidArgumentError(
                    f"dropout: noise_shape must have the rank of x, its sizes 1 or those of x: x has {tuple(x.shape)}, "
                    f"noise_shape is {tuple(noise_shape)}."
                )
        return x

    def numpy(
        self, x: Array, key_counter: Array, *, rate: float, noise_shape: tuple[int, ...] | None, offset: int
    ) -> Array:
        shape = x.shape if noise_shape is None else noise_shape
        words = _bits(key_counter, offset, math.prod(shape) * (2 if x.dtype == np.float64 else 1))
        keep = (_units(words, x.dtype) >= x.dtype.type(rate)).reshape(shape)
        with np.errstate(all="ignore"):
            return np.where(keep, x * x.dtype.type(1.0 / (1.0 - rate)), x.dtype.type(0))

    def grad(self, dy: Any, x: Any, key_counter: Any, *, out: Any, **attrs: Any) -> Any:
        return apply("dropout", dy, key_counter, **attrs), None

    def lower(
        self,
        ir: Builder,
        at: Sequence[Expr],
        x: View,
        key_counter: View,
        *,
        rate: float,
        noise_shape: Shape | None,
        offset: Size,
    ) -> Expr:
        shape, where = x.shape, list(at)
        if noise_shape is not None:
            shape = noise_shape
            where = [ir.const(0) if n == 1 else i for n, i in zip(noise_shape, at, strict=True)]
        uniform = _unit(ir, _element_bits(ir, key_counter, offset, ravel(ir, where, shape)))
        return ir.select(uniform >= rate, x.at(*at) * (1.0 / (1.0 - rate)), ir.const(0.0))

    def cases(self) -> Iterator[Case]:
        key_counter = np.array([11, 12, 13, 0], np.uint32)
        x = np.random.default_rng(8).standard_normal((4, 3, 5))
        yield case(x, key_counter, rate=0.4, noise_shape=None, offset=0)
        yield case(x, key_counter, rate=0.5, noise_shape=(4, 1, 5), offset=2)
        yield case(x[0, 0], key_counter, rate=0.0, noise_shape=None, offset=0)
        yield case(x[:0], key_counter, rate=0.3, noise_shape=None, offset=0)
