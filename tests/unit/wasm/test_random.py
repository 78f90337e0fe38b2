"""Random kernels: emitted code equals the interpreter. A failure prints its seed; `build(seed)` makes the kernel
again.
"""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("wasmtime", reason="needs wasmtime")
from tideflow.kernel.ir import BOOL, F32, I32, Buffer, Builder, Store
from tideflow.shapes import symbol
from wasm_runner import check, close

SIZE = 4096
BATCH = symbol("batch")


class Maker:
    """Grows expressions at random over some axes."""

    def __init__(self, rng):
        self.rng, self.ir = rng, Builder()

    def pick(self, *choices):
        return choices[self.rng.integers(len(choices))]

    def index(self, at):
        """An index that stays inside a buffer of SIZE elements."""
        ir, total = self.ir, self.ir.const(0)
        for a in at:
            term = self.pick(
                a, a, a * int(self.rng.integers(1, 40)), a % self.pick(3, 4, 8), a // self.pick(2, 4, 5), a * -1 + 100
            )
            total = total + term
        if self.rng.random() < 0.1:
            total = total + ir.call("clamp", ir.load(2, I32, ir.call("clamp", total, 0, SIZE - 1)), 0, 50)
        return total

    def load(self, at):
        ir, index = self.ir, self.index(at)
        if self.rng.random() < 0.3 and at:
            edge = self.pick(*at)
            with ir.guard((edge >= 1) & (index >= 0) & (index < SIZE - int(self.rng.integers(0, 200)))):
                return ir.load(self.pick(0, 1), F32, index)
        return ir.load(self.pick(0, 1), F32, ir.call("clamp", index, 0, SIZE - 1) if not self.safe(index) else index)

    def safe(self, index):
        return index.lo is not None and index.lo >= 0 and index.hi is not None and index.hi < SIZE

    def value(self, at, depth, folds):
        ir, rng = self.ir, self.rng
        if depth == 0 or rng.random() < 0.12:
            return self.pick(
                lambda: self.load(at),
                lambda: self.load(at),
                lambda: ir.const(float(rng.normal())),
                lambda: ir.cast(self.index(at), F32),
            )()
        kind = rng.integers(0, 10)
        if kind < 4:
            return ir.binary(
                self.pick("add", "sub", "mul", "max", "min"),
                self.value(at, depth - 1, folds),
                self.value(at, depth - 1, folds),
            )
        if kind == 4:
            return ir.select(
                self.condition(at, depth - 1, folds), self.value(at, depth - 1, folds), self.value(at, depth - 1, folds)
            )
        if kind == 5:
            return ir.unary(self.pick("neg", "abs"), self.value(at, depth - 1, folds))
        if kind == 6:
            return ir.call("tanh", self.value(at, depth - 1, folds))
        if kind >= 8 and folds:
            return self.fold(at, depth, folds)
        return self.load(at)

    def condition(self, at, depth, folds):
        a, b = self.load(at), self.load(at)  # values that are computed may differ in the last bit, and flip it
        return self.pick(lambda: a < b, lambda: a.eq(b), lambda: self.ir.binary("and", a >= 0.0, b < 1.0))()

    def fold(self, at, depth, folds):
        ir, rng = self.ir, self.rng
        extents = [self.pick(1, 3, 5, 8, 9, 17, BATCH) for _ in range(rng.integers(1, 3))]
        if rng.random() < 0.2:
            (result,) = ir.fold(
                extents[:1],
                lambda *inner: [("custom", inner[1] * 0.5 + self.value([*at, inner[0]], depth - 1, folds - 1))],
                [self.value(at, 1, 0)],
            )
            return result
        combine = self.pick("sum", "max", "min")
        return ir.reduce(combine, extents, lambda *inner: self.value([*at, *inner], depth - 1, folds - 1))


