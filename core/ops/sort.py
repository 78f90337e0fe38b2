"""Sorting along the last axis: an element's rank is the number of elements before it; no data-dependent loop.

Every comparison is made, n * n for a row of n: right for class scores and the like; long rows belong on the host.
NaN counts as larger than everything, as in numpy. Equal elements keep their order.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..dtypes import NUMERIC, int32
from ..errors import InvalidArgumentError
from ..kernel.ir import Builder, Expr, View
from ..shapes import Size
from .common import normalise_axis
from .dispatch import apply
from .elementwise import cast
from .gather import gather
from .movement import transpose
from .op import Case, Composite, Pattern, Spec, case, no_gradient

__all__ = ["TopKV2", "argsort", "sort", "top_k"]

Array = Any


class TopKV2(NamedTuple):
    """What top_k returns."""

    values: Any
    indices: Any


def argsort(x: Any, axis: int = -1, descending: bool = False) -> Any:
    """The indices (int32) that sort x along an axis; equal elements keep their order."""
    swap = _to_last(x, axis)
    if swap is None:
        return apply("argsort", x, descending=bool(descending), count=None)
    return transpose(apply("argsort", transpose(x, swap), descending=bool(descending), count=None), swap)


def sort(x: Any, axis: int = -1, descending: bool = False) -> Any:
    """x sorted along an axis. Its gradient goes where each element came from."""
    swap = _to_last(x, axis)
    moved = x if swap is None else transpose(x, swap)
    found = _taken(moved, apply("argsort", moved, descending=bool(descending), count=None))
    return found if swap is None else transpose(found, swap)


def top_k(x: Any, k: int, index_type: Any = "int32") -> TopKV2:
    """The k largest elements of each row, largest first, and where they are."""
    columns = x.sizes[-1] if x.sizes else 1
    if not x.sizes or (isinstance(columns, int) and columns < k):
        raise InvalidArgumentError(f"top_k: input must have at least k columns. Had {columns}, needed {k}.")
    indices = apply("argsort", x, descending=True, count=int(k))
    return TopKV2(_taken(x, indices), cast(indices, index_type))


def _taken(x: Any, indices: Any) -> Any:
    last = len(x.sizes) - 1
    return gather(x, indices, axis=last, batch_dims=last)


def _to_last(x: Any, axis: int) -> list[int] | None:
    """The permutation that exchanges an axis with the last one; None if it is the last."""
    rank = len(x.sizes)
    axis = normalise_axis(axis, rank, "sort")
    if axis == rank - 1:
        return None
    swap = [*range(rank)]
    swap[axis], swap[-1] = rank - 1, axis
    return swap


def _order(x: Array, descending: bool) -> Array:
    if not descending:
        return np.argsort(x, axis=-1, kind="stable")
    return x.shape[-1] - 1 - np.argsort(x[..., ::-1], axis=-1, kind="stable")[..., ::-1]


def _check_rows(name: str, x: Spec) -> None:
    if not x.shape:
        raise InvalidArgumentError(f"{name}: the input must have at least one axis, received a scalar.")


class SortRanks(Pattern):
    """For each element, how many of its row come before it when sorted."""

    name, version, dtypes = "sort_ranks", 1, NUMERIC
    grad = no_gradient("ranks are integers")

    def infer(self, x: Spec, *, descending: bool) -> Spec:
        _check_rows(self.name, x)
        return Spec(x.shape, int32)

    def numpy(self, x: Array, *, descending: bool) -> Array:
        ranks = np.empty(x.shape, np.int32)
        np.put_along_axis(ranks, _order(x, descending), np.arange(x.shape[-1], dtype=np.int32), axis=-1)
        return ranks

    def lower(self, ir: Builder, at: Sequence[Expr], x: View, *, descending: bool) -> Expr:
        *row, i = at
        mine = x.at(*at)

        def below(a: Expr, b: Expr) -> Expr:
            if a.dtype != "f32":
                return a < b
            return (a < b) | (ir.unary("isnan", b) & ~ir.unary("isnan", a))

        def before(j: Expr) -> Expr:
            other = x.at(*row, j)
            first, second = (mine, other) if descending else (other, mine)
            tie = ~below(first, second) & ~below(second, first) & (j < i)
            return ir.cast(below(first, second) | tie, "i32")

        return ir.sum(x.shape[-1:], before)

    def cases(self) -> Iterator[Case]:
        yield from _samples()


class PositionsOfRanks(Pattern):
    """The inverse of a permutation of each row: where the ranks 0 .. count - 1 are."""

    name, version, dtypes = "positions_of_ranks", 1, frozenset({int32})
    grad = no_gradient("positions are integers")

    def infer(self, ranks: Spec, *, count: Size) -> Spec:
        _check_rows(self.name, ranks)
        return Spec((*ranks.shape[:-1], count), int32)

    def numpy(self, ranks: Array, *, count: int) -> Array:
        positions = np.empty(ranks.shape, np.int32)
        np.put_along_axis(positions, ranks, np.arange(ranks.shape[-1], dtype=np.int32), axis=-1)
        return np.ascontiguousarray(positions[..., :count])

    def lower(self, ir: Builder, at: Sequence[Expr], ranks: View, *, count: Size) -> Expr:
        *row, p = at
        return ir.sum(ranks.shape[-1:], lambda i: ir.select(ranks.at(*row, i).eq(p), i, ir.const(0)))

    def cases(self) -> Iterator[Case]:
        rng = np.random.default_rng(9)
        ranks = np.stack([rng.permutation(7) for _ in range(6)]).reshape(2, 3, 7).astype(np.int32)
        yield case(ranks, count=7)
        yield case(ranks, count=2)
        yield case(np.zeros((2, 0), np.int32), count=0)


class Argsort(Composite):
    """The indices that sort each row: all, or the first `count`."""

    name, version, dtypes = "argsort", 1, NUMERIC

    def infer(self, x: Spec, *, descending: bool, count: Size | None) -> Spec:
        _check_rows(self.name, x)
        return Spec(x.shape if count is None else (*x.shape[:-1], count), int32)

    def numpy(self, x: Array, *, descending: bool, count: int | None) -> Array:
        return np.ascontiguousarray(_order(x, descending)[..., :count].astype(np.int32))

    def expand(self, x: Any, *, descending: bool, count: Size | None) -> Any:
        ranks = apply("sort_ranks", x, descending=descending)
        return apply("positions_of_ranks", ranks, count=x.sizes[-1] if count is None else count)

    def cases(self) -> Iterator[Case]:
        for sample in _samples():
            yield Case(sample.arrays, sample.attrs | {"count": None})  # the answer is integers: no gradient to check
        yield case(np.array([[3, 1, 3, 2], [5, 5, 5, 5]], np.int32), descending=True, count=2, gradient=False)


def _samples() -> Iterator[Case]:
    rng = np.random.default_rng(10)
    for descending in (False, True):
        yield case(rng.standard_normal((2, 3, 9)), descending=descending, gradient=False)
        yield case(rng.integers(-3, 3, (4, 11)), descending=descending, gradient=False)
        yield case(np.array([0.0, np.nan, -0.0, np.inf, -np.inf, np.nan, 1.0]), descending=descending, gradient=False)
    yield case(np.zeros((3, 0)), descending=False, gradient=False)
    yield case(np.array([2**31 - 1, 0, -(2**31), 5]), descending=True, gradient=False)
