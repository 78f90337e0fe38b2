"""`python -m tideflow doctor`: what is installed, which devices are here and which one is used, for a bug report."""

from __future__ import annotations

import argparse
import importlib.metadata
import platform
import sys

from . import version
from .runtime import discover

__all__ = ["add_arguments", "report", "run"]

OPTIONAL = {"wgpu": "GPU:0 outside of the browser: pip install 'tideflow[gpu]'",
            "wasmtime": "WASM:0 outside of the browser: pip install 'tideflow[wasm]'"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """No options."""


def run(arguments: argparse.Namespace) -> int:
    """Prints the report. Returns the exit status."""
    print(report())
    return 0


def report() -> str:
    """What is here, a line each."""
    lines = [f"tideflow {version.RELEASE}, follows TensorFlow {version.TENSORFLOW}",
             f"Python {platform.python_version()} on {sys.platform} {platform.machine()}"]
    for name in ("numpy", "flatbuffers", *OPTIONAL):
        try:
            lines.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            lines.append(f"{name} is not installed" + (f" (for {OPTIONAL[name]})" if name in OPTIONAL else ""))
    return "\n".join([*lines, "", discover.describe(), *self_test()])


def self_test() -> list[str]:
    """What the self-test of GPU:0 says, where there is one to test here."""
    if discover.IN_PYODIDE or not discover.find("GPU:0").present:
        return []
    from .gpu_wgsl.selftest import names
    from .runtime.trust import check
    from .runtime.tuning import family_of

    wrong = check(discover.open_device("GPU:0"))
    if not wrong:
        return [f"self-test of GPU:0: all {len(names())} kernels right; contractions: {family_of('GPU:0')}"]
    return ["self-test of GPU:0 FAILED; update the driver, or use device='wasm' or 'cpu'", *(f"  {w}" for w in wrong)]
