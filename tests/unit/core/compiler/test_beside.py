"""Sums that a contraction makes on the way: of the elements that it multiplies anyway."""

import numpy as np
import pytest
import tideflow as tf
from tideflow.compiler.layout import lay_out
from tideflow.compiler.passes import run_passes
from tideflow.compiler.schedule import schedule
from tideflow.compiler.validate import validate
from tideflow.function.trace import TensorSpec, input_values, trace

W = np.random.default_rng(0).standard_normal((30, 20)).astype(np.float32)


def graph_of(function, rows):
    return trace(function, input_values([TensorSpec([rows, 30])], ["x"], "batch"), "beside").graph


def product_and_sum(x):
    w = tf.nn.relu(tf.constant(W) + tf.reduce_sum(x) * 0.0) * 2.0
    return tf.matmul(x, w), tf.reduce_sum(w, 0)


@pytest.mark.parametrize("rows", [0, 1, 5])
def test_sum_beside_a_product_of_no_rows_is_stored(rows):
    x = np.random.default_rng(1).standard_normal((rows, 30)).astype(np.float32)
    report = validate(graph_of(product_and_sum, None), [x])
    assert report.ok, report


@pytest.mark.parametrize(("rows", "kernels"), [(5, 1), (None, 2)])
def test_sum_shares_the_kernel_of_a_product_that_has_rows(rows, kernels):
    def function(x):
        return tf.matmul(x, w), tf.reduce_sum(w, 0)

    w = tf.Variable(W)
    graph = run_passes(graph_of(function, rows))
    assert len(schedule(graph, lay_out([graph]).steps[0]).kernels) == kernels
