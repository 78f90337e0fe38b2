"""The hand-written model that tests of executors and files share."""

import importlib.util
import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def hand():
    """The module `hand_made` (tests are not a package)."""
    if "tideflow_hand_made" not in sys.modules:
        path = Path(__file__).with_name("runtime") / "hand_made.py"
        spec = importlib.util.spec_from_file_location("tideflow_hand_made", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        sys.modules["tideflow_hand_made"] = module
    return sys.modules["tideflow_hand_made"]
