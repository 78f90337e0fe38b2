"""The one door to every op: `apply` hands an op to the interpreter on top of the stack.

The stack is in a ContextVar: a module global would be corrupted when one call is suspended and an event handler enters
another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol

from ..dtypes import DType
from .op import _REGISTRY, Op, find_op

__all__ = ["Interpreter", "Value", "apply", "below", "interpreters", "pushed"]


class Value:
    """What ops take and give: eager tensors and values of a trace. `sizes` is the shape with ints and Dims."""

    __slots__ = ()
    sizes: Any
    dtype: DType


class Interpreter(Protocol):
    """Runs, records or traces ops."""

    def run(self, op: Op, inputs: Sequence[Any], attrs: dict[str, Any]) -> Any:
        """The outputs of the op: one Value, or a tuple."""
        ...


_STACK: ContextVar[tuple[Interpreter, ...]] = ContextVar("tideflow_interpreters", default=())
_stack = _STACK.get
_convert: Callable[[Any, DType | None], Value]
_host: Callable[..., Any]
_run_now: Callable[[Op, Sequence[Any], dict[str, Any]], Any]


def install(run: Callable[..., Any], convert: Callable[[Any, DType | None], Value], host: Callable[..., Any]) -> None:
    """Called once by the eager floor: what runs an op where no interpreter is on the stack (it converts plain values
    itself), the conversion of plain values, and host evaluation.
    """
    global _run_now, _convert, _host
    _run_now, _convert, _host = run, convert, host


def interpreters() -> tuple[Interpreter, ...]:
    """The stack, bottom first, without the eager interpreter below all."""
    return _STACK.get()


@contextmanager
def pushed(interpreter: Interpreter) -> Iterator[None]:
    """Puts an interpreter on top for the duration of a `with` block."""
    token = _STACK.set((*_STACK.get(), interpreter))
    try:
        yield
    finally:
        _STACK.reset(token)


@contextmanager
def replaced(stack: tuple[Interpreter, ...]) -> Iterator[None]:
    """Exchanges the whole stack for the duration of a `with` block."""
    token = _STACK.set(stack)
    try:
        yield
    finally:
        _STACK.reset(token)


@contextmanager
def below(interpreter: Interpreter) -> Iterator[None]:
    """The stack beneath an interpreter, for what it runs itself."""
    stack = _STACK.get()
    token = _STACK.set(stack[: stack.index(interpreter)])
    try:
        yield
    finally:
        _STACK.reset(token)


def convert(value: Any, dtype: DType | None = None) -> Value:
    """A Value as it is; anything else as a constant, of `dtype` if given."""
    return value if isinstance(value, Value) else _convert(value, dtype)


def on_host(function: Callable[..., Any], arrays: Sequence[Any]) -> Any:
    """Runs a function of tensors on numpy arrays, on the host, and returns arrays."""
    return _host(function, arrays)


def converted(op: Op, inputs: Sequence[Any]) -> Sequence[Any]:
    """The inputs as Values: plain ones become constants of the dtype that their siblings have; None stays (absent)."""
    same, like, plain = op.same, None, False
    for i, x in enumerate(inputs):
        if isinstance(x, Value):
            if like is None and (same is None or i in same):
                like = x.dtype
        elif x is not None:
            plain = True
    if not plain:
        return inputs
    return tuple([
        x if x is None or isinstance(x, Value) else _convert(x, like if same is None or i in same else None)
        for i, x in enumerate(inputs)
    ])


def apply(name: str | Op, *inputs: Any, **attrs: Any) -> Any:
    """Runs an op. Plain values among the inputs become constants of the dtype that their siblings have; None stays
    (absent).
    """
    op: Any = _REGISTRY.get(name) or find_op(name) if name.__class__ is str else name  # type: ignore[call-overload]
    stack = _stack()
    if not stack:
        return _run_now(op, inputs, attrs)
    return stack[-1].run(op, converted(op, inputs), attrs)
