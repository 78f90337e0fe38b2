"""Reads a `model.tide` that nobody vouches for: header, segments, hashes here; the rest in `decode.py`, `rules.py`.

`docs/format.md` numbers the rules; `js_bindings/runtime/model.js` is the twin of this file and checks the same things
in the same order, so both refuse the same file with the same rule. Loading executes nothing; data are views.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable
from typing import Any

from ..errors import ModelError
from . import format as form
from .decode import Decoder
from .rules import verify_model
from .tables import IDENTIFIER

__all__ = ["read_model"]

HEADER_MAGIC = b"tdh1"
HEADER_SIZE = 56
SEGMENT_ALIGNMENT = 4096
TENSOR_ALIGNMENT = 256
LARGEST_SEGMENT = 128 * 2**20
MAX_ITEMS = 65_536
MAX_REGION_BYTES = 2**32


def read_model(
    data: bytes | bytearray | memoryview,
    *,
    max_items: int = MAX_ITEMS,
    max_region_bytes: int = MAX_REGION_BYTES,
    check_graph: Callable[[form.Model], None] | None = None,
) -> form.Model:
    """Verifies a whole file and returns its contents; tensors, code and modules are views into `data`, not copies.

    Args:
        data: the file.
        max_items: how many tensors, nodes and steps together are accepted.
        max_region_bytes: how much memory one program may ask for at its smallest sizes.
        check_graph: enforces the rules of class G (the shape rules of ops), which need the op registry.

    Raises:
        ModelError: the first rule that the file breaks, with the field and the reason.
    """
    view = memoryview(data).cast("B")
    flat_size, first = _header(view)
    decoder = Decoder(view[:flat_size], max_items)
    model = decoder.model()
    _check_segments(model.segments, first, len(view))
    _resolve(model, view)
    for index, segment in enumerate(model.segments):
        if hashlib.sha256(view[segment.offset : segment.offset + segment.size]).digest() != segment.sha256:
            raise ModelError("C15-hash", f"segments[{index}]", "the SHA-256 differs: the bytes were changed or damaged")
    verify_model(model, max_region_bytes=max_region_bytes)
    if check_graph is not None:
        check_graph(model)
    return model


def _header(view: memoryview) -> tuple[int, int]:
    """Checks identifier and header; returns the size of the flatbuffer and the offset of the first segment."""
    found = bytes(view[4:8])
    if found != IDENTIFIER:
        newer = found[:3] == IDENTIFIER[:3] and found[3:] > IDENTIFIER[3:]
        why = "made for a newer reader: update tideflow" if newer else "not a model.tide"
        raise ModelError("C01-identifier", "bytes 4-7", f"{why} (expected {IDENTIFIER!r}, found {found!r})")
    if len(view) < 8 + HEADER_SIZE:
        raise ModelError("C02-header", "header", f"the file has only {len(view)} bytes (truncated download?)")
    magic, length, flat, first, body = struct.unpack_from("<4sIQQQ", view, 8)
    if magic != HEADER_MAGIC or length != HEADER_SIZE:
        raise ModelError(
            "C02-header", "header", f"starts with {magic!r}, {length}; expected {HEADER_MAGIC!r}, {HEADER_SIZE}"
        )
    if any(view[40:64]):
        raise ModelError("C02-header", "header", "reserved bytes are not zero")
    start = -(-flat // SEGMENT_ALIGNMENT) * SEGMENT_ALIGNMENT if first != flat else flat
    if flat < 8 + HEADER_SIZE or flat > len(view) or first != start or first + body != len(view):
        raise ModelError(
            "C02-header",
            "header",
            f"a flatbuffer of {flat} bytes, then {body} bytes from {first}: that is "
            f"not this file of {len(view)} bytes (truncated download?)",
        )
    if any(view[flat:first]):
        raise ModelError("C02-header", "header", "padding after the flatbuffer is not zero")
    return flat, first


def _check_segments(segments: list[form.Segment], first: int, end: int) -> None:
    """Segments follow each other on multiples of 4096 without holes and end with the file."""
    at = first
    for index, segment in enumerate(segments):
        where = f"segments[{index}]"
        if len(segment.sha256) != 32:
            raise ModelError("C13-segment", where, f"sha256 has {len(segment.sha256)} bytes, expected 32")
        if at % SEGMENT_ALIGNMENT or segment.offset != at:
            raise ModelError(
                "C13-segment", where, f"starts at {segment.offset}, expected the next multiple of 4096, {at}"
            )
        stop = at + segment.size
        last = index == len(segments) - 1
        if stop > end or (last and stop != end):
            raise ModelError("C13-segment", where, f"ends at byte {stop} of a file of {end} bytes")
        at = stop if last else -(-stop // SEGMENT_ALIGNMENT) * SEGMENT_ALIGNMENT
    if at != end:
        raise ModelError("C13-segment", "segments", f"cover the file up to byte {at} of {end}")


def _resolve(model: form.Model, view: memoryview) -> None:
    """Checks that slices tile their segments and replaces each Slice by a view of its bytes."""
    owned: list[tuple[str, Any, str]] = []
    owned += [(f"tensors[{i}].data", t, "data") for i, t in enumerate(model.tensors) if t.data is not None]
    shared: list[tuple[str, Any, str]] = []
    for p, program in enumerate(model.programs):
        shared += [
            (f"programs[{p}].kernels[{k}].code", kernel, "code")
            for k, kernel in enumerate(program.kernels)
            if kernel.code is not None
        ]
        if program.module is not None:
            owned.append((f"programs[{p}].module", program, "module"))
    uses = [(where, getattr(item, field)) for where, item, field in owned]
    seen = set()
    for where, kernel, _ in shared:  # equal code may be stored once; nothing else is shared
        key = (kernel.code.segment, kernel.code.offset, kernel.code.size)
        if key not in seen:
            seen.add(key)
            uses.append((where, kernel.code))
    for where, piece in uses:
        if piece.segment >= len(model.segments):
            raise ModelError("C14-slice", where, f"segment {piece.segment} of {len(model.segments)}")
    _check_tiling(uses, model.segments, view)
    for _, item, field in owned + shared:
        piece = getattr(item, field)
        start = model.segments[piece.segment].offset + piece.offset
        setattr(item, field, view[start : start + piece.size])


def _check_tiling(uses: list[tuple[str, form.Slice]], segments: list[form.Segment], view: memoryview) -> None:
    uses.sort(key=lambda use: (use[1].segment, use[1].offset, use[1].size))
    at, current, count = 0, -1, 0
    for index, (where, piece) in enumerate(uses):
        if piece.segment != current:
            at, current, count = 0, piece.segment, 0
        start = -(-at // TENSOR_ALIGNMENT) * TENSOR_ALIGNMENT
        if piece.offset != start:
            raise ModelError(
                "C14-slice",
                where,
                f"at {piece.offset} of segment {current}, expected {start}: slices start on "
                "multiples of 256 without overlap or hole",
            )
        base = segments[current].offset
        size = segments[current].size
        if start + piece.size > size:
            raise ModelError("C14-slice", where, f"ends at {start + piece.size} of a segment of {size} bytes")
        if any(view[base + at : base + start]):
            raise ModelError("C14-slice", where, "padding before it is not zero")
        at, count = start + piece.size, count + 1
        if index + 1 == len(uses) or uses[index + 1][1].segment != current:
            if at != size:
                raise ModelError(
                    "C14-slice", where, f"is the last of segment {current} but ends at {at} of {size} bytes"
                )
            if size > LARGEST_SEGMENT and count > 1:
                raise ModelError(
                    "C14-slice", where, f"segment {current} has {size} bytes; above 128 MiB it may hold one slice"
                )
    used = {piece.segment for _, piece in uses}
    for index, segment in enumerate(segments):
        if index not in used:
            raise ModelError("C14-slice", f"segments[{index}]", "nothing refers to it")
        tail = segment.offset + segment.size
        after = segments[index + 1].offset if index + 1 < len(segments) else tail
        if any(view[tail:after]):
            raise ModelError("C14-slice", f"segments[{index}]", "padding after it is not zero")
