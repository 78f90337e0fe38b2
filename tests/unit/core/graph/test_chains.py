"""Chains of elementwise ops on the host: the bits of single ops, whatever is broadcast, kept, read twice, threaded."""

import numpy as np
import pytest
import tideflow as tf
from tideflow.graph import chains, interpret
from tideflow.ops import parts
from tideflow.ops.op import find_op, registered_ops


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(chains, "LEAST", 8)
    monkeypatch.setattr(interpret, "LEAST", 8)
    monkeypatch.setattr(chains, "PART", 6)
    monkeypatch.setattr(chains, "SHARED", 8)


@pytest.fixture(params=[1, 3])
def threads(request, monkeypatch):
    monkeypatch.setattr(parts, "_count", request.param)


def runs(function, *arrays, specs=None):
    """The results of the first and of two later runs, and the calls that the later ones made."""
    specs = specs or [tf.TensorSpec(a.shape, a.dtype) for a in arrays]
    graph = tf.function(function).get_concrete_function(*specs).graph
    found = [interpret.interpret(graph, arrays)[0] for _ in range(3)]
    return found, next(iter(graph.__dict__["_prepared"]._ready.values()))


def number_of_chains(calls):
    return sum(isinstance(c.function, chains.Chain) for c in calls)


def check(function, *arrays, expected=None):
    (first, *later), calls = runs(function, *arrays)
    for other in later:
        for a, b in zip(first, other, strict=True):
            assert a.dtype == b.dtype and a.shape == b.shape
            assert a.tobytes() == b.tobytes(), "bits differ"
    assert expected is None or number_of_chains(calls) == expected
    return first, calls


X = np.random.default_rng(0).standard_normal((5, 3, 4)).astype(np.float32)
Y = np.random.default_rng(1).standard_normal((5, 3, 4)).astype(np.float32)


@pytest.mark.parametrize("shape", [(5, 3, 4), (4,), (3, 4), (1, 4), (3, 1), (5, 1, 1), (5, 3, 1), (1, 3, 1), (1, 1, 1),
                                   (5, 1, 4), (), (1,)], ids=str)
def test_broadcast_operands_give_the_same_bits(shape, threads):
    b = np.random.default_rng(2).standard_normal(shape).astype(np.float32)
    check(lambda x, b: tf.exp(tf.tanh(x * b) - b) * x, X, b, expected=1)


@pytest.mark.parametrize("rows", [7, 12, 64])
def test_short_rows_are_walked_as_one(rows, threads):
    rng = np.random.default_rng(3)
    x, bias, grid = (rng.standard_normal(s).astype(np.float32) for s in ((rows, 2, 3, 5), (5,), (3, 5)))
    _, calls = check(lambda x, b: tf.nn.relu(x + b) * b - 1.0, x, bias, expected=1)
    (chain,) = [c.function for c in calls if isinstance(c.function, chains.Chain)]
    assert chain.times > 1 and chain.rows * chain.row[0] == x.size
    check(lambda x, g: tf.tanh(x * g) + g, x, grid, expected=1)
    check(lambda x, g, b: tf.tanh(x * g) + b, x, grid, bias, expected=1)
    check(lambda x, g, b: tf.tanh(x * g) + b, x, x[:, :, :, :1], bias, expected=1)


def test_two_broadcast_operands_of_different_axes(threads):
    check(lambda x, a, b: (x * a + b) / (a * a + 1.0), X, X[:, :1, :1], X[:1, :, :1], expected=1)


def test_values_read_after_the_chain_are_kept(threads):
    def function(x, y):
        a = x + y
        b = tf.square(a)
        c = tf.sqrt(b + 1.0)
        return tf.reduce_sum(b, 1), c, a

    (b, c, a), _ = check(function, X, Y, expected=1)
    np.testing.assert_allclose(a, X + Y)
    np.testing.assert_allclose(b, ((X + Y) ** 2).sum(1), rtol=1e-6)
    np.testing.assert_allclose(c, np.sqrt((X + Y) ** 2 + 1.0), rtol=1e-6)


def test_a_value_read_many_times_is_not_overwritten_early(threads):
    def function(x, y):
        a = x * y
        b = tf.tanh(a)
        c = b - a
        d = tf.exp(c) * a
        return d + b * c - a

    (found,), _ = check(function, X, Y, expected=1)
    a = X * Y
    b = np.tanh(a)
    np.testing.assert_allclose(found, np.exp(b - a) * a + b * (b - a) - a, rtol=1e-5, atol=1e-6)


