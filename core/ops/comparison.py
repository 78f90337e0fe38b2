"""Comparisons, boolean algebra, tests for NaN and infinity, and select. None but select has a gradient."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..dtypes import ANY, BOOLEAN, FLOATING, NUMERIC, bool_
from ..errors import InvalidArgumentError
from ..shapes import broadcast_shapes
from .common import Binary, Compare, Unary, check_dtypes, integer_pairs, pairs
from .dispatch import apply
from .masks import blend
from .op import Case, Elementwise, Spec, case, no_gradient

__all__ = ["logical_and", "logical_not", "logical_or", "select"]


def select(condition: Any, x: Any, y: Any) -> Any:
    """x where the condition holds, else y; all three broadcast."""
    return apply("select", condition, x, y)


def logical_not(x: Any) -> Any:
    """Whether x is false."""
    return apply("logical_not", x)


def logical_and(x: Any, y: Any) -> Any:
    """Whether both are true."""
    return apply("logical_and", x, y)


def logical_or(x: Any, y: Any) -> Any:
    """Whether one is true."""
    return apply("logical_or", x, y)


def _samples() -> Iterator[Case]:
    yield from pairs(gradient=False)
    special = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0], np.float32)
    yield case(special[:, None], special[None, :], gradient=False)
    yield from integer_pairs()
    yield case(np.arange(5, dtype=np.int32), np.arange(5, dtype=np.int32)[:, None], gradient=False)


def _truth_table() -> Iterator[Case]:
    both = np.array([True, False])
    yield case(both[:, None], both[None, :], gradient=False)
    yield case(np.bool_(True), np.array([True, False, True]), gradient=False)
    yield case(np.zeros((0, 3), bool), np.ones(3, bool), gradient=False)


class Equal(Compare):
    """Whether x equals y. NaN equals nothing."""

    name, version, dtypes = "equal", 1, ANY
    grad = no_gradient("the answer is a bool")
    ufunc = np.equal

    def lower(self, ir: Any, x: Any, y: Any) -> Any:
        return ir.call("not", ir.call("xor", x, y)) if x.dtype == "bool" else ir.call("eq", x, y)

    def cases(self) -> Iterator[Case]:
        yield from _samples()
        yield from _truth_table()


class NotEqual(Compare):
    """Whether x differs from y. NaN differs from everything."""

    name, version, dtypes = "not_equal", 1, ANY
    grad = no_gradient("the answer is a bool")
    ufunc = np.not_equal

    def lower(self, ir: Any, x: Any, y: Any) -> Any:
        return ir.call("xor", x, y) if x.dtype == "bool" else ir.call("ne", x, y)

    def cases(self) -> Iterator[Case]:
        yield from _samples()
        yield from _truth_table()


class Less(Compare):
    """Whether x < y."""

    name, version, dtypes = "less", 1, NUMERIC
    grad = no_gradient("the answer is a bool")
    ufunc = np.less

    def lower(self, ir: Any, x: Any, y: Any) -> Any:
        return ir.call("lt", x, y)

    def cases(self) -> Iterator[Case]:
        yield from _samples()


class LessEqual(Compare):
    """Whether x <= y."""

    name, version, dtypes = "less_equal", 1, NUMERIC
    grad = no_gradient("the answer is a bool")
    ufunc = np.less_equal

    def lower(self, ir: Any, x: Any, y: Any) -> Any:
        return ir.call("le", x, y)

    def cases(self) -> Iterator[Case]:
        yield from _samples()


class Greater(Compare):
    """Whether x > y."""

    name, version, dtypes = "greater", 1, NUMERIC
    grad = no_gradient("the answer is a bool")
    ufunc = np.greater

    def lower(self, ir: Any, x: Any, y: Any) -> Any:
        return ir.call("gt", x, y)

    def cases(self) -> Iterator[Case]:
        yield from _samples()


class GreaterEqual(Compare):
    """Whether x >= y."""

    name, version, dtypes = "greater_equal", 1, NUMERIC
    grad = no_gradient("the answer is a bool")
    ufunc = np.greater_equal

    def lower(self, ir: Any, x: Any, y: Any) -> Any:
        return ir.call("ge", x, y)

    def cases(self) -> Iterator[Case]:
        yield from _samples()


class LogicalAnd(Binary):
    """Whether both x and y are true."""

    name, version, dtypes = "logical_and", 1, BOOLEAN
    grad = no_gradient("the answer is a bool")
    ufunc = np.logical_and

    def lower(self, ir: Any, x: Any, y: Any) -> Any:
        return ir.call("and", x, y)

    def cases(self) -> Iterator[Case]:
        yield from _truth_table()


class LogicalOr(Binary):
    """Whether x or y is true."""

    name, version, dtypes = "logical_or", 1, BOOLEAN
    grad = no_gradient("the answer is a bool")
    ufunc = np.logical_or

    def lower(self, ir: Any, x: Any, y: Any) -> Any:
        return ir.call("or", x, y)

    def cases(self) -> Iterator[Case]:
        yield from _truth_table()


class LogicalNot(Unary):
    """Whether x is false."""

    name, version, dtypes = "logical_not", 1, BOOLEAN
    grad = no_gradient("the answer is a bool")
    ufunc = np.logical_not

    def lower(self, ir: Any, x: Any) -> Any:
        return ir.call("not", x)

    def cases(self) -> Iterator[Case]:
        yield case(np.array([True, False, True]), gradient=False)
        yield case(np.zeros((0,), bool), gradient=False)


class Test(Elementwise, abstract=True):
    """One floating input; the answer is bool."""

    def infer(self, x: Spec) -> Spec:
        """The shape of the input, bool."""
        check_dtypes(self, x)
        return Spec(x.shape, bool_)


def _floats() -> Iterator[Case]:
    yield case(np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, 3e38], np.float32), gradient=False)
    yield case(np.float32(np.nan), gradient=False)


class IsNan(Test):
    """Whether x is NaN."""

    name, version, dtypes = "is_nan", 1, FLOATING
    grad = no_gradient("the answer is a bool")
    ufunc = np.isnan

    def lower(self, ir: Any, x: Any) -> Any:
        return ir.call("isnan", x)

    def cases(self) -> Iterator[Case]:
        yield from _floats()


class IsInf(Test):
    """Whether x is infinite."""

    name, version, dtypes = "is_inf", 1, FLOATING
    grad = no_gradient("the answer is a bool")
    ufunc = np.isinf

    def lower(self, ir: Any, x: Any) -> Any:
        return ir.call("eq", ir.call("abs", x), ir.const(np.inf))

    def cases(self) -> Iterator[Case]:
        yield from _floats()


class IsFinite(Test):
    """Whether x is neither NaN nor infinite."""

    name, version, dtypes = "is_finite", 1, FLOATING
    grad = no_gradient("the answer is a bool")
    ufunc = np.isfinite

    def lower(self, ir: Any, x: Any) -> Any:
        return ir.call("lt", ir.call("abs", x), ir.const(np.inf))

    def cases(self) -> Iterator[Case]:
        yield from _floats()


class Select(Elementwise):
    """x where `condition` (bool) holds, else y; all broadcast. The branch not taken passes no NaN."""

    name, version, dtypes = "select", 1, ANY
    same = (1, 2)

    def infer(self, condition: Spec, x: Spec, y: Spec) -> Spec:
        if not condition.dtype.is_bool:
            raise InvalidArgumentError(
                f"select: the condition must be bool, received {condition.dtype.name}. Compare it first, for "
                "example x > 0."
            )
        check_dtypes(self, condition, x, y)
        return Spec(broadcast_shapes(condition.shape, x.shape, y.shape, op="select"), x.dtype)

    def numpy(self, condition: Any, x: Any, y: Any) -> Any:
        return blend(np.asarray(condition), np.asarray(x), np.asarray(y))

    def grad(self, dy: Any, condition: Any, x: Any, y: Any, *, out: Any) -> Any:
        return None, select(condition, dy, 0), select(condition, 0, dy)

    def lower(self, ir: Any, condition: Any, x: Any, y: Any) -> Any:
        return ir.select(condition, x, y)

    def cases(self) -> Iterator[Case]:
        mask = np.array([True, False, True, False])
        x, y = np.arange(4, dtype=np.float32), -np.arange(12, dtype=np.float32).reshape(3, 4)
        yield case(mask, x, y)
        yield case(mask, np.float32(2.0), y)
        yield case(np.bool_(False), np.array([np.nan], np.float32), np.float32(1.0), gradient=False)
        yield case(mask, np.arange(4, dtype=np.int32), np.int32(-1), gradient=False)
        yield case(mask, mask, ~mask, gradient=False)
        yield case(np.zeros((0, 1), bool), np.zeros((1, 3), np.float32), np.float32(0.0))
