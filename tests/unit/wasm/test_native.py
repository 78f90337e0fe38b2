"""The wasmtime device: its heap, a growing memory, traps, a watchdog, broken modules."""

import numpy as np
import pytest
from tideflow.device import Layout
from tideflow.errors import (
    DeviceHungError,
    DeviceLimitError,
    InternalError,
    InvalidArgumentError,
    NoExecutorError,
    ResourceExhaustedError,
)
from tideflow.program.format import Program, Target
from tideflow.wasm import native


@pytest.fixture
def device(require):
    try:
        opened = native.open_device()
    except NoExecutorError as error:
        require("wasm", str(error))
    yield opened
    opened.close()


def program(body, name="run"):
    import wasmtime

    return Program(Target.WASM, module=bytes(wasmtime.wat2wasm(f"""(module (import "env" "memory" (memory 1))
      (func (export "{name}") (param $table i32) (param $first i32) (param $last i32) (result i32) {body}))""")))


def run(device, made):
    bound = device.bind(device.load(made), Layout([], []))
    device.run(bound, np.empty(0, np.uint32), [], [])


def test_heap_reuses_and_merges_blocks():
    heap = native.Heap()
    a, b, c = heap.take(256), heap.take(512), heap.take(256)
    assert (a, b, c) == (256, 512, 1024)
    heap.give(a, 256)
    heap.give(b, 512)
    assert heap.take(768) == 256                # two free neighbours are one block
    heap.give(256, 768)
    assert heap.take(512) == 256 and heap.take(256) == 768
    heap.give(c, 256)
    assert heap.end == 1024                     # a free tail shrinks the heap


def test_memory_grows_and_keeps_its_contents(device):
    first = device.allocate(1000)
    device.upload(first, 0, np.arange(250, dtype=np.float32))
    large = device.allocate(40 << 20)
    device.upload(large, (40 << 20) - 4, np.array([7], np.int32))
    assert device.download(first, 996, 4).view(np.float32) == 249
    assert device.download(large, (40 << 20) - 4, 4).view(np.int32) == 7


def test_buffers_start_as_zeros(device):
    buffer = device.allocate(256)
    device.upload(buffer, 0, np.ones(64, np.float32))
    device.release(buffer)
    assert not device.download(device.allocate(256), 0, 256).any()


def test_misuse_of_buffers_is_found(device):
    buffer = device.allocate(256)
    with pytest.raises(InternalError, match="upload of 8 bytes at 252 into a buffer of 256"):
        device.upload(buffer, 252, np.zeros(2, np.float32))
    device.release(buffer)
    with pytest.raises(InternalError, match="twice"):
        device.release(buffer)


def test_too_much_memory_is_refused(device):
    with pytest.raises(DeviceLimitError, match="4 GiB"):
        device.allocate(1 << 32)
    device.allocate(3 << 30)                    # address space only: nobody touches it
    with pytest.raises(ResourceExhaustedError, match="do not fit WebAssembly's 4 GiB"):
        device.allocate(3 << 29)
    assert device.stats().live_buffers == 1


def test_a_trap_is_an_error_and_the_device_lives_on(device):
    with pytest.raises(InternalError, match=r"(?s)trapped: .*unreachable"):
        run(device, program("unreachable"))
    with pytest.raises(InternalError, match=r"(?s)trapped: .*out of bounds"):
        run(device, program("(i32.load (i32.const -4))"))
    run(device, program("(local.get $last)"))


def test_a_program_that_stops_early_is_an_error(device):
    with pytest.raises(InternalError, match="ran -1 of 0 steps"):
        run(device, program("(i32.const -1)"))


@pytest.mark.parametrize("module", [b"", b"\0asm\1\0\0\0", None])
def test_broken_modules_are_refused(device, module):
    with pytest.raises(InvalidArgumentError, match="module"):
        device.load(Program(Target.WASM, module=module))


def test_a_module_without_run_is_refused(device):
    with pytest.raises(InvalidArgumentError, match="export run"):
        device.load(program("(local.get $last)", name="start"))


def test_the_watchdog_stops_an_endless_loop(require, device):
    guarded = native.open_device(timeout=0.1)
    with pytest.raises(DeviceHungError, match=r"did not end within 0.1 s"):
        run(guarded, program("(loop $for_ever (br $for_ever)) (local.get $last)"))
    run(guarded, program("(local.get $last)"))
    guarded.close()


def test_features_are_refused(device):
    with pytest.raises(NoExecutorError, match="relaxed-simd"):
        native.open_device({}, frozenset({"relaxed-simd"}))
