"""Expressions in TensorFlow's names that both libraries run: TensorFlow when recorded, Tideflow when tested.

An entry is (name, function of (tf, *tensors), arrays). Gradients are compared for every floating input.
"""

import numpy as np

NAN, INF = np.nan, np.inf
SPECIAL = np.array([NAN, INF, -INF, 0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 2.0, -3.0, 100.0, -100.0], np.float32)
PLAIN = np.array([[0.3, -1.2, 2.0], [0.7, 0.1, -0.4]], np.float32)
UNIT = np.array([[0.3, -0.2, 0.9], [0.7, 0.1, -0.4]], np.float32)
POSITIVE = np.array([[0.3, 1.2, 2.0], [0.7, 0.1, 5.4]], np.float32)
INTS = np.array([7, -7, 0, 3, -1, 2**30], np.int32)
DIVISORS = np.array([3, 3, 5, -2, -1, 7], np.int32)
CUBE = np.arange(24, dtype=np.float32).reshape(2, 3, 4) / 7 - 1.3
TIES = np.array([[1.0, 2.0, 2.0, 0.0], [3.0, 3.0, 3.0, -1.0]], np.float32)
EMPTY = np.zeros((2, 0, 3), np.float32)
MASK = np.array([[True, False, True], [False, False, True]])


EINSUMS = {
    "ij,jk->ik": [(2, 3), (3, 4)],
    "ij,kj": [(2, 3), (4, 3)],
    "bij,bjk->bik": [(2, 3, 4), (2, 4, 5)],
    "bhqd,bhkd->bhqk": [(2, 2, 3, 4), (2, 2, 5, 4)],
    "abc,cde->abde": [(2, 3, 4), (4, 2, 3)],
    "ii->i": [(3, 3)],
    "ii": [(3, 3)],
    "ij->ji": [(2, 3)],
    "ij->": [(2, 3)],
    "i,j->ij": [(2,), (3,)],
    "...ij,...jk->...ik": [(2, 1, 2, 3), (4, 3, 2)],
    "b...d,de->b...e": [(2, 3, 2, 4), (4, 3)],
    "ij,jk,kl->il": [(2, 3), (3, 4), (4, 2)],
    "i,i,i->": [(3,), (3,), (3,)],
    "acd,abd->bc": [(2, 3, 4), (2, 5, 4)],
}


def unary_cases():
    """Each elementwise function at ordinary and at special values."""
    ordinary = "exp expm1 sin cos tan sinh cosh tanh atan asinh sigmoid softplus softsign erf erfc abs sign square "
    ordinary += "negative floor ceil round"
    domain = {
        "log": POSITIVE,
        "log1p": POSITIVE,
        "sqrt": POSITIVE,
        "rsqrt": POSITIVE,
        "reciprocal": POSITIVE,
        "asin": UNIT,
        "acos": UNIT,
        "atanh": UNIT,
        "acosh": POSITIVE + 1.0,
        "is_nan": SPECIAL,
        "is_inf": SPECIAL,
        "is_finite": SPECIAL,
    }
    for name in ordinary.split():
        yield name, lambda tf, x, name=name: getattr(tf.math, name)(x), (PLAIN,)
        yield f"{name} special", lambda tf, x, name=name: tf.stop_gradient(getattr(tf.math, name)(x)), (SPECIAL,)
    for name, sample in domain.items():
        yield name, lambda tf, x, name=name: getattr(tf.math, name)(x), (sample,)
        yield f"{name} special", lambda tf, x, name=name: tf.stop_gradient(getattr(tf.math, name)(x)), (SPECIAL,)
    for name in ("abs", "sign", "square", "negative"):
        yield f"{name} int", lambda tf, x, name=name: getattr(tf.math, name)(x), (INTS,)
    for name in ("relu", "relu6", "elu", "selu", "leaky_relu", "gelu", "silu"):
        yield f"nn.{name}", lambda tf, x, name=name: getattr(tf.nn, name)(x), (PLAIN * 4,)
        yield f"nn.{name} at 0", lambda tf, x, name=name: getattr(tf.nn, name)(x), (np.zeros(2, np.float32),)
    yield "nn.relu special", lambda tf, x: tf.nn.relu(x), (SPECIAL,)
    yield "gelu approximate", lambda tf, x: tf.nn.gelu(x, approximate=True), (PLAIN,)
    yield "relu6 at 6", lambda tf, x: tf.nn.relu6(x), (np.array([6.0, 7.0], np.float32),)
    yield "log_sigmoid", lambda tf, x: tf.math.log_sigmoid(x), (PLAIN * 30,)
    yield "reciprocal_no_nan", lambda tf, x: tf.math.reciprocal_no_nan(x), (np.array([0.0, 2.0], np.float32),)


