"""Makes broken files mechanically from the samples: the corpus that both readers must refuse alike.

A mutant is (name, bytes, expected): a rule name that both readers must give, "refuse" (any rule, the same from both) or
"either" (both alike; if accepted, `judge.py` says whether that does no harm). Deterministic: the same list every time.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from enum import IntEnum
from typing import Any

from tideflow.errors import ModelError
from tideflow.program.format import Model
from tideflow.program.tables import ENUMS, TABLES, UNIONS
from tideflow.program.write import write_model

Mutant = tuple[str, bytes, str]

LARGEST = {"u8": 2**8 - 1, "u16": 2**16 - 1, "u32": 2**32 - 1, "u64": 2**64 - 1, "i32": 2**31 - 1, "i64": 2**63 - 1}
KINDS = {
    table: {f.split(":")[0]: f.split(":")[1].split("=")[0].rstrip("!") for f in text.split()}
    for table, text in TABLES.items()
}
KINDS["DimExpr"] = {"op": "DimOp", "a": "u64", "b": "u64"}
# which list an index points into, and the lowest value that is no index; the rest of the integers are no indices
INDICES = {
    ("Tensor", "shape"): "dims",
    ("Node", "op"): "opcodes",
    ("Node", "inputs"): "tensors",
    ("Node", "outputs"): "tensors",
    ("Graph", "inputs"): "tensors",
    ("Graph", "outputs"): "tensors",
    ("Range", "symbol"): "symbols",
    ("Requirement", "equal"): "dims",
    ("Region", "bytes"): "dims",
    ("Region", "offset"): "dims",
    ("Region", "tensor"): "tensors",
    ("Step", "grid"): "dims",
    ("Step", "uniforms"): "dims",
    ("Step", "scalars"): "tensors",
    ("Step", "flops"): "dims",
    ("Step", "count"): "dims",
    ("Program", "graph"): "graphs",
    ("Port", "tensor"): "tensors",
    ("Advance", "tensor"): "tensors",
    ("Advance", "by"): "dims",
    ("Signature", "graph"): "graphs",
    ("Signature", "programs"): "programs",
    ("Signature", "reads"): "tensors",
    ("Signature", "writes"): "tensors",
    ("GraphRef", "v"): "graphs",
}


def all_mutants(samples: dict[str, Callable[[], Model]], every: int = 1) -> Iterator[Mutant]:
    """All changed fields, and one of `every` changes of bytes."""
    for name, make in samples.items():
        data = write_model(make())
        for label, mutant, expected in (
            *fields_mutated(make),
            *list(bytes_mutated(data))[::every],
            *fuzzed(data, 600 // every),
        ):
            yield f"{name}: {label}", mutant, expected


# --- values changed in memory, then written -------------------------------------------------------------------------


def fields_mutated(make: Callable[[], Model]) -> Iterator[Mutant]:
    """Every scalar, string and list of every table, changed in several ways, one at a time."""
    for number in range(len(list(_places(make())))):
        for attempt in range(20):
            model = make()
            where, owner, key, table, field = list(_places(model))[number]
            changes = list(_changes(owner, key, table, field, model))
            if attempt >= len(changes):
                break
            label, value, expected = changes[attempt]
            if isinstance(owner, list):
                owner[key] = value
            else:
                setattr(owner, key, value)
            try:
                data = write_model(model, verify=False)
            except (struct.error, TypeError, IndexError, ModelError):  # a value that the writer cannot express
                continue
            yield f"{where} {label}", data, expected


def _places(item: Any, where: str = "") -> Iterator[tuple[str, Any, Any, str, str]]:
    """Every field and list element below `item`: (path, owner, key, table, field)."""
    table = type(item).__name__
    for spec in fields(item):
        value = getattr(item, spec.name)
        path = f"{where}.{spec.name}" if where else spec.name
        if spec.name == "segments":
            continue
        yield path, item, spec.name, table, spec.name
        if is_dataclass(value):
            yield from _places(value, path)
        elif isinstance(value, list):
            for index, element in enumerate(value):
                if is_dataclass(element):
                    yield from _places(element, f"{path}[{index}]")
                elif not isinstance(element, tuple):
                    yield f"{path}[{index}]", value, index, table, spec.name


def _changes(owner: Any, key: Any, table: str, field: str, model: Model) -> Iterator[tuple[str, Any, str]]:
    """(what, new value, expected outcome) for one place."""
    value = owner[key] if isinstance(owner, list) else getattr(owner, key)
    kind = KINDS.get(table, {}).get(field, "").strip("[]")
    if isinstance(value, bool):
        yield "flipped", not value, "either"
    elif isinstance(value, IntEnum):
        for other in {0, value + 1, value - 1, 255} - {int(value)}:
            if other >= 0:
                yield f"= {other}", other, "C08-enum" if other >= ENUMS[type(value).__name__] else "either"
    elif isinstance(value, int):
        limit = len(getattr(model, INDICES[table, field])) if (table, field) in INDICES else None
        lowest = -1 if kind == "i32" else 0
        others = {
            0,
            value + 1,
            value - 1,
            LARGEST.get(kind, 2**31 - 1),
            2**53 if kind in ("u64", "i64") else 0,
            limit or 0,
            -2,
        }
        for other in sorted(others - {value}):
            outside = limit is not None and not lowest <= other < limit
            too_large = abs(other) >= 2**53 and table != "NamedAttr"
            yield f"= {other}", other, "refuse" if outside or too_large else "either"
    elif isinstance(value, float):
        for other in (0.0, float("nan"), float("inf"), -value):
            yield f"= {other}", other, "either"
    elif isinstance(value, str):
        free = table == "NamedAttr" and field == "value"
        required = "!" in {f.split(":")[0]: f for f in TABLES.get(table, "").split()}.get(field, "")
        yield "empty", "", "C06-required" if required else "either"
        yield "with a control character", "a\x1b[2Jb", "either" if free else "C11-name"
        yield "reordered by a terminal", "a\u202eb", "either" if free else "C11-name"
        yield "too long", "\u00e9" * 257, "either" if free else "C11-name"
        yield "of 512 bytes", "n" * 512, "either"
    elif isinstance(value, (bytes, memoryview)):
        sized = field in ("data", "hash", "base") and len(value)
        value = bytes(value)
        for other in (value[:-1], value + b"\0", b"", value * 2):
            if other != value:
                yield f"of {len(other)} bytes", other, "refuse" if sized and len(other) else "either"
        if field == "hash" and value:
            yield "wrong", bytes(32), "P05-kernel"
        yield "absent", None if field != "base" else b"", "either"
    elif isinstance(value, list):
        yield "emptied", [], "either"
        if value:
            yield "shortened", value[:-1], "either"
            named = hasattr(value[-1], "name") and value[-1].name and table not in ("Program",)
            yield "its last repeated", [*value, value[-1]], "C11-name" if named else "either"
            yield "reversed", value[::-1], "either"


# --- bytes changed in the file --------------------------------------------------------------------------------------


def bytes_mutated(data: bytes) -> Iterator[Mutant]:
    yield from _truncated(data)
    yield from _flipped(data)
    yield from _structure(data)


def _truncated(data: bytes) -> Iterator[Mutant]:
    lengths = {*range(0, 80), *range(80, len(data), max(1, len(data) // 60)), len(data) - 1}
    for length in sorted(lengths):
        yield f"truncated to {length}", data[:length], "C01-identifier" if length < 8 else "C02-header"
    for extra in (1, 4096):
        yield f"{extra} bytes appended", data + bytes(extra), "C02-header"


def _flipped(data: bytes) -> Iterator[Mutant]:
    """Every bit of the header, one bit of every byte of the flatbuffer, and a sample of the rest."""
    rng = random.Random(7)
    flat, first = struct.unpack_from("<QQ", data, 16)
    bits = list(range(32, 64 * 8))
    bits += [8 * byte + rng.randrange(8) for byte in (*range(4), *range(64, flat))]
    bits += [8 * rng.randrange(flat, len(data)) + rng.randrange(8) for _ in range(60) if flat < len(data)]
    for bit in bits:
        byte = bit // 8
        rule = (
            "C01-identifier" if 4 <= byte < 8 else "C02-header" if 8 <= byte < 64 or flat <= byte < first else "either"
        )
        if 16 <= byte < 18:  # a flatbuffer size that takes in some of the padding, or leaves some out
            rule = "either"
        if byte >= first:
            rule = "refuse"  # a hash, or padding that is not zero
        yield f"bit {bit} flipped", _with(data, byte, bytes([data[byte] ^ 1 << bit % 8])), rule


def _structure(data: bytes) -> Iterator[Mutant]:
    """Offsets, vtables, lengths, and the scalars of Slice and Segment, each replaced by lies."""
    for where, at, kind in walk(data):
        size = 8 if kind in ("u64", "i64") else 2 if kind == "u16" else 4
        value = int.from_bytes(data[at : at + size], "little")
        top = 256**size
        lies = {
            0,
            1,
            4,
            value + 1,
            value - 1,
            value + 4,
            value - 4,
            value * 2,
            top - 1,
            top // 2,
            len(data),
            len(data) - at,
        }
        for lie in sorted({x % top for x in lies} - {value}):
            fixed = kind in ("u64", "u32") and not where.endswith(("offset", "length"))
            expected = "refuse" if fixed or (lie >= len(data) and kind == "u32") else "either"
            yield f"{where} at {at} = {lie}", _with(data, at, lie.to_bytes(size, "little")), expected


def fuzzed(data: bytes, count: int) -> Iterator[Mutant]:
    """Several random changes at once, in the flatbuffer only, so that hashes hold and later rules are reached."""
    rng = random.Random(11)
    flat = struct.unpack_from("<Q", data, 16)[0]
    for number in range(count):
        mutant = bytearray(data)
        for _ in range(rng.choice((1, 2, 3, 8, 40))):
            at = rng.randrange(64, flat)
            if rng.random() < 0.3:
                at = at // 4 * 4
                mutant[at : at + 4] = struct.pack(
                    "<I", rng.choice((0, 1, 4, flat, rng.randrange(flat), 2**31, 2**32 - 1))
                )
            else:
                mutant[at] = rng.choice((0, 1, 255, rng.randrange(256)))
        yield f"fuzz {number}", bytes(mutant), "either"
    for number in range(count):
        noise = rng.randbytes(rng.randrange(64, 600) // 8 * 8)
        start = struct.pack(
            "<I4s4sIQQQ24x", rng.randrange(64, len(noise) + 64), b"TID1", b"tdh1", 56, *[len(noise) + 64] * 2, 0
        )
        yield f"noise {number}", start + noise, "refuse"


def walk(data: bytes) -> list[tuple[str, int, str]]:
    """(what, position, kind) of everything that shapes the flatbuffer."""
    found = [("root offset", 0, "u32")]

    def u32(at: int) -> int:
        return struct.unpack_from("<I", data, at)[0]

    def table(name: str, at: int) -> None:
        vtable = at - struct.unpack_from("<i", data, at)[0]
        length = struct.unpack_from("<H", data, vtable)[0]
        found.append((f"{name} vtable offset", at, "i32"))
        found.extend((f"{name} vtable", place, "u16") for place in range(vtable, vtable + length, 2))
        slot = 0
        for field, kind in KINDS[name].items():
            union = kind in UNIONS
            place = vtable + 4 + 2 * (slot + union)
            slot += 1 + union
            offset = struct.unpack_from("<H", data, place)[0] if place < vtable + length else 0
            if not offset:
                continue
            if union:
                kind = UNIONS[kind].split()[data[at + struct.unpack_from("<H", data, place - 2)[0]] - 1]
            child(f"{name}.{field}", kind, at + offset)

    def child(where: str, kind: str, at: int) -> None:
        if kind in LARGEST and where.startswith(("Slice.", "Segment.")):
            found.append((where, at, kind))
        if kind in LARGEST or kind in ENUMS or kind in ("bool", "f32", "f64"):
            return
        found.append((f"{where} offset", at, "u32"))
        target = at + u32(at)
        if kind in TABLES:
            table(kind, target)
            return
        found.append((f"{where} length", target, "u32"))
        element = kind[1:-1]
        if element in TABLES or element == "name":
            for index in range(u32(target)):
                child(f"{where}[{index}]", element, target + 4 + 4 * index)

    table("Model", u32(0))
    return list(dict.fromkeys(found))


def _with(data: bytes, at: int, new: bytes) -> bytes:
    return data[:at] + new + data[at + len(new) :]
