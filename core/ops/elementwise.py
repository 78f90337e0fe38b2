"""Elementwise ops of two operands, cast, identity and clipping. See also unary, transcendental, activation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..dtypes import ANY, FLOATING, NUMERIC, as_dtype, float32, float64
from ..errors import InvalidArgumentError
from ..shapes import broadcast_shapes
from .common import Binary, Unary, check_dtypes, integer_pairs, linspace, pairs, quiet
from .dispatch import Value, apply
from .op import Case, Elementwise, Spec, case, no_gradient

__all__ = [
    "cast",
    "clip_by_value",
    "maximum",
    "minimum",
    "ones_like",
    "select",
    "square",
    "stop_gradient",
    "zeros_like",
]


def cast(x: Any, dtype: Any) -> Any:
    """The values as another dtype; the same Value if it has it already."""
    dtype = as_dtype(dtype)
    return x if isinstance(x, Value) and x.dtype == dtype else apply("cast", x, dtype=dtype.name)


def select(condition: Any, x: Any, y: Any) -> Any:
    """x where the condition holds, else y; all three broadcast."""
    return apply("select", condition, x, y)


def maximum(x: Any, y: Any) -> Any:
    """The larger of two, NaN if one is NaN."""
    return apply("maximum", x, y)


def minimum(x: Any, y: Any) -> Any:
    """The smaller of two, NaN if one is NaN."""
    return apply("minimum", x, y)


def square(x: Any) -> Any:
    """x * x."""
    return apply("square", x)


def clip_by_value(x: Any, low: Any, high: Any) -> Any:
    """x between two bounds."""
    return apply("clip_by_value", x, low, high)


def stop_gradient(x: Any) -> Any:
    """x, through which no gradient flows."""
    return apply("stop_gradient", x)


def zeros_like(x: Value) -> Any:
    """Zeros of the shape and dtype of x."""
    return apply("full", shape=tuple(x.sizes), value=False if x.dtype.is_bool else 0, dtype=x.dtype.name)


def ones_like(x: Value) -> Any:
    """Ones of the shape and dtype of x."""
    return apply("full", shape=tuple(x.sizes), value=True if x.dtype.is_bool else 1, dtype=x.dtype.name)


# -- two operands ------------------------------------------------------------------------------------------------------


class Add(Binary):
    """x + y."""

    name, version, dtypes = "add", 1, NUMERIC
    ufunc = np.add

    def grad(self, dy: Any, x: Any, y: Any, *, out: Any) -> Any:
        return dy, dy

    def lower(self, ir: Any, x: Any, y: Any) -> Any:
        return x + y

    def cases(self) -> Iterator[Case]:
        yield from pairs()
        yield case(linspace(-1, 1, 70_000), np.float32(0.5), gradient=False)
        yield from integer_pairs()


class Subtract(Binary):
    """x - y."""

    name, version, dtypes = "subtract", 1, NUMERIC
    ufunc = np.subtract

    def grad(self, dy: Any, x: Any, y: Any, *, out: Any) -> Any:
        return dy, -dy

    def lower(self, ir: Any, x: Any, y: Any) -> Any:
        return x - y

    def cases(self) -> Iterator[Case]:
        yield from pairs()
        yield from integer_pairs()


class Multiply(Binary):
    """x * y."""

    name, version, dtypes = "multiply", 1, NUMERIC
    ufunc = np.multiply

    def grad(self, dy: Any, x: Any, y: Any, *, out: Any) -> Any:
        return dy * y, dy * x

    def lower(self, ir: Any, x: Any, y: Any) -> Any:
        return x * y

    def cases(self) -> Iterator[Case]:
        yield from pairs()
        yield from integer_pairs()


class TrueDivide(Binary):
    """x / y. Integers give floats, as in TensorFlow: float64 from 32 and 64 bits, float32 from fewer."""

    name, version, dtypes = "truediv", 1, NUMERIC
    steps = ((np.true_divide, 0, 1),)

    def infer(self, x: Spec, y: Spec) -> Spec:
        check_dtypes(self, x, y)
        dtype = x.dtype if x.dtype.is_floating else float64 if x.dtype.size >= 4 else float32
        return Spec(broadcast_shapes(x.shape, y.shape, op="truediv"), dtype)

    def numpy(self, x: Any, y: Any) -> Any:
        if x.dtype.kind != "f":
            wide = np.float64 if x.dtype.itemsize >= 4 else np.float32
            x, y = x.astype(wide), y.astype(wide)
        return quiet(np.true_divide, x, y)

    def grad(self, dy: Any, x: Any, y: Any, *, out: Any) -> Any:
        return dy / y, dy * (-out / y)

    def lower(self, ir: Any, x: Any, y: Any) -> Any:
        return x / y

    def cases(self) -> Iterator[Case]:
        yield from pairs(0.5, 3.0)
        yield case(
            np.array([1.0, -1.0, 0.0, np.inf], np.float32),
            np.array([0.0, 0.0, 0.0, np.inf], np.float32),
            gradient=False,
        )


class FloorDivide(Binary):
    """x / y, rounded towards minus infinity. Integer division by zero is an error on the host and 0 on a device."""

    name, version, dtypes = "floordiv", 1, NUMERIC
    grad = no_gradient("piecewise constant")

    def numpy(self, x: Any, y: Any) -> Any:
        if x.dtype.kind != "f":
            _check_divisor("floordiv", y)
            return quiet(np.floor_divide, x, y)
        return quiet(lambda a, b: np.floor(a / b), x, y)

    def lower(self, ir: Any, x: Any, y: Any) -> Any:
        if x.dtype == "f32":
            return ir.call("floor", x / y)
        if x.dtype == "u32":
            return ir.select(ir.call("eq", y, 0), ir.const(0, "u32"), ir.call("quot", x, _safe(ir, y)))
        return _floor_divide(ir, x, y)

    def cases(self) -> Iterator[Case]:
        yield from pairs(0.5, 3.0, gradient=False)
        yield from integer_pairs()


class FloorMod(Binary):
    """The remainder of floordiv, with the sign of y. Integers modulo zero: an error on the host, 0 on a device."""

    name, version, dtypes = "floormod", 1, NUMERIC

    def numpy(self, x: Any, y: Any) -> Any:
        if x.dtype.kind != "f":
            _check_divisor("floormod", y)
        return quiet(np.mod, x, y)

    def grad(self, dy: Any, x: Any, y: Any, *, out: Any) -> Any:
        return dy, -dy * apply("floordiv", x, y)

    def lower(self, ir: Any, x: Any, y: Any) -> Any:
        if x.dtype == "f32":
            return _floor_mod_float(ir, x, y)
        if x.dtype == "u32":
            return ir.select(ir.call("eq", y, 0), ir.const(0, "u32"), ir.call("rem", x, _safe(ir, y)))
        return ir.select(ir.call("eq", y, 0), 0, x - _floor_divide(ir, x, y) * y)

    def cases(self) -> Iterator[Case]:
        yield case(np.array([5.3, -5.3, 5.3, -5.3, 0.7], np.float32), np.array([3.1, 3.1, -3.1, -3.1, 2.0], np.float32))
        yield from integer_pairs()


class Pow(Binary):
    """x to the power of y. Integers: y must not be negative."""

    name, version, dtypes = "pow", 1, NUMERIC

    def numpy(self, x: Any, y: Any) -> Any:
        if x.dtype.kind != "f" and np.any(y < 0):
            raise InvalidArgumentError(
                "pow: Integers to negative integer powers are not allowed. Cast to a floating dtype first."
            )
        return quiet(np.power, x, y)

    def grad(self, dy: Any, x: Any, y: Any, *, out: Any) -> Any:
        positive = x > 0  # below 0 there is no real answer; TensorFlow gives 0 there and at 0
        log_x = select(positive, apply("log", select(positive, x, 1)), 0)
        return dy * y * apply("pow", x, y - 1), dy * out * log_x

    def lower(self, ir: Any, x: Any, y: Any) -> Any:
        if x.dtype == "f32":
            return ir.call("pow", x, y)
        result, factor = ir.const(1, x.dtype), x
        for bit in range(31):
            odd = ir.call("ne", ir.call("and", y, ir.const(1 << bit, x.dtype)), 0)
            result = ir.select(odd, result * factor, result)
            factor = factor * factor
        return result

    def cases(self) -> Iterator[Case]:
        yield from pairs(0.5, 3.0)
        yield case(
            np.array([-2.0, -2.0, 0.0, 0.0, -1.5], np.float32),
            np.array([2.0, 3.0, 0.0, 2.0, 0.0], np.float32),
            gradient=False,
        )
        yield case(np.array([2, -3, 0, 7], np.int32), np.array([10, 3, 0, 1], np.int32), gradient=False)


class Maximum(Binary):
    """The larger of x and y, NaN if one is NaN. A tie sends the gradient to x."""

    name, version, dtypes = "maximum", 1, NUMERIC
    ufunc = np.maximum

    def grad(self, dy: Any, x: Any, y: Any, *, out: Any) -> Any:
        first = x >= y
        return select(first, dy, 0), select(first, 0, dy)

    def lower(self, ir: Any, x: Any, y: Any) -> Any:
        return ir.call("max", x, y)

    def cases(self) -> Iterator[Case]:
        yield from pairs()
        yield from _ordered()


class Minimum(Binary):
    """The smaller of x and y, NaN if one is NaN. A tie sends the gradient to x."""

    name, version, dtypes = "minimum", 1, NUMERIC
    ufunc = np.minimum

    def grad(self, dy: Any, x: Any, y: Any, *, out: Any) -> Any:
        first = x <= y
        return select(first, dy, 0), select(first, 0, dy)

    def lower(self, ir: Any, x: Any, y: Any) -> Any:
        return ir.call("min", x, y)

    def cases(self) -> Iterator[Case]:
        yield from pairs()
        yield from _ordered()


class SquaredDifference(Binary):
    """(x - y) * (x - y)."""

    name, version, dtypes = "squared_difference", 1, NUMERIC
    steps = ((np.subtract, 0, 1), (np.square, -1))

    def numpy(self, x: Any, y: Any) -> Any:
        return quiet(lambda a, b: np.square(a - b), x, y)

    def grad(self, dy: Any, x: Any, y: Any, *, out: Any) -> Any:
        dx = dy * (2 * (x - y))
        return dx, -dx

    def lower(self, ir: Any, x: Any, y: Any) -> Any:
        difference = x - y
        return difference * difference

    def cases(self) -> Iterator[Case]:
        yield from pairs()
        yield from integer_pairs()


class DivideNoNan(Binary):
    """x / y, and 0 where y is 0."""

    name, version, dtypes = "divide_no_nan", 1, FLOATING

    def numpy(self, x: Any, y: Any) -> Any:
        return quiet(lambda a, b: np.where(b == 0, a.dtype.type(0), a / b), x, y)

    def grad(self, dy: Any, x: Any, y: Any, *, out: Any) -> Any:
        return apply("divide_no_nan", dy, y), dy * apply("divide_no_nan", -out, y)

    def lower(self, ir: Any, x: Any, y: Any) -> Any:
        return ir.select(ir.call("eq", y, 0.0), 0.0, x / y)

    def cases(self) -> Iterator[Case]:
        yield from pairs(0.5, 3.0)
        yield case(
            np.array([1.0, np.nan, np.inf, 0.0, 4.0], np.float32),
            np.array([0.0, 0.0, 0.0, 0.0, 2.0], np.float32),
            gradient=False,
        )


class MultiplyNoNan(Binary):
    """x * y, and 0 where y is 0, even if x is infinite or NaN."""

    name, version, dtypes = "multiply_no_nan", 1, FLOATING

    def numpy(self, x: Any, y: Any) -> Any:
        return quiet(lambda a, b: np.where(b == 0, a.dtype.type(0), a * b), x, y)

    def grad(self, dy: Any, x: Any, y: Any, *, out: Any) -> Any:
        return apply("multiply_no_nan", dy, y), apply("multiply_no_nan", x, dy)

    def lower(self, ir: Any, x: Any, y: Any) -> Any:
        return ir.select(ir.call("eq", y, 0.0), 0.0, x * y)

    def cases(self) -> Iterator[Case]:
        yield from pairs(0.5, 3.0)
        yield case(np.array([1.0, np.nan, np.inf], np.float32), np.zeros(3, np.float32), gradient=False)


# -- other -------------------------------------------------------------------------------------------------------------


class Cast(Elementwise):
    """The values as another dtype. A float becomes an integer by dropping its fraction, a bool by 0 and 1."""

    name, version, dtypes = "cast", 1, ANY

    def infer(self, x: Spec, *, dtype: str) -> Spec:
        check_dtypes(self, x)
        return Spec(x.shape, as_dtype(dtype))

    def numpy(self, x: Any, *, dtype: str) -> Any:
        target = as_dtype(dtype).numpy
        return quiet(lambda a: a.astype(target), x)

    def grad(self, dy: Any, x: Any, *, out: Any, dtype: str) -> Any:
        return (cast(dy, x.dtype) if x.dtype.is_floating and as_dtype(dtype).is_floating else None,)

    def lower(self, ir: Any, x: Any, *, dtype: str) -> Any:
        return ir.cast(x, as_dtype(dtype).device or "i32")  # an int64 value is kept as i32 on a device

    def cases(self) -> Iterator[Case]:
        yield case(linspace(-4.0, 4.0, 101), dtype="int32", gradient=False)
        yield case(linspace(-4.0, 4.0, 11), dtype="float32")
        yield case(np.array([0.0, -0.0, 0.5, np.nan], np.float32), dtype="bool", gradient=False)
        yield case(np.array([3, -4, 0], np.int32), dtype="float32", gradient=False)
        yield case(np.array([True, False]), dtype="float32", gradient=False)
        yield case(np.array([True, False]), dtype="int32", gradient=False)
        yield case(np.zeros((0, 2), np.float32), dtype="int32", gradient=False)


class Identity(Unary):
    """x."""

    name, version, dtypes = "identity", 1, ANY

    def numpy(self, x: Any) -> Any:
        return x

    def grad(self, dy: Any, x: Any, *, out: Any) -> Any:
        return (dy,)

    def lower(self, ir: Any, x: Any) -> Any:
        return x

    def cases(self) -> Iterator[Case]:
        yield case(linspace(-4.0, 4.0, 11))
        yield case(np.array([True, False]), gradient=False)


class StopGradient(Unary):
    """x, through which no gradient flows."""

    name, version, dtypes = "stop_gradient", 1, ANY
    grad = no_gradient("that is its purpose")

    def numpy(self, x: Any) -> Any:
        return x

    def lower(self, ir: Any, x: Any) -> Any:
        return x

    def cases(self) -> Iterator[Case]:
        yield case(linspace(-4.0, 4.0, 11))


class ClipByValue(Elementwise):
    """x between `low` and `high`, which broadcast. Where x was outside, the gradient goes to the bound."""

    name, version, dtypes = "clip_by_value", 1, NUMERIC

    def infer(self, x: Spec, low: Spec, high: Spec) -> Spec:
        check_dtypes(self, x, low, high)
        return Spec(broadcast_shapes(x.shape, low.shape, high.shape, op="clip_by_value"), x.dtype)

    def numpy(self, x: Any, low: Any, high: Any) -> Any:
        return quiet(lambda a, lo, hi: np.maximum(np.minimum(a, hi), lo), x, low, high)

    def grad(self, dy: Any, x: Any, low: Any, high: Any, *, out: Any) -> Any:
        below, above = x < low, x > high
        inside = apply("logical_and", x >= low, x <= high)  # false for NaN
        return select(inside, dy, 0), select(below, dy, 0), select(above, dy, 0)

    def lower(self, ir: Any, x: Any, low: Any, high: Any) -> Any:
        return ir.call("max", ir.call("min", x, high), low)

    def cases(self) -> Iterator[Case]:
        yield case(linspace(-4.0, 4.0, 100), np.float32(-1.5), np.float32(2.5))
        yield case(
            np.array([np.nan, np.inf, -np.inf, 0.0], np.float32), np.float32(-1.0), np.float32(1.0), gradient=False
        )
        yield case(np.array([3, -4, 0], np.int32), np.int32(-1), np.int32(2), gradient=False)


def _ordered() -> Iterator[Case]:
    special = np.array([np.nan, np.inf, -np.inf, 0.0, 1.0], np.float32)
    yield case(special[:, None], special[None, :], gradient=False)
    yield from integer_pairs()


def _check_divisor(op: str, y: Any) -> None:
    if not np.all(y):
        raise InvalidArgumentError(
            f"{op}: Integer division by zero. Mask the zeros first, for example with tf.where(y == 0, 1, y)."
        )


def _safe(ir: Any, y: Any) -> Any:
    return ir.select(ir.call("eq", y, 0), ir.const(1, y.dtype), y)


def _floor_divide(ir: Any, x: Any, y: Any) -> Any:
    """Floor division of i32; 0 where y is 0. Hardware traps or differs at -2**31 / -1, so -1 is a case of its own."""
    special = ir.call("or", ir.call("eq", y, 0), ir.call("eq", y, -1))
    divisor = ir.select(special, 1, y)
    quotient, rest = ir.call("quot", x, divisor), ir.call("rem", x, divisor)
    uneven = ir.call("and", ir.call("ne", rest, 0), ir.call("lt", ir.call("xor", rest, divisor), 0))
    floored = ir.select(uneven, quotient - 1, quotient)
    return ir.select(special, ir.select(ir.call("eq", y, 0), 0, -x), floored)


def _floor_mod_float(ir: Any, x: Any, y: Any) -> Any:
    """Remainder with the sign of y. The rounded quotient may be one off: the rest is then brought back into range."""
    rest = ir.call("fma", -ir.call("floor", x / y), y, x)
    inside = ir.select(ir.call("lt", ir.call("sign", rest) * ir.call("sign", y), 0.0), rest + y, rest)
    return ir.select(ir.call("ge", ir.call("abs", inside), ir.call("abs", y)), inside - y, inside)
