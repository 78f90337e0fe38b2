"""Elementwise functions of analysis: exponentials, logarithms, trigonometry, the error function."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from ..dtypes import FLOATING
from ..kernel.mathlib import ERF_BOTTOM, ERF_LIMIT, ERF_TOP
from .common import Binary, Unary, linspace, pairs, quiet, special_values
from .dispatch import apply
from .op import Case, case
from .parts import by_rows

__all__ = ["erf", "exp", "log", "log1p", "tanh"]


def exp(x: Any) -> Any:
    """e to the power of x."""
    return apply("exp", x)


def log(x: Any) -> Any:
    """The natural logarithm."""
    return apply("log", x)


def log1p(x: Any) -> Any:
    """log(1 + x), accurate near 0."""
    return apply("log1p", x)


def tanh(x: Any) -> Any:
    """The hyperbolic tangent."""
    return apply("tanh", x)


def erf(x: Any) -> Any:
    """The error function."""
    return apply("erf", x)


class Exp(Unary):
    """e to the power of x."""

    name, version, dtypes = "exp", 1, FLOATING
    ufunc = np.exp

    def grad(self, dy: Any, x: Any, *, out: Any) -> Any:
        return (dy * out,)

    def lower(self, ir: Any, x: Any) -> Any:
        return ir.call("exp", x)

    def cases(self) -> Iterator[Case]:
        yield case(linspace(-4.0, 4.0, 101))
        yield from special_values()


class Expm1(Unary):
    """exp(x) - 1, accurate near 0."""

    name, version, dtypes = "expm1", 1, FLOATING
    ufunc = np.expm1

    def grad(self, dy: Any, x: Any, *, out: Any) -> Any:
        return (dy * (out + 1),)

    def lower(self, ir: Any, x: Any) -> Any:
        return ir.call("expm1", x)

    def cases(self) -> Iterator[Case]:
        yield case(linspace(-4.0, 4.0, 101))
        yield from special_values()


class Log(Unary):
    """The natural logarithm; NaN below 0."""

    name, version, dtypes = "log", 1, FLOATING
    ufunc = np.log

    def grad(self, dy: Any, x: Any, *, out: Any) -> Any:
        return (dy / x,)

    def lower(self, ir: Any, x: Any) -> Any:
        return ir.call("log", x)

    def cases(self) -> Iterator[Case]:
        yield case(linspace(0.1, 9.0, 101))
        yield from special_values()


class Log1p(Unary):
    """log(1 + x), accurate near 0."""

    name, version, dtypes = "log1p", 1, FLOATING
    ufunc = np.log1p

    def grad(self, dy: Any, x: Any, *, out: Any) -> Any:
        return (dy / (1 + x),)

    def lower(self, ir: Any, x: Any) -> Any:
        return ir.call("log1p", x)

    def cases(self) -> Iterator[Case]:
        yield case(linspace(-0.9, 9.0, 101))
        yield from special_values()


class Sin(Unary):
    """The sine of an angle in radians."""

    name, version, dtypes = "sin", 1, FLOATING
    ufunc = np.sin

    def grad(self, dy: Any, x: Any, *, out: Any) -> Any:
        return (dy * apply("cos", x),)

    def lower(self, ir: Any, x: Any) -> Any:
        return ir.call("sin", x)

    def cases(self) -> Iterator[Case]:
        yield case(linspace(-6.0, 6.0, 101))
        yield from special_values(large=1000.0)  # beyond, devices reduce the angle with less accuracy


class Cos(Unary):
    """The cosine of an angle in radians."""

    name, version, dtypes = "cos", 1, FLOATING
    ufunc = np.cos

    def grad(self, dy: Any, x: Any, *, out: Any) -> Any:
        return (-dy * apply("sin", x),)

    def lower(self, ir: Any, x: Any) -> Any:
        return ir.call("cos", x)

    def cases(self) -> Iterator[Case]:
        yield case(linspace(-6.0, 6.0, 101))
        yield from special_values(large=1000.0)  # beyond, devices reduce the angle with less accuracy


class Tan(Unary):
    """The tangent of an angle in radians."""

    name, version, dtypes = "tan", 1, FLOATING
    ufunc = np.tan

    def grad(self, dy: Any, x: Any, *, out: Any) -> Any:
        return (dy * (1 + out * out),)

    def lower(self, ir: Any, x: Any) -> Any:
        return ir.call("tan", x)

    def cases(self) -> Iterator[Case]:
        yield case(linspace(-1.4, 1.4, 101))
        yield from special_values(large=1000.0)  # beyond, devices reduce the angle with less accuracy


class Tanh(Unary):
    """The hyperbolic tangent."""

    name, version, dtypes = "tanh", 1, FLOATING
    ufunc = np.tanh

    def grad(self, dy: Any, x: Any, *, out: Any) -> Any:
        return (dy * (1 - out * out),)

    def lower(self, ir: Any, x: Any) -> Any:
        return ir.call("tanh", x)

    def cases(self) -> Iterator[Case]:
        yield case(linspace(-4.0, 4.0, 101))
        yield from special_values()


class Sinh(Unary):
    """The hyperbolic sine."""

    name, version, dtypes = "sinh", 1, FLOATING
    ufunc = np.sinh

    def grad(self, dy: Any, x: Any, *, out: Any) -> Any:
        return (dy * apply("cosh", x),)

    def lower(self, ir: Any, x: Any) -> Any:
        return ir.call("sinh", x)

    def cases(self) -> Iterator[Case]:
        yield case(linspace(-4.0, 4.0, 101))
        yield from special_values()


class Cosh(Unary):
    """The hyperbolic cosine."""

    name, version, dtypes = "cosh", 1, FLOATING
    ufunc = np.cosh

    def grad(self, dy: Any, x: Any, *, out: Any) -> Any:
        return (dy * apply("sinh", x),)

    def lower(self, ir: Any, x: Any) -> Any:
        return ir.call("cosh", x)

    def cases(self) -> Iterator[Case]:
        yield case(linspace(-4.0, 4.0, 101))
        yield from special_values()


class Asin(Unary):
    """The angle whose sine is x; NaN outside [-1, 1]."""

    name, version, dtypes = "asin", 1, FLOATING
    ufunc = np.arcsin

    def grad(self, dy: Any, x: Any, *, out: Any) -> Any:
        return (dy * apply("rsqrt", 1 - x * x),)

    def lower(self, ir: Any, x: Any) -> Any:
        return ir.call("asin", x)

    def cases(self) -> Iterator[Case]:
        yield case(linspace(-0.9, 0.9, 101))
        yield from special_values()


class Acos(Unary):
    """The angle whose cosine is x; NaN outside [-1, 1]."""

    name, version, dtypes = "acos", 1, FLOATING
    ufunc = np.arccos

    def grad(self, dy: Any, x: Any, *, out: Any) -> Any:
        return (-dy * apply("rsqrt", 1 - x * x),)

    def lower(self, ir: Any, x: Any) -> Any:
        return ir.call("acos", x)

    def cases(self) -> Iterator[Case]:
        yield case(linspace(-0.9, 0.9, 101))
        yield from special_values()


class Atan(Unary):
    """The angle whose tangent is x."""

    name, version, dtypes = "atan", 1, FLOATING
    ufunc = np.arctan

    def grad(self, dy: Any, x: Any, *, out: Any) -> Any:
        return (dy / (1 + x * x),)

    def lower(self, ir: Any, x: Any) -> Any:
        return ir.call("atan", x)

    def cases(self) -> Iterator[Case]:
        yield case(linspace(-4.0, 4.0, 101))
        yield from special_values()


class Asinh(Unary):
    """The inverse of sinh."""

    name, version, dtypes = "asinh", 1, FLOATING
    ufunc = np.arcsinh

    def grad(self, dy: Any, x: Any, *, out: Any) -> Any:
        return (dy * apply("rsqrt", 1 + x * x),)

    def lower(self, ir: Any, x: Any) -> Any:
        return ir.call("asinh", x)

    def cases(self) -> Iterator[Case]:
        yield case(linspace(-4.0, 4.0, 101))
        yield from special_values()


class Acosh(Unary):
    """The inverse of cosh; NaN below 1."""

    name, version, dtypes = "acosh", 1, FLOATING
    ufunc = np.arccosh

    def grad(self, dy: Any, x: Any, *, out: Any) -> Any:
        return (dy / apply("sinh", out),)

    def lower(self, ir: Any, x: Any) -> Any:
        return ir.call("acosh", x)

    def cases(self) -> Iterator[Case]:
        yield case(linspace(1.1, 9.0, 101))
        yield case(np.array([np.nan, np.inf, 1.0, 0.5, -1.0], np.float32), gradient=False)
        yield case(np.zeros((0, 3), np.float32))


class Atanh(Unary):
    """The inverse of tanh; NaN outside [-1, 1]."""

    name, version, dtypes = "atanh", 1, FLOATING
    ufunc = np.arctanh

    def grad(self, dy: Any, x: Any, *, out: Any) -> Any:
        return (dy / (1 - x * x),)

    def lower(self, ir: Any, x: Any) -> Any:
        return ir.call("atanh", x)

    def cases(self) -> Iterator[Case]:
        yield case(linspace(-0.9, 0.9, 101))
        yield from special_values()


class Erf(Unary):
    """The error function: 2 / sqrt(pi) times the integral of exp(-t * t) from 0 to x."""

    name, version, dtypes = "erf", 1, FLOATING

    def numpy(self, x: Any) -> Any:
        return quiet(by_rows, erf_array, x.reshape(-1)).reshape(x.shape)

    def grad(self, dy: Any, x: Any, *, out: Any) -> Any:
        return (dy * (TWO_OVER_SQRT_PI * apply("exp", -x * x)),)

    def lower(self, ir: Any, x: Any) -> Any:
        return ir.call("erf", x)

    def cases(self) -> Iterator[Case]:
        yield case(linspace(-3.0, 3.0, 101))
        yield from special_values()


class Erfc(Unary):
    """1 - erf(x), accurate where erf is almost 1."""

    name, version, dtypes = "erfc", 1, FLOATING

    def numpy(self, x: Any) -> Any:
        return quiet(erfc_array, x)

    def grad(self, dy: Any, x: Any, *, out: Any) -> Any:
        return (dy * (-TWO_OVER_SQRT_PI * apply("exp", -x * x)),)

    def lower(self, ir: Any, x: Any) -> Any:
        return ir.call("erfc", x)

    def cases(self) -> Iterator[Case]:
        yield case(linspace(-2.0, 3.0, 101))
        yield from special_values()


class Atan2(Binary):
    """The angle of the point (x, y), from -pi to pi: `atan2(y, x)`."""

    name, version, dtypes = "atan2", 1, FLOATING
    ufunc = np.arctan2

    def grad(self, dy: Any, y: Any, x: Any, *, out: Any) -> Any:
        scaled = dy / (x * x + y * y)
        return scaled * x, -scaled * y

    def lower(self, ir: Any, y: Any, x: Any) -> Any:
        return ir.call("atan2", y, x)

    def cases(self) -> Iterator[Case]:
        yield from pairs(0.3, 3.0)
        yield case(np.array([1.0, -1.0, 1.0, -1.0], np.float32), np.array([2.0, 2.0, -2.0, -2.0], np.float32))
        yield case(
            np.array([0.0, 0.0, 1.0, -1.0], np.float32), np.array([1.0, -1.0, 0.0, 0.0], np.float32), gradient=False
        )


# -- the error function on arrays: numpy has none ----------------------------------------------------------------------

TWO_OVER_SQRT_PI = 2.0 / math.sqrt(math.pi)
# log(erfc(x) * exp(x * x) / t) as a Chebyshev series in 2 * t - 1, where t = 2 / (2 + x), x >= 0; error below 2e-13
ERFC_SERIES = (
    -0.6513268598908547,
    0.6419697923564902,
    0.01947647320418596,
    -0.009561514786808714,
    -0.000946595344481959,
    0.00036683949785277803,
    4.252332480691143e-05,
    -2.0278578112574906e-05,
    -1.6242900045457988e-06,
    1.3036558350539796e-06,
    1.5626441727619085e-08,
    -8.523809631026284e-08,
    6.5290541758885115e-09,
    5.05934336924598e-09,
    -9.913640658238657e-10,
    -2.2736560851150658e-10,
    9.64669355274549e-11,
    2.3943992066301732e-12,
    -6.886425474593493e-12,
    8.944435802096546e-13,
    3.1297958202978343e-13,
    -1.1220559054917097e-13,
    8.115998650047584e-16,
    7.190089994744964e-15,
    -1.6128455992622803e-15,
)


_ERF_TAYLOR = tuple(TWO_OVER_SQRT_PI * (-1) ** n / (math.factorial(n) * (2 * n + 1)) for n in range(18))


def _erfc_positive(x: Any) -> Any:
    t = 2.0 / (2.0 + x)
    return t * np.exp(-x * x + np.polynomial.chebyshev.chebval(2.0 * t - 1.0, np.asarray(ERFC_SERIES)))


def _erf_small(x: Any) -> Any:
    result = np.empty_like(x)
    _horner(result, x * x, _ERF_TAYLOR)  # erf(x) / x in powers of x * x
    return x * result


_ERF_BLOCK = 16384  # elements whose four working arrays stay in the second cache


def erf_array(x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The error function of an array, to one unit in the last place of float32, three of float64."""
    if x.dtype == np.float64:  # a Taylor series up to 1, 1 - erfc beyond
        size = np.abs(x)
        far = np.copysign(1.0 - _erfc_positive(size), x)
        return np.where(size < 1.0, _erf_small(np.clip(x, -1.0, 1.0)), far)
    flat = x.reshape(-1)
    result = np.empty_like(flat)
    work = np.empty((4, min(_ERF_BLOCK, flat.size)))
    for start in range(0, flat.size, _ERF_BLOCK):
        part = flat[start : start + _ERF_BLOCK]
        near, square, top, bottom = work[:, : part.size]
        np.clip(part, -ERF_LIMIT, ERF_LIMIT, out=near)
        np.multiply(near, near, out=square)
        _horner(top, square, ERF_TOP)
        _horner(bottom, square, ERF_BOTTOM)
        top *= near
        top /= bottom
        np.clip(top, -1.0, 1.0, out=result[start : start + _ERF_BLOCK], casting="same_kind")
    return result.reshape(x.shape)


def _horner(result: Any, x: Any, coefficients: tuple[float, ...]) -> None:
    result.fill(coefficients[-1])
    for coefficient in coefficients[-2::-1]:
        result *= x
        result += coefficient


def erfc_array(x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """1 - erf of an array, with full relative accuracy for large x."""
    wide = x.astype(np.float64)  # rounding x * x in float32 would cost digits in the tail
    tail = _erfc_positive(np.abs(wide))
    result = np.where(wide < 0.0, 2.0 - tail, tail)
    return np.where(np.abs(wide) < 0.5, 1.0 - _erf_small(np.clip(wide, -1.0, 1.0)), result).astype(x.dtype, copy=False)
