"""Philox 4x32-10, the counter-based generator of TensorFlow: in numpy, and as kernel IR. Bit-equal on every device.

A block is four 32-bit words made from a 64-bit key and a 128-bit counter. Nothing is carried from one block to the
next, so each element of a draw is computed where it is needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .ir import U32, Builder, Expr

__all__ = ["philox4x32", "philox_blocks", "philox_numpy"]

ROUNDS = 10
MULTIPLIER_0, MULTIPLIER_1 = 0xD2511F53, 0xCD9E8D57
WEYL_0, WEYL_1 = 0x9E3779B9, 0xBB67AE85
MASK = 0xFFFFFFFF
CHUNK = 1 << 13       # blocks at a time: the eight arrays of a chunk fit into a second-level cache
FEW = 8               # so many blocks are made faster by Python's integers than by numpy's arrays


def philox4x32(ir: Builder, key: Sequence[Expr], counter: Sequence[Expr]) -> tuple[Expr, Expr, Expr, Expr]:
    """The four words of the block at a counter (four u32, low word first) under a key (two u32)."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    m0, m1 = ir.const(MULTIPLIER_0, U32), ir.const(MULTIPLIER_1, U32)
    for number in range(ROUNDS):
        if number:
            k0, k1 = k0 + ir.const(WEYL_0, U32), k1 + ir.const(WEYL_1, U32)
        high0, high1 = ir.binary("mulhi", c0, m0), ir.binary("mulhi", c2, m1)
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, c2 * m1, high0 ^ c3 ^ k1, c0 * m0
    return c0, c1, c2, c3


def philox_numpy(key: tuple[int, int], counter: Sequence[Any]) -> np.ndarray[Any, Any]:
    """The blocks of many counters: four arrays (or ints) of 32-bit words, broadcast to [n]; uint32 of shape [n, 4]."""
    n = np.broadcast(*counter).shape
    c0, c1, c2, c3 = (np.array(np.broadcast_to(np.asarray(c, np.uint64), n)) for c in counter)
    k0, k1 = int(key[0]), int(key[1])
    for _ in range(ROUNDS):
        c0 *= np.uint64(MULTIPLIER_0)
        c2 *= np.uint64(MULTIPLIER_1)
        c1 ^= c2 >> np.uint64(32)
        c3 ^= c0 >> np.uint64(32)
        c1 ^= np.uint64(k0)
        c3 ^= np.uint64(k1)
        c0 &= np.uint64(MASK)
        c2 &= np.uint64(MASK)
        c0, c1, c2, c3 = c1, c2, c3, c0
        k0, k1 = (k0 + WEYL_0) & MASK, (k1 + WEYL_1) & MASK
    return np.stack([c0, c1, c2, c3], axis=-1).astype(np.uint32)


def philox_blocks(key: tuple[int, int], counter: int, steps: int | np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The blocks at `counter` (128 bits) plus each of `steps` (a number n means 0 .. n-1); uint32, [len(steps), 4]."""
    if isinstance(steps, int) and steps <= FEW:
        return np.array([_block(key, counter + i) for i in range(steps)], np.uint32).reshape(steps, 4)
    steps = np.arange(steps, dtype=np.uint64) if isinstance(steps, int) else np.asarray(steps, np.uint64)
    low, high = np.uint64(counter & (1 << 64) - 1), np.uint64(counter >> 64 & (1 << 64) - 1)
    made = np.empty((len(steps), 4), np.uint32)
    for start in range(0, len(steps), CHUNK):
        lower = steps[start : start + CHUNK] + low                                # wraps; arrays do so silently
        upper = np.full(lower.shape, high) + (lower < low).astype(np.uint64)
        words = (lower & np.uint64(MASK), lower >> np.uint64(32), upper & np.uint64(MASK), upper >> np.uint64(32))
        made[start : start + CHUNK] = philox_numpy(key, words)
    return made


def _block(key: tuple[int, int], counter: int) -> tuple[int, int, int, int]:
    """One block, by Python's integers."""
    c0, c1, c2, c3 = (counter >> shift & MASK for shift in (0, 32, 64, 96))
    k0, k1 = int(key[0]), int(key[1])
    for _ in range(ROUNDS):
        first, second = c0 * MULTIPLIER_0, c2 * MULTIPLIER_1
        c0, c1, c2, c3 = second >> 32 ^ c1 ^ k0, second & MASK, first >> 32 ^ c3 ^ k1, first & MASK
        k0, k1 = (k0 + WEYL_0) & MASK, (k1 + WEYL_1) & MASK
    return c0, c1, c2, c3
