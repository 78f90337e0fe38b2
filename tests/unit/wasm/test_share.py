"""Shares of kernels: made in any order, by any number, they leave the same bits as the whole."""

from __future__ import annotations

import kernel_samples as samples
import numpy as np
import pytest
from tideflow.kernel.ir import Builder, Kernel, Store
from tideflow.shapes import symbol
from tideflow.wasm import share
from tideflow.wasm.emit import emit_module
from wasm_runner import Instance, axes_of, close

pytest.importorskip("wasmtime", reason="needs wasmtime")

BATCH = symbol("batch")
SCALARS = {"rate": 0.01, "key": [3, 4]}


def normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


def copied_rows(rows: int, columns: int) -> tuple[Kernel, list[np.ndarray]]:
    """b[i, j] = a[i, j] * 2; where i and j are 0 also c[0] += 1, which only one share may do."""
    ir = Builder()
    axes, (i, j) = axes_of(ir, rows, columns)
    at = i * columns + j
    here = ir.binary("and", ir.binary("eq", i, ir.const(0)), ir.binary("eq", j, ir.const(0)))
    stores = [
        Store(1, at, ir.load(0, "f32", at) * 2.0),
        Store(2, ir.const(0), ir.load(2, "f32", ir.const(0)) + 1.0, here),
    ]
    buffers = [samples.X, samples.out("b"), samples.out("c")]
    return close("copied", axes, stores, buffers), [normal(rows, columns), normal(rows, columns), normal(1)]


CASES = {
    "rows": (samples.row_softmax(BATCH, 65), [normal(23, 65), normal(23, 65), normal(23)]),
    "columns": (samples.column_sums(BATCH, 133), [normal(23, 133), normal(133), normal(133)]),
    "argmax": (samples.argmax(6, 140, True), [normal(6, 140), np.zeros(140, np.int32), normal(140)]),
    "matmul": (samples.matmul(BATCH, 70, 33), [normal(23, 70), normal(70, 33), normal(23, 33)]),
    "matmul of few rows": (samples.matmul(symbol("few"), 150, 133), [normal(3, 150), normal(150, 133), normal(3, 133)]),
    "matmul of many columns": (samples.matmul(23, 17, 1100), [normal(23, 17), normal(17, 1100), normal(23, 1100)]),
    "transposed, with a side": (
        samples.matmul(37, BATCH, 20, True, side=True), [normal(23, 37), normal(23, 20), normal(37, 20), normal(20)]
    ),
    "batched": (
        samples.batched_matmul(BATCH, 12, 9, 20), [normal(23, 12, 9), normal(23, 9, 20), normal(23, 12, 20)]
    ),
    "input gradient": (
        samples.conv_input_gradient(3, 6, 5, 8, 12), [normal(3, 6, 5, 12), normal(3, 3, 8, 12), normal(3, 6, 5, 8)]
    ),
    "strided input gradient": (
        samples.strided_input_gradient(64, 5, 2), [normal(3, 32, 8), normal(5, 8, 8), normal(3, 64, 8)]
    ),
    "conv": (samples.conv(3, 6, 5, 8, 12), [normal(3, 6, 5, 8), normal(3, 3, 8, 12), normal(12), normal(3, 6, 5, 12)]),
    "filter gradient": (
        samples.conv_filter_gradient(BATCH, 6, 5, 8, 12),
        [normal(23, 6, 5, 8), normal(23, 6, 5, 12), normal(3, 3, 8, 12), normal(12)],
    ),
    "adam": (samples.adam(237), [normal(237), normal(237) + 2, normal(237), np.zeros(237, np.uint32)]),
    "one point": copied_rows(9, 50),
}


@pytest.mark.parametrize("shares", [2, 3, 16])
@pytest.mark.parametrize("case", CASES)
def test_shares_make_the_bits_of_the_whole(case, shares, monkeypatch):
    monkeypatch.setattr(share, "_LEAST", 0)
    monkeypatch.setattr(share, "_LEAST_PRODUCTS", 0)
    kernel, arrays = CASES[case]
    whole, shared = (Instance([kernel], [arrays], {"batch": 23, "few": 3}, SCALARS) for _ in range(2))
    assert whole.run() == 1
    part = shared.instance.exports(shared.store)["part"]
    for number in reversed(range(shares)):
        assert part(shared.store, shared.table, 0, 1, number, shares) == 1
    shared.check_guards()
    for i, array in enumerate(arrays):
        assert shared.read(0, i, array).tobytes() == whole.read(0, i, array).tobytes(), f"buffer {i}"


def test_shares_divide_the_work(monkeypatch):
    """One share alone leaves most of the output as it was."""
    monkeypatch.setattr(share, "_LEAST_PRODUCTS", 0)
    kernel, arrays = samples.matmul(60, 32, 16), [normal(60, 32), normal(32, 16), np.full((60, 16), 7, np.float32)]
    program = Instance([kernel], [arrays])
    program.instance.exports(program.store)["part"](program.store, program.table, 0, 1, 1, 3)
    made = program.read(0, 2, arrays[2])
    np.testing.assert_allclose(made[20:40], np.maximum(arrays[0][20:40] @ arrays[1], 0), rtol=1e-4, atol=1e-5)
    assert (made[:20] == 7).all() and (made[40:] == 7).all()


def test_a_step_that_is_not_shared_belongs_to_the_first_share():
    large, small = samples.matmul(64, 64, 64), samples.matmul(2, 3, 4)
    inputs = [normal(2, 3), normal(3, 4), np.zeros((2, 4), np.float32)]
    arrays = [[normal(64, 64), normal(64, 64), normal(64, 64)], inputs]
    program = Instance([large, small], arrays)
    part = program.instance.exports(program.store)["part"]
    part(program.store, program.table, 1, 2, 1, 2)
    assert not program.read(1, 2, arrays[1][2]).any()
    part(program.store, program.table, 1, 2, 0, 2)
    assert program.read(1, 2, arrays[1][2]).any()


def test_small_programs_have_no_shares():
    kernel = samples.matmul(2, 3, 4)
    assert b"part" not in emit_module([kernel], [(0, [0, 1, 2])], 3)


@pytest.mark.parametrize(("extent", "unit"), [(100, 16), (7, 1), (0, 5), (2**31 - 1, 16)])
def test_cut_covers_an_extent_once(extent, unit):
    import wasmtime
    from tideflow.wasm import encode

    engine = wasmtime.Engine()
    store = wasmtime.Store(engine)
    params, body = share.cut()
    module = wasmtime.Module(engine, encode.module([(params, True, body)], ("run", 0)))
    run = wasmtime.Instance(store, module, [wasmtime.Memory(store, wasmtime.MemoryType(wasmtime.Limits(1, None)))])
    for shares in (1, 2, 5, 64):
        edges = [run.exports(store)["run"](store, extent, unit, i, shares) for i in range(shares + 1)]
        assert edges == sorted(edges) and edges[0] == 0 and edges[-1] == extent
        assert all(edge % unit == 0 or edge == extent for edge in edges)
