"""How values vary along a lane axis, and which axis vectors run along."""

from dataclasses import replace

import kernel_samples as samples
import pytest
from tideflow.kernel.ir import F32, Builder, Store
from tideflow.kernel.mathlib import expand
from tideflow.shapes import symbol
from tideflow.wasm.lanes import Lanes, choose_lane, loop_lane
from tideflow.wasm.lower import nodes_of, sequential_axes
from tideflow.wasm.reuse import reuse
from tideflow.wasm.unroll import unroll_folds
from wasm_runner import axes_of


def lane_of(kernel):
    nodes = nodes_of([e for s in kernel.stores for e in (s.index, s.value)])
    sequential = sequential_axes(nodes) + [a for s in kernel.stores for a in s.loops]
    lane = choose_lane(kernel.axes, kernel.stores, nodes, frozenset(sequential))
    return None if lane is None else kernel.axes.index(lane)


@pytest.mark.parametrize(
    "make, stride, wrapped",
    [
        (lambda i, j: i, 1, False),
        (lambda i, j: j * 7, 0, False),
        (lambda i, j: i * 5 + j, 5, False),
        (lambda i, j: j - i, -1, False),
        (lambda i, j: i % 32, 1, True),
        (lambda i, j: i // 32, 0, True),
        (lambda i, j: i % 10, None, False),
        (lambda i, j: i // 10, None, False),
        (lambda i, j: (i + 1) % 32, None, False),
        (lambda i, j: i * j, None, False),
        (lambda i, j: (i * 2) % 8, 2, True),
        (lambda i, j: i * 4 // 8, None, False),
    ],
)
def test_stride_along_a_lane_axis(make, stride, wrapped):
    ir = Builder()
    axes, (i, j) = axes_of(ir, 100, 100)
    lanes = Lanes(axes[0])
    assert (lanes.stride(make(i, j)), lanes.wrapped) == (stride, wrapped)


def test_what_a_fold_computes_is_uniform_if_its_values_are():
    ir = Builder()
    axes, (i, j) = axes_of(ir, 8, 8)
    along = ir.sum([5], lambda k: ir.load(0, F32, k * 8 + i))
    other = ir.sum([5], lambda k: ir.load(0, F32, k * 8 + j))
    lanes = Lanes(axes[0])
    assert lanes.stride(along) is None and lanes.stride(other) == 0


def test_vectors_run_where_memory_is_contiguous():
    assert lane_of(samples.column_sums(symbol("batch"), 64)) == 0  # the columns, not the fold over rows
    assert lane_of(samples.row_softmax(symbol("batch"), 64)) is None  # the folds and the loop, not the rows
    assert lane_of(samples.matmul(1, 64, 64)) == 1
    assert lane_of(samples.conv(2, 8, 8, 3, 16)) == 3


def test_folds_run_along_their_contiguous_axis():
    ir = Builder()
    total = ir.sum([64, 32], lambda r, c: ir.load(0, F32, c * 64 + r))
    fold = total.args[0]
    values = fold.args[len(fold.attr.accumulators) :]
    assert loop_lane(fold.attr.axes, values, may_reorder=True) is fold.attr.axes[0]
    assert loop_lane(fold.attr.axes, values, may_reorder=False) is None


def test_short_folds_are_written_out():
    ir = Builder()
    _, (i,) = axes_of(ir, 8)
    window = ir.reduce("max", [2, 2], lambda a, b: ir.load(0, F32, (i * 2 + a) * 16 + b))
    long = ir.sum([50], lambda k: ir.load(0, F32, k))
    (store,) = unroll_folds([Store(1, i, window + long)])
    folds = [x for x in nodes_of([store.value]) if x.op == "fold"]
    assert [f.attr.axes[0].extent for f in folds] == [50]
    assert sum(x.op == "load" for x in nodes_of([store.value])) == 5


def test_softmax_takes_each_exponential_once():
    kernel = samples.row_softmax(4, 64)
    early, late = reuse(kernel.stores)
    assert early == []  # a call is one operation as yet
    early, late = reuse(expand(kernel.stores))
    assert [s.buffer for s in early] == [1] and len(late) == 2
    kinds = [x.op for x in nodes_of([s.value for s in late])]
    assert kinds.count("round") == 0 and kinds.count("load") == 3  # x for the maximum, y for the sum and for itself


def test_values_are_not_kept_in_a_buffer_that_is_read():
    kernel = samples.row_softmax(4, 64)
    stores = [replace(s, buffer=0) if s.buffer == 1 else s for s in expand(kernel.stores)]
    assert reuse(stores) == ([], stores)
