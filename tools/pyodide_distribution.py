"""Makes the site's own Pyodide distribution: core files, three wheels, byte-compiled, and a lock file of only these.

Byte code saves most of the start-up time in the tab (no parsing of 2 MB of source). Where Python 3.13 is installed, the
version that the pinned Pyodide carries, pyodide-build does it; elsewhere Pyodide itself does, under Node.
"""

import hashlib
import json
import shutil
import subprocess
import zipfile
from pathlib import Path

from fetch import PYODIDE, ROOT, FetchError, flatbuffers_wheel, numpy_for_pyodide, sha256

CORE_FILES = ["pyodide.mjs", "pyodide.asm.js", "pyodide.asm.wasm", "python_stdlib.zip"]
LOCK = "pyodide-lock.json"
PYTHON = "3.13"                          # what the pinned Pyodide runs: byte code is tied to it
BUILD_TOOL = ["pyodide-build==0.39.2", "pkginfo"]
TOOL_VENV = ROOT / ".cache" / "pyodide-build"


def make_distribution(target: Path, wheel: Path) -> str:
    """Fills `target`; returns how it was compiled, for the log. The same inputs are compiled once."""
    wheels = [numpy_for_pyodide(), flatbuffers_wheel(), wheel]
    inputs = [sha256(path) for path in [*wheels, PYODIDE / "pyodide.mjs", PYODIDE / "pyodide.asm.wasm"]]
    recipe = sha256(Path(__file__)) + sha256(Path(__file__).with_name("bytecompile.py"))
    cached = ROOT / ".cache" / "distribution" / hashlib.sha256(f"{inputs}{recipe}".encode()).hexdigest()[:16]
    how = "from the cache"
    if not cached.exists():
        shutil.rmtree(cached.parent, ignore_errors=True)
        how = compile_distribution(cached.with_suffix(".part"), wheels)
        cached.with_suffix(".part").rename(cached)
    shutil.copytree(cached, target)
    return how


def compile_distribution(target: Path, wheels: list[Path]) -> str:
    """The work itself, in an empty folder."""
    target.mkdir(parents=True)
    for name in CORE_FILES:
        shutil.copy2(PYODIDE / name, target / name)
    for path in wheels:
        shutil.copy2(path, target / path.name)
    tool = build_tool()
    if tool is None:
        write_lock(target, wheels)
        compile_under_node(target)
        return "Pyodide under Node"
    compile_with_tool(tool, target, wheels)
    return "pyodide-build"


def write_lock(target: Path, wheels: list[Path]) -> None:
    """A lock file of exactly these wheels, in the format of the one that Pyodide ships."""
    lock = json.loads((PYODIDE / LOCK).read_text())
    lock["packages"] = {entry["name"]: entry for entry in (lock_entry(target / path.name) for path in wheels)}
    (target / LOCK).write_text(json.dumps(lock, indent=1, sort_keys=True))


def lock_entry(wheel: Path) -> dict:
    """One package of the lock, read from the wheel's name and its list of files."""
    name, version = wheel.name.split("-")[:2]
    with zipfile.ZipFile(wheel) as archive:
        tops = {entry.split("/")[0].removesuffix(".py") for entry in archive.namelist() if entry.endswith(".py")}
    needs = {"tideflow": ["flatbuffers", "numpy"]}.get(name, [])
    return {"name": name, "version": version, "file_name": wheel.name, "install_dir": "site", "sha256": sha256(wheel),
            "package_type": "package", "imports": sorted(tops & {name}), "depends": needs, "unvendored_tests": False}


def build_tool() -> Path | None:
    """The `pyodide` command in a venv of the right Python, or None where that Python is not installed."""
    command = TOOL_VENV / "bin" / "pyodide"
    if command.exists():
        return command
    name = f"python{PYTHON}"
    found = [shutil.which(name), *map(str, Path.home().glob(f".pyenv/versions/{PYTHON}*/bin/{name}"))]
    python = next((path for path in found if path and works(path)), None)
    if python is None:
        return None
    steps = [[python, "-m", "venv", str(TOOL_VENV)],
             [str(TOOL_VENV / "bin" / "python"), "-m", "pip", "install", "--quiet", *BUILD_TOOL]]
    for step in steps:
        if subprocess.run(step, capture_output=True).returncode:
            shutil.rmtree(TOOL_VENV, ignore_errors=True)
            return None
    return command


def works(python: str) -> bool:
    """Whether a Python runs and can make a venv: a version manager's stand-in for one that is not chosen cannot."""
    return subprocess.run([python, "-c", "import ensurepip, venv"], capture_output=True).returncode == 0


def compile_with_tool(tool: Path, target: Path, wheels: list[Path]) -> None:
    """pyodide-build in the order that works: add the pure wheels to the lock first, then compile the whole folder.

    (The other way round it refuses the tag of compiled wheels.) numpy's entry is ours: the lock that Pyodide ships
    names its own build of numpy, with another hash where the fallback was taken.
    """
    numpy, *pure = wheels
    write_lock(target, [numpy])
    core_lock = target / "core-lock.json"
    (target / LOCK).rename(core_lock)
    run([str(tool), "lockfile", "add-wheels", *(path.name for path in pure), "--input", core_lock.name,
         "--output", LOCK, "--base-path", "."], target)
    core_lock.unlink()
    run([str(tool), "py-compile", "--silent", "."], target)
    lock = json.loads((target / LOCK).read_text())
    for entry in lock["packages"].values():
        entry["file_name"] = Path(entry["file_name"]).name
        if sha256(target / entry["file_name"]) != entry["sha256"]:
            raise FetchError(f"pyodide-build left {entry['file_name']} with another hash than its lock file")
    (target / LOCK).write_text(json.dumps(lock, indent=1, sort_keys=True))


def compile_under_node(target: Path) -> None:
    """tools/bytecompile.py inside Pyodide: the same byte code, made by the interpreter that will read it."""
    run(["node", str(ROOT / "tools" / "pyodide_run.mjs"), "--no-package", str(ROOT / "tools" / "bytecompile.py"),
         f"/repo/{target.relative_to(ROOT)}"], ROOT)


def run(command: list[str], folder: Path) -> None:
    """Runs a tool in a folder; shows its output if it fails."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode:
        raise FetchError(f"`{' '.join(command)}` failed:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
