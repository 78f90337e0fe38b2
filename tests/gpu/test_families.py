"""The families of contractions on the adapter here: timed against each other, and whole programs in either."""

import numpy as np
import pytest
import tideflow as tf
from tideflow.function.backend import target_of
from tideflow.gpu_wgsl import trial
from tideflow.gpu_wgsl.emit import Options
from tideflow.runtime.tuning import ENVIRONMENT

pytestmark = pytest.mark.gpu


def test_families_are_timed_and_leave_nothing(gpu):
    before = gpu.stats().live_buffers
    found = trial.times(gpu, 96)
    assert set(found) == {"direct", "shared"} and all(seconds > 0 for seconds in found.values())
    assert trial.fastest(gpu, 64) in found
    assert gpu.stats().live_buffers == before


def test_a_family_that_computes_something_else_is_not_taken(gpu, monkeypatch):
    emit = trial.emit

    def wrong(kernel, options, lengths):
        return emit(trial._product(64) if options.shared is False else half(kernel), options, lengths)

    def half(kernel):
        made = trial._product(64)
        return trial.Kernel("half", made.axes, (trial.Store(2, made.stores[0].index, made.stores[0].value * 0.5),),
                            made.buffers)

    monkeypatch.setattr(trial, "emit", wrong)
    assert set(trial.times(gpu, 64)) == {"direct"}


@pytest.mark.parametrize("family", ["direct", "shared", "wide"])
def test_training_is_the_same_in_either_family(gpu, monkeypatch, family):
    monkeypatch.setenv(ENVIRONMENT, family)
    assert target_of("GPU:0") == ("wgsl" if family == "direct" else f"wgsl:{family}")
    rng = np.random.default_rng(0)
    x = rng.standard_normal((64, 12, 12, 3)).astype(np.float32)
    w = rng.standard_normal((3, 3, 3, 64)).astype(np.float32) * 0.1
    v = rng.standard_normal((64, 64)).astype(np.float32) * 0.1

    def loss(w, v):
        with tf.GradientTape() as tape:
            tape.watch([w, v])
            hidden = tf.nn.relu(tf.nn.conv2d(x, w, 2, "SAME"))
            value = tf.reduce_mean(tf.square(tf.matmul(tf.reshape(hidden, [-1, 64]), v)))
        return (value, *tape.gradient(value, [w, v]))

    wanted = [np.asarray(t) for t in loss(tf.constant(w), tf.constant(v))]
    with tf.device("/GPU:0"):
        found = [t.numpy() for t in tf.function(loss)(tf.constant(w), tf.constant(v))]
    for a, b in zip(found, wanted, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)


def test_families_differ_in_code():
    product = trial._product(64)
    assert "var<workgroup>" not in trial.emit(product, Options()).code
    assert "var<workgroup>" in trial.emit(product, trial.FAMILIES["shared"]).code
