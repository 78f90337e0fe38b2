"""Layers of sequences, attention, normalisation and images that are recorded from Keras and compared with it.

`k` is either `keras`; names that start with the same word test one family.
"""

import numpy as np


def _numbers(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


IDS = np.array([[1, 4, 0, 0], [2, 3, 4, 0], [4, 4, 1, 2]], np.int32)
Q, V, K = _numbers(1, 2, 4, 6), _numbers(2, 2, 5, 6), _numbers(3, 2, 5, 6)
SEEN = np.array([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]], bool)
ASKED = np.array([[1, 1, 1, 0], [1, 0, 1, 1]], bool)
ALLOWED = np.random.default_rng(4).random((2, 4, 5)) < 0.7
ALLOWED[..., 0] = True
SEQUENCE, IMAGE, VOLUME = _numbers(5, 2, 7, 4), _numbers(6, 2, 5, 6, 4), _numbers(7, 2, 4, 3, 4, 2)
FIRST = {"data_format": "channels_first"}


def _call(layer, x, **keywords):
    return layer(x[0] if len(x) == 1 else x, **keywords)


def _several(layer, x, **keywords):
    return layer(*x, **keywords)


CASES = {
    # name -> (constructor, inputs, keywords of the call, how it is called)
    "norm_layer": (lambda k: k.layers.LayerNormalization(epsilon=1e-2), [SEQUENCE], {}, _call),
    "norm_layer_axes": (lambda k: k.layers.LayerNormalization(axis=[1, 2], scale=False), [SEQUENCE], {}, _call),
    "norm_layer_first": (lambda k: k.layers.LayerNormalization(axis=1), [IMAGE], {}, _call),
    "norm_group": (lambda k: k.layers.GroupNormalization(2), [IMAGE], {}, _call),
    "norm_group_axis": (lambda k: k.layers.GroupNormalization(3, axis=2, center=False), [IMAGE], {}, _call),
    "norm_instance": (lambda k: k.layers.GroupNormalization(-1, scale=False), [SEQUENCE], {}, _call),
    "norm_rms": (lambda k: k.layers.RMSNormalization(), [SEQUENCE], {}, _call),
    "norm_rms_axes": (lambda k: k.layers.RMSNormalization(axis=[1, 2]), [SEQUENCE], {}, _call),
    "norm_unit": (lambda k: k.layers.UnitNormalization(axis=1), [SEQUENCE], {}, _call),
    "embedding": (lambda k: k.layers.Embedding(5, 3), [IDS], {}, _call),
    "embedding_averaged": (
        lambda k: k.Sequential([k.layers.Embedding(5, 3, mask_zero=True), k.layers.GlobalAveragePooling1D()]),
        [IDS],
        {},
        _call,
    ),
    "masking_averaged": (
        lambda k: k.Sequential([k.layers.Masking(0.0), k.layers.Dense(3), k.layers.GlobalAveragePooling1D()]),
        [SEQUENCE * (np.arange(7)[:, None] % 3 > 0)],
        {},
        _call,
    ),
    "einsum_dense": (lambda k: k.layers.EinsumDense("ab,bc->ac", 3, "tanh", "c"), [_numbers(8, 4, 5)], {}, _call),
    "einsum_dense_heads": (
        lambda k: k.layers.EinsumDense("abc,cde->abde", (None, 2, 3), bias_axes="de"),
        [SEQUENCE],
        {},
        _call,
    ),
    "einsum_dense_elided": (lambda k: k.layers.EinsumDense("...x,xy->...y", 3, bias_axes="y"), [SEQUENCE], {}, _call),
    "heads_self": (lambda k: k.layers.MultiHeadAttention(2, 3), [SEQUENCE, SEQUENCE], {}, _several),
    "heads_cross": (lambda k: k.layers.MultiHeadAttention(2, 3, value_dim=5), [Q, V, K], {}, _several),
    "heads_causal": (
        lambda k: k.layers.MultiHeadAttention(3, 2, use_bias=False),
        [SEQUENCE, SEQUENCE],
        {"use_causal_mask": True},
        _several,
    ),
    "heads_mask": (
        lambda k: k.layers.MultiHeadAttention(2, 3, output_shape=7),
        [Q, V],
        {"attention_mask": ALLOWED},
        _several,
    ),
    "heads_masks": (lambda k: k.layers.MultiHeadAttention(2, 3), [Q, V], {"value_mask": SEEN}, _several),
    "heads_scores": (
        lambda k: k.layers.MultiHeadAttention(2, 3),
        [Q, V, K],
        {"return_attention_scores": True},
        _several,
    ),
    "heads_axes": (lambda k: k.layers.MultiHeadAttention(2, 3, attention_axes=(1, 2)), [IMAGE, IMAGE], {}, _several),
    "heads_axis": (lambda k: k.layers.MultiHeadAttention(2, 3, attention_axes=2), [IMAGE, IMAGE], {}, _several),
    "heads_window": (
        lambda k: k.layers.MultiHeadAttention(2, 3, sliding_window=2),
        [SEQUENCE, SEQUENCE],
        {"use_causal_mask": True},
        _several,
    ),
    "heads_gate": (lambda k: k.layers.MultiHeadAttention(2, 3, use_gate=True), [Q, V], {}, _several),
    "heads_shape": (lambda k: k.layers.MultiHeadAttention(2, 3, output_shape=(2, 4)), [Q, V], {}, _several),
    "heads_of_ids": (
        lambda k: _tower(k),
        [IDS],
        {},
        _call,
    ),
    "attention": (lambda k: k.layers.Attention(), [Q, V], {}, _call),
    "attention_scale": (lambda k: k.layers.Attention(use_scale=True), [Q, V, K], {"mask": [ASKED, SEEN]}, _call),
    "attention_concat": (
        lambda k: k.layers.Attention(use_scale=True, score_mode="concat"),
        [Q, V],
        {"use_causal_mask": True},
        _call,
    ),
    "attention_scores": (lambda k: k.layers.Attention(), [Q, V], {"return_attention_scores": True}, _call),
    "attention_additive": (lambda k: k.layers.AdditiveAttention(), [Q, V, K], {"mask": [ASKED, SEEN]}, _call),
    "attention_additive_plain": (lambda k: k.layers.AdditiveAttention(use_scale=False), [Q, V], {}, _call),
    "data_normalization": (
        lambda k: k.layers.Normalization(mean=[1.0, 0, 2, 3], variance=[1, 4, 0, 2]),
        [SEQUENCE],
        {},
        _call,
    ),
    "data_normalization_back": (
        lambda k: k.layers.Normalization(mean=0.5, variance=4.0, invert=True),
        [SEQUENCE],
        {},
        _call,
    ),
    "data_categories": (lambda k: k.layers.CategoryEncoding(5), [IDS], {}, _call),
    "data_categories_count": (lambda k: k.layers.CategoryEncoding(5, "count"), [IDS], {}, _call),
    "data_categories_one_hot": (lambda k: k.layers.CategoryEncoding(5, "one_hot"), [IDS[:, :1]], {}, _call),
    "merge_ranks": (lambda k: k.layers.Add(), [_numbers(9, 2, 4), SEQUENCE], {}, _call),
    "merge_dot": (lambda k: k.layers.Dot(axes=(2, 2)), [Q, V], {}, _call),
    "merge_dot_vectors": (
        lambda k: k.layers.Dot(1, normalize=True),
        [_numbers(10, 3, 4), _numbers(11, 3, 4)],
        {},
        _call,
    ),
    "merge_dot_images": (lambda k: k.layers.Dot(axes=(3, 2)), [IMAGE, SEQUENCE], {}, _call),
    "conv_1d": (lambda k: k.layers.Conv1D(3, 2, strides=2, activation="relu"), [SEQUENCE], {}, _call),
    "conv_1d_causal": (lambda k: k.layers.Conv1D(3, 3, padding="causal", dilation_rate=2), [SEQUENCE], {}, _call),
    "conv_1d_groups": (lambda k: k.layers.Conv1D(4, 3, padding="same", groups=2), [SEQUENCE], {}, _call),
    "conv_3d": (lambda k: k.layers.Conv3D(3, 2, padding="same", strides=(1, 2, 1)), [VOLUME], {}, _call),
    "conv_depthwise_1d": (lambda k: k.layers.DepthwiseConv1D(3, depth_multiplier=2), [SEQUENCE], {}, _call),
    "conv_separable": (
        lambda k: k.layers.SeparableConv2D(5, 3, strides=2, padding="same", depth_multiplier=2),
        [IMAGE],
        {},
        _call,
    ),
    "conv_separable_1d": (lambda k: k.layers.SeparableConv1D(5, 3, activation="relu"), [SEQUENCE], {}, _call),
    "conv_transposed": (lambda k: k.layers.Conv2DTranspose(3, 3, strides=2, padding="same"), [IMAGE], {}, _call),
    "conv_transposed_valid": (lambda k: k.layers.Conv2DTranspose(3, (2, 3), strides=(3, 1)), [IMAGE], {}, _call),
    "conv_transposed_more": (
        lambda k: k.layers.Conv2DTranspose(3, 3, strides=2, padding="same", output_padding=1),
        [IMAGE],
        {},
        _call,
    ),
    "conv_transposed_1d": (lambda k: k.layers.Conv1DTranspose(3, 4, strides=2), [SEQUENCE], {}, _call),
    "conv_transposed_3d": (lambda k: k.layers.Conv3DTranspose(2, 2, strides=2), [VOLUME], {}, _call),
    "pool_max_1d": (lambda k: k.layers.MaxPooling1D(3, 2, "same"), [SEQUENCE], {}, _call),
    "pool_max_3d": (lambda k: k.layers.MaxPooling3D(), [VOLUME], {}, _call),
    "pool_avg_1d": (lambda k: k.layers.AveragePooling1D(2), [SEQUENCE], {}, _call),
    "pool_avg_3d": (lambda k: k.layers.AveragePooling3D(2, padding="same"), [VOLUME], {}, _call),
    "pool_global_avg_1d": (lambda k: k.layers.GlobalAveragePooling1D(), [V], {"mask": SEEN}, _call),
    "pool_global_max_1d": (lambda k: k.layers.GlobalMaxPooling1D(keepdims=True), [SEQUENCE], {}, _call),
    "pool_global_avg_3d": (lambda k: k.layers.GlobalAveragePooling3D(), [VOLUME], {}, _call),
    "pool_global_max_3d": (lambda k: k.layers.GlobalMaxPooling3D(), [VOLUME], {}, _call),
    "shape_repeat": (lambda k: k.layers.RepeatVector(3), [_numbers(12, 2, 4)], {}, _call),
    "shape_pad_1d": (lambda k: k.layers.ZeroPadding1D((1, 2)), [SEQUENCE], {}, _call),
    "shape_pad_2d": (lambda k: k.layers.ZeroPadding2D(((1, 0), (2, 1))), [IMAGE], {}, _call),
    "shape_pad_2d_first": (lambda k: k.layers.ZeroPadding2D((1, 2), **FIRST), [IMAGE], {}, _call),
    "shape_pad_3d": (lambda k: k.layers.ZeroPadding3D(1), [VOLUME], {}, _call),
    "shape_crop_1d": (lambda k: k.layers.Cropping1D((2, 1)), [SEQUENCE], {}, _call),
    "shape_crop_2d": (lambda k: k.layers.Cropping2D(((1, 0), (2, 1))), [IMAGE], {}, _call),
    "shape_crop_3d": (lambda k: k.layers.Cropping3D((1, 1, 0)), [VOLUME], {}, _call),
    "shape_enlarge_1d": (lambda k: k.layers.UpSampling1D(3), [SEQUENCE], {}, _call),
    "shape_enlarge_2d": (lambda k: k.layers.UpSampling2D((2, 3)), [IMAGE], {}, _call),
    "shape_enlarge_2d_bilinear": (
        lambda k: k.layers.UpSampling2D((2, 3), interpolation="bilinear"),
        [IMAGE],
        {},
        _call,
    ),
    "shape_enlarge_3d": (lambda k: k.layers.UpSampling3D((1, 2, 2)), [VOLUME], {}, _call),
    "activation_prelu": (lambda k: k.layers.PReLU(), [SEQUENCE], {}, _call),
    "activation_prelu_shared": (lambda k: k.layers.PReLU(shared_axes=[1, 2]), [IMAGE], {}, _call),
    "activation_softmax_mask": (lambda k: k.layers.Softmax(axis=1), [V[..., 0]], {"mask": SEEN}, _call),
    "activation_softmax_axes": (lambda k: k.layers.Softmax(axis=[1, 2]), [SEQUENCE], {}, _call),
    "noise_infer": (lambda k: k.layers.GaussianNoise(0.3), [SEQUENCE], {}, _call),
    "noise_dropout_infer": (lambda k: k.layers.GaussianDropout(0.3), [SEQUENCE], {}, _call),
    "noise_alpha_infer": (lambda k: k.layers.AlphaDropout(0.3), [SEQUENCE], {}, _call),
}


def _tower(k):
    """Masks go from the ids through an attention to the mean over the steps."""
    ids = k.Input((4,), dtype="int32")
    x = k.layers.Embedding(5, 6, mask_zero=True)(ids)
    x = k.layers.LayerNormalization()(k.layers.Add()([x, k.layers.MultiHeadAttention(2, 3)(x, x)]))
    return k.Model(ids, k.layers.GlobalAveragePooling1D()(x))


def case(k, name):
    """(layer, inputs, keywords, call, what turns its weights into given ones)."""
    make, inputs, keywords, call = CASES[name]

    def weights(held):
        draw = np.random.default_rng(len(name))
        return [(0.6 * draw.standard_normal(w.shape) + (np.ndim(w) == 1)).astype(np.float32) for w in held]

    return make(k), inputs, keywords, call, weights
