"""tf.function: when it traces, what it takes and gives, what it writes, and the errors that name the user's line."""

import gc
from collections import namedtuple

import numpy as np
import pytest
import tideflow as tf
from tideflow.errors import InvalidArgumentError, OperatorNotAllowedInGraphError

Pair = namedtuple("Pair", "a b")


def counted(f, **options):
    """A tf.function of f, and the list that gets an entry per trace."""
    traces = []

    def wrapped(*args, **kwargs):
        traces.append(1)
        return f(*args, **kwargs)

    return tf.function(wrapped, **options), traces


# when it traces


def test_values_of_tensors_do_not_retrace_but_python_values_do():
    f, traces = counted(lambda x, k: x * k)
    assert f(tf.constant(2.0), 3.0).numpy() == 6.0 and f(tf.constant(4.0), 3.0).numpy() == 12.0
    assert len(traces) == 1
    assert f(tf.constant(2.0), 5.0).numpy() == 10.0
    assert len(traces) == 2 == f.experimental_get_tracing_count()


def test_one_true_and_one_point_zero_are_different_arguments():
    f, traces = counted(lambda x, k: x * (2.0 if k is True else 3.0))
    assert [f(tf.constant(1.0), k).numpy() for k in (1, True, 1.0)] == [3.0, 2.0, 3.0]
    assert len(traces) == 3


def test_numpy_arguments_are_tensors():
    f, traces = counted(lambda x: x * 2)
    for value in (1, 2, 3):
        np.testing.assert_array_equal(f(np.full(2, value, np.float32)), np.full(2, 2.0 * value))
    assert len(traces) == 1


def test_dtype_and_rank_retrace():
    f, traces = counted(lambda x: x + x)
    f(tf.ones([2])), f(tf.ones([2], tf.int32)), f(tf.ones([2, 2])), f(tf.ones([2]))
    assert len(traces) == 3


def test_sizes_become_free_after_three_traces():
    shapes = []

    @tf.function
    def f(x):
        shapes.append(x.shape.as_list())
        return tf.reduce_sum(x)

    for size in range(1, 9):
        assert f(tf.ones([size, 3])).numpy() == 3 * size
    assert shapes == [[1, 3], [2, 3], [3, 3], [None, 3]]


def test_reduce_retracing_frees_sizes_at_the_second_trace():
    f, traces = counted(tf.reduce_sum, reduce_retracing=True)
    for size in range(1, 6):
        assert f(tf.ones([size])).numpy() == size
    assert len(traces) == 2


def test_first_sizes_that_were_equal_by_chance_are_told_apart():
    f, traces = counted(lambda x, y: tf.reduce_sum(x) + 2 * tf.reduce_sum(y))
    for a, b in [(1, 1), (2, 2), (3, 3), (4, 4), (5, 6), (7, 8)]:
        assert f(tf.ones([a]), tf.ones([b])).numpy() == a + 2 * b
    assert len(traces) == 5


def test_an_object_is_known_by_identity_even_after_it_is_gone():
    f, _ = counted(lambda x, box: x * box[0])

    class Box(list):
        __hash__ = None

    found = []
    for k in range(20):
        found.append(float(f(tf.constant(1.0), Box([float(k)]).copy().__class__([float(k)]))))
        gc.collect()
    assert found == [float(k) for k in range(20)]


def test_an_unhashable_object_does_not_share_a_trace_with_its_successor():
    class Box:
        __hash__ = None

        def __init__(self, k):
            self.k = k

    f, _ = counted(lambda x, box: x * box.k)
    found = []
    for k in range(20):
        found.append(float(f(tf.constant(1.0), Box(float(k)))))
        gc.collect()
    assert found == [float(k) for k in range(20)]


# signatures


def test_input_signature_takes_lists_and_arrays():
    f, traces = counted(lambda x: x * 2, input_signature=[tf.TensorSpec([None], tf.float32)])
    np.testing.assert_array_equal(f([1, 2]), [2.0, 4.0])
    np.testing.assert_array_equal(f(np.ones(3)), [2.0, 2.0, 2.0])
    assert len(traces) == 1


