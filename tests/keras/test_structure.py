"""What a model consists of is looked up again when, and only when, something has changed."""

import numpy as np
import pytest
import tideflow as tf

L = tf.keras.layers


@pytest.fixture
def model():
    made = tf.keras.Sequential([L.Input((5,)), L.Dense(4, "relu"), L.Dense(1)])
    made.compile("sgd", "mse", metrics=["mae"])
    return made


def test_nothing_is_looked_up_again_while_training(model, rows):
    model.train_on_batch(*rows)
    model.train_on_batch(*rows)
    known = model._structure()
    for _ in range(3):
        model.train_on_batch(*rows)
    assert model._structure() is known
    assert [layer.name for layer in known.layers] == [model.name, *(layer.name for layer in model.layers)]


def test_a_frozen_layer_is_noticed_between_batches(model, rows):
    for _ in range(3):
        model.train_on_batch(*rows)
    model.layers[0].trainable = False
    kernel, other = (model.layers[i].kernel.numpy() for i in (0, 1))
    model.train_on_batch(*rows)
    np.testing.assert_array_equal(model.layers[0].kernel.numpy(), kernel)
    assert not np.array_equal(model.layers[1].kernel.numpy(), other)


def test_a_metric_in_a_list_is_noticed():
    class WithList(tf.keras.Model):
        def __init__(self):
            super().__init__()
            self.dense, self.kept = L.Dense(1), []

        def call(self, x):
            return self.dense(x)

    model = WithList()
    model.compile("sgd", "mse")
    model.train_on_batch(np.ones((2, 3), np.float32), np.ones((2, 1), np.float32))
    seen, count = tf.keras.metrics.Mean(name="seen"), len(model.metrics)
    model.kept.append({"nested": [seen]})
    assert len(model.metrics) == count + 1 and model.metrics[-1] is seen
    model.kept[0]["nested"].clear()
    assert len(model.metrics) == count


def test_batches_of_another_kind_are_checked_again(model, rows):
    x, y = rows
    for _ in range(3):
        first = model.train_on_batch(x, y)
    with pytest.raises(ValueError, match="cardinality"):
        model.train_on_batch(x, y[:-1])
    with pytest.raises(ValueError, match="0 samples"):
        model.train_on_batch(x[:0], y[:0])
    assert len(model.train_on_batch(x.astype(np.float64), y.astype(np.float64))) == len(first)
    model.train_on_batch(x[:7], y[:7])
    model.fit(x, y, sample_weight=np.ones(len(x)), verbose=0)
    assert np.isfinite(model.train_on_batch(x, y)).all()
    model.compile("sgd", "mae")
    assert np.ndim(model.train_on_batch(x, y)) == 0


def test_a_step_that_failed_is_prepared_again(rows):
    x, y = rows
    model = tf.keras.Sequential([L.Dense(1)])
    for _ in range(2):
        with pytest.raises(ValueError, match="compile"):
            model.train_on_batch(x, y)
    model.compile("sgd", "mse")
    assert np.isfinite(model.train_on_batch(x, y))


def test_fit_copies_no_output_aside(model, rows, monkeypatch):
    from tideflow.runtime.outputs import Unread

    moved = []
    original = Unread.move
    monkeypatch.setattr(Unread, "move", lambda self, outputs: moved.extend(outputs) or original(self, outputs))
    with tf.device("wasm"):
        model.fit(*rows, batch_size=8, epochs=2, validation_data=rows, verbose=0)
    assert moved == []


def test_only_callbacks_that_listen_are_told_of_batches(model, rows):
    heard = []

    class Old(tf.keras.callbacks.Callback):
        def on_batch_end(self, batch, logs=None):
            heard.append(("old", batch))

    class New(tf.keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            heard.append(("new", batch))

    class Plain:                                        # not even a Callback
        def __getattr__(self, name):
            return lambda *arguments: heard.append(("plain", *arguments[:1])) if name == "on_train_batch_end" else None

    late = tf.keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: heard.append(("late", batch)))
    model.fit(*rows, batch_size=30, verbose=0, callbacks=[Old(), New(), Plain(), late, tf.keras.callbacks.Callback()])
    assert heard == [("new", 0), ("old", 0), ("plain", 0), ("late", 0), ("new", 1), ("old", 1), ("plain", 1),
                     ("late", 1)]