def binary_cases():
    """Arithmetic and comparisons: broadcasting, kinks, integers, errors."""
    other = np.array([1.5, -0.5, 0.7], np.float32)
    for name in (
        "add subtract multiply divide maximum minimum squared_difference floordiv floormod atan2 divide_no_nan".split()
    ):
        yield name, lambda tf, x, y, name=name: getattr(tf.math, name)(x, y), (PLAIN, other)
    yield "pow", lambda tf, x, y: tf.pow(x, y), (POSITIVE, other)
    yield (
        "pow at zero",
        lambda tf, x, y: tf.pow(x, y),
        (np.array([0.0, 0.0, -2.0], np.float32), np.array([2.0, 1.0, 3.0], np.float32)),
    )
    for name in "equal not_equal less less_equal greater greater_equal".split():
        yield name, lambda tf, x, y, name=name: getattr(tf, name)(x, y), (SPECIAL[:, None], SPECIAL[None, :])
        yield f"{name} int", lambda tf, x, y, name=name: getattr(tf, name)(x, y), (INTS, DIVISORS)
    for name in "add subtract multiply floordiv floormod maximum minimum squared_difference truediv".split():
        yield f"{name} int", lambda tf, x, y, name=name: getattr(tf.math, name)(x, y), (INTS, DIVISORS)
    for name in "maximum minimum divide multiply floormod floordiv".split():
        yield (
            f"{name} special",
            lambda tf, x, y, name=name: tf.stop_gradient(getattr(tf.math, name)(x, y)),
            (SPECIAL[:, None], SPECIAL[None]),
        )
    for name in "logical_and logical_or logical_xor".split():
        yield name, lambda tf, x, y, name=name: getattr(tf.math, name)(x, y), (MASK, ~MASK)
    yield "maximum tie", lambda tf, x, y: tf.maximum(x, y), (np.ones(2, np.float32), np.ones(2, np.float32))
    yield "minimum tie", lambda tf, x, y: tf.minimum(x, y), (np.ones(2, np.float32), np.ones(2, np.float32))
    yield (
        "xlogy",
        lambda tf, x, y: tf.math.xlogy(x, y),
        (np.array([0.0, 1.0], np.float32), np.array([0.0, 2.0], np.float32)),
    )
    yield (
        "clip",
        lambda tf, x: tf.clip_by_value(x, -1.0, 0.5),
        (np.array([-3.0, -1.0, 0.0, 0.5, 2.0, NAN], np.float32),),
    )
    yield "clip bounds", lambda tf, x, a, b: tf.clip_by_value(x, a, b), (PLAIN, np.float32(-0.3), np.float32(0.5))
    yield "operators", lambda tf, x, y: (2 * x - y / 3 + x**2 - 1) // 1 + (-x) % 0.7, (PLAIN, other)
    yield "array operand", lambda tf, x: x + np.array([1.0, 2.0, 3.0]), (PLAIN,)
    yield "where", lambda tf, c, x, y: tf.where(c, x, y), (MASK, PLAIN, other)
    yield "where scalar", lambda tf, c, x: tf.where(c, x, 0.0), (MASK, PLAIN)
    yield "where nan branch", lambda tf, x: tf.where(x > 0, tf.sqrt(x), 0.0), (np.array([4.0, -1.0], np.float32),)
    yield "where indices", lambda tf, c: tf.where(c), (MASK,)
    yield "cast to int", lambda tf, x: tf.cast(x, tf.int32), (np.array([1.9, -1.9, 0.0], np.float32),)
    yield "cast to bool", lambda tf, x: tf.cast(x, tf.bool), (np.array([1.9, -0.0, NAN], np.float32),)
    yield "cast to uint8", lambda tf, x: tf.cast(x, tf.uint8), (np.array([300, -1, 7], np.int32),)
    yield "cast to double", lambda tf, x: tf.cast(x, tf.float64), (PLAIN,)
    yield "saturate_cast", lambda tf, x: tf.saturate_cast(x, tf.uint8), (np.array([300.0, -1.0, 7.5], np.float32),)
    yield "error float for int", lambda tf, x: x * 1.5, (INTS,)
    yield "error float for int maximum", lambda tf, x: tf.maximum(x, 1.5), (INTS,)
    yield "error float for int where", lambda tf, x: tf.where(x > 0, x, 0.5), (INTS,)
    yield "error float for int clip", lambda tf, x: tf.clip_by_value(x, 0.5, 1.5), (INTS,)
    yield "error float for int concat", lambda tf, x: tf.concat([x, [1.5]], 0), (INTS,)
    yield "error float for int stack", lambda tf, x: tf.stack([x[:1], [1.5]]), (INTS,)
    yield "error float for int compare", lambda tf, x: x < 1.5, (INTS,)
    yield "error int for bool", lambda tf, x: x & 1, (MASK,)
    yield "number wraps", lambda tf, x: x + 300, (np.array([1], np.uint8),)
    yield "list operand", lambda tf, x: x[0] * [1, 2, 3], (PLAIN,)
    yield "matmul list", lambda tf, x: tf.matmul(x, [[1], [2], [3]]), (PLAIN,)
    yield "where lists", lambda tf, c: tf.where(c, [1, 2, 3], [4, 5, 6]), (MASK,)
    yield "error dtypes", lambda tf, x, y: x + y, (PLAIN, INTS)
    yield "error shapes", lambda tf, x, y: x + y, (PLAIN, np.zeros(4, np.float32))
    yield "error int zero", lambda tf, x: x // 0, (INTS,)
    yield "error bool add", lambda tf, x: tf.add(x, x), (MASK,)
    yield "error negative power", lambda tf, x: tf.pow(x, -1), (INTS,)


