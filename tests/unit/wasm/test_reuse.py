"""Values that a fold sums and a store needs again: kept in the output, in every arrangement of axes."""

import numpy as np
import pytest
from tideflow.kernel.ir import F32, Buffer, Builder, Store
from tideflow.kernel.mathlib import expand
from tideflow.shapes import symbol

pytest.importorskip("wasmtime", reason="needs wasmtime")
from tideflow.wasm.reuse import reuse
from wasm_runner import axes_of, check, close

N = symbol("n")


def softmax(others, length, along, extra=False):
    """Softmax over one axis of [others, length] ("rows") or [length, others] ("columns"), or of a vector ("all")."""
    ir = Builder()
    axes, at = axes_of(ir, *(() if along == "all" else (others,)))
    size = ir.size(length)

    def place(j):
        if along == "all":
            return j
        return at[0] * size + j if along == "rows" else j * ir.size(others) + at[0]

    def x(j):
        return ir.load(0, F32, place(j))

    top = ir.reduce("max", [length], x)
    total = ir.sum([length], lambda j: ir.call("exp", x(j) - top))
    loop = ir.new_axis(length)
    j = ir.axis(loop)
    value = ir.call("exp", x(j) - top) / total
    if extra:
        value = value * x(j) + ir.call("log", total)
    point = at[0] if at else ir.const(0)
    stores = [Store(1, place(j), value, None, (loop,)), Store(2, point, top + ir.call("log", total))]
    return close("softmax", axes, stores, [Buffer("x", F32), Buffer("y", F32, True), Buffer("l", F32, True)])


@pytest.mark.parametrize("extra", [False, True])
@pytest.mark.parametrize("along", ["rows", "columns", "all"])
@pytest.mark.parametrize("others, length", [(1, 40), (5, 16), (9, 130), (64, 33)])
def test_softmax_in_every_arrangement(others, length, along, extra):
    kernel = softmax(others, length, along, extra)
    assert reuse(expand(kernel.stores))[0]
    others = 1 if along == "all" else others
    x = np.random.default_rng(length).standard_normal(others * length).astype(np.float32)
    check(kernel, [x, np.zeros_like(x), np.zeros(others, np.float32)], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("along", ["rows", "columns", "all"])
@pytest.mark.parametrize("n", [0, 1, 7, 50])
def test_softmax_of_symbolic_length(n, along):
    kernel = softmax(6, N, along)
    assert reuse(expand(kernel.stores))[0]
    others = 1 if along == "all" else 6
    x = np.random.default_rng(n).standard_normal(others * n).astype(np.float32)
    result = [x, np.zeros_like(x), np.zeros(others, np.float32)]
    check(kernel, result, {"n": n}, rtol=1e-5, atol=1e-6)


def test_cheap_values_are_computed_again():
    ir = Builder()
    _, (r,) = axes_of(ir, 4)
    total = ir.sum([64], lambda j: ir.load(0, F32, r * 64 + j) * 2.0)
    loop = ir.new_axis(64)
    at = r * 64 + ir.axis(loop)
    stores = [Store(1, at, ir.load(0, F32, at) * 2.0 / total, None, (loop,))]
    assert reuse(stores) == ([], stores)
