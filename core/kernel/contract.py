"""Recognises contractions in plain kernel IR: a sum of products whose factors depend on different parallel axes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from .ir import F32, Axis, Expr, Kernel, store_roots, walk

__all__ = ["Contract", "find_contract"]


@dataclass(frozen=True)
class Contract:
    """out(fold, index) = sum over `k` of a * b. `a` depends on the axes `batch` and `m`, `b` on `batch` and `n`.

    `n` holds the innermost axis of the kernel that is not a batch axis, where there is one.
    """

    kernel: Kernel
    fold: Expr
    index: int
    a: Expr
    b: Expr
    batch: tuple[Axis, ...]
    m: tuple[Axis, ...]
    n: tuple[Axis, ...]
    k: tuple[Axis, ...]

    @cached_property
    def outs(self) -> list[Expr]:
        """The expressions in the stores that read the contraction's result."""
        return [
            x
            for x in walk(store_roots(list(self.kernel.stores)))
            if x.op == "out" and x.args[0] is self.fold and x.attr == self.index
        ]


def find_contract(kernel: Kernel) -> Contract | None:
    """The contraction that is the kernel's main work, or None.

    There must be exactly one sum of an f32 product with an axis of its own on each side; what else the kernel folds
    must be computed at fewer points (a bias gradient beside a weight gradient).
    """
    found: list[Contract] = []
    for x in walk(store_roots(list(kernel.stores))):
        if x.op == "fold":
            for index, accumulator in enumerate(x.attr.accumulators):
                value = x.args[len(x.attr.accumulators) + index]
                if accumulator.combine == "sum" and accumulator.dtype == F32 and value.op == "mul":
                    contract = _split(kernel, x, index, value)
                    if contract is not None:
                        found.append(contract)
    return found[0] if len(found) == 1 else None


def _split(kernel: Kernel, fold: Expr, index: int, value: Expr) -> Contract | None:
    a, b = value.args
    outer = set(kernel.axes)
    if not value.axes <= outer | set(fold.attr.axes) or any(x.op in ("fold", "acc") for x in walk([value])):
        return None
    only_a, only_b = (a.axes - b.axes) & outer, (b.axes - a.axes) & outer
    if not only_a or not only_b or not (set(fold.attr.axes) & a.axes & b.axes):
        return None
    free = [axis for axis in kernel.axes if axis in only_a or axis in only_b]
    if free[-1] in only_a:
        a, b, only_a, only_b = b, a, only_b, only_a
    return Contract(
        kernel,
        fold,
        index,
        a,
        b,
        batch=tuple(x for x in kernel.axes if x not in only_a and x not in only_b),
        m=tuple(x for x in kernel.axes if x in only_a),
        n=tuple(x for x in kernel.axes if x in only_b),
        k=fold.attr.axes,
    )
