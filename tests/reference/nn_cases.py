"""Calls of tf.nn that run unchanged under TensorFlow (record_nn.py) and Tideflow (test_nn.py)."""

import numpy as np

ONES = [1, 1, 1, 1]


def numbers(name, *shapes):
    """Inputs of a case: normal numbers that depend on its name only, by numpy's frozen generator."""
    state = np.random.RandomState(sum(ord(c) * (i + 1) for i, c in enumerate(name)) % 2**31)
    return [state.standard_normal(s).astype(np.float32) for s in shapes]


def probabilities(x):
    e = np.exp(x)
    return (e / e.sum(-1, keepdims=True)).astype(np.float32)


def tied(x):
    """x replaced by its rounded values, with the gradient of x: many windows have several maxima."""
    base = numbers("max_pool2d_ties", (2, 6, 5, 3))[0]
    return x - base + np.round(base)


# name -> (shapes of the inputs, function of the library and the inputs); gradients are taken for all inputs
DIFFERENTIABLE = {
    "conv2d_same_stride2": ([(2, 5, 6, 3), (3, 3, 3, 4)], lambda tf, x, w: tf.nn.conv2d(x, w, 2, "SAME")),
    "conv2d_valid": ([(2, 6, 5, 3), (2, 3, 3, 4)], lambda tf, x, w: tf.nn.conv2d(x, w, [1, 2, 1, 1], "VALID")),
    "conv2d_dilated": ([(2, 7, 7, 2), (3, 2, 2, 3)], lambda tf, x, w: tf.nn.conv2d(x, w, 1, "SAME", dilations=2)),
    "conv2d_explicit": (
        [(1, 5, 5, 2), (3, 3, 2, 3)],
        lambda tf, x, w: tf.nn.conv2d(x, w, 2, [[0, 0], [1, 2], [2, 0], [0, 0]]),
    ),
    "conv1d": ([(2, 7, 3), (3, 3, 4)], lambda tf, x, w: tf.nn.conv1d(x, w, 2, "SAME")),
    "conv3d": ([(1, 4, 5, 3, 2), (2, 3, 2, 2, 3)], lambda tf, x, w: tf.nn.conv3d(x, w, [1, 2, 1, 1, 1], "SAME")),
    "convolution": ([(2, 6, 6, 2), (3, 3, 2, 3)], lambda tf, x, w: tf.nn.convolution(x, w, padding="SAME")),
    "atrous_conv2d": ([(1, 8, 8, 2), (3, 3, 2, 2)], lambda tf, x, w: tf.nn.atrous_conv2d(x, w, 2, "VALID")),
    "depthwise": ([(2, 5, 6, 3), (3, 2, 3, 2)], lambda tf, x, w: tf.nn.depthwise_conv2d(x, w, [1, 2, 2, 1], "SAME")),
    "separable": (
        [(2, 5, 6, 3), (3, 2, 3, 2), (1, 1, 6, 4)],
        lambda tf, x, d, p: tf.nn.separable_conv2d(x, d, p, ONES, "VALID"),
    ),
    "conv2d_transpose": (
        [(2, 3, 4, 3), (3, 3, 5, 3)],
        lambda tf, x, w: tf.nn.conv2d_transpose(x, w, [2, 6, 7, 5], 2, "SAME"),
    ),
    "conv1d_transpose": ([(2, 4, 3), (3, 2, 3)], lambda tf, x, w: tf.nn.conv1d_transpose(x, w, [2, 9, 2], 2, "VALID")),
    "max_pool": ([(2, 6, 5, 3)], lambda tf, x: tf.nn.max_pool(x, 3, 2, "SAME")),
    "max_pool2d_ties": ([(2, 6, 5, 3)], lambda tf, x: tf.nn.max_pool2d(tied(x), 3, 1, "VALID")),
    "max_pool1d": ([(2, 7, 3)], lambda tf, x: tf.nn.max_pool1d(x, 2, 2, "VALID")),
    "max_pool3d": ([(1, 4, 5, 4, 2)], lambda tf, x: tf.nn.max_pool3d(x, 2, [1, 2, 1, 2, 1], "SAME")),
    "avg_pool_same": ([(2, 6, 5, 3)], lambda tf, x: tf.nn.avg_pool2d(x, 3, 2, "SAME")),
    "avg_pool_valid": ([(2, 6, 5, 3)], lambda tf, x: tf.nn.avg_pool(x, [1, 2, 3, 1], [1, 1, 2, 1], "VALID")),
    "avg_pool1d": ([(2, 7, 3)], lambda tf, x: tf.nn.avg_pool1d(x, 3, 2, "SAME")),
    "avg_pool3d": ([(1, 4, 5, 4, 2)], lambda tf, x: tf.nn.avg_pool3d(x, 3, 2, "SAME")),
    "pool": ([(2, 6, 5, 3)], lambda tf, x: tf.nn.pool(x, [2, 2], "AVG", [2, 1], "VALID")),
    "softmax_axis": ([(3, 4, 5)], lambda tf, x: tf.nn.softmax(x, axis=1)),
    "log_softmax": ([(3, 4)], lambda tf, x: tf.nn.log_softmax(x * 40.0)),
    "relu": ([(7,)], lambda tf, x: tf.nn.relu(x)),
    "relu6": ([(30,)], lambda tf, x: tf.nn.relu6(x * 5.0)),
    "leaky_relu": ([(7,)], lambda tf, x: tf.nn.leaky_relu(x)),
    "elu": ([(7,)], lambda tf, x: tf.nn.elu(x)),
    "selu": ([(7,)], lambda tf, x: tf.nn.selu(x)),
    "gelu": ([(7,)], lambda tf, x: tf.nn.gelu(x)),
    "gelu_tanh": ([(7,)], lambda tf, x: tf.nn.gelu(x, approximate=True)),
    "silu_beta": ([(7,)], lambda tf, x: tf.nn.silu(x, beta=1.5)),
    "crelu": ([(3, 4)], lambda tf, x: tf.nn.crelu(x)),
    "softplus": ([(9,)], lambda tf, x: tf.nn.softplus(x * 20.0)),
    "softsign": ([(9,)], lambda tf, x: tf.nn.softsign(x)),
    "softmax_cross_entropy": (
        [(4, 5), (4, 5)],
        lambda tf, x, z: tf.nn.softmax_cross_entropy_with_logits(tf.nn.softmax(z), x * 3.0),
    ),
    "softmax_cross_entropy_axis": (
        [(4, 5, 2), (4, 5, 2)],
        lambda tf, x, z: tf.nn.softmax_cross_entropy_with_logits(tf.nn.softmax(z, axis=1), x, axis=1),
    ),
    "sparse_cross_entropy": (
        [(2, 3, 5)],
        lambda tf, x: tf.nn.sparse_softmax_cross_entropy_with_logits(np.array([[0, 4, 2], [3, 3, 1]]), x * 3.0),
    ),
    "sigmoid_cross_entropy": ([(4, 5), (4, 5)], lambda tf, x, z: tf.nn.sigmoid_cross_entropy_with_logits(z, x * 9.0)),
    "weighted_cross_entropy": (
        [(4, 5), (4, 5)],
        lambda tf, x, z: tf.nn.weighted_cross_entropy_with_logits(tf.sigmoid(z), x, 2.5),
    ),
    "log_poisson_loss": (
        [(4, 5), (4, 5)],
        lambda tf, x, z: tf.nn.log_poisson_loss(tf.abs(z) * 3.0, x, compute_full_loss=True),
    ),
    "bias_add": ([(2, 3, 3, 4), (4,)], lambda tf, x, b: tf.nn.bias_add(x, b)),
    "moments": ([(3, 4, 5)], lambda tf, x: tf.stack(tf.nn.moments(x, [0, 2]))),
    "batch_normalization": (
        [(6, 4), (4,), (4,), (4,), (4,)],
        lambda tf, x, m, v, o, s: tf.nn.batch_normalization(x, m, tf.abs(v), o, s, 1e-3),
    ),
    "l2_loss": ([(3, 4)], lambda tf, x: tf.nn.l2_loss(x)),
    "l2_normalize": ([(3, 4)], lambda tf, x: tf.nn.l2_normalize(x, axis=1)),
    "lrn": ([(2, 3, 3, 9)], lambda tf, x: tf.nn.local_response_normalization(x, 2, 1.5, 0.7, 0.6)),
    "zero_fraction": ([(9,)], lambda tf, x: tf.nn.zero_fraction(tf.nn.relu(x))),
    "embedding_max_norm": ([(5, 3)], lambda tf, x: tf.nn.embedding_lookup(x, np.array([4, 0, 4]), max_norm=1.0)),
    "depth_to_space": ([(2, 2, 3, 8)], lambda tf, x: tf.nn.depth_to_space(x, 2)),
    "space_to_depth": ([(2, 4, 6, 3)], lambda tf, x: tf.nn.space_to_depth(x, 2)),
    "sort_gradient": ([(3, 5)], lambda tf, x: tf.sort(x, axis=0)),
    "top_k_gradient": ([(3, 5)], lambda tf, x: tf.nn.top_k(x, 2).values),
    "stateless_dropout": (
        [(5, 6)],
        lambda tf, x: tf.nn.experimental.stateless_dropout(x, 0.3, [3, 4], noise_shape=[5, 1]),
    ),
}

