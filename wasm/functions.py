"""The functions that kernels spend most of their time in, for processors without fast conversions and divisions.

`kernel/mathlib.py` holds every function in a form that all graphics drivers leave alone. What SIMD128 is slow at it
uses freely: float to integer saturates in six instructions, rounding takes eight cycles. Here a number is rounded by
adding and subtracting 1.5 * 2^23, whose last bits then are the integer. A driver may simplify that away;
WebAssembly's arithmetic is exact by definition.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..kernel import mathlib
from ..kernel.ir import F32, U32, Builder, Expr, Store, rewrite
from ..kernel.mathlib import clamp

__all__ = ["FUNCTIONS", "expand"]

_LOG2E, _LN2_HIGH, _LN2_LOW = 1.4426950408889634, 0.693359375, -2.12194440e-4  # high + low = ln 2; high has 9 bits
_SHIFTER = 12582912.0 + 127  # 1.5 * 2^23: numbers beside it are integers; 127 is the exponent of 1
# e^r = 1 + r + r^2 (...), over 0 .. ln 2 and twice over -ln 2 / 2 .. ln 2 / 2
_EXP = (1.0, 1.0, 0.500002319, 0.166631495, 0.0418567167, 0.00786548773, 0.00191423918)
_EXP_BELOW = (1.0, 0.999999702, 0.499991477, 0.166676387, 0.0418981612, 0.00829027221)
_EXPM1 = (1.0, 0.499999932, 0.166665173, 0.0416684272, 0.00836911812, 0.00138137674)


def _split(x: Expr, offset: float) -> tuple[Expr, Expr]:
    """2^n and x - n ln 2, for the integer n nearest to x / ln 2 + offset; 0 for n = -127, infinity for n = 128."""
    ir = x.ir
    shifted = _madd(x, _LOG2E, offset) + _SHIFTER if offset else _madd(x, _LOG2E, _SHIFTER)
    n = shifted - _SHIFTER
    power = ir.bitcast(ir.bitcast(shifted, U32) << ir.const(23, U32), F32)
    return power, _madd(n, -_LN2_LOW, _madd(n, -_LN2_HIGH, x))


def _madd(a: Expr, b: Expr | float, c: Expr | float) -> Expr:
    """a b + c, rounded once or twice."""
    return a.ir.call("fma", a, b, c)


def _polynomial(x: Expr, coefficients: Sequence[float]) -> Expr:
    """c0 + c1 x + c2 x^2 ..."""
    result = x.ir.const(coefficients[-1])
    for c in reversed(coefficients[:-1]):
        result = _madd(result, x, c)
    return result


def _two_chains(x: Expr, coefficients: Sequence[float]) -> Expr:
    """c0 + c1 x + c2 x^2 ..., even and odd powers apart: one multiplication more, half as long to wait."""
    square = x * x
    return _madd(_polynomial(square, coefficients[1::2]), x, _polynomial(square, coefficients[0::2]))


def exp(ir: Builder, x: Expr) -> Expr:
    """e^x; results below the smallest normal number are 0. Rounded down, n spans exactly the exponents of f32."""
    if _is_below_maximum(x):
        power, r = _split(ir.binary("max", x, -88.0), 0.0)
        return _two_chains(r, _EXP_BELOW) * power
    power, r = _split(clamp(x, -88.0, 89.0), -0.5)
    return _two_chains(r, _EXP) * power


def _is_below_maximum(x: Expr) -> bool:
    """Whether x is a number minus the maximum over numbers of which it is one, as in softmax: at most 0, or NaN. The
    power of two nearest to e^x is then finite, and a shorter polynomial over both sides of it does.
    """
    if x.op != "sub" or x.args[1].op != "out":
        return False
    number, out = x.args
    spec, ir = out.args[0].attr, x.ir
    if len(spec.axes) != 1 or spec.accumulators[out.attr].combine != "max":
        return False
    (axis,), value = spec.axes, out.args[0].args[len(spec.accumulators) + out.attr]
    others = [a for a in number.axes if a.extent == axis.extent and a not in out.axes]
    return value is number or any(rewrite([value], {ir.axis(axis): ir.axis(a)})[0] is number for a in others)


def sigmoid(ir: Builder, x: Expr) -> Expr:
    """1 / (1 + e^-x)"""
    return ir.binary("truediv", ir.const(1.0), exp(ir, -x) + 1.0)


def tanh(ir: Builder, x: Expr) -> Expr:
    """The hyperbolic tangent: t / (t + 2) with t = e^(2 |x|) - 1"""
    power, r = _split(ir.binary("min", ir.unary("abs", x), 9.5) * 2.0, 0.0)
    t = _madd(_polynomial(r, _EXPM1) * r, power, power - 1.0)
    sign = ir.bitcast(x, U32) & ir.const(0x80000000, U32)
    return ir.bitcast(ir.bitcast(t / (t + 2.0), U32) | sign, F32)


FUNCTIONS: dict[str, Callable[..., Expr]] = mathlib.FUNCTIONS | {f.__name__: f for f in (exp, sigmoid, tanh)}


def expand(stores: Sequence[Store]) -> tuple[Store, ...]:
    """The stores with every `call` replaced by its operations."""
    return mathlib.expand(stores, FUNCTIONS)
