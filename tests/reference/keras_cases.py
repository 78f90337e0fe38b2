"""What is recorded from Keras and compared with it: layers, losses, metrics, optimizers, training.

`k` is either `keras`.
"""

import numpy as np

LAYERS = {
    # name -> (constructor, shapes of the inputs, called with training=True)
    "dense": (lambda k: k.layers.Dense(3, activation="tanh"), [(4, 5)], False),
    "dense_3d": (lambda k: k.layers.Dense(3, use_bias=False, activation="gelu"), [(2, 3, 5)], False),
    "conv_valid": (lambda k: k.layers.Conv2D(3, 3, activation="relu"), [(2, 6, 5, 2)], False),
    "conv_same_strides": (lambda k: k.layers.Conv2D(4, (3, 2), strides=2, padding="same"), [(2, 7, 5, 2)], False),
    "conv_dilated": (lambda k: k.layers.Conv2D(2, 3, dilation_rate=2, use_bias=False), [(1, 7, 8, 3)], False),
    "conv_groups": (lambda k: k.layers.Conv2D(4, 3, groups=2, padding="same"), [(2, 5, 5, 4)], False),
    "depthwise": (lambda k: k.layers.DepthwiseConv2D(3, depth_multiplier=2, padding="same"), [(2, 5, 5, 3)], False),
    "max_pool": (lambda k: k.layers.MaxPooling2D(), [(2, 6, 5, 3)], False),
    "max_pool_same": (lambda k: k.layers.MaxPooling2D(3, 2, "same"), [(2, 6, 5, 3)], False),
    "avg_pool": (lambda k: k.layers.AveragePooling2D(2), [(2, 6, 5, 3)], False),
    "avg_pool_same": (lambda k: k.layers.AveragePooling2D((3, 2), (2, 1), "same"), [(2, 6, 5, 3)], False),
    "global_avg_pool": (lambda k: k.layers.GlobalAveragePooling2D(), [(2, 6, 5, 3)], False),
    "global_max_pool": (lambda k: k.layers.GlobalMaxPooling2D(keepdims=True), [(2, 6, 5, 3)], False),
    "batch_norm_train": (lambda k: k.layers.BatchNormalization(momentum=0.9), [(4, 3, 3, 2)], True),
    "batch_norm_infer": (lambda k: k.layers.BatchNormalization(), [(4, 3, 3, 2)], False),
    "batch_norm_axis": (lambda k: k.layers.BatchNormalization(axis=1, scale=False), [(4, 3, 5)], True),
    "layer_norm": (lambda k: k.layers.LayerNormalization(), [(3, 4, 6)], False),
    "layer_norm_axes": (lambda k: k.layers.LayerNormalization(axis=[1, 2], center=False), [(3, 4, 6)], False),
    "flatten": (lambda k: k.layers.Flatten(), [(2, 3, 4)], False),
    "reshape": (lambda k: k.layers.Reshape((-1, 2)), [(2, 3, 4)], False),
    "permute": (lambda k: k.layers.Permute((2, 1)), [(2, 3, 4)], False),
    "rescaling": (lambda k: k.layers.Rescaling(0.5, -1.0), [(2, 3)], False),
    "relu": (lambda k: k.layers.ReLU(max_value=1.0, negative_slope=0.1, threshold=0.2), [(3, 7)], False),
    "leaky_relu": (lambda k: k.layers.LeakyReLU(), [(3, 7)], False),
    "elu": (lambda k: k.layers.ELU(0.7), [(3, 7)], False),
    "softmax": (lambda k: k.layers.Softmax(axis=1), [(3, 4, 2)], False),
    "activation_swish": (lambda k: k.layers.Activation("swish"), [(3, 7)], False),
    "activation_selu": (lambda k: k.layers.Activation("selu"), [(3, 7)], False),
    "activation_hard_sigmoid": (lambda k: k.layers.Activation("hard_sigmoid"), [(3, 7)], False),
    "activation_mish": (lambda k: k.layers.Activation("mish"), [(3, 7)], False),
    "dropout_infer": (lambda k: k.layers.Dropout(0.5), [(3, 7)], False),
    "identity": (lambda k: k.layers.Identity(), [(3, 7)], False),
    "add": (lambda k: k.layers.Add(), [(3, 4), (3, 4)], False),
    "subtract": (lambda k: k.layers.Subtract(), [(3, 4), (3, 4)], False),
    "multiply": (lambda k: k.layers.Multiply(), [(3, 4), (3, 4), (3, 4)], False),
    "average": (lambda k: k.layers.Average(), [(3, 4), (3, 4)], False),
    "maximum": (lambda k: k.layers.Maximum(), [(3, 4), (3, 4)], False),
    "minimum": (lambda k: k.layers.Minimum(), [(3, 4), (3, 4)], False),
    "concatenate": (lambda k: k.layers.Concatenate(axis=1), [(3, 2, 4), (3, 3, 4)], False),
}


