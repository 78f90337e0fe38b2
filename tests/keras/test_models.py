"""Functional, nested, shared and subclassed models."""

import numpy as np
import pytest
import tideflow as tf

L, K = tf.keras.layers, tf.keras


def test_two_inputs_two_outputs_by_name(device, tmp_path):
    a, b = L.Input((3,), name="a"), L.Input((2,), name="b")
    hidden = L.Dense(4, "relu")(L.Concatenate()([a, b]))
    model = K.Model([a, b], [L.Dense(2, "softmax", name="kind")(hidden), L.Dense(1, name="size")(hidden)])
    assert model.output_names == ["kind", "size"]
    model.compile(
        "adam",
        loss={"kind": "sparse_categorical_crossentropy", "size": "mse"},
        loss_weights={"kind": 1.0, "size": 0.5},
        metrics={"kind": ["accuracy"], "size": ["mae"]},
    )
    rng = np.random.default_rng(0)
    x = {"a": rng.standard_normal((20, 3)).astype("f"), "b": rng.standard_normal((20, 2)).astype("f")}
    y = {"size": rng.standard_normal((20, 1)).astype("f"), "kind": rng.integers(0, 2, 20)}
    history = model.fit(x, y, batch_size=8, epochs=2, validation_split=0.25, verbose=0).history
    names = {"loss", "kind_loss", "size_loss", "kind_accuracy", "size_mae"}
    assert history.keys() == names | {f"val_{n}" for n in names}
    found = model.evaluate(x, y, verbose=0, return_dict=True)
    assert found["loss"] == pytest.approx(found["kind_loss"] + 0.5 * found["size_loss"], rel=1e-5)
    listed = model.predict([x["a"], x["b"]], verbose=0)
    np.testing.assert_allclose(listed[0], model.predict(x, verbose=0)[0], atol=1e-6)
    model.save(tmp_path / "m.tide")
    again = K.models.load_model(tmp_path / "m.tide")
    assert again.evaluate(x, y, verbose=0, return_dict=True) == pytest.approx(found, rel=1e-4)


def test_dict_outputs_keep_their_keys():
    x = L.Input((3,))
    model = K.Model(x, {"double": x * 2.0, "half": x / 2.0})
    found = model.predict(np.ones((2, 3), np.float32), verbose=0)
    assert set(found) == {"double", "half"} and found["double"][0, 0] == 2 and found["half"][0, 0] == 0.5


def test_ops_on_symbolic_tensors_are_layers(tmp_path):
    x = L.Input((4,))
    y = tf.nn.relu(x * 2.0 - 1.0) + tf.reduce_sum(x, axis=1, keepdims=True)
    z = tf.concat([y, tf.square(x)[:, :2]], axis=-1)
    model = K.Model(x, z)
    data = np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)
    expected = np.concatenate([np.maximum(data * 2 - 1, 0) + data.sum(1, keepdims=True), data[:, :2] ** 2], -1)
    np.testing.assert_allclose(model.predict(data, verbose=0), expected, rtol=1e-5)
    model.save(tmp_path / "m.tide")
    again = K.models.load_model(tmp_path / "m.tide")
    np.testing.assert_allclose(again.predict(data, verbose=0), expected, rtol=1e-5)


def test_a_shared_layer_has_one_set_of_weights(device, tmp_path):
    a, b = L.Input((3,)), L.Input((3,))
    shared = L.Dense(2)
    model = K.Model([a, b], L.Add()([shared(a), shared(b)]))
    assert len(model.weights) == 2 and model.layers.count(shared) == 1
    model.compile("sgd", "mse")
    x = np.ones((8, 3), np.float32)
    model.fit([x, x], np.zeros((8, 2), np.float32), verbose=0)
    model.save(tmp_path / "m.tide")
    again = K.models.load_model(tmp_path / "m.tide")
    assert len(again.weights) == 2
    np.testing.assert_allclose(again.predict([x, x], verbose=0), model.predict([x, x], verbose=0), atol=1e-6)


