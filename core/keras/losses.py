"""Losses: functions of (y_true, y_pred) that give one value per sample, and the classes that weight and reduce them."""

from __future__ import annotations

from typing import Any

from ..dtypes import as_dtype
from ..errors import InvalidArgumentError
from ..ops.dispatch import apply, convert
from ..ops.losses import sigmoid_cross_entropy, softmax_cross_entropy, sparse_softmax_cross_entropy
from ..ops.movement import dimension
from ..ops.reduce import reduce_mean, reduce_sum
from ..shapes import num_elements
from . import registry
from .naming import snake_case

__all__ = [
    "BinaryCrossentropy",
    "CategoricalCrossentropy",
    "Huber",
    "Loss",
    "MeanAbsoluteError",
    "MeanAbsolutePercentageError",
    "MeanSquaredError",
    "MeanSquaredLogarithmicError",
    "Reduction",
    "SparseCategoricalCrossentropy",
    "binary_crossentropy",
    "categorical_crossentropy",
    "deserialize",
    "get",
    "huber",
    "mean_absolute_error",
    "mean_absolute_percentage_error",
    "mean_squared_error",
    "mean_squared_logarithmic_error",
    "serialize",
    "sparse_categorical_crossentropy",
]

EPSILON = 1e-7
REDUCTIONS = ("sum_over_batch_size", "sum", "mean", "mean_with_sample_weight", "none", None)


class Reduction:
    """Names of reductions."""

    SUM_OVER_BATCH_SIZE = "sum_over_batch_size"
    SUM = "sum"
    NONE = "none"
    AUTO = "sum_over_batch_size"


# -- functions --------------------------------------------------------------------------------------------------------


def mean_squared_error(y_true: Any, y_pred: Any) -> Any:
    """mean((y_true - y_pred) ** 2) over the last axis."""
    y_true, y_pred = _pair(y_true, y_pred)
    return reduce_mean(apply("square", y_true - y_pred), (-1 % len(y_pred.sizes),))


def mean_absolute_error(y_true: Any, y_pred: Any) -> Any:
    """mean(|y_true - y_pred|) over the last axis."""
    y_true, y_pred = _pair(y_true, y_pred)
    return reduce_mean(apply("abs", y_true - y_pred), (-1 % len(y_pred.sizes),))


def mean_absolute_percentage_error(y_true: Any, y_pred: Any) -> Any:
    """100 * mean(|y_true - y_pred| / |y_true|) over the last axis."""
    y_true, y_pred = _pair(y_true, y_pred)
    part = apply("abs", (y_true - y_pred) / apply("maximum", apply("abs", y_true), EPSILON))
    return reduce_mean(part, (-1 % len(y_pred.sizes),)) * 100.0


def mean_squared_logarithmic_error(y_true: Any, y_pred: Any) -> Any:
    """mean((log(1 + y_true) - log(1 + y_pred)) ** 2) over the last axis; values below 1e-7 count as 1e-7."""
    y_true, y_pred = _pair(y_true, y_pred)
    difference = apply("log1p", apply("maximum", y_true, EPSILON)) - apply("log1p", apply("maximum", y_pred, EPSILON))
    return reduce_mean(apply("square", difference), (-1 % len(y_pred.sizes),))


def huber(y_true: Any, y_pred: Any, delta: float = 1.0) -> Any:
    """Squared below `delta`, linear above, mean over the last axis."""
    y_true, y_pred = _pair(y_true, y_pred)
    error = apply("abs", y_true - y_pred)
    value = apply("select", error <= delta, apply("square", error) * 0.5, error * delta - 0.5 * delta * delta)
    return reduce_mean(value, (-1 % len(y_pred.sizes),))


def binary_crossentropy(
    y_true: Any, y_pred: Any, from_logits: bool = False, label_smoothing: float = 0.0, axis: int = -1
) -> Any:
    """-y log p - (1 - y) log(1 - p), mean over an axis."""
    y_true, y_pred = _pair(y_true, y_pred)
    if label_smoothing:
        y_true = y_true * (1.0 - label_smoothing) + 0.5 * label_smoothing
    logits = y_pred if from_logits else _before(y_pred, "sigmoid")
    if logits is not None:
        value = sigmoid_cross_entropy(logits, y_true)
    else:
        p = _clip(y_pred)
        value = -(y_true * apply("log", p) + (1.0 - y_true) * apply("log", 1.0 - p))
    return reduce_mean(value, (axis % len(y_pred.sizes),))


