"""Fetches what the site needs and cannot be committed: numpy for Pyodide and the pure-Python flatbuffers wheel.

    python tools/fetch.py            # fills .cache/wheels and prints the files

Every file is checked against a SHA-256 before it is used; nothing is fetched twice. numpy for Pyodide comes from the
distribution that Pyodide itself names in its lock file; where that cannot be reached, the same official build (of
Pyodide 0.28) is taken out of an npm package that carries it. Of that package nothing but the numpy wheel (BSD) is kept.
"""

import hashlib
import json
import re
import subprocess
import sys
import tarfile
import tempfile
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WHEELS = ROOT / ".cache" / "wheels"
PYODIDE = ROOT / "node_modules" / "pyodide"
FALLBACK_PACKAGE = "@bentopdf/pymupdf-wasm@0.11.16"
FALLBACK_WHEEL = "numpy-2.2.5-cp313-cp313-pyodide_2025_0_wasm32.whl"
FALLBACK_SHA256 = "125230b4c3ecd08803e5c43f1162e017c0718d9f253146225a705a952b9c16c2"
SECONDS_TO_WAIT = 8


class FetchError(RuntimeError):
    """A file could not be had, or is not the file that was meant."""


def sha256(path: Path) -> str:
    """The SHA-256 of a file, as hexadecimal text."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def check(path: Path, expected: str) -> Path:
    """Returns `path` if its hash is the expected one; deletes it and raises otherwise."""
    actual = sha256(path)
    if actual != expected:
        path.unlink()
        raise FetchError(f"{path.name}: SHA-256 is {actual}, expected {expected}. Deleted; run the command again.")
    return path


def numpy_for_pyodide() -> Path:
    """The numpy wheel for the pinned Pyodide: from its own distribution, else from the npm fallback."""
    if not PYODIDE.is_dir():
        raise FetchError("node_modules/pyodide is missing: run `npm ci --ignore-scripts` first.")
    entry = json.loads((PYODIDE / "pyodide-lock.json").read_text())["packages"]["numpy"]
    official, fallback = WHEELS / entry["file_name"], WHEELS / FALLBACK_WHEEL
    if official.exists():
        return check(official, entry["sha256"])
    if fallback.exists():
        return check(fallback, FALLBACK_SHA256)
    WHEELS.mkdir(parents=True, exist_ok=True)
    try:
        _download(_distribution() + entry["file_name"], official)
        return check(official, entry["sha256"])
    except (OSError, urllib.error.URLError) as reason:
        print(f"numpy: Pyodide's distribution cannot be reached ({reason}); taking it from npm instead", flush=True)
    return check(_from_npm(FALLBACK_PACKAGE, f"package/assets/{FALLBACK_WHEEL}", fallback), FALLBACK_SHA256)


def flatbuffers_wheel() -> Path:
    """The pure-Python flatbuffers wheel, the version that is installed in this environment."""
    WHEELS.mkdir(parents=True, exist_ok=True)
    found = sorted(WHEELS.glob("flatbuffers-*-none-any.whl"))
    if not found:
        from importlib.metadata import version
        _run([sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(WHEELS),
              f"flatbuffers=={version('flatbuffers')}"])
        found = sorted(WHEELS.glob("flatbuffers-*-none-any.whl"))
    if len(found) != 1:
        raise FetchError(f".cache/wheels holds {len(found)} flatbuffers wheels, expected 1: delete them and run again.")
    return found[0]


def _distribution() -> str:
    """The address of the distribution, as the pinned Pyodide itself names it."""
    version = json.loads((PYODIDE / "package.json").read_text())["version"]
    match = re.search(r'https://[^"`\s]*/pyodide/v', (PYODIDE / "pyodide.mjs").read_text())
    if match is None:
        raise OSError("pyodide.mjs names no distribution")
    return f"{match.group()}{version}/full/"


def _download(address: str, target: Path) -> None:
    part = target.with_suffix(".part")
    with urllib.request.urlopen(address, timeout=SECONDS_TO_WAIT) as response:
        part.write_bytes(response.read())
    part.rename(target)


def _from_npm(package: str, member: str, target: Path) -> Path:
    with tempfile.TemporaryDirectory() as folder:
        _run(["npm", "pack", "--silent", "--pack-destination", folder, package])
        archive = next(Path(folder).glob("*.tgz"))
        with tarfile.open(archive) as tar:
            stream = tar.extractfile(member)
            if stream is None:
                raise FetchError(f"{package} has no file {member}")
            target.write_bytes(stream.read())
    return target


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise FetchError(f"`{' '.join(command)}` failed:\n{done.stderr.strip()[-2000:]}")


if __name__ == "__main__":
    try:
        for wheel in (numpy_for_pyodide(), flatbuffers_wheel()):
            print(wheel.relative_to(ROOT))
    except FetchError as error:
        sys.exit(f"fetch: {error}")
