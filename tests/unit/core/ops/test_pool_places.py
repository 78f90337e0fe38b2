"""Places of maxima on the host: the first maximum of each window in row-major order, however many taps a window has."""

import numpy as np
import pytest
from tideflow.ops.op import find_op


@pytest.mark.parametrize("size", [3, 11, 12], ids=str)         # 9, 121 and 144 taps: numbers of one byte and of four
@pytest.mark.parametrize("dtype", ["float32", "int32"])
def test_places_are_the_first_maxima(size, dtype):
    rng = np.random.default_rng(0)
    x = rng.integers(0, 4, (2, 15, 14, 3)).astype(dtype)       # many maxima in each window
    attrs = {"ksize": (size, size), "strides": (2, 1), "padding": "VALID"}
    y = find_op("max_pool").numpy(x, **attrs)
    places = find_op("max_pool_places").numpy(x, y, **attrs)
    windows = np.lib.stride_tricks.sliding_window_view(x, (size, size), (1, 2))[:, ::2]
    assert places.dtype == np.int32
    assert np.array_equal(places, windows.reshape(*windows.shape[:-2], -1).argmax(-1))


@pytest.mark.parametrize("padding", ["VALID", "SAME"])
def test_where_the_maximum_is_nan_the_first_tap_inside_is_its_place(padding):
    x = np.zeros((1, 4, 4, 1), np.float32)
    x[0, 2, 1, 0] = np.nan
    attrs = {"ksize": (3, 3), "strides": (1, 1), "padding": padding}
    y = find_op("max_pool").numpy(x, **attrs)
    places = find_op("max_pool_places").numpy(x, y, **attrs)
    before = int(padding == "SAME")
    for i, j in np.argwhere(np.isnan(y[0, :, :, 0])):
        assert divmod(int(places[0, i, j, 0]), 3) == first_tap_inside(x[0, :, :, 0], i - before, j - before)
    assert np.isnan(y).any()


def first_tap_inside(x, i, j):
    """The first tap of the window at (i, j) that reads an element: none is below NaN."""
    return next((a, b) for a in range(3) for b in range(3) if 0 <= i + a < x.shape[0] and 0 <= j + b < x.shape[1])
