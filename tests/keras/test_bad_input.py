"""Bad input ends in an error that says what, where and what to do; the model stays usable."""

import numpy as np
import pytest
import tideflow as tf
from tideflow.errors import InvalidArgumentError

L, K = tf.keras.layers, tf.keras


@pytest.fixture
def model():
    made = K.Sequential([L.Input((8, 8, 1)), L.Flatten(), L.Dense(8, "relu", name="hidden"), L.Dense(4, "softmax")])
    made.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return made


@pytest.mark.parametrize("label, text", [(4, "4 at position (3,)"), (-1, "-1 at position (3,)")])
@pytest.mark.parametrize("method", ["fit", "evaluate"])
def test_a_label_out_of_range_is_named(label, text, method, model, images, device):
    x, y = images
    bad = y.copy()
    bad[3] = label
    arguments = {"shuffle": False} if method == "fit" else {}
    with pytest.raises(InvalidArgumentError) as caught:
        getattr(model, method)(x, bad, verbose=0, **arguments)
    assert text in str(caught.value) and "0 to 3" in str(caught.value)
    model.fit(x, y, verbose=0)


@pytest.mark.parametrize("label", [4.0, np.nan])
def test_a_float_label_out_of_range_is_named(label, model, images, device):
    x, y = images
    bad = y.astype(np.float32)
    bad[3] = label
    with pytest.raises(InvalidArgumentError, match="position"):
        model.fit(x, bad, shuffle=False, verbose=0)


def test_wrong_shapes_are_named(model, images, device):
    x, y = images
    with pytest.raises(ValueError, match=r"expected shape=\(None, 8, 8, 1\), found shape=\(None, 8, 9, 1\)"):
        model.fit(np.zeros((70, 8, 9, 1)), y, verbose=0)
    with pytest.raises(ValueError, match="expected axis -1 of input shape to have value 64"):
        model.get_layer("hidden")(np.zeros((2, 63), np.float32))
    with pytest.raises(ValueError, match="expected ndim=4, found ndim=3"):
        L.Conv2D(3, 3)(np.zeros((2, 8, 8), np.float32))
    with pytest.raises(ValueError, match=r"target.shape=.*one-hot labels use categorical_crossentropy"):
        model.fit(x, np.eye(4)[y], verbose=0)
    model.fit(x, y, verbose=0)


def test_lengths_that_differ_are_named(model, images):
    x, y = images
    with pytest.raises(ValueError, match=r"ambiguous.*'x': \[70\], 'y': \[69\]"):
        model.fit(x, y[:-1], verbose=0)
    with pytest.raises(ValueError, match="ambiguous"):
        model.fit(x, y, sample_weight=np.ones(3), verbose=0)


def test_empty_data_is_refused(model, images):
    x, y = images
    with pytest.raises(ValueError, match="empty"):
        model.fit(x[:0], y[:0], verbose=0)
    with pytest.raises(ValueError, match="empty"):
        model.fit(iter([]), verbose=0)
    with pytest.raises(ValueError, match="empty"):
        model.predict(x[:0], verbose=0)
    with pytest.raises(ValueError, match="not sufficient"):
        model.fit(x[:1], y[:1], validation_split=0.5, verbose=0)
    with pytest.raises(ValueError, match="need data"):
        model.fit(verbose=0)


@pytest.mark.parametrize("size", [0, -3])
def test_a_batch_size_below_one_is_refused(size, model, images):
    with pytest.raises(ValueError, match=f"positive integer.*batch_size={size}"):
        model.fit(*images, batch_size=size, verbose=0)


def test_a_batch_of_one_trains(model, images, device):
    x, y = images
    assert np.isfinite(model.fit(x[:3], y[:3], batch_size=1, verbose=0).history["loss"]).all()
    assert model.predict(x[:1], verbose=0).shape == (1, 4)


def test_nan_in_data_shows_in_the_loss_and_nowhere_else(model, images, device):
    x, y = images
    bad = x.copy()
    bad[5] = np.nan
    assert np.isnan(model.evaluate(bad, y, verbose=0)[0])
    assert np.isfinite(model.evaluate(x, y, verbose=0)[0])
    predicted = model.predict(bad, verbose=0)
    assert np.isnan(predicted[5]).all() and np.isfinite(np.delete(predicted, 5, axis=0)).all()


