"""Emitted code equals the interpreter: every operation, every way of accessing memory, folds, loops, sizes."""

from __future__ import annotations

import kernel_samples as samples
import numpy as np
import pytest

pytest.importorskip("wasmtime", reason="needs wasmtime")
from tideflow.kernel.ir import BOOL, F32, I32, OPS, U32, Buffer, Builder, Store
from tideflow.shapes import symbol
from tideflow.wasm import scalar
from tideflow.wasm.emit import emit_module
from tideflow.wasm.lower import nodes_of
from wasm_runner import Instance, axes_of, check, close

STORED = {F32: F32, I32: I32, U32: U32, BOOL: U32}
NUMPY = {F32: np.float32, I32: np.int32, U32: np.uint32, BOOL: np.uint32}
SPECIAL = [0.0, -0.0, 1, -1, 0.5, 1.5, 2.5, -2.5, 3.7, -3.7, np.nan, np.inf, -np.inf, 1e-40, 1e30, -1e30]
BATCH = symbol("batch")


def normal(*shape):
    return np.random.default_rng(sum(shape) + len(shape)).standard_normal(shape).astype(np.float32)


def zeros(*shape):
    return np.zeros(shape, np.float32)


def operands(op, dtype, count, n):
    rng = np.random.default_rng(n + len(op))
    for q in range(count):
        if dtype == F32:
            a = np.resize(rng.permutation(np.concatenate([SPECIAL, rng.standard_normal(30)])), n)
        elif dtype == I32:
            a = rng.integers(-(2**31), 2**31, n) // np.where(rng.random(n) < 0.5, 2**20, 1)
        else:
            a = rng.integers(0, 2 if dtype == BOOL else 2**32, n)
        if op in ("div", "mod"):
            a = np.abs(a // 4) + 1
        if op in ("quot", "rem"):
            a = np.where(a == 0, 1, a)
            a[1] = 1 if dtype == U32 else -1 if q else -(2**31)
        if op in ("shl", "shr") and q:
            a = a & 31
        yield a.astype(NUMPY[dtype])


def takes(op, dtype):
    if op in ("truediv", "isnan", "sqrt", "rsqrt", "floor", "ceil", "trunc", "round"):
        return dtype == F32
    if op in ("div", "mod", "quot", "rem", "shl", "shr", "mulhi"):
        return dtype == U32 or (dtype == I32 and op != "mulhi")
    if op in ("and", "or", "xor", "not"):
        return dtype != F32
    return dtype != BOOL or op in ("eq", "ne", "min", "max", "lt", "le")


@pytest.mark.parametrize("n", [3, 39])
@pytest.mark.parametrize("op, dtype", [(op, d) for op in OPS for d in (F32, I32, U32, BOOL) if takes(op, d)])
def test_operation_equals_interpreter(op, dtype, n):
    ir = Builder()
    axes, (i,) = axes_of(ir, n)
    arrays = list(operands(op, dtype, OPS[op][0], n))
    value = ir.call(op, *(ir.load(q, dtype, i) for q in range(len(arrays))))
    buffers = [Buffer(f"x{q}", STORED[dtype]) for q in range(len(arrays))] + [Buffer("o", STORED[value.dtype], True)]
    kernel = close(op, axes, [Store(len(arrays), i, value)], buffers)
    check(kernel, [*arrays, np.zeros(n, NUMPY[value.dtype])], rtol=1e-6, atol=0)


@pytest.mark.parametrize("new", [F32, I32, U32, BOOL])
@pytest.mark.parametrize("old", [F32, I32, U32, BOOL])
def test_cast_equals_interpreter(old, new):
    ir = Builder()
    axes, (i,) = axes_of(ir, 22)
    (x,) = operands("cast", old, 1, 22)
    value = ir.cast(ir.load(0, old, i), new)
    kernel = close("cast", axes, [Store(1, i, value)], [Buffer("x", STORED[old]), Buffer("o", STORED[new], True)])
    check(kernel, [x, np.zeros(22, NUMPY[new])], rtol=0, atol=0)


@pytest.mark.parametrize("rows, columns", [(5, 7), (3, 64), (8, 100), (1, 33)])
def test_softmax_over_rows(rows, columns):
    check(samples.row_softmax(rows, columns), [normal(rows, columns), zeros(rows, columns), zeros(rows)])


@pytest.mark.parametrize("rows", [0, 1, 6])
def test_softmax_with_a_symbolic_batch(rows):
    check(samples.row_softmax(BATCH, 10), [normal(rows, 10), zeros(rows, 10), zeros(rows)], {"batch": rows})


@pytest.mark.parametrize("rows, columns", [(5, 7), (30, 64), (8, 100), (1, 33), (9, 3), (300, 20)])
def test_sums_over_rows_run_along_columns(rows, columns):
    check(samples.column_sums(rows, columns), [normal(rows, columns), zeros(columns), zeros(columns)], atol=1e-5)


@pytest.mark.parametrize("rows", [0, 1, 9])
def test_sums_over_a_symbolic_batch(rows):
    check(samples.column_sums(BATCH, 20), [normal(rows, 20), zeros(20), zeros(20)], {"batch": rows})


@pytest.mark.parametrize("over_rows", [False, True])
@pytest.mark.parametrize("rows, columns", [(5, 7), (30, 64)])
def test_argmax(rows, columns, over_rows):
    n = columns if over_rows else rows
    check(samples.argmax(rows, columns, over_rows), [normal(rows, columns), np.zeros(n, np.int32), zeros(n)])


@pytest.mark.parametrize("n", [0, 1, 4, 37])
def test_optimizer_in_place_with_scalars(n):
    arrays = [normal(n), normal(n) + 1, normal(n) + 2, np.zeros(n, np.uint32)]
    check(samples.adam(BATCH), arrays, {"batch": n}, {"rate": 0.01, "key": [3, 0xFFFFFFF1]})


def pointwise(n, fn, num_inputs, size=None):
    """o[i] = fn(ir, i, load) over n elements."""
    ir = Builder()
    axes, (i,) = axes_of(ir, n)
    index, value = fn(ir, i)
    buffers = [Buffer(f"x{q}", F32) for q in range(num_inputs)] + [Buffer("o", F32, True)]
    return close("pointwise", axes, [Store(num_inputs, index, value)], buffers)


@pytest.mark.parametrize(
    "name, n, inputs, fn",
    [
        (
            "bias of a multiple of four",
            96,
            (96, 32),
            lambda ir, i: (i, ir.load(0, F32, i) + ir.load(1, F32, i % 32) * ir.load(1, F32, i // 32)),
        ),
        (
            "bias of ten",
            90,
            (90, 10),
            lambda ir, i: (i, ir.load(0, F32, i) + ir.load(1, F32, i % 10) * ir.load(1, F32, i // 10)),
        ),
        ("reversed", 35, (35,), lambda ir, i: (i, ir.load(0, F32, i * -1 + 34) + ir.load(0, F32, i))),
        ("strided", 35, (120,), lambda ir, i: (i * 2, ir.load(0, F32, i * 3 + 1))),
        (
            "value of the index",
            35,
            (35,),
            lambda ir, i: (i, ir.load(0, F32, i) * ir.cast(i * 3 + 2, F32) + ir.cast(i % 8, F32)),
        ),
    ],
)
def test_access_patterns(name, n, inputs, fn):
    kernel = pointwise(n, fn, len(inputs))
    check(kernel, [*(normal(s) for s in inputs), zeros(80 if name == "strided" else n)])


def test_transposition():
    ir = Builder()
    axes, (i, j) = axes_of(ir, 9, 21)
    kernel = close(
        "transpose",
        axes,
        [Store(1, i * 21 + j, ir.load(0, F32, j * 9 + i))],
        [Buffer("x", F32), Buffer("o", F32, True)],
    )
    check(kernel, [normal(21, 9), zeros(9, 21)])


@pytest.mark.parametrize("n", [5, 50])
def test_guards_that_differ_by_lane_keep_inside(n):
    ir = Builder()
    axes, (i,) = axes_of(ir, n)
    with ir.guard((i >= 3) & (i < n - 1)):
        x = ir.load(0, F32, i - 3)
    kernel = close("pad", axes, [Store(1, i, x + 1.0, i < n - 2)], [Buffer("x", F32), Buffer("o", F32, True)])
    check(kernel, [normal(n - 4), zeros(n)])


@pytest.mark.parametrize("step", [2, 3, -1, -2])
@pytest.mark.parametrize("n", [9, 50])
def test_guards_that_differ_by_lane_keep_inside_from_step_to_step(n, step):
    ir = Builder()
    axes, (i,) = axes_of(ir, n)
    with ir.guard((i >= 3) & (i < n - 1)):
        x = ir.load(0, F32, (i - 3) * step if step > 0 else (i - (n - 2)) * step)
    kernel = close("apart", axes, [Store(1, i, x + 1.0)], [Buffer("x", F32), Buffer("o", F32, True)])
    check(kernel, [normal((n - 5) * abs(step) + 1), zeros(n)])


def test_gather_and_scatter():
    ir = Builder()
    axes, (i,) = axes_of(ir, 50)
    at = ir.load(0, I32, i)
    kernel = close(
        "gather",
        axes,
        [Store(2, ir.load(3, I32, i), ir.load(1, F32, ir.call("clamp", at, 0, 29)))],
        [Buffer("i", I32), Buffer("x", F32), Buffer("o", F32, True), Buffer("to", I32)],
    )
    rng = np.random.default_rng(1)
    check(
        kernel, [rng.integers(-5, 40, 50).astype(np.int32), normal(30), zeros(50), rng.permutation(50).astype(np.int32)]
    )


def test_reductions_of_every_kind_to_one_value():
    ir = Builder()
    results = ir.fold(
        [1000],
        lambda n: (
            ("sum", ir.load(0, F32, n)),
            ("prod", ir.load(0, F32, n) * 0.01 + 1.0),
            ("min", ir.cast(ir.load(0, F32, n) * 100.0, I32)),
            ("max", ir.load(0, F32, n) > 5.0),
        ),
    )
    buffers = [
        Buffer("x", F32),
        Buffer("a", F32, True),
        Buffer("b", F32, True),
        Buffer("c", I32, True),
        Buffer("d", U32, True),
    ]
    kernel = close("reduce", [], [Store(1 + q, ir.const(0), results[q]) for q in range(4)], buffers)
    check(
        kernel, [normal(1000), zeros(1), zeros(1), np.zeros(1, np.int32), np.ones(1, np.uint32)], rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("n", [0, 1, 100])
def test_mean_over_a_symbolic_batch(n):
    ir = Builder()
    total, least = ir.fold(
        [BATCH, 10], lambda r, c: (("sum", ir.load(0, F32, r * 10 + c)), ("min", ir.load(0, F32, r * 10 + c)))
    )
    stores = [Store(1, ir.const(0), total / ir.cast(ir.size(BATCH), F32)), Store(2, ir.const(0), least)]
    kernel = close("mean", [], stores, [Buffer("x", F32), Buffer("o", F32, True), Buffer("m", F32, True)])
    check(kernel, [normal(n, 10), zeros(1), zeros(1)], {"batch": n}, rtol=1e-5)


def test_variance_in_two_folds_one_after_the_other():
    ir = Builder()
    axes, (c,) = axes_of(ir, 40)

    def x(r):
        return ir.load(0, F32, r * 40 + c)

    mean = ir.sum([30], x) / 30.0
    variance = ir.sum([30], lambda r: (x(r) - mean) * (x(r) - mean)) / 30.0
    kernel = close(
        "variance",
        axes,
        [Store(1, c, mean), Store(2, c, variance)],
        [Buffer("x", F32), Buffer("m", F32, True), Buffer("v", F32, True)],
    )
    check(kernel, [normal(30, 40), zeros(40), zeros(40)])


def test_a_fold_inside_a_fold():
    ir = Builder()
    axes, (c,) = axes_of(ir, 12)
    total = ir.sum([5], lambda r: ir.call("exp", ir.reduce("max", [9], lambda q: ir.load(0, F32, (c * 5 + r) * 9 + q))))
    check(
        close("nested", axes, [Store(1, c, total)], [Buffer("x", F32), Buffer("o", F32, True)]),
        [normal(12, 5, 9), zeros(12)],
        rtol=1e-5,
    )


@pytest.mark.parametrize("n", [3, 31])
def test_custom_folds_assign_together(n):
    ir = Builder()
    axes, (i,) = axes_of(ir, n)
    a, b = ir.fold(
        [6, 2],
        lambda p, q, x, y: [
            ("custom", x * 0.5 + y + ir.cast(p, F32)),
            ("custom", y * 0.25 - x + ir.load(0, F32, i) + ir.cast(q, F32)),
        ],
        [ir.load(0, F32, i), ir.const(1.0)],
    )
    check(
        close("custom", axes, [Store(1, i, a + b)], [Buffer("x", F32), Buffer("o", F32, True)]),
        [normal(n), zeros(n)],
        rtol=1e-5,
    )


def test_pooling_windows():
    ir = Builder()
    axes, (n, h, w, c) = axes_of(ir, 2, 3, 4, 8)
    top = ir.reduce("max", [2, 2], lambda a, b: ir.load(0, F32, ((n * 6 + h * 2 + a) * 8 + w * 2 + b) * 8 + c))
    kernel = close(
        "max_pool", axes, [Store(1, ((n * 3 + h) * 4 + w) * 8 + c, top)], [Buffer("x", F32), Buffer("o", F32, True)]
    )
    check(kernel, [normal(2, 6, 8, 8), zeros(2, 3, 4, 8)])


def test_run_executes_a_range_of_steps():
    ir = Builder()
    axes, (i,) = axes_of(ir, 6)
    kernel = close("grow", axes, [Store(0, i, ir.load(0, F32, i) + 1.0)], [Buffer("x", F32, True)])
    start = np.arange(6, dtype=np.float32)
    program = Instance([kernel] * 4, [[start]] * 4)
    assert program.run(1, 3) == 3
    grown = [float((program.read(k, 0, start) - start).mean()) for k in range(4)]
    assert grown == [0, 1, 1, 0]


def test_equal_kernels_become_one_function():
    ir = Builder()
    axes, (i,) = axes_of(ir, 6)
    kernel = close("grow", axes, [Store(0, i, ir.load(0, F32, i) + 1.0)], [Buffer("x", F32, True)])
    one = emit_module([kernel], [(0, [0])], 1)
    many = emit_module([kernel] * 3, [(0, [0]), (1, [1]), (2, [2])], 3)
    assert len(many) < len(one) + 80


def test_a_step_with_the_wrong_number_of_regions_is_refused():
    kernel = samples.column_sums(8, 8)
    with pytest.raises(ValueError, match="with 2 regions, its function takes 3"):
        emit_module([kernel], [(0, [0, 1])], 2)


@pytest.mark.parametrize("n", [3, 37])
def test_long_chains_do_not_exhaust_the_stack(n):
    ir = Builder()
    axes, (i,) = axes_of(ir, n)
    value = ir.load(0, F32, i)
    for k in range(2000):
        value = (
            ir.unary("neg", value)
            if k % 3 == 0
            else value * ir.load(1, F32, i)
            if k % 3 == 1
            else value + ir.load(1, F32, i)
        )
    kernel = close("chain", axes, [Store(2, i, value)], [Buffer("x", F32), Buffer("y", F32), Buffer("o", F32, True)])
    check(kernel, [normal(n), np.linspace(-1, 1, n).astype(np.float32), zeros(n)], rtol=1e-3)


@pytest.mark.parametrize("rows, columns", [(64, 48), (33, 70), (16, 16), (5, 131), (130, 3)])
@pytest.mark.parametrize("batch", [1, 3])
def test_transpose(batch, rows, columns):
    ir = Builder()
    axes, (b, i, j) = axes_of(ir, batch, rows, columns)
    value = ir.load(0, F32, (b * columns + j) * rows + i) * 2.0 + ir.load(1, F32, j)
    kernel = close(
        "transpose",
        axes,
        [Store(2, (b * rows + i) * columns + j, value)],
        [Buffer("x", F32), Buffer("y", F32), Buffer("o", F32, True)],
    )
    check(kernel, [normal(batch, columns, rows), normal(columns), zeros(batch, rows, columns)])


@pytest.mark.parametrize("rows, columns", [(40, 37), (20, 64)])
def test_softmax_over_columns(rows, columns):
    ir = Builder()
    axes, (c,) = axes_of(ir, columns)
    loop = ir.new_axis(rows)
    top = ir.reduce("max", [rows], lambda r: ir.load(0, F32, r * columns + c))
    total = ir.sum([rows], lambda r: ir.call("exp", ir.load(0, F32, r * columns + c) - top))
    r = ir.axis(loop)
    store = Store(1, c * rows + r, ir.call("exp", ir.load(0, F32, r * columns + c) - top) / total, None, (loop,))
    kernel = close("softmax", axes, [store], [Buffer("x", F32), Buffer("o", F32, True)])
    check(kernel, [normal(rows, columns), zeros(columns, rows)])


def test_emission_looks_at_each_node_of_a_tall_expression_a_few_times(monkeypatch):
    """Not at all that is below each of them: a chain of 32 softplus took eleven seconds."""
    counts = {}
    for height in (8, 32):
        ir = Builder()
        axes, (i,) = axes_of(ir, 5000)
        value = ir.load(0, F32, i)
        for _ in range(height):
            value = ir.call("log1p", ir.call("exp", value))
        kernel = close("tall", axes, [Store(1, i, value)], [Buffer("x", F32), Buffer("y", F32, True)])
        seen = []
        monkeypatch.setattr(scalar, "nodes_of", lambda *given, seen=seen: seen.append(nodes_of(*given)) or seen[-1])
        emit_module([kernel], [(0, [0, 1])], 2)
        counts[height] = sum(map(len, seen))
    assert 0 < counts[32] < 8 * counts[8]               # four times as tall: sixteen times if every node looked below
