"""Which family of contractions a device gets: asked for, known, measured once, kept."""

from types import SimpleNamespace

import pytest
from tideflow.errors import FailedPreconditionError, InvalidArgumentError
from tideflow.gpu_wgsl import trial
from tideflow.runtime import tuning


@pytest.fixture
def measured(monkeypatch, tmp_path):
    """The devices on which products were timed; "shared" wins."""
    devices = []
    monkeypatch.setenv("TIDEFLOW_CACHE", str(tmp_path))
    monkeypatch.delenv(tuning.ENVIRONMENT, raising=False)
    monkeypatch.setattr(tuning, "_measured", {})
    monkeypatch.setattr(trial, "fastest", lambda device: devices.append(device.description) or "shared")
    return devices


def device(description, software=False):
    return SimpleNamespace(name="GPU:0", description=description, software=software)


def test_what_is_known_is_not_measured(measured):
    assert tuning.family(device("SwiftShader, Vulkan, software", software=True)) == "direct"
    assert tuning.family(device("Apple M3, Metal, IntegratedGPU")) == "direct"
    assert measured == []


@pytest.mark.parametrize(("flags", "family"), [("fma avx avx2", "wide"), ("fma avx avx2 avx512f", "direct"),
                                               ("neon", "direct")])
def test_llvmpipe_gets_large_tiles_where_its_loads_are_dear(measured, monkeypatch, flags, family):
    monkeypatch.setattr(tuning.Path, "read_text", lambda path, encoding: f"flags : {flags}")
    tuning._loads_are_dear.cache_clear()
    assert tuning.family(device("llvmpipe (LLVM 15), Vulkan, software", software=True)) == family
    tuning._loads_are_dear.cache_clear()


def test_a_measurement_is_kept_over_processes(measured, monkeypatch):
    assert tuning.family(device("card 1")) == "shared"
    monkeypatch.setattr(tuning, "_measured", {})            # another process
    assert tuning.family(device("card 1")) == "shared"
    assert measured == ["card 1"]
    assert tuning.family(device("card 2")) == "shared"
    assert measured == ["card 1", "card 2"]


def test_a_damaged_file_is_measured_again(measured, tmp_path):
    (tmp_path / tuning.FILE).write_text('["nonsense", 3]')
    assert tuning.family(device("card 3")) == "shared"
    assert measured == ["card 3"]


class InTab:
    """A device of a tab, where the browser keeps what was measured."""

    name, software, kept = "GPU:0", False, []

    def __init__(self, waits=True):
        self.description, self.waits = "card 4", waits

    def can_wait(self):
        return self.waits

    def recall(self):
        return self.kept

    def remember(self, line):
        self.kept.append(line)


def test_a_tab_keeps_it_in_the_browser(measured, monkeypatch, tmp_path):
    monkeypatch.setattr(InTab, "kept", ["of something else"])
    assert tuning.family(InTab(waits=False)) == "direct"    # and measures as soon as it can wait
    assert measured == [] and tuning.family(InTab()) == "shared"
    monkeypatch.setattr(tuning, "_measured", {})            # the next visit
    assert tuning.family(InTab()) == "shared"
    assert measured == ["card 4"] and len(InTab.kept) == 2
    assert not (tmp_path / tuning.FILE).exists()


def test_a_tab_that_cannot_wait_for_its_device_takes_what_is_good_everywhere(measured, monkeypatch):
    def open_device(name):
        raise FailedPreconditionError("opening the GPU has to wait")

    monkeypatch.setattr(tuning, "open_device", open_device)
    assert tuning.family_of("GPU:0") == "direct"


def test_the_environment_decides(measured, monkeypatch):
    monkeypatch.setenv(tuning.ENVIRONMENT, "shared")
    assert tuning.family(device("llvmpipe", software=True)) == "shared"
    monkeypatch.setenv(tuning.ENVIRONMENT, "fast")
    with pytest.raises(InvalidArgumentError, match="expected 'direct', 'shared' or 'wide'"):
        tuning.family(device("llvmpipe", software=True))
