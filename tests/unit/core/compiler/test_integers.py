"""Integers of fewer or more bits than a device has: they wrap as on the host, or are named if they do not fit."""

import numpy as np
import pytest
import tideflow as tf
from tideflow.compiler.compile import PortSpec, Source, compile_model
from tideflow.compiler.validate import validate
from tideflow.errors import UnimplementedError

NARROW = {
    "sum of two": lambda x: tf.cast(x + x, "int32"),
    "difference": lambda x: tf.cast(x - x[::-1], "float32"),
    "product": lambda x: x * x > x,
    "quotient": lambda x: (x + x) // 2,
    "negative": lambda x: tf.cast(-x, "int32") if x.dtype.name.startswith("int") else x,
    "reduction": lambda x: tf.cast(tf.reduce_sum(x), "int32"),
    "largest": lambda x: (tf.reduce_max(x), tf.maximum(x, x[::-1])),
    "moved": lambda x: tf.concat([x, tf.reverse(x, [0])], 0),
    "to float": lambda x: tf.cast(x, "float32") / 255.0,
}


def traced(function, *arrays):
    return tf.function(function).get_concrete_function(*map(tf.constant, arrays)).graph


@pytest.mark.parametrize("fuse", [True, False], ids=["fused", "alone"])
@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16"])
@pytest.mark.parametrize("what", list(NARROW))
def test_narrow_integers_wrap(what, dtype, fuse):
    limits = np.iinfo(dtype)
    x = np.array([0, 1, limits.max, limits.min, limits.max - 1, limits.max // 2 + 1], dtype)
    report = validate(traced(NARROW[what], x), [x], fuse=fuse)
    assert report.ok, report


@pytest.mark.parametrize("dtype", ["uint8", "int8"])
def test_a_cast_to_fewer_bits_wraps(dtype):
    x = np.array([0, 1, 127, 128, 255, 256, 300, -1, -5, -129], np.int32)
    graph = traced(lambda x: (tf.cast(tf.cast(x, dtype), "int32"), tf.cast(x, dtype)), x)
    report = validate(graph, [x])
    assert report.ok, report


@pytest.mark.parametrize("constant", [np.int64(2**40), np.array([1, -(2**33)])], ids=["uniform", "array"])
def test_a_constant_that_does_not_fit_is_named(constant):
    graph = traced(lambda x: tf.equal(x, tf.constant(constant)), np.array([1, 2], np.int64))
    with pytest.raises(UnimplementedError, match="int64 constant"):
        compile_model([Source("call", graph, [PortSpec("x")], ["out"])], ["wasm"])
