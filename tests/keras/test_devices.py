"""Compiled training gives what the host gives: same masks, same statistics, partial batches, no second compilation."""

import gc

import numpy as np
import pytest
import tideflow as tf
from tideflow.function.backend import close_dropped
from tideflow.runtime.discover import open_device

L = tf.keras.layers


def mlp():
    return tf.keras.Sequential(
        [L.Input((8, 8, 1)), L.Flatten(), L.Dense(16, "relu"), L.Dropout(0.3), L.Dense(4, "softmax")]
    )


def cnn():
    return tf.keras.Sequential(
        [
            L.Input((8, 8, 1)),
            L.Conv2D(4, 3, padding="same", use_bias=False),
            L.BatchNormalization(momentum=0.8),
            L.ReLU(),
            L.MaxPooling2D(),
            L.Conv2D(8, 3, activation="relu"),
            L.GlobalAveragePooling2D(),
            L.Dense(4, "softmax"),
        ]
    )


def compiled(make, optimizer="adam"):
    tf.keras.utils.set_random_seed(3)
    model = make()
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def executor(model):
    (held,) = model.engine._devices.values()
    return held[1].executor


def story(make, device, images):
    """Trains, changes the rate, trains on, validates, predicts."""
    x, y = images
    model = compiled(make, tf.keras.optimizers.Adam(1e-2))
    with tf.device(device):
        first = model.fit(x, y, epochs=2, validation_data=(x[:21], y[:21]), verbose=0).history
        between = [w.copy() for w in model.get_weights()]
        sources = list(model.engine.sources.values())
        model.optimizer.learning_rate = 2e-3
        second = model.fit(x, y, epochs=2, validation_data=(x[:21], y[:21]), verbose=0).history
        assert all(a is b for a, b in zip(sources, model.engine.sources.values(), strict=True)), "traced again"
        predicted = model.predict(x[:9], verbose=0)
    return first, second, predicted, between, model.get_weights()


@pytest.mark.parametrize("device", ["wasm", pytest.param("gpu", marks=pytest.mark.gpu)])
@pytest.mark.parametrize("make", [mlp, cnn])
def test_fit_on_a_device_equals_fit_on_the_host(make, device, images, require):
    try:
        open_device(device)
    except Exception as error:  # any reason for which the device cannot be had
        require("wgsl" if device == "gpu" else "wasm", str(error))
    host, found = story(make, "cpu", images), story(make, device, images)
    for a, b in zip(host[:2], found[:2], strict=True):
        assert a.keys() == b.keys()
        for key in a:
            np.testing.assert_allclose(b[key], a[key], rtol=1e-4, atol=1e-4, err_msg=key)
    np.testing.assert_allclose(found[2], host[2], atol=1e-4)
    for a, b in zip(host[3] + host[4], found[3] + found[4], strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-3, atol=1e-4)


def test_nothing_is_left_on_the_device_by_more_epochs(images):
    x, y = images
    model = compiled(cnn)
    with tf.device("wasm"):
        model.fit(x, y, epochs=1, validation_split=0.2, verbose=0)
        model.predict(x, verbose=0)
        before = executor(model).stats()
        model.fit(x, y, epochs=3, validation_split=0.2, verbose=0)
        model.predict(x, verbose=0)
        after = executor(model).stats()
    assert (after.live_buffers, after.programs) == (before.live_buffers, before.programs)


def live_buffers():
    gc.collect()
    close_dropped()
    return open_device("wasm").stats().live_buffers


def test_compiling_anew_releases_the_device(images):
    x, y = images
    before = live_buffers()
    model = compiled(mlp)
    with tf.device("wasm"):
        model.fit(x, y, verbose=0)
        assert live_buffers() > before
        model.compile("sgd", "sparse_categorical_crossentropy")
        assert live_buffers() == before
        model.fit(x, y, verbose=0)


def test_a_model_that_is_gone_releases_the_device(images):
    x, y = images
    before = live_buffers()
    for _ in range(2):
        model = compiled(cnn)
        with tf.device("wasm"):
            model.fit(x, y, verbose=0)
            predicted = model.predict(x[:2], verbose=0)
    del model
    assert live_buffers() == before
    assert np.isfinite(predicted).all()


def test_moving_between_devices_keeps_weights_and_slots(images):
    x, y = images
    alone, moved = compiled(mlp), compiled(mlp)
    for device in ("cpu", "wasm", "cpu", "wasm"):
        alone.fit(x, y, shuffle=False, verbose=0)
        with tf.device(device):
            moved.fit(x, y, shuffle=False, verbose=0)
    for a, b in zip(alone.get_weights(), moved.get_weights(), strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-4, atol=1e-5)
    assert int(moved.optimizer.iterations.numpy()) == 12


def test_weights_set_on_the_host_are_used_on_the_device(images):
    x, y = images
    model = compiled(mlp)
    with tf.device("wasm"):
        model.fit(x, y, verbose=0)
        model.set_weights([np.zeros_like(w) for w in model.get_weights()])
        np.testing.assert_allclose(model.predict(x[:3], verbose=0), 0.25, atol=1e-6)


@pytest.mark.parametrize("nested", [False, True])
def test_frozen_layers_are_not_updated(nested, device, images):
    x, y = images
    inner = [L.Conv2D(4, 3, padding="same"), L.BatchNormalization(momentum=0.5)]
    front = [tf.keras.Sequential([L.Input((8, 8, 1)), *inner])] if nested else inner
    model = tf.keras.Sequential([L.Input((8, 8, 1)), *front, L.GlobalAveragePooling2D(), L.Dense(4, "softmax")])
    for layer in front:
        layer.trainable = False
    model.compile(tf.keras.optimizers.SGD(0.5, momentum=0.9), "sparse_categorical_crossentropy")
    assert len(model.trainable_weights) == 2 and len(model.non_trainable_weights) == 6
    before = model.get_weights()
    model.fit(x, y, verbose=0)
    changed = [not np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True)]
    assert changed == [False] * 6 + [True, True]
    for layer in front:
        layer.trainable = True
    model.fit(x, y, verbose=0)  # as compiled anew: trainability is looked at
    assert not np.array_equal(before[0], model.get_weights()[0])