def reduce_cases():
    """Reductions: axes, ties, NaN, empty, integers."""
    for name in "reduce_sum reduce_mean reduce_max reduce_min reduce_prod reduce_logsumexp".split():
        for axis in (None, 1, -1, [0, 2]):
            for keepdims in (False, True):
                yield (
                    f"{name} {axis} {keepdims}",
                    lambda tf, x, n=name, a=axis, k=keepdims: getattr(tf, n)(x, axis=a, keepdims=k),
                    (CUBE,),
                )
        yield f"{name} empty", lambda tf, x, n=name: tf.stop_gradient(getattr(tf, n)(x, axis=1)), (EMPTY,)
        yield f"{name} nan", lambda tf, x, n=name: tf.stop_gradient(getattr(tf, n)(x)), (SPECIAL,)
        if name != "reduce_logsumexp":
            yield f"{name} int", lambda tf, x, n=name: getattr(tf, n)(x), (np.array([[7, -2], [-8, 4]], np.int32),)
    yield "reduce_max ties", lambda tf, x: tf.reduce_max(x, axis=1), (TIES,)
    yield "reduce_min ties", lambda tf, x: tf.reduce_min(x, axis=1), (-TIES,)
    yield (
        "reduce_prod zeros",
        lambda tf, x: tf.reduce_prod(x, axis=1),
        (np.array([[0.0, 2.0, 3.0], [0.0, 0.0, 1.0]], np.float32),),
    )
    yield (
        "reduce_logsumexp large",
        lambda tf, x: tf.reduce_logsumexp(x, axis=1),
        (np.array([[1e3, 1e3], [-INF, -INF]], np.float32),),
    )
    yield "reduce_mean truncates", lambda tf, x: tf.reduce_mean(x), (np.array([-1, -2, -4], np.int32),)
    for name in ("reduce_all", "reduce_any"):
        yield name, lambda tf, x, n=name: getattr(tf, n)(x, axis=1), (MASK,)
        yield f"{name} empty", lambda tf, x, n=name: getattr(tf, n)(x, axis=1), (np.zeros((2, 0), bool),)
    for name in ("argmax", "argmin"):
        yield name, lambda tf, x, n=name: getattr(tf, n)(x, axis=1), (TIES,)
        yield f"{name} default", lambda tf, x, n=name: getattr(tf, n)(x), (TIES,)
        yield f"{name} int32", lambda tf, x, n=name: getattr(tf, n)(x, axis=-1, output_type=tf.int32), (CUBE,)
        yield f"{name} nan", lambda tf, x, n=name: getattr(tf, n)(x), (np.array([1.0, NAN, 3.0, -1.0], np.float32),)
    for name in ("reduce_variance", "reduce_std", "reduce_euclidean_norm"):
        yield name, lambda tf, x, n=name: getattr(tf.math, n)(x, axis=1), (CUBE,)
    yield "count_nonzero", lambda tf, x: tf.math.count_nonzero(x, axis=1), (TIES,)
    for exclusive in (False, True):
        for reverse in (False, True):
            yield (
                f"cumsum {exclusive} {reverse}",
                lambda tf, x, e=exclusive, r=reverse: tf.cumsum(x, axis=1, exclusive=e, reverse=r),
                (CUBE,),
            )
            yield (
                f"cumprod {exclusive} {reverse}",
                lambda tf, x, e=exclusive, r=reverse: tf.math.cumprod(x, axis=1, exclusive=e, reverse=r),
                (POSITIVE,),
            )
    yield "cumulative_logsumexp", lambda tf, x: tf.math.cumulative_logsumexp(x, axis=1), (CUBE,)
    yield "error axis", lambda tf, x: tf.reduce_sum(x, axis=5), (PLAIN,)
    yield "error argmax empty", lambda tf, x: tf.argmax(x, axis=1), (EMPTY,)
    yield "error sum of bool", lambda tf, x: tf.reduce_sum(x), (MASK,)


