"""Chains of elementwise ops on large arrays as one call each, for the host.

`regroup` takes the calls of a prepared graph and what its arrays were like in a run. Ops over points of one shape that
follow each other become a Chain: it computes a part of all its results before the next part, so that what lies between
stays in the cache, and several threads share the parts. Every element is computed as before, bit by bit.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any, NamedTuple

import numpy as np

from ..ops.op import Op
from ..ops.parts import blocks, run_parts

__all__ = ["LEAST", "Call", "Chain", "regroup"]

LEAST = 1 << 17         # elements of the arrays that chains are made for: below, single calls are as fast
PART = 1 << 16          # of a part at most
SHARED = 1 << 20        # elements times steps that are worth several threads
WIDE = 1024             # elements that a row should have
FLOATS = frozenset({np.dtype(np.float32), np.dtype(np.float64)})
TAKEN = FLOATS | {np.dtype(bool)}

Array = Any
Shape = tuple[int, ...]
Kinds = Mapping[int, tuple[Shape, Any]]     # cell -> shape and dtype of its array, where they are always the same


class Call(NamedTuple):
    """A function of numbered cells: where its inputs are, where its results go, which cells nobody reads after it."""

    function: Any
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    free: tuple[int, ...]
    settings: dict[str, Any]


@dataclass(eq=False)
class Chain:
    """Elementwise ops over points of one shape, called with the arrays that they read."""

    shape: Shape
    rows: int                               # the first axes of the shape, joined
    row: Shape                              # the others
    views: list[tuple[Shape, bool]]         # how each array is seen, and whether it has the rows
    times: int                              # short rows lie so often in a row: arrays that have one are repeated
    made: list[Any]                         # the dtypes of the results
    constants: list[Array] = field(default_factory=list)
    between: list[Any] = field(default_factory=list)                                # dtypes of intermediate arrays
    program: list[tuple[Any, tuple[int, ...], int]] = field(default_factory=list)   # ufunc, operands, result

    def __call__(self, *arrays: Array) -> tuple[Array, ...]:
        seen = [a.reshape(shape) for a, (shape, _) in zip(arrays, self.views, strict=True)]
        if self.times > 1:
            seen = [a if cut or a.size == 1 else np.tile(a, self.times)
                    for a, (_, cut) in zip(seen, self.views, strict=True)]
        made = [np.empty(self.shape, dtype) for dtype in self.made]
        targets = [m.reshape(self.rows, *self.row) for m in made]
        parts = list(blocks(self.rows, self._rows_of_a_part()))
        if prod(self.shape) * len(self.program) >= SHARED:
            run_parts([(self._part, rows, seen, targets) for rows in parts])
        else:
            for rows in parts:
                self._part(rows, seen, targets)
        return tuple(made)

    def _rows_of_a_part(self) -> int:
        width = max(1, prod(self.row))
        return max(1, min(PART // width, -(-self.rows // 4)))

    def _part(self, rows: slice, seen: Sequence[Array], targets: Sequence[Array]) -> None:
        """All results for some rows."""
        cells = [v[rows] if cut else v for v, (_, cut) in zip(seen, self.views, strict=True)]
        cells += self.constants
        cells += [t[rows] for t in targets]
        cells += [np.empty((rows.stop - rows.start, *self.row), dtype) for dtype in self.between]
        for ufunc, operands, result in self.program:
            ufunc(*[cells[i] for i in operands], out=cells[result])


def regroup(ops: Sequence[Op], calls: Sequence[Call], kinds: Kinds, kept: Container[int]) -> list[Call] | None:
    """The calls with chains among them; None if there are none. `kept`: cells that are read after all calls."""
    made = _Regrouping(ops, calls, kinds, kept)
    for number, call in enumerate(calls):
        made.take(number, call)
    made.close()
    return _freed(made.order, calls, kept) if made.chains else None


class _Regrouping:
    """One walk over the calls, with a chain that is open for more. What does not read it may run before it."""

    def __init__(self, ops: Sequence[Op], calls: Sequence[Call], kinds: Kinds, kept: Container[int]) -> None:
        self.ops, self.calls, self.kinds, self.kept = ops, calls, kinds, kept
        self.order: list[Call] = []
        self.chains = 0
        self.open: list[int] = []           # the numbers of its calls
        self.inside: set[int] = set()       # the cells that it makes
        self.readers: dict[int, set[int]] = {}
        for number, call in enumerate(calls):
            for cell in call.inputs:
                self.readers.setdefault(cell, set()).add(number)

    def take(self, number: int, call: Call) -> None:
        """The next call."""
        fits = self._fits(number, call)
        if self.open and (self._shape(number) != self._shape(self.open[0]) if fits else self._reads(call)):
            self.close()
        if fits:
            self.open.append(number)
            self.inside.update(call.outputs)
        else:
            self.order.append(call)

    def close(self) -> None:
        """The open chain becomes one call."""
        if len(self.open) > 1:
            self.order.append(self._call())
            self.chains += 1
        else:
            self.order += [self.calls[n]._replace(function=self.ops[n].numpy) for n in self.open]
        self.open, self.inside = [], set()

    def _reads(self, call: Call) -> bool:
        return any(cell in self.inside for cell in call.inputs)

    def _shape(self, number: int) -> Shape:
        return self.kinds[self.calls[number].outputs[0]][0]

    def _fits(self, number: int, call: Call) -> bool:
        """Whether it is an elementwise op of known steps on large arrays of plain floats."""
        op = self.ops[number]
        if call.settings or not (op.steps or op.ufunc is not None):
            return False
        if not all(cell in self.kinds for cell in (*call.inputs, *call.outputs)):
            return False
        shape, dtype = self.kinds[call.outputs[0]]
        kinds = [self.kinds[cell] for cell in call.inputs]
        same = len({d for _, d in kinds}) == 1 and kinds[0][1] in TAKEN
        return same and prod(shape) >= LEAST and dtype in (kinds[0][1], np.dtype(bool)) and any(
            s == shape for s, _ in kinds)

    def _call(self) -> Call:
        members = [self.calls[n] for n in self.open]
        wanted = [c for c in self.inside if c in self.kept or self.readers.get(c, set()) - set(self.open)]
        outputs = tuple(c for m in members for c in m.outputs if c in wanted)
        inputs = tuple(dict.fromkeys(c for m in members for c in m.inputs if c not in self.inside))
        shape = self._shape(self.open[0])
        joined = _joined(shape, [self.kinds[c][0] for c in inputs])
        rows, row = prod(shape[:joined]), shape[joined:]
        views = [_view(self.kinds[c][0], shape, joined) for c in inputs]
        times = _times(rows, row, views)
        if times > 1:
            rows, row = rows // times, (times * prod(row),)
            views = [((rows, *row), True) if cut else ((prod(own),), False) for own, cut in views]
        chain = Chain(shape, rows, row, views, times, [self.kinds[c][1] for c in outputs])
        _Assembly(chain, [(self.ops[n], self.calls[n]) for n in self.open], inputs, outputs, self.kinds)
        return Call(chain, inputs, outputs, (), {})


def _joined(shape: Shape, shapes: Sequence[Shape]) -> int:
    """How many of the first axes may be joined to rows: along them each array has all of them or does not vary."""

    def fits(count: int) -> bool:
        rest = len(shape) - count
        return all(
            s[:count] == shape[:count] if len(s) == len(shape) and s[:count] != (1,) * count
            else prod(s[: max(0, len(s) - rest)]) == 1
            for s in shapes
        )

    return next(count for count in range(len(shape), -1, -1) if fits(count))


def _view(own: Shape, shape: Shape, joined: int) -> tuple[Shape, bool]:
    """How an array is seen, and whether it has the rows."""
    rest = len(shape) - joined
    if len(own) == len(shape) and own[:joined] == shape[:joined]:
        return (prod(own[:joined]), *own[joined:]), True
    return own[max(0, len(own) - rest) :], False


def _times(rows: int, row: Shape, views: Sequence[tuple[Shape, bool]]) -> int:
    """How many rows are walked as one: numpy is slow where what it walks in one go is short, a few channels."""
    width = prod(row)
    if not row or not all(own[1:] == row if cut else own == row or prod(own) == 1 for own, cut in views):
        return 1
    return next(n for n in range(max(1, WIDE // width), 0, -1) if rows % n == 0)


class _Assembly:
    """The steps of the ops of a chain as a program on numbered cells: the arrays that it reads, constants, results,
    intermediate arrays, each used again as soon as nobody reads it any more.
    """

    def __init__(self, chain: Chain, members: Sequence[tuple[Op, Call]], inputs: Sequence[int],
                 outputs: Sequence[int], kinds: Kinds) -> None:
        self.chain = chain
        steps: list[tuple[Any, list[Any], Any]] = []        # ufunc, operands, value
        constants: dict[tuple[float, Any], Array] = {}
        for op, call in members:
            dtype, before = kinds[call.inputs[0]][1], None
            known = op.steps or ((op.ufunc, *range(len(call.inputs))),)
            for position, (ufunc, *operands) in enumerate(known):
                found = []
                for x in operands:
                    if x.__class__ is float:
                        constants.setdefault((x, dtype), np.asarray(x, dtype))
                    found.append((x, dtype) if x.__class__ is float else before if x < 0 else call.inputs[x])
                whole = position == len(known) - 1
                before = call.outputs[0] if whole else (call.outputs[0], position)
                steps.append((ufunc, found, before))
        chain.constants = list(constants.values())
        self.cells: dict[Any, int] = {v: i for i, v in enumerate([*inputs, *constants, *outputs])}
        last = {x: n for n, (_, operands, value) in enumerate(steps) for x in (value, *operands)}
        spare: list[int] = []
        first = len(self.cells)
        for n, (ufunc, operands, value) in enumerate(steps):
            where = tuple(self.cells[x] for x in operands)
            spare += [c for x, c in zip(dict.fromkeys(operands), dict.fromkeys(where), strict=True)
                      if c >= first and last[x] == n]
            if value not in self.cells:
                cell = value if value.__class__ is int else value[0]
                self.cells[value] = self._between(kinds[cell][1], spare, first)
            chain.program.append((ufunc, where, self.cells[value]))

    def _between(self, dtype: Any, spare: list[int], first: int) -> int:
        for cell in spare:
            if self.chain.between[cell - first] == dtype:
                spare.remove(cell)
                return cell
        self.chain.between.append(dtype)
        return first + len(self.chain.between) - 1


def _freed(order: Sequence[Call], before: Sequence[Call], kept: Container[int]) -> list[Call]:
    """The calls, each with the cells that nobody reads after it in this order."""
    freed = {cell for call in before for cell in call.free}
    last = {cell: n for n, call in enumerate(order) for cell in (*call.inputs, *call.outputs)}
    free: list[list[int]] = [[] for _ in order]
    for cell, n in last.items():
        if cell in freed and cell not in kept:
            free[n].append(cell)
    return [call._replace(free=tuple(cells)) for call, cells in zip(order, free, strict=True)]
