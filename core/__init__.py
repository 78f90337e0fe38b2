"""Tideflow: TensorFlow 2 that runs and trains wherever the tide reaches."""

# ruff: noqa: F401, F403, RUF100
from __future__ import annotations

if __name__ != "tideflow":
    raise ImportError("import 'tideflow', not 'core': run `pip install -e .`")

import importlib
from typing import Any

from . import array as _array
from . import device as _devices  # before tf.device, the function: a module imported later would take its place
from . import errors, linalg, math, version
from . import ops as _ops
from .array import *
from .autodiff import control as _loops
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
from .eager import run_op as _run_op
from .eager.context import device, executing_eagerly
from .eager.tensor import Tensor, constant, convert_to_tensor, is_tensor
from .eager.variable import Variable
from .function.function import function
from .function.trace import TensorSpec
from .linalg import einsum, matmul, norm, tensordot
from .shapes import TensorShape
from .version import VERSION as __version__

globals().update({name: getattr(math, name) for name in math.TOP})
newaxis = None

# parts that `import tideflow` does not load: the public name, its module, and the name in there if it is not a module
_LAZY = {name: (f".{name}", "") for name in ("debugging", "keras", "nest", "nn", "random", "test")}
_LAZY["config"] = (".configuration", "")
_LAZY["Module"] = (".module", "Module")
_LAZY.update({name: (".control", name) for name in (
    "control_dependencies", "get_static_value", "group", "init_scope", "name_scope", "no_op", "print")})
_LAZY.update({name: (".function.branching", name) for name in ("case", "cond", "switch_case", "while_loop")})
_LAZY.update({name: (".function.control", name) for name in ("foldl", "foldr", "map_fn", "scan")})
_LAZY.update({name: (".debugging", name) for name in (
    "Assert", "assert_equal", "assert_greater", "assert_less", "assert_rank")})
_LAZY.update({name: (f".keras.{name}", "") for name in ("initializers", "losses", "metrics", "optimizers")})
_LAZY.update({f"{name}_initializer": (".keras.initializers", made) for name, made in (
    ("constant", "Constant"), ("ones", "Ones"), ("random_normal", "RandomNormal"),
    ("random_uniform", "RandomUniform"), ("zeros", "Zeros"))})


def __getattr__(name: str) -> Any:
    """Parts that `import tideflow` does not load; for what is absent, what to use instead."""
    if name in _LAZY:
        module, inside = _LAZY[name]
        found = importlib.import_module(module, __name__)
        return getattr(found, inside) if inside else found
    if name.startswith("__"):
        raise AttributeError(f"module 'tideflow' has no attribute {name!r}")
    from .absent import explanation

    raise AttributeError(explanation(name, {*globals(), *_LAZY}))


def install_as_tensorflow() -> None:
    """Makes `import tensorflow` and `import keras` give this package, for notebooks that cannot be edited."""
    from .aliases import install

    install()
