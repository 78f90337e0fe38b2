"""Ops and their gradients against TensorFlow's recorded answers: values, dtypes, shapes, kinks, NaN, error types."""

import runpy
from pathlib import Path

import numpy as np
import pytest
import tideflow as tf

HERE = Path(__file__).parent
TABLE = runpy.run_path(str(HERE / "op_cases.py"))
CASES = list(TABLE["all_cases"]())
RECORDED = np.load(HERE / "ops.npz")
# float32 functions whose last digits differ between mathematics libraries, and sums in another order
RTOL, ATOL = 2e-5, 2e-6


def expected(name):
    return {key.split("|")[1]: RECORDED[key] for key in RECORDED.files if key.split("|")[0] == name}


def test_every_case_has_its_own_name():
    names = [name for name, *_ in CASES]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("name, function, arrays", CASES, ids=[name for name, *_ in CASES])
def test_op_equals_tensorflow(name, function, arrays):
    wanted = expected(name)
    assert wanted, f"{name}: not recorded; run record_ops.py with TensorFlow"
    found = TABLE["answer"](tf, function, arrays)
    if "error" in wanted:
        assert str(found.get("error")) == str(wanted["error"])
        return
    assert "error" not in found, f"{name} raised {found['error']}"
    assert set(found) == set(wanted)
    for part, value in wanted.items():
        assert found[part].dtype == value.dtype, part
        assert found[part].shape == value.shape, part
        np.testing.assert_allclose(found[part], value, rtol=RTOL, atol=ATOL, err_msg=f"{name}: {part}")