def layer_case(k, name):
    """(layer, inputs, what turns its weights into given ones, training)."""
    make, shapes, training = LAYERS[name]
    rng = np.random.default_rng(len(name))
    x = [rng.standard_normal(s).astype(np.float32) for s in shapes]

    def weights(held):
        draw = np.random.default_rng(5)
        return [(0.5 * draw.standard_normal(w.shape) + (np.ndim(w) == 1)).astype(np.float32) ** 2 for w in held]

    return make(k), x, weights, training


def _scores(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def _probabilities(seed, *shape):
    e = np.exp(_scores(seed, *shape))
    return (e / e.sum(-1, keepdims=True)).astype(np.float32)


_LABELS = np.array([0, 2, 1, 2], np.int64)
_ONE_HOT = np.eye(3, dtype=np.float32)[_LABELS]
_BITS = np.array([[0.0], [1.0], [1.0], [0.0]], np.float32)
_WEIGHT = np.array([1.0, 0.0, 2.0, 0.5], np.float32)
_SURE = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 1.0, 0.0], [0.2, 0.3, 0.5]], np.float32)
_SIGMOID = np.array([[0.1], [0.8], [0.4], [1.0]], np.float32)

LOSSES = {
    # name -> (constructor, y_true, y_pred, sample_weight)
    "mse": (lambda k: k.losses.MeanSquaredError(), _scores(0, 4, 3), _scores(1, 4, 3), None),
    "mse_weighted": (lambda k: k.losses.MeanSquaredError(), _scores(0, 4, 3), _scores(1, 4, 3), _WEIGHT),
    "mse_sum": (lambda k: k.losses.MeanSquaredError(reduction="sum"), _scores(0, 4, 3), _scores(1, 4, 3), _WEIGHT),
    "mse_none": (lambda k: k.losses.MeanSquaredError(reduction=None), _scores(0, 4, 3), _scores(1, 4, 3), _WEIGHT),
    "mse_weighted_mean": (
        lambda k: k.losses.MeanSquaredError(reduction="mean_with_sample_weight"),
        _scores(0, 4, 3),
        _scores(1, 4, 3),
        _WEIGHT,
    ),
    "mse_flat": (lambda k: k.losses.MeanSquaredError(), _scores(0, 4), _scores(1, 4, 1), None),
    "mse_flat_both": (lambda k: k.losses.MeanSquaredError(), _scores(0, 4), _scores(1, 4), None),
    "mse_integers": (lambda k: k.losses.MeanSquaredError(), _LABELS[:, None], _scores(1, 4, 1), None),
    "mae": (lambda k: k.losses.MeanAbsoluteError(), _scores(0, 4, 3), _scores(1, 4, 3), None),
    "mape": (lambda k: k.losses.MeanAbsolutePercentageError(), _scores(0, 4, 3), _scores(1, 4, 3), None),
    "msle": (lambda k: k.losses.MeanSquaredLogarithmicError(), np.abs(_scores(0, 4, 3)), _scores(1, 4, 3), None),
    "huber": (lambda k: k.losses.Huber(0.5), _scores(0, 4, 3), _scores(1, 4, 3), None),
    "kld": (lambda k: k.losses.KLDivergence(), _probabilities(8, 4, 3), _probabilities(9, 4, 3), None),
    "poisson": (lambda k: k.losses.Poisson(), np.abs(_scores(0, 4, 3)), np.abs(_scores(1, 4, 3)), _WEIGHT),
    "log_cosh": (lambda k: k.losses.LogCosh(), _scores(0, 4, 3), 20 * _scores(1, 4, 3), None),
    "cosine": (lambda k: k.losses.CosineSimilarity(axis=1), _scores(0, 4, 3), _scores(1, 4, 3), None),
    "hinge": (lambda k: k.losses.Hinge(), _BITS, _scores(1, 4, 1), None),
    "hinge_signs": (lambda k: k.losses.Hinge(), 2 * _BITS - 1, _scores(1, 4, 1), None),
    "squared_hinge": (lambda k: k.losses.SquaredHinge(), _BITS, _scores(1, 4, 1), None),
    "categorical_hinge": (lambda k: k.losses.CategoricalHinge(), _ONE_HOT, _scores(1, 4, 3), _WEIGHT),
    "bce": (lambda k: k.losses.BinaryCrossentropy(), _BITS, _SIGMOID, None),
    "bce_flat": (lambda k: k.losses.BinaryCrossentropy(), _BITS[:, 0], _SIGMOID, _WEIGHT),
    "bce_logits": (lambda k: k.losses.BinaryCrossentropy(from_logits=True), _BITS, 9 * _scores(2, 4, 1), None),
    "bce_smooth": (lambda k: k.losses.BinaryCrossentropy(label_smoothing=0.2), _BITS, _SIGMOID, None),
    "cce": (lambda k: k.losses.CategoricalCrossentropy(), _ONE_HOT, _probabilities(3, 4, 3), None),
    "cce_sure": (lambda k: k.losses.CategoricalCrossentropy(), _ONE_HOT, _SURE, None),
    "cce_unnormalized": (lambda k: k.losses.CategoricalCrossentropy(), _ONE_HOT, 3 * _probabilities(3, 4, 3), None),
    "cce_logits": (
        lambda k: k.losses.CategoricalCrossentropy(from_logits=True),
        _ONE_HOT,
        50 * _scores(3, 4, 3),
        _WEIGHT,
    ),
    "cce_smooth": (
        lambda k: k.losses.CategoricalCrossentropy(label_smoothing=0.1),
        _ONE_HOT,
        _probabilities(3, 4, 3),
        None,
    ),
    "scce": (lambda k: k.losses.SparseCategoricalCrossentropy(), _LABELS, _probabilities(3, 4, 3), None),
    "scce_sure": (lambda k: k.losses.SparseCategoricalCrossentropy(), _LABELS, _SURE, None),
    "scce_column": (
        lambda k: k.losses.SparseCategoricalCrossentropy(),
        _LABELS[:, None],
        _probabilities(3, 4, 3),
        _WEIGHT,
    ),
    "scce_floats": (
        lambda k: k.losses.SparseCategoricalCrossentropy(),
        _LABELS.astype("f"),
        _probabilities(3, 4, 3),
        None,
    ),
    "scce_logits": (
        lambda k: k.losses.SparseCategoricalCrossentropy(from_logits=True),
        _LABELS,
        50 * _scores(3, 4, 3),
        None,
    ),
    "scce_ignore": (
        lambda k: k.losses.SparseCategoricalCrossentropy(ignore_class=2),
        _LABELS,
        _probabilities(3, 4, 3),
        None,
    ),
    "scce_pixels": (
        lambda k: k.losses.SparseCategoricalCrossentropy(from_logits=True),
        np.array([[0, 1], [2, 2]]),
        _scores(4, 2, 2, 3),
        np.array([[1.0, 0.5], [0.0, 2.0]], np.float32),
    ),
}

