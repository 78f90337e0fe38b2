"""Activation functions: relu and its kin, sigmoid and softplus as primitives; gelu, silu, selu as composites."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from ..dtypes import FLOATING, NUMERIC
from .common import Unary, check_dtypes, linspace, quiet, special_values
from .dispatch import apply
from .elementwise import select
from .masks import at_least, at_most
from .op import Case, Composite, Spec, case

__all__ = ["elu", "gelu", "leaky_relu", "relu", "relu6", "selu", "sigmoid", "silu", "softplus", "softsign"]


def relu(x: Any) -> Any:
    """x above 0, else 0."""
    return apply("relu", x)


def relu6(x: Any) -> Any:
    """x between 0 and 6."""
    return apply("relu6", x)


def leaky_relu(x: Any, alpha: float = 0.2) -> Any:
    """x above 0, else alpha * x."""
    return apply("leaky_relu", x, alpha=float(alpha))


def elu(x: Any) -> Any:
    """x above 0, else exp(x) - 1."""
    return apply("elu", x)


def selu(x: Any) -> Any:
    """elu, scaled so that deep networks keep mean 0 and variance 1."""
    return apply("selu", x)


def sigmoid(x: Any) -> Any:
    """1 / (1 + exp(-x))."""
    return apply("sigmoid", x)


def softplus(x: Any) -> Any:
    """log(1 + exp(x))."""
    return apply("softplus", x)


def softsign(x: Any) -> Any:
    """x / (1 + |x|)."""
    return apply("softsign", x)


def gelu(x: Any, approximate: bool = False) -> Any:
    """x times the probability that a standard normal variable is at most x."""
    return apply("gelu", x, approximate=bool(approximate))


def silu(x: Any, beta: float = 1.0) -> Any:
    """x * sigmoid(beta * x)."""
    return apply("silu", x, beta=float(beta))


class Relu(Unary):
    """x above 0, else 0. The gradient at 0 is 0."""

    name, version, dtypes = "relu", 1, NUMERIC
    steps = ((at_least, 0, 0.0),)

    def numpy(self, x: Any) -> Any:
        return quiet(at_least, x, 0.0)

    def grad(self, dy: Any, x: Any, *, out: Any) -> Any:
        return (select(out > 0, dy, 0),)

    def lower(self, ir: Any, x: Any) -> Any:
        return ir.call("max", x, ir.const(0, x.dtype))

    def cases(self) -> Iterator[Case]:
        yield case(linspace(-4.0, 4.0, 100))
        yield case(linspace(-4.0, 4.0, 70_000), gradient=False)
        yield from special_values()
        yield case(np.array([3, -4, 0], np.int32), gradient=False)


class Relu6(Unary):
    """x between 0 and 6. The gradient at both ends is 0."""

    name, version, dtypes = "relu6", 1, NUMERIC
    steps = ((at_least, 0, 0.0), (at_most, -1, 6.0))

    def numpy(self, x: Any) -> Any:
        return quiet(lambda a: at_most(at_least(a, 0.0), 6.0), x)

    def grad(self, dy: Any, x: Any, *, out: Any) -> Any:
        return (select(apply("logical_and", out > 0, out < 6), dy, 0),)

    def lower(self, ir: Any, x: Any) -> Any:
        return ir.call("clamp", x, ir.const(0, x.dtype), ir.const(6, x.dtype))

    def cases(self) -> Iterator[Case]:
        yield case(linspace(-4.0, 9.0, 100))
        yield from special_values()


class LeakyRelu(Unary):
    """x above 0, else alpha * x. The gradient at 0 is alpha."""

    name, version, dtypes = "leaky_relu", 1, FLOATING

    def numpy(self, x: Any, *, alpha: float) -> Any:
        return quiet(lambda a: np.where(a > 0, a, a * a.dtype.type(alpha)), x)

    def grad(self, dy: Any, x: Any, *, out: Any, alpha: float) -> Any:
        return (select(x > 0, dy, alpha * dy),)

    def lower(self, ir: Any, x: Any, *, alpha: float) -> Any:
        return ir.select(ir.call("gt", x, 0.0), x, x * ir.const(float(alpha)))

    def cases(self) -> Iterator[Case]:
        yield case(linspace(-4.0, 4.0, 100), alpha=0.2)
        yield from special_values(alpha=0.1)


class Elu(Unary):
    """x above 0, else exp(x) - 1."""

    name, version, dtypes = "elu", 1, FLOATING

    def numpy(self, x: Any) -> Any:
        return quiet(lambda a: np.where(a < 0, np.expm1(a), a), x)

    def grad(self, dy: Any, x: Any, *, out: Any) -> Any:
        return (select(out < 0, dy * (out + 1), dy),)

    def lower(self, ir: Any, x: Any) -> Any:
        return ir.select(ir.call("lt", x, 0.0), ir.call("expm1", x), x)

    def cases(self) -> Iterator[Case]:
        yield case(linspace(-4.0, 4.0, 100))
        yield from special_values()


class Sigmoid(Unary):
    """1 / (1 + exp(-x))."""

    name, version, dtypes = "sigmoid", 1, FLOATING
    steps = ((np.negative, 0), (np.exp, -1), (np.add, 1.0, -1), (np.reciprocal, -1))

    def numpy(self, x: Any) -> Any:
        return quiet(lambda a: np.reciprocal(1 + np.exp(-a)), x)

    def grad(self, dy: Any, x: Any, *, out: Any) -> Any:
        return (dy * (out * (1 - out)),)

    def lower(self, ir: Any, x: Any) -> Any:
        return ir.call("sigmoid", x)

    def cases(self) -> Iterator[Case]:
        yield case(linspace(-6.0, 6.0, 101))
        yield from special_values()


class Softplus(Unary):
    """log(1 + exp(x)), without overflow."""

    name, version, dtypes = "softplus", 1, FLOATING

    def numpy(self, x: Any) -> Any:
        return quiet(lambda a: np.maximum(a, a.dtype.type(0)) + np.log1p(np.exp(-np.abs(a))), x)

    def grad(self, dy: Any, x: Any, *, out: Any) -> Any:
        return (dy * sigmoid(x),)

    def lower(self, ir: Any, x: Any) -> Any:
        small = ir.call("log1p", ir.call("exp", -ir.call("abs", x)))
        return ir.call("max", x, 0.0) + small

    def cases(self) -> Iterator[Case]:
        yield case(linspace(-6.0, 6.0, 100))
        yield from special_values()


# -- composites --------------------------------------------------------------------------------------------------------


class Activation(Composite, abstract=True):
    """One floating input; shape and dtype pass through."""

    def infer(self, x: Spec, **attrs: Any) -> Spec:
        """The Spec of the input."""
        check_dtypes(self, x)
        return x


class Gelu(Activation):
    """x * P(X <= x) for a standard normal X; `approximate` uses tanh."""

    name, version, dtypes = "gelu", 1, FLOATING

    def expand(self, x: Any, *, approximate: bool) -> Any:
        if approximate:
            inner = math.sqrt(2.0 / math.pi) * (x + 0.044715 * (x * x * x))
            return 0.5 * x * (1 + apply("tanh", inner))
        return 0.5 * x * (1 + apply("erf", x * math.sqrt(0.5)))

    def cases(self) -> Iterator[Case]:
        yield case(linspace(-4.0, 4.0, 101), approximate=True)
        yield case(linspace(-4.0, 4.0, 101), approximate=False)


class Silu(Activation):
    """x * sigmoid(beta * x), also called swish."""

    name, version, dtypes = "silu", 1, FLOATING

    def expand(self, x: Any, *, beta: float) -> Any:
        return x * sigmoid(x if beta == 1.0 else beta * x)

    def cases(self) -> Iterator[Case]:
        yield case(linspace(-6.0, 6.0, 101), beta=1.0)
        yield case(linspace(-6.0, 6.0, 101), beta=0.5)


class Selu(Activation):
    """elu, scaled so that deep networks keep mean 0 and variance 1."""

    name, version, dtypes = "selu", 1, FLOATING

    def expand(self, x: Any) -> Any:
        scale, alpha = 1.0507009873554805, 1.6732632423543772  # the fixed point of mean 0, variance 1
        return select(x < 0, (scale * alpha) * apply("expm1", x), scale * x)

    def cases(self) -> Iterator[Case]:
        yield case(linspace(-4.0, 4.0, 100))


class Softsign(Activation):
    """x / (1 + |x|)."""

    name, version, dtypes = "softsign", 1, FLOATING

    def expand(self, x: Any) -> Any:
        return x / (1 + apply("abs", x))

    def cases(self) -> Iterator[Case]:
        yield case(linspace(-4.0, 4.0, 100))
