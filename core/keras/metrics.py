"""Metrics: sums kept in variables, so that they stay on the device, and results computed from them."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..dtypes import as_dtype
from ..eager.variable import Variable
from ..ops.dispatch import apply, convert
from ..ops.movement import dimension
from ..ops.reduce import reduce_sum
from ..shapes import num_elements
from . import losses, registry
from .naming import snake_case, unique_name

__all__ = [
    "Accuracy",
    "BinaryAccuracy",
    "BinaryCrossentropy",
    "CategoricalAccuracy",
    "CategoricalCrossentropy",
    "Mean",
    "MeanAbsoluteError",
    "MeanMetricWrapper",
    "MeanSquaredError",
    "Metric",
    "RootMeanSquaredError",
    "SparseCategoricalAccuracy",
    "SparseCategoricalCrossentropy",
    "SparseTopKCategoricalAccuracy",
    "Sum",
    "binary_accuracy",
    "categorical_accuracy",
    "deserialize",
    "get",
    "serialize",
    "sparse_categorical_accuracy",
]


class Metric:
    """The base: `update_state` adds to variables, `result` computes from them, `reset_state` starts again."""

    def __init__(self, dtype: Any = None, name: str | None = None) -> None:
        self.name = name or unique_name(snake_case(type(self).__name__))
        self._dtype = as_dtype(dtype or "float32").name
        self._variables: list[Variable] = []

    @property
    def dtype(self) -> str:
        """The element type of its variables."""
        return self._dtype

    def add_variable(
        self, shape: Any, initializer: Any = None, dtype: Any = None, aggregation: Any = None, name: str | None = None
    ) -> Variable:
        """A variable of this metric, 0 at the start."""
        variable = Variable(
            np.zeros(tuple(shape), as_dtype(dtype or self._dtype).numpy),
            trainable=False,
            name=f"{self.name}/{name or 'variable'}",
            role="METRIC",
        )
        self._variables.append(variable)
        return variable

    add_weight = add_variable

    @property
    def variables(self) -> list[Variable]:
        """Its variables."""
        return list(self._variables)

    def reset_state(self) -> None:
        """All variables become 0."""
        for v in self._variables:
            v.assign(np.zeros(v.sizes, v.dtype.numpy))

    def update_state(self, *args: Any, **kwargs: Any) -> None:
        """Takes a batch in."""
        raise NotImplementedError

    def result(self) -> Any:
        """The value over all batches since the start."""
        raise NotImplementedError

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Takes a batch in and gives the result."""
        self.update_state(*args, **kwargs)
        return self.result()

    def get_config(self) -> dict[str, Any]:
        """What makes an equal one."""
        return {"name": self.name, "dtype": self._dtype}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        """A metric of this configuration."""
        return cls(**config)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} name={self.name}>"


class Sum(Metric):
    """The (weighted) sum of values."""

    def __init__(self, name: str = "sum", dtype: Any = None) -> None:
        super().__init__(dtype, name)
        self.total = self.add_variable((), name="total")

    def update_state(self, values: Any, sample_weight: Any = None) -> None:
        self.total.assign_add(losses.reduce_values(_floating(values), sample_weight, "sum"))

    def result(self) -> Any:
        return self.total.value()


class Mean(Metric):
    """The (weighted) mean of values."""

    def __init__(self, name: str = "mean", dtype: Any = None) -> None:
        super().__init__(dtype, name)
        self.total = self.add_variable((), name="total")
        self.count = self.add_variable((), name="count")

    def update_state(self, values: Any, sample_weight: Any = None) -> None:
        values = _floating(values)
        self.total.assign_add(losses.reduce_values(values, sample_weight, "sum"))
        if sample_weight is None:
            self.count.assign_add(dimension(num_elements(values.sizes), "float32"))
        else:
            weight = _floating(sample_weight)
            elements = num_elements(values.sizes)
            if num_elements(weight.sizes) == elements:
                self.count.assign_add(reduce_sum(weight, None))
            else:
                inner = num_elements(values.sizes[len(weight.sizes) :])
                self.count.assign_add(reduce_sum(weight, None) * dimension(inner, "float32"))

    def result(self) -> Any:
        return apply("divide_no_nan", self.total, self.count)


class MeanMetricWrapper(Mean):
    """The mean of a function of (y_true, y_pred)."""

    def __init__(self, fn: Any, name: str | None = None, dtype: Any = None, **kwargs: Any) -> None:
        super().__init__(name or str(getattr(fn, "__name__", "metric")), dtype)
        self._fn, self._keywords = fn, kwargs

    def update_state(  # type: ignore[override]
        self, y_true: Any, y_pred: Any, sample_weight: Any = None
    ) -> None:
        super().update_state(self._fn(y_true, y_pred, **self._keywords), sample_weight)

    def get_config(self) -> dict[str, Any]:
        config = {**super().get_config(), **self._keywords}
        if type(self) is MeanMetricWrapper:
            config["fn"] = registry.serialize(self._fn)
        return config

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        if cls is MeanMetricWrapper:
            config = {**config, "fn": registry.get(config["fn"], KNOWN, "metric")}
        return cls(**config)


