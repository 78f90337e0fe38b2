"""tf.math, elementwise: argument conversion only, the work is in the ops."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..eager.tensor import EagerTensor, convert_to_tensor
from ..errors import InvalidArgumentError
from ..ops.dispatch import Value, apply
from ..ops.elementwise import select

__all__ = [
    "abs",
    "accumulate_n",
    "acos",
    "acosh",
    "add",
    "add_n",
    "asin",
    "asinh",
    "atan",
    "atan2",
    "atanh",
    "ceil",
    "cos",
    "cosh",
    "divide",
    "divide_no_nan",
    "equal",
    "erf",
    "erfc",
    "exp",
    "expm1",
    "floor",
    "floordiv",
    "floormod",
    "greater",
    "greater_equal",
    "is_finite",
    "is_inf",
    "is_nan",
    "less",
    "less_equal",
    "log",
    "log1p",
    "log_sigmoid",
    "logical_and",
    "logical_not",
    "logical_or",
    "logical_xor",
    "maximum",
    "minimum",
    "mod",
    "multiply",
    "multiply_no_nan",
    "negative",
    "not_equal",
    "polyval",
    "pow",
    "reciprocal",
    "reciprocal_no_nan",
    "rint",
    "round",
    "rsqrt",
    "scalar_mul",
    "sigmoid",
    "sign",
    "sin",
    "sinh",
    "softplus",
    "softsign",
    "sqrt",
    "square",
    "squared_difference",
    "subtract",
    "tan",
    "tanh",
    "truediv",
    "xdivy",
    "xlog1py",
    "xlogy",
]


def _operands(x: Any, y: Any) -> tuple[Any, Any]:
    """Two values as tensors: what is none yet takes the dtype of the other one, and y that of x if neither is."""
    if isinstance(x, Value) or isinstance(y, Value):
        return x, y
    first = convert_to_tensor(x)
    return first, convert_to_tensor(y, dtype_hint=first.dtype)


def abs(x: Any, name: str | None = None) -> Any:
    """The magnitude of each element."""
    return apply("abs", convert_to_tensor(x))


def acos(x: Any, name: str | None = None) -> Any:
    """The angle whose cosine is x; NaN outside [-1, 1]."""
    return apply("acos", convert_to_tensor(x))


def acosh(x: Any, name: str | None = None) -> Any:
    """The inverse of `cosh`; NaN below 1."""
    return apply("acosh", convert_to_tensor(x))


def asin(x: Any, name: str | None = None) -> Any:
    """The angle whose sine is x; NaN outside [-1, 1]."""
    return apply("asin", convert_to_tensor(x))


def asinh(x: Any, name: str | None = None) -> Any:
    """The inverse of `sinh`."""
    return apply("asinh", convert_to_tensor(x))


def atan(x: Any, name: str | None = None) -> Any:
    """The angle whose tangent is x."""
    return apply("atan", convert_to_tensor(x))


def atanh(x: Any, name: str | None = None) -> Any:
    """The inverse of `tanh`; NaN outside [-1, 1]."""
    return apply("atanh", convert_to_tensor(x))


def ceil(x: Any, name: str | None = None) -> Any:
    """The smallest whole number not below x."""
    return apply("ceil", convert_to_tensor(x))


def cos(x: Any, name: str | None = None) -> Any:
    """The cosine of an angle in radians."""
    return apply("cos", convert_to_tensor(x))


def cosh(x: Any, name: str | None = None) -> Any:
    """The hyperbolic cosine."""
    return apply("cosh", convert_to_tensor(x))


def erf(x: Any, name: str | None = None) -> Any:
    """The error function."""
    return apply("erf", convert_to_tensor(x))


def erfc(x: Any, name: str | None = None) -> Any:
    """1 - erf(x), accurate where erf is almost 1."""
    return apply("erfc", convert_to_tensor(x))


def exp(x: Any, name: str | None = None) -> Any:
    """e to the power of x."""
    return apply("exp", convert_to_tensor(x))


def expm1(x: Any, name: str | None = None) -> Any:
    """exp(x) - 1, accurate near 0."""
    return apply("expm1", convert_to_tensor(x))


def floor(x: Any, name: str | None = None) -> Any:
    """The largest whole number not above x."""
    return apply("floor", convert_to_tensor(x))


def is_finite(x: Any, name: str | None = None) -> Any:
    """Whether each element is neither NaN nor infinite."""
    return apply("is_finite", convert_to_tensor(x))


def is_inf(x: Any, name: str | None = None) -> Any:
    """Whether each element is infinite."""
    return apply("is_inf", convert_to_tensor(x))


def is_nan(x: Any, name: str | None = None) -> Any:
    """Whether each element is NaN."""
    return apply("is_nan", convert_to_tensor(x))


def log(x: Any, name: str | None = None) -> Any:
    """The natural logarithm; NaN below 0."""
    return apply("log", convert_to_tensor(x))


def log1p(x: Any, name: str | None = None) -> Any:
    """log(1 + x), accurate near 0."""
    return apply("log1p", convert_to_tensor(x))


def logical_not(x: Any, name: str | None = None) -> Any:
    """Whether each element is false."""
    return apply("logical_not", convert_to_tensor(x))


def negative(x: Any, name: str | None = None) -> Any:
    """-x."""
    return apply("negative", convert_to_tensor(x))


def reciprocal(x: Any, name: str | None = None) -> Any:
    """1 / x."""
    return apply("reciprocal", convert_to_tensor(x))


def rint(x: Any, name: str | None = None) -> Any:
    """The nearest whole number; halves go to the even one."""
    return apply("round", convert_to_tensor(x))


def round(x: Any, name: str | None = None) -> Any:
    """The nearest whole number; halves go to the even one."""
    return apply("round", convert_to_tensor(x))


def rsqrt(x: Any, name: str | None = None) -> Any:
    """1 / sqrt(x)."""
    return apply("rsqrt", convert_to_tensor(x))


def sigmoid(x: Any, name: str | None = None) -> Any:
    """1 / (1 + exp(-x))."""
    return apply("sigmoid", convert_to_tensor(x))


def sign(x: Any, name: str | None = None) -> Any:
    """-1, 0 or 1; NaN stays NaN."""
    return apply("sign", convert_to_tensor(x))


def sin(x: Any, name: str | None = None) -> Any:
    """The sine of an angle in radians."""
    return apply("sin", convert_to_tensor(x))


def sinh(x: Any, name: str | None = None) -> Any:
    """The hyperbolic sine."""
    return apply("sinh", convert_to_tensor(x))


def softplus(features: Any, name: str | None = None) -> Any:
    """log(1 + exp(features)), without overflow."""
    return apply("softplus", convert_to_tensor(features))


def softsign(features: Any, name: str | None = None) -> Any:
    """features / (1 + |features|)."""
    return apply("softsign", convert_to_tensor(features))


def sqrt(x: Any, name: str | None = None) -> Any:
    """The square root; NaN below 0."""
    return apply("sqrt", convert_to_tensor(x))


def square(x: Any, name: str | None = None) -> Any:
    """x * x."""
    return apply("square", convert_to_tensor(x))


def tan(x: Any, name: str | None = None) -> Any:
    """The tangent of an angle in radians."""
    return apply("tan", convert_to_tensor(x))


def tanh(x: Any, name: str | None = None) -> Any:
    """The hyperbolic tangent."""
    return apply("tanh", convert_to_tensor(x))


def add(x: Any, y: Any, name: str | None = None) -> Any:
    """x + y. The dtypes must agree; Python numbers and arrays take the dtype of the other operand."""
    if x.__class__ is y.__class__ is EagerTensor:
        return x + y                        # the quick way
    return apply("add", *_operands(x, y))


def atan2(y: Any, x: Any, name: str | None = None) -> Any:
    """The angle of the point (x, y), from -pi to pi."""
    return apply("atan2", *_operands(y, x))


def divide_no_nan(x: Any, y: Any, name: str | None = None) -> Any:
    """x / y, and 0 where y is 0."""
    return apply("divide_no_nan", *_operands(x, y))


def equal(x: Any, y: Any, name: str | None = None) -> Any:
    """Whether x equals y. NaN equals nothing."""
    return apply("equal", *_operands(x, y))


def floordiv(x: Any, y: Any, name: str | None = None) -> Any:
    """x / y, rounded towards minus infinity."""
    return apply("floordiv", *_operands(x, y))


def floormod(x: Any, y: Any, name: str | None = None) -> Any:
    """The remainder of `floordiv`, with the sign of y."""
    return apply("floormod", *_operands(x, y))


def greater(x: Any, y: Any, name: str | None = None) -> Any:
    """Whether x > y."""
    return apply("greater", *_operands(x, y))


def greater_equal(x: Any, y: Any, name: str | None = None) -> Any:
    """Whether x >= y."""
    return apply("greater_equal", *_operands(x, y))


def less(x: Any, y: Any, name: str | None = None) -> Any:
    """Whether x < y."""
    return apply("less", *_operands(x, y))


def less_equal(x: Any, y: Any, name: str | None = None) -> Any:
    """Whether x <= y."""
    return apply("less_equal", *_operands(x, y))


def logical_and(x: Any, y: Any, name: str | None = None) -> Any:
    """Whether both x and y are true."""
    return apply("logical_and", *_operands(x, y))


def logical_or(x: Any, y: Any, name: str | None = None) -> Any:
    """Whether x or y is true."""
    return apply("logical_or", *_operands(x, y))


def logical_xor(x: Any, y: Any, name: str | None = None) -> Any:
    """Whether just one of x and y is true."""
    return apply("not_equal", *_operands(x, y))


def maximum(x: Any, y: Any, name: str | None = None) -> Any:
    """The larger of x and y, NaN if one is NaN."""
    return apply("maximum", *_operands(x, y))


def minimum(x: Any, y: Any, name: str | None = None) -> Any:
    """The smaller of x and y, NaN if one is NaN."""
    return apply("minimum", *_operands(x, y))


def mod(x: Any, y: Any, name: str | None = None) -> Any:
    """The remainder of `floordiv`, with the sign of y."""
    return apply("floormod", *_operands(x, y))


def multiply(x: Any, y: Any, name: str | None = None) -> Any:
    """x * y."""
    if x.__class__ is y.__class__ is EagerTensor:
        return x * y                        # the quick way
    return apply("multiply", *_operands(x, y))


def multiply_no_nan(x: Any, y: Any, name: str | None = None) -> Any:
    """x * y, and 0 where y is 0, even if x is infinite or NaN."""
    return apply("multiply_no_nan", *_operands(x, y))


def not_equal(x: Any, y: Any, name: str | None = None) -> Any:
    """Whether x differs from y. NaN differs from everything."""
    return apply("not_equal", *_operands(x, y))


def pow(x: Any, y: Any, name: str | None = None) -> Any:
    """x to the power of y. Integers: y must not be negative."""
    return apply("pow", *_operands(x, y))


def squared_difference(x: Any, y: Any, name: str | None = None) -> Any:
    """(x - y) * (x - y)."""
    return apply("squared_difference", *_operands(x, y))


def subtract(x: Any, y: Any, name: str | None = None) -> Any:
    """x - y."""
    if x.__class__ is y.__class__ is EagerTensor:
        return x - y                        # the quick way
    return apply("subtract", *_operands(x, y))


def truediv(x: Any, y: Any, name: str | None = None) -> Any:
    """x / y. Integers of 32 and 64 bits give float64, as in Python 3."""
    if x.__class__ is y.__class__ is EagerTensor:
        return x / y                        # the quick way
    return apply("truediv", *_operands(x, y))


def divide(x: Any, y: Any, name: str | None = None) -> Any:
    """x / y, as Python's operator: integers give floats."""
    return truediv(x, y)


