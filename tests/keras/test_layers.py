"""Every layer: its configuration round-trips, symbolic shapes are the real ones, it trains, and is saved and loaded."""

import json

import numpy as np
import pytest
import tideflow as tf

L = tf.keras.layers


@tf.keras.utils.register_keras_serializable()
def doubled_and(x, more):
    return x * 2.0 + more


CASES = {
    # name -> (layer, shape of the input, several inputs)
    "dense": (lambda: L.Dense(3, "relu", kernel_regularizer="l2", kernel_constraint="max_norm"), (5,), 0),
    "dense_3d": (lambda: L.Dense(3, use_bias=False), (4, 5), 0),
    "conv": (lambda: L.Conv2D(3, 3, strides=2, padding="same", activation="tanh"), (7, 6, 2), 0),
    "conv_channels_first": (lambda: L.Conv2D(3, 3, data_format="channels_first"), (2, 7, 6), 0),
    "depthwise": (lambda: L.DepthwiseConv2D(3, depth_multiplier=2), (6, 6, 2), 0),
    "max_pool": (lambda: L.MaxPooling2D(), (6, 6, 2), 0),
    "max_pool_channels_first": (lambda: L.MaxPooling2D(data_format="channels_first"), (2, 6, 6), 0),
    "avg_pool": (lambda: L.AveragePooling2D(3, strides=1, padding="same"), (5, 5, 2), 0),
    "global_avg": (lambda: L.GlobalAveragePooling2D(), (5, 5, 2), 0),
    "global_max": (lambda: L.GlobalMaxPooling2D(data_format="channels_first", keepdims=True), (2, 5, 5), 0),
    "flatten": (lambda: L.Flatten(), (3, 4), 0),
    "reshape": (lambda: L.Reshape((2, -1)), (3, 4), 0),
    "permute": (lambda: L.Permute((2, 1)), (3, 4), 0),
    "rescaling": (lambda: L.Rescaling(0.1, offset=1.0), (4,), 0),
    "activation": (lambda: L.Activation("gelu"), (4,), 0),
    "relu": (lambda: L.ReLU(6.0), (4,), 0),
    "leaky_relu": (lambda: L.LeakyReLU(0.1), (4,), 0),
    "elu": (lambda: L.ELU(), (4,), 0),
    "softmax": (lambda: L.Softmax(), (4,), 0),
    "identity": (lambda: L.Identity(), (4,), 0),
    "dropout": (lambda: L.Dropout(0.4, seed=3), (4,), 0),
    "dropout_noise_shape": (lambda: L.Dropout(0.4, noise_shape=(None, 1)), (4,), 0),
    "batch_norm": (lambda: L.BatchNormalization(momentum=0.9, gamma_regularizer="l1"), (4, 4, 3), 0),
    "batch_norm_axis": (lambda: L.BatchNormalization(axis=1), (4, 3), 0),
    "layer_norm": (lambda: L.LayerNormalization(gamma_constraint="non_neg"), (4, 3), 0),
    "layer_norm_axes": (lambda: L.LayerNormalization(axis=[1], center=False), (4, 3), 0),
    "group_norm": (lambda: L.GroupNormalization(2), (3, 3, 4), 0),
    "group_norm_first": (lambda: L.GroupNormalization(-1, axis=1, scale=False), (4, 3), 0),
    "rms_norm": (lambda: L.RMSNormalization(), (4, 3), 0),
    "unit_norm": (lambda: L.UnitNormalization(), (4, 3), 0),
    "embedding": (lambda: L.Embedding(5, 3, embeddings_regularizer="l2"), (4,), 0),
    "embedding_masked": (lambda: L.Embedding(5, 3, mask_zero=True), (4,), 0),
    "masking": (lambda: L.Masking(), (4, 3), 0),
    "einsum_dense": (lambda: L.EinsumDense("abc,cde->abde", (None, 2, 3), "relu", "de"), (4, 5), 0),
    "heads": (lambda: L.MultiHeadAttention(2, 3, dropout=0.2), (5, 4), 0),
    "heads_cross": (
        lambda: L.MultiHeadAttention(2, 3, value_dim=2, output_shape=6, use_bias=False, use_gate=True, seed=1),
        (5, 4),
        2,
    ),
    "heads_window": (lambda: L.MultiHeadAttention(2, 3, sliding_window=2), (5, 4), 0),
    "heads_axes": (lambda: L.MultiHeadAttention(2, 3, attention_axes=(1, 2)), (3, 2, 4), 0),
    "attention": (lambda: L.Attention(use_scale=True, dropout=0.1), (5, 4), 2),
    "attention_concat": (lambda: L.Attention(score_mode="concat"), (5, 4), 3),
    "additive_attention": (lambda: L.AdditiveAttention(), (5, 4), 2),
    "conv_1d": (lambda: L.Conv1D(3, 2, padding="causal", dilation_rate=2), (6, 2), 0),
    "conv_3d": (lambda: L.Conv3D(2, 2, padding="same"), (3, 3, 2, 1), 0),
    "depthwise_1d": (lambda: L.DepthwiseConv1D(2), (6, 2), 0),
    "separable": (lambda: L.SeparableConv2D(4, 3, depth_multiplier=2, activation="relu6"), (6, 6, 2), 0),
    "separable_1d": (lambda: L.SeparableConv1D(4, 3, use_bias=False), (6, 2), 0),
    "transposed": (lambda: L.Conv2DTranspose(3, 3, strides=2, padding="same", activation="relu"), (4, 3, 2), 0),
    "transposed_1d": (lambda: L.Conv1DTranspose(3, 4, strides=2, data_format="channels_first"), (2, 4), 0),
    "transposed_3d": (lambda: L.Conv3DTranspose(1, 2, strides=2), (2, 2, 2, 1), 0),
    "max_pool_1d": (lambda: L.MaxPooling1D(), (6, 2), 0),
    "max_pool_3d": (lambda: L.MaxPooling3D(), (4, 2, 2, 1), 0),
    "avg_pool_1d": (lambda: L.AveragePooling1D(3, 1, "same"), (6, 2), 0),
    "avg_pool_3d": (lambda: L.AveragePooling3D(2), (4, 2, 2, 1), 0),
    "global_avg_1d": (lambda: L.GlobalAveragePooling1D(), (5, 2), 0),
    "global_avg_3d": (lambda: L.GlobalAveragePooling3D(keepdims=True), (2, 3, 2, 2), 0),
    "global_max_1d": (lambda: L.GlobalMaxPooling1D(), (5, 2), 0),
    "global_max_3d": (lambda: L.GlobalMaxPooling3D(), (2, 3, 2, 2), 0),
    "repeat": (lambda: L.RepeatVector(3), (4,), 0),
    "pad_1d": (lambda: L.ZeroPadding1D((1, 2)), (3, 2), 0),
    "pad_2d": (lambda: L.ZeroPadding2D(((1, 0), (0, 2))), (3, 2, 1), 0),
    "pad_3d": (lambda: L.ZeroPadding3D((1, 0, 2), data_format="channels_first"), (1, 2, 2, 2), 0),
    "crop_1d": (lambda: L.Cropping1D(1), (4, 2), 0),
    "crop_2d": (lambda: L.Cropping2D(((1, 0), (0, 1)), data_format="channels_first"), (2, 4, 3), 0),
    "crop_3d": (lambda: L.Cropping3D((0, 1, 0)), (2, 4, 3, 1), 0),
    "enlarge_1d": (lambda: L.UpSampling1D(3), (4, 2), 0),
    "enlarge_2d": (lambda: L.UpSampling2D((2, 3), data_format="channels_first"), (2, 4, 3), 0),
    "enlarge_2d_bilinear": (lambda: L.UpSampling2D((2, 3), interpolation="bilinear"), (4, 3, 2), 0),
    "enlarge_3d": (lambda: L.UpSampling3D((1, 2, 1)), (2, 2, 2, 1), 0),
    "prelu": (lambda: L.PReLU(shared_axes=[1]), (4, 3), 0),
    "softmax_axes": (lambda: L.Softmax(axis=[1, 2]), (4, 3), 0),
    "noise": (lambda: L.GaussianNoise(0.1, seed=3), (4,), 0),
    "gaussian_dropout": (lambda: L.GaussianDropout(0.3), (4,), 0),
    "alpha_dropout": (lambda: L.AlphaDropout(0.3), (4,), 0),
    "spatial_dropout_1d": (lambda: L.SpatialDropout1D(0.3), (4, 3), 0),
    "spatial_dropout_2d": (lambda: L.SpatialDropout2D(0.3, data_format="channels_first"), (3, 4, 4), 0),
    "spatial_dropout_3d": (lambda: L.SpatialDropout3D(0.3), (2, 2, 2, 3), 0),
    "activity": (lambda: L.ActivityRegularization(0.1, 0.2), (4,), 0),
    "normalization": (lambda: L.Normalization(mean=[1.0, 0.5], variance=[2.0, 0.0], invert=True), (4, 2), 0),
    "normalization_learned": (lambda: L.Normalization(axis=(1, 2)), (4, 2), 0),
    "categories": (lambda: L.CategoryEncoding(5, "count"), (4,), 0),
    "categories_one_hot": (lambda: L.CategoryEncoding(5, "one_hot"), (4,), 0),
    "lambda": (lambda: L.Lambda(doubled_and, arguments={"more": 0.5}), (4,), 0),
    "dot": (lambda: L.Dot(axes=(2, 1)), (4, 4), 2),
    "dot_normalized": (lambda: L.Dot(-1, normalize=True), (4,), 2),
    "add": (lambda: L.Add(), (4,), 2),
    "subtract": (lambda: L.Subtract(), (4,), 2),
    "multiply": (lambda: L.Multiply(), (4,), 3),
    "average": (lambda: L.Average(), (4,), 2),
    "maximum": (lambda: L.Maximum(), (4,), 2),
    "minimum": (lambda: L.Minimum(), (4,), 2),
    "concatenate": (lambda: L.Concatenate(), (4,), 2),
    "lstm": (lambda: L.LSTM(3, kernel_regularizer="l2", recurrent_constraint="max_norm"), (5, 2), 0),
    "lstm_sequences": (lambda: L.LSTM(3, dropout=0.2, recurrent_dropout=0.2, return_sequences=True, seed=2), (5, 2), 0),
    "gru": (lambda: L.GRU(3, go_backwards=True, return_sequences=True), (5, 2), 0),
    "gru_before": (lambda: L.GRU(3, reset_after=False, dropout=0.2), (5, 2), 0),
    "simple_rnn": (lambda: L.SimpleRNN(3, activation="relu"), (5, 2), 0),
    "rnn_of_cells": (lambda: L.RNN([L.LSTMCell(3), L.GRUCell(2)], return_sequences=True), (5, 2), 0),
    "bidirectional": (lambda: L.Bidirectional(L.LSTM(3, return_sequences=True)), (5, 2), 0),
    "bidirectional_mul": (lambda: L.Bidirectional(L.SimpleRNN(3), "mul", backward_layer=L.GRU(3, go_backwards=True)),
                          (5, 2), 0),
    "time_distributed": (lambda: L.TimeDistributed(L.Dense(3)), (5, 2), 0),
}
INSIDE = {"Layer", "InputLayer", "OpLayer", "Wrapper", "SimpleRNNCell", "LSTMCell", "GRUCell", "StackedRNNCells"}


