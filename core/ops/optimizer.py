"""Optimizer steps: state in, state out, one op per variable, by the formulas of Keras 3.

Each step is written once, as arithmetic that numpy arrays and kernel expressions share. Inputs are the variable, its
slots, the gradient, the learning rate and, where the formula needs it, the number of this step (1 at the first);
outputs are the new variable and the new slots.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import numpy as np

from ..dtypes import FLOATING
from ..errors import InvalidArgumentError
from ..kernel.ir import Builder, Expr
from .dispatch import apply
from .op import Case, Elementwise, Spec, case, no_gradient
from .parts import blocks, run_parts

__all__ = [
    "adadelta_step",
    "adagrad_step",
    "adam_amsgrad_step",
    "adam_step",
    "adamax_step",
    "lion_step",
    "momentum_step",
    "rmsprop_step",
    "sgd_step",
]

BLOCK = 1 << 16     # elements of a block of a large variable: its intermediate results stay in the cache
LARGE = 1 << 20     # elements of a variable for which that pays

Array = Any


def sgd_step(var: Any, grad: Any, lr: Any, *, weight_decay: float = 0.0) -> Any:
    """Plain gradient descent; returns the new variable."""
    return apply("sgd_step", var, grad, lr, weight_decay=float(weight_decay))


def momentum_step(
    var: Any, velocity: Any, grad: Any, lr: Any, *, momentum: float, nesterov: bool = False, weight_decay: float = 0.0
) -> Any:
    """Gradient descent with momentum; returns (variable, velocity)."""
    return apply(
        "momentum_step",
        var,
        velocity,
        grad,
        lr,
        momentum=float(momentum),
        nesterov=bool(nesterov),
        weight_decay=float(weight_decay),
    )


def adam_step(
    var: Any,
    m: Any,
    v: Any,
    grad: Any,
    lr: Any,
    t: Any,
    *,
    beta_1: float = 0.9,
    beta_2: float = 0.999,
    epsilon: float = 1e-7,
    weight_decay: float = 0.0,
) -> Any:
    """Adam, and AdamW with `weight_decay`; `t` counts steps from 1; returns (variable, m, v)."""
    return apply(
        "adam_step",
        var,
        m,
        v,
        grad,
        lr,
        t,
        beta_1=float(beta_1),
        beta_2=float(beta_2),
        epsilon=float(epsilon),
        weight_decay=float(weight_decay),
    )


def adam_amsgrad_step(
    var: Any,
    m: Any,
    v: Any,
    v_hat: Any,
    grad: Any,
    lr: Any,
    t: Any,
    *,
    beta_1: float = 0.9,
    beta_2: float = 0.999,
    epsilon: float = 1e-7,
    weight_decay: float = 0.0,
) -> Any:
    """Adam that divides by the largest v so far; returns (variable, m, v, v_hat)."""
    return apply(
        "adam_amsgrad_step",
        var,
        m,
        v,
        v_hat,
        grad,
        lr,
        t,
        beta_1=float(beta_1),
        beta_2=float(beta_2),
        epsilon=float(epsilon),
        weight_decay=float(weight_decay),
    )


def adamax_step(
    var: Any,
    m: Any,
    u: Any,
    grad: Any,
    lr: Any,
    t: Any,
    *,
    beta_1: float = 0.9,
    beta_2: float = 0.999,
    epsilon: float = 1e-7,
    weight_decay: float = 0.0,
) -> Any:
    """Adam by the infinity norm; returns (variable, m, u)."""
    return apply(
        "adamax_step",
        var,
        m,
        u,
        grad,
        lr,
        t,
        beta_1=float(beta_1),
        beta_2=float(beta_2),
        epsilon=float(epsilon),
        weight_decay=float(weight_decay),
    )


def rmsprop_step(
    var: Any,
    velocity: Any,
    *more: Any,
    rho: float = 0.9,
    momentum: float = 0.0,
    epsilon: float = 1e-7,
    centered: bool = False,
    weight_decay: float = 0.0,
) -> Any:
    """RMSprop; `more`: the momentum slot (if `momentum` is not 0), the average gradient (if `centered`), grad, lr.

    Returns (variable, velocity), then the slots that were given.
    """
    return apply(
        "rmsprop_step",
        var,
        velocity,
        *more,
        rho=float(rho),
        momentum=float(momentum),
        epsilon=float(epsilon),
        centered=bool(centered),
        weight_decay=float(weight_decay),
    )


def adagrad_step(
    var: Any, accumulator: Any, grad: Any, lr: Any, *, epsilon: float = 1e-7, weight_decay: float = 0.0
) -> Any:
    """Adagrad; returns (variable, accumulator)."""
    return apply("adagrad_step", var, accumulator, grad, lr, epsilon=float(epsilon), weight_decay=float(weight_decay))


def adadelta_step(
    var: Any,
    accumulated_grad: Any,
    accumulated_delta: Any,
    grad: Any,
    lr: Any,
    *,
    rho: float = 0.95,
    epsilon: float = 1e-7,
    weight_decay: float = 0.0,
) -> Any:
    """Adadelta; returns (variable, accumulated squared gradient, accumulated squared step)."""
    return apply(
        "adadelta_step",
        var,
        accumulated_grad,
        accumulated_delta,
        grad,
        lr,
        rho=float(rho),
        epsilon=float(epsilon),
        weight_decay=float(weight_decay),
    )


def lion_step(
    var: Any, m: Any, grad: Any, lr: Any, *, beta_1: float = 0.9, beta_2: float = 0.99, weight_decay: float = 0.0
) -> Any:
    """Lion: the sign of an interpolated momentum; returns (variable, m)."""
    return apply(
        "lion_step", var, m, grad, lr, beta_1=float(beta_1), beta_2=float(beta_2), weight_decay=float(weight_decay)
    )


class _OnHost:
    """Functions of a formula, on arrays of one dtype."""

    def __init__(self, dtype: Any) -> None:
        self.dtype = dtype

    sqrt, abs, sign, maximum = (
        staticmethod(np.sqrt),
        staticmethod(np.abs),
        staticmethod(np.sign),
        staticmethod(np.maximum),
    )

    def one_minus_power(self, base: float, t: Any) -> Any:
        """1 - base ** t, without the digits that subtracting from 1 would lose."""
        return self.dtype.type(-math.expm1(float(t) * math.log(float(self.dtype.type(base)))))


class _InKernel:
    """The same functions, on expressions."""

    def __init__(self, ir: Builder) -> None:
        self.ir = ir

    def sqrt(self, x: Expr) -> Expr:
        return self.ir.unary("sqrt", x)

    def abs(self, x: Expr) -> Expr:
        return self.ir.unary("abs", x)

    def sign(self, x: Expr) -> Expr:
        return self.ir.unary("sign", x)

    def maximum(self, x: Expr, y: Expr) -> Expr:
        return self.ir.binary("max", x, y)

    def one_minus_power(self, base: float, t: Expr) -> Expr:
        """As on the host; `base` is rounded to float32 first, as Keras' is."""
        return -self.ir.call("expm1", self.ir.cast(t, "f32") * math.log(float(np.float32(base))))


