"""What programs do with variables: the kernels of each, run in their order on the host, leave what the graph says."""

import numpy as np
import pytest
import tideflow as tf
from tideflow.compiler.validate import validate
from tideflow.ops.optimizer import adam_step, momentum_step, sgd_step


def var(seed, *shape):
    return tf.Variable(np.random.default_rng(seed).uniform(-1, 1, shape).astype(np.float32), name=f"v{seed}")


def slots(v):
    return tf.Variable(np.zeros(v.shape, np.float32), trainable=False, role="OPTIMIZER_SLOT")


def check(function, *arrays, kernels=None):
    """Validates a function with and without fusion; the number of kernels is exact if given."""
    graph = tf.function(function).get_concrete_function(*map(tf.constant, arrays)).graph
    for fuse in (True, False):
        report = validate(graph, [np.asarray(a) for a in arrays], fuse=fuse)
        assert report.ok, f"fuse={fuse}\n{report}"
        if fuse and kernels is not None:
            assert len(report.kernels) == kernels, report
    return report


def test_swapped_variables():
    x, y = var(1, 6), var(2, 6)

    def swap():
        x_before, y_before = x.value(), y.value()
        x.assign(y_before), y.assign(x_before)

    check(swap, kernels=3)  # one more than there are variables: something must be kept


def test_three_variables_in_a_ring():
    ring = [var(i, 4) for i in range(3)]

    def turn():
        before = [v.value() for v in ring]
        for v, b in zip(ring, [*before[1:], before[0]], strict=True):
            v.assign(b)

    check(turn)


def test_variables_updated_from_the_old_values_of_both():
    x, y = var(1, 6), var(2, 6)

    def crossed():
        a, b = tf.tanh(y) + x, tf.sin(x) - y
        x.assign(a), y.assign(b)

    check(crossed, kernels=1)  # one kernel reads both before it stores either


def test_rows_and_a_reduction_of_the_old_value():
    x, total = var(1, 5, 7), var(2, 5)

    def update():
        total.assign(tf.reduce_sum(x, 1))
        x.assign(x * tf.expand_dims(tf.reduce_sum(x, 1), 1))

    check(update)


def test_old_value_as_an_output():
    x = var(1, 6)

    def update(g):
        before = x.value()
        x.assign_sub(g)
        return before, x.value()

    check(update, np.ones(6, np.float32))


def test_old_value_as_an_output_of_a_merged_step():
    x = var(1, 6)

    def update(g):
        before = x.value()
        x.assign(sgd_step(x, g * 2.0, tf.constant(0.1)))
        return before, x - before

    check(update, np.ones(6, np.float32))


@pytest.mark.parametrize("gradient", ["constant", "input", "variable"])
def test_gradient_that_no_kernel_makes(gradient):
    x, m, other = var(1, 6), slots(var(1, 6)), var(2, 6)

    def update(given):
        constant = tf.constant(np.arange(6, dtype=np.float32))
        g = {"constant": constant, "input": given, "variable": other.value()}[gradient]
        new, velocity = momentum_step(x, m, g, tf.constant(0.1), momentum=0.9)
        x.assign(new), m.assign(velocity)

    check(update, np.ones(6, np.float32))


def test_one_step_after_another():
    """Alternating optimisation: the second gradient needs what the first step made, with one learning rate for both."""
    x, y = var(1, 6), var(2, 6)

    def update(rate):
        x.assign(sgd_step(x, x * tf.reduce_sum(y), rate))
        y.assign(sgd_step(y, y * tf.reduce_sum(x), rate))
        return tf.reduce_sum(x * y)

    check(update, np.float32(0.1))


def test_steps_that_need_each_others_old_and_new_values():
    x, y = var(1, 6), var(2, 6)

    def update(rate):
        x_before, y_before = x.value(), y.value()
        x.assign(sgd_step(x, tf.sin(x), rate))
        y.assign(sgd_step(y, tf.cos(y) * x, rate))
        return x_before * y, y_before * x

    check(update, np.float32(0.1))