def call_layer(layer, x):
    """A layer called on a list of inputs, in the way that its class wants them."""
    if isinstance(layer, L.MultiHeadAttention):
        return layer(x[0], x[-1])
    return layer(x if len(x) > 1 else x[0])


def run_layer_check(make, shape, several, tmp_path):
    """All that a layer must keep to. Returns it, as it is after training."""
    layer = make()
    config = layer.get_config()
    again = type(layer).from_config(json.loads(json.dumps(config)))
    assert again.get_config() == config, "the configuration does not round-trip"

    rng = np.random.default_rng(4)
    x = [rng.standard_normal((6, *shape)).astype(np.float32) for _ in range(max(1, several))]
    if isinstance(layer, L.Embedding | L.CategoryEncoding):
        x = [rng.integers(0, 5, (6, *shape)).astype(np.int32)]
    inputs = [L.Input(shape, dtype=v.dtype.name) for v in x]
    symbolic = call_layer(layer, inputs)
    real = call_layer(layer, list(map(tf.constant, x)))
    assert symbolic.shape[0] is None and tuple(symbolic.shape)[1:] == tuple(real.shape)[1:]
    assert symbolic.dtype == real.dtype
    many = [(None, *shape)] * len(x)
    given = many if isinstance(layer, L.MultiHeadAttention) else [many if several else many[0]]
    assert tuple(layer.compute_output_shape(*given)) == tuple(symbolic.shape)

    outputs = L.Dense(2)(L.Flatten()(symbolic))
    model = tf.keras.Model(inputs, outputs)
    model.compile("sgd", "mse")
    y = rng.standard_normal((6, 2)).astype(np.float32)
    before = model.get_weights()
    model.fit(x if several else x[0], y, batch_size=4, verbose=0)
    for w, a, b in zip(model.weights, before, model.get_weights(), strict=True):
        assert np.isfinite(b).all()
        assert not np.array_equal(a, b) or not np.any(a - b), w.name
    expected = model.predict(x if several else x[0], verbose=0)
    model.save(tmp_path / "model.tide")
    loaded = tf.keras.models.load_model(tmp_path / "model.tide")
    np.testing.assert_allclose(loaded.predict(x if several else x[0], verbose=0), expected, atol=1e-6)
    return layer