class _Step(Elementwise, abstract=True):
    """`formula(f, var, *slots, grad, lr[, t], **attrs)`, `f` an _OnHost or _InKernel, gives variable and slots."""

    version, dtypes = 1, FLOATING
    grad = no_gradient("an optimizer step updates state; differentiate the loss, not the update")
    num_slots: ClassVar[int]
    timed: ClassVar[bool] = False
    formula: Any
    sample_attrs: ClassVar[tuple[dict[str, Any], ...]] = ({},)

    def slots(self, attrs: dict[str, Any]) -> int:
        """The number of slots."""
        return self.num_slots

    def infer(self, *inputs: Spec, **attrs: Any) -> Any:
        var, slots = inputs[0], self.slots(attrs)
        if len(inputs) != slots + 3 + self.timed:
            raise InvalidArgumentError(
                f"{self.name}: expected a variable, {slots} slots, a gradient, a learning rate"
                f"{' and a step number' if self.timed else ''}; received {len(inputs)} inputs."
            )
        for i, x in enumerate(inputs[: slots + 2]):
            if (x.shape, x.dtype) != (var.shape, var.dtype):
                raise InvalidArgumentError(
                    f"{self.name}: variable, slots and gradient must have one shape and dtype: the variable is "
                    f"{tuple(var.shape)} {var.dtype.name}, input {i} is {tuple(x.shape)} {x.dtype.name}."
                )
        for x in inputs[slots + 2 :]:
            if x.shape:
                raise InvalidArgumentError(
                    f"{self.name}: learning rate and step number are scalars, received the shape {tuple(x.shape)}."
                )
        return (var,) * (slots + 1) if slots else var

    def numpy(self, *arrays: Array, weight_decay: float, **attrs: Any) -> Any:
        var, dtype, lr = arrays[0], arrays[0].dtype, self.slots(attrs) + 2
        scalars = (arrays[lr].astype(dtype)[()], *arrays[lr + 1 :])

        def update(*arrays: Array) -> Any:
            if weight_decay:
                arrays = (arrays[0] - arrays[0] * weight_decay * scalars[0], *arrays[1:])
            return self.formula(_OnHost(dtype), *arrays, *scalars, **attrs)

        with np.errstate(all="ignore"):
            if var.size >= LARGE:
                return _in_blocks(update, arrays[:lr], lr - 1)
            return _arrays(update(*arrays[:lr]), var)

    def lower(self, ir: Builder, *inputs: Expr, weight_decay: float, **attrs: Any) -> Any:
        var, lr = inputs[0], inputs[self.slots(attrs) + 2]
        if weight_decay:
            var = var - var * weight_decay * lr
        return self.formula(_InKernel(ir), var, *inputs[1:], **attrs)

    def cases(self) -> Iterator[Case]:
        rng = np.random.default_rng(5)
        for i, attrs in enumerate(self.sample_attrs):
            for shape in ((3, 5), (0,), ())[: 1 if i else 3]:
                var, grad = rng.standard_normal(shape), rng.standard_normal(shape)
                slots = [rng.random(shape) + 0.1 for _ in range(self.slots(attrs))]
                time = (np.int32(3),) if self.timed else ()
                decay = {"weight_decay": 0.1 if i else 0.0}
                yield case(var, *slots, grad, np.float32(0.01), *time, gradient=False, **(decay | attrs))


