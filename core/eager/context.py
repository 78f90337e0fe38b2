"""Which device runs compiled functions, the global random seed, and notes about fallbacks."""

from __future__ import annotations

import functools
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

__all__ = ["device", "executing_eagerly", "function_device", "note_fallback"]

_DEVICE: ContextVar[str | None] = ContextVar("tideflow_device", default=None)
_noted: set[str] = set()


@contextmanager
def device(name: Any) -> Iterator[None]:
    """Compiled functions inside the `with` block run on this device: "/CPU:0", "/GPU:0", "WASM:0"; None restores the
    default.

    Eager ops run on the host wherever they are. Raises InvalidArgumentError for a name that is not a device.
    """
    from ..runtime.discover import device_name

    token = _DEVICE.set(None if name is None else device_name(str(name)))
    try:
        yield
    finally:
        _DEVICE.reset(token)


def function_device() -> str:
    """Where a compiled function runs now: "GPU:0", "WASM:0", "CPU:0" (programs in place, in Pyodide) or "cpu" (the
    host's numpy).
    """
    name: str = _DEVICE.get() or _discover().default_device()
    return "cpu" if name == "CPU:0" and sys.platform != "emscripten" else name


@functools.cache
def _discover() -> Any:
    """The module that knows the devices: loaded late, since eager programs need neither them nor the file format."""
    from ..runtime import discover

    return discover


def executing_eagerly() -> bool:
    """Whether ops run at once; false while a tf.function is traced."""
    from .variable import current_trace

    return current_trace() is None


def note_fallback(message: str) -> None:
    """Says once that something runs elsewhere than asked for, and why."""
    if message not in _noted:
        _noted.add(message)
        warnings.warn(message, RuntimeWarning, stacklevel=3)
