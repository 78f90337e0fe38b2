"""Kernels of the kinds that the compiler makes, built by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
from tideflow.kernel.ir import F32, I32, Buffer, Builder, Expr, Kernel, Store, View
from tideflow.ops.common import ravel
from tideflow.ops.op import find_op
from wasm_runner import axes_of, close

X = Buffer("x", F32)


def out(name: str, dtype: str = F32) -> Buffer:
    """A buffer that is written."""
    return Buffer(name, dtype, True)


def row_softmax(rows: Any, columns: int) -> Kernel:
    """y = softmax of each row of x; l = its log-sum-exp."""
    ir = Builder()
    axes, (r,) = axes_of(ir, rows)

    def x(j: Expr) -> Expr:
        return ir.load(0, F32, r * columns + j)

    top = ir.reduce("max", [columns], x)
    total = ir.sum([columns], lambda j: ir.call("exp", x(j) - top))
    loop = ir.new_axis(columns)
    j = ir.axis(loop)
    stores = [
        Store(1, r * columns + j, ir.call("exp", x(j) - top) / total, None, (loop,)),
        Store(2, r, top + ir.call("log", total)),
    ]
    return close("softmax", axes, stores, [X, out("y"), out("l")])


def column_sums(rows: Any, columns: int) -> Kernel:
    """Sum and maximum over the rows: two folds in one loop."""
    ir = Builder()
    axes, (c,) = axes_of(ir, columns)
    total, top = ir.fold(
        [rows], lambda r: (("sum", ir.load(0, F32, r * columns + c)), ("max", ir.load(0, F32, r * columns + c)))
    )
    return close("column_sums", axes, [Store(1, c, total), Store(2, c, top)], [X, out("s"), out("m")])


def argmax(rows: int, columns: int, over_rows: bool) -> Kernel:
    """Where the largest element is, and what it is: a fold over a pair."""
    ir = Builder()
    axes, (p,) = axes_of(ir, columns if over_rows else rows)

    def body(j: Expr, index: Expr, best: Expr) -> list[tuple[str, Expr]]:
        x = ir.load(0, F32, j * columns + p if over_rows else p * columns + j)
        better = x > best
        return [("custom", ir.select(better, j, index)), ("custom", ir.select(better, x, best))]

    index, best = ir.fold([rows if over_rows else columns], body, [ir.const(0), ir.const(-np.inf)])
    return close("argmax", axes, [Store(1, p, index), Store(2, p, best)], [X, out("i", I32), out("m")])


def matmul(m: Any, k: Any, n: Any, transpose_a: bool = False, transpose_b: bool = False, side: bool = False) -> Kernel:
    """c = relu(a @ b); with `side`, also the sum of b over k, stored where row is 0."""
    ir = Builder()
    axes, (i, j) = axes_of(ir, m, n)
    rows, inner, columns = (ir.size(s) for s in (m, k, n))

    def a(at: Expr) -> Expr:
        return ir.load(0, F32, at * rows + i if transpose_a else i * inner + at)

    def b(at: Expr) -> Expr:
        return ir.load(1, F32, j * inner + at if transpose_b else at * columns + j)

    if side:
        c, d = ir.fold([k], lambda at: (("sum", a(at) * b(at)), ("sum", b(at))))
        stores = [Store(2, i * columns + j, ir.call("max", c, 0.0)), Store(3, j, d, i.eq(0))]
        return close("matmul_side", axes, stores, [Buffer("a", F32), Buffer("b", F32), out("c"), out("d")])
    stores = [Store(2, i * columns + j, ir.call("max", ir.sum([k], lambda at: a(at) * b(at)), 0.0))]
    return close("matmul", axes, stores, [Buffer("a", F32), Buffer("b", F32), out("c")])


def normalized_matmul(m: Any, k: int, n: int, stored: bool = False) -> Kernel:
    """d = ((a @ b) - mean) * rsqrt(variance + 0.01) * exp(shift); with `stored` the variance is a row of d."""
    ir = Builder()
    axes, (i, j) = axes_of(ir, m, n)
    total = ir.sum([k], lambda at: ir.load(0, F32, i * k + at) * ir.load(1, F32, at * n + j))
    variance = ir.load(4, F32, i * n + j) if stored else ir.load(3, F32, j)
    scale = ir.call("rsqrt", variance + 0.01) * ir.call("exp", ir.load(2, F32, j + n))
    value = (total - ir.load(2, F32, j)) * scale
    buffers = [Buffer("a", F32), Buffer("b", F32), Buffer("mean and shift", F32), Buffer("variance", F32), out("d")]
    return close("normalized_matmul", axes, [Store(4, i * n + j, value)], buffers)


def batched_matmul(batch: Any, m: int, k: int, n: int) -> Kernel:
    """c[b] = (a[b] * 2) @ b[b]"""
    ir = Builder()
    axes, (p, i, j) = axes_of(ir, batch, m, n)
    total = ir.sum(
        [k], lambda at: (ir.load(0, F32, (p * m + i) * k + at) * 2.0) * ir.load(1, F32, (p * k + at) * n + j)
    )
    return close(
        "batched_matmul", axes, [Store(2, (p * m + i) * n + j, total)], [Buffer("a", F32), Buffer("b", F32), out("c")]
    )


def _patch(
    ir: Builder, buffer: int, n: Expr, y: Expr, x: Expr, c: Expr, height: int, width: int, channels: int
) -> Expr:
    with ir.guard((y >= 0) & (y < height) & (x >= 0) & (x < width)):
        return ir.load(buffer, F32, ((n * height + y) * width + x) * channels + c)


def conv(batch: Any, height: int, width: int, inputs: int, outputs: int) -> Kernel:
    """y = relu(conv 3x3 (x, w) + b), padding SAME."""
    ir = Builder()
    axes, (n, h, w, o) = axes_of(ir, batch, height, width, outputs)
    total = ir.sum(
        [3, 3, inputs],
        lambda kh, kw, c: (
            _patch(ir, 0, n, h + kh - 1, w + kw - 1, c, height, width, inputs)
            * ir.load(1, F32, ((kh * 3 + kw) * inputs + c) * outputs + o)
        ),
    )
    value = ir.call("max", total + ir.load(2, F32, o), 0.0)
    store = Store(3, ((n * height + h) * width + w) * outputs + o, value)
    return close("conv", axes, [store], [X, Buffer("w", F32), Buffer("b", F32), out("y")])


def conv_filter_gradient(batch: Any, height: int, width: int, inputs: int, outputs: int) -> Kernel:
    """dw and, beside it, db."""
    ir = Builder()
    axes, (kh, kw, c, o) = axes_of(ir, 3, 3, inputs, outputs)

    def body(n: Expr, h: Expr, w: Expr) -> list[tuple[str, Expr]]:
        dy = ir.load(1, F32, ((n * height + h) * width + w) * outputs + o)
        return [("sum", _patch(ir, 0, n, h + kh - 1, w + kw - 1, c, height, width, inputs) * dy), ("sum", dy)]

    dw, db = ir.fold([batch, height, width], body)
    first = kh.eq(0) & kw.eq(0) & c.eq(0)
    stores = [Store(2, ((kh * 3 + kw) * inputs + c) * outputs + o, dw), Store(3, o, db, first)]
    return close("conv_filter_gradient", axes, stores, [X, Buffer("dy", F32), out("dw"), out("db")])


def conv_input_gradient(batch: Any, height: int, width: int, inputs: int, outputs: int) -> Kernel:
    """dx as a gather from dy."""
    ir = Builder()
    axes, (n, h, w, c) = axes_of(ir, batch, height, width, inputs)
    total = ir.sum(
        [3, 3, outputs],
        lambda kh, kw, o: (
            _patch(ir, 0, n, h + 1 - kh, w + 1 - kw, o, height, width, outputs)
            * ir.load(1, F32, ((kh * 3 + kw) * inputs + c) * outputs + o)
        ),
    )
    return close(
        "conv_input_gradient",
        axes,
        [Store(2, ((n * height + h) * width + w) * inputs + c, total)],
        [Buffer("dy", F32), Buffer("w", F32), out("dx")],
    )


def adam(elements: Any) -> Kernel:
    """An optimizer step in place, and its random bits."""
    from tideflow.kernel.ir import U32

    ir = Builder()
    axes, (i,) = axes_of(ir, elements)
    rate, key = ir.scalar("rate", F32), ir.scalar("key", U32, 1, 2)
    m = ir.load(1, F32, i) * 0.9 + ir.load(0, F32, i) * 0.1
    p = ir.load(2, F32, i) - rate * m / (ir.unary("sqrt", ir.unary("abs", m)) + 1e-7)
    bits = ir.call("mulhi", ir.cast(i, U32) * ir.const(0xD2511F53, U32), ir.const(0xCD9E8D57, U32) + key) ^ key
    return close(
        "adam",
        axes,
        [Store(1, i, m), Store(2, i, p), Store(3, i, bits)],
        [Buffer("g", F32), out("m"), out("p"), out("r", U32)],
    )


def strided_input_gradient(size: int, window: int, stride: int, batch: int = 3, channels: int = 8) -> Kernel:
    """The gradient of a 1-d convolution's input over axes (phase, batch, position / stride, channel), padding SAME."""
    ir = Builder()
    shape = (batch, size, channels)
    attrs = {"strides": (stride,), "padding": "SAME", "dilations": (1,), "groups": 1, "input_shape": shape}
    axes, (phase, n, q, c) = axes_of(ir, stride, batch, size // stride, channels)
    shapes = [(batch, -(-size // stride), channels), (window, channels, channels)]
    views = [View(s, "f32", lambda at, i=i, s=s: ir.load(i, "f32", ravel(ir, [ir.lift(k, "i32") for k in at], s)))
             for i, s in enumerate(shapes)]
    at = (n, q * stride + phase, c)
    value = find_op("conv1d_input_grad").lower(ir, at, *views, **attrs)
    buffers = [Buffer("dy", "f32"), Buffer("w", "f32"), out("dx")]
    return close("strided_input_gradient", axes, [Store(2, ravel(ir, at, shape), value)], buffers)
