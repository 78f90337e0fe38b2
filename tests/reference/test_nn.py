"""tf.nn and tf.random against recorded TensorFlow answers (see nn_cases.py and record_nn.py)."""

import importlib.util
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from tideflow import nn, random
from tideflow.array.sorting import argsort, sort
from tideflow.autodiff.tape import GradientTape
from tideflow.eager.generator import _global
from tideflow.eager.tensor import constant
from tideflow.ops.dispatch import apply
from tideflow.ops.movement import stack
from tideflow.ops.reduce import reduce_sum

HERE = Path(__file__).parent
_spec = importlib.util.spec_from_file_location("nn_cases", HERE / "nn_cases.py")
cases = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(cases)


def unary(name):
    return lambda x: apply(name, x)


tf = SimpleNamespace(
    nn=nn, random=random, stack=stack, sort=sort, argsort=argsort, **{n: unary(n) for n in ("round", "abs", "sigmoid")}
)


def load(name):
    with np.load(HERE / name) as file:
        return dict(file)


@pytest.fixture(scope="module")
def answers():
    return load("nn.npz")


@pytest.fixture(scope="module")
def draws():
    return load("random.npz")


@pytest.mark.parametrize("name", cases.DIFFERENTIABLE)
def test_value_and_gradients_equal_tensorflow(name, answers):
    shapes, function = cases.DIFFERENTIABLE[name]
    xs = [constant(x) for x in cases.numbers(name, *shapes)]
    with GradientTape() as tape:
        tape.watch(xs)
        y = function(tf, *xs)
        weight = np.cos(np.arange(np.prod(y.sizes, dtype=int))).reshape(y.sizes).astype(np.float32)
        weighted = reduce_sum(y * weight)
    np.testing.assert_allclose(y.numpy(), answers[name], rtol=2e-5, atol=2e-6)
    if name in cases.NO_GRADIENT:
        return
    for i, (x, g) in enumerate(zip(xs, tape.gradient(weighted, xs), strict=True)):
        made = np.zeros(x.sizes) if g is None else g.numpy()
        np.testing.assert_allclose(made, answers[f"{name}/{i}"], rtol=5e-5, atol=5e-6, err_msg=f"gradient {i}")


@pytest.mark.parametrize("name", cases.PLAIN)
def test_value_equals_tensorflow(name, answers):
    made = cases.PLAIN[name](tf).numpy()
    assert made.dtype == answers[name].dtype
    np.testing.assert_array_equal(made, answers[name])


@pytest.mark.parametrize("name", cases.RANDOM)
def test_random_numbers_equal_tensorflow(name, draws):
    if name == "only_op_seed":
        _global.seed = None
    made = cases.RANDOM[name](tf)
    assert made.dtype == draws[name].dtype
    if made.dtype.kind in "iu":
        np.testing.assert_array_equal(made, draws[name])
    else:
        np.testing.assert_allclose(made, draws[name], rtol=1e-2 if made.dtype == np.float16 else 2e-6, atol=2e-7)
