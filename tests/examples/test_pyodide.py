"""The examples under Pyodide in Node: Python 3.13, 32 bits, compiled programs in place on numpy's memory."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def pyodide(require):
    """Runs a script under Pyodide with the working tree as the package; returns what it printed."""
    missing = not (ROOT / "node_modules" / "pyodide").is_dir()
    require("node", "node_modules/pyodide is missing: run `make setup`" if missing else None)
    subprocess.run([sys.executable, str(ROOT / "tools" / "fetch.py")], check=True, capture_output=True)

    def run(script: Path, *arguments: str) -> str:
        done = subprocess.run(["node", str(ROOT / "tools" / "pyodide_run.mjs"), str(script), *arguments], cwd=ROOT,
                              capture_output=True, text=True, timeout=240)
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    return run


def test_custom_loop_compiles_and_learns(pyodide):
    output = pyodide(ROOT / "examples" / "custom_loop.py")
    assert abs(float(re.search(r"slope (\S+),", output).group(1)) - 3) < 0.1


def test_digits_learns(pyodide):
    output = pyodide(ROOT / "examples" / "digits.py", "2", "/home/pyodide/digits.tide")
    assert float(re.search(r"accuracy (0\.\d+); saved", output).group(1)) > 0.85


IMPORT_AGAINST_A_LOOP = """
import time, numpy, flatbuffers

def counting():
    begun = time.perf_counter()
    total = 0
    for i in range(2_000_000):
        total += i
    return time.perf_counter() - begun

before = counting()
begun = time.perf_counter()
import tideflow
taken = time.perf_counter() - begun
print(taken / (before + counting()))
"""


def test_import_is_short_of_four_million_additions(pyodide, tmp_path):
    """From source, where the site serves byte code. A ratio: what else the machine does must not decide. About 1."""
    script = tmp_path / "time_import.py"
    script.write_text(IMPORT_AGAINST_A_LOOP)
    assert min(float(pyodide(script)) for _ in range(2)) < 2.0
