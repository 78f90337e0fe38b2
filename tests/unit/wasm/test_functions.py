"""What the cheap functions and the vectors of smallest and largest values promise beyond their accuracy."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("wasmtime", reason="needs wasmtime")
from tideflow.kernel.ir import F32, Buffer, Builder, Store
from wasm_runner import axes_of, check, close, run_wasm


def compute(name, x):
    ir = Builder()
    axes, (i,) = axes_of(ir, x.size)
    store = Store(1, i, ir.call(name, ir.load(0, F32, i)))
    return run_wasm(close(name, axes, [store], [Buffer("x", F32), Buffer("o", F32, True)]), [x, np.zeros_like(x)])[-1]


def test_exp_covers_exactly_the_normal_numbers():
    lowest, highest = np.float32(-87.33654), np.float32(88.72283)
    x = np.array([-np.inf, -1e30, -105, -88, lowest, -87.3, 0, 88.7, highest, 88.73, 90, 1e30, np.inf], np.float32)
    y = compute("exp", x)
    np.testing.assert_array_equal(y[:4], 0)
    np.testing.assert_array_equal(y[9:], np.inf)
    assert y[6] == 1
    np.testing.assert_allclose(y[4:9], np.exp(x[4:9].astype(np.float64)), rtol=3e-7)


@pytest.mark.parametrize("name, limit", [("tanh", 1.0), ("erf", 1.0), ("sigmoid", 1.0)])
def test_results_stay_in_range(name, limit):
    x = np.concatenate([np.linspace(-20, 20, 60001), [np.inf, -np.inf, 3e38]]).astype(np.float32)
    y = compute(name, x)
    assert np.abs(y).max() == limit
    np.testing.assert_array_equal(y[-3:], [1, 0 if name == "sigmoid" else -1, 1])


@pytest.mark.parametrize("name", ["exp", "tanh", "erf", "sigmoid"])
def test_every_nan_stays_one(name):
    bits = np.array([0x7FC00000, 0xFFC00000, 0x7F800001, 0x7FFFFFFF, 0xFFFFFFFF, 0x7FC00123] * 4, np.uint32)
    assert np.isnan(compute(name, bits.view(np.float32))).all()


@pytest.mark.parametrize("over_rows", [False, True])
@pytest.mark.parametrize("combine", ["min", "max"])
@pytest.mark.parametrize("rows, columns", [(9, 37), (40, 5), (3, 64)])
def test_a_nan_reaches_its_own_extreme_only(combine, rows, columns, over_rows):
    ir = Builder()
    axes, (i,) = axes_of(ir, columns if over_rows else rows)
    count = rows if over_rows else columns
    value = ir.reduce(combine, [count], lambda k: ir.load(0, F32, k * columns + i if over_rows else i * columns + k))
    kernel = close(combine, axes, [Store(1, i, value)], [Buffer("x", F32), Buffer("o", F32, True)])
    x = np.random.default_rng(rows).standard_normal((rows, columns)).astype(np.float32)
    x[rows // 2, columns // 3] = np.nan
    x[0, -1], x[-1, 0] = np.inf, -np.inf
    check(kernel, [x, np.zeros(columns if over_rows else rows, np.float32)])


@pytest.mark.parametrize("columns", [16, 39])
def test_softmax_of_rows_with_nan_and_infinities(columns):
    ir = Builder()
    axes, (r,) = axes_of(ir, 5)
    loop = ir.new_axis(columns)
    top = ir.reduce("max", [columns], lambda j: ir.load(0, F32, r * columns + j))
    total = ir.sum([columns], lambda j: ir.call("exp", ir.load(0, F32, r * columns + j) - top))
    at = r * columns + ir.axis(loop)
    store = Store(1, at, ir.call("exp", ir.load(0, F32, at) - top) / total, None, (loop,))
    kernel = close("softmax", axes, [store], [Buffer("x", F32), Buffer("o", F32, True)])
    x = np.random.default_rng(columns).standard_normal((5, columns)).astype(np.float32) * 30
    x[1, 3], x[2, columns - 1], x[3] = np.nan, -np.inf, -np.inf
    with np.errstate(invalid="ignore"):
        check(kernel, [x, np.zeros_like(x)], rtol=1e-6, atol=1e-37)
