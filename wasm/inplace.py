"""CPU:0 in Pyodide: programs run in place on numpy's memory, as side modules loaded with ctypes.

A module imports Pyodide's own memory, so a region's address is simply where a numpy array lies, and inputs are read
where the caller left them. A call costs under a microsecond. Code is never unloaded by the engine, and the same path
gives the old code again, so each module gets a path that contains its hash.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import sys
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..device import Copy, Feed, Layout, Stats
from ..errors import InternalError, InvalidArgumentError, NoExecutorError, ResourceExhaustedError
from ..program.format import Program, Target
from ..program.plan import ALIGNMENT, align
from .fuse import PROBE, fused
from .table import Table

__all__ = ["InplaceDevice", "open_device", "with_dylink"]

INPUT_ALIGNMENT = 16  # v128 loads tolerate any address; the emitter promises no more than this
SMALL = 1 << 14  # bytes of an input that is copied: cheaper than to ask numpy where it lies, 4 us in a tab
MANY_MODULES = 200


@dataclass(eq=False)
class HeapBuffer:
    """An aligned numpy array and its address."""

    array: np.ndarray
    address: int
    size: int


@dataclass(eq=False)
class Loaded:
    program: Program
    function: Any


@dataclass(eq=False)
class Bound:
    loaded: Loaded
    table: Table
    memory: HeapBuffer
    keep: list[Any]  # the buffers whose addresses the table holds
    staged: dict[int, HeapBuffer] = field(default_factory=dict)  # copies of inputs that are not used in place
    small: dict[int, np.ndarray] = field(default_factory=dict)  # where each run puts a small input


class InplaceDevice:
    """A Device (see `core/device.py`) on the memory of the interpreter itself."""

    name = "CPU:0"
    target = Target.WASM
    software = False
    features: frozenset[str] = frozenset()
    borrows_inputs = True

    def __init__(self, folder: str | None = None) -> None:
        self.description = "WebAssembly SIMD in place on numpy's memory"
        self._folder = folder or tempfile.gettempdir()
        self._functions: dict[str, Any] = {}
        self._fuses = _relaxed_simd()
        self._stats = Stats()

    def limits(self) -> Mapping[str, int]:
        return {}

    def stats(self) -> Stats:
        return self._stats

    # memory

    def allocate(self, size: int) -> HeapBuffer:
        size = align(max(size, 4))
        try:
            raw = np.zeros(size + ALIGNMENT, np.uint8)
        except MemoryError:
            raise ResourceExhaustedError(f"the tab has no {size} bytes left. Use a smaller batch or model.") from None
        start = -raw.ctypes.data % ALIGNMENT
        array = raw[start : start + size]
        self._stats.live_buffers += 1
        self._stats.live_bytes += size
        return HeapBuffer(array, array.ctypes.data, size)

    def release(self, buffer: HeapBuffer) -> None:
        if buffer.size == 0:
            raise InternalError("a buffer was released twice")
        self._stats.live_buffers -= 1
        self._stats.live_bytes -= buffer.size
        buffer.size = 0
        buffer.array = np.empty(0, np.uint8)

    def upload(self, buffer: HeapBuffer, offset: int, array: np.ndarray) -> None:
        data = array.reshape(-1).view(np.uint8)
        buffer.array[offset : offset + data.nbytes] = data
        self._stats.uploaded += data.nbytes

    def download(self, buffer: HeapBuffer, offset: int, size: int) -> np.ndarray:
        self._stats.downloaded += size
        return buffer.array[offset : offset + size].copy()

    def copy(self, copies: Sequence[Copy]) -> None:
        for source, target in copies:
            data = source.buffer.array[source.offset : source.offset + source.size]
            target.buffer.array[target.offset : target.offset + source.size] = data

    # programs

    def load(self, program: Program) -> Loaded:
        if program.module is None:
            raise InvalidArgumentError("a WASM program without a module cannot be loaded: the file lacks its code")
        code = with_dylink(bytes(program.module))
        if self._fuses:
            code = fused(code)
        digest = hashlib.sha256(code).hexdigest()
        if digest not in self._functions:
            path = os.path.join(self._folder, f"tideflow_{digest}.so")
            with open(path, "wb") as file:
                file.write(code)
            try:
                function = ctypes.CDLL(path).run  # argtypes stay unset: checking them costs four times the call
            except (OSError, AttributeError) as error:
                raise InvalidArgumentError(f"the WASM module of a program cannot be used: {error}") from None
            self._functions[digest] = function
            if len(self._functions) == MANY_MODULES:
                warnings.warn(
                    f"{MANY_MODULES} compiled modules are loaded and the browser never unloads code: "
                    f"pass inputs of fewer different shapes, or give tf.function an input_signature.",
                    stacklevel=2,
                )
        self._stats.programs += 1
        return Loaded(program, self._functions[digest])

    def unload(self, loaded: Loaded) -> None:
        self._stats.programs -= 1

    def bind(self, loaded: Loaded, layout: Layout) -> Bound:
        addresses = [span.buffer.address + span.offset if span.buffer else 0 for span in layout.spans]
        table = Table(loaded.program, layout, addresses)
        memory = self.allocate(table.words.nbytes)
        view = memory.array[: table.words.nbytes].view(np.uint32)
        view[:] = table.words
        table.words = view  # from now on the table is written where the module reads it
        return Bound(loaded, table, memory, [span.buffer for span in layout.spans])

    def unbind(self, bound: Bound) -> None:
        self.release(bound.memory)
        for buffer in bound.staged.values():
            self.release(buffer)
        bound.staged.clear()
        bound.small.clear()

    def run(self, bound: Bound, host_words: np.ndarray, feeds: Sequence[Feed], copies: Sequence[Copy]) -> None:
        if copies:
            self.copy(copies)
        for feed in feeds:
            place = bound.small.get(feed.region)
            if place is not None:
                place[...] = feed.array
            else:
                bound.table.move_input(feed, self._input_address(bound, feed))
        bound.table.set_host_words(host_words)
        steps = bound.table.steps
        done = bound.loaded.function(bound.memory.address, 0, steps)
        if done != steps:
            raise InternalError(f"a WASM program ran {done} of {steps} steps")
        self._stats.dispatches += steps
        self._stats.submits += 1

    def _input_address(self, bound: Bound, feed: Feed) -> int:
        """Where an input lies: its own memory if it is large and aligned, else a copy whose place is kept for later."""
        array, buffer, start = feed.array, bound.keep[feed.region], 0
        if buffer is not None:  # an input inside a packed region has memory of its own
            start = int(bound.table.words[feed.region]) - buffer.address
        else:
            if array.nbytes > SMALL and (address := array.ctypes.data) % INPUT_ALIGNMENT == 0:
                return address
            if feed.region not in bound.staged:
                bound.staged[feed.region] = self.allocate(array.nbytes)
            buffer = bound.staged[feed.region]
        self.upload(buffer, start, array)
        if array.nbytes <= SMALL:
            place = buffer.array[start : start + array.nbytes].view(array.dtype)
            bound.small[feed.region] = place.reshape(array.shape)
        return int(buffer.address + start)

    def close(self) -> None:
        self._functions.clear()


def with_dylink(module: bytes) -> bytes:
    """The module with an empty `dylink.0` as first section, which marks it as loadable by Pyodide's dynamic linker."""
    marker = b"\x08dylink.0"
    if module[8:9] == b"\x00" and module[10 : 10 + len(marker)] == marker:
        return module
    memory_info = b"\x01\x04\x00\x00\x00\x00"  # sub-section 1: no memory, no table of its own
    body = marker + memory_info
    return module[:8] + b"\x00" + bytes([len(body)]) + body + module[8:]


def _relaxed_simd() -> bool:
    """Whether the engine that runs this interpreter has the multiply-add of one rounding."""
    if sys.platform != "emscripten":
        return False
    from js import WebAssembly
    from pyodide.ffi import to_js

    return bool(WebAssembly.validate(to_js(PROBE)))


def open_device(limits: Mapping[str, int] | None = None, features: frozenset[str] = frozenset()) -> InplaceDevice:
    """A new device. Raises NoExecutorError outside Pyodide, where ctypes cannot load WebAssembly."""
    if sys.platform != "emscripten":
        raise NoExecutorError("programs run in place on numpy's memory in Pyodide alone; use device='wasm' or 'gpu'")
    if features:
        raise NoExecutorError(f"CPU:0 in Pyodide runs baseline SIMD programs, this one needs {sorted(features)}")
    return InplaceDevice()
