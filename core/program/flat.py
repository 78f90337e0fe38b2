"""Builds a flatbuffer from dataclasses by the field lists of `tables.py`.

Written for speed in Pyodide, where a trace goes through here: every table is one `struct.pack`, with a layout cached
for each set of present fields; the library's builder makes a dozen calls per field and is three times slower. Like it,
this one works from the end of the buffer to its start, so children come first; positions count from the end.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from operator import attrgetter
from typing import Any, NamedTuple

from ..errors import ModelError
from .format import GraphRef
from .tables import ENUMS, IDENTIFIER, STRUCTS, TABLES, UNIONS

__all__ = ["FlatBuilder"]

_CODES = {"u8": "B", "u16": "H", "u32": "I", "u64": "Q", "i32": "i", "i64": "q", "f32": "f", "f64": "d", "bool": "B"}
_WIDTHS = {"B": 1, "H": 2, "I": 4, "Q": 8, "i": 4, "q": 8, "f": 4, "d": 8}
_ZEROS = [bytes(n) for n in range(8)]
_DIM = struct.Struct("<B7xQQ").pack


class FlatBuilder:
    """`build` returns the flatbuffer with room for the header; one builder makes one buffer."""

    def __init__(self) -> None:
        self.chunks: list[bytes] = []  # last first
        self.size = 0
        self.vtables: dict[bytes, int] = {}
        self.tables: dict[str, list[int]] = {"Segment": []}  # positions of the tables of a kind

    def build(self, model: Any, header_size: int) -> bytearray:
        """The whole buffer, a multiple of 8 bytes: root offset, identifier, `header_size` zero bytes, objects."""
        root = self.table("Model", model)
        total = self.size + -self.size % 8 + 8 + header_size
        start = struct.pack("<I4s", total - root, IDENTIFIER) + bytes(header_size) + _ZEROS[-self.size % 8]
        return bytearray(b"".join([start, *reversed(self.chunks)]))

    def put(self, data: bytes, alignment: int, ahead: int = 0) -> int:
        """Adds bytes of which byte `ahead` is aligned; returns their position."""
        padding = -(self.size + len(data) - ahead) % alignment
        if padding:
            self.chunks.append(_ZEROS[padding])
        self.chunks.append(data)
        self.size += padding + len(data)
        return self.size

    def table(self, name: str, item: Any) -> int:
        """Adds a table with everything below it; returns its position."""
        spec = _specs.get(name) or _make_spec(name)
        present, values = 0, []
        for (bit, default, encode), value in zip(spec.fields, spec.get(item), strict=True):
            if encode is None:
                if value != default:
                    present |= bit
                    values.append(value)
            elif value is not None:
                added = encode(self, value)
                if added:
                    present |= bit
                    values.append(added) if added.__class__ is int else values.extend(added)
        layout = spec.layouts.get(present) or spec.make_layout(present)
        vtable = self.vtables.get(layout.vtable)
        if vtable is None:
            vtable = self.vtables[layout.vtable] = self.put(layout.vtable, 2)
        at = self.size + layout.size
        at += -(at - 4) % layout.alignment
        ordered = [values[i] for i in layout.order]
        for place, offset in layout.references:
            ordered[place] = at - offset - ordered[place]
        try:
            data = layout.pack(vtable - at, *ordered)
        except struct.error as error:
            raise ModelError("C07-number", name, f"a value does not fit its field: {error}") from None
        position = self.put(data, layout.alignment, 4)
        if name in self.tables:
            self.tables[name].append(position)
        return position

    def vector(self, data: bytes, count: int, alignment: int) -> int:
        return self.put(struct.pack("<I", count) + data, max(alignment, 4), 4) if count else 0

    def text(self, value: str) -> int:
        data = value.encode("utf-8")
        return self.put(struct.pack("<I", len(data)) + data + b"\0", 4, 4) if data else 0

    def references(self, targets: list[int]) -> int:
        """A vector of offsets to objects that were added before."""
        count = len(targets)
        if not count:
            return 0
        at = self.size + 4 * count
        at += -at % 4
        return self.vector(struct.pack(f"<{count}I", *[at - 4 * i - t for i, t in enumerate(targets)]), count, 4)


Encode = Callable[[FlatBuilder, Any], Any]


class _Layout(NamedTuple):
    """How a table with a certain set of fields is packed."""

    vtable: bytes
    size: int
    alignment: int  # of byte 4, where the widest fields begin
    pack: Callable[..., bytes]
    order: list[int]  # which value goes where
    references: list[tuple[int, int]]  # (place in that order, offset in the table) of offsets to children


class _Spec:
    """One kind of table: its fields, and the layouts used so far."""

    def __init__(self, name: str) -> None:
        self.fields: list[tuple[int, Any, Encode | None]] = []  # (bits of its slots, default, encoder of a child)
        self.slots: list[tuple[str, bool]] = []  # (struct code, refers to a child) per vtable slot
        self.layouts: dict[int, _Layout] = {}
        names = []
        for part in TABLES[name].split():
            field, kind = part.split(":")
            kind, _, default = kind.rstrip("!").partition("=")
            names.append(field)
            bit = 1 << len(self.slots)
            if kind in UNIONS:
                self.slots += [("B", False), ("I", True)]
                self.fields.append((3 * bit, None, _encode_attr))
            elif kind in _CODES or kind in ENUMS:
                self.slots.append((_CODES.get(kind, "B"), False))
                self.fields.append((bit, int(default or 0), None))
            else:
                self.slots.append(("I", True))
                self.fields.append((bit, None, _encoder(kind)))
        self.get = attrgetter(*names) if len(names) > 1 else lambda item: (getattr(item, names[0]),)
        if name == "KeyValue":
            self.get = tuple

    def make_layout(self, present: int) -> _Layout:
        slots = [i for i in range(len(self.slots)) if present >> i & 1]
        widest_first = sorted(range(len(slots)), key=lambda v: (-_WIDTHS[self.slots[slots[v]][0]], v))
        offsets, codes, references, at = [0] * len(self.slots), "", [], 4
        for place, value in enumerate(widest_first):
            code, is_reference = self.slots[slots[value]]
            offsets[slots[value]] = at
            if is_reference:
                references.append((place, at))
            codes += code
            at += _WIDTHS[code]
        while offsets and not offsets[-1]:
            offsets.pop()
        vtable = struct.pack(f"<HH{len(offsets)}H", 4 + 2 * len(offsets), at, *offsets)
        alignment = 8 if any(code in "Qqd" for code in codes) else 4
        layout = _Layout(vtable, at, alignment, struct.Struct("<i" + codes).pack, widest_first, references)
        self.layouts[present] = layout
        return layout


def _encoder(kind: str) -> Encode:
    """How a field that refers to something becomes a position: 0 if there is nothing to refer to."""
    if kind in ("name", "text"):
        return FlatBuilder.text
    if not kind.startswith("["):
        return lambda builder, value: builder.table(kind, value)
    element = kind[1:-1]
    if element == "u8":
        return lambda builder, value: builder.vector(bytes(value), len(value), 1)
    if element in _CODES:
        code = _CODES[element]
        width = _WIDTHS[code]
        return lambda builder, value: (
            value and builder.vector(struct.pack(f"<{len(value)}{code}", *value), len(value), width)
        )
    if element in STRUCTS:
        return lambda builder, value: builder.vector(b"".join([_DIM(d.op, d.a, d.b) for d in value]), len(value), 8)
    if element == "name":
        return lambda builder, value: builder.references([builder.text(v) for v in value])
    return lambda builder, value: builder.references([builder.table(element, v) for v in value])


class _Value:
    def __init__(self, v: Any) -> None:
        self.v = v


def _encode_attr(builder: FlatBuilder, value: Any) -> tuple[int, int]:
    """An attribute value: the number of its union member, and its position."""
    if isinstance(value, GraphRef):
        return 5, builder.table("GraphRef", value)
    if isinstance(value, bool):
        return 4, builder.table("Flag", _Value(value))
    if isinstance(value, str):
        return 3, builder.table("Text", _Value(value))
    values = list(value) if isinstance(value, (list, tuple)) else [value]
    if any(isinstance(v, float) for v in values):
        return 2, builder.table("Floats", _Value([float(v) for v in values]))
    return 1, builder.table("Ints", _Value([int(v) for v in values]))


_specs: dict[str, _Spec] = {}


def _make_spec(name: str) -> _Spec:
    _specs[name] = _Spec(name)
    return _specs[name]
