"""Tideflow: TensorFlow 2 that runs and trains wherever the tide reaches."""

if __name__ != "tideflow":
    raise ImportError("import 'tideflow', not 'core': run `pip install -e .`")

from .version import VERSION as __version__

__all__ = ["__version__"]
