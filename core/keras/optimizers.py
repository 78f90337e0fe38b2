"""Optimizers: slots beside each variable, one op per update."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..eager.variable import Variable
from ..ops.dispatch import apply
from ..ops.optimizer import adam_step, momentum_step, rmsprop_step, sgd_step
from ..ops.reduce import reduce_sum
from . import registry
from .naming import unique_name

__all__ = ["SGD", "Adam", "AdamW", "Optimizer", "RMSprop", "deserialize", "get", "serialize"]


class Optimizer:
    """The base of all optimizers.

    Args:
        learning_rate: a number, or a schedule: a callable of the step.
        weight_decay: the variable shrinks by learning_rate * weight_decay before each update.
        clipnorm, clipvalue, global_clipnorm: at most one of them; limits each gradient's norm, its elements, or the norm of all.
        name: for messages and files.
    """

    slots: tuple[str, ...] = ()

    def __init__(
        self,
        learning_rate: Any,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        use_ema: bool = False,
        ema_momentum: float = 0.99,
        ema_overwrite_frequency: Any = None,
        loss_scale_factor: float | None = None,
        gradient_accumulation_steps: int | None = None,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        kwargs.pop("jit_compile", None)
        if kwargs:
            raise ValueError(f"Argument(s) not recognized: {kwargs}")
        if sum(x is not None for x in (clipnorm, clipvalue, global_clipnorm)) > 1:
            raise ValueError(
                f"Only one of `clipnorm`, `clipvalue` and `global_clipnorm` can be set. Received: clipnorm={clipnorm}, clipvalue={clipvalue}, global_clipnorm={global_clipnorm}."
            )
        self._settings = {
            "use_ema": use_ema,
            "ema_momentum": ema_momentum,
            "ema_overwrite_frequency": ema_overwrite_frequency,
            "loss_scale_factor": loss_scale_factor,
            "gradient_accumulation_steps": gradient_accumulation_steps,
        }
        for text in ("use_ema", "loss_scale_factor", "gradient_accumulation_steps"):
            if self._settings[text]:
                raise NotImplementedError(
                    f"{type(self).__name__}: {text} is not available yet; leave it out. A larger "
                    f"batch_size does what gradient_accumulation_steps does."
                )
        self.name = name or unique_name(registry.snake_case(type(self).__name__))
        self.weight_decay, self.clipnorm, self.clipvalue, self.global_clipnorm = (
            weight_decay,
            clipnorm,
            clipvalue,
            global_clipnorm,
        )
        self._schedule = learning_rate if callable(learning_rate) and not isinstance(learning_rate, Variable) else None
        start = 0.0 if self._schedule is not None else float(learning_rate)
        self.learning_rate_variable = Variable(
            np.float32(start), trainable=False, name=f"{self.name}/learning_rate", role="OPTIMIZER_SLOT"
        )
        self.iterations = Variable(np.int64(0), trainable=False, name=f"{self.name}/iterations", role="COUNTER")
        self._slots: dict[int, list[Variable]] = {}
        self._built_for: list[Variable] = []

    # -- settings -------------------------------------------------------------------------------------------------------

    @property
    def learning_rate(self) -> Any:
        """The rate: a variable, or with a schedule its value at this step."""
        if self._schedule is not None:
            return self._schedule(apply("cast", self.iterations, dtype="float32"))
        return self.learning_rate_variable

    @learning_rate.setter
    def learning_rate(self, value: Any) -> None:
        if self._schedule is not None:
            if not callable(value):
                raise TypeError(
                    "This optimizer was created with a `LearningRateSchedule` object as its `learning_rate` constructor argument, hence its learning rate is not settable. Make it with a float instead."
                )
            self._schedule = value
        else:
            self.learning_rate_variable.assign(np.float32(value))

    lr = learning_rate

    @property
    def scheduled(self) -> bool:
        """Whether the rate is computed from the step."""
        return self._schedule is not None

    @property
    def variables(self) -> list[Variable]:
        """Step counter, rate, and slots of all variables."""
        return [self.iterations, self.learning_rate_variable, *(s for v in self._built_for for s in self._slots[id(v)])]

    @property
    def built(self) -> bool:
        """Whether it has slots."""
        return bool(self._built_for)

    def build(self, variables: Sequence[Variable]) -> None:
        """Makes the slots of variables that have none."""
        from ..ops.dispatch import replaced

        with replaced(()):
            for v in variables:
                if id(v) not in self._slots:
                    self._slots[id(v)] = [
                        Variable(
                            np.zeros(v.sizes, v.dtype.numpy),
                            trainable=False,
                            name=f"{self.name}/{s}/{v._name}",
                            role="OPTIMIZER_SLOT",
                        )
                        for s in self.slots_of()
                    ]
                    self._built_for.append(v)

    def slots_by_variable(self) -> list[tuple[Variable, dict[str, Variable]]]:
        """Each variable that has slots, with them by name."""
        return [(v, dict(zip(self.slots_of(), self._slots[id(v)], strict=True))) for v in self._built_for]

    def slots_of(self) -> tuple[str, ...]:
        """The names of the slots beside each variable."""
        return self.slots

    # -- updating -------------------------------------------------------------------------------------------------------

    def apply_gradients(self, grads_and_vars: Any) -> Any:
        """Updates variables by (gradient, variable) pairs; those without a gradient stay. Raises ValueError if none has one."""
        pairs = [(g, v) for g, v in grads_and_vars]
        kept = [(g, v) for g, v in pairs if g is not None]
        if not kept:
            raise ValueError(
                "No gradients provided for any variable."
                if pairs
                else "No variables to update: the list of gradients is empty."
            )
        self.build([v for _, v in kept])
        rate = self.learning_rate
        rate = rate.value() if isinstance(rate, Variable) else rate
        step = apply("cast", self.iterations, dtype="float32") + 1.0
        for gradient, (_, variable) in zip(self._clipped([g for g, _ in kept]), kept, strict=True):
            slots = self._slots[id(variable)]
            made = self.update_step(variable, slots, gradient, rate, step)
            for target, value in zip([variable, *slots], made if isinstance(made, tuple) else (made,), strict=True):
                target.assign(value)
        for _, variable in kept:
            constraint = getattr(variable, "constraint", None)
            if constraint is not None:
                variable.assign(constraint(variable))
        self.iterations.assign_add(1)
        return self.iterations

    def apply(self, grads: Sequence[Any], trainable_variables: Sequence[Variable] | None = None) -> None:
        """Updates variables by gradients in the same order."""
        self.apply_gradients(
            zip(grads, trainable_variables if trainable_variables is not None else self._built_for, strict=True)
        )

    def update_step(self, variable: Any, slots: Sequence[Any], gradient: Any, learning_rate: Any, step: Any) -> Any:
        """The new values of a variable and its slots."""
        raise NotImplementedError

    def _clipped(self, gradients: list[Any]) -> list[Any]:
        if self.clipvalue is not None:
            return [apply("minimum", apply("maximum", g, -self.clipvalue), self.clipvalue) for g in gradients]
        if self.clipnorm is not None:
            return [_scaled(g, self.clipnorm, apply("sqrt", reduce_sum(g * g, None))) for g in gradients]
        if self.global_clipnorm is not None:
            total: Any = None
            for g in gradients:
                part = reduce_sum(g * g, None)
                total = part if total is None else total + part
            norm = apply("sqrt", total)
            return [_scaled(g, self.global_clipnorm, norm) for g in gradients]
        return gradients

    def get_config(self) -> dict[str, Any]:
        """What makes an equal one, without state."""
        rate = (
            registry.serialize(self._schedule)
            if self._schedule is not None
            else float(self.learning_rate_variable.numpy())
        )
        return {
            "name": self.name,
            "learning_rate": rate,
            "weight_decay": self.weight_decay,
            "clipnorm": self.clipnorm,
            "clipvalue": self.clipvalue,
            "global_clipnorm": self.global_clipnorm,
            **self._settings,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Any:
        """An optimizer of this configuration."""
        return cls(**config)


def _scaled(gradient: Any, limit: float, norm: Any) -> Any:
    """The gradient, shrunk if the norm is above the limit."""
    return gradient * (limit / apply("maximum", norm, float(limit)))


class SGD(Optimizer):
    """Gradient descent, with momentum if asked for."""

    def __init__(
        self,
        learning_rate: Any = 0.01,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float | None = None,
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("name", "SGD")
        super().__init__(learning_rate, weight_decay, **kwargs)
        if not 0 <= momentum <= 1:
            raise ValueError("`momentum` must be a float between [0, 1].")
        self.momentum, self.nesterov = float(momentum), bool(nesterov)

    def slots_of(self) -> tuple[str, ...]:
        return ("momentum",) if self.momentum else ()

    def update_step(self, variable: Any, slots: Sequence[Any], gradient: Any, learning_rate: Any, step: Any) -> Any:
        decay = float(self.weight_decay or 0.0)
        if not slots:
            return sgd_step(variable, gradient, learning_rate, weight_decay=decay)
        return momentum_step(
            variable,
            slots[0],
            gradient,
            learning_rate,
            momentum=self.momentum,
            nesterov=self.nesterov,
            weight_decay=decay,
        )

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "momentum": self.momentum, "nesterov": self.nesterov}


class Adam(Optimizer):
    """Adam: steps by means and variances of the gradients, corrected for their start."""

    slots = ("m", "v")

    def __init__(
        self,
        learning_rate: Any = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-07,
        amsgrad: bool = False,
        weight_decay: float | None = None,
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("name", "adam")
        super().__init__(learning_rate, weight_decay, **kwargs)
        if amsgrad:
            raise NotImplementedError(f"{type(self).__name__}: amsgrad is not available yet; use amsgrad=False")
        self.beta_1, self.beta_2, self.epsilon, self.amsgrad = float(beta_1), float(beta_2), float(epsilon), amsgrad

    def update_step(self, variable: Any, slots: Sequence[Any], gradient: Any, learning_rate: Any, step: Any) -> Any:
        return adam_step(
            variable,
            *slots,
            gradient,
            learning_rate,
            step,
            beta_1=self.beta_1,
            beta_2=self.beta_2,
            epsilon=self.epsilon,
            weight_decay=float(self.weight_decay or 0.0),
        )

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "beta_1": self.beta_1,
            "beta_2": self.beta_2,
            "epsilon": self.epsilon,
            "amsgrad": self.amsgrad,
        }


class AdamW(Adam):
    """Adam with decoupled weight decay."""

    def __init__(
        self,
        learning_rate: Any = 0.001,
        weight_decay: float | None = 0.004,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-07,
        amsgrad: bool = False,
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("name", "adamw")
        super().__init__(learning_rate, beta_1, beta_2, epsilon, amsgrad, weight_decay, **kwargs)
        if self.weight_decay is None:
            raise ValueError("Argument `weight_decay` must be a float. Received: weight_decay=None")


class RMSprop(Optimizer):
    """Steps divided by a moving average of the gradient's size."""

    def __init__(
        self,
        learning_rate: Any = 0.001,
        rho: float = 0.9,
        momentum: float = 0.0,
        epsilon: float = 1e-07,
        centered: bool = False,
        weight_decay: float | None = None,
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("name", "rmsprop")
        super().__init__(learning_rate, weight_decay, **kwargs)
        self.rho, self.momentum, self.epsilon, self.centered = (
            float(rho),
            float(momentum),
            float(epsilon),
            bool(centered),
        )

    def slots_of(self) -> tuple[str, ...]:
        return (
            "velocity",
            *(("average_gradient",) if self.centered else ()),
            *(("momentum",) if self.momentum else ()),
        )

    def update_step(self, variable: Any, slots: Sequence[Any], gradient: Any, learning_rate: Any, step: Any) -> Any:
        return rmsprop_step(
            variable,
            *slots,
            gradient,
            learning_rate,
            rho=self.rho,
            momentum=self.momentum,
            epsilon=self.epsilon,
            centered=self.centered,
            weight_decay=float(self.weight_decay or 0.0),
        )

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "rho": self.rho,
            "momentum": self.momentum,
            "epsilon": self.epsilon,
            "centered": self.centered,
        }


_CLASSES = [SGD, Adam, AdamW, RMSprop]
KNOWN: dict[str, Any] = {c.__name__: c for c in _CLASSES} | {c.__name__.lower(): c for c in _CLASSES}


def get(identifier: Any) -> Any:
    """An optimizer from a name, a configuration or an object."""
    if isinstance(identifier, str):
        identifier = identifier.lower() if identifier.lower() in KNOWN else identifier
    if isinstance(identifier, Optimizer):
        return identifier
    return registry.get(identifier, KNOWN, "optimizer identifier")


def serialize(optimizer: Any) -> Any:
    """The configuration of an optimizer."""
    return registry.serialize(optimizer)


def deserialize(config: Any, custom_objects: Any = None) -> Any:
    """The optimizer of a configuration."""
    return registry.deserialize(config, KNOWN | (custom_objects or {}), "optimizer")
