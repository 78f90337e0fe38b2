"""Where each window has its maximum, as a value of its own: the gradient of max_pool over windows that overlap.

An element that several windows cover would search each of them again. Here every window is searched once, for the
number of its first maximum; the gradient and its own gradient only compare numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ..dtypes import int32
from ..errors import InvalidArgumentError
from ..kernel.ir import Builder, Expr, View
from .conv import each_tap, reads
from .dispatch import apply
from .masks import words
from .op import Case, Spec, case, find_op, no_gradient
from .pool import Pool, first_tap, in_cache, pool_samples, sum_of_covering, tap_number
from .windows import both

__all__: list[str] = []

Array = Any


class MaxPoolPlaces(Pool):
    """The number of the first maximum in each window, in row-major order of its taps. Inputs: x, y = max_pool(x)."""

    name = "max_pool_places"
    grad = no_gradient("places are integers")

    def infer(self, x: Spec, y: Spec, **attrs: Any) -> Spec:
        self.check(x.shape, y.shape, **attrs)
        return Spec(y.shape, int32)

    def numpy(self, x: Array, y: Array, **attrs: Any) -> Array:
        geometry = self.geometry(x.shape, **attrs)
        taps = [(tap_number(k, geometry), o, i) for k, o, i in each_tap(geometry)]
        narrow = np.int8 if max((number for number, _, _ in taps), default=0) < 128 else np.int32
        places = np.empty(y.shape, np.int32)
        for part in in_cache(y):
            found, most, seen = np.zeros(y[part].shape, narrow), y[part], x[part]
            for number, o, i in reversed(taps):     # the first maximum is written last
                below = np.less(seen[i], most[o]).view(np.int8)     # of a NaN too it is not
                number, target = narrow(number), found[o]
                target ^= number
                target &= np.negative(below, out=below).astype(narrow, copy=False)
                target ^= number
            places[part] = found
        return places

    def lower(self, ir: Builder, at: Sequence[Expr], x: View, y: View, **attrs: Any) -> Expr:
        return first_tap(ir, x, y, self.geometry(x.shape, **attrs), at, ir.const(True))

    def cases(self) -> Iterator[Case]:
        for x, y, _, attrs in _samples():
            yield case(x, y, gradient=False, **attrs)


class MaxPoolSpread(Pool):
    """dy of each window, at its place. Inputs: dy, places."""

    name, same = "max_pool_spread", (0,)

    def infer(self, dy: Spec, places: Spec, *, input_shape: tuple[Any, ...], **attrs: Any) -> Spec:
        self.check(input_shape, dy.shape, places.shape, **attrs)
        return Spec(input_shape, dy.dtype)

    def numpy(self, dy: Array, places: Array, *, input_shape: tuple[int, ...], **attrs: Any) -> Array:
        geometry = self.geometry(input_shape, **attrs)
        dx, dy = np.zeros(input_shape, dy.dtype), np.ascontiguousarray(dy)
        for part in in_cache(dy):
            here, incoming, target = places[part], words(dy[part]), dx[part]
            for k, o, i in each_tap(geometry):
                mask = np.equal(here[o], tap_number(k, geometry)).view(np.int8).astype(incoming.dtype)
                np.negative(mask, out=mask)
                mask &= incoming[o]
                target[i] += mask.view(dy.dtype)
        return dx

    def grad(self, ddx: Any, dy: Any, places: Any, *, out: Any, input_shape: Any, **attrs: Any) -> Any:
        return apply("max_pool_gather", ddx, places, **attrs), None

    def lower(
        self, ir: Builder, at: Sequence[Expr], dy: View, places: View, *, input_shape: tuple[Any, ...], **attrs: Any
    ) -> Expr:
        geometry = self.geometry(input_shape, **attrs)

        def share(o: Sequence[Expr], k: Sequence[Expr], valid: Expr) -> Expr:
            with ir.guard(valid):
                incoming, place = dy.at(at[0], *o, at[-1]), places.at(at[0], *o, at[-1])
            return ir.select(both(valid, place.eq(tap_number(k, geometry))), incoming, ir.const(0.0))

        return sum_of_covering(ir, geometry, at[1:-1], share)

    def cases(self) -> Iterator[Case]:
        for x, _, places, attrs in _samples():
            dy = np.cos(np.arange(places.size)).reshape(places.shape)
            yield case(dy, places, input_shape=x.shape, **attrs)


class MaxPoolGather(Pool):
    """The gradient of max_pool_spread: of each window the value at its place. Inputs: values, places."""

    name, same = "max_pool_gather", (0,)

    def infer(self, values: Spec, places: Spec, **attrs: Any) -> Spec:
        if len(values.shape) != len(places.shape):
            raise InvalidArgumentError(
                f"{self.name}: values must have the shape of max_pool's input, places that of its output; received the "
                f"shapes {tuple(values.shape)} and {tuple(places.shape)}."
            )
        self.check(values.shape, places.shape, **attrs)
        return Spec(places.shape, values.dtype)

    def numpy(self, values: Array, places: Array, **attrs: Any) -> Array:
        geometry = self.geometry(values.shape, **attrs)
        picked = np.zeros(places.shape, values.dtype)
        for k, o, i in each_tap(geometry):
            np.copyto(picked[o], values[i], where=places[o] == tap_number(k, geometry))
        return picked

    def grad(self, dpicked: Any, values: Any, places: Any, *, out: Any, **attrs: Any) -> Any:
        return apply("max_pool_spread", dpicked, places, input_shape=tuple(values.sizes), **attrs), None

    def lower(self, ir: Builder, at: Sequence[Expr], values: View, places: View, **attrs: Any) -> Expr:
        geometry = self.geometry(values.shape, **attrs)
        k: list[Expr] = []
        rest = places.at(*at)
        for g in reversed(geometry):
            k.insert(0, rest % g.kernel)
            rest = rest // g.kernel
        where, valid = reads(ir, geometry, at[1:-1], k)
        with ir.guard(both(valid, rest < 1)):
            return values.at(at[0], *where, at[-1])

    def cases(self) -> Iterator[Case]:
        for x, _, places, attrs in _samples():
            yield case(np.cos(np.arange(x.size)).reshape(x.shape), places, **attrs)


def _samples() -> Iterator[tuple[Array, Array, Array, dict[str, Any]]]:
    """x, max_pool(x), the places, the attributes."""
    for x, attrs in pool_samples(ties=True):
        y = find_op("max_pool").numpy(x, **attrs)
        yield x, y, find_op("max_pool_places").numpy(x, y, **attrs), attrs
