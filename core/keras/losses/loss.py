"""The base of loss classes: values per sample, weighted and reduced."""

from __future__ import annotations

from typing import Any

from ...dtypes import as_dtype
from ...errors import InvalidArgumentError
from ...ops.dispatch import apply, convert
from ...ops.movement import dimension
from ...ops.reduce import reduce_sum
from ...shapes import num_elements
from .. import masking, registry
from ..naming import snake_case
from . import functions

__all__ = ["Loss", "LossFunction", "Reduction", "reduce_values"]

REDUCTIONS = ("sum_over_batch_size", "sum", "mean", "mean_with_sample_weight", "none", None)


class Reduction:
    """Names of reductions."""

    SUM_OVER_BATCH_SIZE = "sum_over_batch_size"
    SUM = "sum"
    NONE = "none"
    AUTO = "sum_over_batch_size"


class Loss:
    """The base: `call(y_true, y_pred)` gives values per sample; calling the object weights and reduces them."""

    def __init__(
        self, name: str | None = None, reduction: str | None = "sum_over_batch_size", dtype: Any = None
    ) -> None:
        if reduction not in REDUCTIONS:
            raise ValueError(
                f"Invalid value for argument `reduction`. Expected one of {REDUCTIONS}. Received: reduction={reduction}"
            )
        self.name = name or snake_case(type(self).__name__)
        self.reduction = reduction
        self.dtype = as_dtype(dtype or "float32").name

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Values per sample."""
        raise NotImplementedError

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """The reduced loss. Steps that are masked in `y_pred` do not count."""
        weight = masking.masked_weight(sample_weight, y_pred, self.dtype, self.reduction)
        return reduce_values(self.call(y_true, y_pred), weight, self.reduction)

    def get_config(self) -> dict[str, Any]:
        """What makes an equal one."""
        return {"name": self.name, "reduction": self.reduction}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        """A loss of this configuration."""
        return cls(**config)


def reduce_values(values: Any, sample_weight: Any, reduction: str | None) -> Any:
    """Values per sample, weighted, as one number (or as they are for "none")."""
    values = convert(values)
    weight = None
    if sample_weight is not None:
        weight = convert(sample_weight)
        if weight.dtype is not values.dtype:
            weight = apply("cast", weight, dtype=values.dtype.name)
        while len(weight.sizes) > len(values.sizes) and weight.sizes[-1] == 1:
            weight = apply("reshape", weight, shape=tuple(weight.sizes[:-1]))
        if len(weight.sizes) > len(values.sizes):
            raise InvalidArgumentError(
                f"sample_weight has shape {tuple(weight.sizes)}, the loss values {tuple(values.sizes)}: one weight "
                "per sample is expected"
            )
        if len(weight.sizes) < len(values.sizes):
            weight = apply("reshape", weight, shape=(*weight.sizes, *(1,) * (len(values.sizes) - len(weight.sizes))))
        values = values * weight
    if reduction in (None, "none"):
        return values
    total = reduce_sum(values, None)
    if reduction == "sum":
        return total
    if reduction == "mean_with_sample_weight" and weight is not None:
        return apply("divide_no_nan", total, reduce_sum(apply("broadcast_to", weight, shape=tuple(values.sizes)), None))
    return apply("divide_no_nan", total, dimension(num_elements(values.sizes), values.dtype))


class LossFunction(Loss):
    """A function of (y_true, y_pred, ...) as a loss."""

    def __init__(
        self,
        fn: Any,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
        dtype: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(name or getattr(fn, "__name__", None), reduction, dtype)
        self.fn, self.keywords = fn, kwargs

    def call(self, y_true: Any, y_pred: Any) -> Any:
        return self.fn(y_true, y_pred, **self.keywords)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        if type(self) is LossFunction:
            config["fn"] = registry.serialize(self.fn)
        return {**config, **self.keywords}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        if cls is LossFunction:
            config = {
                **config,
                "fn": registry.get(
                    config["fn"], {n: getattr(functions, n) for n in functions.__all__}, "loss function"
                ),
            }
        return cls(**config)