def linalg_cases():
    """Matrix products."""
    a, b = CUBE[0], CUBE[1]
    yield "matmul", lambda tf, a, b: tf.matmul(a, b, transpose_b=True), (a, b)
    yield "matmul transposed", lambda tf, a, b: tf.matmul(a, b, transpose_a=True), (a, b)
    yield "matmul both", lambda tf, a, b: tf.matmul(a, b, transpose_a=True, transpose_b=True), (a, b[:2, :3])
    yield "matmul batch", lambda tf, a, b: tf.matmul(a, b), (CUBE, CUBE.reshape(2, 4, 3))
    yield "matmul broadcast", lambda tf, a, b: tf.matmul(a, b), (CUBE, b.T.copy())
    yield "matmul broadcast 2", lambda tf, a, b: a @ b, (CUBE[:, None], CUBE.reshape(1, 2, 4, 3))
    yield "matmul int", lambda tf, a: tf.matmul(a, a), (np.array([[1, 2], [3, 4]], np.int32),)
    yield "matmul empty", lambda tf, a, b: tf.matmul(a, b), (np.zeros((2, 0), np.float32), np.zeros((0, 3), np.float32))
    yield "tensordot", lambda tf, a, b: tf.tensordot(a, b, axes=[[1], [2]]), (CUBE, CUBE.transpose(0, 2, 1).copy())
    yield "tensordot all", lambda tf, a: tf.tensordot(a, a, 3), (CUBE,)
    for equation, shapes in EINSUMS.items():
        arrays = tuple(np.cos(np.arange(np.prod(shape)) * 0.7).reshape(shape).astype(np.float32) for shape in shapes)
        yield f"einsum {equation}", lambda tf, *xs, e=equation: tf.einsum(e, *xs), arrays
    yield "matvec", lambda tf, a, b: tf.linalg.matvec(a, b), (CUBE, b[:, :4].copy()[0])
    yield "band_part", lambda tf, a: tf.linalg.band_part(a, 1, 0), (CUBE,)
    yield "band_part all", lambda tf, a: tf.linalg.band_part(a, -1, 1), (CUBE,)
    yield "diag", lambda tf, a: tf.linalg.diag(a), (PLAIN,)
    yield "diag_part", lambda tf, a: tf.linalg.diag_part(a), (CUBE,)
    yield "set_diag", lambda tf, a, d: tf.linalg.set_diag(a, d), (CUBE, PLAIN)
    yield "trace", lambda tf, a: tf.linalg.trace(a), (CUBE,)
    yield "cross", lambda tf, a, b: tf.linalg.cross(a, b), (PLAIN, POSITIVE)
    yield "matrix_transpose", lambda tf, a: tf.linalg.matrix_transpose(a), (CUBE,)
    yield "global_norm", lambda tf, a, b: tf.linalg.global_norm([a, None, b]), (PLAIN, CUBE)
    yield "normalize", lambda tf, a: tf.linalg.normalize(a, axis=1)[0], (PLAIN,)
    yield "norm", lambda tf, a: tf.norm(a, axis=1), (CUBE,)
    yield "norm 1", lambda tf, a: tf.norm(a, ord=1, axis=-1), (CUBE,)
    yield "error matmul", lambda tf, a: tf.matmul(a, a), (PLAIN,)
    yield "error matmul rank", lambda tf, a: tf.matmul(a, a), (PLAIN[0],)


