"""The wheel holds exactly the folders, stays small, and works when it is installed; nothing private is tracked."""

import compileall
import gzip
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = {"core": "tideflow", "gpu_wgsl": "tideflow/gpu_wgsl", "wasm": "tideflow/wasm",
           "js_bindings": "tideflow/js_bindings"}
SHIPPED = {".py", ".wgsl", ".js", ".fbs", ".ts"}
WHEEL_BUDGET = 1_000_000
RUNTIME_BUDGET = 40_000            # bytes, gzip
IMPORT_BUDGET = 0.25               # seconds, natively, numpy included
LAZY = ["tideflow.keras", "tideflow.gpu_wgsl", "tideflow.wasm", "tideflow.js_bindings", "tideflow.data", "wgpu",
        "wasmtime"]
TEXT = {".py", ".md", ".js", ".mjs", ".ts", ".json", ".toml", ".html", ".css", ".wgsl", ".fbs", ".sh", ".yml", ""}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built as `make wheel` builds it."""
    output = tmp_path_factory.mktemp("dist")
    subprocess.run([sys.executable, str(ROOT / "tools" / "build_wheel.py"), "--output", str(output)], check=True,
                   capture_output=True)
    return next(output.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """The wheel unpacked into a folder of its own, which is what installing a pure wheel does."""
    folder = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def test_wheel_holds_exactly_the_folders(wheel):
    expected = {f"{package}/{path.relative_to(ROOT / folder).as_posix()}"
                for folder, package in FOLDERS.items() for path in (ROOT / folder).rglob("*")
                if path.is_file() and path.suffix in SHIPPED}
    with zipfile.ZipFile(wheel) as archive:
        actual = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert actual == expected | {"tideflow/py.typed"}


def test_every_file_of_the_folders_has_a_kind_that_is_shipped():
    strange = [str(path.relative_to(ROOT)) for folder in FOLDERS for path in (ROOT / folder).rglob("*")
               if path.is_file() and "__pycache__" not in path.parts and path.suffix not in SHIPPED
               and path.name != "py.typed"]
    assert not strange, f"these would be missing from the wheel: {strange}; see package-data in pyproject.toml"


def test_wheel_is_pure_small_and_licensed(wheel):
    assert wheel.name.endswith("-py3-none-any.whl")
    assert wheel.stat().st_size < WHEEL_BUDGET
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        metadata = archive.read(next(name for name in names if name.endswith("METADATA"))).decode()
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert any(name.endswith("licenses/THIRD_PARTY_NOTICES.md") for name in names)
    assert re.search(r"^Version: [1-90-9.]*[1-9]", metadata, re.MULTILINE), "the version is 0.0.0: see pyproject.toml"
    needed = [line for line in metadata.splitlines() if line.startswith("Requires-Dist") and "extra" not in line]
    assert sorted(needed) == ["Requires-Dist: flatbuffers", "Requires-Dist: numpy"]


def test_runtime_is_small(require):
    """As an application ships it: one bundle, minified. (The sources, with their comments, are served as they are.)"""
    esbuild = ROOT / "node_modules" / ".bin" / "esbuild"
    require("node", None if esbuild.exists() else "node_modules is missing: run `make setup`")
    sizes = {}
    for entry in ("index.js", "worker.js"):
        source = ROOT / "js_bindings" / "runtime" / entry
        done = subprocess.run([str(esbuild), str(source), "--bundle", "--minify", "--format=esm"], capture_output=True)
        assert done.returncode == 0, done.stderr.decode()[-2000:]
        sizes[entry] = len(gzip.compress(done.stdout, 9))
    assert max(sizes.values()) < RUNTIME_BUDGET, sizes


def run_python(code: str, folder: Path) -> str:
    """Runs code in a fresh interpreter that sees the unpacked wheel first."""
    done = subprocess.run([sys.executable, "-c", f"import sys; sys.path.insert(0, {str(folder)!r}); {code}"],
                          capture_output=True, text=True, cwd=folder)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.strip()


def test_import_from_the_wheel_loads_nothing_heavy(installed):
    loaded = run_python(f"import tideflow; print(tideflow.__file__); print([n for n in {LAZY!r} if n in sys.modules])",
                        installed).splitlines()
    assert loaded[0].startswith(str(installed))
    assert loaded[1] == "[]"


def test_import_is_fast(installed):
    """In seconds of processor time: what else the machine does must not decide."""
    code = "import time; t = time.process_time(); import tideflow; print(time.process_time() - t)"
    compileall.compile_dir(installed, quiet=1)                     # as an installer does
    best = 9.0
    for _ in range(20):                                            # the best: a shared machine only ever adds
        best = min(best, float(run_python(code, installed)))
        if best < IMPORT_BUDGET:
            break
    assert best < IMPORT_BUDGET, f"import tideflow takes {best:.3f} s, budget {IMPORT_BUDGET} s"


def test_import_of_the_folder_name_is_refused():
    done = subprocess.run([sys.executable, "-c", "import core"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode and "import 'tideflow', not 'core'" in done.stderr


def tracked_text_files() -> list[Path]:
    """What git tracks and people read."""
    done = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    return [ROOT / name for name in done.stdout.splitlines() if Path(name).suffix in TEXT and (ROOT / name).is_file()]


def test_no_tracked_file_names_a_machine_or_a_registry():
    private = re.compile(r"(?<![\w.$}])/(?:root|work|Users)/\w|/home/(?!pyodide)\w|registry\.npmjs|registry\.yarnpkg"
                         r"|files\.pythonhosted|pypi\.org/simple")
    found = []
    for path in tracked_text_files():
        if path == Path(__file__):
            continue
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
            if private.search(line):
                found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}")
    assert not found, "\n".join(found)


def test_lock_file_names_no_address():
    assert '"resolved"' not in (ROOT / "package-lock.json").read_text()