@pytest.mark.parametrize("name", CASES)
def test_layer_keeps_the_rules(name, tmp_path):
    make, shape, several = CASES[name]
    layer = run_layer_check(make, shape, several, tmp_path)
    if hasattr(layer, "kernel"):
        assert layer.kernel.trainable and layer.count_params() == sum(w.size for w in layer.get_weights())


def test_every_layer_has_a_case():
    covered = {type(make()) for make, _, _ in CASES.values()}
    assert covered >= {
        v for n, v in vars(L).items() if isinstance(v, type) and n not in INSIDE
    }


def test_dropout_keeps_the_mean_and_draws_anew_each_time():
    layer = L.Dropout(0.25, seed=1)
    x = tf.ones((100, 100))
    first, second = layer(x, training=True).numpy(), layer(x, training=True).numpy()
    assert abs(first.mean() - 1.0) < 0.02 and set(np.unique(first)) == {0.0, np.float32(1 / 0.75)}
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(layer(x).numpy(), x.numpy())
    np.testing.assert_array_equal(L.Dropout(0.25, seed=1)(x, training=True).numpy(), first)
    assert not L.Dropout(1.0)(x, training=True).numpy().any()


def test_normalization_takes_statistics_of_arrays_and_batches():
    x = np.random.default_rng(0).normal(3.0, 2.0, (50, 4, 2)).astype(np.float32)
    whole, batches, pairs = L.Normalization(), L.Normalization(), L.Normalization()
    whole.adapt(x)
    batches.adapt([x[:7], x[7:40], x[40:]])
    pairs.adapt((x[i : i + 10], None) for i in range(0, 50, 10))
    np.testing.assert_allclose(whole(x).numpy(), (x - x.mean((0, 1))) / x.std((0, 1)), rtol=1e-4, atol=1e-5)
    for other in (batches, pairs):
        for a, b in zip(whole.get_weights(), other.get_weights(), strict=True):
            np.testing.assert_allclose(b, a, rtol=1e-5)
    back = L.Normalization(mean=x.mean((0, 1)), variance=x.var((0, 1)), invert=True)
    np.testing.assert_allclose(back(whole(x)).numpy(), x, rtol=1e-4, atol=1e-4)
    one = L.Normalization(axis=None)
    one.adapt(x)
    np.testing.assert_allclose(one(x).numpy(), (x - x.mean()) / x.std(), rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="received no data"):
        L.Normalization().adapt([])


