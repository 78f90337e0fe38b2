"""The self-test passes on the adapter here, and says which kernel is wrong where one is."""

import numpy as np
import pytest
from tideflow.gpu_wgsl import selftest
from tideflow.program.write import write_model
from tideflow.runtime import execute

pytestmark = pytest.mark.gpu


def run(device):
    with execute.load(selftest.model(), device) as executor:
        outputs = executor.run("selftest", selftest.inputs())
        return {name: np.array(outputs[name]) for name in selftest.names()}


def test_device_passes_and_a_wrong_answer_is_named(gpu):
    outputs = run(gpu)
    assert selftest.problems(outputs) == []
    outputs["matmul"].reshape(-1)[7] += 1.0
    outputs["extremes"].reshape(-1)[0] = 0.0
    first, second = selftest.problems(outputs)
    assert first.startswith("extremes: 1 of 32 values are wrong, for example [0] is 0.0, expected nan")
    assert second.startswith("matmul: 1 of 2048")


def test_run_does_it_all_and_leaves_nothing(gpu):
    before = gpu.stats().live_buffers
    assert selftest.run(gpu) == []
    assert gpu.stats().live_buffers == before


def test_model_is_valid_as_a_file():
    assert len(write_model(selftest.model())) > 4096
