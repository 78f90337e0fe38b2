"""GPU:0 natively: programs run by wgpu-native (the package `wgpu`) on Vulkan, Metal or Direct3D 12.

Pipelines are made once per kernel text and bind-group shape, bind groups and uniforms once per set of sizes; a run
writes inputs and host words, then records one encoder and submits once. Every storage binding is `read_write` with an
explicit layout, as in the browser: what is refused there must not pass here.
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..device import Copy, Feed, Launch, Layout, Stats, host_word_indices
from ..errors import DeviceLimitError, DeviceLostError, InternalError, NoExecutorError, ResourceExhaustedError
from ..program.format import Program, StepKind, Target
from ..program.plan import align

__all__ = ["DEFAULT_LIMITS", "NativeGpu", "adapters", "open_device"]

SLOT = 256                      # bytes of a step's uniform slot, and the alignment of dynamic offsets
ITERATION = 16                  # bytes bound for an iteration number
LOOP_DEPTH = 4
EMPTY = 16                      # bytes bound for a region without elements: a shader may see it as an array of vec4

DEFAULT_LIMITS = {              # WebGPU's guaranteed limits, as far as compute cares
    "maxBufferSize": 268435456,
    "maxComputeInvocationsPerWorkgroup": 256,
    "maxComputeWorkgroupSizeX": 256,
    "maxComputeWorkgroupSizeY": 256,
    "maxComputeWorkgroupSizeZ": 64,
    "maxComputeWorkgroupStorageSize": 16384,
    "maxComputeWorkgroupsPerDimension": 65535,
    "maxDynamicUniformBuffersPerPipelineLayout": 8,
    "maxStorageBufferBindingSize": 134217728,
    "maxStorageBuffersPerShaderStage": 8,
    "maxUniformBufferBindingSize": 65536,
    "maxUniformBuffersPerShaderStage": 12,
}


@dataclass(eq=False)
class GpuBuffer:
    """A WebGPU buffer and its size in bytes."""

    handle: Any
    size: int


@dataclass(eq=False)
class Loaded:
    """`pipelines[i]` belongs to step i (None for a LOOP)."""

    program: Program
    pipelines: list[Any]


@dataclass(eq=False)
class Bound:
    """`commands` are (pipeline, bind group, x, y, z, offset count, offsets), raw handles in recording order."""

    commands: list[tuple[Any, Any, int, int, int, int, Any]]
    words: np.ndarray
    targets: np.ndarray
    sources: np.ndarray
    spans: list[Any]
    buffers: list[GpuBuffer] = field(default_factory=list)
    keep: list[Any] = field(default_factory=list)       # objects whose raw handles `commands` holds
    fresh: bool = True


class NativeGpu:
    """A Device (see `core/device.py`) on wgpu-native. Made by `open_device`."""

    name = "GPU:0"
    target = Target.WGSL

    def __init__(self, adapter: Any, limits: Mapping[str, int], features: frozenset[str]) -> None:
        import wgpu
        from wgpu.backends.wgpu_native import _api, ffi, lib

        self._wgpu, self._ffi, self._lib, self._checked = wgpu, ffi, lib, _api.libf
        self._limits = {**DEFAULT_LIMITS, **limits}
        self.features = features
        self.software = adapter.info["adapter_type"] == "CPU"
        self.description = describe_adapter(adapter.info)
        self._device = adapter.request_device_sync(
            required_features=sorted(features), required_limits={_dashed(k): v for k, v in self._limits.items()})
        self._queue = self._device.queue
        self.lost = False                   # `discover` opens another one then
        self._stats = Stats()
        self._pipelines: dict[tuple[bytes, str, int, bool, int], Any] = {}
        self._group_layouts: dict[tuple[int, bool, int], Any] = {}
        self._staging: GpuBuffer | None = None
        self._encoder_descriptor = ffi.new("WGPUCommandEncoderDescriptor *")
        self._pass_descriptor = ffi.new("WGPUComputePassDescriptor *")
        self._buffer_descriptor = ffi.new("WGPUCommandBufferDescriptor *")
        self._submission = ffi.new("WGPUCommandBuffer[1]")

    def limits(self) -> Mapping[str, int]:
        return self._limits

    def stats(self) -> Stats:
        return self._stats

    # memory

    def allocate(self, size: int) -> GpuBuffer:
        usage = self._wgpu.BufferUsage
        return self._allocate(size, usage.STORAGE | usage.COPY_SRC | usage.COPY_DST)

    def _allocate(self, size: int, usage: int) -> GpuBuffer:
        size = align(max(size, 4))
        allowed = self._limits["maxBufferSize"]
        if size > allowed:
            raise DeviceLimitError(f"a buffer of {size} bytes needs maxBufferSize {size}, this device allows {allowed}")
        try:
            handle = self._device.create_buffer(size=size, usage=usage)
        except self._wgpu.GPUError as error:
            raise self._explain(error, f"allocating {size} bytes") from None
        self._stats.live_buffers += 1
        self._stats.live_bytes += size
        return GpuBuffer(handle, size)

    def release(self, buffer: GpuBuffer) -> None:
        if buffer.handle is None:
            raise InternalError("a GPU buffer was released twice")
        buffer.handle.destroy()
        buffer.handle = None
        self._stats.live_buffers -= 1
        self._stats.live_bytes -= buffer.size

    def upload(self, buffer: GpuBuffer, offset: int, array: np.ndarray) -> None:
        if array.nbytes:
            try:
                self._queue.write_buffer(buffer.handle, offset, array.reshape(-1).view(np.uint8))
            except self._wgpu.GPUError as error:
                raise self._explain(error, "uploading") from None
            self._stats.uploaded += array.nbytes

    def download(self, buffer: GpuBuffer, offset: int, size: int) -> np.ndarray:
        if not size:
            return np.empty(0, np.uint8)
        if self._staging is None or self._staging.size < size:
            if self._staging is not None:
                self._staging.handle.destroy()
            usage = self._wgpu.BufferUsage
            self._staging = self._allocate(size, usage.MAP_READ | usage.COPY_DST)
            self._stats.live_buffers -= 1               # the device's own, as the pipelines are
            self._stats.live_bytes -= self._staging.size
        staging = self._staging.handle
        try:
            encoder = self._device.create_command_encoder()
            encoder.copy_buffer_to_buffer(buffer.handle, offset, staging, 0, size)
            self._queue.submit([encoder.finish()])
            staging.map_sync(self._wgpu.MapMode.READ, 0, size)
            data = np.frombuffer(staging.read_mapped(0, size, copy=True), np.uint8)
            staging.unmap()
        except self._wgpu.GPUError as error:
            raise self._explain(error, "reading back") from None
        self._stats.submits += 1
        self._stats.downloaded += size
        return data

    def copy(self, copies: Sequence[Copy]) -> None:
        encoder = self._device.create_command_encoder()
        for source, target in copies:
            encoder.copy_buffer_to_buffer(
                source.buffer.handle, source.offset, target.buffer.handle, target.offset, source.size)
        self._queue.submit([encoder.finish()])
        self._stats.submits += 1

    # programs

    def load(self, program: Program) -> Loaded:
        pipelines: list[Any] = [None] * len(program.steps)
        depths = _loop_depths(program)
        for index, step in enumerate(program.steps):
            if step.kind == StepKind.DISPATCH:
                slot = bool(step.uniforms or step.scalars)
                pipelines[index] = self._pipeline(program, step.kernel, len(step.regions), slot, depths[index])
        self._stats.programs += 1
        return Loaded(program, pipelines)

    def unload(self, loaded: Loaded) -> None:
        loaded.pipelines.clear()            # the pipelines stay: a retrace mostly brings the same kernels
        self._stats.programs -= 1

    def _pipeline(self, program: Program, kernel_index: int, storage: int, slot: bool, depth: int) -> Any:
        kernel = program.kernels[kernel_index]
        if kernel.code is None:
            raise InternalError(f"kernel {kernel.name!r} of a WGSL program has no code")
        allowed = self._limits["maxStorageBuffersPerShaderStage"]
        if storage > allowed:
            raise DeviceLimitError(f"kernel {kernel.name!r} binds {storage} storage buffers, this device allows "
                                   f"{allowed}. Compile with smaller fusion groups or use device='cpu'.")
        code = bytes(kernel.code)
        key = (hashlib.sha256(code).digest(), kernel.entry, storage, slot, depth)
        if key not in self._pipelines:
            try:
                module = self._device.create_shader_module(label=kernel.name, code=code.decode())
                layout = self._device.create_pipeline_layout(
                    bind_group_layouts=[self._group_layout(storage, slot, depth)])
                self._pipelines[key] = self._device.create_compute_pipeline(
                    label=kernel.name, layout=layout, compute={"module": module, "entry_point": kernel.entry})
            except self._wgpu.GPUError as error:
                raise self._explain(error, f"compiling kernel {kernel.name!r}") from None
        return self._pipelines[key]

    def _group_layout(self, storage: int, slot: bool, depth: int) -> Any:
        """Storage buffers 0..n-1, the uniform slot n, and from n+1 on one iteration number per enclosing loop."""
        key = (storage, slot, depth)
        if key not in self._group_layouts:
            visibility = self._wgpu.ShaderStage.COMPUTE
            entries: list[dict[str, Any]] = [
                {"binding": i, "visibility": visibility, "buffer": {"type": "storage"}} for i in range(storage)]
            if slot:
                entries.append({"binding": storage, "visibility": visibility, "buffer": {"type": "uniform"}})
            for level in range(depth):
                entries.append({"binding": storage + 1 + level, "visibility": visibility,
                                "buffer": {"type": "uniform", "has_dynamic_offset": True}})
            self._group_layouts[key] = self._device.create_bind_group_layout(entries=entries)
        return self._group_layouts[key]

    def bind(self, loaded: Loaded, layout: Layout) -> Bound:
        starts, size = [], 0                # one slot per launch that needs one, in words
        for launch in layout.launches:
            starts.append(size)
            size += SLOT // 4 if launch.words or launch.scalars else 0
        words = np.zeros(max(size, 1), np.uint32)
        for launch, start in zip(layout.launches, starts, strict=True):
            words[start : start + len(launch.words)] = launch.words
        targets, sources = host_word_indices(layout.launches, starts)
        bound = Bound([], words, targets, sources, layout.spans)
        usage = self._wgpu.BufferUsage.UNIFORM | self._wgpu.BufferUsage.COPY_DST
        bound.buffers.append(self._allocate(size * 4, usage))
        longest = max((launch.count for launch in layout.launches), default=0)
        if longest:
            numbers = np.zeros((longest, SLOT // 4), np.uint32)
            numbers[:, 0] = np.arange(longest)
            bound.buffers.append(self._allocate(numbers.nbytes, usage))
            self.upload(bound.buffers[1], 0, numbers)
        groups: dict[int, Any] = {}
        try:
            self._record(loaded, layout.launches, starts, bound, groups, 0, len(layout.launches), ())
        except self._wgpu.GPUError as error:
            self.unbind(bound)
            raise self._explain(error, "binding a program") from None
        except DeviceLimitError:
            self.unbind(bound)
            raise
        bound.keep.extend(groups.values())
        return bound

    def _record(self, loaded: Loaded, launches: Sequence[Launch], starts: Sequence[int], bound: Bound,
                groups: dict[int, Any], start: int, end: int, iterations: tuple[int, ...]) -> None:
        """Appends the commands of launches start..end-1, loops unrolled; `groups` are the bind groups made so far."""
        index = start
        while index < end:
            launch = launches[index]
            if launch.step.kind == StepKind.LOOP:
                inner = index + 1 + launch.step.body
                for iteration in range(launch.count):
                    self._record(loaded, launches, starts, bound, groups, index + 1, inner, (*iterations, iteration))
                index = inner
                continue
            if not launch.skipped:
                if index not in groups:
                    groups[index] = self._bind_group(launch, starts[index], bound, len(iterations))
                x, y, z = (*launch.grid, 1, 1)[:3]
                offsets = self._ffi.new("uint32_t[]", [SLOT * i for i in iterations]) if iterations else self._ffi.NULL
                bound.commands.append((loaded.pipelines[index]._internal, groups[index]._internal, x, y, z,
                                       len(iterations), offsets))
            index += 1

    def _bind_group(self, launch: Launch, start: int, bound: Bound, depth: int) -> Any:
        storage = len(launch.step.regions)
        resources: dict[int, dict[str, Any]] = {}
        allowed = self._limits["maxStorageBufferBindingSize"]
        for binding, region in enumerate(launch.step.regions):
            span = bound.spans[region]
            size = align(span.size, 4) or EMPTY
            if size > allowed:
                raise DeviceLimitError(f"a region of {size} bytes needs maxStorageBufferBindingSize {size}, "
                                       f"this device allows {allowed}. Use a smaller batch or device='cpu'.")
            resources[binding] = {"buffer": span.buffer.handle, "offset": span.offset, "size": size}
        slot = bool(launch.step.uniforms or launch.step.scalars)
        if slot:
            resources[storage] = {"buffer": bound.buffers[0].handle, "offset": start * 4, "size": SLOT}
        for level in range(depth):
            resources[storage + 1 + level] = {"buffer": bound.buffers[1].handle, "offset": 0, "size": ITERATION}
        return self._device.create_bind_group(
            layout=self._group_layout(storage, slot, depth),
            entries=[{"binding": number, "resource": resource} for number, resource in resources.items()])

    def unbind(self, bound: Bound) -> None:
        bound.commands.clear()
        bound.keep.clear()
        for buffer in bound.buffers:
            self.release(buffer)
        bound.buffers.clear()

    def run(self, bound: Bound, host_words: np.ndarray, feeds: Sequence[Feed], copies: Sequence[Copy]) -> None:
        for feed in feeds:
            span = bound.spans[feed.region]
            self.upload(span.buffer, span.offset, feed.array)
        if bound.fresh or len(bound.targets):
            if len(bound.targets):
                bound.words[bound.targets] = host_words[bound.sources]
            self.upload(bound.buffers[0], 0, bound.words)
            bound.fresh = False
        try:
            self._submit(bound.commands, copies)
        except self._wgpu.GPUError as error:
            raise self._explain(error, "running a program") from None
        self._stats.dispatches += len(bound.commands)
        self._stats.submits += 1

    def _submit(self, commands: Sequence[tuple[Any, Any, int, int, int, int, Any]], copies: Sequence[Copy]) -> None:
        """One encoder, one compute pass, one submit, by raw handles: half the cost of wgpu's objects per dispatch.

        Mistakes in a pass are reported when the encoder is finished, so only that call and the submit are checked.
        """
        lib, null = self._lib, self._ffi.NULL
        encoder = lib.wgpuDeviceCreateCommandEncoder(self._device._internal, self._encoder_descriptor)
        for source, target in copies:
            lib.wgpuCommandEncoderCopyBufferToBuffer(
                encoder, source.buffer.handle._internal, source.offset,
                target.buffer.handle._internal, target.offset, source.size)
        recorder = lib.wgpuCommandEncoderBeginComputePass(encoder, self._pass_descriptor)
        set_pipeline, set_group = lib.wgpuComputePassEncoderSetPipeline, lib.wgpuComputePassEncoderSetBindGroup
        dispatch = lib.wgpuComputePassEncoderDispatchWorkgroups
        current = null
        for pipeline, group, x, y, z, count, offsets in commands:
            if pipeline != current:
                set_pipeline(recorder, pipeline)
                current = pipeline
            set_group(recorder, 0, group, count, offsets)
            dispatch(recorder, x, y, z)
        lib.wgpuComputePassEncoderEnd(recorder)
        lib.wgpuComputePassEncoderRelease(recorder)
        try:
            self._submission[0] = self._checked.wgpuCommandEncoderFinish(encoder, self._buffer_descriptor)
            self._checked.wgpuQueueSubmit(self._queue._internal, 1, self._submission)
            lib.wgpuCommandBufferRelease(self._submission[0])
        finally:
            lib.wgpuCommandEncoderRelease(encoder)

    def _explain(self, error: Exception, doing: str) -> Exception:
        """wgpu's errors as ours: what was being done, and the first lines of what wgpu said."""
        text = f"{self.name} ({self.description}), {doing}: {str(error)[:2000]}"
        if isinstance(error, self._wgpu.GPUOutOfMemoryError):
            return ResourceExhaustedError(f"{text}. Use a smaller batch or device='cpu'.")
        if re.search(r"device.{0,20}(lost|destroyed)", str(error), re.IGNORECASE):
            self.lost = True
            return DeviceLostError(f"{text}. Load the model again to go on from its last saved state.")
        return InternalError(text)

    def close(self) -> None:
        self._pipelines.clear()
        self._group_layouts.clear()
        if self._staging is not None:
            self._staging.handle.destroy()
            self._staging = None
        self._device.destroy()


