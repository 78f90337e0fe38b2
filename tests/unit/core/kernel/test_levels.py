"""A fold that comes to lie inside one of its own level gets axes of its own."""

import numpy as np
import pytest
from tideflow.kernel.interpret import run_kernel
from tideflow.kernel.ir import F32, Buffer, Builder, Kernel, Store, rewrite, walk
from tideflow.kernel.levels import relevel


def folds(x):
    return [n for n in walk([x]) if n.op == "fold"]


def test_a_forwarded_fold_runs_along_other_axes():
    ir = Builder()
    top = ir.reduce("max", (5,), lambda k: ir.load(0, F32, k))
    placed = ir.load("top", F32, ir.const(0))
    count = ir.sum((5,), lambda k: ir.cast(ir.call("eq", ir.load(0, F32, k), placed), F32))
    (nested,) = rewrite([count], {placed: top})
    inner, outer = folds(relevel(ir, nested))
    assert not set(inner.attr.axes) & set(outer.attr.axes)
    x = np.array([1.0, 3.0, 3.0, 0.0, 3.0], np.float32)
    y = np.zeros(1, np.float32)
    store = Store(1, ir.const(0), relevel(ir, nested))
    run_kernel(Kernel("count", (), (store,), (Buffer("x", F32), Buffer("y", F32, True))), [x, y])
    assert y[0] == 3.0


def test_a_custom_fold_keeps_its_accumulators():
    ir = Builder()
    total = ir.sum((4,), lambda k: ir.load(0, F32, k))
    placed = ir.load("total", F32, ir.const(0))

    def body(k, best):
        value = ir.load(0, F32, k) - placed
        return [("custom", ir.select(ir.call("gt", value, best), value, best))]

    (best,) = ir.fold((4,), body, [ir.const(-np.inf)])
    (nested,) = rewrite([best], {placed: total})
    made = relevel(ir, nested)
    x = np.array([1.0, 5.0, 2.0, 0.5], np.float32)
    y = np.zeros(1, np.float32)
    run_kernel(Kernel("best", (), (Store(1, ir.const(0), made),), (Buffer("x", F32), Buffer("y", F32, True))), [x, y])
    assert y[0] == pytest.approx(5.0 - 8.5)


def test_folds_in_order_stay_as_they_are():
    ir = Builder()
    top = ir.reduce("max", (5,), lambda k: ir.load(0, F32, k))
    total = ir.sum((5,), lambda k: ir.call("exp", ir.load(0, F32, k) - top))
    assert relevel(ir, total) is total