def categorical_crossentropy(
    y_true: Any, y_pred: Any, from_logits: bool = False, label_smoothing: float = 0.0, axis: int = -1
) -> Any:
    """-sum(y log p) over an axis; labels are one-hot or probabilities."""
    y_true, y_pred = _pair(y_true, y_pred)
    if y_pred.sizes[axis] == 1:
        raise ValueError(
            f"categorical_crossentropy with one class (y_pred has shape {tuple(y_pred.sizes)}) is always 0: use "
            "binary_crossentropy"
        )
    if label_smoothing:
        y_true = y_true * (1.0 - label_smoothing) + label_smoothing / y_pred.sizes[axis]
    logits = y_pred if from_logits else _before(y_pred, "softmax")
    if logits is not None and axis % len(y_pred.sizes) == len(y_pred.sizes) - 1:
        return softmax_cross_entropy(logits, y_true)
    p = y_pred / reduce_sum(y_pred, (axis % len(y_pred.sizes),), True)
    return -reduce_sum(y_true * apply("log", _clip(p)), (axis % len(y_pred.sizes),))


def sparse_categorical_crossentropy(
    y_true: Any, y_pred: Any, from_logits: bool = False, ignore_class: int | None = None, axis: int = -1
) -> Any:
    """-log p[label]; labels are class numbers, with the shape of y_pred without its last axis (or with a last axis
    of 1)."""
    y_pred = convert(y_pred)
    y_true = _class_numbers(convert(y_true), y_pred)
    logits = y_pred if from_logits else _before(y_pred, "softmax")
    if logits is None:
        logits = apply("log", _clip(y_pred))
    if ignore_class is None:
        return sparse_softmax_cross_entropy(logits, y_true)
    valid = apply("not_equal", y_true, ignore_class)
    value = sparse_softmax_cross_entropy(logits, apply("select", valid, y_true, y_true * 0))
    return apply("select", valid, value, value * 0.0)


def _class_numbers(y_true: Any, y_pred: Any) -> Any:
    if len(y_true.sizes) == len(y_pred.sizes) and y_true.sizes[-1] == 1:
        y_true = apply("reshape", y_true, shape=tuple(y_true.sizes[:-1]))
    if len(y_true.sizes) != len(y_pred.sizes) - 1:
        raise ValueError(
            f"Argument `output` must have rank (ndim) `target.ndim - 1`. Received: target.shape={tuple(y_true.sizes)}, "
            f"output.shape={tuple(y_pred.sizes)}. For one-hot labels use categorical_crossentropy."
        )
    return apply("cast", y_true, dtype="int64") if not y_true.dtype.is_integer else y_true


def _before(y_pred: Any, name: str) -> Any:
    """The logits that a softmax or sigmoid turned into y_pred, if that is how it was made in this trace: the loss
    is exact then."""
    node = getattr(y_pred, "node", None)
    while node is not None and node.op.name == "identity":
        y_pred = node.inputs[0]
        node = y_pred.node
    return node.inputs[0] if node is not None and node.op.name == name else None


def _clip(p: Any) -> Any:
    return apply("minimum", apply("maximum", p, EPSILON), 1.0 - EPSILON)


def _pair(y_true: Any, y_pred: Any) -> tuple[Any, Any]:
    """Both as tensors of the prediction's dtype; a missing last axis of 1 is added or dropped, as in Keras."""
    y_pred = convert(y_pred)
    if not y_pred.dtype.is_floating:
        y_pred = apply("cast", y_pred, dtype="float32")
    y_true = convert(y_true)
    if y_true.dtype is not y_pred.dtype:
        y_true = apply("cast", y_true, dtype=y_pred.dtype.name)
    if len(y_true.sizes) == len(y_pred.sizes) + 1 and y_true.sizes[-1] == 1:
        y_true = apply("reshape", y_true, shape=tuple(y_true.sizes[:-1]))
    elif len(y_true.sizes) == len(y_pred.sizes) - 1 and y_pred.sizes[-1] == 1:
        y_true = apply("reshape", y_true, shape=(*y_true.sizes, 1))
    if len(y_true.sizes) != len(y_pred.sizes) or any(
        a != b and 1 not in (a, b) for a, b in zip(y_true.sizes, y_pred.sizes, strict=True)
    ):
        raise ValueError(
            "Arguments `target` and `output` must have the same shape. Received: "
            f"target.shape={tuple(y_true.sizes)}, output.shape={tuple(y_pred.sizes)}"
        )
    return y_true, y_pred


# -- classes ----------------------------------------------------------------------------------------------------------


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
        """The reduced loss."""
        return reduce_values(self.call(y_true, y_pred), sample_weight, self.reduction)

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
            config = {**config, "fn": registry.get(config["fn"], KNOWN, "loss function")}
        return cls(**config)


class MeanSquaredError(LossFunction):
    """The mean of squared differences."""

    def __init__(
        self, reduction: str | None = "sum_over_batch_size", name: str | None = "mean_squared_error", dtype: Any = None
    ) -> None:
        super().__init__(mean_squared_error, reduction, name, dtype)


class MeanAbsoluteError(LossFunction):
    """The mean of absolute differences."""

    def __init__(
        self, reduction: str | None = "sum_over_batch_size", name: str | None = "mean_absolute_error", dtype: Any = None
    ) -> None:
        super().__init__(mean_absolute_error, reduction, name, dtype)


