"""Which kernels are contractions, and which axes belong to which factor."""

import kernel_samples as samples
from tideflow.kernel.contract import find_contract
from tideflow.kernel.ir import F32, Buffer, Builder, Store
from tideflow.shapes import symbol
from wasm_runner import axes_of, close


def names(axes, kernel):
    return [kernel.axes.index(a) for a in axes]


def test_matmul_has_rows_columns_and_an_inner_axis():
    kernel = samples.matmul(8, 9, 10)
    found = find_contract(kernel)
    assert (names(found.batch, kernel), names(found.m, kernel), names(found.n, kernel)) == ([], [0], [1])
    assert [a.extent for a in found.k] == [9]
    assert {x.attr for x in (found.a, found.b)} == {0, 1} and found.a.attr == 0


def test_batch_axes_occur_in_both_factors():
    kernel = samples.batched_matmul(3, 4, 5, 6)
    found = find_contract(kernel)
    assert (names(found.batch, kernel), names(found.m, kernel), names(found.n, kernel)) == ([0], [1], [2])


def test_convolution_and_its_filter_gradient_are_contractions():
    kernel = samples.conv(symbol("batch"), 5, 6, 3, 7)
    found = find_contract(kernel)
    assert (names(found.m, kernel), names(found.n, kernel)) == ([0, 1, 2], [3])
    kernel = samples.conv_filter_gradient(4, 5, 6, 3, 7)
    found = find_contract(kernel)
    assert (names(found.m, kernel), names(found.n, kernel), found.index) == ([0, 1, 2], [3], 0)
    assert len(found.outs) == 1


def test_other_folds_are_not():
    assert find_contract(samples.row_softmax(4, 5)) is None
    assert find_contract(samples.column_sums(4, 5)) is None
    ir = Builder()
    axes, (i, j) = axes_of(ir, 4, 5)
    depthwise = ir.sum([3], lambda k: ir.load(0, F32, (i + k) * 5 + j) * ir.load(1, F32, k * 5 + j))
    buffers = [Buffer("x", F32), Buffer("w", F32), Buffer("y", F32, True)]
    assert find_contract(close("depthwise", axes, [Store(2, i * 5 + j, depthwise)], buffers)) is None
