"""What eager code asks numpy at once gives the same as the way through `apply`: values, dtypes, errors, no warnings."""

import operator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tideflow as tf
from tideflow.eager import run_op
from tideflow.ops.dispatch import apply
from tideflow.ops.silence import silently
from tideflow.ops.slicing import getitem

OPERATORS = {
    "add": operator.add, "subtract": operator.sub, "multiply": operator.mul, "truediv": operator.truediv,
    "floordiv": operator.floordiv, "floormod": operator.mod, "pow": operator.pow, "less": operator.lt,
    "less_equal": operator.le, "greater": operator.gt, "greater_equal": operator.ge, "equal": operator.eq,
    "not_equal": operator.ne, "logical_and": operator.and_, "logical_or": operator.or_,
}  # fmt: skip
DTYPES = ["float32", "float64", "float16", "int32", "int8", "uint8", "int64", "bool"]
NUMBERS = [2, -1, 0, 1.5, 1e30, float("inf"), float("nan"), 300, 2**40, True]


def outcome(function, *arguments):
    """(dtype, shape, values) or the type of the error and its text."""
    try:
        made = function(*arguments)
    except Exception as error:
        return type(error).__name__, str(error)
    return made.dtype.name, tuple(made.shape), made.numpy().tolist()


def same(a, b):
    return str(a) == str(b)                                         # NaN equals itself as text


@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_operator_equals_op(name, dtype):
    x = tf.cast(tf.constant([[3.0, 0.0, 1.0], [2.0, 5.0, 4.0]]), dtype)
    others = [x, x[0], x[:, :1], x[0, 0], x[:, :2], tf.cast(x, "float32"), tf.cast(x, "int32"), *NUMBERS]
    for other in others:
        assert same(outcome(OPERATORS[name], x, other), outcome(apply, name, x, other)), other


@pytest.mark.parametrize("name", ["add", "subtract", "multiply", "truediv"])
def test_reflected_operator_equals_op(name):
    for x in (tf.constant([1.0, -2.0]), tf.constant([1, 2]), tf.constant(3.0)):
        for other in NUMBERS:
            assert same(outcome(OPERATORS[name], other, x), outcome(apply, name, other, x)), other


@pytest.mark.parametrize(("left", "right"), [((3,), (2, 3)), ((), (2, 3)), ((2, 1), (1, 3)), ((1,), ()), ((0, 3), (3,)),
                                             ((2, 3), (2, 3))], ids=str)
def test_result_has_the_shape_of_its_array(left, right):
    made = tf.ones(left) + tf.ones(right)
    assert tuple(made.shape) == made.host().shape == np.broadcast_shapes(left, right)
    for rows, inner, columns in ((2, 3, 4), (3, 3, 3), (0, 2, 2)):
        made = tf.ones((rows, inner)) @ tf.ones((inner, columns))
        assert tuple(made.shape) == made.host().shape == (rows, columns)


def test_unary_operators_equal_ops():
    for x in (tf.constant([1.0, -0.0, float("nan")]), tf.constant([1, -(2**31)]), tf.constant([True, False]),
              tf.constant([1, 255], tf.uint8), tf.constant(-2.0)):
        for name, function in (("negative", operator.neg), ("abs", operator.abs), ("logical_not", operator.invert)):
            assert same(outcome(function, x), outcome(apply, name, x))


@pytest.mark.parametrize("key", [
    0, -1, 2, 5, -4, slice(None), slice(1, None), slice(None, None, -1), slice(5, 1), slice(None, None, 2), None, ...,
    (), (0, 1), (..., 0), (0, ...), (None, 1, slice(0, 2)), (slice(None), -1, None), (0, 0, 0),
    (0, 0, 0, 0), (..., ...), True, 1.0, "a", slice(None, None, 0), np.int32(1), slice(np.int64(1), None), [0, 1],
], ids=str)  # fmt: skip
def test_indexing_equals_op(key):
    x = tf.constant(np.arange(24, dtype=np.float32).reshape(2, 3, 4))
    assert same(outcome(operator.getitem, x, key), outcome(getitem, x, key))