INTEGERS = np.array([[3, -1, 3, 7], [0, 0, -5, 0]])
PLAIN = {
    "argsort": lambda tf: tf.argsort(INTEGERS, axis=1, stable=True),
    "argsort_descending": lambda tf: tf.argsort(INTEGERS, axis=0, direction="DESCENDING", stable=True),
    "sort": lambda tf: tf.sort(INTEGERS, axis=0, direction="DESCENDING"),
    "top_k": lambda tf: tf.nn.top_k(INTEGERS, 3).indices,
    "top_k_values": lambda tf: tf.nn.top_k(INTEGERS, 3).values,
    "in_top_k": lambda tf: tf.nn.in_top_k([2, 2], INTEGERS.astype(np.float32), 2),
}
NO_GRADIENT = {"conv2d_dilated"}  # TensorFlow itself has none on a CPU


def seeded(draw):
    def run(tf):
        tf.random.set_seed(1234)
        return draw(tf)

    return run


def generator_stream(tf):
    """Draws of several kinds from one generator, then its state."""
    g = tf.random.Generator.from_seed(42)
    draws = [g.normal([5]), g.uniform([2, 3], -1.0, 2.0), g.truncated_normal([7]), g.normal([3], 2.0, 0.5)]
    return np.concatenate([np.ravel(d.numpy()) for d in draws] + [g.state.numpy().astype(np.float32)])