def test_text_and_objects_are_refused(model, images):
    with pytest.raises(ValueError, match="numbers"):
        model.fit(np.array(["a"] * 70), images[1], verbose=0)
    with pytest.raises(ValueError, match="Unrecognized data type"):
        model.fit(3, verbose=0)


def test_steps_before_compile_and_without_targets_are_refused(images):
    x, y = images
    model = K.Sequential([L.Input((8, 8, 1)), L.Flatten(), L.Dense(4)])
    with pytest.raises(ValueError, match=r"compile\(\)"):
        model.fit(x, y)
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match="targets"):
        model.fit(x, verbose=0)
    model.compile("sgd")
    with pytest.raises(ValueError, match="No loss"):
        model.fit(x, y, verbose=0)


@pytest.mark.parametrize(
    "make, text",
    [
        (lambda: L.Dense(0), "positive integer"),
        (lambda: L.Dense(-1), "units=-1"),
        (lambda: L.Dense(3, activation="rele"), "'rele'"),
        (lambda: L.Dense(3, kernel_initializer="glorot"), "'glorot'"),
        (lambda: L.Conv2D(3, (3, 3, 3)), "kernel_size"),
        (lambda: L.Conv2D(3, 3, padding="full"), "'full'"),
        (lambda: L.Conv2D(3, 3, groups=2), "divisible"),
        (lambda: L.Dropout(1.5), "rate=1.5"),
        (lambda: L.Reshape((-1, -1)), "at most one"),
        (lambda: L.ReLU(max_value=-1), "negative"),
        (lambda: K.optimizers.get("adamm"), "'adamm'"),
        (lambda: K.losses.get("mse2"), "'mse2'"),
        (lambda: K.optimizers.SGD(momentum=2), "momentum"),
        (lambda: K.optimizers.SGD(clipnorm=1.0, clipvalue=1.0), "Only one of"),
        (lambda: K.losses.MeanSquaredError(reduction="avg"), "reduction=avg"),
        (lambda: K.initializers.VarianceScaling(mode="fan"), "`mode`"),
        (lambda: L.Add()(np.zeros(3, np.float32)), "list of inputs"),
    ],
)
def test_a_wrong_argument_is_named(make, text):
    with pytest.raises(ValueError) as caught:
        make()
    assert text in str(caught.value)


def test_unknown_outputs_in_dicts_are_named(images):
    x, y = images
    model = K.Sequential([L.Input((8, 8, 1)), L.Flatten(), L.Dense(4, "softmax", name="digits")])
    model.compile("sgd", loss={"digit": "sparse_categorical_crossentropy"})
    with pytest.raises(
        ValueError, match=r"\['digit'\] do not correspond to any model output. Expected keys: \['digits'\]"
    ):
        model.fit(x, y, verbose=0)


def test_missing_features_name_the_alternative():
    for make in (lambda: K.optimizers.SGD(loss_scale_factor=2.0), lambda: K.optimizers.SGD(use_ema=True)):
        with pytest.raises(NotImplementedError, match="not available yet"):
            make()


def test_arguments_that_make_no_sense_are_named(model, images):
    x, y = images
    for units in ("a", 0, True, 2.5):
        with pytest.raises(ValueError, match=f"Received: units={units!r}"):
            L.Dense(units)
    with pytest.raises(ValueError, match="between 0 and 1"):
        model.fit(x, y, validation_split=1.5, verbose=0)
    with pytest.raises(ValueError, match=r"custom_objects=\{'Mine': Mine\}"):
        K.Sequential.from_config({"name": "s", "layers": [{"class_name": "Mine", "config": {}}]})


def test_fit_says_where_a_loss_that_is_not_a_number_comes_from(model, images, device, caplog):
    x, y = images
    bad = x.astype(np.float32)
    bad[5, 2, 3, 0] = np.nan
    model.fit(bad, y, epochs=2, verbose=0)
    assert [r.getMessage() for r in caplog.records] == [
        "fit: the loss is nan: x holds nan at position (5, 2, 3, 0). Remove or replace such samples; the weights have "
        "taken it up, so make the model anew."
    ]
