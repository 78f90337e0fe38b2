"""Tideflow: TensorFlow 2 that runs and trains wherever the tide reaches."""

# ruff: noqa: F401, F403, RUF100
from __future__ import annotations

if __name__ != "tideflow":
    raise ImportError("import 'tideflow', not 'core': run `pip install -e .`")

import importlib
import sys
from typing import Any

from . import array as _array
from . import errors, linalg, math, version
from . import ops as _ops
from .array import *
from .autodiff.tape import GradientTape, UnconnectedGradients
from .dtypes import (
    DType,
    as_dtype,
    double,
    float16,
    float32,
    float64,
    half,
    int8,
    int16,
    int32,
    int64,
    string,
    uint8,
    uint16,
    uint32,
    uint64,
)
from .dtypes import bool_ as bool  # noqa: A004
from .eager.context import device, executing_eagerly
from .eager.run_op import EAGER as _EAGER
from .eager.tensor import Tensor, constant, convert_to_tensor, is_tensor
from .eager.variable import Variable
from .function.function import function
from .function.trace import TensorSpec
from .linalg import einsum, matmul, norm, tensordot
from .shapes import TensorShape
from .version import VERSION as __version__

globals().update({name: getattr(math, name) for name in math.TOP})
newaxis = None

_LAZY = ("keras", "nn", "random")


def __getattr__(name: str) -> Any:
    """Parts that `import tideflow` does not load."""
    if name in _LAZY:
        return importlib.import_module(f".{name}", __name__)
    raise AttributeError(f"module 'tideflow' has no attribute {name!r}")


def install_as_tensorflow() -> None:
    """Makes `import tensorflow` and `import keras` give this package, for notebooks that cannot be edited."""
    this = sys.modules[__name__]
    sys.modules["tensorflow"] = this
    keras = importlib.import_module(".keras", __name__)
    sys.modules["keras"] = sys.modules["tensorflow.keras"] = keras
