"""softmax and log_softmax over one axis, the last one unless the attribute `axis` says otherwise."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ..dtypes import FLOATING
from ..errors import InvalidArgumentError
from ..kernel.ir import Builder, Expr, View
from .common import quiet
from .dispatch import apply
from .op import Case, Pattern, Spec, case
from .parts import by_rows
from .reduce import reduce_sum

__all__ = ["log_softmax", "log_sum_exp_rows", "row_statistics", "softmax"]

Array = Any


def softmax(x: Any, axis: int = -1) -> Any:
    """exp(x) divided by its sum along `axis`."""
    return _along("softmax", x, axis)


def log_softmax(x: Any, axis: int = -1) -> Any:
    """The logarithm of softmax, computed without forming it."""
    return _along("log_softmax", x, axis)


def _along(name: str, x: Any, axis: int) -> Any:
    rank = len(x.sizes)
    _check_axis(name, x.sizes, axis)
    axis = int(axis) % rank
    return apply(name, x) if axis == rank - 1 else apply(name, x, axis=axis)


def _check_axis(name: str, sizes: Sequence[Any], axis: int) -> None:
    rank = len(sizes)
    if isinstance(axis, bool) or not isinstance(axis, int | np.integer):
        raise InvalidArgumentError(f"{name}: axis must be an int, received {axis!r}.")
    if not -rank <= axis < rank:
        raise InvalidArgumentError(
            f"{name}: axis must be in [{-rank}, {rank}) for an input of shape {tuple(sizes)}, received {axis}."
        )


def row_statistics(ir: Builder, x: View, row: Sequence[Expr], axis: int = -1) -> tuple[Expr, Expr]:
    """The maximum of a row (a line along `axis`; `row` has the other indices), and the sum of exp(x - maximum)."""
    axis %= len(x.shape)

    def along(j: Expr) -> Expr:
        return x.at(*row[:axis], j, *row[axis:])

    largest = ir.reduce("max", [x.shape[axis]], along)
    return largest, ir.sum([x.shape[axis]], lambda j: ir.call("exp", along(j) - largest))


def log_sum_exp_rows(x: Array, axis: int = -1) -> tuple[Array, Array]:
    """x shifted by the maximum along `axis`, and log(sum(exp(shifted))) with that axis kept at size 1."""
    with np.errstate(all="ignore"):
        shifted = x - x.max(axis=axis, keepdims=True, initial=-np.inf)
        return shifted, np.log(np.exp(shifted).sum(axis=axis, keepdims=True))


def _softmax(x: Array, axis: int) -> Array:
    y = np.exp(x - np.maximum.reduce(x, axis, None, None, True, -np.inf))
    y /= np.add.reduce(y, axis, None, None, True)
    return y


class _RowWise(Pattern, abstract=True):
    version, dtypes = 1, FLOATING

    def infer(self, x: Spec, *, axis: int = -1) -> Spec:
        if not x.shape:
            raise InvalidArgumentError(f"{self.name}: the input must have at least one axis, received a scalar.")
        _check_axis(self.name, x.shape, axis)
        return x

    def cases(self) -> Iterator[Case]:
        rng = np.random.default_rng(1)
        yield case(rng.standard_normal((3, 5)))
        yield case(rng.standard_normal((2, 3, 1)) * 3.0)
        yield case(rng.standard_normal(130) * 4.0)
        yield case([[1000.0, 1001.0, -1000.0], [-1e30, 0.0, 1e30]], gradient=False)  # must not overflow
        yield case([[0.0, np.nan, 1.0], [0.0, -np.inf, 1.0]], gradient=False)
        yield case(np.zeros((0, 4)))
        yield case(np.zeros((2, 0)))
        yield case(rng.standard_normal((5, 7)), axis=0)
        yield case(rng.standard_normal((2, 18, 21)) * 3.0, axis=1)
        yield case([[0.0, np.nan, 1.0], [0.0, -np.inf, 1.0]], gradient=False, axis=0)
        yield case(np.zeros((0, 4)), axis=0)


class Softmax(_RowWise):
    name = "softmax"

    def numpy(self, x: Array, *, axis: int = -1) -> Array:
        alone = x.ndim > 1 and axis % x.ndim         # whether rows along the first axis are
        return quiet(by_rows, lambda a: _softmax(a, axis), x) if alone else quiet(_softmax, x, axis)

    def grad(self, dy: Any, x: Any, *, out: Any, axis: int = -1) -> Any:
        return ((dy - reduce_sum(dy * out, (axis,), True)) * out,)

    def lower(self, ir: Builder, at: Sequence[Expr], x: View, *, axis: int = -1) -> Expr:
        largest, total = row_statistics(ir, x, _others(at, axis), axis)
        return ir.call("exp", x.at(*at) - largest) / total


class LogSoftmax(_RowWise):
    name = "log_softmax"

    def numpy(self, x: Array, *, axis: int = -1) -> Array:
        shifted, logarithm = log_sum_exp_rows(x, axis)
        return shifted - logarithm

    def grad(self, dy: Any, x: Any, *, out: Any, axis: int = -1) -> Any:
        return (dy - reduce_sum(dy, (axis,), True) * _along("softmax", x, axis),)

    def lower(self, ir: Builder, at: Sequence[Expr], x: View, *, axis: int = -1) -> Expr:
        largest, total = row_statistics(ir, x, _others(at, axis), axis)
        return (x.at(*at) - largest) - ir.call("log", total)


def _others(at: Sequence[Expr], axis: int) -> tuple[Expr, ...]:
    """The indices but that of one axis."""
    axis %= len(at)
    return (*at[:axis], *at[axis + 1 :])
