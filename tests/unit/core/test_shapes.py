"""Symbolic sizes: whatever simplification does, they have the values of the arithmetic that was written."""

import itertools

import pytest
import tideflow as tf
from tideflow.shapes import ceil_div, evaluate, larger, smaller, substitute, symbol

M, N = symbol("m"), symbol("n")
EXPRESSIONS = {
    "sum": lambda m, n: m * 3 + n - m + 4, "product": lambda m, n: (m + 1) * (n + 2),
    "floordiv": lambda m, n: (m + n) // 3,
    "exact": lambda m, n: (m * 6) // 3, "ceil": lambda m, n: ceil_div(m * n, 4), "mod": lambda m, n: (m + 7) % 5,
    "mod by a size": lambda m, n: m % (n + 1), "a number mod a size": lambda m, n: 17 % (n + 1),
    "a number by a size": lambda m, n: 17 // (n + 1), "bounds": lambda m, n: smaller(m, 5) + larger(n, 3),
}


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_values_are_those_of_numbers(name):
    made = EXPRESSIONS[name](M, N)
    for m, n in itertools.product(range(0, 12, 3), repeat=2):
        assert evaluate(made, {"m": m, "n": n}) == EXPRESSIONS[name](m, n)


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_substitution_of_one_symbol_keeps_the_value(name):
    made = EXPRESSIONS[name](M, N)
    for m, n in ((0, 1), (5, 2), (9, 9)):
        assert evaluate(substitute(made, {"m": m}), {"n": n}) == EXPRESSIONS[name](m, n)
        assert evaluate(substitute(made, {"n": N + M, "m": m}), {"n": n, "m": 2}) == EXPRESSIONS[name](m, n + 2)


def test_shapes_are_tensorflows():
    shape = tf.TensorShape([None, 3])
    assert shape.rank == 2 and shape.as_list() == [None, 3] and str(shape) == "(None, 3)"
    assert shape.is_compatible_with([7, 3]) and not shape.is_compatible_with([7, 4])
    assert tf.TensorShape(None).rank is None