def _in_blocks(update: Any, arrays: Sequence[Array], count: int) -> Any:
    """`update` of many elements, by blocks whose intermediate results stay in the cache: `count` new arrays."""
    var = arrays[0]
    flat = [a.reshape(-1) for a in arrays]
    out = [np.empty_like(var, order="C") for _ in range(count)]
    targets = [o.reshape(-1) for o in out]

    def one(part: slice) -> None:
        made = update(*(a[part] for a in flat))
        for target, new in zip(targets, made if isinstance(made, tuple) else (made,), strict=True):
            target[part] = new

    run_parts([(one, part) for part in blocks(var.size, BLOCK)])
    return tuple(out) if count > 1 else out[0]


def _arrays(result: Any, var: Array) -> Any:
    if isinstance(result, tuple):
        return tuple(np.asarray(r, var.dtype) for r in result)
    return np.asarray(result, var.dtype)


class SgdStep(_Step):
    name, num_slots, same = "sgd_step", 0, (0, 1)
    sample_attrs = ({}, {"weight_decay": 0.05})

    def formula(self, f: Any, var: Any, grad: Any, lr: Any) -> Any:
        return var - grad * lr


class MomentumStep(_Step):
    name, num_slots, same = "momentum_step", 1, (0, 1, 2)
    sample_attrs = ({"momentum": 0.9, "nesterov": False}, {"momentum": 0.8, "nesterov": True})

    def formula(self, f: Any, var: Any, velocity: Any, grad: Any, lr: Any, *, momentum: float, nesterov: bool) -> Any:
        step = grad * lr
        velocity = velocity * momentum - step
        return var + (velocity * momentum - step if nesterov else velocity), velocity


