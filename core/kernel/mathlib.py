"""Transcendental functions as kernel IR, written once for every target that has none of its own or none that is
accurate.

Each function takes a Builder and f32 expressions and returns an f32 expression of plain operations. NaN gives NaN.
The largest error against float64, measured by tests/unit/core/kernel/test_mathlib.py on its stated domain, is in
`MAX_ERROR`, in units of the last place (ulp) of the result; results below the smallest normal number may be off by a
few of the smallest steps. Polynomials are minimax fits (Lawson iteration) of this project.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from .ir import F32, I32, U32, Builder, Expr, Store, rebuild, store_roots, walk

__all__ = ["ERF_BOTTOM", "ERF_LIMIT", "ERF_TOP", "FUNCTIONS", "MAX_ERROR", "clamp", "expand", "polynomial"]

# ulp on the domain of the test; sin, cos, tan for |x| <= 10000
MAX_ERROR = {
    "exp": 2.0,
    "expm1": 3.0,
    "log": 2.0,
    "log1p": 3.0,
    "sin": 2.5,
    "cos": 2.5,
    "tan": 5.0,
    "tanh": 4.0,
    "sinh": 4.0,
    "cosh": 3.0,
    "asin": 4.0,
    "acos": 4.0,
    "atan": 3.0,
    "asinh": 5.0,
    "acosh": 5.0,
    "atanh": 5.0,
    "erf": 8.0,
    "erfc": 12.0,
    "pow": 16.0,
    "atan2": 4.0,
    "sigmoid": 4.0,
}

_LOG2E, _LN2_HIGH, _LN2_LOW = 1.4426950408889634, 0.693359375, -2.12194440e-4  # high + low = ln 2; high has 9 bits
_INF = float("inf")
_EXP = (0.500000006, 0.166665425, 0.0416662807, 0.00836664408, 0.00139465519)
_LOG = (
    0.333333104,
    -0.249999866,
    0.200022267,
    -0.166692496,
    0.142186557,
    -0.123843685,
    0.118730129,
    -0.11789705,
    0.0691516552,
)
_SIN = (-0.166666549, 0.00833217355, -0.000195166565)
_COS = (0.0416666467, -0.00138873614, 2.44377293e-05)
_ATAN = (-0.333333153, 0.199984786, -0.142436288, 0.105942785, -0.0607886158)
_ASIN = (0.16666756, 0.0749515014, 0.0454896051, 0.02408125, 0.0423385897)
_SINH = (0.166666665, 0.0083333506, 0.000198360663, 2.81743934e-06)
_ERF = (1.12837917, -0.376126258, 0.112835853, -0.0268538161, 0.0051883345, -0.000801024768, 7.85402638e-05)
_ERFCX = (
    0.179001152,
    -0.326233569,
    0.24560367,
    -0.150115447,
    0.0716683097,
    -0.0243987314,
    0.00425198495,
    0.000735943223,
    -0.00054426362,
)  # exp(x^2) erfc(x) in (x - 3) / (x + 3)

# erf(x) = x top(x^2) / bottom(x^2) up to the limit, from where it is 1 in float32
ERF_LIMIT = 3.95
ERF_TOP = (
    1.1283791439336683,
    0.19154011558190723,
    0.052873874615689945,
    0.0038076628473636526,
    0.00028466663783990593,
    2.025859478477167e-06,
)
ERF_BOTTOM = (
    1.0,
    0.5030806863804395,
    0.11455520797966721,
    0.0150540986096721,
    0.0011705863172604728,
    3.783018726123467e-05,
)


def expand(
    stores: Sequence[Store], functions: Mapping[str, Callable[..., Expr]] | None = None
) -> tuple[Store, ...]:
    """The stores with every `call` replaced by its operations, those of `functions` (FUNCTIONS if None)."""
    functions = FUNCTIONS if functions is None else functions
    roots = store_roots(list(stores))
    nodes = walk(roots)
    if not any(x.op == "call" for x in nodes):
        return tuple(stores)
    done: dict[Expr, Expr] = {}
    for x in nodes:
        args = tuple(done[a] for a in x.args)
        if x.op == "call":
            done[x] = functions[x.attr](x.ir, *args)
        else:
            done[x] = x if all(a is b for a, b in zip(args, x.args, strict=True)) else rebuild(x, args)
    return tuple(
        replace(s, index=done[s.index], value=done[s.value], valid=None if s.valid is None else done[s.valid])
        for s in stores
    )


def polynomial(x: Expr, coefficients: Sequence[float]) -> Expr:
    """c0 + c1 x + c2 x^2 ..."""
    ir = x.ir
    result = ir.const(coefficients[-1])
    for c in reversed(coefficients[:-1]):
        result = result * x + c
    return result


def _abs(x: Expr) -> Expr:
    return x.ir.unary("abs", x)


def clamp(x: Expr, low: float, high: float) -> Expr:
    return x.ir.binary("min", x.ir.binary("max", x, low), high)


def _with_sign(magnitude: Expr, sign: Expr) -> Expr:
    """The magnitude, which is not negative, with the sign bit of another value."""
    ir = magnitude.ir
    bit = ir.bitcast(sign, U32) & ir.const(0x80000000, U32)
    return ir.bitcast(ir.bitcast(magnitude, U32) | bit, F32)


def _top(x: Expr) -> Expr:
    """x with 12 significant bits, so that products of two such values are exact."""
    ir = x.ir
    return ir.bitcast(ir.bitcast(x, U32) & ir.const(0xFFFFF000, U32), F32)


def _power_of_two(n: Expr) -> Expr:
    """2^n for an integer n in -126 .. 127."""
    ir = n.ir
    return ir.bitcast((n + 127) << ir.const(23), F32)


def _halves(n: Expr) -> tuple[Expr, Expr]:
    """Two powers of two whose product is 2^n, for n in -252 .. 254."""
    half = n >> n.ir.const(1)
    return _power_of_two(half), _power_of_two(n - half)


def _reduce_exp(x: Expr) -> tuple[Expr, Expr]:
    """n and r with x = n ln 2 + r and |r| <= ln 2 / 2."""
    ir = x.ir
    n = ir.unary("round", x * _LOG2E)
    return ir.cast(n, I32), x - n * _LN2_HIGH - n * _LN2_LOW


def _exp(x: Expr, shift: int = 0) -> Expr:
    """exp(x) * 2^shift"""
    n, r = _reduce_exp(clamp(x, -104.0, 90.0))
    high, low = _halves(n + shift)
    return (polynomial(r, _EXP) * (r * r) + r + 1.0) * high * low


def exp(ir: Builder, x: Expr) -> Expr:
    """e^x"""
    return _exp(x)


def expm1(ir: Builder, x: Expr) -> Expr:
    """e^x - 1, accurate near 0"""
    n, r = _reduce_exp(clamp(x, -18.0, 90.0))
    high, low = _halves(n)
    p = polynomial(r, _EXP) * (r * r) + r
    inverse = _power_of_two(n.ir.binary("sub", n >> n.ir.const(1), n))  # 1 / low
    return (p * high + (high - inverse)) * low


def _split_log(x: Expr) -> tuple[Expr, Expr]:
    """e and f with x = 2^e (1 + f) and sqrt(1/2) <= 1 + f < sqrt(2), for positive x."""
    ir = x.ir
    tiny = x < 1.17549435e-38
    bits = ir.bitcast(ir.select(tiny, x * 8388608.0, x), I32)
    shifted = bits - 0x3F3504F3  # the bits of sqrt(1/2)
    e = ir.cast(shifted >> ir.const(23), F32) - ir.select(tiny, ir.const(23.0), ir.const(0.0))
    mantissa = (shifted & ir.const(0x7FFFFF)) + 0x3F3504F3
    return e, ir.bitcast(mantissa, F32) - 1.0


def _log_special(x: Expr, result: Expr) -> Expr:
    ir = x.ir
    result = ir.select(x.eq(_INF), x, result)
    result = ir.select(x.eq(0.0), ir.const(-_INF), result)
    return ir.select(x >= 0.0, result, ir.const(float("nan")))


def _log_part(f: Expr) -> Expr:
    """log(1 + f) - f for sqrt(1/2) <= 1 + f < sqrt(2), but for f^2 / 2"""
    return polynomial(f, _LOG) * (f * f * f)


def log(ir: Builder, x: Expr) -> Expr:
    """The natural logarithm; -infinity at 0, NaN below"""
    e, f = _split_log(x)
    small = _log_part(f) + e * _LN2_LOW - f * f * 0.5
    return _log_special(x, f + small + e * _LN2_HIGH)


def log1p(ir: Builder, x: Expr) -> Expr:
    """log(1 + x), accurate near 0"""
    # no correction by x - ((1 + x) - 1): graphics drivers simplify that to 0
    near = (x > -0.29) & (x < 0.41)
    return ir.select(near, x + (_log_part(x) - x * x * 0.5), log(ir, x + 1.0))


def sigmoid(ir: Builder, x: Expr) -> Expr:
    """1 / (1 + e^-x)"""
    return ir.binary("truediv", ir.const(1.0), _exp(-x) + 1.0)


def _reduce_angle(x: Expr) -> tuple[Expr, Expr]:
    """The quadrant (mod 4) and the rest in -pi/4 .. pi/4."""
    ir = x.ir
    k = ir.unary("round", x * 0.6366197723675814)
    r = x - k * 1.5703125 - k * 4.83751296997e-4 - k * 7.54978995489e-8  # pi / 2 in three parts
    return ir.cast(k, I32) & ir.const(3), clamp(r, -0.8, 0.8)


def _sine(r: Expr) -> Expr:
    square = r * r
    return polynomial(square, _SIN) * (square * r) + r


def _cosine(r: Expr) -> Expr:
    square = r * r
    return polynomial(square, _COS) * (square * square) + (square * -0.5 + 1.0)


def _quadrant(r: Expr, quadrant: Expr) -> Expr:
    """sin(r + quadrant pi / 2)"""
    ir = r.ir
    value = ir.select((quadrant & ir.const(1)).eq(0), _sine(r), _cosine(r))
    return ir.select((quadrant & ir.const(2)).eq(0), value, -value)


def sin(ir: Builder, x: Expr) -> Expr:
    """The sine of an angle in radians"""
    quadrant, r = _reduce_angle(x)
    return _quadrant(r, quadrant)


def cos(ir: Builder, x: Expr) -> Expr:
    """The cosine of an angle in radians"""
    quadrant, r = _reduce_angle(x)
    return _quadrant(r, quadrant + 1)


def tan(ir: Builder, x: Expr) -> Expr:
    """The tangent of an angle in radians"""
    quadrant, r = _reduce_angle(x)
    s, c = _sine(r), _cosine(r)
    even = (quadrant & ir.const(1)).eq(0)
    return ir.select(even, s, -c) / ir.select(even, c, s)


def tanh(ir: Builder, x: Expr) -> Expr:
    """The hyperbolic tangent"""
    t = expm1(ir, ir.binary("min", _abs(x), 9.5) * 2.0)
    return _with_sign(t / (t + 2.0), x)


def sinh(ir: Builder, x: Expr) -> Expr:
    """The hyperbolic sine"""
    a = _abs(x)
    half = _exp(a, -1)
    square = x * x
    small = polynomial(square, _SINH) * (square * x) + x
    large = half - ir.binary("truediv", ir.const(0.25), half)
    return ir.select(a < 1.0, small, _with_sign(large, x))


def cosh(ir: Builder, x: Expr) -> Expr:
    """The hyperbolic cosine"""
    half = _exp(_abs(x), -1)
    return half + ir.binary("truediv", ir.const(0.25), half)


def _arctangent(a: Expr) -> Expr:
    """atan of a value that is not negative"""
    ir = a.ir
    large, middle = a > 2.414213562373095, a > 0.4142135623730951
    top = ir.select(large, ir.const(-1.0), ir.select(middle, a - 1.0, a))
    bottom = ir.select(large, a, ir.select(middle, a + 1.0, ir.const(1.0)))
    r = top / bottom
    square = r * r
    start = ir.select(
        large, ir.const(1.5707963267948966), ir.select(middle, ir.const(0.7853981633974483), ir.const(0.0))
    )
    return start + (polynomial(square, _ATAN) * (square * r) + r)


def atan(ir: Builder, x: Expr) -> Expr:
    """The arc tangent"""
    return ir.keep_nan(x, _with_sign(_arctangent(_abs(x)), x))


def atan2(ir: Builder, y: Expr, x: Expr) -> Expr:
    """The angle of the point (x, y), -pi .. pi"""
    ay, ax = _abs(y), _abs(x)
    both = ir.binary("and", ay.eq(_INF), ax.eq(_INF))
    none = ir.binary("and", ay.eq(0.0), ax.eq(0.0))
    ratio = ir.select(none, ir.const(0.0), ir.select(both, ir.const(1.0), ay / ir.select(none, ir.const(1.0), ax)))
    angle = _arctangent(ratio)
    negative = ir.bitcast(x, I32) < 0
    angle = ir.select(negative, ir.const(3.141592653589793) - angle - 8.742278e-8, angle)
    nan = ir.binary("or", ir.unary("isnan", x), ir.unary("isnan", y))
    return ir.select(nan, ir.const(float("nan")), _with_sign(angle, y))


def _arcsine_part(a: Expr) -> tuple[Expr, Expr]:
    """Whether a > 1/2, and asin of a (if not) or of sqrt((1 - a) / 2) (if so)."""
    ir = a.ir
    large = a > 0.5
    square = ir.select(large, (a * -0.5) + 0.5, a * a)
    r = ir.select(large, ir.unary("sqrt", square), a)
    return large, polynomial(square, _ASIN) * (square * r) + r


def asin(ir: Builder, x: Expr) -> Expr:
    """The arc sine; NaN outside -1 .. 1"""
    large, part = _arcsine_part(_abs(x))
    return ir.keep_nan(x, _signed_or_nan(ir.select(large, ir.const(1.5707963267948966) - part * 2.0, part), x))


def _signed_or_nan(value: Expr, sign: Expr) -> Expr:
    return value.ir.select(value.ir.unary("isnan", value), value, _with_sign(value, sign))


def acos(ir: Builder, x: Expr) -> Expr:
    """The arc cosine; NaN outside -1 .. 1"""
    large, part = _arcsine_part(_abs(x))
    double = part * 2.0
    far = ir.select(x > 0.0, double, ir.const(3.141592653589793) - double)
    signed = ir.select(x < 0.0, -part, part)
    return ir.select(large, far, ir.const(1.5707963267948966) - signed)


def asinh(ir: Builder, x: Expr) -> Expr:
    """The inverse hyperbolic sine"""
    a = _abs(x)
    large = a > 1e9
    near = ir.binary("min", a, 1e9)
    square = near * near
    grown = near + square / (ir.unary("sqrt", square + 1.0) + 1.0)
    value = log1p(ir, ir.select(large, a - 1.0, grown)) + ir.select(large, ir.const(0.6931471805599453), ir.const(0.0))
    return ir.keep_nan(x, _with_sign(_abs(value), x))


def acosh(ir: Builder, x: Expr) -> Expr:
    """The inverse hyperbolic cosine; NaN below 1"""
    large = x > 1e9
    t = ir.binary("min", x, 1e9) - 1.0
    grown = t + ir.unary("sqrt", t * t + t * 2.0)
    result = log1p(ir, ir.select(large, x - 1.0, grown)) + ir.select(large, ir.const(0.6931471805599453), ir.const(0.0))
    return ir.select(x >= 1.0, result, ir.const(float("nan")))


def atanh(ir: Builder, x: Expr) -> Expr:
    """The inverse hyperbolic tangent; infinite at -1 and 1, NaN outside"""
    a = _abs(x)
    value = log1p(ir, a * 2.0 / (ir.const(1.0) - a)) * 0.5
    return ir.select(a > 1.0, ir.const(float("nan")), ir.keep_nan(x, _with_sign(_abs(value), x)))


def _erfc_large(a: Expr) -> Expr:
    """erfc of a >= 1/2, the exponential accurate where a^2 is large."""
    near = a.ir.binary("min", a, 10.2)
    top = _top(near)
    return polynomial((near - 3.0) / (near + 3.0), _ERFCX) * _exp(-(top * top)) * _exp((top - near) * (top + near))


def erf(ir: Builder, x: Expr) -> Expr:
    """The error function"""
    near = clamp(x, -ERF_LIMIT, ERF_LIMIT)
    square = near * near
    return clamp(near * polynomial(square, ERF_TOP) / polynomial(square, ERF_BOTTOM), -1.0, 1.0)


def erfc(ir: Builder, x: Expr) -> Expr:
    """1 - erf(x), accurate where that is small"""
    a = _abs(x)
    tail = _erfc_large(a)
    near = ir.const(1.0) - polynomial(x * x, _ERF) * x
    return ir.keep_nan(x, ir.select(a < 0.5, near, ir.select(x < 0.0, ir.const(2.0) - tail, tail)))


def _pow_positive(a: Expr, y: Expr) -> Expr:
    """a^y for positive finite a: the logarithm in two floats, so that a large exponent does not lose what it
    multiplies.
    """
    ir = a.ir
    e, f = _split_log(a)
    top = _top(f)
    high = f - top * top * 0.5
    low = (f - high) - top * top * 0.5 + (polynomial(f, _LOG) * (f * f * f) - (f - top) * (f + top) * 0.5)
    top = _top(high)
    log_high = top * 1.4423828125  # 12 bits of log2 e
    log_low = (high - top) * 1.4423828125 + high * 3.1222838896e-04 + low * _LOG2E
    total = e + log_high
    log_low = log_low + (log_high - (total - e))
    y = clamp(y, -3.4e10, 3.4e10)
    y_top, total_top = _top(y), _top(total)
    product = y_top * total_top
    rest = y_top * (total - total_top) + (y - y_top) * total + y * log_low
    whole = product + rest
    far = _abs(whole) > 160.0
    n = ir.unary("round", clamp(whole, -160.0, 160.0))
    r = ir.select(far, ir.const(0.0), (product - n) + rest) * 0.6931471805599453
    first, second = _halves(ir.cast(n, I32))
    return (polynomial(r, _EXP) * (r * r) + r + 1.0) * first * second


def pow(ir: Builder, x: Expr, y: Expr) -> Expr:
    """x^y as in C: a negative x needs a whole y; anything^0 = 1"""
    a = _abs(x)
    result = _pow_positive(a, y)
    up = y > 0.0
    zero = a.eq(0.0)
    outside = ir.binary("or", zero, a.eq(_INF))
    result = ir.select(outside, ir.select(ir.binary("xor", zero, up), ir.const(_INF), ir.const(0.0)), result)
    whole = ir.unary("floor", y).eq(y)
    odd = ir.binary("and", _abs(y) < 16777216.0, (ir.cast(clamp(y, -16777216.0, 16777216.0), I32) & ir.const(1)).eq(1))
    odd = ir.binary("and", odd, whole)
    negative = ir.bitcast(x, I32) < 0
    result = ir.select(ir.binary("and", negative, odd), -result, result)
    undefined = ir.binary("and", ir.binary("and", x < 0.0, ir.unary("not", whole)), a < _INF)
    result = ir.select(undefined, ir.const(float("nan")), result)
    nan = ir.binary("or", ir.unary("isnan", x), ir.unary("isnan", y))
    one = ir.binary("or", y.eq(0.0), x.eq(1.0))
    return ir.select(one, ir.const(1.0), ir.select(nan, ir.const(float("nan")), result))


FUNCTIONS: dict[str, Callable[..., Expr]] = {
    f.__name__: f
    for f in (
        exp,
        expm1,
        log,
        log1p,
        sin,
        cos,
        tan,
        tanh,
        sinh,
        cosh,
        asin,
        acos,
        atan,
        asinh,
        acosh,
        atanh,
        erf,
        erfc,
        pow,
        atan2,
        sigmoid,
    )
}
