"""GPU:0 in Pyodide: drives the WebGPU device of the JavaScript runtime (`runtime/python.js`) from the same worker.

Buffers, programs and bindings are whole numbers here; a run is one call whose table lies in Python's memory and is read
there. At most two runs are under way. A GPU device that is lost stays lost: `discover` opens another, and a
`GuardedExecutor` makes the state there what it was.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..device import Copy, Feed, Layout, Span, Stats
from ..errors import NoExecutorError
from ..program.format import Program, Target
from . import bridge
from .run_table import RunTable, row

__all__ = ["BrowserGpu", "open_device"]

MOST_IN_FLIGHT = 2
MOST_KEPT = 8               # lines about an adapter


@dataclass(eq=False)
class Buffer:
    """A GPU buffer by the runtime's number, and its size in bytes."""

    id: int
    size: int


@dataclass(eq=False)
class Bound:
    """A binding by the runtime's number, where its regions lie, and the table of its runs, made by the first."""

    id: int
    spans: list[Span]
    table: RunTable | None = None


class BrowserGpu:
    """A Device (see `core/device.py`) on `navigator.gpu`. Made by `open_device`."""

    name = "GPU:0"
    target = Target.WGSL

    def __init__(self, device: Any) -> None:
        import pyodide_js

        self._device = device
        self._launch = device.run           # looked up once: each look makes a proxy
        device.attach(pyodide_js._module)
        about = json.loads(device.about())
        self.description: str = about["description"]
        self.software: bool = about["software"]
        self.features = frozenset(about["features"])
        self._limits: dict[str, int] = about["limits"]
        self._kept: str = about["kept"]
        self._stats = Stats()
        self._crowded = False

    def limits(self) -> Mapping[str, int]:
        return self._limits

    def stats(self) -> Stats:
        self._stats.submits = int(self._device.submits())
        self._stats.dispatches = int(self._device.dispatches)
        return self._stats

    def _call(self, method: Any, *arguments: Any) -> Any:
        try:
            return method(*arguments)
        except bridge.ffi().JsException as error:
            bridge.raise_from(error)

    def _wait(self, method: str, *arguments: Any, what: str) -> Any:
        return bridge.wait(lambda: getattr(self._device, method)(*arguments), what)

    @property
    def lost(self) -> bool:
        """Whether the GPU is gone: then every call raises DeviceLostError."""
        return bool(self._device.isLost())

    # what was measured here

    def can_wait(self) -> bool:
        """Whether a time can be read back now."""
        return bridge.can_wait()

    def recall(self) -> list[str]:
        """What `remember` was given on this adapter, in this visit or an earlier one: lines."""
        return self._kept.splitlines()

    def remember(self, line: str) -> None:
        """Keeps a line in the browser, beside those that are kept already."""
        self._kept = "\n".join([*self.recall(), line][-MOST_KEPT:])
        self._device.note(self._kept)

    # memory

    def allocate(self, size: int) -> Buffer:
        size = max(4, -(-size // 4) * 4)
        buffer = Buffer(self._call(self._device.allocate, size), size)
        self._stats.live_buffers += 1
        self._stats.live_bytes += size
        return buffer

    def release(self, buffer: Buffer) -> None:
        self._call(self._device.release, buffer.id)
        self._stats.live_buffers -= 1
        self._stats.live_bytes -= buffer.size

    def upload(self, buffer: Buffer, offset: int, array: np.ndarray) -> None:
        if array.nbytes:
            array = np.ascontiguousarray(array)
            self._call(self._device.upload, buffer.id, offset, array.ctypes.data, array.nbytes)
            self._stats.uploaded += array.nbytes

    def download(self, buffer: Buffer, offset: int, size: int) -> np.ndarray:
        data = np.empty(size, np.uint8)
        if size:
            self._wait("download", buffer.id, offset, size, data.ctypes.data, what="reading a value back")
            self._stats.downloaded += size
        return data

    def copy(self, copies: Sequence[Copy]) -> None:
        rows = np.array([word for copy in copies for word in row(copy)], np.uint32)
        if copies:
            self._call(self._device.copy, rows.ctypes.data, len(copies))

    # programs

    def load(self, program: Program) -> int:
        text = json.dumps({
            "kernels": [{"name": kernel.name, "entry": kernel.entry, "code": bytes(kernel.code or b"").decode()}
                        for kernel in program.kernels],
            "steps": [{"kind": int(step.kind), "kernel": step.kernel, "regions": list(step.regions),
                       "uniforms": list(step.uniforms), "scalars": list(step.scalars), "body": step.body}
                      for step in program.steps],
        })
        self._stats.programs += 1
        if bridge.can_wait():
            return int(self._wait("load", text, what="compiling"))
        return int(self._call(self._device.loadNow, text))

    def unload(self, loaded: int) -> None:
        self._call(self._device.unload, loaded)
        self._stats.programs -= 1

    def bind(self, loaded: int, layout: Layout) -> Bound:
        text = json.dumps({
            "spans": [[span.buffer.id if span.buffer is not None else 0, int(span.offset), int(span.size)]
                      for span in layout.spans],
            "launches": [{"grid": [int(n) for n in launch.grid], "words": [int(word) for word in launch.words],
                          "scalars": [int(i) for i in launch.scalars], "count": int(launch.count)}
                         for launch in layout.launches],
        })
        return Bound(int(self._call(self._device.bind, loaded, text)), layout.spans)

    def unbind(self, bound: Bound) -> None:
        self._call(self._device.unbind, bound.id)

    def run(self, bound: Bound, host_words: np.ndarray, feeds: Sequence[Feed], copies: Sequence[Copy]) -> None:
        table = bound.table
        held = table.write(host_words, feeds, copies) if table is not None else None
        if table is None or held is None:
            table = bound.table = RunTable(bound.id, bound.spans, len(host_words), feeds)
            held = table.write(host_words, feeds, copies)
        self._stats.uploaded += table.uploaded
        under_way = self._call(self._launch, table.pointer)
        del held                            # the call has copied them
        self._crowded = under_way >= MOST_IN_FLIGHT

    def pause(self) -> None:
        """Waits while too many runs are under way. Others may run programs meanwhile."""
        if self._crowded and bridge.can_wait():
            self._crowded = False
            self._wait("ready", what="training")

    def close(self) -> None:
        self._device.close()
        self._stats = Stats()


def open_device(limits: Mapping[str, int] | None = None, features: frozenset[str] = frozenset()) -> BrowserGpu:
    """A new device with default limits plus these. Raises NoExecutorError with the reason if there is none."""
    runtime = bridge.runtime()
    options = json.dumps({"features": sorted(features),
                          "limits": [{"name": name, "value": int(value)} for name, value in (limits or {}).items()]})
    if runtime.preparedForPython() is None:             # none was prepared, or that one was lost
        bridge.wait(lambda: runtime.preparePython(options), "opening the GPU")
    if isinstance(runtime.preparedForPython(), str) and bridge.can_wait():     # perhaps its process was restarting
        bridge.wait(lambda: runtime.preparePython(options), "opening the GPU")
    prepared = runtime.preparedForPython()
    if isinstance(prepared, str):
        raise NoExecutorError(prepared)
    device = BrowserGpu(prepared)
    allowed = device.limits()
    if features <= device.features and all(allowed.get(k, 0) >= v for k, v in (limits or {}).items()):
        return device
    return BrowserGpu(bridge.wait(lambda: runtime.PythonDevice.open(options), "opening the GPU"))
