"""tf.keras.losses: functions of (y_true, y_pred) and classes that weight and reduce them."""

from typing import Any

from .. import registry
from . import functions, kinds
from .functions import *  # noqa: F403
from .functions import (
    binary_crossentropy,
    kl_divergence,
    log_cosh,
    mean_absolute_error,
    mean_absolute_percentage_error,
    mean_squared_error,
    mean_squared_logarithmic_error,
)
from .kinds import *  # noqa: F403
from .kinds import SparseCategoricalCrossentropy
from .loss import Loss, LossFunction, Reduction

mse = MSE = mean_squared_error
mae = MAE = mean_absolute_error
mape = MAPE = mean_absolute_percentage_error
msle = MSLE = mean_squared_logarithmic_error
kld = KLD = kl_divergence
logcosh = log_cosh

__all__ = [
    *functions.__all__,
    *kinds.__all__,
    "KLD",
    "MAE",
    "MAPE",
    "MSE",
    "MSLE",
    "Loss",
    "LossFunction",
    "Reduction",
    "SparseCategoricalCrossentropy",
    "deserialize",
    "get",
    "kld",
    "logcosh",
    "mae",
    "mape",
    "mse",
    "msle",
    "serialize",
]

_ALIASES = ("KLD", "MAE", "MAPE", "MSE", "MSLE", "kld", "logcosh", "mae", "mape", "mse", "msle")
KNOWN: dict[str, Any] = {n: getattr(functions, n) for n in functions.__all__} | {
    n: getattr(kinds, n) for n in kinds.__all__
}
KNOWN |= {n: globals()[n] for n in _ALIASES} | {"bce": binary_crossentropy, "BCE": binary_crossentropy}
KNOWN |= {"LossFunction": LossFunction}


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


def deserialize(name: Any, custom_objects: Any = None) -> Any:
    """The loss of a configuration."""
    return registry.deserialize(name, KNOWN | (custom_objects or {}), "loss")
