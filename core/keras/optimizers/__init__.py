"""tf.keras.optimizers."""

from typing import Any

from .. import registry
from . import schedules
from .kinds import SGD, Adadelta, Adagrad, Adam, Adamax, AdamW, Lion, RMSprop
from .optimizer import Optimizer

__all__ = [
    "SGD",
    "Adadelta",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "Lion",
    "Optimizer",
    "RMSprop",
    "deserialize",
    "get",
    "schedules",
    "serialize",
]

_CLASSES = [SGD, Adadelta, Adagrad, Adam, AdamW, Adamax, Lion, RMSprop]
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
