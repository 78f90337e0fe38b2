"""fit, evaluate and predict: data of all kinds, weights of samples, histories, seeds, stopping."""

import asyncio

import numpy as np
import pytest
import tideflow as tf

L, K = tf.keras.layers, tf.keras


def line(**settings):
    model = K.Sequential([L.Input((5,)), L.Dense(1)])
    model.compile(settings.pop("optimizer", "sgd"), settings.pop("loss", "mse"), **settings)
    return model


def classifier():
    model = K.Sequential([L.Input((8, 8, 1)), L.Flatten(), L.Dense(8, "relu"), L.Dropout(0.3), L.Dense(4, "softmax")])
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def test_history_has_each_epoch_and_the_validation(rows):
    model = line(metrics=["mae"])
    history = model.fit(*rows, epochs=3, validation_split=0.2, verbose=0)
    assert set(history.history) == {"loss", "mae", "val_loss", "val_mae"}
    assert history.epoch == [0, 1, 2] and all(len(v) == 3 for v in history.history.values())
    assert history.params == {"verbose": 0, "epochs": 3, "steps": 2} and model.history is history
    assert model.fit(*rows, epochs=5, initial_epoch=3, verbose=0).epoch == [3, 4]


def test_validation_is_the_last_part_before_shuffling(rows):
    x, y = rows
    model = line()
    split = model.fit(x, y, validation_split=0.25, verbose=0).history["val_loss"][0]
    assert split == pytest.approx(model.evaluate(x[45:], y[45:], verbose=0), rel=1e-5)


def test_validation_frequency_and_data_of_three_parts(rows):
    x, y = rows
    weights = np.linspace(0, 1, 60).astype(np.float32)
    history = line().fit(x, y, epochs=4, validation_data=(x, y, weights), validation_freq=2, verbose=0).history
    assert len(history["val_loss"]) == 2


def test_the_seed_gives_the_same_bits(device, images):
    found = []
    for _ in range(2):
        K.utils.set_random_seed(42)
        model = classifier()
        model.fit(*images, epochs=2, verbose=0)
        found.append(model.get_weights())
    assert all(np.array_equal(a, b) for a, b in zip(*found, strict=True))
    model.fit(*images, verbose=0)
    assert not np.array_equal(model.get_weights()[0], found[0][0])


def test_shuffling_is_in_training_only_and_can_be_off(rows):
    seen = []

    class Watcher(K.Model):
        def train_step(self, data):
            return {"first": tf.reduce_mean(data[0][0])}

    x = L.Input((1,))
    model = Watcher(x, x * 1.0)
    model.compile("sgd", run_eagerly=True)
    data = np.arange(60, dtype=np.float32)[:, None]
    log = K.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: seen.append(logs["first"]))
    model.fit(data, batch_size=20, shuffle=False, verbose=0, callbacks=[log])
    assert seen == [0, 20, 40]
    model.fit(data, batch_size=20, verbose=0, callbacks=[log])
    assert seen[3:] != [0, 20, 40]
    np.testing.assert_array_equal(model.predict(data, batch_size=7, verbose=0), data)


def test_loss_of_an_epoch_is_the_mean_over_samples(rows):
    x, y = rows
    model = line(optimizer=K.optimizers.SGD(0.0), metrics=["mse"])
    history = model.fit(x, y, batch_size=32, verbose=0).history  # 32 and 28 samples
    expected = float(np.mean((model.predict(x, verbose=0) - y) ** 2))
    assert history["loss"][0] == pytest.approx(expected, rel=1e-5)
    assert history["mse"][0] == pytest.approx(expected, rel=1e-5)


def test_class_weights_are_sample_weights(device, images):
    x, y = images
    weights = {0: 0.5, 1: 2.0, 2: 1.0, 3: 0.0}
    by_class, by_sample = [], []
    for found, given in (
        (by_class, {"class_weight": weights}),
        (by_sample, {"sample_weight": np.array([weights[int(c)] for c in y], np.float32)}),
    ):
        K.utils.set_random_seed(1)
        model = classifier()
        found.append(model.fit(x, y, epochs=2, verbose=0, **given).history)
    assert by_class == by_sample
    with pytest.raises(ValueError, match="same time"):
        model.fit(x, y, class_weight=weights, sample_weight=np.ones(70), verbose=0)


def test_generators_and_steps(device, rows):
    x, y = rows

    def endless():
        while True:
            for i in range(0, 60, 20):
                yield x[i : i + 20], y[i : i + 20]

    a, b = line(), line()
    b.set_weights(a.get_weights())
    first = a.fit(endless(), steps_per_epoch=3, epochs=2, verbose=0).history
    second = b.fit(x, y, batch_size=20, shuffle=False, epochs=2, verbose=0).history
    assert first["loss"] == pytest.approx(second["loss"], rel=1e-5)
    batches = [(x[:20], y[:20]), (x[20:60], y[20:60])]
    assert a.evaluate(iter(batches), verbose=0) == pytest.approx(a.evaluate(x, y, verbose=0), rel=1e-5)
    with pytest.raises(ValueError, match="ran out"):
        a.fit(iter(batches), steps_per_epoch=3, verbose=0)


