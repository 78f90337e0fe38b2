"""Programs in place on numpy's memory: the hand-written model under Pyodide in Node, through the same executor."""

import importlib.util
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HAND_MADE = ROOT / "tests" / "unit" / "runtime" / "hand_made.py"

SCRIPT = """
import importlib.util
import numpy as np
from tideflow.program.format import Target
from tideflow.runtime import discover, execute

spec = importlib.util.spec_from_file_location("hand_made", "/repo/tests/unit/runtime/hand_made.py")
hand = importlib.util.module_from_spec(spec)
spec.loader.exec_module(hand)
modules = {hand.STEP_WAT: bytes.fromhex("%s"), hand.PEEK_WAT: bytes.fromhex("%s")}
hand.wasm = modules.__getitem__

assert discover.default_device() == "CPU:0", discover.describe()
executor = execute.load(hand.model(Target.WASM))
drawn, kept = 0, []
packed = np.zeros(13, np.float32)
unaligned = packed[1:].reshape(3, 4)
unaligned[:] = np.arange(12).reshape(3, 4)
aligned = executor.device.allocate(4000 * 16).array.view(np.float32).reshape(4000, 4)
aligned[:] = 2
far = np.zeros(16001, np.float32)[1:].reshape(4000, 4)
far[:] = 3
assert unaligned.ctypes.data %% 16 and far.ctypes.data %% 16
inputs = [np.ones((2, 4), np.float32), unaligned, np.asfortranarray(unaligned), aligned, unaligned, far, aligned, far]
for run, x in enumerate(inputs):
    uploaded = executor.stats().uploaded
    y = executor.run("step", {"x": x})["y"]
    kept.append((y, x * (hand.START + run) * 0.5 + run + drawn))
    drawn += len(x)
    if x is aligned:
        assert executor.stats().uploaded == uploaded, "an aligned input was copied"
for y, expected in kept:
    np.testing.assert_array_equal(y, expected)
np.testing.assert_array_equal(executor.read(hand.W), hand.START + 8)
np.testing.assert_array_equal(executor.run("peek")["w_now"], hand.START + 8)
assert executor.read(hand.COUNTER) == 8

grown = [np.zeros(64 << 20, np.uint8) for _ in range(3)]        # the heap grows: addresses stay
y = executor.run("step", {"x": aligned})["y"].numpy()
np.testing.assert_array_equal(y[0], 2 * (hand.START + 8) * 0.5 + 8 + drawn)
del y, kept
executor.close()
print("live", executor.stats().live_buffers)
"""


@pytest.mark.slow
def test_programs_run_in_place(tmp_path, require):
    try:
        spec = importlib.util.spec_from_file_location("hand_made", HAND_MADE)
        hand = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(hand)
        codes = hand.wasm(hand.STEP_WAT).hex(), hand.wasm(hand.PEEK_WAT).hex()
    except ImportError as error:
        require("wasm", f"the test's modules are made with wasmtime: {error}")
    if not (ROOT / "node_modules" / "pyodide").exists() or not (ROOT / ".cache" / "wheels").exists():
        require("node", "Pyodide is not installed: run `npm ci` and `python tools/fetch.py`")
    script = tmp_path / "script.py"
    script.write_text(SCRIPT % codes)
    command = ["node", ROOT / "tools" / "pyodide_run.mjs", script]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.split() == ["live", "1"]         # the input that the script itself allocated
