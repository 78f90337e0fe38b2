"""tf.keras: layers, models and training, as in Keras 3."""

from importlib import import_module
from typing import Any

from . import (
    activations,
    callbacks,
    constraints,
    initializers,
    layers,
    losses,
    metrics,
    models,
    optimizers,
    random,
    regularizers,
    saving,
    utils,
)
from .layers import Input, InputLayer, Layer
from .losses import Loss
from .metrics import Metric
from .models import Model, Sequential
from .optimizers import Optimizer
from .symbolic import KerasTensor

__version__ = "3.15.0"


def __getattr__(name: str) -> Any:
    if name in ("backend", "config"):
        return import_module(f".{name}", __name__)
    if name == "datasets":
        raise AttributeError(
            "tf.keras.datasets is not available: nothing is downloaded here. Load arrays with numpy, for example "
            "np.load('digits.npz')"
        )
    raise AttributeError(f"module 'tideflow.keras' has no attribute {name!r}")


__all__ = [
    "Input",
    "InputLayer",
    "KerasTensor",
    "Layer",
    "Loss",
    "Metric",
    "Model",
    "Optimizer",
    "Sequential",
    "activations",
    "callbacks",
    "constraints",
    "initializers",
    "layers",
    "losses",
    "metrics",
    "models",
    "optimizers",
    "random",
    "regularizers",
    "saving",
    "utils",
]