_MANY = _scores(20, 60)
_SURE_OF = (1 / (1 + np.exp(-_MANY - _scores(21, 60)))).astype(np.float32)

METRICS = {
    # name -> (constructor, batches of (y_true, y_pred[, sample_weight]))
    "mean": (lambda k: k.metrics.Mean(), [([1.0, 3.0, 5.0],), ([7.0],)]),
    "mean_weighted": (lambda k: k.metrics.Mean(), [([1.0, 3.0], [1.0, 0.0]), ([7.0], [2.0])]),
    "sum": (lambda k: k.metrics.Sum(), [([1.0, 3.0],), ([7.0],)]),
    "accuracy": (lambda k: k.metrics.Accuracy(), [([[1], [2], [3]], [[0], [2], [3]])]),
    "binary_accuracy": (
        lambda k: k.metrics.BinaryAccuracy(threshold=0.4),
        [(_BITS, _SIGMOID), (_BITS, _SIGMOID, _WEIGHT)],
    ),
    "categorical_accuracy": (lambda k: k.metrics.CategoricalAccuracy(), [(_ONE_HOT, _probabilities(6, 4, 3), _WEIGHT)]),
    "sparse_accuracy": (
        lambda k: k.metrics.SparseCategoricalAccuracy(),
        [(_LABELS, _probabilities(6, 4, 3)), (_LABELS[:, None], _probabilities(7, 4, 3), _WEIGHT)],
    ),
    "top_k": (lambda k: k.metrics.SparseTopKCategoricalAccuracy(k=2), [(_LABELS, _probabilities(6, 4, 3))]),
    "mse": (
        lambda k: k.metrics.MeanSquaredError(),
        [(_scores(0, 4, 3), _scores(1, 4, 3)), (_scores(2, 2, 3), _scores(3, 2, 3))],
    ),
    "rmse": (lambda k: k.metrics.RootMeanSquaredError(), [(_scores(0, 4, 3), _scores(1, 4, 3), _WEIGHT)]),
    "mae": (lambda k: k.metrics.MeanAbsoluteError(), [(_scores(0, 4, 3), _scores(1, 4, 3))]),
    "bce": (lambda k: k.metrics.BinaryCrossentropy(), [(_BITS, _SIGMOID)]),
    "cce": (lambda k: k.metrics.CategoricalCrossentropy(label_smoothing=0.1), [(_ONE_HOT, _probabilities(6, 4, 3))]),
    "scce": (lambda k: k.metrics.SparseCategoricalCrossentropy(from_logits=True), [(_LABELS, _scores(6, 4, 3))]),
    "kld": (lambda k: k.metrics.KLDivergence(), [(_probabilities(8, 4, 3), _probabilities(9, 4, 3))]),
    "log_cosh": (lambda k: k.metrics.LogCoshError(), [(_scores(0, 4, 3), _scores(1, 4, 3))]),
    "cosine": (lambda k: k.metrics.CosineSimilarity(axis=1), [(_scores(0, 4, 3), _scores(1, 4, 3))]),
    "msle": (lambda k: k.metrics.MeanSquaredLogarithmicError(), [(np.abs(_scores(0, 4, 3)), _scores(1, 4, 3))]),
    "top_k_dense": (lambda k: k.metrics.TopKCategoricalAccuracy(k=2), [(_ONE_HOT, _probabilities(6, 4, 3))]),
    "precision": (lambda k: k.metrics.Precision(), [(_BITS, _SIGMOID), (_BITS, _SIGMOID[::-1], _WEIGHT)]),
    "recall": (lambda k: k.metrics.Recall(thresholds=[0.2, 0.9]), [(_BITS, _SIGMOID), (_BITS, _SIGMOID[::-1])]),
    "true_positives": (lambda k: k.metrics.TruePositives(), [(_BITS, _SIGMOID)]),
    "false_negatives": (lambda k: k.metrics.FalseNegatives(0.85), [(_BITS, _SIGMOID)]),
    "false_positives": (lambda k: k.metrics.FalsePositives(), [(_BITS, _SIGMOID, _WEIGHT)]),
    "true_negatives": (lambda k: k.metrics.TrueNegatives([0.05, 0.5]), [(_BITS, _SIGMOID)]),
    "auc": (lambda k: k.metrics.AUC(), [(_MANY > 0, _SURE_OF), (_MANY < 0.5, _SURE_OF, np.abs(_MANY))]),
    "auc_pr": (lambda k: k.metrics.AUC(curve="PR", num_thresholds=20), [(_MANY > 0, _SURE_OF)]),
    "auc_logits": (lambda k: k.metrics.AUC(from_logits=True), [(_MANY > 0, 4 * _SURE_OF - 2)]),
}

