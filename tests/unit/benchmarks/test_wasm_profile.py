"""The profile of a WASM program: every kernel is timed and set beside what it needs."""

import shutil
import sys
from pathlib import Path

import pytest

pytest.importorskip("wasmtime", reason="needs wasmtime")
sys.path.insert(0, str(Path(__file__).resolve().parents[3]))
try:
    from benchmarks import wasm_profile
    from benchmarks.data import Array
    from benchmarks.workloads import Workload
finally:
    sys.path.pop(0)
from tideflow.compiler import targets
from tideflow.wasm.native import WasmtimeDevice


def test_a_product_is_counted_and_timed(monkeypatch, capsys, require):
    require("node", None if shutil.which("node") else "it is not installed")
    for owner, name in ((targets, "wasm_module"), (WasmtimeDevice, "bind"), (WasmtimeDevice, "run")):
        monkeypatch.setattr(owner, name, getattr(owner, name))  # put back what `watch` exchanges
    capture = wasm_profile.Capture()
    capture.watch()
    w = Workload("matmul", "compute", "a small product", (Array("a", (40, 48), 1), Array("b", (48, 56), 2)))
    rows = wasm_profile.profile(w, capture, seconds=0.05)
    assert [r.runs for r in rows] == [1]
    assert rows[0].flops == 2 * 40 * 48 * 56
    assert rows[0].bytes == 4 * (40 * 48 + 48 * 56 + 40 * 56)
    assert rows[0].ms > 0
    assert "1 of 40x48x56" in capsys.readouterr().out
