"""A device for each test, closed and checked for leaks afterwards."""

import pytest


@pytest.fixture
def device(require):
    """A fresh wasmtime device; nothing may be left on it."""
    from tideflow.errors import NoExecutorError
    from tideflow.wasm import native

    try:
        opened = native.open_device()
    except NoExecutorError as error:
        require("wasm", str(error))
    yield opened
    leaked = opened.stats()
    opened.close()
    assert (leaked.live_buffers, leaked.live_bytes, leaked.programs) == (0, 0, 0)
