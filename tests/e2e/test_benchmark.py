"""The benchmark measures in Chromium, in a process of its own: Playwright allows one at a time in each."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def results(require, chromium, tmp_path_factory):
    """Two workloads of ours alone: peers are no dependency of the tests."""
    folder = tmp_path_factory.mktemp("benchmark")
    command = [sys.executable, "-m", "benchmarks", "mlp", "sum1", "--quick", "--parts", "browser", "--contenders",
               "tideflow wasm", "tideflow webgpu", "--output", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (folder / "chart.svg").read_text().startswith("<svg") and "## Targets" in (folder / "table.md").read_text()
    return json.loads((folder / "results.json").read_text())


def cell(results, workload, contender):
    return next(c for c in results["cells"] if (c["workload"], c["contender"]) == (workload, contender))


@pytest.mark.parametrize("contender", ["tideflow wasm", "tideflow webgpu", "tideflow wasm worker"])
def test_every_contender_of_ours_is_right(results, contender):
    made = cell(results, "mlp", contender)
    assert made["right"] and made["off"] < 1e-4 and made["firstMs"] > made["bestMs"] > 0 and made["latencyMs"] > 0


def test_a_training_step_is_one_submit_and_creates_nothing(results):
    counted = cell(results, "mlp", "tideflow webgpu")["perStep"]
    assert 0 < counted["dispatches"] <= 12 and counted["submits"] == 1 and counted["created"] == 0, counted
    assert 128 * 785 * 4 <= counted["uploaded"] < 128 * 785 * 4 + 8192           # the batch, and uniforms
    assert 1e6 < counted["memory"]["gpu"] < 5e7


def test_limits_are_measured_in_the_same_run(results):
    assert set(results["peaks"]) == {f"{d} {w}" for d in ("wasm", "webgpu") for w in ("arithmetic", "copy")}
    assert all(value > 0.01 for value in results["peaks"].values()), results["peaks"]
    for workload in ("mlp", "sum1"):
        for device in ("wasm", "webgpu"):
            assert 0.001 < cell(results, workload, f"tideflow {device}")["ofLimit"] < 20
