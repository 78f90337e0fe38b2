"""Accuracy of the transcendental functions, as emitted WebAssembly, against float64: errors in units of the last
place.
"""

import math

import numpy as np
import pytest

pytest.importorskip("wasmtime", reason="needs wasmtime")
from tideflow.kernel.ir import CALLS, F32, Buffer, Builder, Store
from tideflow.kernel.mathlib import MAX_ERROR
from tideflow.wasm.functions import FUNCTIONS
from wasm_runner import axes_of, close, run_wasm

N = 20000
RNG = np.random.default_rng(0)
SPECIAL = np.array([0, -0.0, np.inf, -np.inf, np.nan, 1, -1, 1e-45, 0.5, -0.5, 2, -2, 1e-30, -1e-30], np.float32)


def uniform(low, high):
    return RNG.uniform(low, high, N).astype(np.float32)


def magnitudes(low, high, signed=True):
    x = np.exp(RNG.uniform(np.log(low), np.log(high), N)) * (RNG.choice([-1, 1], N) if signed else 1)
    return x.astype(np.float32)


DOMAINS = {
    "exp": (uniform(-87, 88.7), uniform(-1, 1)),
    "expm1": (uniform(-20, 88), magnitudes(1e-30, 1)),
    "log": (magnitudes(1e-38, 3e38, False), uniform(0.5, 2)),
    "log1p": (magnitudes(1e-30, 0.99), magnitudes(1e-3, 1e38, False)),
    "sin": (uniform(-10000, 10000), uniform(-4, 4)),
    "cos": (uniform(-10000, 10000), uniform(-4, 4)),
    "tan": (uniform(-1000, 1000), uniform(-4, 4)),
    "tanh": (uniform(-10, 10), magnitudes(1e-30, 1)),
    "sinh": (uniform(-89, 89), magnitudes(1e-30, 2)),
    "cosh": (uniform(-89, 89),),
    "asin": (uniform(-1, 1), magnitudes(1e-30, 1)),
    "acos": (uniform(-1, 1),),
    "atan": (uniform(-10, 10), magnitudes(1e-30, 1e30)),
    "asinh": (magnitudes(1e-30, 3e38),),
    "acosh": (uniform(1, 10), magnitudes(1, 3e38, False)),
    "atanh": (uniform(-0.999, 0.999), magnitudes(1e-30, 0.9)),
    "erf": (uniform(-4, 4), magnitudes(1e-30, 1)),
    "erfc": (uniform(-4, 9), uniform(0, 2)),
    "sigmoid": (uniform(-80, 40),),
}
REFERENCE = {
    "asin": np.arcsin,
    "acos": np.arccos,
    "atan": np.arctan,
    "asinh": np.arcsinh,
    "acosh": np.arccosh,
    "atanh": np.arctanh,
    "atan2": np.arctan2,
    "pow": np.power,
    "erf": np.vectorize(math.erf),
    "erfc": np.vectorize(math.erfc),
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
}


def compute(name, *arrays):
    ir = Builder()
    axes, (i,) = axes_of(ir, arrays[0].size)
    value = ir.call(name, *(ir.load(k, F32, i) for k in range(len(arrays))))
    buffers = [Buffer(f"x{k}", F32) for k in range(len(arrays))] + [Buffer("o", F32, True)]
    return run_wasm(close(name, axes, [Store(len(arrays), i, value)], buffers), [*arrays, np.zeros_like(arrays[0])])[-1]


def reference(name, *arrays):
    with np.errstate(all="ignore"):
        return REFERENCE.get(name, getattr(np, name, None))(*(a.astype(np.float64) for a in arrays))


def worst(actual, exact):
    rounded = exact.astype(np.float32)
    normal = np.isfinite(rounded) & (np.abs(exact) > 1.2e-38)
    np.testing.assert_array_equal(actual[~np.isfinite(rounded)], rounded[~np.isfinite(rounded)])
    return np.max(np.abs(actual[normal] - exact[normal]) / np.spacing(np.abs(rounded[normal])).astype(np.float64))


def test_every_function_of_the_ir_is_here():
    assert set(FUNCTIONS) == set(CALLS) == set(MAX_ERROR)


@pytest.mark.parametrize("name", DOMAINS)
def test_error_is_as_stated(name):
    x = np.concatenate(DOMAINS[name])
    with np.errstate(over="ignore"):
        assert worst(compute(name, x), reference(name, x)) <= MAX_ERROR[name]


@pytest.mark.parametrize("name", DOMAINS)
def test_special_values(name):
    with np.errstate(over="ignore"):
        np.testing.assert_allclose(
            compute(name, SPECIAL), reference(name, SPECIAL).astype(np.float32), rtol=1e-6, atol=1e-44
        )


@pytest.mark.parametrize(
    "name, x, y",
    [
        ("pow", magnitudes(1e-3, 1e3, False), uniform(-12, 12)),
        ("pow", uniform(0.9, 1.1), uniform(-500, 500)),
        ("atan2", magnitudes(1e-10, 1e10), magnitudes(1e-10, 1e10)),
    ],
)
def test_functions_of_two_values(name, x, y):
    with np.errstate(over="ignore", under="ignore"):
        assert worst(compute(name, x, y), reference(name, x, y)) <= MAX_ERROR[name]


@pytest.mark.parametrize("name", ["pow", "atan2"])
def test_special_pairs(name):
    values = np.append(SPECIAL, np.array([3, -3], np.float32))
    x, y = (a.ravel() for a in np.meshgrid(values, values))
    with np.errstate(over="ignore", under="ignore"):
        np.testing.assert_allclose(compute(name, x, y), reference(name, x, y).astype(np.float32), rtol=1e-6, atol=1e-44)