def test_nothing_is_merged_across_a_step():
    x = var(1, 6)

    def update(data, rate):
        x.assign(sgd_step(x, tf.reduce_sum(data, 0) * x, rate))
        return data * x, data * 2.0

    check(update, np.ones((4, 6), np.float32), np.float32(0.1))


def test_a_constraint_after_a_step():
    x = var(1, 6)

    def update(g, rate):
        x.assign(sgd_step(x, g, rate))
        x.assign(tf.maximum(x, 0.0))

    check(update, np.ones(6, np.float32), np.float32(0.1))


def test_a_moving_average_of_what_a_step_makes():
    x, average, copy = var(1, 6), var(2, 6), var(3, 6)

    def update(g, rate):
        x.assign(sgd_step(x, g, rate))
        average.assign(average * 0.9 + x * 0.1)
        copy.assign(x)
        return x.value()

    check(update, np.ones(6, np.float32), np.float32(0.1))


def test_a_copy_made_before_the_variable_itself_is_assigned():
    x, copy = var(1, 6), var(2, 6)

    def update(g, rate):
        new = sgd_step(x, g, rate)
        copy.assign(new)
        x.assign(new)

    check(update, np.ones(6, np.float32), np.float32(0.1))


def test_one_value_for_many_places():
    states = [var(i, 6) for i in range(12)]

    def update(x):
        made = tf.tanh(x)
        for s in states:
            s.assign(made)
        return (made,) * 12

    check(update, np.ones(6, np.float32))


def test_many_variables_updated_from_one_value():
    """Each update alone fits into the bindings of a device, all together do not."""
    states = [var(i, 6) for i in range(12)]

    def update(x):
        for s in states:
            s.assign(s * 0.9 + tf.tanh(x) * 0.1)

    check(update, np.ones(6, np.float32))


@pytest.mark.parametrize("how", ["transpose", "reverse", "softmax", "matmul", "normalise"])
def test_new_values_that_need_other_elements_of_the_old(how):
    x = var(1, 5, 5)
    made = {
        "transpose": lambda: tf.transpose(x) + 1.0,
        "reverse": lambda: tf.reverse(x, [0]) * 2.0,
        "softmax": lambda: tf.nn.softmax(x),
        "matmul": lambda: x @ x,
        "normalise": lambda: x / tf.reduce_sum(x),
    }[how]

    def update():
        x.assign(made())

    check(update)


def test_sum_of_columns_beside_a_product_with_the_old_bias_read_by_all():
    """The bias update is stored by the first row of points while all rows read the old bias."""
    w, b = var(1, 8, 6), var(2, 6)

    def update(x, dy):
        dw = tf.matmul(x, dy, transpose_a=True)
        w.assign_sub(dw + b)
        b.assign_sub(tf.reduce_sum(dy, 0))

    rng = np.random.default_rng(0)
    check(update, rng.random((9, 8)).astype(np.float32), rng.random((9, 6)).astype(np.float32))


def test_states_of_every_dtype():
    states = [tf.Variable(np.array([1, 2], dtype), trainable=False) for dtype in ("float32", "int32", "bool")]

    def update():
        before = [s.value() for s in states]
        states[0].assign(before[0] * 2.0), states[1].assign(before[1] + 1), states[2].assign(tf.logical_not(before[2]))
        return before

    check(update)


def test_adam_over_several_variables_is_one_kernel():
    variables = [var(1, 30, 7), var(2, 7), var(3)]
    moments = [(slots(v), slots(v)) for v in variables]

    def update(g, rate):
        for v, (m, s) in zip(variables, moments, strict=True):
            new, first, second = adam_step(v, m, s, v * g, rate, tf.constant(1.0))
            v.assign(new), m.assign(first), s.assign(second)

    assert "adam_step" in str(check(update, np.float32(0.5), np.float32(0.1)))
