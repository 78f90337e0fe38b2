"""Rewriting of kernels for the schedule: an axis becomes blocks of several points, or of four lanes of a vec4.

`split_lanes` answers the question behind every vec4 access: is an index four neighbours from a multiple of four on?
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..kernel.index import from_linear, linear
from ..kernel.ir import I32, Axis, Builder, Expr, Store, rebuild, walk
from ..shapes import Dim, Size, ceil_div

LANES = 4
DEEP = 64                   # operands inside operands that are rewritten by recursion


def multiple_of(size: Size, by: int) -> bool:
    """Whether a size is a multiple of `by` for all values of its symbols."""
    if isinstance(size, int):
        return size % by == 0
    if size.kind == "symbol":
        return bool(size.args[3] % by == 0)
    if size.kind == "sum":
        *terms, constant = size.args
        return constant % by == 0 and all(f % by == 0 or multiple_of(t, by) for t, f in terms)
    if size.kind == "mul":
        return any(multiple_of(x, by) for x in size.args)
    return size.kind in ("min", "max") and all(multiple_of(x, by) for x in size.args)


def is_multiple(x: Expr, by: int) -> bool:
    """Whether an index expression is a multiple of `by`, as far as its form shows."""
    if x.op == "const":
        return bool(x.attr % by == 0)
    if x.op == "size":
        return multiple_of(x.attr, by)
    if x.op == "mul":
        return is_multiple(x.args[0], by) or is_multiple(x.args[1], by)
    if x.op == "add":
        return is_multiple(x.args[0], by) and is_multiple(x.args[1], by)
    if x.op == "mod":
        return is_multiple(x.args[0], by) and is_multiple(x.args[1], by)
    return False


def divide_by_lanes(x: Expr) -> Expr:
    """x / 4 for an x that is a multiple of 4."""
    ir = x.ir
    terms, constant = linear(x)
    whole = {t: f // LANES for t, f in terms.items() if f % LANES == 0}
    result = from_linear(ir, whole, constant // LANES)
    for term, factor in terms.items():
        if term not in whole:
            result = result + _divide_term(ir, term) * factor
    return result


def _divide_term(ir: Builder, term: Expr) -> Expr:
    if term.op == "size" and isinstance(term.attr, Dim):
        return ir.size(term.attr // LANES)
    if term.op == "mul":
        a, b = term.args
        return divide_by_lanes(a) * b if is_multiple(a, LANES) else a * divide_by_lanes(b)
    if term.op == "mod":
        return divide_by_lanes(term.args[0]) % divide_by_lanes(term.args[1])
    return ir.binary("div", term, ir.const(LANES))


def split_lanes(index: Expr, lane: Axis) -> Expr | None:
    """q if index == 4 * q + lane with a q that does not depend on the lane, else None."""
    terms, constant = linear(index)
    at = index.ir.axis(lane)
    if terms.pop(at, 0) != 1 or constant % LANES:
        return None
    if any(lane in t.axes or not (f % LANES == 0 or is_multiple(t, LANES)) for t, f in terms.items()):
        return None
    return divide_by_lanes(from_linear(index.ir, terms, constant))


def split_constant(index: Expr) -> tuple[Expr, int] | None:
    """q and c if index == 4 * q + c with a c of 0 to 3 that is a constant or a turned one, else None."""
    terms, constant = linear(index)
    turned = [t for t, f in terms.items() if t.op == "turn" and f == 1]
    if turned and constant % LANES == 0:
        del terms[turned[0]]
        constant += turned[0].attr
    if any(not (f % LANES == 0 or is_multiple(t, LANES)) for t, f in terms.items()):
        return None
    return divide_by_lanes(from_linear(index.ir, terms, constant - constant % LANES)), constant % LANES


class Substitution:
    """Replaces axes by expressions; what does not depend on them is not visited. `lane` enables the rules for lanes."""

    def __init__(self, swap: dict[Axis, Expr], lane: Axis | None = None) -> None:
        self.swap = swap
        self.axes = frozenset(swap)
        self.lane = lane
        self.done: dict[Expr, Expr] = {}
        self.level = 0

    def __call__(self, x: Expr) -> Expr:
        if self.axes.isdisjoint(x.axes):
            return x
        found = self.done.get(x)
        if found is None:
            self.level += 1
            if self.level == DEEP:              # operands first, so that Python's stack does not grow with the kernel
                for y in walk(list(x.args)):
                    self(y)
            if x.op == "axis":
                found = self.swap[x.attr]
            elif x.dtype == I32 and (x.op == "add" or (x.op == "mul" and x.args[1].op == "const")):
                found = self._sum(x)
            else:
                found = self._rebuild(x, tuple(map(self, x.args)))
            self.done[x] = found
            self.level -= 1
        return found

    def _sum(self, x: Expr) -> Expr:
        """A sum of terms at once, instead of node by node: most of what is rewritten are indices."""
        terms, constant = linear(x)
        result: dict[Expr, int] = {}
        for term, factor in terms.items():
            if self.axes.isdisjoint(term.axes):
                result[term] = result.get(term, 0) + factor
                continue
            more, other = linear(self(term))
            constant += factor * other
            for inner, count in more.items():
                result[inner] = result.get(inner, 0) + factor * count
        return from_linear(x.ir, {t: f for t, f in result.items() if f}, constant)

    def _rebuild(self, x: Expr, args: tuple[Expr, ...]) -> Expr:
        if x.op == "load" and len(args) == 2 and args[1].op == "const":
            return rebuild(x, args[:1]) if args[1].attr else x.ir.const(0, x.dtype)
        if self.lane is not None and x.op in ("div", "mod") and self.lane in args[0].axes:
            return self._divide(x, args)
        return rebuild(x, args)

    def _divide(self, x: Expr, args: tuple[Expr, ...]) -> Expr:
        """(4q + lane) div 4d = q div d, and (4q + lane) mod 4d = 4 (q mod d) + lane."""
        a, b = args
        if self.lane in b.axes or not is_multiple(b, LANES) or b.op not in ("const", "size"):
            return rebuild(x, args)
        quotient = split_lanes(a, self.lane)  # type: ignore[arg-type]
        if quotient is None or a.lo is None or a.lo < 0:
            return rebuild(x, args)
        inner = x.ir.binary(x.op, quotient, divide_by_lanes(b))
        return inner if x.op == "div" else inner * LANES + x.ir.axis(self.lane)  # type: ignore[arg-type]

    def store(self, s: Store) -> Store:
        """A store with its expressions rewritten."""
        return replace(s, index=self(s.index), value=self(s.value), valid=None if s.valid is None else self(s.valid))


def turn(ir: Builder, number: int) -> Expr:
    """`number`, in fours in the order of an invocation: the first of four is that of its place in a quad, the next ones
    are those of its neighbours across, below and diagonally.
    """
    return ir._make("turn", I32, (), number % LANES, 0, LANES - 1, frozenset()) + (number - number % LANES)


def unroll(stores: Sequence[Store], axis: Axis, factor: int, *, lane: Axis | None = None,
           turned: bool = False) -> tuple[tuple[Store, ...], Axis]:
    """Rewrites `axis` as block * factor + point, with the stores of every point of a block; gives them and that axis.

    Points past the end of the last block load what the last point loads, and are not stored. `turned`: in fours, the
    order of which depends on the place in a quad.
    """
    ir = stores[0].index.ir
    blocks = _blocks(axis.extent, factor)
    block = Axis(axis.name + "b", blocks)
    exact = multiple_of(axis.extent, factor)
    result: list[Store] = []
    last = ir.size(axis.extent) - 1
    for point in range(factor):
        at = ir.axis(block) * factor + (turn(ir, point) if turned else point)
        inside = None if exact or (point == 0 and not turned) else ir.binary("le", at, last)
        swap = Substitution({axis: at if inside is None else ir.binary("min", at, last)}, lane)
        for s in stores:
            s = swap.store(s)
            if inside is not None:
                s = replace(s, valid=inside if s.valid is None else s.valid & inside)
            if not _never(s):
                result.append(s)
    return tuple(result), block


def roll(stores: Sequence[Store], axis: Axis, factor: int, *, lane: Axis | None = None,
         turned: bool = False) -> tuple[tuple[Store, ...], Axis]:
    """As `unroll`, with a loop over the points of a block around the stores and what follows the sums.

    The sums of all points, which share their loads, go to arrays that the loop picks from. Compilers take long for
    stores and for what is around them: two dozen stores cost a software adapter as much as the loop of a contraction.
    """
    ir = stores[0].index.ir
    block, row = Axis(axis.name + "b", _blocks(axis.extent, factor)), Axis(axis.name + "t", factor)
    exact, last = multiple_of(axis.extent, factor), ir.size(axis.extent) - 1

    def swap(point: Expr) -> Substitution:
        at = ir.axis(block) * factor + point
        first = point.op == "const" and point.attr == 0
        return Substitution({axis: at if exact or first else ir.binary("min", at, last)}, lane)

    points = [swap(turn(ir, p) if turned else ir.const(p)) for p in range(factor)]
    rest, number = swap(ir.axis(row)), ir.axis(row)
    if turned:
        number = ir.binary("xor", number, turn(ir, 0))
    inside = None if exact else ir.binary("le", ir.axis(block) * factor + ir.axis(row), last)
    for x in sums_of(stores, axis):
        parts = (*(point(x) for point in points), number)
        rest.done[x] = ir._make("pick", x.dtype, parts, None, None, None, frozenset().union(*(p.axes for p in parts)))
    result = []
    for s in map(rest.store, stores):
        if inside is not None:
            s = replace(s, valid=inside if s.valid is None else s.valid & inside)
        if not _never(s):
            result.append(replace(s, loops=(row,)))
    return tuple(result), block


def sums_of(stores: Sequence[Store], axis: Axis) -> list[Expr]:
    """The outermost results of folds that depend on an axis."""
    found: dict[Expr, None] = {}
    stack, seen = [s.value for s in stores], set()
    while stack:
        x = stack.pop()
        if axis in x.axes and x not in seen:
            seen.add(x)
            if x.op == "out":
                found[x] = None
            else:
                stack += x.args
    return list(found)


def vectorise(stores: Sequence[Store], axis: Axis) -> tuple[tuple[Store, ...], Axis, Axis]:
    """Rewrites `axis`, whose extent is a multiple of 4, as 4 * block + lane. Gives the stores, block axis and lane."""
    ir = stores[0].index.ir
    block, lane = Axis(axis.name + "v", _blocks(axis.extent, LANES)), Axis("lane", LANES)
    swap = Substitution({axis: ir.axis(block) * LANES + ir.axis(lane)}, lane)
    made = (replace(swap.store(s), loops=tuple(block if a is axis else a for a in s.loops)) for s in stores)
    return tuple(s for s in made if not _never(s)), block, lane


def at_lane(x: Expr, lane: Axis, number: int) -> Expr:
    """The expression of one lane."""
    return Substitution({lane: x.ir.const(number, I32)})(x)


def _blocks(extent: Size, factor: int) -> Size:
    if not isinstance(extent, int) and multiple_of(extent, factor):
        return extent // factor
    return ceil_div(extent, factor)


def _never(s: Store) -> bool:
    return s.valid is not None and s.valid.op == "const" and not s.valid.attr
