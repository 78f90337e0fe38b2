"""The state of one loaded model: its variables in an arena, constants, private zeroed regions, host-owned values."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ..device import Device, Span
from ..errors import InternalError, InvalidArgumentError
from ..program.format import Model, Place, Program, Role
from ..program.plan import align
from .arena import Member, StateArena
from .binding import is_host_owned, known_size
from .values import advance_counter, decode, from_storage, numpy_dtype, to_storage

__all__ = ["ModelState"]


class ModelState:
    """Places STATE and CONSTANT regions of the programs that will run, and reads and writes state by tensor index."""

    def __init__(self, model: Model, device: Device, arena: StateArena | None, keys: Mapping[int, Hashable],
                 programs: Iterable[int], constants: Sequence[int | None]) -> None:
        self.model, self.device = model, device
        self._own_arena = arena is None
        self.arena = arena or StateArena(device)
        self._keys, self._constants, self._private = keys, constants, object()
        self._spans: dict[int, dict[int, Span]] = {}            # program -> top-level region -> where it lies
        self._buffers: list[Any] = []
        self._shared_constants: dict[Any, Any] = {}
        self._shapes: dict[int, tuple[int, ...]] = {}
        self._state_tensors: set[int] = set()
        self._used_host: set[int] = set()
        programs = list(programs)
        try:
            self._place_state(programs)
            for index in programs:
                self._place_fixed(index)
            self._load_host_values()
        except BaseException:
            self.close()
            raise

    def key(self, tensor: int) -> Hashable:
        """The arena's key of a state tensor: the caller's, or one that only this model knows."""
        return self._keys.get(tensor, (id(self._private), tensor))

    def fixed_spans(self, program: int) -> dict[int, Span]:
        """Top-level STATE and CONSTANT regions of a program."""
        return self._spans[program]

    # placing

    def _size(self, dim: int, what: str) -> int:
        return known_size(self.model, self._constants, dim, what)

    def _members(self, program: Program, top: int) -> list[tuple[int, int]]:
        """(region, offset from the top) of every region with a tensor inside a top-level region, itself included."""
        offsets: dict[int, int] = {top: 0}
        for index, region in enumerate(program.regions):
            if region.parent in offsets and index not in offsets:
                offsets[index] = offsets[region.parent] + self._size(region.offset, f"region {index}")
        return [(index, offset) for index, offset in offsets.items() if program.regions[index].tensor >= 0]

    def _place_state(self, programs: list[int]) -> None:
        """Shared STATE regions: those with a common tensor form one chunk, as long as the longest of them."""
        groups: list[tuple[dict[int, Member], list[tuple[int, int]], int]] = []     # members, (program, region), size
        for program_index in programs:
            program = self.model.programs[program_index]
            self._spans[program_index] = {}
            for top, region in enumerate(program.regions):
                if region.place != Place.STATE or region.parent >= 0:
                    continue
                members = {}
                for index, offset in self._members(program, top):
                    inner = program.regions[index]
                    size = self._size(inner.bytes, f"state region {index}")
                    members[inner.tensor] = Member(self.key(inner.tensor), offset, size, inner.storage)
                if members:
                    size = self._size(region.bytes, f"state region {top}")
                    groups = self._merge(groups, (members, [(program_index, top)], size))
        for members, users, size in groups:
            span = self.arena.adopt(members.values(), size)
            for program_index, top in users:
                own = self._size(self.model.programs[program_index].regions[top].bytes, "state region")
                self._spans[program_index][top] = Span(span.buffer, span.offset, own)
            self._state_tensors.update(members)
            for tensor, member in members.items():
                if not self.arena.is_ready(member.key):
                    self._initialise(tensor)

    def _merge(self, groups: list[Any], new: Any) -> list[Any]:
        """Joins a region to the groups that hold one of its tensors."""
        separate = []
        members, users, size = new
        for group in groups:
            common = group[0].keys() & members.keys()
            if not common:
                separate.append(group)
                continue
            for tensor in common:
                if group[0][tensor].offset != members[tensor].offset:
                    raise InternalError(
                        f"state tensor {self.model.tensors[tensor].name!r} is at {group[0][tensor].offset} in one "
                        f"program and at {members[tensor].offset} in another: offsets of shared chunks must agree")
            members, users, size = {**group[0], **members}, [*group[1], *users], max(size, group[2])
        return [*separate, (members, users, size)]

    def _initialise(self, tensor: int) -> None:
        entry = self.model.tensors[tensor]
        if entry.data is not None:
            self.arena.write(self.key(tensor), decode(entry.data, entry.dtype, self._shape(tensor)))
        else:
            self.arena.place(self.key(tensor)).ready = True         # memory starts as zeros

    def _place_fixed(self, index: int) -> None:
        """Private STATE regions (zeros) and CONSTANT regions of one program."""
        program = self.model.programs[index]
        for top, region in enumerate(program.regions):
            if region.parent >= 0 or region.place not in (Place.STATE, Place.CONSTANT) or top in self._spans[index]:
                continue
            size = self._size(region.bytes, f"region {top}")
            members = self._members(program, top) if region.place == Place.CONSTANT else []
            shared = (size, tuple((program.regions[i].tensor, program.regions[i].storage, at) for i, at in members))
            buffer = self._shared_constants.get(shared) if members else None
            if buffer is None:
                buffer = self.device.allocate(align(max(size, 4)))
                self._buffers.append(buffer)
                for inner, offset in members:
                    self._upload_constant(program, inner, buffer, offset)
                if members:
                    self._shared_constants[shared] = buffer
            self._spans[index][top] = Span(buffer, 0, size)

    def _upload_constant(self, program: Program, region: int, buffer: Any, offset: int) -> None:
        inner = program.regions[region]
        entry = self.model.tensors[inner.tensor]
        if entry.data is None:
            raise InternalError(f"constant tensor {entry.name!r} of region {region} has no data")
        value = decode(entry.data, entry.dtype, self._shape(inner.tensor))
        data = to_storage(value, inner.storage, f"constant {entry.name!r}")
        if data.nbytes > self._size(inner.bytes, f"region {region}"):
            raise InternalError(f"constant tensor {entry.name!r} has {data.nbytes} bytes, its region is smaller")
        self.device.upload(buffer, offset, data)

    def _load_host_values(self) -> None:
        """Counters and RNG state get their stored value, or zeros, unless another model brought one."""
        for tensor, entry in enumerate(self.model.tensors):
            if not is_host_owned(self.model, tensor):
                continue
            self._used_host.add(tensor)
            if self.key(tensor) not in self.arena.host:
                shape = self._shape(tensor)
                value = np.zeros(shape, numpy_dtype(entry.dtype))
                if entry.data is not None:
                    value = decode(entry.data, entry.dtype, shape).copy()
                self.arena.host[self.key(tensor)] = value

    def _shape(self, tensor: int) -> tuple[int, ...]:
        if tensor not in self._shapes:
            entry = self.model.tensors[tensor]
            self._shapes[tensor] = tuple(self._size(dim, f"state tensor {entry.name!r}") for dim in entry.shape)
        return self._shapes[tensor]

    # values

    def host(self, tensor: int) -> np.ndarray:
        """The value of a host-owned tensor."""
        key = self.key(tensor)
        if key not in self.arena.host:
            raise InternalError(f"tensor {self.model.tensors[tensor].name!r} is read as a host-owned scalar, but it is "
                                f"neither an input nor a counter or RNG state")
        return self.arena.host[key]

    def host_key(self, tensor: int) -> Hashable:
        """The key of a host-owned tensor in `arena.host`."""
        self.host(tensor)
        return self.key(tensor)

    def advancing(self, tensor: int, by: int | None) -> tuple[Hashable, int | None, bool]:
        """A step for `advance`: how a host-owned tensor changes after a run; None takes it back to its start."""
        return self.host_key(tensor), by, self.model.tensors[tensor].role == Role.RNG

    def advance(self, steps: Iterable[tuple[Hashable, int | None, bool]]) -> None:
        """Changes host-owned tensors after a run: (key, by, whether it is RNG state)."""
        host = self.arena.host
        for key, by, is_rng in steps:
            host[key] = advance_counter(host[key], by, is_rng)

    def _check(self, tensor: int) -> None:
        if tensor not in self._state_tensors and tensor not in self._used_host:
            entry = self.model.tensors[tensor]
            raise InvalidArgumentError(f"tensor {tensor} ({entry.name!r}, {entry.role.name}) is not part of the state "
                                       f"that the programs on {self.device.name} use.")

    def read(self, tensor: int) -> np.ndarray:
        self._check(tensor)
        return self._shaped(tensor, self.arena.read(self.key(tensor)))

    def _shaped(self, tensor: int, value: np.ndarray) -> np.ndarray:
        if is_host_owned(self.model, tensor):
            return value
        entry = self.model.tensors[tensor]
        placed = self.arena.place(self.key(tensor))
        return from_storage(value.view(np.uint8), placed.storage, entry.dtype, self._shape(tensor))

    def tensors(self) -> list[int]:
        """The state that the programs use, host-owned values included, in ascending order."""
        return sorted(self._state_tensors | self._used_host)

    def read_all(self) -> dict[int, np.ndarray]:
        """All state of the model by tensor index, with one download per chunk."""
        values = self.arena.read_all()
        return {tensor: self._shaped(tensor, values[self.key(tensor)]) for tensor in self.tensors()}

    def write(self, tensor: int, value: Any) -> None:
        self._check(tensor)
        entry, shape = self.model.tensors[tensor], self._shape(tensor)
        array = np.asarray(value)
        if array.shape != shape:
            raise InvalidArgumentError(f"state tensor {entry.name!r} has shape {shape}, the value has {array.shape}.")
        self.arena.write(self.key(tensor), array.astype(numpy_dtype(entry.dtype), copy=False))

    def close(self) -> None:
        """Releases constants and private regions, and the arena unless it was passed in."""
        for buffer in self._buffers:
            self.device.release(buffer)
        self._buffers.clear()
        if self._own_arena:
            self.arena.close()
