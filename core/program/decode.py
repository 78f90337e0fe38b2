"""Decodes the flatbuffer inside a `model.tide`: every offset, length, number, name and enum is checked before use.

Driven by the field lists of `tables.py`, with a plan cached per vtable, since Pyodide pays for every operation. The
work is linear in the size of the buffer: every object is charged against it, so objects that overlap run out of budget.
Twin: the class Decoder in `js_bindings/runtime/model.js`. The rules are numbered in `docs/format.md`.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from typing import Any, NoReturn

from ..errors import ModelError
from . import format as form
from .tables import ENUMS, STRUCTS, TABLES, UNIONS

__all__ = ["Decoder"]

SCHEMA_VERSION = 1
LARGEST = 2**53 - 1
LONGEST_NAME = 512
START = 64  # bytes of root offset, identifier and header

# control characters, and those that reorder text on a terminal
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
_COUNTED = {"Tensor", "Node", "Step"}

_u16 = struct.Struct("<H").unpack_from
_u32 = struct.Struct("<I").unpack_from
_i32 = struct.Struct("<i").unpack_from

_SCALARS = {
    "u8": ("B", 1),
    "u16": ("H", 2),
    "u32": ("I", 4),
    "u64": ("Q", 8),
    "i32": ("i", 4),
    "i64": ("q", 8),
    "f32": ("f", 4),
    "f64": ("d", 8),
    "bool": ("B", 1),
}

_PLAIN = {"u8", "u16", "u32", "i32", "f32", "f64"}  # any value will do

Reader = Callable[["Decoder", int], Any]


class Decoder:
    """One pass over a flatbuffer by the field lists of `tables.py`; every access is checked first."""

    def __init__(self, view: memoryview, max_items: int) -> None:
        self.view, self.end = view, len(view)
        self.budget = self.end  # bytes that objects may still cover
        self.items = max_items
        self.objects = 8 * max_items
        self.path: list[str | int] = []
        self.plans: dict[tuple[int, _Spec], _Plan] = {}
        self.newer = True

    def fail(self, rule: str, why: str) -> NoReturn:
        where = ""
        for part in self.path:
            where += f"[{part}]" if isinstance(part, int) else f".{part}" if where else part
        raise ModelError(rule, where or "root", why)

    def model(self) -> form.Model:
        (root,) = _u32(self.view, 0)
        (version,) = self.table(_spec("Version"), root)
        if version == 0:
            self.fail("C12-version", "schema_version is 0")
        self.newer = version > SCHEMA_VERSION
        self.plans.clear()
        self.budget, self.objects = self.end, self.objects + 1
        decoded: form.Model = self.table(_spec("Model"), root)
        return decoded

    def charge(self, size: int) -> None:
        self.budget -= size
        if self.budget < 0:
            self.fail("C10-shared", "objects overlap: together they are larger than the flatbuffer")

    def plan(self, spec: _Spec, vtable: int) -> _Plan:
        """How to read a table with this vtable: checked once, used for every table that shares it."""
        view = self.view
        if vtable & 1 or vtable < START or vtable + 4 > self.end:
            self.fail("C03-table", f"vtable at {vtable}")
        (length,), (size,) = _u16(view, vtable), _u16(view, vtable + 2)
        if length < 4 or length & 1 or vtable + length > self.end or size < 4:
            self.fail("C03-table", f"vtable at {vtable} of {length} bytes for a table of {size}")
        slots = struct.unpack_from(f"<{length // 2 - 2}H", view, vtable + 4)
        known = len(spec.widths)
        if not self.newer and any(slots[known:]):
            self.fail("C12-version", f"has fields that schema version {SCHEMA_VERSION} does not know")
        offsets = list(slots[:known]) + [0] * (known - len(slots))
        wide = []
        for offset, width in zip(offsets, spec.widths, strict=True):
            if offset and (offset < 4 or offset + width > size or offset & (width - 1) & 3):
                self.fail("C03-table", f"field at {offset} of a table of {size} bytes, or not aligned")
            if offset and width == 8:
                wide.append(offset)
        return _Plan(spec, offsets, size, wide)

    def table(self, spec: _Spec, at: int) -> Any:
        if at & 3 or at < START or at + 4 > self.end:
            self.fail("C03-table", f"table at {at} of {self.end}")
        vtable = at - _i32(self.view, at)[0]
        plan = self.plans.get((vtable, spec))
        if plan is None:
            plan = self.plans[vtable, spec] = self.plan(spec, vtable)
        if at + plan.size > self.end:
            self.fail("C03-table", f"table at {at} of {plan.size} bytes ends after {self.end}")
        for offset in plan.wide:
            if (at + offset) & 7:
                self.fail("C03-table", f"field at {at + offset} is not aligned")
        self.budget -= plan.size
        if self.budget < 0:
            self.charge(0)
        self.objects -= 1
        if self.objects < 0:
            self.fail("C09-count", "more objects than accepted: raise max_items if the file is trusted")
        values = plan.absent.copy()
        for index in plan.lists:
            values[index] = []
        view = self.view
        for index, offset, unpack, read, name in plan.steps:
            if unpack is not None:
                (values[index],) = unpack(view, at + offset)
            else:
                self.path.append(name)
                values[index] = read(self, at + offset)
                self.path.pop()
        return spec.make(*values)

    def union(self, kinds: list[str], kind: int, at: int) -> Any:
        if not 1 <= kind <= len(kinds):
            self.fail("C08-enum", f"unknown type {kind}")
        return self.table(_spec(kinds[kind - 1]), self.target(at))

    def target(self, at: int) -> int:
        offset: int = _u32(self.view, at)[0]
        if offset == 0:
            self.fail("C03-table", "the offset is 0")
        return at + offset

    def vector(self, at: int, size: int, alignment: int) -> tuple[int, int]:
        """The start and length of the vector that `at` refers to, for elements of `size` bytes."""
        at = self.target(at)
        if at & 3 or at + 4 > self.end:
            self.fail("C04-vector", f"vector at {at} of {self.end}")
        (count,) = _u32(self.view, at)
        if (at + 4) & (alignment - 1) or at + 4 + count * size > self.end:
            self.fail("C04-vector", f"vector at {at} of {count} elements ends after {self.end}, or is not aligned")
        self.charge(4 + count * size)
        return at + 4, count

    def text(self, at: int, longest: int = LARGEST) -> str:
        start, size = self.vector(at, 1, 1)
        if size > longest:
            self.fail("C11-name", f"has more than {longest} bytes")
        if start + size >= self.end or self.view[start + size]:
            self.fail("C05-string", "does not end with a zero byte")
        try:
            return str(self.view[start : start + size], "utf-8")
        except UnicodeDecodeError:
            self.fail("C05-string", "is not UTF-8")

    def name(self, at: int) -> str:
        text = self.text(at, LONGEST_NAME)
        if _UNPRINTABLE.search(text):
            self.fail("C11-name", "contains control characters")
        return text


def _read_scalar(code: str, kind: str) -> Reader:
    unpack = struct.Struct("<" + code).unpack_from
    if kind == "bool":

        def read(decoder: Decoder, at: int) -> Any:
            value = decoder.view[at]
            if value > 1:
                decoder.fail("C07-number", f"{value} is neither false nor true")
            return value == 1
    elif kind in ENUMS:
        members = list(getattr(form, kind))

        def read(decoder: Decoder, at: int) -> Any:
            value = decoder.view[at]
            if value >= len(members):
                decoder.fail("C08-enum", f"unknown {kind} {value}")
            return members[value]
    else:

        def read(decoder: Decoder, at: int) -> Any:
            (value,) = unpack(decoder.view, at)
            if not -LARGEST <= value <= LARGEST:
                decoder.fail("C07-number", f"{value} is not within 2^53-1")
            return value

    return read


def _read_vector(kind: str) -> Reader:
    if kind == "u8":

        def read(decoder: Decoder, at: int) -> Any:
            start, count = decoder.vector(at, 1, 1)
            return bytes(decoder.view[start : start + count])
    elif kind in _SCALARS:
        code, size = _SCALARS[kind]

        def read(decoder: Decoder, at: int) -> Any:
            start, count = decoder.vector(at, size, size)
            return list(struct.unpack_from(f"<{count}{code}", decoder.view, start))
    elif kind in STRUCTS:

        def read(decoder: Decoder, at: int) -> Any:
            return _read_dims(decoder, at)
    else:
        spec = None if kind == "name" else _spec(kind)

        def read(decoder: Decoder, at: int) -> Any:
            start, count = decoder.vector(at, 4, 4)
            if kind in _COUNTED:
                decoder.items -= count
                if decoder.items < 0:
                    decoder.fail(
                        "C09-count",
                        "more tensors, nodes and steps than accepted: raise max_items if the file is trusted",
                    )
            items = []
            for index in range(count):
                decoder.path.append(index)
                place = start + 4 * index
                items.append(decoder.name(place) if spec is None else decoder.table(spec, decoder.target(place)))
                decoder.path.pop()
            return items

    return read


def _read_dims(decoder: Decoder, at: int) -> list[form.DimExpr]:
    """The vector of DimExpr, the one struct of the schema."""
    start, count = decoder.vector(at, 24, 8)
    decoder.objects -= count
    if decoder.objects < 0:
        decoder.fail("C09-count", "more objects than accepted: raise max_items if the file is trusted")
    members = list(form.DimOp)
    dims: list[form.DimExpr] = []
    for op, a, b in struct.iter_unpack("<B7xQQ", decoder.view[start : start + 24 * count]):
        if op >= len(members) or a > LARGEST or b > LARGEST:
            decoder.path.append(len(dims))
            if op >= len(members):
                decoder.fail("C08-enum", f"unknown DimOp {op}")
            decoder.fail("C07-number", f"{max(a, b)} is not within 2^53-1")
        dims.append(form.DimExpr(members[op], a, b))
    return dims


class _Spec:
    """How to read one kind of table: its fields in order, the widths of its vtable slots, and what to make of it."""

    def __init__(self, name: str) -> None:
        self.make = _maker(name)
        self.fields: list[tuple[str, str, int, bool, Any, Any]] = []  # (name, kind, slot, required, reader, default)
        self.widths: list[int] = []
        for part in ("schema_version:u16" if name == "Version" else TABLES[name]).split():
            field, kind = part.split(":")
            kind, _, default = kind.partition("=")
            required, kind = kind.endswith("!") or kind in UNIONS, kind.rstrip("!")
            if kind in UNIONS:
                self.widths.append(1)
            self.fields.append(
                (field, kind, len(self.widths), required, _reader(kind), _absent(kind, int(default or 0)))
            )
            self.widths.append(_SCALARS[kind][1] if kind in _SCALARS else 1 if kind in ENUMS else 4)


class _Plan:
    """A _Spec together with a vtable: which fields are there, in the order of the schema."""

    def __init__(self, spec: _Spec, offsets: list[int], size: int, wide: list[int]) -> None:
        self.size, self.wide = size, wide
        self.absent: list[Any] = []  # the values of the fields that are not there
        self.lists: list[int] = []  # those of them that need a list of their own
        self.steps: list[tuple[Any, ...]] = []  # (index, offset, struct reader or None, reader, name)
        for index, (name, kind, slot, required, read, default) in enumerate(spec.fields):
            offset = offsets[slot]
            self.absent.append(default)
            if not offset and required:
                self.steps.append((index, 0, None, _read_missing, name))
            elif not offset and default == []:
                self.lists.append(index)
            elif offset and kind in UNIONS:
                at = offsets[slot - 1] - offset if offsets[slot - 1] else 0
                self.steps.append((index, offset, None, _read_union(kind, at), name))
            elif offset and required:
                self.steps.append((index, offset, None, _read_required, name))
            elif offset:
                plain = struct.Struct("<" + _SCALARS[kind][0]).unpack_from if kind in _PLAIN else None
                self.steps.append((index, offset, plain, read, name))


def _read_missing(decoder: Decoder, at: int) -> NoReturn:
    decoder.fail("C06-required", "is absent")


def _read_required(decoder: Decoder, at: int) -> str:
    """Only names are required, apart from unions."""
    return decoder.name(at) or decoder.fail("C06-required", "is empty")


def _read_union(kind: str, type_at: int) -> Reader:
    """`type_at`: where the number of the member stands, from the offset to the member; 0 if it is absent."""
    members = UNIONS[kind].split()

    def read(decoder: Decoder, at: int) -> Any:
        return decoder.union(members, decoder.view[at + type_at] if type_at else 0, at)

    return read


def _reader(kind: str) -> Any:
    if kind in ("name", "text"):
        return getattr(Decoder, kind)
    if kind.startswith("["):
        return _read_vector(kind[1:-1])
    if kind in TABLES:
        spec = _spec(kind)
        return lambda decoder, at: decoder.table(spec, decoder.target(at))
    return None if kind in _PLAIN or kind in UNIONS else _read_scalar(_SCALARS.get(kind, ("B",))[0], kind)


def _absent(kind: str, default: int) -> Any:
    """What a field that is not there means."""
    if kind in ENUMS:
        return next(iter(getattr(form, kind)))
    if kind in _SCALARS:
        return bool(default) if kind == "bool" else float(default) if kind[0] == "f" else default
    if kind in ("name", "text"):
        return ""
    if kind == "[u8]":
        return b""
    return [] if kind.startswith("[") else None


def _maker(name: str) -> Callable[..., Any]:
    if name in ("Ints", "Floats", "Text", "Flag"):
        return lambda v: v
    if name in ("KeyValue", "Version"):
        return lambda *values: values
    if name == "Model":
        return _make_model
    table: Callable[..., Any] = getattr(form, name)
    return table


def _make_model(*values: Any) -> form.Model:
    names = [part.split(":")[0] for part in TABLES["Model"].split()]
    model = form.Model(**dict(zip(names, values, strict=True)))
    for program in model.programs:
        program.requires = program.requires or form.Requirement()
    return model


_specs: dict[str, _Spec] = {}


def _spec(name: str) -> _Spec:
    if name not in _specs:
        _specs[name] = _Spec(name)
    return _specs[name]