def movement_cases():
    """Shapes, slices and padding."""
    yield "reshape", lambda tf, x: tf.reshape(x, [4, -1]), (CUBE,)
    yield "transpose", lambda tf, x: tf.transpose(x, [2, 0, 1]), (CUBE,)
    yield "transpose default", lambda tf, x: tf.transpose(x), (CUBE,)
    yield "broadcast_to", lambda tf, x: tf.broadcast_to(x, [4, 2, 3]), (PLAIN,)
    yield "expand_dims", lambda tf, x: tf.expand_dims(x, -1), (PLAIN,)
    yield "squeeze", lambda tf, x: tf.squeeze(x), (CUBE[:1, :, :1],)
    yield "squeeze axis", lambda tf, x: tf.squeeze(x, [0]), (CUBE[:1, :, :1],)
    yield "concat", lambda tf, x, y: tf.concat([x, y, x], axis=-1), (PLAIN, PLAIN[:, :1])
    yield "stack", lambda tf, x, y: tf.stack([x, y], axis=1), (PLAIN, PLAIN * 2)
    yield "unstack", lambda tf, x: tf.unstack(x, axis=1)[2] * 3.0, (CUBE,)
    yield "split", lambda tf, x: tf.split(x, 2, axis=2)[1], (CUBE,)
    yield "split sizes", lambda tf, x: tf.split(x, [1, -1], axis=1)[1], (CUBE,)
    yield "tile", lambda tf, x: tf.tile(x, [2, 3]), (PLAIN,)
    yield "repeat", lambda tf, x: tf.repeat(x, 2, axis=1), (PLAIN,)
    yield "repeat each", lambda tf, x: tf.repeat(x, [1, 3], axis=0), (PLAIN,)
    yield "reverse", lambda tf, x: tf.reverse(x, [0, -1]), (CUBE,)
    yield "roll", lambda tf, x: tf.roll(x, [1, -2], [0, 2]), (CUBE,)
    for mode in ("CONSTANT", "REFLECT", "SYMMETRIC"):
        yield f"pad {mode}", lambda tf, x, m=mode: tf.pad(x, [[1, 1], [2, 0]], mode=m), (PLAIN,)
    yield "pad value", lambda tf, x: tf.pad(x, [[0, 1], [2, 0]], constant_values=-1.5), (PLAIN,)
    yield "slice", lambda tf, x: tf.slice(x, [0, 1, 2], [2, -1, 1]), (CUBE,)
    yield "strided_slice", lambda tf, x: tf.strided_slice(x, [0, 1, 3], [2, 3, 0], [1, 1, -2]), (CUBE,)
    yield (
        "strided_slice masks",
        lambda tf, x: tf.strided_slice(x, [0, 1], [2, 3], [1, 1], begin_mask=1, shrink_axis_mask=2),
        (CUBE,),
    )
    keys = {
        "int": 1,
        "negative": -1,
        "slice": slice(1, None),
        "step": (slice(None), slice(None, None, 2)),
        "reverse": (0, slice(None, None, -1)),
        "ellipsis": (Ellipsis, 1),
        "new": (slice(None), None, 0),
        "mixed": (1, Ellipsis, None, slice(-1, None, -2)),
        "past the end": (slice(5, 9),),
        "negative bounds": (slice(None), slice(-2, -1), slice(3, 0, -1)),
        "empty": (slice(1, 1),),
    }
    for name, key in keys.items():
        yield f"index {name}", lambda tf, x, k=key: x[k] * 1.0, (CUBE,)
    yield "index mask", lambda tf, x, m: x[m], (PLAIN, MASK)
    yield "index tensor", lambda tf, x, i: x[i, :, i], (CUBE, np.int32(1))
    yield "error index", lambda tf, x: x[5], (PLAIN,)
    yield "error rank", lambda tf, x: x[0, 0, 0, 0], (PLAIN,)
    yield "error reshape", lambda tf, x: tf.reshape(x, [5]), (PLAIN,)
    yield "error concat", lambda tf, x, y: tf.concat([x, y], 0), (PLAIN, CUBE)
    yield "error split", lambda tf, x: tf.split(x, 2, axis=1), (PLAIN,)
    yield "error squeeze", lambda tf, x: tf.squeeze(x, 0), (PLAIN,)
    yield "error transpose", lambda tf, x: tf.transpose(x, [0]), (PLAIN,)


