"""Writes a Model as the bytes of a `model.tide`: canonical, the same model always gives the same bytes.

The layout, from byte 0: `[u32 root]["TID1"][56-byte header][flatbuffer][segments]`. Tensors, kernel code and modules go
into segments: first those that training changes, then the constants, so that saving after training replaces the bytes
and the hash of the former in place. `read.py` is the way back, `docs/format.md` lists what it checks.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import flatbuffers

from .format import GraphRef, Model, Role, Slice
from .read import HEADER_MAGIC, HEADER_SIZE, LARGEST_SEGMENT, SEGMENT_ALIGNMENT, TENSOR_ALIGNMENT
from .tables import ENUMS, IDENTIFIER, STRUCTS, TABLES, UNIONS

__all__ = ["write_model"]

_SLOT_METHODS = {
    "u8": "PrependUint8Slot", "u16": "PrependUint16Slot", "u32": "PrependUint32Slot", "u64": "PrependUint64Slot",
    "i32": "PrependInt32Slot", "i64": "PrependInt64Slot", "f32": "PrependFloat32Slot", "f64": "PrependFloat64Slot",
    "bool": "PrependBoolSlot",
}
_VECTOR_CODES = {"u8": ("B", 1), "u32": ("I", 4), "i32": ("i", 4), "i64": ("q", 8), "f32": ("f", 4), "f64": ("d", 8)}


def write_model(model: Model, *, verify: bool = True) -> bytes:
    """Returns the file. With `verify`, the rules for programs and signatures are checked first, as a reader would.

    Raises:
        ModelError: if the model breaks a rule of the format: which, where and why.
    """
    if verify:
        from .rules import verify_model  # here: a page that only writes what it compiled does not load the rules

        verify_model(model)
    placed, segments = _place(model)
    buffer = _Builder(placed, segments).finish()
    flat_size = len(buffer)
    first = _align(flat_size, SEGMENT_ALIGNMENT) if segments else flat_size
    body = b"".join(_body(segments))
    struct.pack_into("<4sIQQQ24x", buffer, 8, HEADER_MAGIC, HEADER_SIZE, flat_size, first, len(body))
    return b"".join([buffer, bytes(first - flat_size), body])


def _align(n: int, alignment: int) -> int:
    return -(-n // alignment) * alignment


def _body(segments: list[_SegmentBytes]) -> Iterable[Any]:
    """The bytes of all segments, each but the last zero padded to where the next one starts."""
    for segment in segments:
        yield from segment.chunks
        if segment is not segments[-1]:
            yield bytes(_align(segment.size, SEGMENT_ALIGNMENT) - segment.size)


class _SegmentBytes:
    """One segment while it grows: pieces at multiples of 256, zeros between them."""

    def __init__(self) -> None:
        self.chunks: list = []
        self.size = 0

    def append(self, data: Any, index: int) -> Slice:
        start = _align(self.size, TENSOR_ALIGNMENT)
        self.chunks += [bytes(start - self.size), data]
        self.size = start + len(data)
        return Slice(index, start, len(data))

    def digest(self) -> bytes:
        sha = hashlib.sha256()
        for chunk in self.chunks:
            sha.update(chunk)
        return sha.digest()


def _place(model: Model) -> tuple[Model, list[_SegmentBytes]]:
    """Gives every piece of data its Slice: a shallow copy of `model` that holds Slices, and the segments' bytes."""
    segments: list[_SegmentBytes] = []
    changed = {t for s in model.signatures for t in s.writes} | {a.tensor for s in model.signatures for a in s.advance}

    def put(data: Any, open_new: bool = False) -> Slice:
        data = memoryview(data).cast("B")
        if open_new or not segments or _align(segments[-1].size, TENSOR_ALIGNMENT) + len(data) > LARGEST_SEGMENT:
            segments.append(_SegmentBytes())
        return segments[-1].append(data, len(segments) - 1)

    tensors = list(model.tensors)
    for mutable in (True, False):
        fresh = True                        # a new segment starts with the first tensor of each kind
        for index, tensor in enumerate(tensors):
            is_state = index in changed or tensor.role not in (Role.VALUE, Role.CONSTANT)
            if is_state == mutable and tensor.data is not None and not isinstance(tensor.data, Slice):
                tensors[index] = replace(tensor, data=put(tensor.data, fresh))
                fresh = False
    shared: dict[bytes, Slice] = {}         # equal code is stored once
    programs = []
    for program in model.programs:
        kernels = []
        for kernel in program.kernels:
            if kernel.code is not None:
                code = bytes(kernel.code)
                if code not in shared:
                    shared[code] = put(code, fresh)
                    fresh = False
                kernel = replace(kernel, code=shared[code], hash=kernel.hash or hashlib.sha256(code).digest())
            kernels.append(kernel)
        module = program.module
        if module is not None:
            module, fresh = put(module, fresh), False
        programs.append(replace(program, kernels=kernels, module=module))
    return replace(model, tensors=tensors, programs=programs), segments


