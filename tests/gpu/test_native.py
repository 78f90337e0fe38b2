"""wgpu-native as a device: the hand-written model, loops, empty grids, limits, errors of kernels."""

import numpy as np
import pytest
from tideflow.errors import (
    DeviceLimitError,
    DeviceLostError,
    FailedPreconditionError,
    InternalError,
    ModelError,
    NoExecutorError,
)
from tideflow.gpu_wgsl import native
from tideflow.program.format import Limit, Target
from tideflow.runtime import discover, execute
from tideflow.runtime.arena import StateArena

pytestmark = pytest.mark.gpu


def test_steps_train_state(hand, gpu):
    with execute.load(hand.model(Target.WGSL), gpu) as executor:
        kept, drawn = [], 0
        for run, rows in enumerate([3, 1, 64, 3, 1000]):
            x = np.arange(rows * 4, dtype=np.float32).reshape(rows, 4)
            y = executor.run("step", {"x": x, "learning_rate": 0.5 + run})["y"]
            kept.append((y, x * (hand.START + run) * (0.5 + run) + run + drawn))
            drawn += rows
        for y, expected in kept:
            np.testing.assert_allclose(y, expected, rtol=1e-6)
        np.testing.assert_array_equal(executor.run("peek")["w_now"], hand.START + 5)
        assert executor.read(hand.COUNTER) == 5
        del y, kept


def test_a_step_is_one_submit_and_makes_nothing(hand, gpu, monkeypatch):
    with execute.load(hand.model(Target.WGSL), gpu) as executor:
        x = np.ones((8, 4), np.float32)
        executor.run("step", {"x": x})
        for name in ("create_buffer", "create_bind_group", "create_compute_pipeline", "create_shader_module"):
            monkeypatch.setattr(gpu._device, name, lambda *a, name=name, **k: pytest.fail(f"{name} during a step"))
        submits, dispatches = gpu.stats().submits, gpu.stats().dispatches
        executor.run("step", {"x": x})
        assert (gpu.stats().submits - submits, gpu.stats().dispatches - dispatches) == (1, 3)
        monkeypatch.undo()


@pytest.mark.parametrize("rows", [0, 1, 7])
def test_nested_loops_get_their_iteration_numbers(hand, gpu, rows):
    with execute.load(hand.loop_model(), gpu) as executor:
        out = executor.run("count", {"rows": np.zeros(rows, np.uint8)})["out"].numpy()
    assert out.dtype == np.int64
    assert out.tolist() == [10 * outer * rows + rows * (rows - 1) // 2 for outer in range(4)]


def test_an_empty_grid_is_skipped(hand, gpu):
    model = hand.model(Target.WGSL)
    model.programs[0].steps[2].grid = [hand.ZERO]               # the increment of w
    with execute.load(model, gpu) as executor:
        executor.run("step", {"x": np.ones((1, 4), np.float32)})
        np.testing.assert_array_equal(executor.read(hand.W), hand.START)


def test_more_bindings_than_portable_are_refused(hand, gpu):
    model = hand.model(Target.WGSL)
    model.programs[0].steps[0].regions = [5, 2, 1, 3, 4, 5, 2, 1, 3]
    with execute.load(model, gpu) as executor, pytest.raises(ModelError, match="binds 9 regions, at most 8"):
        executor.run("step", {"x": np.ones((1, 4), np.float32)})
    with pytest.raises(DeviceLimitError, match="'multiply' binds 9 storage buffers, this device allows 8"):
        gpu.load(model.programs[0])


def test_broken_kernels_are_named(hand, gpu):
    model = hand.model(Target.WGSL)
    model.programs[0].kernels[1].code = b"@compute fn main() { let x = undefined_name; }"
    with execute.load(model, gpu) as executor, pytest.raises(InternalError, match="compiling kernel 'scale'"):
        executor.run("step", {"x": np.ones((1, 4), np.float32)})


def test_requirements_are_compared_before_compiling(hand, gpu):
    model = hand.model(Target.WGSL)
    model.programs[0].kernels[0].code = b"not a shader"
    model.programs[0].requires.limits = [Limit("maxStorageBuffersPerShaderStage", 10)]
    with pytest.raises(DeviceLimitError, match="maxStorageBuffersPerShaderStage 10, this device allows 8"):
        execute.load(model, gpu)
    model.programs[0].requires.limits, model.programs[0].requires.features = [], ["subgroups"]
    with pytest.raises(NoExecutorError, match="subgroups"):
        execute.load(model, gpu)


def test_a_buffer_that_is_too_large_names_the_limit(gpu):
    with pytest.raises(DeviceLimitError, match="needs maxBufferSize 1073741824, this device allows 268435456"):
        gpu.allocate(1 << 30)


def test_devices_are_asked_for_what_a_model_requires(gpu):
    larger = native.open_device({"maxStorageBuffersPerShaderStage": 10})
    assert larger.limits()["maxStorageBuffersPerShaderStage"] == 10
    larger.close()
    with pytest.raises(DeviceLimitError, match="needs maxStorageBuffersPerShaderStage 100000"):
        native.open_device({"maxStorageBuffersPerShaderStage": 100000})
    with pytest.raises(NoExecutorError, match="no-such-feature"):
        native.open_device({}, frozenset({"no-such-feature"}))


def test_download_of_part_of_a_buffer(gpu):
    buffer = gpu.allocate(1024)
    gpu.upload(buffer, 256, np.arange(64, dtype=np.uint32))
    assert gpu.download(buffer, 260, 8).view(np.uint32).tolist() == [1, 2]
    assert gpu.download(buffer, 0, 256).sum() == 0 and gpu.download(buffer, 0, 0).size == 0
    gpu.release(buffer)
    with pytest.raises(InternalError, match="released twice"):
        gpu.release(buffer)


def test_a_lost_device_is_replaced_and_nothing_is_lost(hand, gpu, monkeypatch):
    doomed = native.open_device()
    monkeypatch.setattr(discover, "_open", {("GPU:0", (), frozenset()): doomed})
    executor = execute.load(hand.model(Target.WGSL), "gpu")
    x = np.ones((2, 4), np.float32)
    for _ in range(2):
        output = executor.run("step", {"x": x}, lambda: {"x": np.ones((2, 4), np.float32)})["y"]
    doomed._device.destroy()                    # what the tests of the browser do to simulate a loss
    with pytest.warns(RuntimeWarning, match="GPU:0 was lost .*2 steps since then were repeated, nothing is lost"):
        third = executor.run("step", {"x": x})["y"]
    assert executor.device is not doomed and doomed.lost
    np.testing.assert_array_equal(output, x * (hand.START + 1) * 0.5 + 3)
    np.testing.assert_array_equal(third, x * (hand.START + 2) * 0.5 + 6)
    np.testing.assert_array_equal(executor.run("peek")["w_now"], hand.START + 3)
    executor.close()
    assert executor.device.stats().live_buffers == 0
    executor.device.close()


def test_a_lost_device_says_so_to_models_that_share_state(hand, gpu):
    doomed = native.open_device()
    executor = execute.load(hand.model(Target.WGSL), doomed, arena=StateArena(doomed))
    x = np.ones((2, 4), np.float32)
    output = executor.run("step", {"x": x})["y"]
    doomed._device.destroy()
    with pytest.raises(DeviceLostError, match="Load the model again"):
        executor.run("step", {"x": x})
    with pytest.raises((DeviceLostError, FailedPreconditionError)):
        output.numpy()
    executor.close()
