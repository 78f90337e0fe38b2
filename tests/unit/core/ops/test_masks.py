"""Choosing by bits gives what np.where gives, NaN, infinities and signed zeros included."""

import numpy as np
import pytest
from tideflow.ops.columns import transposed
from tideflow.ops.masks import SMALL, at_least, at_most, blend
from tideflow.ops.op import find_op
from tideflow.ops.windows import windows

SPECIAL = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1.5], np.float64)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int8", "int32", "int64", "uint16"])
@pytest.mark.parametrize("size", [0, 5, 4 * SMALL])
def test_blend_equals_where(dtype, size):
    rng = np.random.default_rng(0)
    values = SPECIAL[:-1] if np.dtype(dtype).kind == "f" else np.arange(5)
    x, y = (rng.choice(values, size).astype(dtype) for _ in range(2))
    chosen = rng.random(size) > 0.5
    zero = np.zeros((), dtype)
    for a, b in ((x, y), (x, zero), (zero, x), (x, np.ones((), dtype)), (x, -zero)):
        expected, found = np.where(chosen, a, b), blend(chosen, a, b)
        assert found.dtype == expected.dtype and found.tobytes() == expected.tobytes()


def test_blend_broadcasts_and_takes_views():
    x = np.arange(4 * SMALL, dtype=np.float32).reshape(4, -1)
    chosen = x % 3 == 0
    for a, b in ((x[:, ::2], x[:, 1::2]), (x[:1], x), (x, x[0])):
        c = chosen[:, : np.broadcast_shapes(a.shape, b.shape)[1]]
        np.testing.assert_array_equal(blend(c, a, b), np.where(c, a, b))


@pytest.mark.parametrize("shape, axis", [((64, 7, 3), (0, 1)), ((97, 3), (0,)), ((0, 3), (0,)), ((5, 0), (0,)),
                                         ((2, 3, 4, 1500), (0, 1)), ((1, 4), (0,))])
@pytest.mark.parametrize("keepdims", [False, True])
def test_sums_over_leading_axes(shape, axis, keepdims):
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    found = find_op("reduce_sum").numpy(x, axis=axis, keepdims=keepdims)
    expected = x.sum(axis, dtype=np.float64, keepdims=keepdims)
    assert found.shape == expected.shape and found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("padding, strides, turned", [("SAME", 1, True), ("VALID", 1, True), ("SAME", 2, False),
                                                      (((5, 5), (5, 5)), 1, False)])
def test_only_unstrided_windows_are_turned_around(padding, strides, turned):
    geometry = windows("conv", (9, 8), (3, 2), (strides, strides), padding, (1, 1))
    assert (transposed(geometry) is not None) == turned


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, np.int32])
@pytest.mark.parametrize("size", [0, 5, 1023, 1024, 2055, 4096])
def test_bounds_give_the_bits_of_numpys_functions(size, dtype):
    values = [np.nan, np.inf, -np.inf, -0.0, 0.0, 5.5, 7.0, -3.0] if np.dtype(dtype).kind == "f" else [-3, 0, 5, 7]
    x = np.resize(np.asarray(values, dtype), size)
    for mine, function in ((at_least, np.maximum), (at_most, np.minimum)):
        for bound in (0.0, 6.0):
            expected = function(x, np.dtype(dtype).type(bound))
            out = np.empty_like(x)
            for made in (mine(x, bound), mine(x, bound, out=out), out, mine(np.repeat(x, 2)[::2], bound)):
                assert made.dtype == dtype and made.tobytes() == expected.tobytes()


def test_bounds_keep_the_shape_and_scalars():
    x = np.ones((3, 5, 1024), np.float32)
    assert at_least(x, 2.0).shape == x.shape and at_least(np.asarray(np.float32(-1.0)), 0.0) == 0.0
