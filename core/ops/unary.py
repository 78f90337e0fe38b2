"""Elementwise arithmetic of one operand: signs, powers of one half, rounding."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..dtypes import FLOATING, NUMERIC
from .common import Unary, linspace, quiet, special_values
from .dispatch import apply
from .elementwise import zeros_like
from .op import Case, case, no_gradient

__all__: list[str] = []


class Negative(Unary):
    """-x."""

    name, version, dtypes = "negative", 1, NUMERIC
    ufunc = np.negative

    def grad(self, dy: Any, x: Any, *, out: Any) -> Any:
        return (-dy,)

    def lower(self, ir: Any, x: Any) -> Any:
        return -x

    def cases(self) -> Iterator[Case]:
        yield case(linspace(-4.0, 4.0, 101))
        yield from special_values()
        yield case(np.array([3, -4, 0], np.int32), gradient=False)


class Abs(Unary):
    """The magnitude of each element."""

    name, version, dtypes = "abs", 1, NUMERIC
    ufunc = np.abs

    def grad(self, dy: Any, x: Any, *, out: Any) -> Any:
        return (dy * apply("sign", x),)

    def lower(self, ir: Any, x: Any) -> Any:
        return x if x.dtype == "u32" else ir.call("abs", x)

    def cases(self) -> Iterator[Case]:
        yield case(linspace(-4.0, 4.0, 100))
        yield from special_values()
        yield case(np.array([3, -4, 0], np.int32), gradient=False)


class Sign(Unary):
    """-1, 0 or 1; NaN stays NaN."""

    name, version, dtypes = "sign", 1, NUMERIC
    ufunc = np.sign

    def grad(self, dy: Any, x: Any, *, out: Any) -> Any:
        return (zeros_like(x),)

    def lower(self, ir: Any, x: Any) -> Any:
        zero, one = ir.const(0, x.dtype), ir.const(1, x.dtype)
        positive = ir.select(ir.call("gt", x, zero), one, zero)
        if x.dtype == "u32":
            return positive
        signed = ir.select(ir.call("lt", x, zero), ir.const(-1, x.dtype), positive)
        return ir.keep_nan(x, signed) if x.dtype == "f32" else signed

    def cases(self) -> Iterator[Case]:
        yield case(linspace(-4.0, 4.0, 100))
        yield from special_values()
        yield case(np.array([3, -4, 0], np.int32), gradient=False)


class Square(Unary):
    """x * x."""

    name, version, dtypes = "square", 1, NUMERIC
    ufunc = np.square

    def grad(self, dy: Any, x: Any, *, out: Any) -> Any:
        return (dy * (2 * x),)

    def lower(self, ir: Any, x: Any) -> Any:
        return x * x

    def cases(self) -> Iterator[Case]:
        yield case(linspace(-4.0, 4.0, 101))
        yield from special_values()
        yield case(np.array([3, -4, 0], np.int32), gradient=False)


class Sqrt(Unary):
    """The square root; NaN below 0."""

    name, version, dtypes = "sqrt", 1, FLOATING
    ufunc = np.sqrt

    def grad(self, dy: Any, x: Any, *, out: Any) -> Any:
        return (apply("multiply_no_nan", 0.5 / out, dy),)  # 0 where dy is 0, so that a masked NaN stays masked

    def lower(self, ir: Any, x: Any) -> Any:
        return ir.call("sqrt", x)

    def cases(self) -> Iterator[Case]:
        yield case(linspace(0.1, 9.0, 101))
        yield from special_values()


class Rsqrt(Unary):
    """1 / sqrt(x)."""

    name, version, dtypes = "rsqrt", 1, FLOATING
    steps = ((np.sqrt, 0), (np.true_divide, 1.0, -1))

    def numpy(self, x: Any) -> Any:
        return quiet(lambda a: 1 / np.sqrt(a), x)

    def grad(self, dy: Any, x: Any, *, out: Any) -> Any:
        return (apply("multiply_no_nan", -0.5 * out * out * out, dy),)

    def lower(self, ir: Any, x: Any) -> Any:
        return ir.call("rsqrt", x)

    def cases(self) -> Iterator[Case]:
        yield case(linspace(0.1, 9.0, 101))
        yield from special_values()


class Reciprocal(Unary):
    """1 / x."""

    name, version, dtypes = "reciprocal", 1, FLOATING
    steps = ((np.true_divide, 1.0, 0),)

    def numpy(self, x: Any) -> Any:
        return quiet(lambda a: 1 / a, x)

    def grad(self, dy: Any, x: Any, *, out: Any) -> Any:
        return (-dy * (out * out),)

    def lower(self, ir: Any, x: Any) -> Any:
        return 1.0 / x

    def cases(self) -> Iterator[Case]:
        yield case(linspace(0.1, 9.0, 101))
        yield from special_values()


class Floor(Unary):
    """The largest whole number not above x."""

    name, version, dtypes = "floor", 1, FLOATING
    grad = no_gradient("piecewise constant")
    ufunc = np.floor

    def lower(self, ir: Any, x: Any) -> Any:
        return ir.call("floor", x)

    def cases(self) -> Iterator[Case]:
        yield case(linspace(-4.0, 4.0, 101))
        yield from special_values()


class Ceil(Unary):
    """The smallest whole number not below x."""

    name, version, dtypes = "ceil", 1, FLOATING
    grad = no_gradient("piecewise constant")
    ufunc = np.ceil

    def lower(self, ir: Any, x: Any) -> Any:
        return ir.call("ceil", x)

    def cases(self) -> Iterator[Case]:
        yield case(linspace(-4.0, 4.0, 101))
        yield from special_values()


class Round(Unary):
    """The nearest whole number; halves go to the even one."""

    name, version, dtypes = "round", 1, NUMERIC
    grad = no_gradient("piecewise constant")

    def numpy(self, x: Any) -> Any:
        return quiet(np.rint, x) if x.dtype.kind == "f" else x

    def lower(self, ir: Any, x: Any) -> Any:
        return ir.call("round", x) if x.dtype == "f32" else x

    def cases(self) -> Iterator[Case]:
        yield case(linspace(-4.0, 4.0, 17))
        yield from special_values()