def test_input_signature_may_be_nested_and_leave_python_arguments():
    specs = [{"a": tf.TensorSpec([None]), "b": (tf.TensorSpec([]), tf.TensorSpec([], tf.int32))}]
    f, traces = counted(lambda d, scale=2.0: d["a"] * d["b"][0] * scale, input_signature=specs)
    np.testing.assert_array_equal(f({"a": [1.0, 2.0], "b": (3.0, 1)}), [6.0, 12.0])
    np.testing.assert_array_equal(f({"a": tf.ones([1]), "b": (tf.constant(3.0), tf.constant(1))}), [6.0])
    assert len(traces) == 1


@pytest.mark.parametrize("given", [np.ones((2, 2), np.float32), np.ones(2, np.int32)], ids=["shape", "dtype"])
def test_input_signature_refuses_what_does_not_fit(given):
    f, _ = counted(lambda x: x, input_signature=[tf.TensorSpec([None], tf.float32)])
    with pytest.raises(TypeError, match="does not fit the input_signature"):
        f(tf.constant(given))


def test_concrete_function_of_specs():
    f, traces = counted(lambda x, y: x - y)
    concrete = f.get_concrete_function(tf.TensorSpec([None]), tf.TensorSpec([None]))
    np.testing.assert_array_equal(concrete(tf.ones([3]), tf.ones([3])), np.zeros(3))
    assert concrete.structured_outputs.shape.as_list() == [None] and len(traces) == 1


def test_too_many_arguments_name_the_function():
    @tf.function
    def single(x):
        return x

    with pytest.raises(TypeError, match=r"single\(\): too many positional arguments"):
        single(1, 2)


def test_defaults_keywords_and_stars():
    @tf.function
    def f(*args, scale=1.0, **rest):
        return sum(args) * scale + rest.get("bias", 0.0)

    assert f(tf.constant(1.0), tf.constant(2.0), scale=3.0, bias=tf.constant(1.0)).numpy() == 10.0
    g = tf.function(lambda x, mask=None: x if mask is None else x * mask)
    assert g(tf.constant(2.0)).numpy() == 2.0 and g(tf.constant(2.0), tf.constant(3.0)).numpy() == 6.0


# structures


def test_structures_go_in_and_out():
    @tf.function
    def f(d):
        return {"sum": d["x"] + d["y"][0], "rest": (d["x"], [d["y"][1], None, 3, "text"]), "pair": Pair(d["x"], 1)}

    out = f({"x": tf.constant(1.0), "y": [tf.constant(2.0), tf.constant(3.0)]})
    assert out["sum"].numpy() == 3.0 and out["rest"][1][0].numpy() == 3.0 and out["rest"][1][1:] == [None, 3, "text"]
    assert isinstance(out["pair"], Pair) and out["pair"].a.numpy() == 1.0 and out["pair"].b == 1


# variables


def test_variables_are_captured_and_written_in_order():
    v = tf.Variable(1.0)

    @tf.function
    def f(x):
        before = v.value()
        v.assign_add(x)
        middle = v * 2.0
        v.assign(v * 10.0)
        return before, middle, v

    before, middle, after = f(tf.constant(3.0))
    assert (before.numpy(), middle.numpy(), after.numpy(), v.numpy()) == (1.0, 8.0, 40.0, 40.0)
    v.assign(0.0)
    assert f(tf.constant(1.0))[2].numpy() == 10.0


def test_a_variable_as_an_argument_is_known_by_identity():
    f, traces = counted(lambda v, x: v.assign_add(x) * 1.0)
    a, b = tf.Variable(1.0), tf.Variable(10.0)
    assert [float(f(v, tf.constant(1.0))) for v in (a, b, a)] == [2.0, 11.0, 3.0]
    assert len(traces) == 2 and (a.numpy(), b.numpy()) == (3.0, 11.0)


