"""Small data, and models that train on it in a moment."""

import numpy as np
import pytest
import tideflow as tf


@pytest.fixture(autouse=True)
def _same_numbers_each_time():
    tf.keras.utils.set_random_seed(7)


@pytest.fixture(scope="session")
def images():
    """70 images in 4 classes: with batches of 32 the last one has 6."""
    rng = np.random.default_rng(0)
    return rng.standard_normal((70, 8, 8, 1)).astype(np.float32), rng.integers(0, 4, 70)


@pytest.fixture(scope="session")
def rows():
    """60 rows of 5 numbers and a target that a line explains."""
    rng = np.random.default_rng(1)
    x = rng.standard_normal((60, 5)).astype(np.float32)
    return x, (x @ np.arange(5, dtype=np.float32)[:, None] + 1.0).astype(np.float32)


@pytest.fixture(params=["cpu", "wasm"])
def device(request, require):
    """The host, then a compiled device."""
    if request.param == "wasm":
        try:
            import wasmtime  # noqa: F401
        except ImportError as error:
            require("wasm", f"needs wasmtime: {error}")
    with tf.device(request.param):
        yield request.param