def test_calls_between_that_do_not_read_the_chain_run_before_it(threads):
    def function(x, y):
        a = tf.exp(x)
        m = tf.matmul(x, y, transpose_b=True)
        b = a * 2.0
        return b + a, tf.reduce_sum(m) + 1.0

    check(function, X, Y, expected=1)


def test_a_reduction_of_the_chain_ends_it(threads):
    (found,), _ = check(lambda x, y: (x + y - tf.reduce_mean(x + y, -1, keepdims=True)) * y * 2.0, X, Y)
    np.testing.assert_allclose(found, (X + Y - (X + Y).mean(-1, keepdims=True)) * Y * 2.0, rtol=1e-5, atol=1e-6)


def test_comparisons_and_booleans_are_members(threads):
    (found,), _ = check(lambda x, y: tf.logical_and(x > y, tf.logical_not(x * 2.0 < y)), X, Y)
    np.testing.assert_array_equal(found, (X > Y) & ~(X * 2.0 < Y))


@pytest.mark.parametrize("dtype", ["float64", "float16", "int32"])
def test_other_dtypes_give_the_same_bits(dtype, threads):
    x = (X * 4).astype(dtype)
    check(lambda x: (x + x) * x - x, x, expected=1 if dtype == "float64" else 0)


def test_special_values_stay_as_they_are(threads):
    x = np.resize(np.float32([np.nan, np.inf, -np.inf, 0.0, -0.0, 1e38, -1e-45]), 23)
    for function in (lambda x: tf.nn.relu(x) * -0.0, lambda x: tf.nn.relu6(-x) - x, lambda x: tf.sigmoid(x) / x,
                     lambda x: tf.math.rsqrt(x) + x, lambda x: tf.maximum(x, -x) * x):
        check(function, x, expected=1)


def test_free_sizes_get_chains_for_each_shape(threads):
    graph = tf.function(lambda x, y: tf.exp(x + y) * y).get_concrete_function(
        tf.TensorSpec([None, 4]), tf.TensorSpec([None, 4])).graph
    for rows in (3, 7, 3, 7, 3, 2, 5, 9, 3):
        x = np.ones((rows, 4), np.float32)
        (found,), _ = interpret.interpret(graph, [x, x])
        np.testing.assert_allclose(found, np.exp(2 * x), rtol=1e-6)


def test_variables_written_by_a_chain_get_its_results(threads):
    v = tf.Variable(X)

    @tf.function
    def step(y):
        v.assign(tf.tanh(-v) * y + v)
        return v * 2.0

    expected = X
    for _ in range(4):
        found = step(tf.constant(Y)).numpy()
        expected = np.tanh(-expected) * Y + expected
        np.testing.assert_allclose(found, 2.0 * expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(v.numpy(), expected, rtol=1e-4, atol=1e-5)


def test_results_of_one_run_are_not_changed_by_the_next(threads):
    function = tf.function(lambda x: tf.exp(x) * 2.0 + x)
    first = function(tf.constant(X)).numpy()
    kept = first.copy()
    for _ in range(3):
        function(tf.constant(Y))
    again = function(tf.constant(X)).numpy()
    function(tf.constant(Y))
    np.testing.assert_array_equal(first, kept)
    np.testing.assert_array_equal(again, kept)


STEPPED = [op for op in registered_ops() if op.steps]


@pytest.mark.parametrize("op", STEPPED, ids=str)
def test_steps_of_an_op_give_the_bits_of_its_kernel(op, threads):
    for case in op.cases():
        dtype = case.arrays[0].dtype
        if case.attrs or dtype.kind != "f" or not case.arrays[0].size:
            continue
        shape = np.broadcast_shapes(*(a.shape for a in case.arrays))
        arrays = [np.asarray(a) for a in case.arrays]
        kinds = {i: (a.shape, a.dtype) for i, a in enumerate(arrays)} | {9: (shape, dtype), 10: (shape, dtype)}
        calls = [chains.Call(op.numpy, tuple(range(len(arrays))), (9,), (), {}),
                 chains.Call(find_op("negative").numpy, (9,), (10,), (9,), {})]
        made = chains.regroup([op, find_op("negative")], calls, kinds, {10})
        if made is None:                            # too small, or no operand has the shape of the result
            continue
        with np.errstate(all="ignore"):
            (found,) = made[0].function(*arrays)
        assert np.array_equal(found.view(np.uint8), (-op.numpy(*arrays)).view(np.uint8))
