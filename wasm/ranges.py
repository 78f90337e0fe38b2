"""Shapes loops by what their axes are compared with and divided by.

Cuts loops where a condition changes, so that inside each part it is known: no guards, nothing computed in vain.

Gates side by side in one tensor (i < 64, 64 <= i < 128, ...), the padding of a window (0 <= y + 1 < height), a
concatenation, all compare an axis with constants. Each part is a nest of its own in which those comparisons, and what
hangs on them, are gone. Where several axes are cut, only the middle of one is cut along the next: the rims of an image
keep some of their conditions, and the code stays short.

An axis of which both quotient and remainder are needed (the gradient of pooling: which window, where in it) becomes a
loop over the quotient, with the remainders side by side inside: what the window has in common is computed once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from math import prod

from ..kernel.index import linear
from ..kernel.ir import I32, Axis, Expr, Store, rebuild, store_roots
from .lanes import known_extent
from .lower import nodes_of

__all__ = ["cut_ranges", "rewritten", "simplified", "unroll_remainders"]

_WORTH = 1 << 13  # points of a kernel from which shorter inner loops pay for longer code
_WORTH_SIDES = 1 << 15  # and from which elements that share a computation are made side by side
_SHORT = 12  # extent below which an axis keeps its rims: they are too much of it
_MOST_PARTS = 5  # of one axis
_MOST_NODES = 1200  # of all parts together
_MOST_SIDES = 4  # remainders side by side, of all axes together
_RIM = 4  # a part is a rim if it is this many times shorter than the longest one

Nest = tuple[tuple[Axis, ...], list[Store]]


def cut_ranges(axes: tuple[Axis, ...], stores: Sequence[Store]) -> list[Nest]:
    """The nests that together make the stores over all points of the axes."""
    whole = [(axes, list(stores))]
    if prod(map(known_extent, axes)) < _WORTH:
        return whole
    nodes = nodes_of(store_roots(list(stores)))
    cuts = _cuts(axes, nodes)
    if not cuts:
        return whole
    nests = _cut(axes, list(stores), cuts, [a for a in axes if a in cuts])
    if sum(len(nodes_of(store_roots(made))) for _, made in nests) > max(_MOST_NODES, len(nodes)):
        return whole
    return nests


def unroll_remainders(axes: tuple[Axis, ...], stores: Sequence[Store]) -> Nest:
    """The axes and stores with axes split into quotient and remainder where both occur."""
    made = list(stores)
    if prod(map(known_extent, axes)) < _WORTH_SIDES or any(s.loops for s in stores):
        return axes, made
    sides = 1
    for axis, by in _divisors(axes, nodes_of(store_roots(made))).items():
        if sides * by > _MOST_SIDES:
            continue
        ir = made[0].value.ir
        quotient = ir.new_axis(axis.extent // by)
        split = [s for r in range(by) for s in rewritten(made, {ir.axis(axis): ir.axis(quotient) * by + r})]
        if len(nodes_of(store_roots(split))) <= _MOST_NODES:
            axes, made, sides = tuple(quotient if a is axis else a for a in axes), split, sides * by
    return axes, made


def _divisors(axes: Sequence[Axis], nodes: Sequence[Expr]) -> dict[Axis, int]:
    """The axes of which quotient and remainder by one number occur, but not by another; the innermost stays whole."""
    found: dict[Axis, dict[int, set[str]]] = {}
    for x in nodes:
        if x.op in ("div", "mod") and x.args[0].op == "axis" and x.args[1].op == "const" and x.args[0].attr in axes:
            found.setdefault(x.args[0].attr, {}).setdefault(x.args[1].attr, set()).add(x.op)
    return {
        axis: by
        for axis, uses in found.items()
        for by, ops in uses.items()
        if len(uses) == 1 and len(ops) == 2 and axis is not axes[-1]
        and isinstance(axis.extent, int) and axis.extent % by == 0 and axis.extent > by
    }


def _cuts(axes: Sequence[Axis], nodes: Sequence[Expr]) -> dict[Axis, list[int]]:
    """For each axis where comparisons with constants change, between 0 and its extent."""
    found: dict[Axis, set[int]] = {}
    for x in nodes:
        if x.op not in ("lt", "le") or x.args[0].dtype != I32:
            continue
        terms, constant = linear(x.args[0])
        more, other = linear(x.args[1])
        if len(terms) + len(more) != 1:
            continue
        ((term, factor),) = (terms or more).items()
        if term.op != "axis" or factor <= 0 or term.attr not in axes or not isinstance(term.attr.extent, int):
            continue
        if terms:  # factor * axis + constant < (<=) other: true below
            at = -(-(other - constant + (x.op == "le")) // factor)
        else:  # constant < (<=) factor * axis + other: false below
            at = -(-(constant - other + (x.op == "lt")) // factor)
        if 0 < at < term.attr.extent:
            found.setdefault(term.attr, set()).add(at)
    return {a: sorted(at) for a, at in found.items() if len(at) < _MOST_PARTS and not _all_rim(a.extent, at)}


def _all_rim(extent: int, at: set[int]) -> bool:
    """Whether a short axis would be cut into a middle and rims."""
    ends = [0, *sorted(at), extent]
    lengths = [stop - start for start, stop in pairwise(ends)]
    return extent < _SHORT and min(lengths) * _RIM <= max(lengths)


def _cut(axes: tuple[Axis, ...], stores: list[Store], cuts: dict[Axis, list[int]], order: Sequence[Axis]) -> list[Nest]:
    if not order:
        return [(axes, stores)]
    axis, rest = order[0], order[1:]
    ends = [0, *cuts[axis], axis.extent]
    lengths = [stop - start for start, stop in pairwise(ends)]
    nests: list[Nest] = []
    for start, length in zip(ends, lengths, strict=False):
        part, made = _part(axis, start, length, stores)
        inside = tuple(part if a is axis else a for a in axes if a is not axis or length > 1)
        nests += _cut(inside, made, cuts, rest if length * _RIM > max(lengths) else [])
    return nests


def _part(axis: Axis, start: int, length: int, stores: Sequence[Store]) -> tuple[Axis, list[Store]]:
    """The stores over axis = start .. start + length - 1, by an axis that counts from 0."""
    ir = stores[0].value.ir
    part = ir.new_axis(length)
    return part, rewritten(stores, {ir.axis(axis): ir.axis(part) + start})


def rewritten(stores: Sequence[Store], swap: dict[Expr, Expr]) -> list[Store]:
    """The stores over other axes; loads and stores of which the condition is known now lose it."""
    done = simplified(store_roots(list(stores)), swap)
    made = []
    for s in stores:
        valid = None if s.valid is None else done[s.valid]
        if valid is not None and valid.op == "const":
            if not valid.attr:
                continue
            valid = None
        made.append(replace(s, index=done[s.index], value=done[s.value], valid=valid))
    return made


def simplified(roots: Sequence[Expr], swap: dict[Expr, Expr]) -> dict[Expr, Expr]:
    """What stands for each node of the roots if others are exchanged; loads of which the condition is known lose it."""
    done = dict(swap)
    for x in nodes_of(roots, done):
        if not x.args or all(done[a] is a for a in x.args):
            done[x] = x
            continue
        args = tuple(done[a] for a in x.args)
        if x.op == "load" and len(args) > 1 and args[1].op == "const":
            done[x] = x.ir.load(x.attr, x.dtype, args[0]) if args[1].attr else x.ir.const(0, x.dtype)
        else:
            done[x] = rebuild(x, args)
    return done
