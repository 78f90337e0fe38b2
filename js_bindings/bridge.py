"""Waiting for JavaScript from Python in a tab: synchronously where the browser can suspend Python, else not at all.

A promise must not be made before it is known that it can be waited for: one that nobody awaits keeps a buffer mapped.
So callers hand over a function that makes it.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import cache
from typing import Any

from .. import errors

__all__ = ["can_wait", "ffi", "raise_from", "runtime", "wait"]

MODULE = "tideflow_runtime"         # what the page registers: pyodide.registerJsModule("tideflow_runtime", runtime)


def runtime() -> Any:
    """The JavaScript runtime (`runtime/index.js`) that the page has registered.

    Raises:
        NoExecutorError: if it has not.
    """
    try:
        return importlib.import_module(MODULE)
    except ImportError:
        raise errors.NoExecutorError(
            "GPU:0 in the browser needs the JavaScript runtime. Register it before Tideflow looks for devices: "
            f'pyodide.registerJsModule("{MODULE}", await import("./runtime/index.js")).') from None


@cache
def ffi() -> Any:
    """`pyodide.ffi`, resolved once: an import inside a function costs a tab 11 us for each call."""
    return importlib.import_module("pyodide.ffi")


def can_wait() -> bool:
    """Whether Python was entered in a way that lets it wait for a promise (and the browser has JSPI)."""
    return bool(ffi().can_run_sync())


def wait(make_promise: Callable[[], Any], what: str) -> Any:
    """The result of a promise.

    Raises:
        FailedPreconditionError: if Python cannot wait here.
    """
    if not can_wait():
        raise errors.FailedPreconditionError(
            f"{what} has to wait for the GPU, and Python was entered by a call that cannot. Enter it with "
            "runPythonAsync or fn.callPromising(...) in a browser with JSPI (Chromium 137 or later), or use "
            "device='cpu', which never waits.")
    try:
        return ffi().run_sync(make_promise())
    except ffi().JsException as error:
        raise_from(error)


def raise_from(error: Any) -> None:
    """Raises a JavaScript error of the runtime as the Python error of the same name."""
    name, message = str(getattr(error, "name", "")), str(getattr(error, "message", error))
    if name == "ModelError":
        raise errors.ModelError(str(error.rule), str(error.where), str(error.why)) from None
    kind = getattr(errors, name, None)
    if isinstance(kind, type) and issubclass(kind, errors.OpError):
        raise kind(message) from None
    raise errors.InternalError(f"{name or 'JavaScript error'}: {message}") from error