def _loop_depths(program: Program) -> list[int]:
    """How many loops enclose each step."""
    depths: list[int] = []
    ends: list[int] = []                    # the last entry of each open loop
    for index, step in enumerate(program.steps):
        while ends and ends[-1] < index:
            ends.pop()
        depths.append(len(ends))
        if step.kind == StepKind.LOOP:
            ends.append(index + step.body)
            if len(ends) > LOOP_DEPTH:
                raise DeviceLimitError(f"step {index} opens loop {len(ends)} inside others, {LOOP_DEPTH} may be nested")
    return depths


def _dashed(name: str) -> str:
    """maxBufferSize -> max-buffer-size, wgpu's spelling."""
    return re.sub(r"([A-Z])", lambda match: "-" + match[1].lower(), name)


def describe_adapter(info: Mapping[str, Any]) -> str:
    """One line about an adapter, for people."""
    kind = "software" if info["adapter_type"] == "CPU" else info["adapter_type"]
    return f"{info['device']}, {info['backend_type']}, {kind}"


def _import_wgpu() -> Any:
    """The package wgpu, or NoExecutorError that says how to get it."""
    if sys.platform == "linux":
        os.environ.setdefault("XDG_RUNTIME_DIR", tempfile.gettempdir())     # without it Mesa complains on stderr
    try:
        import wgpu
        import wgpu.backends.wgpu_native
    except (ImportError, OSError, RuntimeError) as error:
        raise NoExecutorError(
            f"GPU:0 needs the package wgpu ({error}). Install it with: pip install 'tideflow[gpu]'") from None
    return wgpu


