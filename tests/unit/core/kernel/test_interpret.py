"""The interpreter against numpy written by hand."""

import kernel_samples as samples
import numpy as np
import pytest
from tideflow.kernel.interpret import run_kernel
from tideflow.kernel.ir import F32, I32, Buffer, Builder, Store
from tideflow.shapes import symbol
from wasm_runner import axes_of, close

RNG = np.random.default_rng(0)


def normal(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def test_softmax():
    x, y, total = normal(5, 7), np.zeros((5, 7), np.float32), np.zeros(5, np.float32)
    run_kernel(samples.row_softmax(symbol("batch"), 7), [x, y, total], {"batch": 5})
    e = np.exp(x - x.max(1, keepdims=True))
    np.testing.assert_allclose(y, e / e.sum(1, keepdims=True), rtol=1e-6)
    np.testing.assert_allclose(total, np.log(np.exp(x).sum(1)), rtol=1e-6)


def test_convolution():
    x, w, b, y = normal(2, 5, 6, 3), normal(3, 3, 3, 4), normal(4), np.zeros((2, 5, 6, 4), np.float32)
    run_kernel(samples.conv(2, 5, 6, 3, 4), [x, w, b, y])
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    expected = sum(padded[:, i : i + 5, j : j + 6] @ w[i, j] for i in range(3) for j in range(3)) + b
    np.testing.assert_allclose(y, np.maximum(expected, 0), rtol=1e-4, atol=1e-5)


def test_large_kernels_run_in_slices():
    a, b, c = normal(300, 200), normal(200, 250), np.zeros((300, 250), np.float32)
    run_kernel(samples.matmul(300, 200, 250), [a, b, c])
    np.testing.assert_allclose(c, np.maximum(a @ b, 0), rtol=1e-4, atol=1e-3)


def test_argmax_takes_the_first_of_equals():
    x = np.array([[1, 3, 3], [2, 2, 1]], np.float32)
    index, best = np.zeros(2, np.int32), np.zeros(2, np.float32)
    run_kernel(samples.argmax(2, 3, False), [x, index, best])
    assert index.tolist() == [1, 0] and best.tolist() == [3, 2]


def test_custom_folds_run_in_order():
    ir = Builder()
    axes, (i,) = axes_of(ir, 3)
    (value,) = ir.fold([4], lambda k, x: [("custom", x * 2 + k + ir.load(0, I32, i))], [ir.const(1)])
    kernel = close("custom", axes, [Store(1, i, value)], [Buffer("x", I32), Buffer("o", I32, True)])
    x, result = np.array([0, 1, 5], np.int32), np.zeros(3, np.int32)
    run_kernel(kernel, [x, result])
    expected = []
    for start in x:
        v = 1
        for k in range(4):
            v = v * 2 + k + start
        expected.append(v)
    assert result.tolist() == expected


def test_scalars_and_integers_wrap():
    g, m, p, bits = normal(4), normal(4), normal(4), np.zeros(4, np.uint32)
    run_kernel(samples.adam(4), [g, m, p, bits], {}, {"rate": 0.5, "key": [1, 2]})
    high = (np.arange(4, dtype=np.uint64) * 0xD2511F53 % 2**32) * (0xCD9E8D57 + 2) >> 32
    assert bits.tolist() == [int(h) ^ 2 for h in high]


def test_leaving_a_buffer_is_an_error():
    ir = Builder()
    axes, (i,) = axes_of(ir, 5)
    kernel = close("outside", axes, [Store(1, i, ir.load(0, F32, i + 1))], [Buffer("x", F32), Buffer("o", F32, True)])
    with pytest.raises(IndexError, match="loads outside buffer 0"):
        run_kernel(kernel, [normal(5), normal(5)])
