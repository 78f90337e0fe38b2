"""tests/conftest.py: a missing device is a skip, and a failure where TIDEFLOW_REQUIRE names it."""

import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = Path(__file__).resolve().parents[1] / "conftest.py"
TESTS = """
import pytest
def test_asks(require): require("wgsl", "no adapter: Vulkan is missing")
def test_skips_itself(): pytest.importorskip("no_such_module", reason="wasmtime is missing")
def test_skips_for_another_reason(): pytest.skip("only on Tuesdays")
def test_has_what_it_needs(require): require("node", None)
"""


@pytest.mark.parametrize(("required", "expected"), [
    ("", {"passed": 1, "skipped": 3}),
    ("wgsl,wasm,node,chromium", {"passed": 1, "skipped": 1, "failed": 2}),
    ("wasm", {"passed": 1, "skipped": 2, "failed": 1}),
])
def test_skips_fail_where_the_device_is_required(tmp_path, monkeypatch, required, expected):
    (tmp_path / "conftest.py").write_text(CONFTEST.read_text())
    (tmp_path / "test_it.py").write_text(TESTS)
    monkeypatch.setenv("TIDEFLOW_REQUIRE", required)
    done = subprocess.run([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)],
                          capture_output=True, text=True, cwd=tmp_path)
    summary = done.stdout.strip().splitlines()[-1]
    for word, count in expected.items():
        assert f"{count} {word}" in summary, done.stdout
    assert ("failed" in summary) == ("failed" in expected)