def test_a_sequential_inside_a_functional_model(device, images, tmp_path):
    front = K.Sequential([L.Input((8, 8, 1)), L.Conv2D(3, 3), L.BatchNormalization(), L.Dropout(0.2)], name="front")
    x = L.Input((8, 8, 1))
    model = K.Model(x, L.Dense(4, "softmax")(L.Flatten()(front(x))))
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(*images, verbose=0)
    assert front.layers[1].moving_mean.numpy().any(), "training did not reach the nested model"
    model.save(tmp_path / "m.tide")
    again = K.models.load_model(tmp_path / "m.tide")
    np.testing.assert_allclose(again.predict(images[0], verbose=0), model.predict(images[0], verbose=0), atol=1e-6)


class Gated(L.Layer):
    """A layer as users write it."""

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.inner = L.Dense(units)

    def build(self, input_shape):
        self.gate = self.add_weight(shape=(self.units,), initializer="ones", name="gate")

    def call(self, inputs):
        return self.inner(inputs) * self.gate


class Classifier(K.Model):
    """A subclassed model whose layers get `training` from the outermost call."""

    def __init__(self, units=6, **kwargs):
        super().__init__(**kwargs)
        self.first = Gated(units)
        self.norm = L.BatchNormalization(momentum=0.5)
        self.drop = L.Dropout(0.5)
        self.last = [L.Dense(4), L.Softmax()]

    def call(self, inputs, training=False):
        x = tf.reshape(inputs, (-1, 64))
        x = self.drop(self.norm(self.first(x)))
        for layer in self.last:
            x = layer(x)
        return x


def test_a_subclassed_model_trains_and_its_layers_know_it(device, images):
    model = Classifier()
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(*images, epochs=2, verbose=0)
    assert len(model.trainable_weights) == 7 and len(model.weights) == 9
    assert model.norm.moving_mean.numpy().any()
    x = images[0][:5]
    np.testing.assert_allclose(model.predict(x, verbose=0), model(x).numpy(), atol=1e-5)
    assert not np.allclose(model(x, training=True).numpy(), model(x).numpy())


def test_a_subclassed_model_is_saved_by_its_arguments(images, tmp_path):
    model = Classifier(units=5)
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(*images, verbose=0)
    model.save(tmp_path / "m.tide")
    with pytest.raises(ValueError, match="Classifier"):
        K.models.load_model(tmp_path / "m.tide")
    known = {"Classifier": Classifier, "Gated": Gated}
    again = K.models.load_model(tmp_path / "m.tide", custom_objects=known)
    np.testing.assert_allclose(again.predict(images[0], verbose=0), model.predict(images[0], verbose=0), atol=1e-6)
    fresh = Classifier(units=5)
    fresh(images[0])
    fresh.load_weights(tmp_path / "m.tide")
    np.testing.assert_allclose(fresh.predict(images[0], verbose=0), model.predict(images[0], verbose=0), atol=1e-6)


class Penalized(L.Layer):
    def call(self, inputs):
        self.add_loss(0.5 * tf.reduce_sum(inputs))
        return inputs


def test_added_losses_and_regularizers_count_once(device):
    model = K.Sequential([L.Input((2,)), Penalized(), L.Dense(1, kernel_initializer="ones", kernel_regularizer="l2")])
    model.compile("sgd", "mse")
    x, y = np.ones((4, 2), np.float32), np.zeros((4, 1), np.float32)
    expected = 4.0 + 0.5 * 8 + 0.01 * 2
    for _ in range(2):
        assert model.evaluate(x, y, verbose=0) == pytest.approx(expected, rel=1e-5)
    model(x)
    model(x)
    assert [float(v) for v in model.losses] == pytest.approx([4.0, 0.02])


class Doubled(K.Model):
    """A training step of its own, as in Keras' guide."""

    def train_step(self, data):
        x, y = data
        with tf.GradientTape() as tape:
            y_pred = self(x, training=True)
            loss = self.compute_loss(y=y, y_pred=y_pred) * 2.0
        gradients = tape.gradient(loss, self.trainable_variables)
        self.optimizer.apply(gradients, self.trainable_variables)
        for metric in self.metrics:
            if metric.name == "loss":
                metric.update_state(loss)
            else:
                metric.update_state(y, y_pred)
        return {m.name: m.result() for m in self.metrics}


