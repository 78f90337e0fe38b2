"""Convolution over 1, 2 or 3 spatial axes: channels last, filters `[*window, in_channels / groups, out_channels]`.

Forward, gradient of the input and gradient of the filters are three ops that are each other's gradients, so every
order exists.
Their lowering is one sum of products of two guarded reads: an implicit matrix product without the im2col buffer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import product as pairs
from math import prod
from typing import Any, ClassVar

import numpy as np

from ..dtypes import FLOATING
from ..errors import InvalidArgumentError
from ..kernel.ir import Builder, Expr, View
from .columns import chunks, each_part, transposed, waves
from .depthwise import depthwise
from .dispatch import apply
from .op import Case, Pattern, Spec, case
from .products import product
from .silence import silent
from .windows import Padding, Window, both, normal_padding, windows

__all__ = ["conv", "conv2d", "conv_filter_grad", "conv_input_grad", "each_tap", "per_axis", "reads"]

Array = Any


def conv(x: Any, w: Any, *, strides: Any = 1, padding: Any = "VALID", dilations: Any = 1, groups: int = 1) -> Any:
    """Convolution with channels last, over as many spatial axes as the filters have.

    `strides` and `dilations` are an int or one per axis.
    """
    rank = len(w.sizes) - 2
    if rank not in (1, 2, 3):
        raise InvalidArgumentError(
            f"conv: the filters need 1 to 3 spatial axes before [in_channels / groups, out_channels]; "
            f"their shape is {tuple(w.sizes)}."
        )
    return apply(f"conv{rank}d", x, w, **_attrs(rank, strides, padding, dilations, groups))


def conv2d(x: Any, w: Any, *, strides: Any = 1, padding: Any = "VALID", dilations: Any = 1, groups: int = 1) -> Any:
    """NHWC x HWIO -> NHWC."""
    return apply("conv2d", x, w, **_attrs(2, strides, padding, dilations, groups))


def conv_input_grad(
    dy: Any,
    w: Any,
    *,
    input_shape: Sequence[Any],
    strides: Any = 1,
    padding: Any = "VALID",
    dilations: Any = 1,
    groups: int = 1,
) -> Any:
    """The gradient of `conv` with respect to x, of shape `input_shape`: also the transposed convolution of dy."""
    rank = len(w.sizes) - 2
    return apply(
        f"conv{rank}d_input_grad",
        dy,
        w,
        input_shape=tuple(input_shape),
        **_attrs(rank, strides, padding, dilations, groups),
    )


def conv_filter_grad(
    x: Any,
    dy: Any,
    *,
    filter_shape: Sequence[int],
    strides: Any = 1,
    padding: Any = "VALID",
    dilations: Any = 1,
    groups: int = 1,
) -> Any:
    """The gradient of `conv` with respect to w, of shape `filter_shape`."""
    rank = len(filter_shape) - 2
    return apply(
        f"conv{rank}d_filter_grad",
        x,
        dy,
        filter_shape=tuple(filter_shape),
        **_attrs(rank, strides, padding, dilations, groups),
    )


def _attrs(rank: int, strides: Any, padding: Any, dilations: Any, groups: int) -> dict[str, Any]:
    return {
        "strides": per_axis(strides, rank),
        "padding": normal_padding(padding, "conv"),
        "dilations": per_axis(dilations, rank),
        "groups": int(groups),
    }


def per_axis(value: Any, rank: int) -> tuple[int, ...]:
    values = (int(value),) * rank if isinstance(value, int | np.integer) else tuple(int(v) for v in value)
    if len(values) != rank:
        raise ValueError(
            f"conv: strides and dilations are an int or one per spatial axis ({rank} here), received {value!r}."
        )
    return values


class _Conv(Pattern, abstract=True):
    """What the three ops share: the geometry, checked against the shapes of x and w."""

    version, dtypes = 1, FLOATING
    rank: ClassVar[int]

    def geometry(
        self,
        x: Sequence[Any],
        w: Sequence[Any],
        strides: tuple[int, ...],
        padding: Padding,
        dilations: tuple[int, ...],
        groups: int,
    ) -> tuple[Window, ...]:
        name, rank = self.name, self.rank
        if len(x) != rank + 2 or len(w) != rank + 2:
            raise InvalidArgumentError(
                f"{name}: input and filters must have {rank + 2} axes, received the shapes {tuple(x)} and {tuple(w)}."
            )
        if x[-1] != w[-2] * groups:
            raise InvalidArgumentError(
                f"{name}: input depth must be filter depth times groups: the input {tuple(x)} has {x[-1]} channels, "
                f"the filters {tuple(w)} take {w[-2]} in each of {groups} groups."
            )
        if w[-1] % groups:
            raise InvalidArgumentError(
                f"{name}: {w[-1]} output channels cannot be split into {groups} groups: use a multiple of {groups}."
            )
        return windows(name, x[1:-1], w[:-2], strides, padding, dilations)

    def check(self, dy: Sequence[Any], x: Sequence[Any], w: Sequence[Any], **attrs: Any) -> None:
        expected = (x[0], *(g.out for g in self.geometry(x, w, **attrs)), w[-1])
        if tuple(dy) != expected:
            raise InvalidArgumentError(
                f"{self.name}: dy must have the shape of the convolution's output, {expected}; received {tuple(dy)}."
            )


class _Forward(_Conv, abstract=True):
    def infer(self, x: Spec, w: Spec, **attrs: Any) -> Spec:
        geometry = self.geometry(x.shape, w.shape, **attrs)
        return Spec((x.shape[0], *(g.out for g in geometry), w.shape[-1]), x.dtype)

    @silent
    def numpy(self, x: Array, w: Array, *, groups: int, **attrs: Any) -> Array:
        geometry = self.geometry(x.shape, w.shape, groups=groups, **attrs)
        out = (x.shape[0], *(g.out for g in geometry), w.shape[-1])
        if w.shape[-2] == 1 and groups > 1 and all(out):
            return depthwise(np.repeat(x, w.shape[-1] // groups, -1), w, geometry, out)
        y = np.empty(out, x.dtype)
        inside, outside = w.shape[-2], w.shape[-1] // groups
        for g in range(groups):
            matrix = w[..., g * outside : (g + 1) * outside].reshape(-1, outside)
            each_part(x[..., g * inside : (g + 1) * inside], geometry, _store(y, g, matrix))
        return y

    def grad(self, dy: Any, x: Any, w: Any, *, out: Any, **attrs: Any) -> Any:
        return conv_input_grad(dy, w, input_shape=x.sizes, **attrs), conv_filter_grad(
            x, dy, filter_shape=w.sizes, **attrs
        )

    def lower(self, ir: Builder, at: Sequence[Expr], x: View, w: View, *, groups: int, **attrs: Any) -> Expr:
        geometry = self.geometry(x.shape, w.shape, groups=groups, **attrs)
        n, *spatial, o = at
        first = _first_channel(o, w.shape, groups)

        def product(*tap: Expr) -> Expr:
            *k, c = tap
            where, valid = reads(ir, geometry, spatial, k)
            with ir.guard(valid):
                value = x.at(n, *where, first + c)
            return value * w.at(*k, c, o)

        return ir.sum(w.shape[:-1], product)

    def cases(self) -> Iterator[Case]:
        return _cases(self.rank, lambda x, w, dy, attrs: case(x, w, **attrs))


class _InputGrad(_Conv, abstract=True):
    def infer(self, dy: Spec, w: Spec, *, input_shape: tuple[Any, ...], **attrs: Any) -> Spec:
        self.check(dy.shape, input_shape, w.shape, **attrs)
        return Spec(input_shape, dy.dtype)

    @silent
    def numpy(self, dy: Array, w: Array, *, input_shape: tuple[int, ...], groups: int, **attrs: Any) -> Array:
        geometry = self.geometry(input_shape, w.shape, groups=groups, **attrs)
        dx = np.zeros(input_shape, dy.dtype)
        inside, outside = w.shape[-2], w.shape[-1] // groups
        if inside == 1 and groups > 1:
            if outside == 1 and dx.size and dy.size and (turned := transposed(geometry)) is not None:
                return depthwise(dy, w[(slice(None, None, -1),) * self.rank], turned, input_shape)
            split = dy.reshape(*dy.shape[:-1], groups, outside)
            for k, o, i in each_tap(geometry):
                dx[i] += (split[o] * w[k].reshape(groups, outside)).sum(-1)
            return dx
        if inside > 1 and (turned := transposed(geometry)) is not None:
            for g in range(groups):
                taps = (slice(None, None, -1),) * self.rank
                matrix = w[(*taps, slice(None), slice(g * outside, (g + 1) * outside))].swapaxes(-1, -2)
                matrix = matrix.reshape(-1, inside)
                each_part(dy[..., g * outside : (g + 1) * outside], turned, _store(dx, g, matrix))
            return dx
        for g in range(groups):
            matrix = w[..., g * outside : (g + 1) * outside].reshape(-1, outside).T
            for rows in chunks(dy.shape[0], prod(dy.shape[1:-1]) * len(matrix)):
                flat = dy[rows, ..., g * outside : (g + 1) * outside].reshape(-1, outside)
                spread = product(flat, matrix).reshape(-1, *dy.shape[1:-1], *w.shape[:-1])
                for k, o, i in each_tap(geometry):
                    dx[(rows, *i[1:], slice(g * inside, (g + 1) * inside))] += spread[(slice(None), *o[1:], *k)]
        return dx

    def grad(self, ddx: Any, dy: Any, w: Any, *, out: Any, input_shape: Any, **attrs: Any) -> Any:
        return conv(ddx, w, **attrs), conv_filter_grad(ddx, dy, filter_shape=w.sizes, **attrs)

    def lower(
        self,
        ir: Builder,
        at: Sequence[Expr],
        dy: View,
        w: View,
        *,
        input_shape: tuple[Any, ...],
        groups: int,
        **attrs: Any,
    ) -> Expr:
        geometry = self.geometry(input_shape, w.shape, groups=groups, **attrs)
        n, *spatial, channel = at
        inside, outside = w.shape[-2], w.shape[-1] // groups
        group, c = channel // inside, channel % inside
        sparse = [groups > 1 or _phase_apart(g, i) for g, i in zip(geometry, spatial, strict=True)]

        def product(*tap: Expr) -> Expr:
            *taps, o = tap
            o = group * outside + o
            where, k, valid = [], [], ir.const(True)
            for g, i, j, few in zip(geometry, spatial, taps, sparse, strict=True):
                if few:
                    index, kk, ok = g.covering(ir, i, j)
                else:
                    (index, ok), kk = g.window_of(ir, i, j), j
                where.append(index)
                k.append(kk)
                valid = both(valid, ok)
            with ir.guard(valid):
                value = dy.at(n, *where, o)
            inside_filter = ir.const(True)
            for g, kk in zip(geometry, k, strict=True):
                inside_filter = both(inside_filter, kk < g.kernel)
            with ir.guard(inside_filter):
                return value * w.at(*k, c, o)

        counts = [g.overlap if few else g.kernel for g, few in zip(geometry, sparse, strict=True)]
        return ir.sum((*counts, outside), product)

    def phases(self, *, strides: tuple[int, ...], groups: int, **attrs: Any) -> tuple[int, ...]:
        """For each axis of the output, how many elements apart those lie that the same taps of the filters add up."""
        return (1, *strides, 1) if groups == 1 else (1,) * (self.rank + 2)

    def cases(self) -> Iterator[Case]:
        return _cases(self.rank, lambda x, w, dy, attrs: case(dy, w, input_shape=x.shape, **attrs))


class _FilterGrad(_Conv, abstract=True):
    def infer(self, x: Spec, dy: Spec, *, filter_shape: tuple[int, ...], **attrs: Any) -> Spec:
        self.check(dy.shape, x.shape, filter_shape, **attrs)
        return Spec(filter_shape, x.dtype)

    @silent
    def numpy(self, x: Array, dy: Array, *, filter_shape: tuple[int, ...], groups: int, **attrs: Any) -> Array:
        geometry = self.geometry(x.shape, filter_shape, groups=groups, **attrs)
        dw = np.zeros(filter_shape, x.dtype)
        inside, outside = filter_shape[-2], filter_shape[-1] // groups
        if inside == 1 and groups > 1:
            split = dy.reshape(*dy.shape[:-1], groups, outside)
            for k, o, i in each_tap(geometry):
                dw[k] = np.einsum(
                    "ng,ngo->go", x[i].reshape(-1, groups), split[o].reshape(-1, groups, outside)
                ).reshape(1, -1)
            return dw
        size = prod(filter_shape[:-1]) * outside    # of the product that each part of the batch adds
        for g, wave in pairs(range(groups), list(waves(len(x), geometry, inside, size))):
            flat, found = dy[wave, ..., g * outside : (g + 1) * outside], {}

            def multiply(number: int, rows: slice, patches: Array, flat: Array = flat, found: Any = found) -> None:
                found[number] = product(patches.T, flat[rows].reshape(-1, outside))

            for number in range(each_part(x[wave, ..., g * inside : (g + 1) * inside], geometry, multiply)):
                dw[..., g * outside : (g + 1) * outside] += found[number].reshape(*filter_shape[:-1], outside)
        return dw

    def grad(self, ddw: Any, x: Any, dy: Any, *, out: Any, filter_shape: Any, **attrs: Any) -> Any:
        return conv_input_grad(dy, ddw, input_shape=x.sizes, **attrs), conv(x, ddw, **attrs)

    def lower(
        self,
        ir: Builder,
        at: Sequence[Expr],
        x: View,
        dy: View,
        *,
        filter_shape: tuple[int, ...],
        groups: int,
        **attrs: Any,
    ) -> Expr:
        geometry = self.geometry(x.shape, filter_shape, groups=groups, **attrs)
        *k, c, o = at
        first = _first_channel(o, filter_shape, groups)

        def product(*row: Expr) -> Expr:
            n, *spatial = row
            where, valid = reads(ir, geometry, spatial, k)
            with ir.guard(valid):
                value = x.at(n, *where, first + c)
            return value * dy.at(n, *spatial, o)

        return ir.sum(dy.shape[:-1], product)

    def cases(self) -> Iterator[Case]:
        return _cases(self.rank, lambda x, w, dy, attrs: case(x, dy, filter_shape=w.shape, **attrs))


class Conv1D(_Forward):
    name, rank = "conv1d", 1


class Conv1DInputGrad(_InputGrad):
    name, rank = "conv1d_input_grad", 1


class Conv1DFilterGrad(_FilterGrad):
    name, rank = "conv1d_filter_grad", 1


class Conv2D(_Forward):
    name, rank = "conv2d", 2


class Conv2DInputGrad(_InputGrad):
    name, rank = "conv2d_input_grad", 2


class Conv2DFilterGrad(_FilterGrad):
    name, rank = "conv2d_filter_grad", 2


class Conv3D(_Forward):
    name, rank = "conv3d", 3


class Conv3DInputGrad(_InputGrad):
    name, rank = "conv3d_input_grad", 3


class Conv3DFilterGrad(_FilterGrad):
    name, rank = "conv3d_filter_grad", 3


def _phase_apart(g: Window, i: Expr) -> bool:
    """Whether position `i` is made of a multiple of the stride and a rest, each of axes of its own: the taps that reach
    it then depend on the rest alone, and the sum over them stays a matrix product for each rest.
    """
    return (i % g.stride).axes.isdisjoint((i // g.stride).axes)


def _store(y: Array, group: int, matrix: Array) -> Callable[[int, slice, Array], None]:
    """What multiplies windows by the filters of a group and puts the products where they belong in y."""
    columns = matrix.shape[1]

    def multiply(number: int, rows: slice, patches: Array) -> None:
        target = y[rows]
        if columns == y.shape[-1]:
            product(patches, matrix, target.reshape(-1, columns))
        else:
            made = product(patches, matrix).reshape(*target.shape[:-1], columns)
            target[..., group * columns : (group + 1) * columns] = made

    return multiply


def _first_channel(o: Expr, filter_shape: Sequence[Any], groups: int) -> Expr:
    """The input channel with which the group of output channel `o` begins."""
    return o // (filter_shape[-1] // groups) * filter_shape[-2]


def reads(ir: Builder, geometry: Sequence[Window], o: Sequence[Expr], k: Sequence[Expr]) -> tuple[list[Expr], Expr]:
    where, valid = [], ir.const(True)
    for g, oo, kk in zip(geometry, o, k, strict=True):
        index, ok = g.read(ir, oo, kk)
        where.append(index)
        valid = both(valid, ok)
    return where, valid


def each_tap(geometry: Sequence[Window]) -> Iterator[tuple[tuple[int, ...], tuple[Any, ...], tuple[Any, ...]]]:
    """Each tap as an index of the filters, of the outputs that it adds to and of the inputs that it reads."""

    def walk(rest: Sequence[Window]) -> Iterator[tuple[tuple[Any, ...], ...]]:
        if not rest:
            yield (), (), ()
            return
        for k, o, i in rest[0].taps():
            for ks, os, indices in walk(rest[1:]):
                yield (k, *ks), (o, *os), (i, *indices)

    for k, o, i in walk(geometry):
        yield k, (slice(None), *o), (slice(None), *i)


def _cases(rank: int, make: Callable[..., Case]) -> Iterator[Case]:
    """Samples of x, w and dy: paddings, strides, dilation, groups, depthwise, odd sizes, an empty batch."""
    same: Padding = "SAME"
    explicit = ((1, 2), (0, 1), (2, 0))[:rank]
    table: list[tuple[tuple[int, ...], tuple[int, ...], int, int, int, Padding, int, int]] = [
        # spatial sizes, window, in channels, out channels, stride, padding, dilation, groups
        ((5, 4, 3), (3, 2, 2), 3, 4, 1, "VALID", 1, 1),
        ((5, 6, 4), (3, 3, 2), 2, 5, 2, same, 1, 1),
        ((4, 5, 3), (2, 3, 2), 1, 2, 1, same, 2, 1),
        ((5, 3, 4), (1, 1, 1), 3, 2, 3, "VALID", 1, 1),
        ((4, 5, 3), (3, 2, 2), 4, 6, 2, explicit, 1, 2),
        ((5, 4, 3), (2, 3, 2), 3, 6, 1, same, 1, 3),
        ((3, 3, 3), (2, 2, 2), 2, 3, 1, same, 1, 1),
    ]
    rng = np.random.default_rng(0)
    for i, (sizes, kernel, ci, co, stride, padding, dilation, groups) in enumerate(table):
        batch = 0 if i == len(table) - 1 else 2
        attrs = {"strides": (stride,) * rank, "padding": padding, "dilations": (dilation,) * rank, "groups": groups}
        x, w = (batch, *sizes[:rank], ci), (*kernel[:rank], ci // groups, co)
        geometry = windows("conv", x[1:-1], w[:-2], attrs["strides"], padding, attrs["dilations"])
        dy = (batch, *(g.out for g in geometry), co)
        yield make(*(rng.standard_normal(s).astype(np.float32) for s in (x, w, dy)), attrs)
