"""Transcendental functions in WGSL: those of functions.py, written once per kernel that calls them.

Builtins are not used: their accuracy, and what they do with NaN, infinities and large operands, differs between drivers
(tanh of a large x, pow of a negative base, sin beyond one turn); these give the same numbers on every adapter.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from ..kernel.ir import F32, Axis, Buffer, Builder, Store
from .functions import FUNCTIONS
from .text import Helpers, type_name

PARAMETERS = ("x", "y")


def call_text(name: str, operands: Sequence[str], vector: bool, helpers: Helpers) -> str:
    """The text of a call; the function, and what it needs, joins the helpers."""
    written = f"m_{name}{'4' if vector else ''}"
    for key, text in _function(name, len(operands), vector):
        helpers.texts.setdefault(key, text)
    return f"{written}({', '.join(operands)})"


@cache
def _function(name: str, arity: int, vector: bool) -> tuple[tuple[str, str], ...]:
    """The texts of a function and of the helpers that it uses, those first."""
    from .body import Block, Body

    ir, lane = Builder(), Axis("lane", 4)
    axes = frozenset((lane,)) if vector else frozenset()
    names = PARAMETERS[:arity]
    parameters = [ir._make("scalar", F32, (), p, None, None, axes) for p in names]
    value = FUNCTIONS[name](ir, *parameters)
    stores, buffers = [Store(0, ir.const(0), value)], [Buffer("result", F32)]
    body = Body(stores, buffers, lane if vector else None, {p: p for p in names})
    block = Block(None)
    result = body.value(value, block)
    kind = type_name(F32, vector)
    written = f"m_{name}{'4' if vector else ''}"
    head = f"fn {written}({', '.join(f'{p}: {kind}' for p in names)}) -> {kind} {{"
    lines = [head, *(f"  {line}" for line in block.lines), f"  return {result};", "}"]
    return (*body.helpers.texts.items(), (written, "\n".join(lines)))
