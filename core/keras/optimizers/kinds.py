"""SGD, Adam and their relatives: which slots each has, and the op that updates with them."""

from __future__ import annotations

from typing import Any

from ...ops.optimizer import (
    adadelta_step,
    adagrad_step,
    adam_amsgrad_step,
    adam_step,
    adamax_step,
    lion_step,
    momentum_step,
    rmsprop_step,
    sgd_step,
)
from ..initializers import Constant
from .optimizer import Optimizer

__all__ = ["SGD", "Adadelta", "Adagrad", "Adam", "AdamW", "Adamax", "Lion", "RMSprop"]


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

    def updated(self, variable: Any, slots: Any, gradient: Any, learning_rate: Any, step: Any) -> Any:
        decay = self.decay_of(variable)
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
        self.beta_1, self.beta_2, self.epsilon, self.amsgrad = (
            float(beta_1),
            float(beta_2),
            float(epsilon),
            bool(amsgrad),
        )

    def slots_of(self) -> tuple[str, ...]:
        return ("m", "v", "v_hat") if self.amsgrad else ("m", "v")

    def updated(self, variable: Any, slots: Any, gradient: Any, learning_rate: Any, step: Any) -> Any:
        update: Any = adam_amsgrad_step if self.amsgrad else adam_step
        return update(
            *(variable, *slots, gradient, learning_rate, step),
            beta_1=self.beta_1,
            beta_2=self.beta_2,
            epsilon=self.epsilon,
            weight_decay=self.decay_of(variable),
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
            *(("momentum",) if self.momentum else ()),
            *(("average_gradient",) if self.centered else ()),
        )

    def updated(self, variable: Any, slots: Any, gradient: Any, learning_rate: Any, step: Any) -> Any:
        return rmsprop_step(
            variable,
            *slots,
            gradient,
            learning_rate,
            rho=self.rho,
            momentum=self.momentum,
            epsilon=self.epsilon,
            centered=self.centered,
            weight_decay=self.decay_of(variable),
        )

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "rho": self.rho,
            "momentum": self.momentum,
            "epsilon": self.epsilon,
            "centered": self.centered,
        }


class Adamax(Optimizer):
    """Adam with the largest gradient instead of the variance."""

    slots = ("m", "u")

    def __init__(
        self,
        learning_rate: Any = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-07,
        weight_decay: float | None = None,
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("name", "adamax")
        super().__init__(learning_rate, weight_decay, **kwargs)
        self.beta_1, self.beta_2, self.epsilon = float(beta_1), float(beta_2), float(epsilon)

    def updated(self, variable: Any, slots: Any, gradient: Any, learning_rate: Any, step: Any) -> Any:
        update: Any = adamax_step
        return update(
            *(variable, *slots, gradient, learning_rate, step),
            beta_1=self.beta_1,
            beta_2=self.beta_2,
            epsilon=self.epsilon,
            weight_decay=self.decay_of(variable),
        )

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "beta_1": self.beta_1, "beta_2": self.beta_2, "epsilon": self.epsilon}


class Adagrad(Optimizer):
    """Steps divided by the root of the sum of all squared gradients."""

    slots = ("accumulator",)

    def __init__(
        self,
        learning_rate: Any = 0.001,
        initial_accumulator_value: float = 0.1,
        epsilon: float = 1e-07,
        weight_decay: float | None = None,
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("name", "adagrad")
        super().__init__(learning_rate, weight_decay, **kwargs)
        self.initial_accumulator_value, self.epsilon = float(initial_accumulator_value), float(epsilon)

    def slot_initializer(self, name: str) -> Any:
        return Constant(self.initial_accumulator_value)

    def updated(self, variable: Any, slots: Any, gradient: Any, learning_rate: Any, step: Any) -> Any:
        decay = self.decay_of(variable)
        return adagrad_step(variable, slots[0], gradient, learning_rate, epsilon=self.epsilon, weight_decay=decay)

    def get_config(self) -> dict[str, Any]:
        start = self.initial_accumulator_value
        return {**super().get_config(), "initial_accumulator_value": start, "epsilon": self.epsilon}


class Adadelta(Optimizer):
    """Steps as large as the former steps were, compared with the former gradients."""

    slots = ("accumulated_grad", "accumulated_delta_var")

    def __init__(
        self,
        learning_rate: Any = 0.001,
        rho: float = 0.95,
        epsilon: float = 1e-07,
        weight_decay: float | None = None,
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("name", "adadelta")
        super().__init__(learning_rate, weight_decay, **kwargs)
        self.rho, self.epsilon = float(rho), float(epsilon)

    def updated(self, variable: Any, slots: Any, gradient: Any, learning_rate: Any, step: Any) -> Any:
        settings: dict[str, Any] = {"rho": self.rho, "epsilon": self.epsilon, "weight_decay": self.decay_of(variable)}
        return adadelta_step(variable, slots[0], slots[1], gradient, learning_rate, **settings)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "rho": self.rho, "epsilon": self.epsilon}


class Lion(Optimizer):
    """Steps of one size, in the direction of the sign of an averaged gradient."""

    slots = ("momentum",)

    def __init__(
        self,
        learning_rate: Any = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.99,
        weight_decay: float | None = None,
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("name", "lion")
        super().__init__(learning_rate, weight_decay, **kwargs)
        if not 0 < beta_1 <= 1:
            raise ValueError(
                f"Argument `beta_1` must be in the [0, 1] range. Otherwise, the optimizer degenerates to "
                f"SignSGD. Received: beta_1={beta_1}."
            )
        self.beta_1, self.beta_2 = float(beta_1), float(beta_2)

    def updated(self, variable: Any, slots: Any, gradient: Any, learning_rate: Any, step: Any) -> Any:
        settings: dict[str, Any] = {
            "beta_1": self.beta_1,
            "beta_2": self.beta_2,
            "weight_decay": self.decay_of(variable),
        }
        return lion_step(variable, slots[0], gradient, learning_rate, **settings)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "beta_1": self.beta_1, "beta_2": self.beta_2}
