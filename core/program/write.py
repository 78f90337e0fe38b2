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
from typing import Any, cast

from .flat import FlatBuilder
from .format import Model, Role, Segment, Slice
from .read import HEADER_MAGIC, HEADER_SIZE, LARGEST_SEGMENT, SEGMENT_ALIGNMENT, TENSOR_ALIGNMENT

__all__ = ["write_model"]


def write_model(model: Model, *, verify: bool = True) -> bytes:
    """Returns the file. With `verify`, the rules for programs and signatures are checked first, as a reader would.

    Raises:
        ModelError: if the model breaks a rule of the format: which, where and why.
    """
    if verify:
        from .rules import verify_model  # here: a page that only writes what it compiled does not load the rules

        verify_model(model)
    placed, segments = _place(model)
    buffer = _build(placed, segments)
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
        self.chunks: list[Any] = []
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
        fresh = True  # a new segment starts with the first tensor of each kind
        for index, tensor in enumerate(tensors):
            is_state = index in changed or tensor.role not in (Role.VALUE, Role.CONSTANT)
            if is_state == mutable and tensor.data is not None and not isinstance(tensor.data, Slice):
                tensors[index] = replace(tensor, data=cast(Any, put(tensor.data, fresh)))
                fresh = False
    shared: dict[bytes, Slice] = {}  # equal code is stored once
    programs = []
    for program in model.programs:
        kernels = []
        for kernel in program.kernels:
            if kernel.code is not None:
                code = bytes(kernel.code)
                if code not in shared:
                    shared[code] = put(code, fresh)
                    fresh = False
                digest = kernel.hash or hashlib.sha256(code).digest()
                kernel = replace(kernel, code=cast(Any, shared[code]), hash=digest)
            kernels.append(kernel)
        module: Any = program.module
        if module is not None:
            module, fresh = put(module, fresh), False
        programs.append(replace(program, kernels=kernels, module=module))
    return replace(model, tensors=tensors, programs=programs), segments


def _build(placed: Model, pieces: list[_SegmentBytes]) -> bytearray:
    """The flatbuffer. Where segments start follows from its size, so their offsets are filled in at the end."""
    segments = [Segment(1, piece.size, piece.digest()) for piece in pieces]
    builder = FlatBuilder()
    buffer = builder.build(replace(placed, segments=segments), HEADER_SIZE)
    at = _align(len(buffer), SEGMENT_ALIGNMENT)
    for piece, position in zip(pieces, builder.tables["Segment"], strict=True):
        table = len(buffer) - position
        vtable = table - struct.unpack_from("<i", buffer, table)[0]
        (field,) = struct.unpack_from("<H", buffer, vtable + 4)
        struct.pack_into("<Q", buffer, table + field, at)
        at = _align(at + piece.size, SEGMENT_ALIGNMENT)
    return buffer
