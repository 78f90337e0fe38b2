"""Which devices are there: the only importer of device modules. Devices are opened once and shared.

`CPU:0` runs programs in place in Pyodide; natively it has none (numpy interprets the graph, see `host.py`). `GPU:0`
is the browser's WebGPU in Pyodide, wgpu-native elsewhere. `WASM:0` is wasmtime. Nothing is imported before somebody
asks.
"""

from __future__ import annotations

import atexit
import functools
import importlib
import os
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ..device import Device
from ..errors import DeviceLimitError, InvalidArgumentError, NoExecutorError

__all__ = ["Found", "close_devices", "default_device", "describe", "device_name", "find", "open_device",
           "open_guarded"]

IN_PYODIDE = sys.platform == "emscripten"
ENVIRONMENT = "TIDEFLOW_DEVICE"
NAMES = ("CPU:0", "GPU:0", "WASM:0")
_MODULES = (
    {"CPU:0": "..wasm.inplace", "GPU:0": "..js_bindings.browser"} if IN_PYODIDE
    else {"GPU:0": "..gpu_wgsl.native", "WASM:0": "..wasm.native"}
)
_open: dict[tuple[str, tuple[tuple[str, int], ...], frozenset[str]], Device] = {}
_found: dict[str, Found] = {}


@dataclass(frozen=True)
class Found:
    """What a look at one device gave: `reason` says why it is absent, or what it is; `wrong` what it computes wrong."""

    name: str
    present: bool
    software: bool
    reason: str
    wrong: tuple[str, ...] = ()


@functools.lru_cache(64)
def device_name(name: str) -> str:
    """TensorFlow's spellings as "GPU:0": "gpu", "/gpu:0", "/job:localhost/replica:0/task:0/device:GPU:0".

    Raises:
        InvalidArgumentError: for anything else.
    """
    pattern = r"(?:/job:localhost)?(?:/replica:0)?(?:/task:0)?/?(?:device:)?(cpu|gpu|wasm)(?::(\d+|\*))?"
    match = re.fullmatch(pattern, name.strip(), re.IGNORECASE)
    if not match:
        raise InvalidArgumentError(f"unknown device {name!r}. Expected one of {', '.join(NAMES)}, "
                                   f"for example '/GPU:0' or 'gpu'.")
    number = "0" if match[2] in (None, "*") else match[2]
    return f"{match[1].upper()}:{int(number)}"


def open_device(name: str | None = None, limits: Mapping[str, int] | None = None,
                features: Iterable[str] = ()) -> Device:
    """The device of that name, opened on first use; one that was opened with at least these limits is shared.

    Raises:
        NoExecutorError: if it is absent, with what was tried.
    """
    name = device_name(name) if name else default_device()
    limits, wanted = dict(limits or {}), frozenset(features)
    for (opened, _, _), device in _open.items():
        if getattr(device, "lost", False):
            continue
        allowed = device.limits()
        if opened == name and wanted <= device.features and all(allowed.get(k, v) >= v for k, v in limits.items()):
            return device
    fresh: Device = _module(name).open_device(limits, wanted)
    fresh.name = name
    if not _open:
        atexit.register(close_devices)          # engines complain when the interpreter tears them down in any order
    _open[name, tuple(sorted(limits.items())), wanted] = fresh
    _wrong(fresh)
    return fresh


def _wrong(device: Device) -> tuple[str, ...]:
    """What a native GPU computes wrong. A tab tests its own: reading back needs a promise there."""
    if device.name != "GPU:0" or IN_PYODIDE:
        return ()
    from .trust import problems

    return problems(device)


def open_guarded(timeout: float) -> Device:
    """A WASM:0 of its own that stops any run after `timeout` seconds. The caller closes it."""
    device: Device = _module("WASM:0").open_device({}, frozenset(), timeout)
    return device


def _module(name: str) -> Any:
    if name not in _MODULES:
        raise NoExecutorError(f"{name} runs no compiled programs here. {_absent_reason(name)}")
    try:
        return importlib.import_module(_MODULES[name], __package__)
    except ImportError as error:
        raise NoExecutorError(f"{name} needs a module that is missing here: {error}") from None


def _absent_reason(name: str) -> str:
    if name == "CPU:0":
        return "Natively numpy interprets the graph of a file; for compiled programs use device='wasm' or 'gpu'."
    if name == "WASM:0":
        return "In Pyodide compiled programs run as CPU:0, in place on numpy's memory."
    return f"There is one device of each kind: {', '.join(NAMES)}."


def find(name: str) -> Found:
    """Looks at one device without failing. The answer is kept for the life of the process."""
    name = device_name(name)
    if name not in _found:
        _found[name] = _look(name)
    return _found[name]


def _look(name: str) -> Found:
    if name == "CPU:0":
        return Found(name, True, False, "compiled programs in place on numpy's memory" if IN_PYODIDE else "numpy")
    try:
        device = open_device(name)
    except (NoExecutorError, DeviceLimitError) as error:
        return Found(name, False, False, str(error))
    return Found(name, True, device.software, device.description, _wrong(device))


def default_device() -> str:
    """`TIDEFLOW_DEVICE` if set, else GPU:0 if it is a real GPU that passes its self-test, else CPU:0.

    Raises:
        NoExecutorError: if TIDEFLOW_DEVICE names a device that is absent.
    """
    asked = os.environ.get(ENVIRONMENT)
    if asked:
        name = device_name(asked)
        found = find(name)
        if not found.present:
            raise NoExecutorError(f"{ENVIRONMENT}={asked}, but there is no {name}: {found.reason}")
        return name
    gpu = find("GPU:0")
    return "GPU:0" if gpu.present and not gpu.software and not gpu.wrong else "CPU:0"


def describe() -> str:
    """What is here, what is not and why, and which device is the default: a few lines for people."""
    lines = []
    for name in NAMES:
        found = find(name)
        note = " (software: only used when asked for)" if found.software else ""
        note += " (computes wrong results: only used when asked for)" if found.wrong else ""
        lines.append(f"{name:7} {'yes' if found.present else 'no '}  {found.reason}{note}")
    asked = os.environ.get(ENVIRONMENT)
    why = f"{ENVIRONMENT}={asked}" if asked else "a real GPU, else the CPU"
    try:
        lines.append(f"default {default_device()}: {why}")
    except NoExecutorError as error:
        lines.append(f"default none: {error}")
    return "\n".join(lines)


def close_devices() -> None:
    """Closes every device this module opened. Models loaded on them stop working; tests use it."""
    for device in _open.values():
        device.close()
    _open.clear()
    _found.clear()
