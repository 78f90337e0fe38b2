"""Multiplication and addition as one instruction, where an engine has it.

`f32x4.relaxed_madd` asks half as much of a processor's floating-point units, but a module that contains it is refused
where it is missing. So the emitter writes a multiplication and an addition and marks them by a `nop`
(`Code.multiply_add`), files hold that, and who loads a module on an engine that can rewrites the marked places; the
length stays the same. js_bindings/runtime/fuse.js does the same.
"""

from __future__ import annotations

import re

from .encode import OP

__all__ = ["PROBE", "fused"]

# a function that returns a relaxed multiply-add: valid where `fused` modules are
PROBE = bytes.fromhex("0061736d0100000001080160037b7b7b017b030201000a0d010b00200020012002fd85020b")
_MADD = b"\xfd\x85\x02"
_NOP = OP["nop"]
_MARKED = re.compile(
    re.escape(OP["f32x4.mul"])
    + rb"(\x20(?:[\x00-\x7f]|[\x80-\xff][\x00-\x7f]))"  # local.get of up to 16,384 locals
    + re.escape(OP["f32x4.add"] + _NOP),
    re.DOTALL,
)
_CODE = 10  # the last section of a module, and the only one that may change


def fused(module: bytes) -> bytes:
    """The module with one instruction, rounding once, in each marked place. Not every engine accepts it: see PROBE."""
    at = 8
    while module[at] != _CODE:
        size, at = _number(module, at + 1)
        at += size
    return module[:at] + _MARKED.sub(lambda found: found[1] + _MADD + _NOP * 4, module[at:])


def _number(data: bytes, at: int) -> tuple[int, int]:
    """An unsigned LEB128 number and the place after it."""
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at
