"""Directional gradient checks in float64, shared by the gradient tests."""

import numpy as np
import pytest
from tideflow.autodiff.gradients import Recording, gradients
from tideflow.eager.run_op import wrap
from tideflow.ops.dispatch import pushed
from tideflow.ops.elementwise import zeros_like
from tideflow.ops.reduce import reduce_sum


def taped_gradients(f, xs):
    """The value of f at tensors xs, and its gradient for each (zeros where no path leads), all made by ops."""
    recorder = Recording()
    with pushed(recorder):
        value = f(*xs)
    found = gradients(recorder.entries, [value], [None], xs)
    return value, [zeros_like(x) if g is None else g for g, x in zip(found, xs, strict=True)]


def check_gradient(f, *inputs, order=2, step=1e-5, tolerance=1e-6):
    """Compares a directional derivative of the recorded ops with a central difference, then does so with the gradient.

    `f` takes and gives tensors; `inputs` are float64 arrays.
    """
    rng = np.random.default_rng(0)
    inputs = [np.asarray(x, np.float64) for x in inputs]
    direction = [np.asarray(rng.standard_normal(x.shape)) for x in inputs]
    weight = wrap(np.asarray(rng.standard_normal(tuple(f(*map(wrap, inputs)).sizes))))

    def scalar(*xs):
        return reduce_sum(f(*xs) * weight)

    def value_at(distance):
        return float(
            scalar(*(wrap(np.asarray(x + distance * d)) for x, d in zip(inputs, direction, strict=True))).host()
        )

    _, found = taped_gradients(scalar, [wrap(x) for x in inputs])
    for g, x in zip(found, inputs, strict=True):
        assert tuple(g.sizes) == x.shape and g.dtype == "float64"
    taped = sum(float((g.host() * d).sum()) for g, d in zip(found, direction, strict=True))
    numeric = (value_at(step) - value_at(-step)) / (2 * step)
    scale = 1 + abs(numeric)
    assert abs(taped - numeric) <= tolerance * scale, f"order {order}: taped {taped}, by differences {numeric}"
    if order > 1:
        mixing = [wrap(np.asarray(rng.standard_normal(x.shape))) for x in inputs]

        def first(*xs):
            _, made = taped_gradients(scalar, xs)
            total = None
            for g, m in zip(made, mixing, strict=True):
                part = reduce_sum(g * m)
                total = part if total is None else total + part
            return total

        check_gradient(first, *inputs, order=order - 1, step=step, tolerance=10 * tolerance)


@pytest.fixture(name="check_gradient")
def check_gradient_fixture():
    """The check itself."""
    return check_gradient
