"""Names of tf. that shape a graph elsewhere. Here ops run, or are recorded, in the order of the program."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from .eager.context import note_fallback
from .function.trace import flatten, map_structure
from .ops.dispatch import replaced

__all__ = ["control_dependencies", "get_static_value", "group", "init_scope", "name_scope", "no_op", "print"]


class name_scope:
    """A `with` block that groups ops under a name for people; it has no effect on names here."""

    def __init__(self, name: str) -> None:
        if not isinstance(name, str):
            raise ValueError("name for name_scope must be a string.")
        self.name = name

    def __enter__(self) -> str:
        return f"{self.name}/"

    def __exit__(self, *_: Any) -> None:
        return None


@contextmanager
def control_dependencies(control_inputs: Any) -> Iterator[None]:
    """A `with` block: its ops come after `control_inputs`, as they do anyway."""
    yield


@contextmanager
def init_scope() -> Iterator[None]:
    """A `with` block outside of the function that is being traced: its ops run at once."""
    with replaced(()):
        yield


def no_op(name: str | None = None) -> None:
    """Does nothing."""


def group(*inputs: Any, **kwargs: Any) -> None:
    """Does nothing: what is grouped has already run."""


def get_static_value(tensor: Any, partial: bool = False) -> Any:
    """The value as a numpy array if it is known, or None while a function is traced."""
    return tensor.numpy() if hasattr(tensor, "host") else None


def print(*inputs: Any, **kwargs: Any) -> None:
    """Prints tensors and other values to `output_stream` (default: the error stream), with `sep` and `end`.

    Inside a tf.function it is left out, and says so once.
    """
    if any(not hasattr(x, "host") and hasattr(x, "sizes") for x in flatten(list(inputs))):
        note_fallback("tf.print inside a tf.function prints nothing: compiled programs cannot print. Return the value.")
        return
    shown = [_text(map_structure(_value, x)) for x in inputs]
    text = kwargs.get("sep", " ").join(shown) + kwargs.get("end", "\n")
    stream = kwargs.get("output_stream", sys.stderr)
    if isinstance(stream, str):
        if not stream.startswith("file://"):
            raise ValueError(f"tf.print: output_stream must be a stream or 'file://PATH', received {stream!r}")
        with open(stream.removeprefix("file://"), "a") as file:
            file.write(text)
    elif stream is not None:
        stream.write(text)


def _value(x: Any) -> Any:
    return x.numpy() if hasattr(x, "numpy") else x


def _text(x: Any) -> str:
    return x.decode() if isinstance(x, bytes) else str(x)