class AdamStep(_Step):
    name, num_slots, timed, same = "adam_step", 2, True, (0, 1, 2, 3)
    sample_attrs = ({"beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-7}, {"beta_1": 0.8, "beta_2": 0.99, "epsilon": 1e-3})

    def formula(
        self,
        f: Any,
        var: Any,
        m: Any,
        v: Any,
        grad: Any,
        lr: Any,
        t: Any,
        *,
        beta_1: float,
        beta_2: float,
        epsilon: float,
    ) -> Any:
        m, v, alpha = _moments(f, m, v, grad, lr, t, beta_1, beta_2)
        return var - m * alpha / (f.sqrt(v) + epsilon), m, v


class AdamAmsgradStep(_Step):
    name, num_slots, timed, same = "adam_amsgrad_step", 3, True, (0, 1, 2, 3, 4)
    sample_attrs = ({"beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-7},)

    def formula(
        self,
        f: Any,
        var: Any,
        m: Any,
        v: Any,
        v_hat: Any,
        grad: Any,
        lr: Any,
        t: Any,
        *,
        beta_1: float,
        beta_2: float,
        epsilon: float,
    ) -> Any:
        m, v, alpha = _moments(f, m, v, grad, lr, t, beta_1, beta_2)
        v_hat = f.maximum(v_hat, v)
        return var - m * alpha / (f.sqrt(v_hat) + epsilon), m, v, v_hat


def _moments(f: Any, m: Any, v: Any, grad: Any, lr: Any, t: Any, beta_1: float, beta_2: float) -> tuple[Any, Any, Any]:
    """Adam's new moments, and the learning rate with the bias of both corrected."""
    alpha = lr * f.sqrt(f.one_minus_power(beta_2, t)) / f.one_minus_power(beta_1, t)
    return m + (grad - m) * (1.0 - beta_1), v + (grad * grad - v) * (1.0 - beta_2), alpha


class AdamaxStep(_Step):
    name, num_slots, timed, same = "adamax_step", 2, True, (0, 1, 2, 3)
    sample_attrs = ({"beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-7},)

    def formula(
        self,
        f: Any,
        var: Any,
        m: Any,
        u: Any,
        grad: Any,
        lr: Any,
        t: Any,
        *,
        beta_1: float,
        beta_2: float,
        epsilon: float,
    ) -> Any:
        m = m + (grad - m) * (1.0 - beta_1)
        u = f.maximum(u * beta_2, f.abs(grad))
        return var - lr * m / (f.one_minus_power(beta_1, t) * (u + epsilon)), m, u


class RmspropStep(_Step):
    """Its momentum slot exists only where `momentum` is not 0, its average gradient only where `centered`."""

    name, same = "rmsprop_step", (0, 1)
    sample_attrs = (
        {"rho": 0.9, "momentum": 0.0, "epsilon": 1e-7, "centered": False},
        {"rho": 0.8, "momentum": 0.9, "epsilon": 1e-3, "centered": True},
        {"rho": 0.8, "momentum": 0.0, "epsilon": 1e-3, "centered": True},
    )

    def slots(self, attrs: dict[str, Any]) -> int:
        return 1 + (attrs["momentum"] > 0) + attrs["centered"]

    def formula(
        self, f: Any, var: Any, velocity: Any, *more: Any, rho: float, momentum: float, epsilon: float, centered: bool
    ) -> Any:
        *slots, grad, lr = more
        velocity = velocity * rho + grad * grad * (1.0 - rho)
        denominator = velocity + epsilon
        if centered:
            slots[-1] = slots[-1] * rho + grad * (1.0 - rho)
            denominator = velocity - slots[-1] * slots[-1] + epsilon
        step = lr * grad / f.sqrt(denominator)
        if momentum > 0:
            slots[0] = step = slots[0] * momentum + step
        return (var - step, velocity, *slots)


class AdagradStep(_Step):
    name, num_slots, same = "adagrad_step", 1, (0, 1, 2)
    sample_attrs = ({"epsilon": 1e-7},)

    def formula(self, f: Any, var: Any, accumulator: Any, grad: Any, lr: Any, *, epsilon: float) -> Any:
        accumulator = accumulator + grad * grad
        return var - lr * grad / f.sqrt(accumulator + epsilon), accumulator


class AdadeltaStep(_Step):
    name, num_slots, same = "adadelta_step", 2, (0, 1, 2, 3)
    sample_attrs = ({"rho": 0.95, "epsilon": 1e-7},)

    def formula(
        self, f: Any, var: Any, squares: Any, deltas: Any, grad: Any, lr: Any, *, rho: float, epsilon: float
    ) -> Any:
        squares = squares * rho + grad * grad * (1.0 - rho)
        delta = -(f.sqrt(deltas + epsilon) * grad / f.sqrt(squares + epsilon))
        return var + lr * delta, squares, deltas * rho + delta * delta * (1.0 - rho)


class LionStep(_Step):
    name, num_slots, same = "lion_step", 1, (0, 1, 2)
    sample_attrs = ({"beta_1": 0.9, "beta_2": 0.99},)

    def formula(self, f: Any, var: Any, m: Any, grad: Any, lr: Any, *, beta_1: float, beta_2: float) -> Any:
        return var - lr * f.sign(m * beta_1 + grad * (1.0 - beta_1)), m * beta_2 + grad * (1.0 - beta_2)
