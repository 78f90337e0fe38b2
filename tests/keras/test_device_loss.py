"""A GPU that is lost in the midst of `fit`: the trained weights, the history and the predictions are those of an
undisturbed run."""

import numpy as np
import pytest
import tideflow as tf
from tideflow.errors import NoExecutorError
from tideflow.runtime.discover import open_device

pytestmark = pytest.mark.gpu

L = tf.keras.layers


@pytest.fixture(autouse=True)
def _gpu(require):
    try:
        open_device("gpu")
    except NoExecutorError as error:
        require("wgsl", str(error))


class Lose(tf.keras.callbacks.Callback):
    """Destroys the device after some batches, counted over all epochs, as a driver reset would."""

    def __init__(self, *when):
        super().__init__()
        self.when, self.seen = when, 0

    def on_train_batch_end(self, batch, logs=None):
        self.seen += 1
        if self.seen in self.when:
            open_device("gpu")._device.destroy()


def trained(rows, *lose, generator=False, **settings):
    """Weights, optimizer's step, history and predictions after two epochs of 8 batches."""
    tf.keras.utils.set_random_seed(11)
    x, y = rows
    model = tf.keras.Sequential([L.Input((5,)), L.Dense(8, "relu"), L.Dropout(0.4), L.Dense(1)])
    model.compile(tf.keras.optimizers.Adam(0.05), "mse", metrics=["mae"])
    with tf.device("gpu"):
        data = ([x[i : i + 8], y[i : i + 8]] for i in [*range(0, 60, 8)] * 2) if generator else x
        settings |= {"steps_per_epoch": 8} if generator else {"y": y, "batch_size": 8}
        callback = Lose(*lose)
        history = model.fit(data, epochs=2, verbose=0, callbacks=[callback], **settings).history
        assert callback.seen == 16, "a step that is repeated is not reported twice"
        return model.get_weights(), model.optimizer.iterations.numpy(), history, model.predict(x, verbose=0)


@pytest.mark.parametrize("lose", [(3,), (8,), (5, 12), (16,)], ids=str)
def test_fit_on_arrays_loses_nothing(rows, lose):
    with pytest.warns(RuntimeWarning, match="GPU:0 was lost.*nothing is lost") as caught:
        found = trained(rows, *lose, validation_data=rows)
    assert len(caught) == len(lose)
    expected = trained(rows, validation_data=rows)
    for a, b in zip(found[0], expected[0], strict=True):
        np.testing.assert_array_equal(a, b)
    assert found[1] == expected[1] == 16
    assert found[2] == expected[2]
    np.testing.assert_array_equal(found[3], expected[3])


def test_a_generator_loses_steps_and_is_told_how_many(rows):
    with pytest.warns(RuntimeWarning, match="1 steps since then were repeated, 4 are lost.*fit on arrays loses none"):
        _, iterations, history, _ = trained(rows, 5, generator=True)
    assert iterations == 12                         # the optimizer's step goes back with the weights
    assert np.isfinite(history["loss"]).all()


def test_a_custom_loop_is_told_once(rows):
    x, y = rows
    model = tf.keras.Sequential([L.Input((5,)), L.Dense(1)])
    model.compile("adam", "mse")
    with tf.device("gpu"):
        for _ in range(3):
            model.train_on_batch(x, y)
        open_device("gpu")._device.destroy()
        with pytest.warns(RuntimeWarning, match="2 are lost") as caught:
            assert np.isfinite(model.train_on_batch(x, y))
        assert len(caught) == 1
        model.train_on_batch(x, y)
    assert model.optimizer.iterations.numpy() == 3


def test_weights_are_read_from_the_device_that_replaces_a_lost_one(rows):
    x, y = rows
    model = tf.keras.Sequential([L.Input((5,)), L.Dense(1)])
    model.compile("sgd", "mse")
    with tf.device("gpu"):
        model.fit(x, y, verbose=0)
        open_device("gpu")._device.destroy()
        with pytest.warns(RuntimeWarning, match="0 steps since then were repeated, nothing is lost"):
            assert all(np.isfinite(w).all() for w in model.get_weights())
