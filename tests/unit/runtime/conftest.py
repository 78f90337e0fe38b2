"""Fixtures: the hand-written model, and a device for each test that is closed and checked for leaks afterwards."""

import importlib.util
import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def hand():
    """The module `hand_made` (tests are not a package)."""
    if "tideflow_hand_made" not in sys.modules:
        spec = importlib.util.spec_from_file_location("tideflow_hand_made", Path(__file__).with_name("hand_made.py"))
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        sys.modules["tideflow_hand_made"] = module
    return sys.modules["tideflow_hand_made"]


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
