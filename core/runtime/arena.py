"""State that outlives programs: where each variable lies on a device, shared by every program that names it.

A variable has a *key*: any hashable object, chosen by whoever owns the variable. The arena maps it to (chunk,
offset). Programs bind whole chunks or 256-aligned ranges of them; they never copy state. Two models loaded with one
arena and the same key
for a tensor read and write the same bytes; the first to load it brings the initial value.

    arena = StateArena(device)
    arena.reserve([("kernel", 3136, DType.F32), ("bias", 40, DType.F32)])      # neighbours in one chunk
    step = execute.load(model, device, arena=arena, state_keys={0: "kernel", 1: "bias"})
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..device import Device, Span
from ..errors import FailedPreconditionError, InternalError
from ..program.format import DType
from ..program.plan import MAX_CHUNK, align
from .values import to_storage

__all__ = ["Member", "Placement", "StateArena"]

STORED: Mapping[DType, Any] = {DType.F32: np.dtype(np.float32), DType.I32: np.dtype(np.int32),
                               DType.U32: np.dtype(np.uint32)}


@dataclass(frozen=True)
class Member:
    """A variable as a program sees it: its place inside the program's STATE region."""

    key: Hashable
    offset: int
    bytes: int
    storage: DType


@dataclass(eq=False)
class Chunk:
    buffer: Any
    size: int
    keys: set[Hashable] = field(default_factory=set)


@dataclass
class Placement:
    """Where a variable lies. `ready` once it has a value."""

    chunk: Chunk
    offset: int
    bytes: int
    storage: DType
    ready: bool = False


class StateArena:
    """The variables of one device, and the host-owned values (counters, RNG state) beside them."""

    def __init__(self, device: Device, max_chunk: int | None = None) -> None:
        self.device = device
        self.host: dict[Hashable, np.ndarray] = {}
        self._max_chunk = max_chunk or min(MAX_CHUNK, *(device.limits().get(name, MAX_CHUNK) for name in (
            "maxStorageBufferBindingSize", "maxBufferSize")))
        self._places: dict[Hashable, Placement] = {}

    def __contains__(self, key: Hashable) -> bool:
        return key in self._places or key in self.host

    def place(self, key: Hashable) -> Placement:
        """Where a variable lies; a compiler lays out its STATE regions by it."""
        return self._places[key]

    def reserve(self, variables: Iterable[tuple[Hashable, int, DType]]) -> list[Placement]:
        """Gives (key, bytes, storage) triples neighbouring places, in order; keys that have one keep it."""
        variables = list(variables)
        pending: list[tuple[Member, ...]] = []
        group: list[Member] = []
        end = 0
        for key, size, storage in variables:
            if key in self._places or any(member.key == key for member in group):
                continue
            if group and end + size > self._max_chunk:
                pending.append(tuple(group))
                group, end = [], 0
            group.append(Member(key, end, size, storage))
            end = align(end + size)
        for members in [*pending, tuple(group)]:
            if members:
                self._create(members, members[-1].offset + members[-1].bytes)
        return [self._places[key] for key, _, _ in variables]

    def adopt(self, members: Iterable[Member], size: int) -> Span:
        """The bytes for a program's STATE region of `size` bytes that holds `members`.

        New variables get a new chunk; known ones must all lie in one chunk, at the same distances.
        """
        members = list(members)
        known = [member for member in members if member.key in self._places]
        if not known:
            return Span(self._create(members, size).buffer, 0, size)
        first = self._places[known[0].key]
        base = first.offset - known[0].offset
        for member in members:
            placed = self._places.get(member.key)
            if placed is None or placed.chunk is not first.chunk or placed.offset - member.offset != base:
                where = "has no place yet" if placed is None else f"lies at {placed.offset} of its chunk"
                raise InternalError(
                    f"state variable {member.key!r} {where}, but a program expects it at {member.offset} of a region "
                    f"in which {known[0].key!r} is at {known[0].offset} (placed at {first.offset}). Reserve variables "
                    f"that share a region together, before the first program that uses one of them.")
            if placed.storage != member.storage or placed.bytes != member.bytes:
                raise InternalError(f"state variable {member.key!r} is {placed.bytes} bytes of {placed.storage.name}, "
                                    f"a program expects {member.bytes} bytes of {member.storage.name}")
        if base < 0 or base + size > first.chunk.size:
            raise InternalError(f"a STATE region of {size} bytes at {base} does not fit its chunk of "
                                f"{first.chunk.size} bytes")
        return Span(first.chunk.buffer, base, size)

    def _create(self, members: Iterable[Member], size: int) -> Chunk:
        chunk = Chunk(self.device.allocate(size), align(max(size, 4)))
        for member in members:
            chunk.keys.add(member.key)
            self._places[member.key] = Placement(chunk, member.offset, member.bytes, member.storage)
        return chunk

    def is_ready(self, key: Hashable) -> bool:
        """True once a variable has been given a value."""
        return self._places[key].ready

    def write(self, key: Hashable, array: np.ndarray) -> None:
        """Sets a variable, or a host-owned value."""
        if key in self.host:
            self.host[key] = np.array(array, self.host[key].dtype).reshape(self.host[key].shape)
            return
        placed = self._find(key)
        data = array
        if array.dtype != STORED.get(placed.storage) or not array.flags.c_contiguous:
            data = to_storage(array, placed.storage, f"the value of state variable {key!r}")
        if data.nbytes != placed.bytes:
            raise InternalError(f"state variable {key!r} holds {placed.bytes} bytes, the new value has {data.nbytes}")
        self.device.upload(placed.chunk.buffer, placed.offset, data)
        placed.ready = True

    def read(self, key: Hashable) -> np.ndarray:
        """The bytes of a variable as a flat array of its storage type, or a host-owned value."""
        if key in self.host:
            return self.host[key].copy()
        placed = self._find(key)
        return self.device.download(placed.chunk.buffer, placed.offset, placed.bytes).view(STORED[placed.storage])

    def read_all(self) -> dict[Hashable, np.ndarray]:
        """Every variable, with one download per chunk."""
        data: dict[int, np.ndarray] = {}
        values: dict[Hashable, np.ndarray] = {key: value.copy() for key, value in self.host.items()}
        for key, placed in self._places.items():
            if id(placed.chunk) not in data:
                data[id(placed.chunk)] = self.device.download(placed.chunk.buffer, 0, placed.chunk.size)
            part = data[id(placed.chunk)][placed.offset : placed.offset + placed.bytes]
            values[key] = part.view(STORED[placed.storage]).copy()
        return values

    def wait(self) -> None:
        """Returns when the device has done what was submitted."""
        for placed in self._places.values():
            self.device.download(placed.chunk.buffer, 0, 4)
            break

    def forget(self, key: Hashable) -> None:
        """Drops a variable; its chunk is released with the last variable in it. No loaded program may still use it."""
        self.host.pop(key, None)
        placed = self._places.pop(key, None)
        if placed is not None:
            placed.chunk.keys.discard(key)
            if not placed.chunk.keys:
                self.device.release(placed.chunk.buffer)

    def close(self) -> None:
        """Drops everything."""
        for key in list(self._places):
            self.forget(key)
        self.host.clear()

    def _find(self, key: Hashable) -> Placement:
        if key not in self._places:
            raise FailedPreconditionError(f"state variable {key!r} has no place on {self.device.name}. Load a program "
                                          f"that uses it, or reserve it first.")
        return self._places[key]
