"""tf.math: functions of numbers, elementwise and over axes, with TensorFlow's names and argument order."""

from . import elementwise, reduction
from .elementwise import *  # noqa: F403
from .reduction import *  # noqa: F403

__all__ = [*elementwise.__all__, *reduction.__all__]

# what TensorFlow offers directly in `tf.` too
TOP = (
    "abs", "acos", "acosh", "add", "add_n", "argmax", "argmin", "asin", "asinh", "atan", "atan2", "atanh", "cos",
    "cosh", "cumsum", "divide", "equal", "exp", "floor", "greater", "greater_equal", "less", "less_equal",
    "logical_and", "logical_not",
    "logical_or", "maximum", "minimum", "multiply", "negative", "not_equal", "pow", "reduce_all", "reduce_any",
    "reduce_logsumexp", "reduce_max", "reduce_mean", "reduce_min", "reduce_prod", "reduce_sum", "round", "scalar_mul",
    "sigmoid", "sign", "sin", "sinh", "sqrt", "square", "subtract", "tan", "tanh", "truediv",
)  # fmt: skip
