"""A GPU that is not known to be right is tested once; the answer is kept while kernels and driver stay the same."""

from types import SimpleNamespace

import pytest
from tideflow.errors import InternalError
from tideflow.gpu_wgsl import selftest
from tideflow.runtime import trust


@pytest.fixture
def runs(monkeypatch, tmp_path):
    """What the self-test answers, and which devices it ran on."""
    state = SimpleNamespace(answer=[], devices=[])

    def run(device):
        state.devices.append(device.description)
        if isinstance(state.answer, Exception):
            raise state.answer
        return state.answer

    monkeypatch.setenv("TIDEFLOW_CACHE", str(tmp_path))
    monkeypatch.setattr(selftest, "run", run)
    monkeypatch.setattr(trust, "_known", {})
    return state


def device(description):
    return SimpleNamespace(name="GPU:0", description=description)


def test_passing_is_kept_over_processes(runs, monkeypatch):
    assert trust.problems(device("card 1, Vulkan")) == ()
    assert trust.problems(device("card 1, Vulkan")) == ()
    monkeypatch.setattr(trust, "_known", {})                    # another process
    assert trust.problems(device("card 1, Vulkan")) == ()
    assert runs.devices == ["card 1, Vulkan"]
    monkeypatch.setattr(trust, "_known", {})
    monkeypatch.setattr(selftest, "fingerprint", lambda: "other kernels")
    trust.problems(device("card 1, Vulkan"))
    assert len(runs.devices) == 2


def test_wrong_results_warn_once_and_are_not_kept(runs, monkeypatch):
    runs.answer = ["matmul: 3 of 9 values are wrong"]
    with pytest.warns(RuntimeWarning, match=r"card 2.*computes wrong results: matmul: 3 of 9.*device='wasm'"):
        assert trust.problems(device("card 2")) == ("matmul: 3 of 9 values are wrong",)
    assert trust.problems(device("card 2")) == ("matmul: 3 of 9 values are wrong",)
    monkeypatch.setattr(trust, "_known", {})
    runs.answer = []                                            # a new driver
    assert trust.problems(device("card 2")) == ()
    assert len(runs.devices) == 2


def test_a_test_that_does_not_run_is_a_problem(runs):
    runs.answer = InternalError("compiling kernel 'softmax': no")
    with pytest.warns(RuntimeWarning, match="the self-test does not run: compiling kernel 'softmax': no"):
        assert len(trust.problems(device("card 3"))) == 1


def test_software_adapters_of_the_tests_are_trusted(runs, monkeypatch):
    assert trust.problems(device("llvmpipe (LLVM 15.0.6, 256 bits), Vulkan, software")) == ()
    assert runs.devices == []


@pytest.mark.parametrize("content", ["", "{}", "[1, null]", '["\\ud800'])
def test_a_damaged_cache_is_as_good_as_none(runs, tmp_path, content):
    (tmp_path / trust.FILE).write_text(content)
    assert trust.problems(device("card 4")) == ()
    assert runs.devices == ["card 4"]


def test_without_a_cache_each_process_tests(runs, monkeypatch):
    monkeypatch.setenv("TIDEFLOW_CACHE", "off")
    assert trust.problems(device("card 5")) == ()
    monkeypatch.setattr(trust, "_known", {})
    assert trust.problems(device("card 5")) == ()
    assert len(runs.devices) == 2
