"""One GPU device (software adapters count) for all tests of this folder: opening one takes a second."""

import importlib.util
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def hand():
    """The hand-written model of tests/unit/runtime."""
    path = Path(__file__).parents[1] / "unit" / "runtime" / "hand_made.py"
    spec = importlib.util.spec_from_file_location("tideflow_hand_made", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def opened_gpu():
    from tideflow.errors import NoExecutorError
    from tideflow.gpu_wgsl import native

    try:
        device = native.open_device()
    except NoExecutorError as error:
        yield str(error)
        return
    yield device
    device.close()


@pytest.fixture
def gpu(opened_gpu, require):
    """The device; the test must leave no buffer and no program on it."""
    if isinstance(opened_gpu, str):
        require("wgsl", opened_gpu)
    yield opened_gpu
    stats = opened_gpu.stats()
    assert (stats.live_buffers, stats.live_bytes, stats.programs) == (0, 0, 0)