def build(seed):
    """A kernel and the arrays it runs on."""
    rng = np.random.default_rng(seed)
    maker = Maker(rng)
    ir = maker.ir
    extents = [maker.pick(1, 2, 3, 4, 5, 8, 13, 16, BATCH) for _ in range(rng.integers(0, 4))]
    axes = [ir.new_axis(e) for e in extents]
    at = [ir.axis(a) for a in axes]
    position = ir.const(0)
    for a, x in zip(axes, at, strict=True):
        position = position * ir.size(a.extent) + x
    stores, buffers = [], [Buffer("x", F32), Buffer("y", F32), Buffer("i", I32)]
    for _ in range(rng.integers(1, 4)):
        number = len(buffers)
        kind = rng.integers(0, 6)
        if kind == 0:
            loop = ir.new_axis(maker.pick(3, 8, 11))
            inner = ir.axis(loop)
            stores.append(Store(number, position * loop.extent + inner, maker.value([*at, inner], 3, 1), None, (loop,)))
            buffers.append(Buffer(f"o{number}", F32, True))
        elif kind == 1:
            value = maker.condition(at, 2, 1)
            stores.append(Store(number, position, value if value.dtype == BOOL else value < 0.0))
            buffers.append(Buffer(f"o{number}", "u32", True))
        else:
            valid = maker.condition(at, 1, 0) if kind == 2 else None
            stores.append(Store(number, position * (2 if kind == 3 else 1), maker.value(at, 4, 2), valid))
            buffers.append(Buffer(f"o{number}", F32, True))
    arrays = [
        rng.standard_normal(SIZE).astype(np.float32),
        rng.standard_normal(SIZE).astype(np.float32),
        rng.integers(-20, 70, SIZE).astype(np.int32),
    ]
    arrays += [np.zeros(40000, np.uint32 if b.dtype == "u32" else np.float32) for b in buffers[3:]]
    return close(f"random {seed}", axes, stores, buffers), arrays


@pytest.mark.parametrize("seed", range(60))
def test_random_kernel(seed):
    kernel, arrays = build(seed)
    for batch in (0, 1, 6):
        check(kernel, arrays, {"batch": batch}, rtol=2e-4, atol=2e-4)


def layout(rng, at, extents):
    """A linear index with the axes in a random order of memory."""
    index, factor = at[0].ir.const(0), 1
    for p in rng.permutation(len(at)):
        index, factor = index + at[p] * factor, factor * extents[p]
    return index


def build_contraction(seed):
    """sum over some axes of a * b, each over its own mix of axes, with guards, a prologue and an epilogue."""
    rng = np.random.default_rng(seed)
    ir = Builder()

    def extent():
        return int(rng.choice([1, 2, 3, 4, 5, 7, 8, 12]))

    sides = [rng.choice(["a", "b", "both"], p=[0.45, 0.45, 0.1]) for _ in range(rng.integers(2, 4))]
    sides[:2] = ["a", "b"] if rng.random() < 0.8 else ["b", "a"]
    extents = [extent() for _ in sides]
    batch = int(rng.integers(0, len(sides) + 3))
    axes = [ir.new_axis(BATCH if i == batch else e) for i, e in enumerate(extents)]
    at = [ir.axis(a) for a in axes]
    inner = [extent() for _ in range(rng.integers(1, 3))]
    symbolic_k = batch == len(sides)
    shifted = rng.random() < 0.5

    def factor(buffer, side, ks):
        own = [i for i, s in enumerate(sides) if s in (side, "both")]
        index = layout(
            np.random.default_rng(seed + buffer), [at[i] for i in own] + list(ks), [extents[i] for i in own] + inner
        )
        if shifted and buffer == 0:
            with ir.guard((index >= 3) & (ks[-1] * 2 + at[own[-1]] >= 1)):
                return ir.load(buffer, F32, index - 3) * 0.5
        return ir.load(buffer, F32, index)

    def body(*ks):
        b = factor(1, "b", ks)
        return [("sum", factor(0, "a", ks) * b)] + ([("sum", b)] if seed % 3 == 0 else [])

    results = ir.fold([BATCH, *inner[1:]] if symbolic_k else inner, body)
    position = layout(rng, at, extents)
    buffers = [Buffer("a", F32), Buffer("b", F32), Buffer("c", F32, True), Buffer("d", F32, True)]
    stores = [Store(2, position, ir.call("max", results[0] + ir.load(0, F32, at[-1]), -1.0))]
    if len(results) > 1:
        first = None
        for i, side in enumerate(sides):
            if side == "a":
                first = at[i].eq(0) if first is None else first & at[i].eq(0)
        others = [i for i, s in enumerate(sides) if s != "a"]
        stores.append(
            Store(
                3,
                layout(np.random.default_rng(0), [at[i] for i in others], [extents[i] for i in others]),
                results[1],
                first,
            )
        )
    arrays = [rng.standard_normal(70000).astype(np.float32) for _ in range(2)] + [
        np.zeros(200000, np.float32) for _ in range(2)
    ]
    return (
        close(f"contraction {seed}", axes, stores, buffers),
        arrays,
        extents[batch] if batch < len(sides) else inner[0],
    )


@pytest.mark.parametrize("seed", range(40))
def test_random_contraction(seed, monkeypatch):
    monkeypatch.setattr("tideflow.wasm.gemm._MIN_WORK", 1)
    kernel, arrays, largest = build_contraction(seed)
    for batch in (
        {0, 1, largest} if len(kernel.stores) == 1 else {1, largest}
    ):  # sums beside are made even if no axis has a point
        check(kernel, arrays, {"batch": batch}, rtol=1e-3, atol=1e-3)