def adapters() -> list[dict[str, Any]]:
    """What wgpu-native sees here, one description each; a real GPU has an `adapter_type` other than "CPU"."""
    return [dict(adapter.info) for adapter in _import_wgpu().gpu.enumerate_adapters_sync()]


def open_device(limits: Mapping[str, int] | None = None, features: frozenset[str] = frozenset()) -> NativeGpu:
    """A new device on the adapter that is fastest here, with WebGPU's default limits raised to `limits`.

    Raises:
        NoExecutorError: if the package or an adapter is missing, or the adapter lacks a feature.
        DeviceLimitError: if the adapter allows less than asked for.
    """
    wgpu = _import_wgpu()
    try:
        adapter = wgpu.gpu.request_adapter_sync(power_preference="high-performance")
    except (RuntimeError, wgpu.GPUError) as error:
        raise NoExecutorError(f"GPU:0: wgpu found no adapter ({error}). Install a driver, for example "
                              f"mesa-vulkan-drivers and libvulkan1, or use device='wasm'.") from None
    if lacking := features - frozenset(adapter.features):
        raise NoExecutorError(f"GPU:0 ({describe_adapter(adapter.info)}) lacks the features {sorted(lacking)}")
    for name, value in (limits or {}).items():
        allowed = adapter.limits.get(_dashed(name), value)
        if value > allowed:
            raise DeviceLimitError(f"needs {name} {value}, {describe_adapter(adapter.info)} allows {allowed}")
    return NativeGpu(adapter, limits or {}, features)
