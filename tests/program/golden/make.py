"""Writes the golden files of the present release: run it once per release, never again for an old one.

    python tests/program/golden/make.py
"""

import importlib.util
from pathlib import Path

from tideflow.program.write import write_model
from tideflow.version import RELEASE

HERE = Path(__file__).resolve().parent


def main() -> None:
    spec = importlib.util.spec_from_file_location("samples", HERE.parent / "samples.py")
    samples = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(samples)
    for name, make in samples.SAMPLES.items():
        path = HERE / f"{RELEASE}-{name}.tide"
        if path.exists():
            raise SystemExit(f"{path.name} exists: golden files are never rewritten; raise the release first")
        path.write_bytes(write_model(make()))


if __name__ == "__main__":
    main()
