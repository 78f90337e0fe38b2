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


def exp_above(rows, columns, same, over_rows=False):
    """o[i, j] = exp(x[i, j] - max of x[i, k] over k), or y[i, j] for the first x; `over_rows`: x[j, i] and x[k, i]."""
    ir = Builder()
    axes, (i,) = axes_of(ir, columns if over_rows else rows)
    loop = ir.new_axis(rows if over_rows else columns)

    def at(k):
        return k * columns + i if over_rows else i * columns + k

    top = ir.reduce("max", [loop.extent], lambda k: ir.load(0, F32, at(k)))
    j = ir.axis(loop)
    store = Store(2, at(j), ir.call("exp", ir.load(0 if same else 1, F32, at(j)) - top), None, (loop,))
    return close("exp", axes, [store], [Buffer("x", F32), Buffer("y", F32), Buffer("o", F32, True)])


@pytest.mark.parametrize("over_rows", [False, True])
def test_exp_of_what_is_below_its_maximum(over_rows):
    """0 and the smallest normal number are exact ends; NaN and infinities are those of exp."""
    x = np.concatenate([np.linspace(-88.5, 0, 1989), [-np.inf, -87.33654, -1e30, -0.0, -1e-30]]).astype(np.float32)
    x = np.stack([x, np.where(np.arange(x.size) == 5, np.inf, x), np.where(np.arange(x.size) == 7, np.nan, x)])
    given = np.ascontiguousarray(x.T if over_rows else x)
    kernel = exp_above(*given.shape, True, over_rows)
    made = run_wasm(kernel, [given, np.zeros_like(given), np.zeros_like(given)])[2]
    found = made.T if over_rows else made
    assert np.isnan(found[2]).all() and np.isnan(found[1, 5]) and not np.delete(found[1], 5).any()
    wanted = np.exp(x[0].astype(np.float64))
    normal = wanted >= 2.0**-126
    np.testing.assert_allclose(found[0][normal], wanted[normal], rtol=3e-7)
    assert (found[0][~normal] < 2.0**-126).all() and (found[0][-2:] == 1).all()


def test_exp_of_what_may_be_above_a_maximum_of_others():
    """Numbers that the maximum was not taken over may be larger than it."""
    x, y = np.zeros((3, 64), np.float32), np.full((3, 64), 88.0, np.float32)
    made = run_wasm(exp_above(3, 64, False), [x, y, np.zeros_like(x)])[2]
    np.testing.assert_allclose(made, np.exp(np.float64(88)), rtol=3e-7)
