"""The base of all optimizers: slots beside each variable, gradients clipped, one update per variable."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...eager.variable import Variable
from ...ops.dispatch import apply, replaced
from ...ops.reduce import reduce_sum
from .. import initializers, registry
from ..naming import snake_case, unique_name
from . import schedules

__all__ = ["Optimizer"]


class Optimizer:
    """The base of all optimizers.

    Args:
        learning_rate: a number, or a schedule: a callable of the step.
        weight_decay: the variable shrinks by learning_rate * weight_decay before each update.
        clipnorm, clipvalue, global_clipnorm: at most one of them; limits each gradient's norm, its elements, or the
            norm of all.
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
                f"Only one of `clipnorm`, `clipvalue` and `global_clipnorm` can be set. Received: clipnorm={clipnorm}, "
                f"clipvalue={clipvalue}, global_clipnorm={global_clipnorm}."
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
        self.name = name or unique_name(snake_case(type(self).__name__))
        self.weight_decay, self.clipnorm, self.clipvalue, self.global_clipnorm = (
            weight_decay,
            clipnorm,
            clipvalue,
            global_clipnorm,
        )
        if isinstance(learning_rate, dict):
            learning_rate = schedules.deserialize(learning_rate)
        self._schedule = learning_rate if callable(learning_rate) and not isinstance(learning_rate, Variable) else None
        start = 0.0 if self._schedule is not None else float(learning_rate)
        self.learning_rate_variable = Variable(
            np.float32(start), trainable=False, name=f"{self.name}/learning_rate", role="OPTIMIZER_SLOT"
        )
        self.iterations = Variable(np.int64(0), trainable=False, name=f"{self.name}/iterations", role="COUNTER")
        self._slots: dict[int, list[Variable]] = {}
        self._built_for: list[Variable] = []
        self._added: list[tuple[Variable, str, Variable]] = []  # (variable, name, slot) of users' optimizers
        self._undecayed: list[Any] = []  # ids and name patterns
        self._step: Any = None

    # -- settings -----------------------------------------------------------------------------------------------------

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
                    "This optimizer was created with a `LearningRateSchedule` object as its `learning_rate` "
                    "constructor "
                    "argument, hence its learning rate is not settable. Make it with a float instead."
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
        slots = [slot for _, held in self.slots_by_variable() for slot in held.values()]
        return [self.iterations, self.learning_rate_variable, *slots]

    @property
    def built(self) -> bool:
        """Whether it has slots."""
        return bool(self._built_for)

    def build(self, variables: Sequence[Variable]) -> None:
        """Makes the slots of variables that have none."""
        with replaced(()):
            for v in variables:
                if id(v) not in self._slots:
                    self._slots[id(v)] = [self._slot(v, s) for s in self.slots_of()]
                    self._built_for.append(v)

    def _slot(self, variable: Variable, name: str, start: Any = None) -> Variable:
        initializer = initializers.get(start or self.slot_initializer(name))
        made = Variable(
            initializer(variable.sizes, dtype=variable.dtype.name),
            trainable=False,
            name=f"{self.name}/{name}/{variable._name}",
            role="OPTIMIZER_SLOT",
        )
        made.initializer = initializer  # type: ignore[attr-defined]
        return made

    def slot_initializer(self, name: str) -> Any:
        """How a slot starts."""
        return "zeros"

    def add_variable_from_reference(
        self, reference_variable: Variable, name: str | None = None, initializer: Any = "zeros"
    ) -> Variable:
        """A slot of an optimizer of your own, of the shape of a variable. Call it in `build`."""
        with replaced(()):
            made = self._slot(reference_variable, name or "slot", initializer)
        self._added.append((reference_variable, name or "slot", made))
        return made

    def _get_variable_index(self, variable: Variable) -> int:
        return next(i for i, v in enumerate(self._built_for) if v is variable)

    def slots_by_variable(self) -> list[tuple[Variable, dict[str, Variable]]]:
        """Each variable that has slots, with them by name."""
        made = [(v, dict(zip(self.slots_of(), self._slots[id(v)], strict=True))) for v in self._built_for]
        return made + [(v, {name: slot}) for v, name, slot in self._added]

    def exclude_from_weight_decay(self, var_list: Any = None, var_names: Any = None) -> None:
        """These variables, and those whose names contain one of the patterns, do not decay."""
        self._undecayed += [id(v) for v in var_list or ()] + list(var_names or ())

    def decay_of(self, variable: Variable) -> float:
        """The weight decay of a variable."""
        for excluded in self._undecayed:
            if excluded == id(variable) or (isinstance(excluded, str) and re.search(excluded, variable._name)):
                return 0.0
        return float(self.weight_decay or 0.0)

    def slots_of(self) -> tuple[str, ...]:
        """The names of the slots beside each variable."""
        return self.slots

    # -- updating -----------------------------------------------------------------------------------------------------

    def apply_gradients(self, grads_and_vars: Any) -> Any:
        """Updates variables by (gradient, variable) pairs; those without a gradient stay.

        Raises ValueError if none has one.
        """
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
        self._step = apply("cast", self.iterations, dtype="float32") + 1.0
        for gradient, (_, variable) in zip(self._clipped([g for g, _ in kept]), kept, strict=True):
            own = type(self).update_step is not Optimizer.update_step
            if own and self.decay_of(variable):
                variable.assign(variable - variable * (rate * self.decay_of(variable)))
            self.update_step(gradient, variable, rate)
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

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Updates one variable and its slots. Optimizers of your own override it and assign by themselves."""
        slots = self._slots[id(variable)]
        made = self.updated(variable, slots, gradient, learning_rate, self._step)
        for target, value in zip([variable, *slots], made if isinstance(made, tuple) else (made,), strict=True):
            target.assign(value)

    def updated(self, variable: Any, slots: Any, gradient: Any, learning_rate: Any, step: Any) -> Any:
        """The new values of a variable and its slots, weight decay included."""
        raise NotImplementedError(
            f"{type(self).__name__} must implement `update_step(gradient, variable, learning_rate)`"
        )

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
