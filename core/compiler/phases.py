"""Contractions whose factors depend on remainders of positions: the gradient of a strided convolution's input.

An element is reached by the taps of the filters whose number leaves the remainder that its position leaves, divided by
the stride. With that remainder, the phase, as an axis of its own, the sum over just these taps is a matrix product for
each phase; over whole positions it would have to run over all taps, most of them in vain.
"""

from __future__ import annotations

from collections.abc import Container, Sequence

from ..graph.ir import Value
from ..kernel.ir import Axis, Builder, Expr, rewrite
from ..shapes import Size, ceil_div
from .fuse import CONTRACTIONS

__all__ = ["contraction_in", "guarded", "split_axes", "strides_of"]


def contraction_in(value: Value, placed: Container[Value]) -> Value | None:
    """The contraction that is computed with a value: what is not placed is computed where it is read."""
    stack, seen = [value], set()
    while stack:
        v = stack.pop()
        if v.node is None or v in seen:
            continue
        seen.add(v)
        if v.node.op.name in CONTRACTIONS:
            return v
        stack.extend(i for i in v.node.inputs if i is not None and i not in placed)
    return None


def strides_of(contraction: Value, value: Value) -> tuple[int, ...]:
    """For each axis of the value, how far apart elements of one phase lie; () if there is but one phase, or if the
    value is not made of the contraction's elements one by one.
    """
    assert contraction.node is not None
    op, attrs = contraction.node.op, contraction.node.attrs
    if not hasattr(op, "phases") or contraction.sizes != value.sizes:
        return ()
    strides: tuple[int, ...] = op.phases(**attrs)
    return strides if max(strides) > 1 else ()


def split_axes(
    ir: Builder, sizes: Sequence[Size], strides: Sequence[int]
) -> tuple[tuple[Axis, ...], tuple[Expr, ...], Expr]:
    """Axes for phases, outermost, and for quotients; the indices that they make; whether these are inside the sizes."""
    rests = [ir.new_axis(stride) for stride in strides]
    quotients = [ir.new_axis(ceil_div(size, stride)) for size, stride in zip(sizes, strides, strict=True)]
    at, valid = [], ir.const(True)
    for size, stride, quotient, rest in zip(sizes, strides, quotients, rests, strict=True):
        at.append(ir.axis(quotient) * stride + ir.axis(rest))
        if stride > 1 and not (isinstance(size, int) and size % stride == 0):
            valid = valid & (at[-1] < ir.size(size))
    return tuple(a for a in (*rests, *quotients) if a.extent != 1), tuple(at), valid


def guarded(expr: Expr, valid: Expr) -> Expr:
    """The expression with the loads outside of its folds made only where `valid`."""
    swap: dict[Expr, Expr] = {}
    stack, seen = [expr], set()
    while stack:
        x = stack.pop()
        if x in seen or x.op == "fold":
            continue
        seen.add(x)
        stack.extend(x.args)
        if x.op == "load" and not x.axes.isdisjoint(valid.axes):
            guard = x.args[1] & valid if len(x.args) == 2 else valid
            swap[x] = x.ir._make("load", x.dtype, (x.args[0], guard), x.attr, None, None, x.axes | valid.axes)
    return rewrite([expr], swap)[0]