def making_cases():
    """Tensors from nothing; sizes."""
    yield "zeros", lambda tf: tf.zeros([2, 3], tf.int32), ()
    yield "ones bool", lambda tf: tf.ones([2], tf.bool), ()
    yield "zeros_like", lambda tf, x: tf.zeros_like(x, dtype=tf.int64), (PLAIN,)
    yield "fill", lambda tf: tf.fill([2, 2], 3), ()
    yield "eye", lambda tf: tf.eye(2, 3, batch_shape=[2]), ()
    yield "range", lambda tf: tf.range(10, 1, -3), ()
    yield "range float", lambda tf: tf.range(0.0, 1.0, 0.3), ()
    yield "range dtype", lambda tf: tf.range(5, dtype=tf.float64), ()
    yield "linspace", lambda tf: tf.linspace(-1.0, 2.0, 7), ()
    yield "meshgrid", lambda tf, x, y: tf.meshgrid(x, y)[1], (PLAIN[0], POSITIVE[1])
    yield "meshgrid ij", lambda tf, x, y: tf.meshgrid(x, y, indexing="ij")[0], (PLAIN[0], POSITIVE[1])
    yield "one_hot", lambda tf, i: tf.one_hot(i, 3), (np.array([0, 2, -1, 3], np.int32),)
    yield (
        "one_hot values",
        lambda tf, i: tf.one_hot(i, 3, on_value=5.0, off_value=-1.0, axis=0),
        (np.array([[0, 2], [1, 1]], np.int64),),
    )
    yield "one_hot int", lambda tf, i: tf.one_hot(i, 3, dtype=tf.int32), (np.array([0, 2], np.int32),)
    yield "sequence_mask", lambda tf, n: tf.sequence_mask(n, 5), (np.array([1, 3, 0], np.int32),)
    yield "shape", lambda tf, x: tf.shape(x), (CUBE,)
    yield "size", lambda tf, x: tf.size(x), (CUBE,)
    yield "rank", lambda tf, x: tf.rank(x), (CUBE,)
    yield "error range", lambda tf: tf.range(3, 1), ()


