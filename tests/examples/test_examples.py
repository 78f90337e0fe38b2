"""Every script in examples/ runs as it is, and what it prints is right."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"


def run(*command: str, folder: Path, device: str = "") -> str:
    """The output of a command that must succeed; `device`: the default device of the process."""
    environment = {**os.environ, **({"TIDEFLOW_DEVICE": device} if device else {})}
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    return done.stdout


def number(pattern: str, text: str) -> float:
    """The number after a text."""
    match = re.search(pattern + r"\s*(-?[\d.]+(?:e-?\d+)?)", text)
    assert match, f"{pattern!r} not found in:\n{text}"
    return float(match.group(1))


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """The folder and output of examples/digits.py after four epochs, on the device that takes a tenth of the time."""
    folder = tmp_path_factory.mktemp("digits")
    return folder, run(sys.executable, str(EXAMPLES / "digits.py"), "4", folder=folder, device="wasm")


def test_digits_learns_and_saves(digits):
    folder, output = digits
    assert number("accuracy", output.splitlines()[-1]) > 0.9
    assert (folder / "digits.tide").exists()


def test_train_on_goes_on_from_the_saved_file(digits, require):
    require("node", None if shutil.which("node") else "node is missing")
    folder, _ = digits
    output = run("node", str(EXAMPLES / "train_on.mjs"), "digits.tide", "40", folder=folder)
    assert number("before:", output) > 0.9 and number("after:", output) > 0.9
    assert (folder / "digits.trained.tide").stat().st_size == (folder / "digits.tide").stat().st_size
    assert (folder / "digits.trained.tide").read_bytes() != (folder / "digits.tide").read_bytes()


@pytest.mark.parametrize("batch", [1, 1000])
def test_run_command_agrees_on_three_devices(digits, batch, require):
    folder, _ = digits
    rows = np.resize(np.load(ROOT / "demo_site" / "assets" / "digits" / "digits.npz")["images"], (batch, 8, 8, 1))
    np.save(folder / "rows.npy", rows.astype(np.float32))
    outputs = {}
    for device in ("cpu", "wasm", "gpu"):
        target = folder / f"{device}.npy"
        run(sys.executable, "-m", "tideflow", "run", "digits.tide", "--input", "rows.npy", "--device", device,
            "--output", str(target), folder=folder)
        outputs[device] = np.load(target)
    assert outputs["cpu"].shape == (batch, 10)
    for device in ("wasm", "gpu"):
        np.testing.assert_allclose(outputs[device], outputs["cpu"], atol=1e-4)


def test_inspect_command_prints_the_programs(digits):
    folder, _ = digits
    output = run(sys.executable, "-m", "tideflow", "inspect", "digits.tide", folder=folder)
    for word in ("train_step", "predict", "evaluate", "WGSL", "WASM"):
        assert word.lower() in output.lower()


def test_custom_loop_finds_the_line(tmp_path):
    output = run(sys.executable, str(EXAMPLES / "custom_loop.py"), folder=tmp_path)
    assert abs(number("slope", output) - 3) < 0.1 and abs(number("offset", output) + 1) < 0.05


def test_functional_model_survives_saving(tmp_path):
    output = run(sys.executable, str(EXAMPLES / "functional.py"), folder=tmp_path)
    assert number("validation accuracy", output) > 0.85
    assert number("differs by", output) < 1e-5


def test_attention_finds_what_occurs_twice(tmp_path):
    output = run(sys.executable, str(EXAMPLES / "attention.py"), "3", folder=tmp_path, device="wasm")
    assert number("not seen before: accuracy", output) > 0.95


def test_every_example_is_tested():
    source = Path(__file__).read_text()
    assert not [path.name for path in EXAMPLES.iterdir() if path.suffix in {".py", ".mjs"} and path.name not in source]


def test_recurrent_tells_tones_apart(tmp_path):
    output = run(sys.executable, str(EXAMPLES / "recurrent.py"), folder=tmp_path)
    assert number("not seen:", output) > 0.9 and (tmp_path / "recurrent.tide").exists()
