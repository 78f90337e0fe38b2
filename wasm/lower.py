"""From element indices to byte addresses: every load becomes `mem`, whose address is a sum ordered by loop depth.

Inside the emitter, `mem` has args (address[, valid]) and attr (buffer number, constant offset in bytes), and the leaf
`base` is the address of a buffer. Terms that belong to outer loops come first in a sum, so that hoisting finds them
as one value.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from itertools import count
from operator import attrgetter

from ..kernel.index import linear
from ..kernel.ir import I32, Axis, Builder, Expr, Store

_number = attrgetter("number")
_NEW = count(1 << 40)  # numbers of rewritten nodes: above those of any builder, in order of creation


@dataclass(frozen=True)
class Target:
    """A store whose index has become an address: `address + offset`, with the value and condition lowered too."""

    buffer: int
    address: Expr
    offset: int
    value: Expr
    valid: Expr | None
    loops: tuple[Axis, ...]
    in_order: bool = False  # whether iterations of its loops may store at the same place


class Lowering:
    """Rewrites expressions for one loop order; deeper loops have larger numbers in `depth`."""

    def __init__(self, ir: Builder, depth: dict[Axis, int]) -> None:
        self.ir = ir
        self.depth = depth
        self._done: dict[Expr, Expr] = {}
        self._sums: dict[object, Expr] = {}

    def store(self, store: Store) -> Target:
        """A store with its index as an address."""
        value = self.expr(store.value)
        valid = None if store.valid is None else self.expr(store.valid)
        address, offset = self.address(store.buffer, store.index, guarded=False)
        in_order = bool(store.loops) and any(x.op == "load" for x in nodes_of((store.index,)))
        return Target(store.buffer, address, offset, value, valid, store.loops, in_order)

    def expr(self, x: Expr) -> Expr:
        """The expression with every load as `mem`."""
        done = self._done
        found = done.get(x)
        if found is not None:
            return found
        for node in nodes_of((x,), done):
            if node.op == "load":
                done[node] = self._load(node)
            elif not node.args or all(done[a] is a for a in node.args):
                done[node] = node
            else:
                done[node] = self._node(node.op, node.dtype, tuple(done[a] for a in node.args), node.attr, node)
        return done[x]

    def replace(self, x: Expr, by: Expr) -> None:
        """From now on `by` stands where x stood."""
        self._done[x] = by

    def base(self, buffer: int) -> Expr:
        """The address of a buffer."""
        return self._leaf("base", buffer)

    def address(self, buffer: int, index: Expr, guarded: bool) -> tuple[Expr, int]:
        """The byte address of an element and a constant part that may go into the instruction."""
        terms, constant = linear(index)
        offset = 0
        if constant > 0 and not guarded and all(f > 0 and t.lo is not None and t.lo >= 0 for t, f in terms.items()):
            offset, constant = 4 * constant, 0
        total = self.base(buffer)
        if constant:
            total = self._sum("add", total, self.ir.const(4 * constant))
        for _, part in self._by_depth(terms):
            total = self._sum("add", total, part)
        return total, offset

    def _by_depth(self, terms: dict[Expr, int]) -> list[tuple[int, Expr]]:
        ordered = sorted(((self._depth(t), -f, t.number, t, f) for t, f in terms.items()), key=lambda item: item[:3])
        levels: list[tuple[int, Expr]] = []
        for depth, _, _, term, factor in ordered:
            part = self._sum("mul", self.expr(term), self.ir.const(4 * factor))
            if levels and levels[-1][0] == depth and depth >= 0:
                levels[-1] = (depth, self._sum("add", levels[-1][1], part))
            else:
                levels.append((depth, part))
        return levels

    def _depth(self, x: Expr) -> int:
        return max((self.depth.get(a, 1 << 20) for a in x.axes), default=-1)

    def _load(self, x: Expr) -> Expr:
        address, offset = self.address(x.attr, x.args[0], guarded=len(x.args) > 1)
        args = (address,) if len(x.args) == 1 else (address, self.expr(x.args[1]))
        return self._node("mem", x.dtype, args, (x.attr, offset), x)

    def _node(self, op: str, dtype: str, args: tuple[Expr, ...], attr: object, old: Expr) -> Expr:
        return Expr(self.ir, op, dtype, args, attr, old.lo, old.hi, old.axes, next(_NEW))

    def _leaf(self, op: str, attr: object) -> Expr:
        key = (op, attr)
        found = self._sums.get(key)
        if found is None:
            found = self._sums[key] = Expr(self.ir, op, I32, (), attr, None, None, frozenset(), 0)
        return found

    def _sum(self, op: str, a: Expr, b: Expr) -> Expr:
        key = (op, a, b)
        found = self._sums.get(key)
        if found is None:
            found = self._sums[key] = Expr(self.ir, op, I32, (a, b), None, None, None, a.axes | b.axes, next(_NEW))
        return found


def nodes_of(roots: Iterable[Expr], without: Container[Expr] = ()) -> list[Expr]:
    """Every node reachable from the roots, operands first, each once, except through nodes of `without`."""
    found = {x for x in roots if x not in without}
    stack = list(found)
    while stack:
        for a in stack.pop().args:
            if a not in found and a not in without:
                found.add(a)
                stack.append(a)
    return sorted(found, key=_number)


def sequential_axes(nodes: Sequence[Expr]) -> list[Axis]:
    """The axes of all folds among the nodes, outer folds (higher levels) first."""
    specs = {x.attr: None for x in nodes if x.op == "fold"}
    return [a for spec in sorted(specs, key=lambda s: -s.level) for a in spec.axes]
