"""tf.keras.metrics."""

from typing import Any

from .. import losses, registry
from ..losses import KLD, MAE, MAPE, MSE, MSLE, kld, logcosh, mae, mape, mse, msle
from ..losses.functions import *  # noqa: F403
from ..naming import snake_case
from . import confusion, functions, kinds
from .confusion import *  # noqa: F403
from .functions import *  # noqa: F403
from .kinds import *  # noqa: F403
from .kinds import (
    BinaryAccuracy,
    BinaryCrossentropy,
    CategoricalAccuracy,
    CategoricalCrossentropy,
    MeanAbsoluteError,
    MeanSquaredError,
    RootMeanSquaredError,
    SparseCategoricalAccuracy,
    SparseCategoricalCrossentropy,
)
from .metric import Mean, MeanMetricWrapper, Metric, Sum

__all__ = [
    *functions.__all__,
    *kinds.__all__,
    *confusion.__all__,
    *losses.functions.__all__,
    "Mean",
    "MeanMetricWrapper",
    "Metric",
    "Sum",
    "deserialize",
    "get",
    "serialize",
    "KLD",
    "MAE",
    "MAPE",
    "MSE",
    "MSLE",
    "kld",
    "logcosh",
    "mae",
    "mape",
    "mse",
    "msle",
]

_CLASSES = [Mean, MeanMetricWrapper, Sum, *(getattr(m, n) for m in (kinds, confusion) for n in m.__all__)]
KNOWN: dict[str, Any] = losses.KNOWN | {n: getattr(functions, n) for n in functions.__all__}
KNOWN |= {snake_case(c.__name__): c for c in _CLASSES} | {c.__name__: c for c in _CLASSES}
KNOWN |= {
    "mse": MeanSquaredError,
    "MSE": MeanSquaredError,
    "mae": MeanAbsoluteError,
    "MAE": MeanAbsoluteError,
    "rmse": RootMeanSquaredError,
}


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