def test_a_variable_may_be_made_on_the_first_call():
    made = []

    @tf.function
    def f(x):
        if not made:
            made.append(tf.Variable(lambda: tf.ones([2]) * 3.0))
        return x * made[0]

    np.testing.assert_array_equal(f(tf.constant(2.0)), [6.0, 6.0])
    made[0].assign([1.0, 2.0])
    np.testing.assert_array_equal(f(tf.constant(2.0)), [2.0, 4.0])
    np.testing.assert_array_equal(f(tf.ones([2])), [1.0, 2.0])
    assert len(made) == 1


def test_a_variable_made_by_every_trace_is_refused():
    f, _ = counted(lambda x: x * tf.Variable(3.0))
    with pytest.raises(ValueError, match=r"singleton tf\.Variables created on the first call"):
        f(tf.constant(1.0))


def test_a_variable_made_by_a_later_trace_is_refused():
    made = {}

    @tf.function
    def f(x, key):
        if key not in made:
            made[key] = tf.Variable(1.0)
        return x * made[key]

    f(tf.constant(1.0), "first")
    with pytest.raises(ValueError, match=r"singleton tf\.Variables"):
        f(tf.constant(1.0), "second")


def test_a_traced_initial_value_asks_for_a_callable():
    f, _ = counted(lambda x: tf.Variable(x))
    with pytest.raises(ValueError, match=r"tf.Variable\(lambda"):
        f(tf.constant(1.0))


# methods, nesting, tapes


def test_methods_have_traces_of_their_own_per_object():
    class Scaler:
        def __init__(self, by):
            self.by, self.traces = tf.Variable(by), 0

        @tf.function
        def __call__(self, x):
            self.traces += 1
            return x * self.by

        @tf.function(input_signature=[tf.TensorSpec([])])
        def plus(self, x):
            return x + self.by

    a, b = Scaler(2.0), Scaler(5.0)
    assert [float(s(tf.constant(k))) for s in (a, b) for k in (1.0, 2.0)] == [2.0, 4.0, 5.0, 10.0]
    assert (a.traces, b.traces) == (1, 1)
    assert (float(a.plus(1.0)), float(b.plus(1.0))) == (3.0, 6.0)


def test_nested_functions_share_variables():
    v = tf.Variable(1.0)

    @tf.function
    def inner(x):
        v.assign_add(x)
        return v * 2.0

    @tf.function
    def outer(x):
        return inner(x), inner(x), v

    assert [float(t) for t in outer(tf.constant(3.0))] == [8.0, 14.0, 7.0] and v.numpy() == 7.0


def test_a_function_under_a_tape():
    v = tf.Variable(3.0)

    @tf.function
    def f(x):
        y = x * v
        v.assign(v * 2.0)
        return y + v

    x = tf.constant(2.0)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = f(x)
    dx, dv = tape.gradient(y, [x, v])
    assert (float(y), float(dx), float(dv), v.numpy()) == (12.0, 3.0, 4.0, 6.0)