def test_a_nameless_function_cannot_be_saved():
    layer = L.Lambda(lambda x, training=None: x + (1.0 if training else 0.0))
    assert layer(tf.zeros(2), training=True).numpy().tolist() == [1.0, 1.0]
    with pytest.raises(ValueError, match="a lambda cannot be saved"):
        layer.get_config()


def test_batch_normalization_gathers_statistics_only_in_training():
    layer = L.BatchNormalization(momentum=0.5)
    x = tf.constant(np.random.default_rng(0).normal(3.0, 2.0, (200, 2)).astype(np.float32))
    layer(x)
    assert not layer.moving_mean.numpy().any()
    layer(x, training=True)
    np.testing.assert_allclose(layer.moving_mean.numpy(), x.numpy().mean(0) / 2, rtol=1e-4)
    layer.trainable = False
    layer(x, training=True)
    np.testing.assert_allclose(layer.moving_mean.numpy(), x.numpy().mean(0) / 2, rtol=1e-4)


@pytest.mark.parametrize(
    "name, mean, deviation, bound",
    [
        ("glorot_uniform", 0.0, np.sqrt(2 / 500), np.sqrt(6 / 500)),
        ("glorot_normal", 0.0, np.sqrt(2 / 500), 2 * np.sqrt(2 / 500) / 0.8796),
        ("he_uniform", 0.0, np.sqrt(2 / 300), np.sqrt(6 / 300)),
        ("he_normal", 0.0, np.sqrt(2 / 300), 2 * np.sqrt(2 / 300) / 0.8796),
        ("lecun_normal", 0.0, np.sqrt(1 / 300), 2 * np.sqrt(1 / 300) / 0.8796),
        ("random_normal", 0.0, 0.05, 1.0),
        ("random_uniform", 0.0, 0.05 / np.sqrt(3), 0.05),
        ("truncated_normal", 0.0, 0.05 * 0.8796, 0.1),
        ("zeros", 0.0, 0.0, 0.0),
        ("ones", 1.0, 0.0, 1.0),
    ],
)
def test_initializer_has_the_statistics_of_keras(name, mean, deviation, bound):
    values = tf.keras.initializers.get(name)((300, 200)).numpy()
    assert values.dtype == np.float32 and values.mean() == pytest.approx(mean, abs=1e-3)
    assert values.std() == pytest.approx(deviation, rel=0.02) and np.abs(values).max() <= bound * 1.0001


