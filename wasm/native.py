"""WASM:0 natively: programs run by wasmtime in one memory that belongs to this device.

Region addresses are offsets in that memory; a small first-fit heap hands them out. The memory may move when it grows,
so views of it are taken anew whenever its size has changed.
"""

from __future__ import annotations

import ctypes
import hashlib
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..device import Copy, Feed, Layout, Stats
from ..errors import (
    DeviceHungError,
    DeviceLimitError,
    InternalError,
    InvalidArgumentError,
    NoExecutorError,
    ResourceExhaustedError,
)
from ..program.format import Program, Target
from ..program.plan import align
from .cache import compile_module
from .table import Table

__all__ = ["WasmtimeDevice", "open_device"]

PAGE = 65536
LARGEST_ADDRESS = (1 << 32) - PAGE
FIRST_ADDRESS = 256  # address 0 stays unused, so that a missing region is not somebody's memory


@dataclass(eq=False)
class WasmBuffer:
    """A block of the device's memory."""

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
    memory: WasmBuffer
    spans: list[int]
    fresh: bool = True  # the table has not been written to memory yet


class Heap:
    """First-fit blocks in [FIRST_ADDRESS, end), all multiples of 256; neighbours merge when freed."""

    def __init__(self) -> None:
        self.end = FIRST_ADDRESS
        self._free: list[tuple[int, int]] = []  # (address, size), ascending

    def take(self, size: int) -> int:
        for index, (address, room) in enumerate(self._free):
            if room >= size:
                self._free[index : index + 1] = [(address + size, room - size)] if room > size else []
                return address
        address, self.end = self.end, self.end + size
        return address

    def give(self, address: int, size: int) -> None:
        blocks = sorted([*self._free, (address, size)])
        merged: list[tuple[int, int]] = []
        for start, room in blocks:
            if merged and sum(merged[-1]) == start:
                merged[-1] = (merged[-1][0], merged[-1][1] + room)
            else:
                merged.append((start, room))
        if merged and sum(merged[-1]) == self.end:
            self.end = merged.pop()[0]
        self._free = merged


