"""Reductions over axes: sums, extremes, products, any and all, arg-reductions, cumulative sums."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import numpy as np

from ..dtypes import BOOLEAN, FLOATING, NUMERIC, as_dtype
from ..errors import InvalidArgumentError
from ..shapes import Shape, num_elements
from .common import check_dtypes, contiguous, linspace, normalise_axes, normalise_axis, quiet
from .dispatch import apply
from .elementwise import select
from .op import Case, Composite, Pattern, Spec, case, no_gradient

__all__ = [
    "argmax",
    "argmin",
    "cumprod",
    "cumsum",
    "reduce_all",
    "reduce_any",
    "reduce_logsumexp",
    "reduce_max",
    "reduce_mean",
    "reduce_min",
    "reduce_prod",
    "reduce_sum",
]


def _reduce(name: str, x: Any, axis: Any, keepdims: bool) -> Any:
    axes = normalise_axes(axis, len(x.sizes), name)
    return apply(name, x, axis=axes, keepdims=bool(keepdims))


def reduce_sum(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """The sum over some axes (all if None)."""
    return _reduce("reduce_sum", x, axis, keepdims)


def reduce_mean(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """The mean over some axes (all if None)."""
    return _reduce("reduce_mean", x, axis, keepdims)


def reduce_max(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """The largest element over some axes (all if None)."""
    return _reduce("reduce_max", x, axis, keepdims)


def reduce_min(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """The smallest element over some axes (all if None)."""
    return _reduce("reduce_min", x, axis, keepdims)


def reduce_prod(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """The product over some axes (all if None)."""
    return _reduce("reduce_prod", x, axis, keepdims)


def reduce_all(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """Whether all are true over some axes (all if None)."""
    return _reduce("reduce_all", x, axis, keepdims)


def reduce_any(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """Whether one is true over some axes (all if None)."""
    return _reduce("reduce_any", x, axis, keepdims)


def reduce_logsumexp(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """log(sum(exp(x))) over some axes (all if None), without overflow."""
    return _reduce("reduce_logsumexp", x, axis, keepdims)


def argmax(x: Any, axis: int = 0, output_type: Any = "int64") -> Any:
    """The index of the first largest element along an axis."""
    return apply("argmax", x, axis=normalise_axis(axis, len(x.sizes), "argmax"), output_type=as_dtype(output_type).name)


def argmin(x: Any, axis: int = 0, output_type: Any = "int64") -> Any:
    """The index of the first smallest element along an axis."""
    return apply("argmin", x, axis=normalise_axis(axis, len(x.sizes), "argmin"), output_type=as_dtype(output_type).name)


def cumsum(x: Any, axis: int = 0, exclusive: bool = False, reverse: bool = False) -> Any:
    """Running sums along an axis."""
    axis = normalise_axis(axis, len(x.sizes), "cumsum")
    return apply("cumsum", x, axis=axis, exclusive=bool(exclusive), reverse=bool(reverse))


def cumprod(x: Any, axis: int = 0, exclusive: bool = False, reverse: bool = False) -> Any:
    """Running products along an axis."""
    axis = normalise_axis(axis, len(x.sizes), "cumprod")
    return apply("cumprod", x, axis=axis, exclusive=bool(exclusive), reverse=bool(reverse))


# -- shapes and indices ------------------------------------------------------------------------------------------------


def reduced_shape(shape: Shape, axis: tuple[int, ...] | None, keepdims: bool) -> Shape:
    """The shape after reducing some axes."""
    axes = range(len(shape)) if axis is None else axis
    if keepdims:
        return tuple(1 if i in axes else d for i, d in enumerate(shape))
    return tuple(d for i, d in enumerate(shape) if i not in axes)


def _expanded(y: Any, x: Any, axis: tuple[int, ...] | None, keepdims: bool) -> Any:
    """A reduced value with its axes of size 1 back, so that it broadcasts against x."""
    if keepdims or not x.sizes:
        return y
    return apply("reshape", y, shape=reduced_shape(x.sizes, axis, True))


class Reduction(Pattern, abstract=True):
    """Folds some axes away by "sum", "prod", "min" or "max"."""

    combine: ClassVar[str]

    def infer(self, x: Spec, *, axis: tuple[int, ...] | None, keepdims: bool) -> Spec:
        """The shape without the axes, the dtype of the input."""
        check_dtypes(self, x)
        if axis is not None and any(not 0 <= a < len(x.shape) for a in axis):
            raise InvalidArgumentError(
                f"{self.name}: axes {axis} are out of range for a tensor of rank {len(x.shape)}."
            )
        return Spec(reduced_shape(x.shape, axis, keepdims), x.dtype)

    def lower(self, ir: Any, at: Any, x: Any, *, axis: tuple[int, ...] | None, keepdims: bool) -> Any:
        """One fold over the reduced axes."""
        rank = len(x.shape)
        axes = tuple(range(rank)) if axis is None else axis
        outer = [i for i in range(rank) if i not in axes]
        kept = dict(zip(outer, (at[i] for i in outer) if keepdims else at, strict=True))

        def element(*k: Any) -> Any:
            inner = dict(zip(axes, k, strict=True))
            value = x.at(*(kept[i] if i in kept else inner[i] for i in range(rank)))
            return ir.cast(value, "i32") if value.dtype == "bool" else value

        if not axes:
            return x.at(*at)
        folded = ir.reduce(self.combine, tuple(x.shape[a] for a in axes), element)
        return ir.call("ne", folded, 0) if x.dtype == "bool" else folded


def _samples(**attrs: Any) -> Iterator[Case]:
    x = np.random.default_rng(3).uniform(-2.0, 2.0, (3, 5, 4)).astype(np.float32)
    yield case(x, axis=None, keepdims=False, **attrs)
    yield case(x, axis=(1,), keepdims=True, **attrs)
    yield case(x, axis=(0, 2), keepdims=False, **attrs)
    yield case(x[0], axis=(), keepdims=False, **attrs)
    yield case(np.float32(2.5), axis=None, keepdims=False, **attrs)


def _more(empty: bool = True) -> Iterator[Case]:
    if empty:
        yield case(np.zeros((2, 0, 3), np.float32), axis=(1,), keepdims=False, gradient=False)
        yield case(np.zeros((0, 3), np.float32), axis=(1,), keepdims=False, gradient=False)
    yield case(
        np.array([[1.0, np.nan, 3.0], [1.0, np.inf, -np.inf], [np.inf, 1.0, 2.0]], np.float32),
        axis=(1,),
        keepdims=False,
        gradient=False,
    )
    yield case(np.array([[3, -4, 0], [2, 2, 5]], np.int32), axis=(0,), keepdims=False, gradient=False)


class ReduceSum(Reduction):
    """The sum over some axes; 0 over no elements."""

    name, version, dtypes, combine = "reduce_sum", 1, NUMERIC, "sum"

    def numpy(self, x: Any, *, axis: Any, keepdims: bool) -> Any:
        if x.dtype != np.float16:
            if axis and len(axis) < x.ndim and tuple(axis) == tuple(range(len(axis))) and x.flags.c_contiguous:
                return quiet(lambda a: _sum_rows(a, len(axis), keepdims), x)
            return quiet(lambda a: np.add.reduce(a, axis, a.dtype, None, keepdims), x)
        return quiet(lambda a: np.asarray(np.add.reduce(a, axis, np.float32, None, keepdims)).astype(a.dtype), x)

    def grad(self, dy: Any, x: Any, *, out: Any, axis: Any, keepdims: bool) -> Any:
        return (apply("broadcast_to", _expanded(dy, x, axis, keepdims), shape=tuple(x.sizes)),)

    def cases(self) -> Iterator[Case]:
        yield from _samples()
        yield from _more()
        yield case(linspace(0.0, 1.0, 70_001), axis=None, keepdims=False, gradient=False, tolerance=4.0)


WIDE = 1024  # numbers that numpy adds to others in one go: few of them make it slow


def _sum_rows(x: Any, count: int, keepdims: bool) -> Any:
    """The sum over the first `count` axes: of rows joined to longer ones first, then of their parts."""
    rest = x.shape[count:]
    width, rows = math.prod(rest), math.prod(x.shape[:count])
    joined = max(1, min(rows, WIDE // max(1, width)))
    while rows % joined:
        joined -= 1
    total = np.add.reduce(x.reshape(rows // joined, joined * width), 0, x.dtype)
    total = np.add.reduce(total.reshape(joined, width), 0, x.dtype)
    return total.reshape((1,) * count + rest if keepdims else rest)


class ReduceMax(Reduction):
    """The largest element over some axes, NaN if one is NaN. Ties share the gradient equally, as in TensorFlow."""

    name, version, dtypes, combine = "reduce_max", 1, NUMERIC, "max"

    def numpy(self, x: Any, *, axis: Any, keepdims: bool) -> Any:
        start = {} if x.size else {"initial": -np.inf if x.dtype.kind == "f" else np.iinfo(x.dtype).min}
        return quiet(lambda a: np.maximum.reduce(a, axis=axis, keepdims=keepdims, **start), x)

    def grad(self, dy: Any, x: Any, *, out: Any, axis: Any, keepdims: bool) -> Any:
        return (_share(dy, x, out, axis, keepdims),)

    def cases(self) -> Iterator[Case]:
        yield from _samples()
        yield from _more()
        yield case(np.array([[1.0, 2.0, 2.0]], np.float32), axis=(1,), keepdims=False, gradient=False)


class ReduceMin(Reduction):
    """The smallest element over some axes, NaN if one is NaN. Ties share the gradient equally, as in TensorFlow."""

    name, version, dtypes, combine = "reduce_min", 1, NUMERIC, "min"

    def numpy(self, x: Any, *, axis: Any, keepdims: bool) -> Any:
        start = {} if x.size else {"initial": np.inf if x.dtype.kind == "f" else np.iinfo(x.dtype).max}
        return quiet(lambda a: np.minimum.reduce(a, axis=axis, keepdims=keepdims, **start), x)

    def grad(self, dy: Any, x: Any, *, out: Any, axis: Any, keepdims: bool) -> Any:
        return (_share(dy, x, out, axis, keepdims),)

    def cases(self) -> Iterator[Case]:
        yield from _samples()
        yield from _more()


def _share(dy: Any, x: Any, out: Any, axis: Any, keepdims: bool) -> Any:
    """dy, divided equally among the elements that equal the extreme."""
    chosen = apply("cast", apply("equal", x, _expanded(out, x, axis, keepdims)), dtype=x.dtype.name)
    count = reduce_sum(chosen, axis, keepdims=True) if x.sizes else chosen
    return chosen / count * _expanded(dy, x, axis, keepdims)


class ReduceProd(Reduction):
    """The product over some axes; 1 over no elements. The gradient is right at zeros too."""

    name, version, dtypes, combine = "reduce_prod", 1, NUMERIC, "prod"

    def numpy(self, x: Any, *, axis: Any, keepdims: bool) -> Any:
        return quiet(lambda a: np.multiply.reduce(a, axis=axis, keepdims=keepdims, dtype=x.dtype), x)

    def grad(self, dy: Any, x: Any, *, out: Any, axis: Any, keepdims: bool) -> Any:
        axes = tuple(range(len(x.sizes))) if axis is None else axis
        if not axes:
            return (dy,)
        outer = tuple(i for i in range(len(x.sizes)) if i not in axes)
        order = outer + axes  # the reduced axes become one, the last
        shape = tuple(x.sizes[i] for i in order)
        flat = apply(
            "reshape",
            apply("transpose", x, perm=order),
            shape=(*shape[: len(outer)], num_elements(shape[len(outer) :])),
        )
        others = cumprod(flat, -1, exclusive=True) * cumprod(flat, -1, exclusive=True, reverse=True)
        back = tuple(order.index(i) for i in range(len(order)))
        rest = apply("transpose", apply("reshape", others, shape=shape), perm=back)
        return (_expanded(dy, x, axis, keepdims) * rest,)

    def cases(self) -> Iterator[Case]:
        x = np.random.default_rng(3).uniform(0.5, 1.5, (3, 5, 4)).astype(np.float32)
        yield case(x, axis=(1,), keepdims=True)
        yield case(x, axis=(0, 2), keepdims=False)
        yield case(x[0, :2], axis=None, keepdims=False)
        yield case(np.array([[0.0, 2.0, 3.0], [0.0, 0.0, 1.0]], np.float32), axis=(1,), keepdims=False, gradient=False)
        yield from _more()


class Logical(Reduction, abstract=True):
    """Reductions of bool."""


def _booleans() -> Iterator[Case]:
    x = np.array([[True, False, True], [True, True, True], [False, False, False]])
    yield case(x, axis=(1,), keepdims=False, gradient=False)
    yield case(x, axis=None, keepdims=True, gradient=False)
    yield case(np.zeros((2, 0), bool), axis=(1,), keepdims=False, gradient=False)


class ReduceAll(Logical):
    """Whether all elements are true; true over none."""

    name, version, dtypes, combine = "reduce_all", 1, BOOLEAN, "min"
    grad = no_gradient("the answer is a bool")

    def numpy(self, x: Any, *, axis: Any, keepdims: bool) -> Any:
        return np.asarray(np.logical_and.reduce(x, axis=axis, keepdims=keepdims))

    def cases(self) -> Iterator[Case]:
        yield from _booleans()


class ReduceAny(Logical):
    """Whether one element is true; false over none."""

    name, version, dtypes, combine = "reduce_any", 1, BOOLEAN, "sum"  # a count: 0 over no elements

    grad = no_gradient("the answer is a bool")

    def numpy(self, x: Any, *, axis: Any, keepdims: bool) -> Any:
        return np.asarray(np.logical_or.reduce(x, axis=axis, keepdims=keepdims))

    def cases(self) -> Iterator[Case]:
        yield from _booleans()


class ReduceMean(Composite):
    """The mean over some axes; NaN over no elements. Integers: the sum divided by the count, truncated."""

    name, version, dtypes = "reduce_mean", 1, NUMERIC

    def infer(self, x: Spec, *, axis: Any, keepdims: bool) -> Spec:
        check_dtypes(self, x)
        return Spec(reduced_shape(x.shape, axis, keepdims), x.dtype)

    def numpy(self, x: Any, *, axis: Any, keepdims: bool) -> Any:
        if x.dtype.kind != "f" or x.dtype == np.float16:
            return super().numpy(x, axis=axis, keepdims=keepdims)
        count = x.dtype.type(x.size if axis is None else math.prod([x.shape[a] for a in axis]))
        return quiet(lambda a: np.true_divide(np.add.reduce(a, axis, a.dtype, None, keepdims), count), x)

    def expand(self, x: Any, *, axis: Any, keepdims: bool) -> Any:
        axes = range(len(x.sizes)) if axis is None else axis
        count = num_elements(x.sizes[a] for a in axes)
        total = apply("reduce_sum", x, axis=axis, keepdims=keepdims)
        if x.dtype.is_floating:
            return total / apply("dimension", size=count, dtype=x.dtype.name)
        divisor = apply("dimension", size=count, dtype=x.dtype.name)
        if x.dtype.is_unsigned:
            return apply("floordiv", total, divisor)
        return apply("sign", total) * apply("floordiv", apply("abs", total), divisor)

    def cases(self) -> Iterator[Case]:
        yield from _samples()
        yield case(np.array([[3, -4, 0], [2, 2, 6]], np.int32), axis=(1,), keepdims=False, gradient=False)
        yield case(np.zeros((2, 0), np.float32), axis=(1,), keepdims=False, gradient=False)


class ReduceLogSumExp(Composite):
    """log(sum(exp(x))) over some axes, with the largest element taken out so that nothing overflows."""

    name, version, dtypes = "reduce_logsumexp", 1, FLOATING

    def infer(self, x: Spec, *, axis: Any, keepdims: bool) -> Spec:
        check_dtypes(self, x)
        return Spec(reduced_shape(x.shape, axis, keepdims), x.dtype)

    def expand(self, x: Any, *, axis: Any, keepdims: bool) -> Any:
        peak = apply("reduce_max", x, axis=axis, keepdims=True)
        peak = apply("stop_gradient", select(apply("is_finite", peak), peak, 0))
        total = apply("reduce_sum", apply("exp", x - peak), axis=axis, keepdims=True)
        result = apply("log", total) + peak
        return result if keepdims else apply("reshape", result, shape=reduced_shape(x.sizes, axis, False))

    def cases(self) -> Iterator[Case]:
        yield from _samples()
        yield case(
            np.array([[1000.0, 1000.0], [-np.inf, -np.inf], [np.inf, 0.0]], np.float32),
            axis=(1,),
            keepdims=False,
            gradient=False,
        )


# -- arg-reductions and running sums -----------------------------------------------------------------------------------


class ArgReduction(Pattern, abstract=True):
    """The index of the first extreme element along an axis. NaN is passed over, as in TensorFlow."""

    compare: ClassVar[str]

    def infer(self, x: Spec, *, axis: int, output_type: str) -> Spec:
        """The shape without the axis, the output type."""
        check_dtypes(self, x)
        if not 0 <= axis < len(x.shape):
            raise InvalidArgumentError(f"{self.name}: axis {axis} is out of range for a tensor of rank {len(x.shape)}.")
        if x.shape[axis] == 0:
            raise InvalidArgumentError(
                f"Reduction axis {axis} is empty in shape {list(x.shape)}: {self.name} needs an element."
            )
        return Spec(x.shape[:axis] + x.shape[axis + 1 :], as_dtype(output_type))

    def lower(self, ir: Any, at: Any, x: Any, *, axis: int, output_type: str) -> Any:
        """A fold that carries the best value and its index."""

        def better(k: Any, best: Any, index: Any) -> Any:
            value = x.at(*at[:axis], k, *at[axis:])
            wins = ir.call(self.compare, value, best)
            return ("custom", ir.select(wins, value, best)), ("custom", ir.select(wins, k, index))

        extremes = {"f32": (-np.inf, np.inf), "i32": (-(2**31), 2**31 - 1), "u32": (0, 2**32 - 1)}
        start = ir.const(extremes[x.dtype][self.compare == "lt"], x.dtype)
        return ir.fold((x.shape[axis],), better, inits=(start, ir.const(0)))[1]

    def find(self, x: Any, axis: int, output_type: str, function: Callable[..., Any], worst: float) -> Any:
        """numpy's answer, with NaN passed over."""
        found = np.asarray(function(x, axis=axis))
        if x.dtype.kind == "f" and x.size and np.isnan(np.minimum.reduce(x, None)):
            found = np.asarray(function(np.where(np.isnan(x), worst, x), axis=axis))
        return found.astype(as_dtype(output_type).numpy)

    def cases(self) -> Iterator[Case]:
        """Ties, NaN, integers."""
        x = np.random.default_rng(5).uniform(-1.0, 1.0, (3, 7, 4)).astype(np.float32)
        for output_type in ("int32", "int64"):
            yield case(x, axis=1, output_type=output_type, gradient=False)
        yield case(x[0, 0], axis=0, output_type="int32", gradient=False)
        yield case(
            np.array([[1.0, 2.0, 2.0, 1.0], [np.nan, 1.0, 3.0, -1.0], [-np.inf, np.inf, np.inf, -np.inf]], np.float32),
            axis=1,
            output_type="int32",
            gradient=False,
        )
        yield case(np.array([[3, -4, 0], [2, 2, 5]], np.int32), axis=1, output_type="int32", gradient=False)


