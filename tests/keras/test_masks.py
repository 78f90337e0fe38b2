"""Masks go from the layer that makes them to the layers that use them, and to losses and metrics."""

import gc

import numpy as np
import pytest
import tideflow as tf
from tideflow.keras import masking

L = tf.keras.layers
IDS = np.array([[1, 4, 0, 0], [2, 3, 4, 0], [4, 4, 1, 2]], np.int32)
LABELS = np.array([[0, 1, 2, 2], [1, 0, 0, 1], [2, 2, 1, 0]])


def tagger():
    """A class for every step."""
    tf.keras.utils.set_random_seed(2)
    ids = L.Input((4,), dtype="int32")
    x = L.Dropout(0.0)(L.Dense(8, "tanh")(L.Embedding(5, 6, mask_zero=True)(ids)))
    model = tf.keras.Model(ids, L.Dense(3, activation="softmax")(x))
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def test_embedding_masks_zeros_and_layers_after_it_keep_the_mask():
    embedding = L.Embedding(5, 3, mask_zero=True)
    x = embedding(IDS)
    np.testing.assert_array_equal(masking.mask_of(x), IDS != 0)
    for layer in (L.Dense(2), L.Dropout(0.5), L.LayerNormalization(), L.Activation("relu"), L.BatchNormalization()):
        np.testing.assert_array_equal(masking.mask_of(layer(x)), IDS != 0, err_msg=layer.name)
    assert masking.mask_of(L.Flatten()(x)) is None
    assert masking.mask_of(L.Embedding(5, 3)(IDS)) is None
    assert masking.mask_of(L.GlobalAveragePooling1D()(x)) is None


def test_merged_masks():
    a, b = (L.Embedding(5, 3, mask_zero=True)(v) for v in (IDS, IDS[::-1].copy()))
    either = (IDS != 0) | (IDS[::-1] != 0)
    np.testing.assert_array_equal(masking.mask_of(L.Add()([a, b])), either)
    np.testing.assert_array_equal(
        masking.mask_of(L.Concatenate(axis=1)([a, b])), np.concatenate([IDS, IDS[::-1]], 1) != 0
    )
    assert masking.mask_of(L.Add()([a, tf.ones((3, 4, 3))])) is None


def test_masks_go_with_their_tensors():
    before = len(masking._held)
    x = L.Embedding(5, 3, mask_zero=True)(IDS)
    y = L.Dense(2)(x)
    assert len(masking._held) == before + 2
    del x, y
    gc.collect()
    assert len(masking._held) == before


def test_masked_steps_are_not_attended_to():
    heads = L.MultiHeadAttention(2, 3)
    x = L.Embedding(5, 6, mask_zero=True)(IDS)
    _, scores = heads(x, x, return_attention_scores=True)
    assert np.all(np.asarray(scores)[:2, :, :2, 3] == 0)  # rows of steps that count, the column of one that does not
    np.testing.assert_allclose(np.asarray(scores).sum(-1), 1.0, rtol=1e-6)


@pytest.mark.parametrize("weights", [None, np.array([1.0, 2.0, 0.5], np.float32)])
def test_loss_and_metrics_leave_masked_steps_out(weights):
    model = tagger()
    p = model.predict(IDS, verbose=0)
    values = -np.log(np.take_along_axis(p, LABELS[..., None], -1)[..., 0])
    count = (IDS != 0).astype(np.float32)
    each = count if weights is None else count * weights[:, None]
    logs = model.test_on_batch(IDS, LABELS, weights, return_dict=True)
    assert logs["loss"] == pytest.approx((values * each).sum() / count.sum(), rel=1e-5)
    assert logs["accuracy"] == pytest.approx(((p.argmax(-1) == LABELS) * count).sum() / count.sum(), rel=1e-5)


def test_masked_training_is_alike_on_the_host_and_compiled(device):
    model = tagger()
    model.fit(IDS, LABELS, epochs=3, verbose=0)
    with tf.device("cpu"):
        other = tagger()
        other.fit(IDS, LABELS, epochs=3, verbose=0)
    for a, b in zip(model.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