OPTIMIZERS = {
    "sgd": lambda k: k.optimizers.SGD(0.1),
    "momentum": lambda k: k.optimizers.SGD(0.05, momentum=0.9),
    "nesterov": lambda k: k.optimizers.SGD(0.05, momentum=0.9, nesterov=True, weight_decay=0.01),
    "adam": lambda k: k.optimizers.Adam(0.01),
    "adam_clipnorm": lambda k: k.optimizers.Adam(0.01, clipnorm=0.05),
    "adamw": lambda k: k.optimizers.AdamW(0.01, weight_decay=0.1),
    "rmsprop": lambda k: k.optimizers.RMSprop(0.01),
    "rmsprop_all": lambda k: k.optimizers.RMSprop(0.01, momentum=0.5, centered=True, weight_decay=0.02),
    "amsgrad": lambda k: k.optimizers.Adam(0.01, amsgrad=True),
    "adamax": lambda k: k.optimizers.Adamax(0.01),
    "adagrad": lambda k: k.optimizers.Adagrad(0.05),
    "adadelta": lambda k: k.optimizers.Adadelta(0.5),
    "lion": lambda k: k.optimizers.Lion(0.002, weight_decay=0.01),
    "sgd_clipnorm": lambda k: k.optimizers.SGD(0.1, clipnorm=0.05),
    "sgd_clipvalue": lambda k: k.optimizers.SGD(0.1, clipvalue=0.01),
    "sgd_global_clipnorm": lambda k: k.optimizers.SGD(0.1, global_clipnorm=0.1),
}

