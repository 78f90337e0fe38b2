"""Chromium computes the same bits whether a quad shares its loads or every invocation makes all of them, and whether
sums lie in variables or in an array.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import wgsl_browser
import wgsl_runner
from tideflow.gpu_wgsl.emit import Options, emit
from tideflow.gpu_wgsl.quads import MARK, TURN
from tideflow.kernel.interpret import run_kernel
from tideflow.kernel.ir import F32
from wgsl_samples import BATCH, Sample, floats, kernel, matmul

pytestmark = [pytest.mark.gpu, pytest.mark.browser, pytest.mark.slow]
RUNTIME = Path(__file__).parents[2] / "js_bindings" / "runtime"
REWRITE = f"""import {{ withQuads }} from {json.dumps((RUNTIME / "quads.js").as_uri())};
import {{ withSumsInArrays }} from {json.dumps((RUNTIME / "sums.js").as_uri())};
let text = ""; for await (const part of process.stdin) text += part;
const plain = JSON.parse(text);
console.log(JSON.stringify([plain.map(withQuads), plain.map(withSumsInArrays)]));"""


def transposed(ir, i, j):
    """A weight gradient, with the gradient of the bias beside it."""
    out = ir.sum([40], lambda r: ir.load(0, F32, r * 64 + i) * ir.load(1, F32, r * 96 + j))
    return [(2, i * 96 + j, out), (3, j, ir.sum([40], lambda r: ir.load(1, F32, r * 96 + j)), i.eq(0))]


def windows(ir, i, j):
    """Rows of windows, which are not turned."""
    def tap(t, k):
        return ir.load(0, F32, (i * 3 + t) * 24 + k) * ir.load(1, F32, (k * 3 + t) * 64 + j)
    return [(2, i * 64 + j, ir.sum([3, 24], tap))]


def convolution(ir, n, y, x, c):
    def tap(i, j, k):
        row, column = y + i - 1, x + j - 1
        with ir.guard((row >= 0) & (row < 12) & (column >= 0) & (column < 12)):
            pixel = ir.load(0, F32, ((n * 12 + row) * 12 + column) * 8 + k)
            return pixel * ir.load(1, F32, ((i * 3 + j) * 8 + k) * 16 + c)
    return [(2, ((n * 12 + y) * 12 + x) * 16 + c, ir.sum([3, 3, 8], tap))]


def samples() -> list[Sample]:
    """Static and symbolic rows, with edges that are cut and guarded pixels."""
    made = []
    for m, n, k in ((64, 64, 16), (40, 32, 24), (24, 20, 12)):
        made.append(Sample(f"static{m}", matmul(m, n, k), [floats(m, k), floats(k, n), floats(n), floats(m, n)]))
    for m in (3, 33, 128):
        arrays = [floats(m, 16), floats(16, 64), floats(64), floats(m, 64)]
        made.append(Sample(f"batch{m}", matmul(BATCH, 64, 16), arrays, {"batch": m}))
    arrays = [floats(40, 64), floats(40, 96), floats(64, 96), floats(96)]
    made.append(Sample("transposed", kernel("t", [64, 96], "ffff", transposed), arrays))
    arrays = [floats(32, 3, 24), floats(24, 3, 64), floats(32, 64)]
    made.append(Sample("windows", kernel("w", [32, 64], "fff", windows), arrays))
    arrays = [floats(2, 12, 12, 8), floats(3, 3, 8, 16), floats(2, 12, 12, 16)]
    conv = kernel("c", [BATCH, 12, 12, 16], "fff", convolution, sizes=[BATCH])
    made.append(Sample("convolution", conv, arrays, {"batch": 2}))
    return made


@pytest.mark.parametrize("way", ["quads", "sums"])
def test_chromium_computes_the_same_from_rewritten_shaders(require, way):
    require("chromium", wgsl_browser.missing())
    require("node", None if shutil.which("node") else "node is not installed")
    chosen = [(s, emit(s.kernel, Options(min_invocations=4))) for s in samples()]
    plain = [e.code for _, e in chosen]
    assert sum(f"{TURN} 4" in code for code in plain) >= 5 and any(f"{TURN} 1" in code for code in plain)
    assert any(MARK in code for code in plain)
    done = subprocess.run(["node", "--input-type=module", "-e", REWRITE], input=json.dumps(plain), capture_output=True,
                          text=True, check=True)
    rewritten = json.loads(done.stdout)[["quads", "sums"].index(way)]
    assert sum(one != other for one, other in zip(plain, rewritten, strict=True)) >= 5
    jobs = []
    for code_of in (plain, rewritten):
        for (s, e), code in zip(chosen, code_of, strict=True):
            words = wgsl_runner.uniforms(e, s.symbols, s.scalars)
            jobs.append(wgsl_browser.job(code, s.arrays, words, wgsl_runner.groups(e, s.symbols)))
    with wgsl_browser.page() as tab:
        answer = tab.evaluate(wgsl_browser.PAGE, jobs)
    require("chromium", answer.get("missing"))
    results = answer["results"]
    for (s, _), one, other, code in zip(chosen, results, results[len(chosen):], rewritten, strict=False):
        assert not other["problems"] and not other["error"], f"{s.name}: {other['problems'] or other['error']}\n{code}"
        wanted = [a.copy() for a in s.arrays]
        run_kernel(s.kernel, wanted, s.symbols, s.scalars)
        found = zip(wgsl_browser.arrays_of(one, s.arrays), wgsl_browser.arrays_of(other, s.arrays), wanted, strict=True)
        for number, (loaded, shared, right) in enumerate(found):
            np.testing.assert_array_equal(shared, loaded, err_msg=f"{s.name}, buffer {number}")
            np.testing.assert_allclose(shared, right, rtol=2e-5, atol=2e-5, err_msg=f"{s.name}, buffer {number}")
