"""Index arithmetic: what reshaping there and back leaves is the index itself, for known and symbolic sizes."""

import pytest
from tideflow.kernel.ir import Builder
from tideflow.shapes import symbol

BATCH = symbol("batch")


@pytest.mark.parametrize("size", [7, BATCH])
def test_quotient_and_remainder_make_the_whole(size):
    ir = Builder()
    i = ir.axis(ir.new_axis(50 * size))
    by = ir.size(size)
    assert (i // by) * by + i % by is i
    assert (i % by) * 64 + by * (i // by) * 64 + 3 is i * 64 + 3


def test_other_factors_stay_apart():
    ir = Builder()
    i = ir.axis(ir.new_axis(50 * BATCH))
    by = ir.size(BATCH)
    assert any(x.op == "mod" for x in ((i % by) * 800 + (i // by) * 16).args[0].args)