SCHEDULES = {
    "exponential": lambda s: s.ExponentialDecay(0.1, 4, 0.5),
    "staircase": lambda s: s.ExponentialDecay(0.1, 4, 0.5, staircase=True),
    "inverse": lambda s: s.InverseTimeDecay(0.1, 3, 0.5),
    "polynomial": lambda s: s.PolynomialDecay(0.1, 5, 0.01, power=2.0),
    "polynomial_cycle": lambda s: s.PolynomialDecay(0.1, 5, cycle=True),
    "cosine": lambda s: s.CosineDecay(0.1, 6, alpha=0.1),
    "cosine_warmup": lambda s: s.CosineDecay(0.01, 5, warmup_target=0.1, warmup_steps=3),
    "piecewise": lambda s: s.PiecewiseConstantDecay([2, 5], [0.1, 0.05, 0.01]),
}

TRAINING = [
    *OPTIMIZERS,
    "scheduled",
    "cnn",
    "sample_weight",
    "class_weight",
    "regularized",
    "binary",
    "binary_auc",
    "one_hot",
    "regression",
]


def training_case(k, name):
    """(model with given weights, arguments of train_on_batch for five steps, arguments of compile)."""
    rng = np.random.default_rng(11)
    make = _cnn if name == "cnn" else _mlp
    model = make(k, name)
    model.set_weights(
        [(0.4 * rng.standard_normal(w.shape)).astype(np.float32) if w.ndim > 1 else w for w in model.get_weights()]
    )
    shape = (9, 6, 6, 2) if name == "cnn" else (9, 5)
    batches = []
    for _ in range(5):
        batch = {"x": rng.standard_normal(shape).astype(np.float32), "y": rng.integers(0, 3, 9)}
        if name == "sample_weight":
            batch["sample_weight"] = rng.random(9).astype(np.float32)
        if name == "class_weight":
            batch["class_weight"] = {0: 0.5, 1: 2.0, 2: 1.0}
        if name in ("binary", "binary_auc"):
            batch["y"] = (batch["y"] > 0).astype(np.float32)
        if name == "one_hot":
            batch["y"] = np.eye(3, dtype=np.float32)[batch["y"]]
        if name == "regression":
            batch["y"] = rng.standard_normal((9, 3)).astype(np.float32)
        batches.append(batch)
    optimizer = OPTIMIZERS.get(name, OPTIMIZERS["adam"])(k)
    if name == "scheduled":
        optimizer = k.optimizers.SGD(SCHEDULES["cosine_warmup"](k.optimizers.schedules), momentum=0.9)
    settings = {"optimizer": optimizer, "loss": "sparse_categorical_crossentropy", "metrics": ["accuracy"]}
    if name == "binary_auc":
        settings |= {
            "loss": "binary_crossentropy",
            "metrics": [k.metrics.AUC(name="auc"), k.metrics.Precision(name="precision")],
        }
    if name == "binary":
        settings |= {"loss": "binary_crossentropy"}
    if name == "one_hot":
        settings |= {"loss": k.losses.CategoricalCrossentropy(label_smoothing=0.1)}
    if name == "regression":
        settings |= {"loss": "mse", "metrics": ["mae", k.metrics.RootMeanSquaredError()]}
    if name in ("sample_weight", "class_weight"):
        settings |= {"weighted_metrics": ["accuracy", "sparse_categorical_crossentropy"]}
    return model, batches, settings


def _mlp(k, name):
    last = {"binary": (1, "sigmoid"), "binary_auc": (1, "sigmoid"), "regression": (3, None)}.get(name, (3, "softmax"))
    penalty = k.regularizers.L1L2(0.01, 0.02) if name == "regularized" else None
    activity = k.regularizers.L2(0.03) if name == "regularized" else None
    return k.Sequential(
        [
            k.Input((5,)),
            k.layers.Dense(6, activation="relu", kernel_regularizer=penalty, activity_regularizer=activity),
            k.layers.Dense(last[0], activation=last[1]),
        ]
    )


def _cnn(k, name):
    return k.Sequential(
        [
            k.Input((6, 6, 2)),
            k.layers.Conv2D(4, 3, padding="same", use_bias=False),
            k.layers.BatchNormalization(momentum=0.8),
            k.layers.ReLU(),
            k.layers.MaxPooling2D(),
            k.layers.Flatten(),
            k.layers.Dense(3, activation="softmax"),
        ]
    )
