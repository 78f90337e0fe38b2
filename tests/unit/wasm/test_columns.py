"""Sums of columns that are read row by row: the same numbers added in the same order."""

from __future__ import annotations

import numpy as np
import pytest
from tideflow.kernel.ir import F32, Buffer, Builder, Kernel, Store
from tideflow.shapes import symbol

pytest.importorskip("wasmtime", reason="needs wasmtime")
from tideflow.wasm import columns, share
from tideflow.wasm.columns import down_columns
from wasm_runner import Instance, axes_of, check, close, run_wasm

ROWS = symbol("rows")


@pytest.fixture(autouse=True)
def small_ones_too(monkeypatch):
    monkeypatch.setattr(columns, "_WORTH", 0)
    monkeypatch.setattr(columns, "_FEWEST", 2)
    monkeypatch.setattr(share, "_LEAST", 0)


def normal(*shape):
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


def buffers(*names: str) -> list[Buffer]:
    """x is read, the others are written."""
    return [Buffer(n, F32, n != "x") for n in names]


def sums(rows, width: int, factor: float = 1.0) -> Kernel:
    """The sum over the rows, times a factor."""
    ir = Builder()
    axes, (c,) = axes_of(ir, width)
    total = ir.sum([rows], lambda r: ir.load(0, F32, r * width + c))
    return close("sums", axes, [Store(1, c, total * factor)], buffers("x", "y"))


def moments(rows: int, width: int) -> Kernel:
    """Variance and mean of columns: one sum needs the other."""
    ir = Builder()
    axes, (c,) = axes_of(ir, width)

    def x(r):
        return ir.load(0, F32, r * width + c)

    mean = ir.sum([rows], x) / float(rows)
    variance = ir.sum([rows], lambda r: (x(r) - mean) * (x(r) - mean)) / float(rows)
    return close("moments", axes, [Store(1, c, variance), Store(2, c, mean)], buffers("x", "v", "m"))


def pooled(batch: int, height: int, width: int, channels: int, over: str) -> Kernel:
    """The sum over the pixels of each image, or over the images."""
    ir = Builder()
    image = over == "images"
    axes, at = axes_of(ir, *((height, width) if image else (batch,)), channels)

    def x(n, i, j):
        return ir.load(0, F32, ((n * height + i) * width + j) * channels + at[-1])

    if image:
        total = ir.sum([batch], lambda n: x(n, at[0], at[1]))
        index = (at[0] * width + at[1]) * channels + at[2]
    else:
        total = ir.sum([height, width], lambda i, j: x(at[0], i, j))
        index = at[0] * channels + at[1]
    return close("pooled", axes, [Store(1, index, total)], buffers("x", "y"))


def passes_of(kernel: Kernel):
    found = down_columns(kernel.axes, kernel.stores)
    assert found is not None
    return found[1]


@pytest.mark.parametrize("width", [17, 24, 130])
@pytest.mark.parametrize("rows", [2, 7, 8, 9, 28, 50, 61])
def test_sums_have_the_bits_of_adding_row_after_row(rows, width):
    kernel, x = sums(rows, width), normal(rows, width)
    passes_of(kernel)
    made = run_wasm(kernel, [x, np.full(width, 7, np.float32)])[1]
    np.testing.assert_array_equal(made, np.add.accumulate(x, axis=0)[-1])


@pytest.mark.parametrize("rows", [0, 1, 7, 8, 9, 50])
def test_sums_of_as_many_rows_as_there_are(rows):
    kernel, x = sums(ROWS, 33, 0.5), normal(rows, 33)
    passes_of(kernel)
    check(kernel, [x, np.full(33, 7, np.float32)], {"rows": rows})


def test_numbers_that_are_not_finite_stay_in_their_columns():
    x = normal(40, 36)
    x[3, 1], x[4, 2], x[5, 2], x[6, 3], x[:, 4] = np.nan, np.inf, -np.inf, np.inf, -0.0
    with np.errstate(invalid="ignore"):
        expected = np.float32(0) + np.add.accumulate(x, axis=0)[-1]
    made = run_wasm(sums(40, 36), [x, np.zeros(36, np.float32)])[1]
    np.testing.assert_array_equal(made, expected)
    assert not np.signbit(made[4])


@pytest.mark.parametrize("rows", [5, 32, 43])
def test_a_sum_may_need_another_of_the_same_column(rows):
    kernel = moments(rows, 40)
    passes = passes_of(kernel)
    assert [s.buffer for p in passes for s in p.stores if not p.stores[0].value.args] == [2, 1]     # zeros: mean first
    check(kernel, [normal(rows, 40) + 3, *np.zeros((2, 40), np.float32)], rtol=1e-5)


@pytest.mark.parametrize("over", ["pixels", "images"])
def test_several_axes_are_walked_as_they_lie(over):
    kernel = pooled(6, 5, 14, 20, over)
    adding = next(p for p in passes_of(kernel) if len(p.axes) > len(kernel.axes))
    assert adding.axes[-1].extent == 20
    if over == "images":
        assert adding.axes[1:] == kernel.axes      # groups of images outermost
    shape = (5, 14, 20) if over == "images" else (6, 20)
    check(kernel, [normal(6, 5, 14, 20), np.zeros(shape, np.float32)], rtol=1e-5, atol=1e-5)


def test_sums_with_the_same_rows_read_them_together():
    ir = Builder()
    axes, (c,) = axes_of(ir, 32)

    def x(r):
        return ir.load(0, F32, r * 32 + c)

    total = ir.sum([24], x)
    squares = ir.sum([24], lambda r: x(r) * x(r))
    kernel = close("both", axes, [Store(1, c, total), Store(2, c, squares)], buffers("x", "y", "z"))
    (adding,) = [p for p in passes_of(kernel) if len(p.axes) > 1]
    assert len(adding.stores) == 2
    check(kernel, [normal(24, 32), *np.zeros((2, 32), np.float32)], rtol=1e-5)


def test_sums_into_what_is_read_stay_loops():
    ir = Builder()
    axes, (c,) = axes_of(ir, 64)
    total = ir.sum([64], lambda r: ir.load(0, F32, r * 64 + c))
    kernel = close("in place", axes, [Store(1, c, total + ir.load(1, F32, c))], buffers("x", "y"))
    assert down_columns(kernel.axes, kernel.stores) is None
    check(kernel, [normal(64, 64), normal(64)], rtol=1e-5, atol=1e-5)


def test_few_columns_stay_loops():
    kernel = sums(200, 16)
    assert down_columns(kernel.axes, kernel.stores) is None


@pytest.mark.parametrize("shares", [1, 2, 5])
@pytest.mark.parametrize("kernel", [sums(41, 133), moments(41, 133)], ids=["sums", "moments"])
def test_shares_make_the_bits_of_the_whole(kernel, shares):
    arrays = [normal(41, 133), *np.zeros((len(kernel.buffers) - 1, 133), np.float32)]
    whole, shared = (Instance([kernel], [arrays]) for _ in range(2))
    assert whole.run() == 1
    for number in range(shares):
        shared.instance.exports(shared.store)["part"](shared.store, shared.table, 0, 1, number, shares)
    shared.check_guards()
    for i, array in enumerate(arrays):
        assert shared.read(0, i, array).tobytes() == whole.read(0, i, array).tobytes()
