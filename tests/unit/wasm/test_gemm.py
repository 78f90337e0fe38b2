"""Contractions: shapes that do not fit the tile, both orders of memory, symbolic sizes, side sums, several blocks."""

from __future__ import annotations

import kernel_samples as samples
import numpy as np
import pytest

pytest.importorskip("wasmtime", reason="needs wasmtime")
from tideflow.kernel.contract import find_contract
from tideflow.shapes import symbol
from tideflow.wasm import gemm
from tideflow.wasm.emit import workspace
from tideflow.wasm.percolumn import per_column
from wasm_runner import Instance, check, run_wasm

BATCH = symbol("batch")
TOLERANCE = {"rtol": 1e-4, "atol": 1e-4}


def normal(*shape):
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


def full(*shape):
    return np.full(shape, 7, np.float32)


@pytest.mark.parametrize("transpose_a", [False, True])
@pytest.mark.parametrize("transpose_b", [False, True])
@pytest.mark.parametrize(
    "m, k, n",
    [
        (1, 5, 3),
        (7, 33, 10),
        (64, 64, 64),
        (13, 300, 17),
        (20, 10, 64),
        (1, 784, 256),
        (100, 20, 1),
        (33, 1500, 40),
        (210, 6, 1100),
        (6, 33, 24),
        (7, 80, 8),
        (32, 64, 256),
        (12, 900, 40),
        (101, 20, 24),
    ],
)
def test_matmul(m, k, n, transpose_a, transpose_b):
    a, b = normal(k, m) if transpose_a else normal(m, k), normal(n, k) if transpose_b else normal(k, n)
    check(samples.matmul(m, k, n, transpose_a, transpose_b), [a, b, full(m, n)], **TOLERANCE)


@pytest.mark.parametrize("m, k, n", [(7, 33, 10), (64, 64, 64), (33, 1500, 40)])
def test_sums_beside_a_product(m, k, n):
    kernel = samples.matmul(m, k, n, transpose_a=True, side=True)
    check(kernel, [normal(k, m), normal(k, n), full(m, n), full(n)], **TOLERANCE)


@pytest.mark.parametrize("rows", [0, 1, 2, 3, 32, 64, 102, 203])
@pytest.mark.parametrize("transpose_a", [False, True])
def test_symbolic_rows(rows, transpose_a):
    kernel = samples.matmul(BATCH, 70, 33, transpose_a)
    assert workspace(kernel) != 0
    check(
        kernel,
        [normal(70, rows) if transpose_a else normal(rows, 70), normal(70, 33), full(rows, 33)],
        {"batch": rows},
        **TOLERANCE,
    )


@pytest.mark.parametrize("k", [0, 1, 5, 128, 700])
def test_symbolic_inner_size(k):
    kernel = samples.matmul(37, BATCH, 20, transpose_a=True, side=True)
    assert workspace(kernel) != 0
    check(kernel, [normal(k, 37), normal(k, 20), full(37, 20), full(20)], {"batch": k}, **TOLERANCE)


@pytest.mark.parametrize("columns", [0, 1, 30, 600])
def test_symbolic_columns(columns):
    kernel = samples.matmul(24, 40, BATCH)
    assert workspace(kernel) != 0
    check(kernel, [normal(24, 40), normal(40, columns), full(24, columns)], {"batch": columns}, **TOLERANCE)


@pytest.mark.parametrize("m, n", [(6, 8), (7, 24), (12, 33), (102, 40)])
def test_the_last_few_rows_have_the_bits_of_whole_tiles(m, n):
    a, b = normal(m + 4, 450), normal(450, n)
    few = run_wasm(samples.matmul(m, 450, n), [a[:m], b, full(m, n)])[2]
    many = run_wasm(samples.matmul(m + 4, 450, n), [a, b, full(m + 4, n)])[2]
    np.testing.assert_array_equal(few, many[:m])


def test_batches_with_a_prologue():
    kernel = samples.batched_matmul(3, 20, 16, 24)
    assert workspace(kernel) != 0
    check(kernel, [normal(3, 20, 16), normal(3, 16, 24), full(3, 20, 24)], **TOLERANCE)


CONVOLUTIONS = [(2, 5, 6, 3, 7), (1, 8, 8, 1, 32), (2, 4, 4, 8, 8), (3, 9, 7, 32, 12), (2, 5, 5, 100, 6)]


@pytest.mark.parametrize("n, h, w, i, o", CONVOLUTIONS)
def test_convolution_and_both_gradients(n, h, w, i, o):
    x, dy, f = normal(n, h, w, i), normal(n, h, w, o), normal(3, 3, i, o)
    check(samples.conv(n, h, w, i, o), [x, f, normal(o), full(n, h, w, o)], **TOLERANCE)
    check(samples.conv_filter_gradient(n, h, w, i, o), [x, dy, full(3, 3, i, o), full(o)], **TOLERANCE)
    check(samples.conv_input_gradient(n, h, w, i, o), [dy, f, full(n, h, w, i)], **TOLERANCE)