RANDOM = {
    "uniform": lambda tf: tf.random.stateless_uniform([4, 5], [1, 2], -1.0, 3.0).numpy(),
    "uniform64": lambda tf: tf.random.stateless_uniform([7], [1, -2], dtype="float64").numpy(),
    "uniform16": lambda tf: tf.random.stateless_uniform([7], [1, 2], dtype="float16").numpy(),
    "int32": lambda tf: tf.random.stateless_uniform([9], [5, 6], -7, 100, "int32").numpy(),
    "int64": lambda tf: tf.random.stateless_uniform([9], [5, 6], -7, 2**40, "int64").numpy(),
    "full32": lambda tf: tf.random.stateless_uniform([9], [5, 6], None, None, "uint32").numpy(),
    "full64": lambda tf: tf.random.stateless_uniform([5], [5, 6], None, None, "int64").numpy(),
    "normal": lambda tf: tf.random.stateless_normal([4, 5], [2**31 - 1, -9], 1.0, 2.0).numpy(),
    "normal64": lambda tf: tf.random.stateless_normal([5], [7, 8], dtype="float64").numpy(),
    "normal16": lambda tf: tf.random.stateless_normal([5], [7, 8], dtype="float16").numpy(),
    "truncated": lambda tf: tf.random.stateless_truncated_normal([1000], [7, 8]).numpy(),
    "truncated64": lambda tf: tf.random.stateless_truncated_normal([100], [7, 8], dtype="float64").numpy(),
    "generator": generator_stream,
    "seeded_normal": seeded(
        lambda tf: np.stack([tf.random.normal([3]).numpy(), tf.random.normal([3], 1.0, 2.0).numpy()])
    ),
    "seeded_uniform": seeded(
        lambda tf: np.stack([tf.random.uniform([3]).numpy(), tf.random.uniform([3], 1.0, 2.0).numpy()])
    ),
    "seeded_int": seeded(lambda tf: tf.random.uniform([6], 0, 50, "int32").numpy()),
    "seeded_truncated": seeded(lambda tf: tf.random.truncated_normal([9]).numpy()),
    "seeded_twice": seeded(
        lambda tf: np.stack([tf.random.normal([3], seed=5).numpy(), tf.random.normal([3], seed=5).numpy()])
    ),
    "seeded_dropout": seeded(lambda tf: tf.nn.dropout(np.ones([4, 6], np.float32), 0.4).numpy()),
    "seeded_shuffle": seeded(lambda tf: tf.random.shuffle(np.arange(12)).numpy()),
    "only_op_seed": lambda tf: tf.random.uniform([3], seed=77).numpy(),
}