class _Builder:
    """Turns dataclasses into flatbuffer tables by the field lists of `tables.py`."""

    def __init__(self, model: Model, segments: list[_SegmentBytes]) -> None:
        self.model, self.segments = model, segments
        self.builder = flatbuffers.Builder(1 << 16)
        self.offset_marks: list[int] = []   # where each Segment.offset ended up, counted from the end of the buffer

    def finish(self) -> bytearray:
        """The flatbuffer with 56 zero bytes for the header and the segment offsets filled in."""
        builder = self.builder
        root = self.table("Model", self.model)
        builder.Prep(8, HEADER_SIZE + 8)
        builder.Pad(HEADER_SIZE)
        builder.Finish(root, file_identifier=IDENTIFIER)
        buffer = bytearray(builder.Output())
        at = _align(len(buffer), SEGMENT_ALIGNMENT)
        for segment, mark in zip(self.segments, self.offset_marks, strict=True):
            struct.pack_into("<Q", buffer, len(buffer) - mark, at)
            at = _align(at + segment.size, SEGMENT_ALIGNMENT)
        return buffer

    def table(self, name: str, item: Any) -> int:
        builder = self.builder
        slots, inline = [], []
        for field, kind, default, slot in _fields(name):
            value = getattr(item, field) if name != "KeyValue" else item[slot]
            if kind in UNIONS:
                code, value = _attr(value)
                inline.append((slot, "u8", code, 0))
                slots.append((slot + 1, self.table(UNIONS[kind].split()[code - 1], value)))
            elif kind in _SLOT_METHODS or kind in ENUMS:
                inline.append((slot, kind if kind in _SLOT_METHODS else "u8", value, default))
            elif kind == "Segments":
                slots.append((slot, self.segment_tables()))
            elif value is not None and not (hasattr(value, "__len__") and len(value) == 0):
                slots.append((slot, self.child(kind, value)))
        builder.StartObject(_slot_count(name))
        for slot, offset in slots:
            builder.PrependUOffsetTRelativeSlot(slot, offset, 0)
        for slot, kind, value, default in inline:
            getattr(builder, _SLOT_METHODS[kind])(slot, value, default)
        return builder.EndObject()

    def child(self, kind: str, value: Any) -> int:
        """A string, a vector or a table of its own."""
        if kind in ("name", "text"):
            return self.builder.CreateString(value)
        if not kind.startswith("["):
            return self.table(kind, value)
        kind = kind[1:-1]
        if kind in _VECTOR_CODES:
            code, size = _VECTOR_CODES[kind]
            data = bytes(value) if kind == "u8" else struct.pack(f"<{len(value)}{code}", *value)
            return self.raw_vector(data, size, len(value))
        if kind in STRUCTS:
            data = b"".join([struct.pack("<B7xQQ", dim.op, dim.a, dim.b) for dim in value])
            return self.raw_vector(data, 8, len(value), element=24)
        offsets = [self.child("name", v) if kind == "name" else self.table(kind, v) for v in value]
        return self.offset_vector(offsets)

    def raw_vector(self, data: bytes, alignment: int, count: int, element: int = 0) -> int:
        builder = self.builder
        builder.StartVector(element or alignment, count, alignment)
        builder.head -= len(data)
        builder.Bytes[builder.head:builder.head + len(data)] = data
        return builder.EndVector()

    def offset_vector(self, offsets: Iterable[int]) -> int:
        offsets = list(offsets)
        self.builder.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):
            self.builder.PrependUOffsetTRelative(offset)
        return self.builder.EndVector()

    def segment_tables(self) -> int:
        builder, offsets = self.builder, []
        for segment in self.segments:
            digest = self.raw_vector(segment.digest(), 1, 32)
            builder.StartObject(3)
            builder.PrependUint64Slot(0, 1, 0)                  # the offset, filled in by finish()
            self.offset_marks.append(builder.Offset())
            builder.PrependUint64Slot(1, segment.size, 0)
            builder.PrependUOffsetTRelativeSlot(2, digest, 0)
            offsets.append(builder.EndObject())
        return self.offset_vector(offsets)


def _attr(value: Any) -> tuple[int, Any]:
    """The union member of an attribute value: its number, and an object with the field `v`."""
    if isinstance(value, GraphRef):
        return 5, value
    if isinstance(value, bool):
        return 4, _Value(value)
    if isinstance(value, str):
        return 3, _Value(value)
    values = list(value) if isinstance(value, (list, tuple)) else [value]
    if any(isinstance(v, float) for v in values):
        return 2, _Value([float(v) for v in values])
    return 1, _Value([int(v) for v in values])


class _Value:
    def __init__(self, v: Any) -> None:
        self.v = v


_parsed: dict[str, tuple[list, int]] = {}


def _fields(name: str) -> list[tuple[str, str, Any, int]]:
    """(field, kind, default, vtable slot) of each field of a table, widest scalars first."""
    if name not in _parsed:
        fields, slot = [], 0
        for part in TABLES[name].split():
            field, kind = part.split(":")
            kind, _, default = kind.rstrip("!").partition("=")
            kind = "Segments" if kind == "[Segment]" else kind
            fields.append((field, kind, int(default or 0), slot))
            slot += 2 if kind in UNIONS else 1
        _parsed[name] = (fields, slot)
    return _parsed[name][0]


def _slot_count(name: str) -> int:
    _fields(name)
    return _parsed[name][1]