class WasmtimeDevice:
    """A Device (see `core/device.py`) on wasmtime."""

    name = "WASM:0"
    target = Target.WASM
    software = False
    features: frozenset[str] = frozenset()

    def __init__(self, timeout: float | None = None) -> None:
        """`timeout`: seconds after which a run is stopped. It costs half the speed: for files of unknown origin."""
        import wasmtime
        from wasmtime import _ffi

        self._wasmtime, self._ffi = wasmtime, _ffi
        config = wasmtime.Config()
        config.wasm_simd = True
        config.epoch_interruption = timeout is not None
        self._timeout = timeout
        self._engine = wasmtime.Engine(config)
        self._store = wasmtime.Store(self._engine)
        self._memory = wasmtime.Memory(self._store, wasmtime.MemoryType(wasmtime.Limits(1, None)))
        self._heap = Heap()
        self._bytes = np.empty(0, np.uint8)
        self._size = self._used = 0
        self._stats = Stats()
        self._cache: dict[bytes, Any] = {}
        self._arguments = (_ffi.wasmtime_val_raw_t * 3)()
        self.description = "wasmtime, 128-bit SIMD"
        self._grow(PAGE)

    def limits(self) -> Mapping[str, int]:
        return {}

    def stats(self) -> Stats:
        return self._stats

    # memory

    def allocate(self, size: int) -> WasmBuffer:
        size = align(max(size, 4))
        if size > LARGEST_ADDRESS:
            raise DeviceLimitError(f"a buffer of {size} bytes does not fit WebAssembly's 4 GiB of memory")
        address = self._heap.take(size)
        try:
            self._grow(self._heap.end)
        except ResourceExhaustedError:
            self._heap.give(address, size)
            raise
        self._bytes[address : min(address + size, self._used)] = 0  # memory beyond was never handed out: zeros
        self._used = max(self._used, address + size)
        self._stats.live_buffers += 1
        self._stats.live_bytes += size
        return WasmBuffer(address, size)

    def release(self, buffer: WasmBuffer) -> None:
        if buffer.size == 0:
            raise InternalError("a WASM buffer was released twice")
        self._heap.give(buffer.address, buffer.size)
        self._stats.live_buffers -= 1
        self._stats.live_bytes -= buffer.size
        buffer.size = 0

    def upload(self, buffer: WasmBuffer, offset: int, array: np.ndarray) -> None:
        data = array.reshape(-1).view(np.uint8)
        if offset + data.nbytes > buffer.size:
            raise InternalError(f"upload of {data.nbytes} bytes at {offset} into a buffer of {buffer.size}")
        start = buffer.address + offset
        self._bytes[start : start + data.nbytes] = data
        self._stats.uploaded += data.nbytes

    def download(self, buffer: WasmBuffer, offset: int, size: int) -> np.ndarray:
        start = buffer.address + offset
        self._stats.downloaded += size
        return self._bytes[start : start + size].copy()

    def copy(self, copies: Sequence[Copy]) -> None:
        for source, target in copies:
            start, to = source.buffer.address + source.offset, target.buffer.address + target.offset
            self._bytes[to : to + source.size] = self._bytes[start : start + source.size]

    def _grow(self, end: int) -> None:
        """Makes the memory reach `end` and renews the view of it."""
        if end <= self._size:
            return
        if end > LARGEST_ADDRESS:
            raise ResourceExhaustedError(f"{end} bytes of buffers do not fit WebAssembly's 4 GiB. Use a smaller batch.")
        pages = -(-(end - self._size) // PAGE)
        if self._size:
            pages = max(pages, min(self._size // PAGE // 4, (LARGEST_ADDRESS - end) // PAGE))  # grow by a quarter
        have = self._memory.size(self._store)
        need = (self._size // PAGE) + pages - have
        if need > 0:
            try:
                self._memory.grow(self._store, need)
            except self._wasmtime.WasmtimeError as error:
                raise ResourceExhaustedError(
                    f"the WASM memory cannot grow from {have * PAGE} to {end} bytes: {error}. Use a smaller batch."
                ) from None
        self._size = self._memory.data_len(self._store)
        address = ctypes.addressof(self._memory.data_ptr(self._store).contents)
        self._bytes = np.ctypeslib.as_array((ctypes.c_uint8 * self._size).from_address(address))

    # programs

    def load(self, program: Program) -> Loaded:
        if program.module is None:
            raise InvalidArgumentError("a WASM program without a module cannot be loaded: the file lacks its code")
        code = bytes(program.module)
        key = hashlib.sha256(code).digest()
        function = self._cache.get(key)
        if function is None:
            try:
                module = compile_module(self._wasmtime, self._engine, code, f"epochs={self._timeout is not None}")
                function = self._wasmtime.Instance(self._store, module, [self._memory]).exports(self._store)["run"]
            except (self._wasmtime.WasmtimeError, KeyError) as error:
                raise InvalidArgumentError(
                    f"the WASM module of a program cannot be used: {error}. It must import env.memory alone "
                    f"and export run(table, first, last)."
                ) from None
            self._cache[key] = function
        self._stats.programs += 1
        return Loaded(program, function)

    def unload(self, loaded: Loaded) -> None:
        self._stats.programs -= 1  # wasmtime frees an instance with its store: the code stays until `close`

    def bind(self, loaded: Loaded, layout: Layout) -> Bound:
        addresses = [span.buffer.address + span.offset if span.buffer else 0 for span in layout.spans]
        table = Table(loaded.program, layout, addresses)
        return Bound(loaded, table, self.allocate(table.words.nbytes), addresses)

    def unbind(self, bound: Bound) -> None:
        self.release(bound.memory)

    def run(self, bound: Bound, host_words: np.ndarray, feeds: Sequence[Feed], copies: Sequence[Copy]) -> None:
        if copies:
            self.copy(copies)
        for feed in feeds:
            start = bound.spans[feed.region]
            data = feed.array.reshape(-1).view(np.uint8)
            self._bytes[start : start + data.nbytes] = data
            self._stats.uploaded += data.nbytes
        if bound.fresh or len(host_words):
            bound.table.set_host_words(host_words)
            start = bound.memory.address
            self._bytes[start : start + bound.table.words.nbytes] = bound.table.words.view(np.uint8)
            bound.fresh = False
        self._call(bound.loaded.function, bound.memory.address, bound.table.steps)
        self._stats.dispatches += bound.table.steps
        self._stats.submits += 1

    def _call(self, function: Any, table: int, steps: int) -> None:
        """`run(table, 0, steps)` without wasmtime's conversion of every argument (58 us a call)."""
        watchdog = self._watchdog() if self._timeout is not None else None
        values, ffi = self._arguments, self._ffi
        values[0].i32 = ctypes.c_int32(table).value
        values[1].i32 = 0
        values[2].i32 = steps
        trap = ctypes.POINTER(ffi.wasm_trap_t)()
        error = ffi.wasmtime_func_call_unchecked(
            self._store._context(), ctypes.byref(function._func), values, 3, ctypes.byref(trap)
        )
        if watchdog is not None:
            watchdog.cancel()
        if trap:
            reason = self._wasmtime.Trap._from_ptr(trap)
            if reason.trap_code == self._wasmtime.TrapCode.INTERRUPT:
                raise DeviceHungError(
                    f"a WASM program did not end within {self._timeout:g} s and was stopped. "
                    f"Do not trust its file, or allow it more time."
                )
            raise InternalError(f"a WASM kernel trapped: {reason.message}")
        if error:
            raise InternalError(f"a WASM program failed: {self._wasmtime.WasmtimeError._from_ptr(error)}")
        if values[0].i32 != steps:
            raise InternalError(f"a WASM program ran {values[0].i32} of {steps} steps")

    def _watchdog(self) -> threading.Timer:
        """Stops the run about to start when the time is up; the caller cancels it."""
        self._store.set_epoch_deadline(1)
        timer = threading.Timer(self._timeout or 0.0, self._engine.increment_epoch)
        timer.daemon = True
        timer.start()
        return timer

    def close(self) -> None:
        self._cache.clear()
        self._bytes = np.empty(0, np.uint8)
        self._size = 0
        self._store.close()


def open_device(
    limits: Mapping[str, int] | None = None, features: frozenset[str] = frozenset(), timeout: float | None = None
) -> WasmtimeDevice:
    """A new device. Raises NoExecutorError if wasmtime is not installed or lacks a feature."""
    if features:
        raise NoExecutorError(f"wasmtime runs baseline SIMD programs, this one needs {sorted(features)}")
    try:
        return WasmtimeDevice(timeout)
    except ImportError as error:
        raise NoExecutorError(
            f"WASM:0 needs the package wasmtime ({error}). Install it with: pip install 'tideflow[wasm]'"
        ) from None
