"""numpy without floating point warnings, cheaply: infinities and NaN are silent in TensorFlow.

`np.errstate` costs more than the arithmetic on a small array. numpy keeps the same setting in a ContextVar; where this
numpy shows it, `enter(IGNORE)` and `leave(token)` set and reset that directly, else they are `np.errstate`.
`@silent` does so for a whole function.
`silently(function, *arrays)` is quicker still, for a single call that runs no Python: it raises RuntimeError where such
a call is under way already (in another thread).
WebAssembly has no floating point flags: arithmetic on arrays cannot warn there.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextvars import copy_context
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import numpy as np

__all__ = ["FLAGS", "IGNORE", "enter", "leave", "silent", "silently"]

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

FLAGS = sys.platform != "emscripten"  # whether arithmetic on arrays can warn at all


def _public() -> tuple[Any, Callable[[Any], Any], Callable[[Any], None]]:
    """By numpy's public function."""

    def begin(_: Any) -> Any:
        state = np.errstate(all="ignore")
        state.__enter__()
        return state

    return None, begin, lambda state: state.__exit__(None, None, None)


def _direct() -> tuple[Any, Callable[[Any], Any], Callable[[Any], None]]:
    """By numpy's own variable, if it is where it was and does what it did."""
    try:
        from numpy._core.umath import (  # type: ignore[attr-defined]
            _extobj_contextvar,
            _make_extobj,
        )

        ignore = _make_extobj(all="ignore")
        token = _extobj_contextvar.set(ignore)
        silent = set(np.geterr().values()) == {"ignore"}
        _extobj_contextvar.reset(token)
    except (ImportError, AttributeError, TypeError):
        return _public()
    return (ignore, _extobj_contextvar.set, _extobj_contextvar.reset) if silent else _public()


def _silently() -> Callable[..., Any]:
    """A context of its own in which numpy is silent, entered for one call."""
    if IGNORE is None:

        def run(function: Callable[..., Any], *arrays: Any) -> Any:
            with np.errstate(all="ignore"):
                return function(*arrays)

        return run
    context = copy_context()
    context.run(enter, IGNORE)
    return context.run


IGNORE, enter, leave = _direct()
silently = _silently()


def silent(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """The function, in which numpy does not warn."""

    @wraps(function)
    def run(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        token = enter(IGNORE)
        try:
            return function(*args, **kwargs)
        finally:
            leave(token)

    return run
