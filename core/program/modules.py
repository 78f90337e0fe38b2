"""What a WASM module in a file may contain. Twin of `checkModule` in `js_bindings/runtime/rules.js`.

A module may define a 4 GiB memory, a table of ten million entries or a start function of its own, so its list of
sections is checked before an engine sees it: `dylink.0` with four zeros, then type, import, function, export and code.
The one import is `env.memory` (unshared, at least one page, no maximum); only functions are exported, one is `run`.
"""

from __future__ import annotations

from ..errors import ModelError

__all__ = ["check_module"]

_PREFIX = b"\0asm\1\0\0\0" + b"\0\x0f\x08dylink.0\1\4\0\0\0\0"
_IMPORT = b"\1\3env\6memory\2\0\1"
_TYPE, _IMPORTS, _FUNCTION, _EXPORT, _CODE = 1, 2, 3, 7, 10


def check_module(module: bytes | memoryview, where: str) -> None:
    """Refuses a module with any other section, import or export.

    Raises:
        ModelError: rule `P10-module`.
    """
    data = bytes(module)
    try:
        _sections(data)
    except _Refused as refused:
        raise ModelError("P10-module", where, str(refused)) from None


class _Refused(Exception):
    pass


def _sections(data: bytes) -> None:
    if not data.startswith(_PREFIX):
        raise _Refused("does not begin with the WASM header and the section dylink.0 with four zeros")
    at, wanted = len(_PREFIX), [_TYPE, _IMPORTS, _FUNCTION, _EXPORT, _CODE]
    for kind in wanted:
        if at >= len(data) or data[at] != kind:
            found = data[at] if at < len(data) else "the end"
            raise _Refused(f"section {found} at byte {at}, expected {kind}: allowed are exactly {wanted} in this order")
        size, start = _number(data, at + 1)
        at = start + size
        if at > len(data):
            raise _Refused(f"section {kind} ends after the module")
        if kind == _IMPORTS and data[start:at] != _IMPORT:
            raise _Refused("the one import must be env.memory, unshared, of at least 1 page, without a maximum")
        if kind == _EXPORT:
            _exports(data[start:at])
    if at != len(data):
        raise _Refused(f"section {data[at]} after the code section")


def _exports(section: bytes) -> None:
    """Only functions are exported, and one of them is called `run`."""
    count, at = _number(section, 0)
    found = False
    for _ in range(count):
        size, start = _number(section, at)
        at = start + size
        if at >= len(section) or section[at] != 0:
            raise _Refused("exports something that is not a function")
        found = found or section[start:at] == b"run"
        _, at = _number(section, at + 1)
    if at != len(section) or not found:
        raise _Refused("the export section does not name the function `run`, or does not end with its last entry")


def _number(data: bytes, at: int) -> tuple[int, int]:
    """An unsigned LEB128 number of at most 32 bits, and where it ends."""
    value = 0
    for shift in range(0, 35, 7):
        if at >= len(data):
            raise _Refused("ends inside a number")
        byte = data[at]
        value |= (byte & 127) << shift
        at += 1
        if byte < 128:
            if value >= 2**32:
                raise _Refused("a number has more than 32 bits")
            return value, at
    raise _Refused("a number has more than 32 bits")
