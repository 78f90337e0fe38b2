"""Loops cut where conditions change: the same results, without the conditions."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("wasmtime", reason="needs wasmtime")
from tideflow.kernel.ir import F32, Buffer, Builder, Store, store_roots, walk
from tideflow.shapes import symbol
from tideflow.wasm.ranges import cut_ranges, unroll_remainders
from wasm_runner import axes_of, check, close

BATCH = symbol("batch")


def normal(*shape):
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


def depthwise(batch, height, width, channels):
    """3x3, padding SAME, the window written out as the emitter does."""
    ir = Builder()
    axes, (n, y, x, c) = axes_of(ir, batch, height, width, channels)

    def tap(kh, kw):
        row, column = y + (kh - 1), x + (kw - 1)
        with ir.guard((row >= 0) & (row < height) & (column >= 0) & (column < width)):
            patch = ir.load(0, F32, ((n * height + row) * width + column) * channels + c)
        return patch * ir.load(1, F32, (kh * 3 + kw) * channels + c)

    total = tap(0, 0)
    for i in range(1, 9):
        total = total + tap(i // 3, i % 3)
    index = ((n * height + y) * width + x) * channels + c
    return close("depthwise", axes, [Store(2, index, total)], [Buffer(b, F32, b == "o") for b in "xwo"])


def gates(rows, units):
    """Four tensors side by side in one, as the gradient of an LSTM's gates."""
    ir = Builder()
    axes, (r, i) = axes_of(ir, rows, 4 * units)
    value = ir.const(0.0)
    for gate in range(4):
        inside = (i >= gate * units) & (i < (gate + 1) * units)
        with ir.guard(inside):
            part = ir.load(gate, F32, r * units + i - gate * units)
        value = value + ir.select(inside, part * (gate + 2.0), ir.const(0.0))
    buffers = [Buffer(f"x{q}", F32) for q in range(4)] + [Buffer("o", F32, True)]
    return close("gates", axes, [Store(4, r * (4 * units) + i, value)], buffers)


def guards(stores):
    return sum(x.op == "load" and len(x.args) > 1 for x in walk(store_roots(list(stores))))


@pytest.mark.parametrize("shape", [(3, 28, 30, 8), (1, 40, 3, 70), (2, 2, 50, 96), (1, 1, 1, 9000), (5, 41, 43, 1)])
def test_depthwise_convolution_equals_interpreter(shape):
    n, h, w, c = shape
    arrays = [normal(n, h, w, c), normal(3, 3, c), np.zeros(shape, np.float32)]
    check(depthwise(n, h, w, c), arrays, rtol=1e-5)


@pytest.mark.parametrize("batch", [0, 1, 7])
def test_depthwise_convolution_of_a_symbolic_batch(batch):
    arrays = [normal(batch, 20, 18, 12), normal(3, 3, 12), np.zeros((batch, 20, 18, 12), np.float32)]
    check(depthwise(BATCH, 20, 18, 12), arrays, {"batch": batch}, rtol=1e-5)


@pytest.mark.parametrize("units", [64, 17])
@pytest.mark.parametrize("rows", [1, 6])
def test_gates_equal_interpreter(units, rows):
    arrays = [normal(rows, units) + q for q in range(4)] + [np.zeros((rows, 4 * units), np.float32)]
    check(gates(BATCH, units), arrays, {"batch": rows})


def test_the_middle_of_an_image_has_no_guards():
    kernel = depthwise(4, 28, 28, 64)
    parts = cut_ranges(kernel.axes, kernel.stores)
    assert len(parts) == 5
    points = [np.prod([a.extent for a in axes]) for axes, _ in parts]
    assert sum(points) == 4 * 28 * 28 * 64
    middle = [stores for axes, stores in parts if [a.extent for a in axes[1:3]] == [26, 26]]
    assert [guards(stores) for stores in middle] == [0]


def test_each_gate_reads_its_own_tensor_only():
    kernel = gates(BATCH, 64)
    parts = cut_ranges(kernel.axes, kernel.stores)
    assert [axes[1].extent for axes, _ in parts] == [64] * 4
    for gate, (_, stores) in enumerate(parts):
        assert guards(stores) == 0
        assert {x.attr for x in walk(store_roots(stores)) if x.op == "load"} == {gate}


def test_small_kernels_stay_whole():
    kernel = depthwise(1, 6, 6, 8)
    assert len(cut_ranges(kernel.axes, kernel.stores)) == 1


def pool_gradient(batch, height, width, channels):
    """Of 2x2 windows: dy where the window's first largest element stands, as the lowering of max_pool writes it."""
    ir = Builder()
    axes, (n, y, x, c) = axes_of(ir, batch, height, width, channels)

    def pooled(buffer):
        return ir.load(buffer, F32, ((n * (height // 2) + y // 2) * (width // 2) + x // 2) * channels + c)

    first = ir.const(4)
    for i in range(3, -1, -1):
        at = ((n * height + y // 2 * 2 + i // 2) * width + x // 2 * 2 + i % 2) * channels + c
        first = ir.select(ir.load(0, F32, at) >= pooled(1), ir.const(i), first)
    value = ir.select(first.eq(y % 2 * 2 + x % 2), pooled(2), ir.const(0.0))
    index = ((n * height + y) * width + x) * channels + c
    return close("pool gradient", axes, [Store(3, index, value)], [Buffer(b, F32, b == "o") for b in "xydo"])


@pytest.mark.parametrize("shape", [(25, 26, 26, 16), (60, 30, 50, 3), (16, 4, 128, 33), (BATCH, 12, 24, 32)])
def test_pool_gradient_equals_interpreter(shape):
    batch, h, w, c = shape
    n = batch if isinstance(batch, int) else 3
    x = np.round(normal(n, h, w, c))
    y = x.reshape(n, h // 2, 2, w // 2, 2, c).max((2, 4))
    check(pool_gradient(*shape), [x, y, normal(*y.shape), np.zeros_like(x)], {"batch": 3})


def test_a_window_is_searched_once_for_its_elements():
    kernel = pool_gradient(25, 26, 26, 16)
    axes, stores = unroll_remainders(kernel.axes, kernel.stores)
    assert [a.extent for a in axes] == [25, 13, 13, 16]
    assert len(stores) == 4
    assert sum(x.op == "load" for x in walk(store_roots(stores))) == 6
