"""Compiled WASM modules in the user's cache folder: compiling a training step takes long, loading it back does not.

Compiled code is trusted when it is loaded, so the folder must belong to the user alone, and it is never a model's
folder. TIDEFLOW_CACHE names another folder; "off" keeps nothing.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import platform
import sys
import tempfile
from pathlib import Path
from typing import Any

__all__ = ["cache_folder", "compile_module"]

SMALLEST = 4096  # bytes of WASM: less compiles in a few milliseconds
MOST_FILES = 256


def cache_folder() -> Path | None:
    """Where compiled modules lie; None if nothing may be kept."""
    asked = os.environ.get("TIDEFLOW_CACHE")
    if asked is not None:
        return None if asked in ("", "off") else Path(asked)
    try:
        if sys.platform == "win32":
            base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
        elif sys.platform == "darwin":
            base = Path.home() / "Library" / "Caches"
        else:
            base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError:  # a user without a home
        return None
    return base / "tideflow"


def compile_module(wasmtime: Any, engine: Any, code: bytes, settings: str) -> Any:
    """A wasmtime Module, from the cache if it was compiled before by this version with the same `settings`."""
    folder = cache_folder() if len(code) >= SMALLEST else None
    if folder is None or not _is_private(folder):
        return wasmtime.Module(engine, code)
    version = importlib.metadata.version("wasmtime")
    key = hashlib.sha256(f"{version} {platform.machine()} {settings}\n".encode() + code).hexdigest()
    path = folder / f"{key}.cwasm"
    try:
        return wasmtime.Module.deserialize_file(engine, str(path))
    except (wasmtime.WasmtimeError, OSError):  # not there yet, damaged, or of another processor
        module = wasmtime.Module(engine, code)
        _keep(folder, path, module)
        return module


def _is_private(folder: Path) -> bool:
    """Makes the folder if needed. False if others own it or may write to it."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = folder.stat()
    except OSError:
        return False
    return not hasattr(os, "getuid") or (status.st_uid == os.getuid() and not status.st_mode & 0o022)


def _keep(folder: Path, path: Path, module: Any) -> None:
    """Writes a compiled module under a name of its own and moves it into place; a full disk only loses the entry."""
    try:
        handle, temporary = tempfile.mkstemp(dir=folder)
        with os.fdopen(handle, "wb") as file:
            file.write(module.serialize())
        os.replace(temporary, path)
        old = sorted(folder.glob("*.cwasm"), key=lambda entry: entry.stat().st_mtime)[:-MOST_FILES]
        for entry in old:
            entry.unlink(missing_ok=True)
    except OSError:
        return
