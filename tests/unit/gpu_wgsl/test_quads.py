"""Which loads are marked as those that a quad makes alike: tests/gpu/test_chromium_quads.py compares what comes out."""

import re

from tideflow.gpu_wgsl.emit import Options, emit
from tideflow.gpu_wgsl.quads import DECLARED, MARK, TURN
from tideflow.kernel.ir import F32
from wgsl_samples import BATCH, kernel, matmul

TILED = Options(min_invocations=4)


def marked(code, mark=MARK):
    """The buffers of the loads under each mark."""
    found = []
    for rest in code.split(mark)[1:]:
        count, *lines = rest.split("\n")
        loads = [re.fullmatch(r" *let \w+ = (\w+)\[.*\];", line) for line in lines[: int(count)]]
        found.append([load and load[1] for load in loads])
    return found


def windows(ir, i, j):
    """Rows of windows: neighbours share some loads."""
    def tap(t, k):
        return ir.load(0, F32, (i * 3 + t) * 24 + k) * ir.load(1, F32, (k * 3 + t) * 64 + j)
    return [(2, i * 64 + j, ir.sum([3, 24], tap))]


def transposed(ir, i, j):
    return [(2, i * 64 + j, ir.sum([40], lambda r: ir.load(0, F32, r * 64 + i) * ir.load(1, F32, r * 64 + j)))]


def test_rows_of_windows_are_marked_and_columns_are_not():
    found = marked(emit(kernel("w", [32, 64], "fff", windows), TILED).code)
    assert found and all(set(buffers) == {"b0"} and 2 <= len(buffers) <= 4 for buffers in found)


def test_rows_of_a_product_are_turned_in_fours():
    for product in (matmul(64, 64, 16), matmul(BATCH, 64, 16)):
        code = emit(product, TILED).code
        assert DECLARED in code and marked(code) == [] and "(3i ^ quad)" in code
        assert set(map(tuple, marked(code, TURN))) == {("b0",) * 4}


def test_rows_side_by_side_are_one_vector_of_turned_rows():
    code = emit(kernel("t", [64, 64], "fff", transposed), TILED).code
    assert set(map(tuple, marked(code, TURN))) == {("b0",)} and re.search(r"v\d+\.y", code)


def test_rows_that_end_a_loop_are_not_turned():
    def triangle(ir, i, j):
        def term(k):
            return ir.select(k <= i, ir.load(0, F32, i * 64 + k) * ir.load(1, F32, k * 64 + j), ir.const(0.0))
        return [(2, i * 64 + j, ir.sum([64], term))]

    code = emit(kernel("k", [64, 64], "fff", triangle), TILED).code
    assert TURN not in code and "quad:" not in code


def test_quads_that_span_two_rows_share_nothing():
    assert marked(emit(matmul(64, 36, 16), Options(min_invocations=4, vector=False, max_tile=8)).code) == []


def test_a_sum_that_ends_with_the_column_is_not_marked():
    def triangle(ir, i, j):
        def term(k):
            return ir.select(k <= j, ir.load(0, F32, i * 64 + k), ir.const(0.0))
        return [(1, i * 64 + j, ir.sum([64], term))]

    assert marked(emit(kernel("k", [64, 64], "ff", triangle), TILED).code) == []
