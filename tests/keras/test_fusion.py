"""How few kernels a transformer block and a MobileNet need, and that they train alike on every device."""

import numpy as np
import pytest
import tideflow as tf
from tideflow.compiler.validate import validate
from tideflow.runtime.discover import open_device

L = tf.keras.layers
STEPS, FEATURES = 64, 128


def transformer(*, steps=STEPS, features=FEATURES, first=False, heads=4):
    """One block: attention and two dense layers, each beside a residual, normalised after (or `first`: before)."""
    inputs = L.Input((steps, features))
    hidden = 2 * features

    def feed(x):
        return L.Dense(features)(L.Dense(hidden, activation="gelu")(x))

    def attend(x):
        return L.MultiHeadAttention(heads, features // heads)(x, x)

    x = inputs
    for part in (attend, feed):
        x = L.Add()([x, part(L.LayerNormalization()(x))]) if first else L.LayerNormalization()(L.Add()([x, part(x)]))
    model = tf.keras.Model(inputs, x)
    model.compile(tf.keras.optimizers.Adam(1e-3), "mse")
    return model


def mobilenet(alpha=0.25, size=96, classes=1000):
    """Depthwise-separable blocks with batch normalisation and relu6, as in MobileNet."""

    def width(channels):
        return max(8, int(channels * alpha))

    def finish(x):
        return L.ReLU(6.0)(L.BatchNormalization()(x))

    inputs = L.Input((size, size, 3))
    x = finish(L.Conv2D(width(32), 3, strides=2, padding="same", use_bias=False)(inputs))
    blocks = [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1)]
    for channels, stride in blocks:
        if stride == 2:
            x = L.ZeroPadding2D(((0, 1), (0, 1)))(x)
        padding = "same" if stride == 1 else "valid"
        x = finish(L.DepthwiseConv2D(3, strides=stride, padding=padding, use_bias=False)(x))
        x = finish(L.Conv2D(width(channels), 1, padding="same", use_bias=False)(x))
    return tf.keras.Model(inputs, L.Dense(classes, activation="softmax")(L.GlobalAveragePooling2D()(x)))


def steps_of(model, signature):
    """{target: how many steps its program of a signature has}"""
    found = model.engine.compiled(["wgsl", "wasm"]).model
    made = next(s for s in found.signatures if s.name == signature)
    return {found.programs[i].target.name: len(found.programs[i].steps) for i in made.programs}


@pytest.mark.parametrize("first", [False, True], ids=["norm after", "norm before"])
def test_train_step_of_a_transformer_block_is_few_kernels(first):
    model = transformer(first=first)
    model.fit(*[np.zeros((2, STEPS, FEATURES), np.float32)] * 2, verbose=0)
    found = steps_of(model, "train_step")
    assert found["WASM"] <= 34 and found["WGSL"] <= 46  # a reduction over all rows is two on a GPU


def test_inference_of_a_mobilenet_is_a_kernel_for_each_convolution():
    model = mobilenet()
    model.predict(np.zeros((1, 96, 96, 3), np.float32), verbose=0)
    found = steps_of(model, "predict")
    assert found["WASM"] <= 30 and found["WGSL"] <= 30  # 27 convolutions, the mean, the dense layer, the softmax


def sequences():
    """A stack with ids, masks, both attentions and most normalisations, and data for it."""
    ids = L.Input((6,), dtype="int32")
    x = L.Embedding(9, 8, mask_zero=True)(ids)
    x = L.LayerNormalization()(L.Add()([x, L.MultiHeadAttention(2, 4)(x, x, use_causal_mask=True)]))
    x = L.GroupNormalization(2)(L.Conv1D(8, 3, padding="causal", activation="gelu")(x))
    x = L.Concatenate()([L.RMSNormalization()(x), L.Attention(use_scale=True)([x, x])])
    x = L.UnitNormalization()(L.GlobalAveragePooling1D()(L.PReLU(shared_axes=[1])(x)))
    rng = np.random.default_rng(0)
    data = rng.integers(0, 9, (20, 6)).astype(np.int32), rng.integers(0, 3, 20)
    return tf.keras.Model(ids, L.Dense(3, activation="softmax")(x)), "sparse_categorical_crossentropy", data


def images():
    """A stack of the layers of images, and data for it."""
    inputs = L.Input((6, 6, 3))
    x = L.SeparableConv2D(6, 3, padding="same", activation="relu6")(L.ZeroPadding2D(1)(inputs))
    x = L.UpSampling2D(2, interpolation="bilinear")(L.MaxPooling2D()(L.LayerNormalization(axis=[1, 2])(x)))
    x = L.Conv2DTranspose(4, 3, strides=2, padding="same", activation="elu")(L.Cropping2D(1)(x))
    x = L.Dot(1, normalize=True)([L.Reshape((-1, 4))(x), L.Reshape((-1, 4))(L.LeakyReLU()(x))])
    rng = np.random.default_rng(0)
    data = rng.standard_normal((9, 6, 6, 3)).astype(np.float32), rng.standard_normal((9, 4, 4)).astype(np.float32)
    return tf.keras.Model(inputs, L.Dense(4)(x)), "mse", data


def block():
    """A small transformer block, and data for it."""
    rng = np.random.default_rng(0)
    data = tuple(rng.standard_normal((10, 5, 12)).astype(np.float32) for _ in range(2))
    return transformer(steps=5, features=12, heads=3), "mse", data


@pytest.mark.parametrize("make", [sequences, images, block])
@pytest.mark.parametrize("options", [{}, {"fuse": False}, {"skip": ("flatten",)}, {"stages": True}], ids=str)
def test_every_kernel_of_a_training_step_stores_what_the_graph_says(make, options):
    model, loss, (x, y) = make()
    model.compile("adam", loss)
    x, y = x[:3], y[:3]
    model.fit(x, y, verbose=0)
    graph = model.engine.sources["train_step"].graph
    arrays = [np.asarray({"x": x, "y": y, "learning_rate": 0.01}[v.label], v.dtype.numpy) for v in graph.inputs]
    report = validate(graph, arrays, **options)
    assert report.ok, report


def trained(make, device):
    """(loss of each epoch, weights, predictions) after some training there."""
    tf.keras.utils.set_random_seed(5)
    model, loss, (x, y) = make()
    with tf.device(device):
        model.compile(tf.keras.optimizers.SGD(0.05, momentum=0.5), loss)
        losses = model.fit(x, y, batch_size=8, epochs=2, shuffle=False, verbose=0).history["loss"]
        return losses, model.get_weights(), model.predict(x, verbose=0)


@pytest.mark.parametrize("device", ["wasm", pytest.param("gpu", marks=pytest.mark.gpu)])
@pytest.mark.parametrize("make", [sequences, images, block])
def test_training_on_a_device_equals_the_host(make, device, require):
    try:
        open_device(device)
    except Exception as error:  # any reason for which the device cannot be had
        require("wgsl" if device == "gpu" else "wasm", str(error))
    host, found = trained(make, "cpu"), trained(make, device)
    np.testing.assert_allclose(found[0], host[0], rtol=1e-4)
    for a, b in zip(host[1], found[1], strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(found[2], host[2], rtol=1e-3, atol=1e-4)
