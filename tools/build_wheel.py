"""Builds the wheel from a clean copy of the sources, so that no deleted or generated file can slip in.

    .venv/bin/python tools/build_wheel.py [--output dist]
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ["core", "gpu_wgsl", "wasm", "js_bindings"]
FILES = ["pyproject.toml", "setup.py", "README.md", "LICENSE", "THIRD_PARTY_NOTICES.md"]
NOT_SHIPPED = shutil.ignore_patterns("__pycache__", "*.pyc", ".*")
FIRST_ZIP_DATE = "315532800"    # 1980: one date for every entry, so that the same sources give the same bytes


def build_wheel(output: Path) -> Path:
    """Puts tideflow-*.whl into `output`, in place of an older one, and returns its path."""
    output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "tideflow"
        for name in SOURCES:
            shutil.copytree(ROOT / name, copy / name, ignore=NOT_SHIPPED)
        for name in FILES:
            shutil.copy2(ROOT / name, copy / name)
        command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", f"{folder}/dist", str(copy)]
        environment = {**os.environ, "SOURCE_DATE_EPOCH": FIRST_ZIP_DATE}
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        if done.returncode:
            raise RuntimeError(f"building the wheel failed:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
        for old in output.glob("tideflow-*.whl"):
            old.unlink()
        wheel = next(Path(folder, "dist").glob("*.whl"))
        return Path(shutil.copy2(wheel, output / wheel.name))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Builds the wheel from a clean copy of the sources.")
    parser.add_argument("--output", type=Path, default=ROOT / "dist")
    wheel = build_wheel(parser.parse_args().output)
    print(f"{wheel.name}: {wheel.stat().st_size:,} bytes")
