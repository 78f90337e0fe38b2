"""Five steps of each optimizer op against Keras 3 (see record_optimizers.py)."""

from pathlib import Path

import numpy as np
import pytest
import tideflow.ops.optimizer  # noqa: F401
from tideflow.ops.op import find_op

ADAM = {"beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-7}
RMSPROP = {"rho": 0.9, "momentum": 0.0, "epsilon": 1e-7, "centered": False}
SETTINGS = {        # name -> op, learning rate, start of each slot, attributes
    "sgd": ("sgd_step", 0.1, [], {}),
    "sgd_decay": ("sgd_step", 0.1, [], {"weight_decay": 0.04}),
    "momentum": ("momentum_step", 0.1, [0.0], {"momentum": 0.9, "nesterov": False}),
    "nesterov": ("momentum_step", 0.1, [0.0], {"momentum": 0.9, "nesterov": True}),
    "adam": ("adam_step", 0.05, [0.0, 0.0], ADAM),
    "amsgrad": ("adam_amsgrad_step", 0.05, [0.0, 0.0, 0.0], ADAM),
    "adamw": ("adam_step", 0.05, [0.0, 0.0], ADAM | {"weight_decay": 0.03}),
    "adamax": ("adamax_step", 0.05, [0.0, 0.0], ADAM),
    "rmsprop": ("rmsprop_step", 0.05, [0.0], RMSPROP),
    "rmsprop_momentum": ("rmsprop_step", 0.05, [0.0, 0.0], RMSPROP | {"momentum": 0.7}),
    "rmsprop_centered": ("rmsprop_step", 0.05, [0.0, 0.0, 0.0], RMSPROP | {"momentum": 0.7, "centered": True}),
    "adagrad": ("adagrad_step", 0.05, [0.1], {"epsilon": 1e-7}),
    "adadelta": ("adadelta_step", 0.5, [0.0, 0.0], {"rho": 0.95, "epsilon": 1e-7}),
    "lion": ("lion_step", 0.01, [0.0], {"beta_1": 0.9, "beta_2": 0.99}),
}


@pytest.fixture(scope="module")
def recorded():
    with np.load(Path(__file__).with_name("optimizers.npz")) as file:
        return dict(file)


@pytest.mark.parametrize("name", SETTINGS)
def test_five_steps_equal_keras(name, recorded):
    op_name, rate, starts, attrs = SETTINGS[name]
    op = find_op(op_name)
    state = [recorded["start"], *(np.full_like(recorded["start"], s) for s in starts)]
    for t, (gradient, expected) in enumerate(zip(recorded["gradients"], recorded[name], strict=True), start=1):
        time = [np.asarray(t, np.int64)] if op.timed else []
        result = op.numpy(*state, gradient, np.asarray(rate, np.float32), *time, **({"weight_decay": 0.0} | attrs))
        state = list(result) if isinstance(result, tuple) else [result]
        np.testing.assert_allclose(state[0], expected, rtol=3e-6, atol=3e-7, err_msg=f"{name}, step {t}")