def test_orthogonal_and_seeds():
    q = tf.keras.initializers.Orthogonal(seed=1)((4, 9)).numpy()
    np.testing.assert_allclose(q @ q.T, np.eye(4), atol=1e-5)
    make = tf.keras.initializers.GlorotUniform
    np.testing.assert_array_equal(make(seed=5)((3, 3)).numpy(), make(seed=5)((3, 3)).numpy())
    assert not np.array_equal(make()((3, 3)).numpy(), make()((3, 3)).numpy())


@pytest.mark.parametrize(
    "constraint, holds",
    [
        ("non_neg", lambda w: (w >= 0).all()),
        (tf.keras.constraints.MaxNorm(0.5), lambda w: (np.linalg.norm(w, axis=0) <= 0.5001).all()),
        ("unit_norm", lambda w: np.allclose(np.linalg.norm(w, axis=0), 1, atol=1e-4)),
        (tf.keras.constraints.MinMaxNorm(0.7, 0.9), lambda w: (np.abs(np.linalg.norm(w, axis=0) - 0.8) < 0.101).all()),
    ],
)
def test_constraint_holds_after_each_step(constraint, holds, device, rows):
    model = tf.keras.Sequential([L.Input((5,)), L.Dense(4, kernel_constraint=constraint), L.Dense(1)])
    model.compile(tf.keras.optimizers.SGD(0.01, momentum=0.9), "mse")
    model.fit(*rows, verbose=0)
    assert holds(model.layers[0].kernel.numpy())
