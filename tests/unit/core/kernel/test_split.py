"""Splitting of long reductions: the two kernels together do what the one did, for static and symbolic sizes."""

from __future__ import annotations

import numpy as np
import pytest
from tideflow.kernel.interpret import run_kernel
from tideflow.kernel.ir import F32, Axis, Buffer, Builder, Kernel, Scalar, Store
from tideflow.kernel.split import Scratch, should_split, split_reduction
from tideflow.shapes import Size, evaluate, symbol

BATCH = symbol("batch", 1, 4096)


def make(extents, buffers, body, scalars=()):
    ir = Builder()
    axes = tuple(Axis(f"p{i}", e) for i, e in enumerate(extents))
    made = body(ir, *map(ir.axis, axes))
    stores = tuple(Store(b, ir.lift(i, "i32"), v, *valid) for b, i, v, *valid in made)
    written = {s.buffer for s in stores}
    made_buffers = tuple(Buffer(f"b{i}", F32, i in written) for i in range(buffers))
    return Kernel("k", axes, stores, made_buffers, (BATCH,), scalars)


def loss(n: Size):
    def body(ir):
        total = ir.sum([n], lambda i: ir.load(0, F32, i) * ir.load(0, F32, i))
        return [(1, 0, total * ir.scalar("scale", F32) + ir.load(2, F32, ir.const(0)))]

    return make([], 3, body, (Scalar("unused", F32), Scalar("scale", F32)))


def statistics(ir, c):
    def x(n, s):
        return ir.load(0, F32, (n * 9 + s) * 6 + c)

    total = ir.sum([BATCH, 9], x)
    squares = ir.sum([BATCH, 9], lambda n, s: x(n, s) * x(n, s))
    top, low = ir.reduce("max", [BATCH, 9], x), ir.reduce("min", [BATCH, 9], x)
    return [(1, c, total), (2, c, squares - total), (3, c, top - low)]


def filter_gradient(ir, ky, ci, co):
    def dy(n, y):
        return ir.load(1, F32, (n * 8 + y) * 5 + co)

    def product(n, y):
        row = y + ky - 1
        with ir.guard((row >= 0) & (row < 8)):
            return ir.load(0, F32, (n * 8 + row) * 4 + ci) * dy(n, y)

    first = ky.eq(ir.const(0)) & ci.eq(ir.const(0))
    return [(2, (ky * 4 + ci) * 5 + co, ir.sum([BATCH, 8], product)), (3, co, ir.sum([BATCH, 8], dy), first)]


KERNELS = {
    "loss": (lambda: loss(BATCH), [(None,), (1,), (1,)]),
    "loss_static": (lambda: loss(130), [(130,), (1,), (1,)]),
    "loss_even": (lambda: loss(128), [(128,), (1,), (1,)]),
    "statistics": (lambda: make([6], 4, statistics), [(None, 54), (6,), (6,), (6,)]),
    "filter_gradient": (lambda: make([3, 4, 5], 4, filter_gradient), [(None, 32), (None, 40), (60,), (5,)]),
}


@pytest.mark.parametrize("chunks", [2, 7, 64])
@pytest.mark.parametrize("batch", [1, 3, 64, 65])
@pytest.mark.parametrize("name", KERNELS)
def test_split_equals_the_whole(name, batch, chunks):
    made, shapes = KERNELS[name]
    kernel = made()
    rng = np.random.default_rng(1)
    arrays = [rng.standard_normal([batch if d is None else d for d in s]).astype(np.float32) for s in shapes]
    sizes, scalars = {"batch": batch}, {"scale": 0.5, "unused": 1.0}
    whole = [a.copy() for a in arrays]
    run_kernel(kernel, whole, sizes, scalars)

    split = split_reduction(kernel, chunks)
    scratch = {
        p: np.full(evaluate(p.elements, sizes), np.nan, np.float32)
        for p in split.first_places
        if isinstance(p, Scratch)
    }
    for part, places in ((split.first, split.first_places), (split.second, split.second_places)):
        run_kernel(part, [scratch[p] if isinstance(p, Scratch) else arrays[p] for p in places], sizes, scalars)
    for got, wanted in zip(arrays, whole, strict=True):
        np.testing.assert_allclose(got, wanted, rtol=2e-5, atol=2e-5)


def test_kernels_list_only_what_they_use():
    split = split_reduction(loss(BATCH), 4)
    assert split.first_places[0] == 0 and len(split.first_places) == 2
    assert split.second_places[:2] == (1, 2) and split.second_places[2] is split.first_places[1]
    assert [b.written for b in split.first.buffers] == [False, True]
    assert split.first.scalars == () and [s.key for s in split.second.scalars] == ["scale"]


def test_dependent_and_custom_folds_are_left_alone():
    def variance(ir):
        mean = ir.sum([1000], lambda i: ir.load(0, F32, i)) * 0.001
        return [(1, 0, ir.sum([1000], lambda i: (ir.load(0, F32, i) - mean) * (ir.load(0, F32, i) - mean)))]

    def first(ir):
        (best,) = ir.fold([1000], lambda i, b: (("custom", ir.binary("max", b, ir.load(0, F32, i))),), [ir.const(0.0)])
        return [(1, 0, best)]

    assert split_reduction(make([], 2, variance), 8) is None
    assert split_reduction(make([], 2, first), 8) is None


def test_policy_splits_few_points_with_long_folds_only():
    assert should_split(loss(1 << 16)) == 64
    assert should_split(loss(100)) is None
    assert should_split(loss(60 * 1000)) == 60  # of 33 to 64, the largest that leaves no rest
    wide = make([4096], 2, lambda ir, i: [(1, i, ir.sum([64], lambda k: ir.load(0, F32, k * 4096 + i)))])
    assert should_split(wide) is None