def gather_cases():
    """Lookup and scatter."""
    i = np.array([2, 0, 2], np.int32)
    yield "gather", lambda tf, x, i: tf.gather(x, i, axis=1), (CUBE, i)
    yield "gather matrix", lambda tf, x, i: tf.gather(x, i, axis=2), (CUBE, np.array([[0, 3], [1, 1]], np.int64))
    yield (
        "gather batch",
        lambda tf, x, i: tf.gather(x, i, axis=2, batch_dims=1),
        (CUBE, np.array([[0, 3], [1, 1]], np.int32)),
    )
    yield (
        "gather batch 2",
        lambda tf, x, i: tf.gather(x, i, batch_dims=2),
        (CUBE, np.array([[0, 3, 1], [1, 1, 2]], np.int32)),
    )
    yield "gather_nd", lambda tf, x, i: tf.gather_nd(x, i), (CUBE, np.array([[0, 2], [1, 1]], np.int32))
    yield "gather_nd full", lambda tf, x, i: tf.gather_nd(x, i), (CUBE, np.array([[[0, 2, 3]], [[1, 1, 0]]], np.int32))
    yield "scatter_nd", lambda tf, i, u: tf.scatter_nd(i, u, [4, 3]), (np.array([[1], [1]], np.int32), PLAIN)
    yield (
        "tensor_scatter_nd_update",
        lambda tf, x, i, u: tf.tensor_scatter_nd_update(x, i, u),
        (PLAIN, np.array([[0, 1], [1, 2]], np.int32), np.array([9.0, 8.0], np.float32)),
    )
    yield (
        "tensor_scatter_nd_add",
        lambda tf, x, i, u: tf.tensor_scatter_nd_add(x, i, u),
        (PLAIN, np.array([[0, 1], [0, 1]], np.int32), np.array([9.0, 8.0], np.float32)),
    )
    ids = np.array([1, 0], np.int32)
    for name in "sum mean max min sqrt_n".split():
        yield (
            f"unsorted_segment_{name}",
            lambda tf, x, i, n=name: getattr(tf.math, f"unsorted_segment_{n}")(x, i, 3),
            (PLAIN, ids),
        )
    for name in "sum mean max min".split():
        yield (
            f"segment_{name}",
            lambda tf, x, i, n=name: getattr(tf.math, f"segment_{n}")(x, i),
            (PLAIN, np.array([0, 2], np.int32)),
        )
    yield (
        "unsorted_segment_sum negative",
        lambda tf, x, i: tf.math.unsorted_segment_sum(x, i, 2),
        (PLAIN, np.array([-1, 1], np.int32)),
    )
    yield "boolean_mask", lambda tf, x, m: tf.boolean_mask(x, m), (PLAIN, MASK)
    yield "bincount", lambda tf, x: tf.math.bincount(x, minlength=3), (np.array([0, 4, 1, 1], np.int32),)
    yield (
        "confusion_matrix",
        lambda tf, a, b: tf.math.confusion_matrix(a, b),
        (np.array([0, 1, 2], np.int32), np.array([0, 2, 2], np.int32)),
    )
    yield "in_top_k", lambda tf, i, x: tf.math.in_top_k(i, x, 2), (np.array([0, 3], np.int32), TIES)
    yield "unique", lambda tf, x: tf.unique(x)[1], (np.array([3, 1, 3, 2], np.int32),)
    yield "clip_by_norm", lambda tf, x: tf.clip_by_norm(x, 1.0), (PLAIN,)
    yield "clip_by_global_norm", lambda tf, x, y: tf.clip_by_global_norm([x, y], 1.5)[0][0], (PLAIN, POSITIVE)
    yield "l2_normalize", lambda tf, x: tf.math.l2_normalize(x, axis=1), (PLAIN,)
    yield "error gather", lambda tf, x: tf.gather(x, [3]), (PLAIN,)
    yield "error gather_nd", lambda tf, x: tf.gather_nd(x, [[0, 5]]), (PLAIN,)
    yield "error segment", lambda tf, x: tf.math.unsorted_segment_sum(x, [0, 5], 3), (PLAIN,)


def all_cases():
    """Every entry."""
    for family in (unary_cases, binary_cases, reduce_cases, linalg_cases, movement_cases, making_cases, gather_cases):
        yield from family()


def answer(tf, function, arrays):
    """What `tf` says: {"out": array, "grad0": ...} or {"error": the exception's name}."""
    xs = [tf.constant(a) for a in arrays]
    floating = [i for i, a in enumerate(arrays) if np.asarray(a).dtype.kind == "f"]
    try:
        with tf.GradientTape() as tape:
            for i in floating:
                tape.watch(xs[i])
            out = function(tf, *xs)
    except Exception as error:
        return {"error": np.array(type(error).__name__)}
    found = {"out": np.asarray(out.numpy())}
    if floating and out.dtype.is_floating:
        weight = np.asarray(np.cos(np.arange(found["out"].size)).reshape(found["out"].shape), found["out"].dtype)
        for i, g in zip(
            floating, tape.gradient(out, [xs[i] for i in floating], output_gradients=tf.constant(weight)), strict=True
        ):
            if g is not None:
                found[f"grad{i}"] = np.asarray(tf.convert_to_tensor(g).numpy())
    return found
