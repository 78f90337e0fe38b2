"""The examples in the docstrings of tf. and tf.math run as written."""

import doctest

import numpy as np
import pytest
import tideflow as tf
import tideflow.array.indexing
import tideflow.array.making
import tideflow.array.shaping
import tideflow.configuration
import tideflow.debugging
import tideflow.linalg
import tideflow.math.elementwise
import tideflow.math.reduction
import tideflow.nest

MODULES = [tf.array.indexing, tf.array.making, tf.array.shaping, tf.linalg, tf.math.elementwise, tf.math.reduction,
           tf.configuration, tf.debugging, tf.nest]


@pytest.mark.parametrize("module", MODULES, ids=lambda m: m.__name__)
def test_examples_run_as_written(module):
    finder = doctest.DocTestFinder(recurse=True, exclude_empty=True)
    runner = doctest.DocTestRunner(verbose=False)
    names = {name: getattr(module, name) for name in module.__all__} | {"np": np}
    for example in finder.find(module, globs=names):
        runner.run(example)
    assert runner.failures == 0
