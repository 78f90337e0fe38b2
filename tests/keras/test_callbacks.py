"""Callbacks in `fit`, with metrics that a fake model makes go up and down."""

import numpy as np
import pytest
import tideflow as tf

L, K = tf.keras.layers, tf.keras


def line():
    model = K.Sequential([L.Input((5,)), L.Dense(1, kernel_initializer="zeros")])
    model.compile(K.optimizers.SGD(0.05), "mse")
    return model


class Script(K.callbacks.Callback):
    """Puts given values into the logs and marks the weights with the epoch."""

    def __init__(self, values, name="val_loss"):
        super().__init__()
        self.values, self.key = values, name

    def on_epoch_end(self, epoch, logs=None):
        logs[self.key] = self.values[epoch]
        kernel, bias = self.model.get_weights()
        self.model.set_weights([kernel, np.full_like(bias, epoch)])


def epoch_of(model):
    return int(model.get_weights()[1][0])


def test_early_stopping_stops_and_restores(rows):
    model = line()
    stop = K.callbacks.EarlyStopping(patience=2, restore_best_weights=True)
    history = model.fit(*rows, epochs=9, verbose=0, callbacks=[Script([5, 3, 4, 4, 4, 4, 4, 4, 4]), stop])
    assert len(history.epoch) == 4 and stop.stopped_epoch == 3 and stop.best_epoch == 1
    assert epoch_of(model) == 1


def test_early_stopping_knows_accuracies_and_deltas(rows):
    stop = K.callbacks.EarlyStopping("val_accuracy", patience=1, min_delta=0.1)
    history = line().fit(*rows, epochs=5, verbose=0, callbacks=[Script([0.1, 0.3, 0.35, 0.9, 1], "val_accuracy"), stop])
    assert len(history.epoch) == 3
    with pytest.warns(UserWarning, match="nothing"):
        line().fit(*rows, verbose=0, callbacks=[K.callbacks.EarlyStopping("nothing")])


def test_checkpoint_keeps_the_best_and_names_files(rows, tmp_path):
    model = line()
    best = K.callbacks.ModelCheckpoint(tmp_path / "best.tide", save_best_only=True)
    each = K.callbacks.ModelCheckpoint(tmp_path / "w{epoch:02d}.tide", save_weights_only=True)
    model.fit(*rows, epochs=3, verbose=0, callbacks=[Script([3, 1, 2]), best, each])
    assert epoch_of(K.models.load_model(tmp_path / "best.tide")) == 1
    model.load_weights(tmp_path / "w03.tide")
    assert epoch_of(model) == 2
    assert sorted(p.name for p in tmp_path.iterdir()) == ["best.tide", "w01.tide", "w02.tide", "w03.tide"]


def test_learning_rate_callbacks(rows):
    model = line()
    scheduler = K.callbacks.LearningRateScheduler(lambda epoch, rate: rate * 0.5)
    history = model.fit(*rows, epochs=3, verbose=0, callbacks=[scheduler]).history
    assert history["learning_rate"] == pytest.approx([0.025, 0.0125, 0.00625])
    model = line()
    plateau = K.callbacks.ReduceLROnPlateau(factor=0.1, patience=2, min_lr=0.001)
    history = model.fit(*rows, epochs=6, verbose=0, callbacks=[Script([1.0] * 6), plateau]).history
    assert history["learning_rate"] == pytest.approx([0.05, 0.05, 0.05, 0.005, 0.005, 0.001])


def test_csv_logger(rows, tmp_path):
    path = tmp_path / "log.csv"
    line().fit(*rows, epochs=2, verbose=0, callbacks=[K.callbacks.CSVLogger(path)])
    line().fit(*rows, epochs=1, verbose=0, callbacks=[K.callbacks.CSVLogger(path, append=True)])
    lines = path.read_text().splitlines()
    assert lines[0] == "epoch,loss" and [row.split(",")[0] for row in lines[1:]] == ["0", "1", "0"]


def test_terminate_on_nan(rows, device):
    x, y = rows
    bad = y.copy()
    bad[0] = np.nan
    history = line().fit(x, bad, epochs=3, shuffle=False, verbose=0, callbacks=[K.callbacks.TerminateOnNaN()])
    assert len(history.epoch) == 1 and np.isnan(history.history["loss"][0])


def test_logs_of_batches_are_read_only_when_looked_at(rows):
    seen = []

    class Look(K.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            seen.append(dict(logs)["loss"])

    with tf.device("wasm"):
        line().fit(*rows, epochs=1, batch_size=20, verbose=0, callbacks=[Look()])
    assert len(seen) == 3 and all(isinstance(v, float) for v in seen)


def test_moments_come_in_order(rows):
    seen = []
    moments = [
        "on_train_begin",
        "on_epoch_begin",
        "on_train_batch_begin",
        "on_train_batch_end",
        "on_test_begin",
        "on_test_batch_end",
        "on_test_end",
        "on_epoch_end",
        "on_train_end",
    ]
    functions = {m: (lambda *_, m=m: seen.append(m)) for m in moments}
    line().fit(
        *rows,
        batch_size=64,
        validation_data=rows,
        validation_batch_size=64,
        verbose=0,
        callbacks=[K.callbacks.LambdaCallback(**functions)],
    )
    assert seen == moments


def test_a_callback_may_exchange_its_methods(rows):
    told = []
    watch = K.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: told.append("first"))

    def exchange(epoch, logs):
        watch.on_train_batch_end = lambda batch, logs: told.append("second")

    line().fit(*rows, batch_size=len(rows[0]), epochs=2, verbose=0,
               callbacks=[watch, K.callbacks.LambdaCallback(on_epoch_end=exchange)])
    assert told == ["first", "second"]
