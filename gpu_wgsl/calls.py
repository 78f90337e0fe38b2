"""Functions of one value: which are WGSL builtins, and which are written out because builtins are not accurate everywhere."""

from __future__ import annotations

from collections.abc import Sequence

from .text import Helpers

BUILTIN = {"exp": "exp", "log": "log", "sin": "sin", "cos": "cos", "tan": "tan", "tanh": "tanh", "sinh": "sinh", "cosh": "cosh",
           "asin": "asin", "acos": "acos", "atan": "atan", "asinh": "asinh", "acosh": "acosh", "atanh": "atanh", "pow": "pow",
           "atan2": "atan2"}


def call_text(name: str, operands: Sequence[str], vector: bool, helpers: Helpers) -> str:
    """The text of a call."""
    return f"{BUILTIN[name]}({', '.join(operands)})"
