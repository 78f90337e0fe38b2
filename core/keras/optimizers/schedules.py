"""tf.keras.optimizers.schedules: learning rates as functions of the step, computed in the training step itself."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ...eager.tensor import constant
from ...ops.dispatch import Value, apply
from .. import registry

__all__ = [
    "CosineDecay",
    "ExponentialDecay",
    "InverseTimeDecay",
    "LearningRateSchedule",
    "PiecewiseConstantDecay",
    "PolynomialDecay",
    "deserialize",
    "serialize",
]


class LearningRateSchedule:
    """The base: called with a step, gives a rate."""

    def __call__(self, step: Any) -> Any:
        """The rate at a step."""
        raise NotImplementedError(
            f"Learning rate schedule '{type(self).__name__}' must override `__call__(self, step)`."
        )

    def get_config(self) -> dict[str, Any]:
        """What makes an equal one."""
        raise NotImplementedError(f"Learning rate schedule '{type(self).__name__}' must override `get_config()`.")

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        """A schedule of this configuration."""
        return cls(**config)


def _float(step: Any) -> Any:
    """The step as a float32 tensor."""
    if not isinstance(step, Value):
        return constant(float(step))
    return step if step.dtype.name == "float32" else apply("cast", step, dtype="float32")


class _Decay(LearningRateSchedule):
    """What the decays over `decay_steps` share."""

    fields: tuple[str, ...]

    def __init__(self, **settings: Any) -> None:
        if settings["decay_steps"] <= 0:
            raise ValueError(f"Argument `decay_steps` must be > 0. Received: decay_steps={settings['decay_steps']}")
        self._settings = settings
        for name, value in settings.items():
            setattr(self, name, value)

    def get_config(self) -> dict[str, Any]:
        return dict(self._settings)


class ExponentialDecay(_Decay):
    """initial_learning_rate * decay_rate ** (step / decay_steps); `staircase` rounds the exponent down."""

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: int,
        decay_rate: float,
        staircase: bool = False,
        name: str = "ExponentialDecay",
    ) -> None:
        super().__init__(
            initial_learning_rate=initial_learning_rate,
            decay_steps=decay_steps,
            decay_rate=decay_rate,
            staircase=staircase,
            name=name,
        )

    def __call__(self, step: Any) -> Any:
        given = self._settings
        power = _float(step) / float(given["decay_steps"])
        power = apply("floor", power) if given["staircase"] else power
        return apply("exp", power * math.log(given["decay_rate"])) * float(given["initial_learning_rate"])


class InverseTimeDecay(_Decay):
    """initial_learning_rate / (1 + decay_rate * step / decay_steps); `staircase` rounds the quotient down."""

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: int,
        decay_rate: float,
        staircase: bool = False,
        name: str = "InverseTimeDecay",
    ) -> None:
        super().__init__(
            initial_learning_rate=initial_learning_rate,
            decay_steps=decay_steps,
            decay_rate=decay_rate,
            staircase=staircase,
            name=name,
        )

    def __call__(self, step: Any) -> Any:
        given = self._settings
        part = _float(step) / float(given["decay_steps"])
        part = apply("floor", part) if given["staircase"] else part
        return constant(float(given["initial_learning_rate"])) / (part * float(given["decay_rate"]) + 1.0)


class PolynomialDecay(_Decay):
    """From the initial rate to `end_learning_rate` in `decay_steps`; `cycle` stretches the time and starts again."""

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: int,
        end_learning_rate: float = 0.0001,
        power: float = 1.0,
        cycle: bool = False,
        name: str = "PolynomialDecay",
    ) -> None:
        super().__init__(
            initial_learning_rate=initial_learning_rate,
            decay_steps=decay_steps,
            end_learning_rate=end_learning_rate,
            power=power,
            cycle=cycle,
            name=name,
        )

    def __call__(self, step: Any) -> Any:
        given = self._settings
        now, span = _float(step), float(given["decay_steps"])
        if given["cycle"]:
            rounds = apply("maximum", apply("ceil", now / span), 1.0)
            part = now / (rounds * span)
        else:
            part = apply("minimum", now, span) / span
        left = 1.0 - part
        left = left if given["power"] == 1.0 else apply("pow", left, float(given["power"]))
        first, last = float(given["initial_learning_rate"]), float(given["end_learning_rate"])
        return left * (first - last) + last


class CosineDecay(_Decay):
    """Half a cosine from the initial rate (after a linear warm-up to `warmup_target`) down to `alpha` of it."""

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: int,
        alpha: float = 0.0,
        name: str = "CosineDecay",
        warmup_target: float | None = None,
        warmup_steps: int = 0,
    ) -> None:
        super().__init__(
            initial_learning_rate=initial_learning_rate,
            decay_steps=decay_steps,
            alpha=alpha,
            name=name,
            warmup_target=warmup_target,
            warmup_steps=warmup_steps,
        )

    def __call__(self, step: Any) -> Any:
        given = self._settings
        now, span = _float(step), float(given["decay_steps"])
        start, warm = float(given["initial_learning_rate"]), float(given["warmup_steps"])
        target = given["warmup_target"]
        if target is None:
            return self._cosine(apply("minimum", now, span) / span, start)
        later = self._cosine(apply("minimum", apply("maximum", now - warm, 0.0), span) / span, float(target))
        if not warm:
            return later
        rising = now * ((float(target) - start) / warm) + start
        return apply("select", now < warm, rising, later)

    def _cosine(self, part: Any, first: float) -> Any:
        alpha = float(self._settings["alpha"])
        half = (apply("cos", part * math.pi) + 1.0) * 0.5
        return (half * (1.0 - alpha) + alpha) * first


class PiecewiseConstantDecay(LearningRateSchedule):
    """values[0] up to and with step boundaries[0], then values[1], and so on."""

    def __init__(self, boundaries: Sequence[float], values: Sequence[float], name: str = "PiecewiseConstant") -> None:
        if len(boundaries) != len(values) - 1:
            raise ValueError(
                "The length of boundaries should be 1 less than the length of values. Received: "
                f"boundaries={boundaries} "
                f"of length {len(boundaries)}, and values={values} of length {len(values)}."
            )
        self.boundaries, self.values, self.name = list(boundaries), list(values), name

    def __call__(self, step: Any) -> Any:
        now = _float(step)
        rate: Any = constant(float(self.values[-1]))
        for boundary, value in zip(reversed(self.boundaries), reversed(self.values[:-1]), strict=True):
            rate = apply("select", now <= float(boundary), constant(float(value)), rate)
        return rate

    def get_config(self) -> dict[str, Any]:
        return {"boundaries": self.boundaries, "values": self.values, "name": self.name}


KNOWN: dict[str, Any] = {
    c.__name__: c for c in (CosineDecay, ExponentialDecay, InverseTimeDecay, PiecewiseConstantDecay, PolynomialDecay)
}


def serialize(learning_rate_schedule: Any) -> Any:
    """The configuration of a schedule."""
    return registry.serialize(learning_rate_schedule)


def deserialize(config: Any, custom_objects: Any = None) -> Any:
    """The schedule of a configuration."""
    return registry.deserialize(config, KNOWN | (custom_objects or {}), "learning rate schedule")