def test_tapes_inside_and_outside_give_second_derivatives():
    @tf.function
    def slope(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = x**3
        return tape.gradient(y, x)

    x = tf.constant(2.0)
    with tf.GradientTape() as tape:
        tape.watch(x)
        first = slope(x)
    assert float(first) == 12.0 and float(tape.gradient(first, x)) == 12.0


def test_sizes_of_an_inner_function_are_those_of_its_call():
    specs = [tf.TensorSpec([None, 4])]

    @tf.function(input_signature=specs)
    def pairs(x):
        return tf.reshape(tf.reshape(x * 2.0, [-1, 2]) + 1.0, [-1, 4]), tf.cast(tf.shape(x)[0], "float32")

    @tf.function(input_signature=specs)
    def twice(x):
        return pairs(tf.concat([x, x], 0))

    x = tf.ones([3, 4])
    made, rows = twice(x)
    assert made.shape.as_list() == [6, 4] and float(rows) == 6.0
    with tf.GradientTape() as tape:
        tape.watch(x)
        made, rows = pairs(x)
    assert float(rows) == 3.0
    np.testing.assert_array_equal(tape.gradient(made, x), np.full((3, 4), 2.0))


def test_an_inner_function_whose_arguments_have_different_batches():
    @tf.function(input_signature=[tf.TensorSpec([None]), tf.TensorSpec([None])])
    def sums(x, y):
        return tf.reduce_mean(x), tf.reduce_mean(y), tf.shape(x)[0], tf.shape(y)[0]

    outer = tf.function(lambda x: sums(x, tf.concat([x, x * 2.0], 0)), input_signature=[tf.TensorSpec([None])])
    assert [float(t) for t in outer(tf.ones([3]))] == [1.0, 1.5, 3.0, 6.0]


def test_random_numbers_of_inner_functions_and_under_tapes_go_on():
    generator = tf.random.Generator.from_seed(3)
    draw = tf.function(lambda: generator.uniform([2]))
    twice = tf.function(lambda: (draw(), generator.uniform([2]), draw()))
    found = [tuple(t.numpy()) for _ in range(2) for t in twice()]
    for _ in range(2):
        with tf.GradientTape():
            found.append(tuple(draw().numpy()))
    again = tf.random.Generator.from_seed(3)
    assert found == [tuple(again.uniform([2]).numpy()) for _ in range(8)]


# errors


def test_a_wrong_shape_names_the_line():
    @tf.function
    def product(x):
        return tf.matmul(x, x)

    with pytest.raises(InvalidArgumentError) as caught:
        product(tf.ones([2, 3]))
    line = product.python_function.__code__.co_firstlineno + 2
    assert caught.value.__notes__ == [f"while tracing 'product', at test_function.py:{line}"]


def test_an_error_while_tracing_leaves_nothing_behind():
    @tf.function
    def broken(x):
        raise RuntimeError("from the user")

    with pytest.raises(RuntimeError, match="from the user"):
        broken(tf.constant(1.0))
    assert (tf.constant(1.0) + 1.0).numpy() == 2.0


@pytest.mark.parametrize("use", [float, np.asarray, lambda v: v.numpy(), int], ids=["float", "asarray", "numpy", "int"])
def test_a_value_that_is_not_known_yet_is_not_given(use):
    v = tf.Variable(1.0)
    for f in (lambda x: x * use(v), lambda x: x * use(x)):
        with pytest.raises(NotImplementedError, match=r"tf\.function"):
            tf.function(f)(tf.constant(1.0))


def test_a_variable_as_a_condition_is_refused():
    v = tf.Variable(1.0)
    f, _ = counted(lambda x: x if v else -x)
    with pytest.raises(OperatorNotAllowedInGraphError, match=r"tf\.where"):
        f(tf.constant(1.0))


@pytest.fixture
def leaked():
    """A tensor of a trace that is over, and one of its inputs."""
    found = []

    @tf.function
    def f(x):
        found.extend([x * 2.0, x])
        return x

    f(tf.ones([3]))
    return found


@pytest.mark.parametrize("which", [0, 1], ids=["made", "input"])
def test_a_tensor_that_left_its_trace_is_out_of_scope(leaked, which):
    tensor = leaked[which]
    with pytest.raises(TypeError, match="out of scope"):
        tensor + 1.0
    with pytest.raises(TypeError, match=r"out of scope .* \(add at test_function.py:\d+\)"):
        tf.function(lambda x: x + tensor)(tf.ones([3]))
    with pytest.raises(TypeError, match="out of scope"):
        tf.function(lambda x: tensor)(tf.ones([3]))
    with pytest.raises(TypeError, match="out of scope"):
        tf.Variable([1.0, 1.0, 1.0]).assign(tensor)
