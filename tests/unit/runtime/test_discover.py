"""Device names and what is said about absent devices. No device is opened here."""

import pytest
from tideflow.errors import InvalidArgumentError, NoExecutorError
from tideflow.runtime import discover
from tideflow.runtime.discover import Found


@pytest.mark.parametrize(("given", "name"), [
    ("gpu", "GPU:0"), ("/GPU:0", "GPU:0"), ("/device:gpu:0", "GPU:0"), ("CPU", "CPU:0"), ("wasm:0", "WASM:0"),
    ("GPU:1", "GPU:1"),
    ("/job:localhost/replica:0/task:0/device:CPU:0", "CPU:0"), ("/device:CPU:*", "CPU:0"), ("cpu", "CPU:0")])
def test_device_names(given, name):
    assert discover.device_name(given) == name


@pytest.mark.parametrize("given", ["", "tpu", "/job:worker/device:CPU:0", "gpu:x", "gpugpu"])
def test_unknown_names_say_what_is_known(given):
    with pytest.raises(InvalidArgumentError, match="CPU:0, GPU:0, WASM:0"):
        discover.device_name(given)


def test_default_is_the_gpu_only_if_it_is_real(monkeypatch):
    monkeypatch.delenv("TIDEFLOW_DEVICE", raising=False)
    for gpu, default in [(Found("GPU:0", True, False, "card"), "GPU:0"),
                         (Found("GPU:0", True, True, "llvmpipe"), "CPU:0"),
                         (Found("GPU:0", True, False, "bad card", ("matmul: 3 of 9 values are wrong",)), "CPU:0"),
                         (Found("GPU:0", False, False, "no driver"), "CPU:0")]:
        wasm = Found("WASM:0", False, False, "not installed")
        monkeypatch.setattr(discover, "_found", {"GPU:0": gpu, "WASM:0": wasm})
        assert discover.default_device() == default
        assert gpu.reason in discover.describe() and f"default {default}" in discover.describe()


def test_environment_overrules_and_is_checked(monkeypatch):
    monkeypatch.setattr(discover, "_found", {"GPU:0": Found("GPU:0", False, False, "no driver"),
                                             "WASM:0": Found("WASM:0", True, False, "wasmtime")})
    monkeypatch.setenv("TIDEFLOW_DEVICE", "wasm")
    assert discover.default_device() == "WASM:0"
    monkeypatch.setenv("TIDEFLOW_DEVICE", "gpu")
    with pytest.raises(NoExecutorError, match="TIDEFLOW_DEVICE=gpu, but there is no GPU:0: no driver"):
        discover.default_device()


def test_absent_devices_say_why():
    with pytest.raises(NoExecutorError, match="GPU:1 runs no compiled programs here"):
        discover.open_device("GPU:1")
    with pytest.raises(NoExecutorError, match="numpy interprets the graph"):
        discover.open_device("cpu")