def _floating(x: Any) -> Any:
    x = convert(x)
    return x if x.dtype.is_floating else apply("cast", x, dtype="float32")


def _hits(a: Any, b: Any) -> Any:
    return apply("cast", apply("equal", a, b), dtype="float32")


def accuracy(y_true: Any, y_pred: Any) -> Any:
    """1 where y_true == y_pred."""
    y_true, y_pred = losses._pair(y_true, y_pred)
    return _hits(y_true, y_pred)


def binary_accuracy(y_true: Any, y_pred: Any, threshold: float = 0.5) -> Any:
    """1 where y_pred > threshold agrees with y_true."""
    y_true, y_pred = losses._pair(y_true, y_pred)
    return _hits(y_true, apply("cast", y_pred > threshold, dtype=y_pred.dtype.name))


def categorical_accuracy(y_true: Any, y_pred: Any) -> Any:
    """1 where the largest elements are at the same place."""
    y_true, y_pred = convert(y_true), convert(y_pred)
    axis = len(y_pred.sizes) - 1
    return _hits(
        apply("argmax", y_true, axis=axis, output_type="int64"),
        apply("argmax", _scores(y_pred), axis=axis, output_type="int64"),
    )


def sparse_categorical_accuracy(y_true: Any, y_pred: Any) -> Any:
    """1 where the largest element is at the class number."""
    y_true, y_pred = convert(y_true), convert(y_pred)
    y_true = losses._class_numbers(y_true, y_pred)
    largest = apply("argmax", _scores(y_pred), axis=len(y_pred.sizes) - 1, output_type="int64")
    return _hits(y_true, largest if y_true.dtype is largest.dtype else apply("cast", largest, dtype=y_true.dtype.name))


def sparse_top_k_categorical_accuracy(y_true: Any, y_pred: Any, k: int = 5) -> Any:
    """1 where the class is among the k largest: fewer than k others are larger."""
    y_true, y_pred = convert(y_true), convert(y_pred)
    y_true = losses._class_numbers(y_true, y_pred)
    chosen = apply(
        "one_hot", y_true, depth=int(y_pred.sizes[-1]), on_value=1.0, off_value=0.0, axis=-1, dtype="float32"
    )
    own = reduce_sum(y_pred * chosen, (len(y_pred.sizes) - 1,), True)
    larger = reduce_sum(apply("cast", y_pred > own, dtype="float32"), (len(y_pred.sizes) - 1,))
    return apply("cast", larger < float(k), dtype="float32")


def _scores(y_pred: Any) -> Any:
    """Logits instead of probabilities where they are at hand: the order is the same, and nothing more need be
    computed."""
    return losses._before(y_pred, "softmax") if losses._before(y_pred, "softmax") is not None else y_pred


class Accuracy(MeanMetricWrapper):
    """How often predictions equal labels."""

    def __init__(self, name: str = "accuracy", dtype: Any = None) -> None:
        super().__init__(accuracy, name, dtype)


class BinaryAccuracy(MeanMetricWrapper):
    """How often predictions, cut at a threshold, equal binary labels."""

    def __init__(self, name: str = "binary_accuracy", dtype: Any = None, threshold: float = 0.5) -> None:
        super().__init__(binary_accuracy, name, dtype, threshold=threshold)


class CategoricalAccuracy(MeanMetricWrapper):
    """How often the most probable class is the one-hot label."""

    def __init__(self, name: str = "categorical_accuracy", dtype: Any = None) -> None:
        super().__init__(categorical_accuracy, name, dtype)


class SparseCategoricalAccuracy(MeanMetricWrapper):
    """How often the most probable class is the label."""

    def __init__(self, name: str = "sparse_categorical_accuracy", dtype: Any = None) -> None:
        super().__init__(sparse_categorical_accuracy, name, dtype)


class SparseTopKCategoricalAccuracy(MeanMetricWrapper):
    """How often the label is among the k most probable classes."""

    def __init__(
        self,
        k: int = 5,
        name: str = "sparse_top_k_categorical_accuracy",
        dtype: Any = None,
        from_sorted_ids: bool = False,
    ) -> None:
        super().__init__(sparse_top_k_categorical_accuracy, name, dtype, k=k)


class MeanSquaredError(MeanMetricWrapper):
    """The mean of squared differences."""

    def __init__(self, name: str = "mean_squared_error", dtype: Any = None) -> None:
        super().__init__(losses.mean_squared_error, name, dtype)


