"""Runs an emitted kernel on a WebGPU adapter through wgpu-py, with explicit layouts as the executors make them."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from tideflow.gpu_wgsl.emit import Emitted
from tideflow.shapes import evaluate

NUMPY = {"f32": np.float32, "i32": np.int32, "u32": np.uint32, "bool": np.uint32}


@lru_cache(maxsize=1)
def device():
    """A device with default limits, or the reason why there is none."""
    try:
        import wgpu

        adapter = wgpu.gpu.request_adapter_sync()
        return adapter.request_device_sync()
    except (ImportError, RuntimeError, OSError) as error:
        return f"no WebGPU adapter: {type(error).__name__}: {error}"


def uniforms(emitted: Emitted, symbols: dict[str, int], scalars: dict | None = None, launch: int = 0) -> np.ndarray:
    """The words of the uniform slot."""
    words = [evaluate(size, symbols) for size in emitted.launches()[launch]]
    for s in emitted.scalars:
        words += list(np.atleast_1d(np.asarray((scalars or {})[s.key], NUMPY[s.dtype])).view(np.uint32))
    return np.array(words, np.uint32)


def groups(emitted: Emitted, symbols: dict[str, int]) -> list[int]:
    """The three workgroup counts."""
    grid = [evaluate(g, symbols) for g in emitted.grid]
    return grid + [1] * (3 - len(grid))


class Runner:
    """One compiled kernel with its buffers."""

    def __init__(self, emitted: Emitted, arrays: list[np.ndarray], symbols=None, scalars=None) -> None:
        import wgpu

        self.device = dev = device()
        storage = wgpu.BufferUsage.STORAGE | wgpu.BufferUsage.COPY_SRC | wgpu.BufferUsage.COPY_DST
        self.arrays = arrays
        self.buffers = [dev.create_buffer_with_data(data=np.ascontiguousarray(a), usage=storage) for a in arrays]
        slots = []
        for launch in range(len(emitted.launches())):
            words = uniforms(emitted, symbols or {}, scalars, launch)
            padded = np.zeros(64, np.uint32)
            padded[: words.size] = words
            slots.append([dev.create_buffer_with_data(data=padded, usage=wgpu.BufferUsage.UNIFORM)] * bool(words.size))
        kinds = [wgpu.BufferBindingType.storage] * len(arrays) + [wgpu.BufferBindingType.uniform] * len(slots[0])
        layout = dev.create_bind_group_layout(entries=[
            {"binding": i, "visibility": wgpu.ShaderStage.COMPUTE, "buffer": {"type": t}}
            for i, t in enumerate(kinds)])
        self.bound = [dev.create_bind_group(layout=layout, entries=[
            {"binding": i, "resource": {"buffer": b, "offset": 0, "size": b.size}}
            for i, b in enumerate([*self.buffers, *slot])]) for slot in slots]
        self.pipeline = dev.create_compute_pipeline(
            layout=dev.create_pipeline_layout(bind_group_layouts=[layout]),
            compute={"module": dev.create_shader_module(code=emitted.code), "entry_point": emitted.entry})
        self.grid = groups(emitted, symbols or {})

    def dispatch(self, times: int = 1) -> None:
        """Runs the kernel in one submit."""
        encoder = self.device.create_command_encoder()
        for _ in range(times):
            run = encoder.begin_compute_pass()
            run.set_pipeline(self.pipeline)
            for group in self.bound:
                run.set_bind_group(0, group)
                run.dispatch_workgroups(*self.grid)
            run.end()
        self.device.queue.submit([encoder.finish()])

    def read(self, number: int) -> np.ndarray:
        """The content of a buffer."""
        a = self.arrays[number]
        return np.frombuffer(self.device.queue.read_buffer(self.buffers[number]), a.dtype).reshape(a.shape).copy()


def run(emitted: Emitted, arrays: list[np.ndarray], symbols=None, scalars=None) -> list[np.ndarray]:
    """Runs a kernel once and returns all buffers."""
    runner = Runner(emitted, arrays, symbols, scalars)
    if 0 not in runner.grid:
        runner.dispatch()
    return [runner.read(i) for i in range(len(arrays))]
