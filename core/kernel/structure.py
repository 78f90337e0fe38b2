"""What a kernel's code depends on, as one value: kernels of equal structure need to be emitted only once.

An unrolled recurrent network has hundreds of kernels that differ in the names of their axes alone.
"""

from __future__ import annotations

from typing import Any

from ..shapes import Dim
from .ir import F32, Axis, Expr, Kernel, f32_key, store_roots, walk

__all__ = ["structure"]


def structure(kernel: Kernel) -> tuple[Any, ...]:
    """A hashable value; equal values mean equal code. Sizes count by their place among the kernel's words, those that
    an emitter has still to add by what they are.
    """
    sizes = {size: i for i, size in enumerate(kernel.sizes)}
    scalars = {scalar: i for i, scalar in enumerate(kernel.scalars)}
    axes: dict[Axis, int] = {}
    numbers: dict[Expr, int] = {}

    def extent(size: int | Dim) -> Any:
        return size if isinstance(size, int) else ("size", sizes.get(size, size))

    def number(axis: Axis) -> tuple[Any, ...]:
        return axes.setdefault(axis, len(axes)), extent(axis.extent)

    def attribute(x: Expr) -> Any:
        if x.op == "const":
            return f32_key(x.attr) if x.dtype == F32 else x.attr
        if x.op == "axis":
            return number(x.attr)
        if x.op == "size":
            return sizes.get(x.attr, x.attr)
        if x.op == "scalar":
            return scalars[x.attr[0]], x.attr[1]
        if x.op == "fold":
            return tuple(number(a) for a in x.attr.axes), x.attr.accumulators, x.attr.level
        if x.op == "acc":
            (level, dtypes, extents), index = x.attr
            return level, dtypes, tuple(extent(e) for e in extents), index
        return x.attr

    parallel = tuple(number(a) for a in kernel.axes)
    nodes = []
    for x in walk(store_roots(list(kernel.stores))):
        numbers[x] = len(numbers)
        nodes.append((x.op, x.dtype, attribute(x), tuple(numbers[a] for a in x.args)))
    stores = tuple(
        (
            s.buffer,
            numbers[s.index],
            numbers[s.value],
            None if s.valid is None else numbers[s.valid],
            tuple(number(a) for a in s.loops),
        )
        for s in kernel.stores
    )
    words = tuple((s.dtype, s.words) for s in kernel.scalars)
    return parallel, tuple(nodes), stores, tuple(b.dtype for b in kernel.buffers), len(sizes), words