class RootMeanSquaredError(MeanMetricWrapper):
    """The root of the mean of squared differences."""

    def __init__(self, name: str = "root_mean_squared_error", dtype: Any = None) -> None:
        super().__init__(losses.mean_squared_error, name, dtype)

    def result(self) -> Any:
        return apply("sqrt", super().result())


class MeanAbsoluteError(MeanMetricWrapper):
    """The mean of absolute differences."""

    def __init__(self, name: str = "mean_absolute_error", dtype: Any = None) -> None:
        super().__init__(losses.mean_absolute_error, name, dtype)


class BinaryCrossentropy(MeanMetricWrapper):
    """The mean cross-entropy of two classes."""

    def __init__(
        self,
        name: str = "binary_crossentropy",
        dtype: Any = None,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(
            losses.binary_crossentropy, name, dtype, from_logits=from_logits, label_smoothing=label_smoothing
        )


class CategoricalCrossentropy(MeanMetricWrapper):
    """The mean cross-entropy with one-hot labels."""

    def __init__(
        self,
        name: str = "categorical_crossentropy",
        dtype: Any = None,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
    ) -> None:
        super().__init__(
            losses.categorical_crossentropy,
            name,
            dtype,
            from_logits=from_logits,
            label_smoothing=label_smoothing,
            axis=axis,
        )


class SparseCategoricalCrossentropy(MeanMetricWrapper):
    """The mean cross-entropy with class numbers."""

    def __init__(
        self,
        name: str = "sparse_categorical_crossentropy",
        dtype: Any = None,
        from_logits: bool = False,
        axis: int = -1,
    ) -> None:
        super().__init__(losses.sparse_categorical_crossentropy, name, dtype, from_logits=from_logits, axis=axis)


_CLASSES = [
    Accuracy,
    BinaryAccuracy,
    BinaryCrossentropy,
    CategoricalAccuracy,
    CategoricalCrossentropy,
    Mean,
    MeanAbsoluteError,
    MeanMetricWrapper,
    MeanSquaredError,
    RootMeanSquaredError,
    SparseCategoricalAccuracy,
    SparseCategoricalCrossentropy,
    SparseTopKCategoricalAccuracy,
    Sum,
]
_FUNCTIONS = [binary_accuracy, categorical_accuracy, sparse_categorical_accuracy, sparse_top_k_categorical_accuracy]
KNOWN: dict[str, Any] = losses.KNOWN | {snake_case(c.__name__): c for c in _CLASSES} | {c.__name__: c for c in _CLASSES}
KNOWN |= {
    "mse": MeanSquaredError,
    "MSE": MeanSquaredError,
    "mae": MeanAbsoluteError,
    "MAE": MeanAbsoluteError,
    "rmse": RootMeanSquaredError,
}
KNOWN |= {f.__name__: f for f in _FUNCTIONS}


def get(identifier: Any) -> Any:
    """A metric from a name, a configuration, a function or an object."""
    found = registry.get(identifier, KNOWN, "metric identifier")
    return found


def resolve(identifier: Any, y_true: Any, y_pred: Any) -> Metric:
    """The metric for a name in `compile`; "accuracy" and "crossentropy" depend on the shapes, as in Keras."""
    if isinstance(identifier, Metric):
        return identifier
    name = identifier if isinstance(identifier, str) else None
    if name in ("accuracy", "acc", "crossentropy", "ce"):
        kind = _kind(y_true, y_pred)
        table: dict[str, dict[str, Any]] = {
            "accuracy": {"binary": BinaryAccuracy, "sparse": SparseCategoricalAccuracy, "dense": CategoricalAccuracy},
            "crossentropy": {
                "binary": BinaryCrossentropy,
                "sparse": SparseCategoricalCrossentropy,
                "dense": CategoricalCrossentropy,
            },
        }
        return table["accuracy" if name in ("accuracy", "acc") else "crossentropy"][kind](name=name)
    found = get(identifier)
    if isinstance(found, Metric):
        found.name = name or found.name
        return found
    return MeanMetricWrapper(found, name=name or getattr(found, "__name__", None))


def _kind(y_true: Any, y_pred: Any) -> str:
    if y_pred.sizes[-1] == 1:
        return "binary"
    if len(y_true.sizes) < len(y_pred.sizes) or (y_true.sizes[-1] == 1 and y_pred.sizes[-1] != 1):
        return "sparse"
    return "dense"


def serialize(metric: Any) -> Any:
    """The configuration of a metric."""
    return registry.serialize(metric)


def deserialize(config: Any, custom_objects: Any = None) -> Any:
    """The metric of a configuration."""
    return registry.deserialize(config, KNOWN | (custom_objects or {}), "metric")