def scalar_mul(scalar: Any, x: Any, name: str | None = None) -> Any:
    """A tensor of rank 0 (or a number) times x."""
    x = convert_to_tensor(x)
    if isinstance(scalar, Value) and scalar.sizes:
        raise ValueError(f"Only scalar multiply works, got shape {tuple(scalar.sizes)}: use tf.multiply.")
    return apply("multiply", scalar, x)


def reciprocal_no_nan(x: Any, name: str | None = None) -> Any:
    """1 / x, and 0 where x is 0."""
    return apply("divide_no_nan", 1, convert_to_tensor(x))


def log_sigmoid(x: Any, name: str | None = None) -> Any:
    """log(sigmoid(x)), without overflow."""
    return -apply("softplus", -convert_to_tensor(x))


def xlogy(x: Any, y: Any, name: str | None = None) -> Any:
    """x * log(y), and 0 where x is 0."""
    x, y = (convert_to_tensor(v) for v in _operands(x, y))
    return x * apply("log", select(apply("equal", x, 0), 1, y))


def xlog1py(x: Any, y: Any, name: str | None = None) -> Any:
    """x * log1p(y), and 0 where x is 0."""
    x, y = (convert_to_tensor(v) for v in _operands(x, y))
    return x * apply("log1p", select(apply("equal", x, 0), 0, y))


