"""Maximum and average pooling over 1, 2 or 3 spatial axes, channels last.

Gradients are gathers: an element of the input asks the windows that cover it, so nothing is added from several places
at once. max_pool gives its gradient to the FIRST maximum of each window, as TensorFlow does; its second order
(`max_pool_pick`) reads the cotangent at these same places. Average pooling divides by the number of positions inside
the input.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod
from typing import Any

import numpy as np

from ..dtypes import FLOATING, NUMERIC
from ..errors import InvalidArgumentError
from ..kernel.ir import Builder, Expr, View
from .conv import each_tap, per_axis, reads
from .dispatch import apply
from .masks import words
from .op import Case, Pattern, Spec, case, find_op
from .parts import blocks
from .windows import Window, both, normal_padding, windows

__all__ = [
    "Pool",
    "avg_pool",
    "first_hits",
    "first_tap",
    "in_cache",
    "max_pool",
    "pool_samples",
    "sum_of_covering",
    "tap_number",
]

Array = Any

PART = 1 << 15  # elements of the output that the host's gradient of max_pool treats at a time: they stay in the cache


def max_pool(x: Any, ksize: Any, strides: Any = None, padding: Any = "VALID") -> Any:
    """The maximum of each window; `ksize` and `strides` (default: `ksize`) an int or one per spatial axis."""
    return apply("max_pool", x, **_attrs(x, ksize, strides, padding))


def avg_pool(x: Any, ksize: Any, strides: Any = None, padding: Any = "VALID") -> Any:
    """The mean of each window over its positions inside the input."""
    return apply("avg_pool", x, **_attrs(x, ksize, strides, padding))


def _attrs(x: Any, ksize: Any, strides: Any, padding: Any) -> dict[str, Any]:
    rank = len(x.sizes) - 2
    ksize = per_axis(ksize, rank)
    return {
        "ksize": ksize,
        "strides": ksize if strides is None else per_axis(strides, rank),
        "padding": normal_padding(padding, "pool"),
    }


class Pool(Pattern, abstract=True):
    version, dtypes = 1, FLOATING

    def geometry(
        self, x: Sequence[Any], ksize: tuple[int, ...], strides: tuple[int, ...], padding: Any
    ) -> tuple[Window, ...]:
        if len(x) != len(ksize) + 2:
            raise InvalidArgumentError(
                f"{self.name}: a window of {len(ksize)} axes needs an input with {len(ksize)} axes between batch "
                f"and channels; its shape is {tuple(x)}."
            )
        return windows(self.name, x[1:-1], ksize, strides, padding, (1,) * len(ksize))

    def pooled(self, x: Sequence[Any], **attrs: Any) -> tuple[Any, ...]:
        """The shape of the output for an input of shape `x`."""
        return (x[0], *(g.out for g in self.geometry(x, **attrs)), x[-1])

    def check(self, x: Sequence[Any], *others: Sequence[Any], **attrs: Any) -> None:
        expected = self.pooled(x, **attrs)
        for other in others:
            if tuple(other) != expected:
                raise InvalidArgumentError(
                    f"{self.name}: expected the shape of the pooled output, {expected}; received {tuple(other)}."
                )


class MaxPool(Pool):
    name, dtypes = "max_pool", NUMERIC

    def infer(self, x: Spec, **attrs: Any) -> Spec:
        return Spec(self.pooled(x.shape, **attrs), x.dtype)

    def numpy(self, x: Array, **attrs: Any) -> Array:
        y = np.full(self.pooled(x.shape, **attrs), _lowest(x.dtype), x.dtype)
        for _, o, i in each_tap(self.geometry(x.shape, **attrs)):
            np.maximum(y[o], x[i], out=y[o])
        return y

    def grad(self, dy: Any, x: Any, *, out: Any, **attrs: Any) -> Any:
        if all(g.overlap == 1 for g in self.geometry(x.sizes, **attrs)):
            return (apply("max_pool_grad", x, out, dy, **attrs),)
        places = apply("max_pool_places", x, out, **attrs)
        return (apply("max_pool_spread", dy, places, input_shape=tuple(x.sizes), **attrs),)

    def lower(self, ir: Builder, at: Sequence[Expr], x: View, **attrs: Any) -> Expr:
        geometry = self.geometry(x.shape, **attrs)
        n, *o, c = at

        def value(*k: Expr) -> Expr:
            where, valid = reads(ir, geometry, o, k)
            with ir.guard(valid):
                found = x.at(n, *where, c)
            return ir.select(valid, found, ir.const(_lowest(found.dtype), found.dtype))

        return ir.reduce("max", attrs["ksize"], value)

    def cases(self) -> Iterator[Case]:
        for x, attrs in pool_samples():
            yield case(x, **attrs)
        yield case([[[[1.0], [np.nan]], [[3.0], [2.0]]]], ksize=(2, 2), strides=(1, 1), padding="VALID", gradient=False)
        yield case(np.arange(12).reshape(1, 3, 4, 1) % 5, ksize=(2, 2), strides=(1, 1), padding="SAME", gradient=False)


class MaxPoolGrad(Pool):
    """dy of each window, at its first maximum. Inputs: x, y = max_pool(x), dy."""

    name = "max_pool_grad"

    def infer(self, x: Spec, y: Spec, dy: Spec, **attrs: Any) -> Spec:
        self.check(x.shape, y.shape, dy.shape, **attrs)
        return x

    def numpy(self, x: Array, y: Array, dy: Array, **attrs: Any) -> Array:
        geometry, dy = self.geometry(x.shape, **attrs), np.ascontiguousarray(dy)
        dx = np.zeros_like(x)
        alone = all(g.overlap == 1 for g in geometry)  # no position is read by two windows
        for part in in_cache(y):
            target, incoming = dx[part], words(dy[part])
            for o, i, hit in first_hits(x[part], y[part], geometry):
                mask = hit.view(np.int8).astype(incoming.dtype)
                np.negative(mask, out=mask)
                if alone:
                    np.bitwise_and(mask, incoming[o], out=words(target)[i])
                else:
                    mask &= incoming[o]
                    target[i] += mask.view(dy.dtype)
        return dx

    def grad(self, ddx: Any, x: Any, y: Any, dy: Any, *, out: Any, **attrs: Any) -> Any:
        return None, None, apply("max_pool_pick", x, y, ddx, **attrs)

    def lower(self, ir: Builder, at: Sequence[Expr], x: View, y: View, dy: View, **attrs: Any) -> Expr:
        geometry = self.geometry(x.shape, **attrs)

        def share(o: Sequence[Expr], k: Sequence[Expr], valid: Expr) -> Expr:
            n, c = at[0], at[-1]
            with ir.guard(valid):
                incoming = dy.at(n, *o, c)
            first = first_tap(ir, x, y, geometry, (n, *o, c), valid)
            return ir.select(both(valid, first.eq(tap_number(k, geometry))), incoming, ir.const(0.0))

        return sum_of_covering(ir, geometry, at[1:-1], share)

    def cases(self) -> Iterator[Case]:
        for x, attrs in pool_samples(ties=True):
            y = find_op("max_pool").numpy(x, **attrs)
            yield case(x, y, np.cos(np.arange(y.size)).reshape(y.shape), gradient=False, **attrs)


class MaxPoolPick(Pool):
    """The gradient of max_pool_grad for dy: `values` at the first maximum of each window. Inputs: x, y, values."""

    name = "max_pool_pick"

    def infer(self, x: Spec, y: Spec, values: Spec, **attrs: Any) -> Spec:
        self.check(x.shape, y.shape, **attrs)
        if values.shape != x.shape:
            raise InvalidArgumentError(
                f"{self.name}: values must have the shape of x, {tuple(x.shape)}; received {tuple(values.shape)}."
            )
        return Spec(y.shape, values.dtype)

    def numpy(self, x: Array, y: Array, values: Array, **attrs: Any) -> Array:
        picked = np.zeros(y.shape, values.dtype)
        for o, i, hit in first_hits(x, y, self.geometry(x.shape, **attrs)):
            picked[o] += np.where(hit, values[i], 0)
        return picked

    def grad(self, dpicked: Any, x: Any, y: Any, values: Any, *, out: Any, **attrs: Any) -> Any:
        return None, None, apply("max_pool_grad", x, y, dpicked, **attrs)

    def lower(self, ir: Builder, at: Sequence[Expr], x: View, y: View, values: View, **attrs: Any) -> Expr:
        geometry = self.geometry(x.shape, **attrs)
        first = first_tap(ir, x, y, geometry, at, ir.const(True))
        k: list[Expr] = []
        rest = first
        for g in reversed(geometry):
            k.insert(0, rest % g.kernel)
            rest = rest // g.kernel
        where, valid = reads(ir, geometry, at[1:-1], k)
        with ir.guard(both(valid, first < _num_taps(geometry))):
            return values.at(at[0], *where, at[-1])

    def cases(self) -> Iterator[Case]:
        for x, attrs in pool_samples(ties=True):
            yield case(
                x,
                find_op("max_pool").numpy(x, **attrs),
                np.cos(np.arange(x.size)).reshape(x.shape),
                gradient=False,
                **attrs,
            )


class AvgPool(Pool):
    name = "avg_pool"

    def infer(self, x: Spec, **attrs: Any) -> Spec:
        return Spec(self.pooled(x.shape, **attrs), x.dtype)

    def numpy(self, x: Array, **attrs: Any) -> Array:
        geometry = self.geometry(x.shape, **attrs)
        y = np.zeros(self.pooled(x.shape, **attrs), x.dtype)
        for _, o, i in each_tap(geometry):
            y[o] += x[i]
        y /= _counts(geometry, x.dtype)
        return y

    def grad(self, dy: Any, x: Any, *, out: Any, **attrs: Any) -> Any:
        return (apply("avg_pool_grad", dy, input_shape=tuple(x.sizes), **attrs),)

    def lower(self, ir: Builder, at: Sequence[Expr], x: View, **attrs: Any) -> Expr:
        geometry = self.geometry(x.shape, **attrs)
        n, *o, c = at

        def value(*k: Expr) -> Expr:
            where, valid = reads(ir, geometry, o, k)
            with ir.guard(valid):
                return x.at(n, *where, c)

        return ir.sum(attrs["ksize"], value) / _count(ir, geometry, o)

    def cases(self) -> Iterator[Case]:
        for x, attrs in pool_samples():
            yield case(x, **attrs)


class AvgPoolGrad(Pool):
    """Each dy shared evenly by the positions of its window."""

    name = "avg_pool_grad"

    def infer(self, dy: Spec, *, input_shape: tuple[Any, ...], **attrs: Any) -> Spec:
        self.check(input_shape, dy.shape, **attrs)
        return Spec(input_shape, dy.dtype)

    def numpy(self, dy: Array, *, input_shape: tuple[int, ...], **attrs: Any) -> Array:
        geometry = self.geometry(input_shape, **attrs)
        dx, shared = np.zeros(input_shape, dy.dtype), dy / _counts(geometry, dy.dtype)
        for _, o, i in each_tap(geometry):
            dx[i] += shared[o]
        return dx

    def grad(self, ddx: Any, dy: Any, *, out: Any, input_shape: Any, **attrs: Any) -> Any:
        return (apply("avg_pool", ddx, **attrs),)

    def lower(self, ir: Builder, at: Sequence[Expr], dy: View, *, input_shape: tuple[Any, ...], **attrs: Any) -> Expr:
        geometry = self.geometry(input_shape, **attrs)

        def share(o: Sequence[Expr], k: Sequence[Expr], valid: Expr) -> Expr:
            with ir.guard(valid):
                incoming = dy.at(at[0], *o, at[-1])
            return ir.select(valid, incoming / _count(ir, geometry, o), ir.const(0.0))

        return sum_of_covering(ir, geometry, at[1:-1], share)

    def cases(self) -> Iterator[Case]:
        for x, attrs in pool_samples():
            yield case(find_op("avg_pool").numpy(x, **attrs), input_shape=x.shape, **attrs)


def _lowest(dtype: Any) -> Any:
    """What a maximum starts from, for a numpy or kernel dtype."""
    if isinstance(dtype, np.dtype):
        return -np.inf if dtype.kind == "f" else np.iinfo(dtype).min
    return {"f32": -np.inf, "i32": -(2**31), "u32": 0}[dtype]


def first_hits(x: Array, y: Array, geometry: Sequence[Window]) -> Iterator[tuple[Any, Any, Array]]:
    """Per tap: windows, positions, where the tap is the first to reach the maximum. "Not below" also finds a NaN."""
    found = np.zeros(y.shape, bool)
    for _, o, i in each_tap(geometry):
        with np.errstate(invalid="ignore"):
            hit = np.less(x[i], y[o])
        np.logical_or(hit, found[o], out=hit)
        np.logical_not(hit, out=hit)
        found[o] |= hit
        yield o, i, hit


def in_cache(y: Array) -> Iterator[slice]:
    """Parts of a batch of windows that stay in the cache."""
    return blocks(len(y), max(1, PART // max(1, prod(y.shape[1:]))))


def first_tap(ir: Builder, x: View, y: View, geometry: Sequence[Window], at: Sequence[Expr], exists: Expr) -> Expr:
    """The number of the first tap of a window that reaches its maximum."""
    n, *o, c = at
    with ir.guard(exists):
        largest = y.at(n, *o, c)

    def candidate(*k: Expr) -> Expr:
        where, valid = reads(ir, geometry, o, k)
        valid = both(valid, exists)
        with ir.guard(valid):
            below = x.at(n, *where, c) < largest
        return ir.select(both(valid, ~below), tap_number(k, geometry), ir.const(_num_taps(geometry)))

    return ir.reduce("min", [g.kernel for g in geometry], candidate)


def tap_number(k: Sequence[Any], geometry: Sequence[Window]) -> Any:
    """The number of a tap, in row-major order; of indices or of expressions."""
    number = k[0]
    for g, kk in zip(geometry[1:], k[1:], strict=True):
        number = number * g.kernel + kk
    return number


def _num_taps(geometry: Sequence[Window]) -> int:
    return int(np.prod([g.kernel for g in geometry]))


def sum_of_covering(ir: Builder, geometry: Sequence[Window], position: Sequence[Expr], share: Any) -> Expr:
    """The sum of `share(window, tap, valid)` over the windows that cover a position; no loop where one does."""

    def one(*j: Expr) -> Expr:
        o, k, valid = [], [], ir.const(True)
        for g, i, jj in zip(geometry, position, j, strict=True):
            window, tap, ok = g.covering(ir, i, jj)
            o.append(window)
            k.append(tap)
            valid = both(valid, ok)
        return share(o, k, valid)

    if all(g.overlap == 1 for g in geometry):
        return one(*[ir.const(0)] * len(geometry))
    return ir.sum([g.overlap for g in geometry], one)


def _count(ir: Builder, geometry: Sequence[Window], o: Sequence[Expr]) -> Expr:
    """How many positions of a window are inside the input, as f32."""
    count = ir.const(1)
    for g, oo in zip(geometry, o, strict=True):
        inside: Any = g.kernel
        if g.padded:
            start = oo * g.stride - g.before
            inside = ir.call("min", start + g.kernel, ir.size(g.size)) - ir.call("max", start, ir.const(0))
        count = count * inside
    return ir.cast(count, "f32")


def _counts(geometry: Sequence[Window], dtype: Any) -> Array:
    """The same for all windows, to broadcast against [batch, windows..., channels]."""
    counts = np.ones((1,) * (len(geometry) + 2), dtype)
    for axis, g in enumerate(geometry, start=1):
        start = np.arange(g.out) * g.stride - g.before
        inside = np.minimum(start + g.kernel, g.size) - np.maximum(start, 0)
        counts = counts * inside.reshape([-1 if a == axis else 1 for a in range(counts.ndim)]).astype(dtype)
    return counts


def pool_samples(ties: bool = False) -> Iterator[tuple[Array, dict[str, Any]]]:
    """Inputs of 1, 2 and 3 spatial axes: windows that fit, overlap, leave gaps or reach outside; ties if asked for."""
    table: list[tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...], Any]] = [
        ((2, 6, 4, 3), (2, 2), (2, 2), "VALID"),
        ((2, 5, 7, 2), (3, 3), (2, 2), "SAME"),
        ((1, 5, 5, 2), (2, 3), (1, 1), "VALID"),
        ((2, 7, 5, 1), (2, 2), (3, 3), "SAME"),
        ((1, 7, 5, 2), (2, 2), (2, 2), "VALID"),
        ((2, 7, 3), (3,), (2,), "SAME"),
        ((1, 4, 3, 5, 2), (2, 2, 2), (2, 1, 2), "SAME"),
        ((1, 4, 4, 1), (3, 3), (1, 1), ((1, 1), (2, 0))),
        ((0, 4, 4, 2), (2, 2), (2, 2), "VALID"),
    ]
    rng = np.random.default_rng(6)
    for shape, ksize, strides, padding in table:
        # a shuffled ramp: no two values are near each other, so that a finite difference never changes the maximum
        values = rng.permutation(int(np.prod(shape))).astype(np.float32) * 0.1
        x = np.floor(values) if ties else values
        yield x.reshape(shape).astype(np.float32), {"ksize": ksize, "strides": strides, "padding": padding}