def test_a_custom_train_step_is_compiled(device, rows):
    x = L.Input((5,))
    model = Doubled(x, L.Dense(1)(x))
    model.compile("sgd", "mse", metrics=["mae"])
    start = model.evaluate(*rows, verbose=0)[0]
    history = model.fit(*rows, epochs=3, verbose=0).history
    assert set(history) == {"loss", "mae"} and history["loss"][0] > start
    assert history["loss"][2] < history["loss"][0]


class Tracked(K.Model):
    """A model with a tracker of its own."""

    def __init__(self):
        super().__init__()
        self.dense = L.Dense(1)
        self.tracker = K.metrics.Mean(name="mine")

    def call(self, inputs):
        return self.dense(inputs)

    def train_step(self, data):
        logs = super().train_step(data)
        self.tracker.update_state(logs["loss"] * 0.0 + 2.0)
        return {**logs, "mine": self.tracker.result()}


def test_metrics_held_by_the_model_are_found_and_reset(device, rows):
    model = Tracked()
    model.compile("sgd", "mse")
    history = model.fit(*rows, epochs=2, verbose=0).history
    assert history["mine"] == [2.0, 2.0] and "mine" in model.metrics_names


def test_eager_steps_equal_compiled_ones(rows):
    found = []
    for eagerly in (False, True):
        K.utils.set_random_seed(1)
        model = K.Sequential([L.Input((5,)), L.Dense(4, "relu"), L.Dropout(0.3), L.Dense(1)])
        model.compile("adam", "mse", metrics=["mae"], run_eagerly=eagerly)
        history = model.fit(*rows, epochs=2, verbose=0).history
        found.append((history, model.predict(rows[0], verbose=0)))
    for key in found[0][0]:
        np.testing.assert_allclose(found[1][0][key], found[0][0][key], rtol=1e-5)
    np.testing.assert_allclose(found[1][1], found[0][1], rtol=1e-4, atol=1e-6)


def test_sequential_without_input_builds_on_data_and_pops(rows):
    model = K.Sequential([L.Dense(3), L.Dense(1)])
    assert not model.built
    with pytest.raises(ValueError, match="not yet been built"):
        model.summary()
    model.compile("sgd", "mse")
    model.fit(*rows, verbose=0)
    assert model.built and model.input_shape == (None, 5)
    model.pop()
    model.add(L.Dense(2))
    assert model(rows[0]).shape == (60, 2)


def test_summary_shows_layers_and_counts(capsys):
    K.Sequential([L.Input((5,)), L.Dense(4, name="one"), L.BatchNormalization()]).summary()
    text = capsys.readouterr().out
    assert "one (Dense)" in text and "(None, 4)" in text
    assert "Total params: 40" in text and "Trainable params: 32" in text and "Non-trainable params: 8" in text


def test_wrong_models_are_refused():
    a, b = L.Input((3,)), L.Input((3,))
    with pytest.raises(ValueError, match="not connected"):
        K.Model(a, L.Add()([a, b]))
    with pytest.raises(ValueError, match="unique"):
        K.Sequential([L.Dense(1, name="x"), L.Dense(1, name="x")])
    with pytest.raises(ValueError, match=r"keras\.Layer"):
        K.Sequential([3])
    with pytest.raises(ValueError, match="No such layer"):
        K.Sequential([L.Dense(1, name="x")]).get_layer("y")
    with pytest.raises(ValueError, match="Unrecognized keyword"):
        L.Dense(1, unit=3)


def test_clone_has_the_architecture_and_new_weights():
    model = K.Sequential([L.Input((3,)), L.Dense(2)])
    clone = K.models.clone_model(model)
    assert clone.get_config() == model.get_config()
    assert not np.array_equal(clone.get_weights()[0], model.get_weights()[0])
