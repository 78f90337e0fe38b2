"""Emitted shaders equal the interpreter, on the adapter here: operations, folds, tiles, sizes, special values."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import wgsl_runner
import wgsl_samples as samples
from tideflow.gpu_wgsl.emit import Options, emit
from tideflow.gpu_wgsl.schedule import FAMILIES
from tideflow.kernel.interpret import run_kernel
from tideflow.kernel.ir import CALLS, F32
from wgsl_samples import Sample, kernel

pytestmark = pytest.mark.gpu
SAMPLES = samples.all_samples()
SCHEDULES = {"default": Options(), "tiled": Options(min_invocations=4), "parts": Options(max_flops=1000),
             "shared": Options(shared=True, smallest=(1, 1, 1)), "team": Options(team=32, team_trips=2),
             "wide": replace(FAMILIES["wide"], min_invocations=2), "scalar": Options(vector=False, min_invocations=8)}
MAX_ULP = 64                    # beside what mathlib states: division and contraction differ between drivers


@pytest.fixture(autouse=True)
def adapter(require):
    found = wgsl_runner.device()
    require("wgsl", found if isinstance(found, str) else None)


def expected(sample: Sample) -> list[np.ndarray]:
    arrays = [a.copy() for a in sample.arrays]
    run_kernel(sample.kernel, arrays, sample.symbols, sample.scalars)
    return arrays


def compare(sample: Sample, actual: list[np.ndarray]) -> None:
    for number, (got, wanted) in enumerate(zip(actual, expected(sample), strict=True)):
        note = f"{sample.name}, buffer {number}"
        if sample.exact or wanted.dtype != np.float32:
            np.testing.assert_array_equal(got, wanted, err_msg=note)
        else:
            np.testing.assert_allclose(got, wanted, rtol=2e-5, atol=2e-5, err_msg=note)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("sample", SAMPLES, ids=str)
def test_shader_equals_interpreter(sample, schedule):
    emitted = emit(sample.kernel, SCHEDULES[schedule])
    compare(sample, wgsl_runner.run(emitted, sample.arrays, sample.symbols, sample.scalars))


@pytest.mark.parametrize("name", CALLS)
def test_function_equals_float64(name):
    special = [np.nan, np.inf, -np.inf, 0, 1, -1, 0.5, 2, 88, -100, 1e30, -3e38, 20, -0.999, -20, 0.999]
    x = np.concatenate([np.tile(special, 16), np.linspace(-10, 10, 2000)]).astype(np.float32)
    y = np.concatenate([np.repeat(special, 16), np.resize(np.linspace(-3, 3, 77), 2000)]).astype(np.float32)
    two = name in ("pow", "atan2")
    if not two and name in ("sin", "cos", "tan"):
        x = np.where(np.abs(x) > 1e4, np.float32(1.0), x)

    def body(ir, i):
        return [(2, i, ir.call(name, *([ir.load(0, F32, i), ir.load(1, F32, i)] if two else [ir.load(0, F32, i)])))]
    sample = Sample(name, kernel(name, [x.size], "fff", body), [x, y, np.zeros_like(x)])
    got, wanted = wgsl_runner.run(emit(sample.kernel), sample.arrays)[2], expected(sample)[2]
    finite = np.isfinite(wanted) & (np.abs(wanted) > 1.2e-38)
    np.testing.assert_array_equal(np.isnan(got), np.isnan(wanted))
    np.testing.assert_array_equal(got[np.isinf(wanted)], wanted[np.isinf(wanted)])
    error = np.abs(got[finite].astype(np.float64) - wanted[finite]) / np.spacing(np.abs(wanted[finite]))
    assert error.max(initial=0) <= MAX_ULP, f"{name}: {error.max()} ulp at {x[finite][error.argmax()]}"
    assert np.abs(got[~finite & np.isfinite(wanted)]).max(initial=0) < 1.3e-38
