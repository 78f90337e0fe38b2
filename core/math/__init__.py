"""tf.math: functions of numbers, elementwise and over axes, with TensorFlow's names and argument order."""

from typing import Any

from . import elementwise, reduction
from .elementwise import *  # noqa: F403
from .reduction import *  # noqa: F403

__all__ = [*elementwise.__all__, *reduction.__all__]

# what TensorFlow offers directly in `tf.` too
TOP = (
    "abs", "acos", "acosh", "add", "add_n", "argmax", "argmin", "asin", "asinh", "atan", "atan2", "atanh", "cos", "cosh", "cumsum",
    "divide", "equal", "exp", "floor", "greater", "greater_equal", "less", "less_equal", "logical_and", "logical_not",
    "logical_or", "maximum", "minimum", "multiply", "negative", "not_equal", "pow", "reduce_all", "reduce_any",
    "reduce_logsumexp", "reduce_max", "reduce_mean", "reduce_min", "reduce_prod", "reduce_sum", "round", "scalar_mul",
    "sigmoid", "sign", "sin", "sinh", "sqrt", "square", "subtract", "tan", "tanh", "truediv",
)  # fmt: skip


def __getattr__(name: str) -> Any:
    """Functions of tf.math that live on tf.nn in this package."""
    if name in ("softmax", "log_softmax"):
        from ..eager.tensor import convert_to_tensor
        from ..ops import softmax as found

        op = getattr(found, name)
        return lambda logits, axis=None, name=None: op(convert_to_tensor(logits), -1 if axis is None else axis)
    raise AttributeError(f"module 'tideflow.math' has no attribute {name!r}")