@pytest.mark.parametrize("n", [0, 1, 3])
def test_convolutions_over_a_symbolic_batch(n):
    h, w, i, o = 6, 5, 8, 12
    x, dy, f = normal(n, h, w, i), normal(n, h, w, o), normal(3, 3, i, o)
    for kernel, arrays in (
        (samples.conv(BATCH, h, w, i, o), [x, f, normal(o), full(n, h, w, o)]),
        (samples.conv_filter_gradient(BATCH, h, w, i, o), [x, dy, full(3, 3, i, o), full(o)]),
        (samples.conv_input_gradient(BATCH, h, w, i, o), [dy, f, full(n, h, w, i)]),
    ):
        assert workspace(kernel) != 0
        check(kernel, arrays, {"batch": n}, **TOLERANCE)


def test_small_products_stay_plain_loops():
    assert workspace(samples.matmul(1, 784, 256)) == 0
    assert workspace(samples.matmul(2, 3, 4)) == 0


def test_blocks_cover_the_inner_size():
    for k in (10, 384, 385, 784, 5000):
        cut = gemm.blocks(find_contract(samples.matmul(64, k, 64)))
        assert cut.count * cut.k >= k and cut.k <= 384


@pytest.mark.parametrize("batch", [1, 2, 7])
def test_patches_of_a_symbolic_batch_packed_together(batch):
    arrays = [normal(batch, 9, 10, 12), normal(3, 3, 12, 8), normal(8), np.zeros((batch, 9, 10, 8), np.float32)]
    check(samples.conv(BATCH, 9, 10, 12, 8), arrays, {"batch": batch}, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("channels", [8, 6])
def test_patches_packed_together(channels):
    result = np.zeros((31, 17, 19, 12), np.float32)
    arrays = [normal(31, 17, 19, channels), normal(3, 3, channels, 12), normal(12), result]
    check(samples.conv(31, 17, 19, channels, 12), arrays, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("columns", [4, 16, 20])
@pytest.mark.parametrize("rows", [1, 7, 900])
def test_short_inner_sizes_are_written_out(rows, columns):
    kernel = samples.conv(BATCH, 13, 11, 1, columns)
    arrays = [normal(rows, 13, 11, 1), normal(3, 3, 1, columns), normal(columns)]
    assert (workspace(kernel) == 0) == (columns != 20)
    check(kernel, [*arrays, np.zeros((rows, 13, 11, columns), np.float32)], {"batch": rows}, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("m, k, n", [(33, 20, 12), (9, 300, 17), (40, 6, 1100), (5, 40, 64), (BATCH, 33, 20)])
def test_what_depends_on_columns_alone_is_computed_before_the_rows(m, k, n):
    kernel = samples.normalized_matmul(m, k, n)
    rows = 23 if m is BATCH else m
    arrays = [normal(rows, k), normal(k, n), normal(2, n), normal(n) ** 2, full(rows, n)]
    check(kernel, arrays, {"batch": rows} if m is BATCH else None, **TOLERANCE)
    found = per_column(find_contract(kernel), kernel.stores)
    assert len(found) == (0 if m == 5 else 1)               # the product of the root and the exponential
    assert all(x.axes == {kernel.axes[1]} for x in found)


def test_what_a_store_overwrites_is_not_computed_before():
    kernel = samples.normalized_matmul(33, 20, 12, stored=True)
    found = per_column(find_contract(kernel), kernel.stores)
    assert [x.attr for x in found] == ["exp"]


@pytest.mark.parametrize("columns", ["rows of b", "columns of b", "normalized"])
@pytest.mark.parametrize("rows", [0, 1, 3, gemm.FEW, gemm.FEW + 1, 11])
def test_few_rows_read_b_where_it_lies(rows, columns):
    transposed = columns == "columns of b"
    kernel, (k, n) = samples.matmul(BATCH, 150, 130, transpose_b=transposed), (150, 130)
    assert gemm.few_rows(find_contract(kernel)) is kernel.axes[0]
    arrays = [normal(rows, k), normal(n, k) if transposed else normal(k, n), full(rows, n)]
    if columns == "normalized":
        kernel = samples.normalized_matmul(BATCH, k, n)
        arrays[2:] = [normal(2, n), normal(n) ** 2, full(rows, n)]
    program = Instance([kernel], [arrays], {"batch": rows})
    start, size = program.places[0][-1]
    program.memory.write(program.store, b"\x2a" * size, start)
    program.run()
    program.check_guards()
    untouched = bytes(program.memory.read(program.store, start, start + size)) == b"\x2a" * size
    assert untouched == (rows <= gemm.FEW)
    check(kernel, arrays, {"batch": rows}, **TOLERANCE)


def test_products_of_known_or_small_size_have_one_form():
    for kernel in (samples.matmul(64, 150, 130), samples.matmul(BATCH, 20, 30), samples.matmul(20, BATCH, 900)):
        assert gemm.few_rows(find_contract(kernel)) is None
