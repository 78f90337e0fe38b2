"""softmax and log_softmax over the last axis; other axes are moved there by the thin functions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ..dtypes import FLOATING
from ..errors import InvalidArgumentError
from ..kernel.ir import Builder, Expr, View
from .common import quiet
from .dispatch import apply
from .movement import transpose
from .op import Case, Pattern, Spec, case
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
    if not -rank <= axis < rank:
        raise InvalidArgumentError(
            f"{name}: axis must be in [{-rank}, {rank}) for an input of shape {tuple(x.sizes)}, received {axis}."
        )
    axis %= rank
    if axis == rank - 1:
        return apply(name, x)
    swap = [*range(rank)]
    swap[axis], swap[-1] = rank - 1, axis
    return transpose(apply(name, transpose(x, swap)), swap)


def row_statistics(ir: Builder, x: View, row: Sequence[Expr]) -> tuple[Expr, Expr]:
    """The maximum of a row (last axis), and the sum of exp(x - maximum) over it."""
    columns = x.shape[-1:]
    largest = ir.reduce("max", columns, lambda j: x.at(*row, j))
    total = ir.sum(columns, lambda j: ir.call("exp", x.at(*row, j) - largest))
    return largest, total


def log_sum_exp_rows(x: Array) -> tuple[Array, Array]:
    """x shifted by the maximum of each row, and log(sum(exp(shifted))) with the last axis kept at size 1."""
    with np.errstate(all="ignore"):
        shifted = x - x.max(axis=-1, keepdims=True, initial=-np.inf)
        return shifted, np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def _softmax(x: Array) -> Array:
    y = np.exp(x - np.maximum.reduce(x, -1, None, None, True, -np.inf))
    y /= np.add.reduce(y, -1, None, None, True)
    return y


class _RowWise(Pattern, abstract=True):
    version, dtypes = 1, FLOATING

    def infer(self, x: Spec) -> Spec:
        if not x.shape:
            raise InvalidArgumentError(f"{self.name}: the input must have at least one axis, received a scalar.")
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


class Softmax(_RowWise):
    name = "softmax"

    def numpy(self, x: Array) -> Array:
        return quiet(_softmax, x)

    def grad(self, dy: Any, x: Any, *, out: Any) -> Any:
        return ((dy - reduce_sum(dy * out, (-1,), True)) * out,)

    def lower(self, ir: Builder, at: Sequence[Expr], x: View) -> Expr:
        largest, total = row_statistics(ir, x, at[:-1])
        return ir.call("exp", x.at(*at) - largest) / total


class LogSoftmax(_RowWise):
    name = "log_softmax"

    def numpy(self, x: Array) -> Array:
        shifted, logarithm = log_sum_exp_rows(x)
        return shifted - logarithm

    def grad(self, dy: Any, x: Any, *, out: Any) -> Any:
        return (dy - reduce_sum(dy, (-1,), True) * apply("softmax", x),)

    def lower(self, ir: Builder, at: Sequence[Expr], x: View) -> Expr:
        largest, total = row_statistics(ir, x, at[:-1])
        return (x.at(*at) - largest) - ir.call("log", total)
