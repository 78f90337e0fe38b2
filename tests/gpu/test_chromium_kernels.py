"""Chromium accepts every sample's shader and computes the same: llvmpipe accepts what Chromium refuses."""

from __future__ import annotations

import numpy as np
import pytest
import wgsl_browser
import wgsl_runner
import wgsl_samples as samples
from tideflow.gpu_wgsl.emit import Options, emit
from tideflow.kernel.interpret import run_kernel
from tideflow.kernel.ir import CALLS, F32
from wgsl_samples import Sample, kernel

SHARED = Options(shared=True, smallest=(1, 1, 1), team=32, team_trips=2)
pytestmark = [pytest.mark.gpu, pytest.mark.browser, pytest.mark.slow]


def all_functions() -> list[Sample]:
    x = np.linspace(0.05, 0.95, 8).astype(np.float32)

    def body(name):
        return lambda ir, i: [(1, i, ir.call(name, *[ir.load(0, F32, i)] * (2 if name in ("pow", "atan2") else 1)))]
    return [Sample(n, kernel(n, [8], "ff", body(n)), [x + 1 if n == "acosh" else x, np.zeros_like(x)]) for n in CALLS]


def test_chromium_runs_all_samples(require):
    require("chromium", wgsl_browser.missing())
    chosen = [*samples.all_samples(), *all_functions()]
    emitted = [emit(s.kernel, Options(min_invocations=4)) for s in chosen]
    tiled = [(s, e) for s in chosen if "workgroup>" in (e := emit(s.kernel, SHARED)).code]
    assert len(tiled) > 10
    chosen, emitted = [*chosen, *(s for s, _ in tiled[::3])], [*emitted, *(e for _, e in tiled[::3])]
    jobs = []
    for s, e in zip(chosen, emitted, strict=True):
        words = wgsl_runner.uniforms(e, s.symbols, s.scalars)
        jobs.append(wgsl_browser.job(e.code, s.arrays, words, wgsl_runner.groups(e, s.symbols)))
    with wgsl_browser.page() as tab:
        answer = tab.evaluate(wgsl_browser.PAGE, jobs)
    require("chromium", answer.get("missing"))
    for s, e, result in zip(chosen, emitted, answer["results"], strict=True):
        problem = result["problems"] or result["error"]
        assert not problem, f"{s.name}: {problem}\n{e.code}"
        wanted = [a.copy() for a in s.arrays]
        run_kernel(s.kernel, wanted, s.symbols, s.scalars)
        for number, (got, right) in enumerate(zip(wgsl_browser.arrays_of(result, s.arrays), wanted, strict=True)):
            np.testing.assert_allclose(got, right, rtol=2e-5, atol=2e-5, err_msg=f"{s.name}, buffer {number}")