class ArgMax(ArgReduction):
    """The index of the first largest element along an axis."""

    name, version, dtypes, compare = "argmax", 1, NUMERIC, "gt"
    grad = no_gradient("the answer is an index")

    def numpy(self, x: Any, *, axis: int, output_type: str) -> Any:
        return self.find(x, axis, output_type, np.argmax, -np.inf)


class ArgMin(ArgReduction):
    """The index of the first smallest element along an axis."""

    name, version, dtypes, compare = "argmin", 1, NUMERIC, "lt"
    grad = no_gradient("the answer is an index")

    def numpy(self, x: Any, *, axis: int, output_type: str) -> Any:
        return self.find(x, axis, output_type, np.argmin, np.inf)


class Cumulative(Pattern, abstract=True):
    """Running sums or products along an axis; `exclusive` leaves out the element, `reverse` runs from the end."""

    combine: ClassVar[str]

    def infer(self, x: Spec, *, axis: int, exclusive: bool, reverse: bool) -> Spec:
        """The Spec of the input."""
        check_dtypes(self, x)
        if not 0 <= axis < len(x.shape):
            raise InvalidArgumentError(f"{self.name}: axis {axis} is out of range for a tensor of rank {len(x.shape)}.")
        return x

    def accumulate(
        self, x: Any, function: Callable[..., Any], neutral: int, axis: int, exclusive: bool, reverse: bool
    ) -> Any:
        """numpy's running function, with TensorFlow's options."""
        x = np.flip(x, axis) if reverse else x
        made = quiet(lambda a: function(a, axis=axis, dtype=a.dtype), x)
        if exclusive:
            made = np.roll(made, 1, axis)
            made[(slice(None),) * axis + (slice(0, 1),)] = neutral
        return contiguous(np.flip(made, axis)) if reverse else made

    def lower(self, ir: Any, at: Any, x: Any, *, axis: int, exclusive: bool, reverse: bool) -> Any:
        """A fold over the whole axis, in which elements not yet passed count as neutral."""
        here = at[axis]

        def element(k: Any) -> Any:
            first, last = (here, k) if reverse else (k, here)
            passed = ir.call("lt" if exclusive else "le", first, last)
            value = x.at(*at[:axis], k, *at[axis + 1 :])
            return ir.select(passed, value, ir.const(1 if self.combine == "prod" else 0, value.dtype))

        return ir.reduce(self.combine, (x.shape[axis],), element)

    def cases(self) -> Iterator[Case]:
        """All four variants, integers, empty."""
        x = np.random.default_rng(5).uniform(0.5, 1.5, (3, 5)).astype(np.float32)
        for exclusive in (False, True):
            for reverse in (False, True):
                yield case(x, axis=1, exclusive=exclusive, reverse=reverse)
        yield case(x, axis=0, exclusive=False, reverse=False)
        yield case(np.zeros((0, 3), np.float32), axis=0, exclusive=False, reverse=False)
        yield case(np.array([3, -4, 2], np.int32), axis=0, exclusive=True, reverse=False, gradient=False)


class CumSum(Cumulative):
    """Running sums along an axis."""

    name, version, dtypes, combine = "cumsum", 1, NUMERIC, "sum"

    def numpy(self, x: Any, *, axis: int, exclusive: bool, reverse: bool) -> Any:
        return self.accumulate(x, np.cumsum, 0, axis, exclusive, reverse)

    def grad(self, dy: Any, x: Any, *, out: Any, axis: int, exclusive: bool, reverse: bool) -> Any:
        return (cumsum(dy, axis, exclusive, not reverse),)


class CumProd(Cumulative):
    """Running products along an axis. Its gradient is not defined at zeros (0 is returned), as in TensorFlow."""

    name, version, dtypes, combine = "cumprod", 1, NUMERIC, "prod"

    def numpy(self, x: Any, *, axis: int, exclusive: bool, reverse: bool) -> Any:
        return self.accumulate(x, np.cumprod, 1, axis, exclusive, reverse)

    def grad(self, dy: Any, x: Any, *, out: Any, axis: int, exclusive: bool, reverse: bool) -> Any:
        return (apply("divide_no_nan", cumsum(out * dy, axis, exclusive, not reverse), x),)