def steps_of(model):
    found = model.engine.compiled(["wgsl"]).model
    return {s.name: len(found.programs[s.programs[0]].steps) for s in found.signatures}


def test_train_step_of_an_mlp_is_few_kernels():
    model = tf.keras.Sequential([L.Input((784,)), L.Dense(256, "relu"), L.Dense(128, "relu"), L.Dense(10, "softmax")])
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    x, y = np.zeros((8, 784), np.float32), np.zeros(8, np.int64)
    model.fit(x, y, verbose=0)
    assert steps_of(model)["train_step"] <= 12


def test_train_step_of_the_digits_network_is_few_kernels():
    model = tf.keras.Sequential(
        [
            L.Input((8, 8, 1)),
            L.Rescaling(1 / 16),
            L.Conv2D(32, 3, padding="same", activation="relu"),
            L.MaxPooling2D(),
            L.Conv2D(64, 3, padding="same", activation="relu"),
            L.MaxPooling2D(),
            L.Flatten(),
            L.Dense(64, "relu"),
            L.Dropout(0.2),
            L.Dense(10, "softmax"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(np.zeros((4, 8, 8, 1), np.float32), np.zeros(4, np.int64), verbose=0)
    assert steps_of(model)["train_step"] <= 20


def test_batches_of_any_size_use_the_same_programs(images):
    x, y = images
    model = compiled(mlp)
    with tf.device("wasm"):
        model.fit(x, y, verbose=0)
        model.predict(x, verbose=0)
        programs = executor(model).stats().programs
        host = model.predict(x, verbose=0)
        for size in (1, 7, 64):
            np.testing.assert_allclose(model.predict(x, batch_size=size, verbose=0), host, atol=1e-6)
        model.fit(x[:1], y[:1], verbose=0)
        assert executor(model).stats().programs == programs


@pytest.fixture
def two():
    """Two functions that change a variable, each on the device as a model of its own, and one that only reads it."""
    v = tf.Variable([1.0, 2.0])
    changes = (lambda: v.assign_add([1.0, 1.0])), (lambda: v.assign(v * 2.0)), (lambda: v + 0.0)
    return v, *map(tf.function, changes)


@pytest.mark.parametrize("seed", range(4))
def test_states_are_the_newest_whoever_wrote_them(two, seed):
    v, add, double, look = two
    value, rng = np.array([1.0, 2.0], np.float32), np.random.default_rng(seed)
    with tf.device("wasm"):
        for turn in range(60):
            which = rng.integers(6)
            if which == 0:
                value = np.float32([turn, -turn])
                v.assign(value)
            elif which in (1, 2):
                add()
                value = value + 1
            elif which == 3:
                double()
                value = value * 2
            elif which == 4:
                np.testing.assert_array_equal(look(), value)
            else:
                np.testing.assert_array_equal(v, value)
            if np.abs(value).max() > 1e6:
                value = np.zeros(2, np.float32)
                v.assign(value)
    np.testing.assert_array_equal(v, value)


@pytest.mark.parametrize("write", [True, False])
def test_what_others_do_while_a_run_waits_is_seen(two, write, monkeypatch):
    v, add, _, look = two
    with tf.device("wasm"):
        for _ in range(3):
            add()
        held = v.state.owner
        run = held.executor.run

        def waiting(*arguments):
            v.assign([9.0, 9.0]) if write else v.numpy()        # an event handler in a tab, while Python is suspended
            return run(*arguments)

        monkeypatch.setattr(held.executor, "run", waiting)
        add()
        monkeypatch.undo()
        np.testing.assert_array_equal(look(), [5.0, 6.0])
        np.testing.assert_array_equal(v, [5.0, 6.0])
        add()
        np.testing.assert_array_equal(v, [6.0, 7.0])


def test_what_others_write_while_a_run_fetches_a_state_is_seen(monkeypatch):
    first, second = tf.Variable([1.0]), tf.Variable([2.0])
    look = tf.function(lambda: first + second)
    grow = tf.function(lambda: second.assign_add([1.0]))
    with tf.device("wasm"):
        look()
        grow()
        owner = second.state.owner
        fetch = owner.fetch

        def waiting(state):
            monkeypatch.undo()
            first.assign([10.0])            # an event handler in a tab, while Python waits for the value
            return fetch(state)

        first.assign([5.0])
        monkeypatch.setattr(owner, "fetch", waiting)
        look()
        np.testing.assert_array_equal(look(), [13.0])


@pytest.mark.parametrize("write", [True, False])
def test_what_others_do_while_a_value_is_fetched_stays(two, write, monkeypatch):
    v, add, _, look = two
    with tf.device("wasm"):
        add()
        owner = v.state.owner
        fetch = owner.fetch

        def waiting(state):
            monkeypatch.undo()
            value = fetch(state)
            v.assign([7.0, 7.0]) if write else add()        # an event handler in a tab, while Python is suspended
            return value

        monkeypatch.setattr(owner, "fetch", waiting)
        np.testing.assert_array_equal(v, [7.0, 7.0] if write else [2.0, 3.0])
        np.testing.assert_array_equal(v, [7.0, 7.0] if write else [3.0, 4.0])
        add()
        np.testing.assert_array_equal(look(), [8.0, 8.0] if write else [4.0, 5.0])
