"""Which loads are marked as those that a quad makes alike: tests/gpu/test_chromium_quads.py compares what comes out."""

import re

from tideflow.gpu_wgsl.emit import Options, emit
from tideflow.gpu_wgsl.quads import MARK
from tideflow.kernel.ir import F32
from wgsl_samples import BATCH, kernel, matmul

TILED = Options(min_invocations=4)


def marked(code):
    """The buffers of the loads under each mark."""
    found = []
    for rest in code.split(MARK)[1:]:
        count, *lines = rest.split("\n")
        loads = [re.fullmatch(r" *let \w+ = (\w+)\[.*\];", line) for line in lines[: int(count)]]
        found.append([load and load[1] for load in loads])
    return found


def test_rows_of_a_product_are_marked_and_columns_are_not():
    for product in (matmul(64, 64, 16), matmul(BATCH, 64, 16)):
        found = marked(emit(product, TILED).code)
        assert found and all(set(buffers) == {"b0"} and 2 <= len(buffers) <= 4 for buffers in found)


def test_quads_that_span_two_rows_share_nothing():
    assert marked(emit(matmul(64, 36, 16), Options(min_invocations=4, vector=False, max_tile=8)).code) == []


def test_a_sum_that_ends_with_the_column_is_not_marked():
    def triangle(ir, i, j):
        def term(k):
            return ir.select(k <= j, ir.load(0, F32, i * 64 + k), ir.const(0.0))
        return [(1, i * 64 + j, ir.sum([64], term))]

    assert marked(emit(kernel("k", [64, 64], "ff", triangle), TILED).code) == []