def xdivy(x: Any, y: Any, name: str | None = None) -> Any:
    """x / y, and 0 where x is 0."""
    x, y = (convert_to_tensor(v) for v in _operands(x, y))
    return x / select(apply("equal", x, 0), 1, y)


def polyval(coeffs: Sequence[Any], x: Any, name: str | None = None) -> Any:
    """The polynomial with these coefficients (highest power first) at x."""
    if not isinstance(coeffs, list):
        raise ValueError(f"Argument coeffs must be list type. Received type {type(coeffs)}.")
    x = convert_to_tensor(x)
    total: Any = apply("full", shape=tuple(x.sizes), value=0, dtype=x.dtype.name)
    for c in coeffs:
        total = total * x + c
    return total


def add_n(inputs: Sequence[Any], name: str | None = None) -> Any:
    """The sum of tensors of one shape and dtype."""
    if not isinstance(inputs, list | tuple) or not inputs:
        raise ValueError(
            "inputs must be an iterable of at least one Tensor/IndexedSlices with the same dtype and shape."
        )
    tensors = [convert_to_tensor(v) for v in inputs]
    if any(tuple(t.sizes) != tuple(tensors[0].sizes) for t in tensors):
        raise InvalidArgumentError(f"add_n: the shapes must be equal, received {[tuple(t.sizes) for t in tensors]}.")
    total = tensors[0]
    for t in tensors[1:]:
        total = total + t
    return total


def accumulate_n(inputs: Sequence[Any], shape: Any = None, tensor_dtype: Any = None, name: str | None = None) -> Any:
    """The sum of tensors of one shape and dtype, as `add_n`."""
    return add_n(inputs)