class MeanAbsolutePercentageError(LossFunction):
    """The mean of absolute differences in percent of the true value."""

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "mean_absolute_percentage_error",
        dtype: Any = None,
    ) -> None:
        super().__init__(mean_absolute_percentage_error, reduction, name, dtype)


class MeanSquaredLogarithmicError(LossFunction):
    """The mean of squared differences of logarithms."""

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "mean_squared_logarithmic_error",
        dtype: Any = None,
    ) -> None:
        super().__init__(mean_squared_logarithmic_error, reduction, name, dtype)


class Huber(LossFunction):
    """Squared for small differences, linear for large ones."""

    def __init__(
        self,
        delta: float = 1.0,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "huber_loss",
        dtype: Any = None,
    ) -> None:
        super().__init__(huber, reduction, name, dtype, delta=delta)


class BinaryCrossentropy(LossFunction):
    """Cross-entropy of two classes."""

    def __init__(
        self,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "binary_crossentropy",
        dtype: Any = None,
    ) -> None:
        super().__init__(
            binary_crossentropy,
            reduction,
            name,
            dtype,
            from_logits=from_logits,
            label_smoothing=label_smoothing,
            axis=axis,
        )


class CategoricalCrossentropy(LossFunction):
    """Cross-entropy with one-hot labels."""

    def __init__(
        self,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "categorical_crossentropy",
        dtype: Any = None,
    ) -> None:
        super().__init__(
            categorical_crossentropy,
            reduction,
            name,
            dtype,
            from_logits=from_logits,
            label_smoothing=label_smoothing,
            axis=axis,
        )


class SparseCategoricalCrossentropy(LossFunction):
    """Cross-entropy with class numbers as labels."""

    def __init__(
        self,
        from_logits: bool = False,
        ignore_class: int | None = None,
        reduction: str | None = "sum_over_batch_size",
        axis: int = -1,
        name: str | None = "sparse_categorical_crossentropy",
        dtype: Any = None,
    ) -> None:
        super().__init__(
            sparse_categorical_crossentropy,
            reduction,
            name,
            dtype,
            from_logits=from_logits,
            ignore_class=ignore_class,
            axis=axis,
        )

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """The reduced loss; labels of `ignore_class` do not count, not even in the mean."""
        ignored = self.keywords["ignore_class"]
        if ignored is not None:
            labels = _class_numbers(convert(y_true), convert(y_pred))
            mask = apply("cast", apply("not_equal", labels, ignored), dtype="float32")
            if self.reduction in ("sum_over_batch_size", "mean"):
                count = dimension(num_elements(mask.sizes), "float32")
                mask = mask * (count / (reduce_sum(mask, None) + EPSILON))
            if sample_weight is None:
                sample_weight = mask
            else:
                weight = apply("cast", convert(sample_weight), dtype="float32")
                sample_weight = (
                    apply("reshape", weight, shape=(*weight.sizes, *(1,) * (len(mask.sizes) - len(weight.sizes))))
                    * mask
                )
        return super().__call__(y_true, y_pred, sample_weight)


_FUNCTIONS = [
    binary_crossentropy,
    categorical_crossentropy,
    huber,
    mean_absolute_error,
    mean_absolute_percentage_error,
    mean_squared_error,
    mean_squared_logarithmic_error,
    sparse_categorical_crossentropy,
]
_CLASSES = [
    BinaryCrossentropy,
    CategoricalCrossentropy,
    Huber,
    LossFunction,
    MeanAbsoluteError,
    MeanAbsolutePercentageError,
    MeanSquaredError,
    MeanSquaredLogarithmicError,
    SparseCategoricalCrossentropy,
]
KNOWN: dict[str, Any] = {f.__name__: f for f in _FUNCTIONS} | {c.__name__: c for c in _CLASSES}
KNOWN |= {
    "mse": mean_squared_error,
    "MSE": mean_squared_error,
    "mae": mean_absolute_error,
    "MAE": mean_absolute_error,
    "mape": mean_absolute_percentage_error,
    "MAPE": mean_absolute_percentage_error,
    "msle": mean_squared_logarithmic_error,
    "MSLE": mean_squared_logarithmic_error,
    "bce": binary_crossentropy,
    "BCE": binary_crossentropy,
}


def get(identifier: Any) -> Any:
    """A loss from None, a name, a configuration, a function or an object."""
    return registry.get(identifier, KNOWN, "loss identifier")


def as_loss(identifier: Any) -> Any:
    """A Loss object of anything that `get` takes."""
    found = get(identifier)
    return found if found is None or isinstance(found, Loss) else LossFunction(found)


def serialize(loss: Any) -> Any:
    """The configuration of a loss."""
    return registry.serialize(loss)


def deserialize(config: Any, custom_objects: Any = None) -> Any:
    """The loss of a configuration."""
    return registry.deserialize(config, KNOWN | (custom_objects or {}), "loss")