def test_steps_limit_arrays_too(rows):
    model = line()
    model.fit(*rows, batch_size=10, steps_per_epoch=2, epochs=3, verbose=0)
    assert int(model.optimizer.iterations.numpy()) == 6


def test_learning_rate_schedule_is_followed(device, rows):
    rates = []

    def schedule(step):
        return 0.1 / (1.0 + step)

    model = line(optimizer=K.optimizers.SGD(schedule))
    for _ in range(3):
        before = model.get_weights()[1]
        model.train_on_batch(*rows)
        rates.append(float(np.abs(model.get_weights()[1] - before)[0]))
    fixed = line(optimizer=K.optimizers.SGD(0.1))
    assert rates[0] > rates[1] > rates[2] and int(model.optimizer.iterations.numpy()) == 3
    with pytest.raises(TypeError, match="settable"):
        model.optimizer.learning_rate = 0.1
    fixed.optimizer.learning_rate = 0.5
    assert float(fixed.optimizer.learning_rate.numpy()) == 0.5


def test_a_changed_rate_is_used_without_a_new_trace(device, rows):
    model = line(optimizer=K.optimizers.SGD(0.1))
    model.fit(*rows, verbose=0)
    source = model.engine.sources["train_step"]
    model.optimizer.learning_rate = 0.0
    before = model.get_weights()
    model.fit(*rows, verbose=0)
    assert model.engine.sources["train_step"] is source
    np.testing.assert_array_equal(model.get_weights()[0], before[0])


def test_batch_methods(device, rows):
    x, y = rows
    model = line(metrics=["mae"])
    first = model.train_on_batch(x, y)
    assert len(first) == 2 and model.test_on_batch(x, y, return_dict=True).keys() == {"loss", "mae"}
    assert model.test_on_batch(x, y)[0] == model.test_on_batch(x, y)[0] < first[0]
    np.testing.assert_allclose(model.predict_on_batch(x[:3]), model.predict(x[:3], verbose=0))
    assert model.evaluate(x, y, verbose=0, return_dict=True)["loss"] == pytest.approx(
        model.test_on_batch(x, y)[0], rel=1e-5
    )


def test_fit_async_equals_fit(device, rows):
    a, b = line(), line()
    b.set_weights(a.get_weights())
    first = a.fit(*rows, epochs=2, shuffle=False, verbose=0).history
    second = asyncio.run(b.fit_async(*rows, epochs=2, shuffle=False, verbose=0)).history
    assert first == second


def test_integer_pixels_and_float64_are_taken(device):
    model = K.Sequential([L.Input((4, 4, 1)), L.Conv2D(2, 3), L.Flatten(), L.Dense(2)])
    pixels = np.random.default_rng(0).integers(0, 255, (6, 4, 4, 1))
    expected = model.predict(pixels.astype(np.float32), verbose=0)
    for dtype in (np.uint8, np.int64, np.float64):
        np.testing.assert_allclose(model.predict(pixels.astype(dtype), verbose=0), expected, rtol=1e-5)


def test_stop_training_and_interrupt_leave_a_usable_model(device, images):
    class Stop(K.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == 1:
                if self.interrupt:
                    raise KeyboardInterrupt
                self.model.stop_training = True

    stop, model = Stop(), classifier()
    stop.interrupt = False
    history = model.fit(*images, batch_size=10, epochs=5, callbacks=[stop], verbose=0)
    assert len(history.epoch) == 1 and int(model.optimizer.iterations.numpy()) == 2
    stop.interrupt = True
    with pytest.raises(KeyboardInterrupt):
        model.fit(*images, batch_size=10, epochs=5, callbacks=[stop], verbose=0)
    assert int(model.optimizer.iterations.numpy()) == 4
    model.fit(*images, epochs=2, verbose=0)
    assert np.isfinite(model.evaluate(*images, verbose=0)).all()


def test_progress_lines(rows, capsys):
    line(metrics=["mae"]).fit(*rows, epochs=2, verbose=2)
    text = capsys.readouterr().out.splitlines()
    assert (
        text[0] == "Epoch 1/2"
        and text[1].startswith("2/2 - 0s - ")
        and " - loss: " in text[1]
        and " - mae: " in text[1]
    )
    line().fit(*rows, verbose=0)
    assert not capsys.readouterr().out
    line().evaluate(*rows)
    assert "2/2" in capsys.readouterr().out