def test_indexing_gives_tensors_of_rank_0():
    element = tf.constant([1.0, 2.0])[1]
    assert element.shape == () and isinstance(element.host(), np.ndarray)


def test_infinities_and_nan_are_silent():                           # pytest turns warnings into errors
    x, zero = tf.constant([1e38, -1e38, 0.0]), tf.constant(0.0)
    assert np.isinf((x * x).numpy()[0]) and np.isnan((x / zero).numpy()[2])
    assert np.isinf((x * 1e300).numpy()[0]) and not (x > 1e300).numpy().any()
    assert np.isnan(tf.math.log(-tf.ones([2])).numpy()).all() and np.isnan((x % zero).numpy()).all()
    assert np.geterr()["over"] != "ignore"                          # and numpy is as it was


def test_shape_rule_runs_once_for_equal_specs_and_again_for_others(monkeypatch):
    op, calls = run_op.dispatch.find_op("reduce_sum"), []
    monkeypatch.setattr(type(op), "infer", lambda self, x, **attrs: calls.append(x.shape) or rule(self, x, **attrs))
    rule = super(type(op), type(op)).infer
    run_op._known.clear()
    for shape in ((2, 3), (2, 3), (3, 2)):
        assert tf.reduce_sum(tf.ones(shape), axis=0).shape == shape[1:]
    assert calls == [(2, 3), (3, 2)]
    with pytest.raises(tf.errors.InvalidArgumentError):
        tf.matmul(tf.ones([2, 3]), tf.ones([2, 3]))
    with pytest.raises(tf.errors.InvalidArgumentError):             # a refusal is not kept
        tf.matmul(tf.ones([2, 3]), tf.ones([2, 3]))


def test_what_is_known_of_shapes_is_bounded(monkeypatch):
    monkeypatch.setattr(run_op, "_MOST", 10)
    for size in range(1, 30):
        tf.square(tf.ones([size]))
    assert len(run_op._known) <= 10


def test_variables_move_at_once_or_by_the_op():
    v = tf.Variable([1.0, 2.0])
    assert v.assign_add(tf.constant([1.0, 1.0])) is v and v.assign_sub([0.5, 0.5]) is v
    assert v.numpy().tolist() == [1.5, 2.5]
    before = v.value()
    v.assign_add(tf.constant([1.0, 1.0]))
    assert before.numpy().tolist() == [1.5, 2.5]
    with pytest.raises(tf.errors.InvalidArgumentError, match="shapes must be equal"):
        v.assign_add(tf.constant([1.0]))
    with tf.GradientTape() as tape:
        v.assign_add(tf.constant([1.0, 1.0]))
        y = v * v
    assert tape.gradient(y, v).numpy().tolist() == [7.0, 9.0]


def test_tape_is_freed_without_a_collection():
    import gc
    import weakref

    gc.disable()
    try:
        with tf.GradientTape() as tape:
            x = tf.constant([1.0])
            tape.watch(x)
            y = x * x
        assert tape.gradient(y, x).numpy().tolist() == [2.0]
        gone = weakref.ref(tape)
        del tape
        assert gone() is None
    finally:
        gc.enable()


def test_operator_inside_another_silent_call_equals_op():
    x = tf.constant([1.0, 3e38])
    made = silently(lambda: x + x)              # as where another thread is inside one: the operator takes the long way
    assert same(outcome(lambda: made), outcome(apply, "add", x, x))


def test_operators_in_many_threads_agree():
    x = tf.constant(np.arange(50_000, dtype=np.float32))
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda i: float((x * float(i) + x)[-1]), range(200)))
    assert found == [49_999.0 * (i + 1) for i in range(200)]


@pytest.mark.parametrize("direct", [True, False])
def test_silently_gives_no_warnings_and_leaves_numpys_settings(direct, monkeypatch):
    from tideflow.ops import silence

    if not direct:
        monkeypatch.setattr(silence, "IGNORE", None)
    before = np.geterr()
    made = silence._silently()(np.divide, np.float32([1.0, 0.0]), np.float32([0.0, 0.0]))
    assert made[0] == np.inf and np.isnan(made[1]) and np.geterr() == before
