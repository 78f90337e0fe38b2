"""Byte-compiles every wheel and the standard library of a Pyodide folder, in place; runs inside Pyodide.

    node tools/pyodide_run.mjs --no-package tools/bytecompile.py /repo/site/pyodide

Sources are replaced by byte code; wheels get a tag that says so, and the lock file the new names and hashes.
"""

import hashlib
import importlib.util
import json
import marshal
import sys
import zipfile
from pathlib import Path

TAG = f"cp{sys.version_info.major}{sys.version_info.minor}"
FIRST_ZIP_DATE = (1980, 1, 1, 0, 0, 0)


def byte_code(source: bytes, name: str) -> bytes:
    """A .pyc that is never compared with its source, because there is none (PEP 552, unchecked hash)."""
    header = importlib.util.MAGIC_NUMBER + (0b01).to_bytes(4, "little") + importlib.util.source_hash(source)
    return header + marshal.dumps(compile(source, name, "exec", dont_inherit=True))


def compile_archive(path: Path) -> None:
    """Rewrites a zip or wheel with .pyc in place of .py; a file that does not compile stays as it is."""
    with zipfile.ZipFile(path) as archive:
        entries = [(name, archive.read(name)) for name in archive.namelist() if not name.endswith("/")]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries:
            if name.endswith(".py"):
                try:
                    name, content = f"{name}c", byte_code(content, name)
                except SyntaxError:
                    pass
            entry = zipfile.ZipInfo(name, FIRST_ZIP_DATE)
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, content)


def compiled_name(name: str) -> str:
    """numpy-2-cp313-cp313-x.whl stays; flatbuffers-2-py2.py3-none-any.whl becomes flatbuffers-2-cp313-none-any.whl."""
    parts = name.removesuffix(".whl").split("-")
    if parts[2].startswith("py"):
        parts[2] = TAG
    return "-".join(parts) + ".whl"


def main(folder: Path) -> None:
    """Compiles the standard library and each package of the lock file."""
    compile_archive(folder / "python_stdlib.zip")
    lock = json.loads((folder / "pyodide-lock.json").read_text())
    for entry in lock["packages"].values():
        wheel = folder / entry["file_name"]
        compile_archive(wheel)
        wheel = wheel.rename(folder / compiled_name(wheel.name))
        entry["file_name"] = wheel.name
        entry["sha256"] = hashlib.sha256(wheel.read_bytes()).hexdigest()
    (folder / "pyodide-lock.json").write_text(json.dumps(lock, indent=1, sort_keys=True))


main(Path(sys.argv[1]))
