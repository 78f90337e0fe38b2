"""Models as `.tide` files: signatures, weights, optimizer and programs, and the architecture as JSON. No code in a file."""

from __future__ import annotations

import json
import os
from typing import Any

import numpy as np

from ..compiler.compile import Source, compile_model
from ..errors import ModelError
from ..graph.ir import State
from ..program import format as fmt
from ..program.read import read_model
from ..program.write import write_model
from . import layers as layers_module
from . import optimizers, registry
from .registry import custom_object_scope, register_keras_serializable

__all__ = ["custom_object_scope", "load_model", "model_bytes", "register_keras_serializable", "save_model"]

METADATA = "keras"


def deserialize_layer(config: dict[str, Any]) -> Any:
    """A layer of a configuration. Raises ValueError for a class that is not known."""
    from . import models

    known = {n: getattr(layers_module, n) for n in layers_module.__all__} | {
        "Sequential": models.Sequential,
        "Functional": models.Functional,
        "Model": models.Model,
    }
    return registry.deserialize(config, known, "layer")


def model_bytes(model: Any) -> bytes:
    """The file of a model, as bytes: what `save` writes. Raises ValueError if nothing was traced and shapes are not known."""
    engine = model.engine
    if not engine.has("predict"):
        if not getattr(model, "inputs", None):
            raise ValueError(
                f"model {model.name!r} has not been called on data yet, so its input shapes are not known: call fit or predict before save"
            )
        from ..function.trace import TensorSpec, map_structure

        structure = map_structure(
            lambda t: TensorSpec([None, *t.shape.as_list()[1:]], t.dtype),
            getattr(model, "_input_structure", model.inputs[0]),
        )
        model._prepare("predict", (structure, None, None))
    compiled = engine.compiled(extra=[_reset_metrics(model)] if engine.has("train_step") else [])
    compiled.model.metadata.append((METADATA, json.dumps(_describe(model), sort_keys=True)))
    return write_model(compiled.model)


def save_model(model: Any, filepath: Any, overwrite: bool = True, **kwargs: Any) -> None:
    """Writes a model to a `.tide` file."""
    path = _path(filepath, overwrite)
    data = model_bytes(model)
    temporary = f"{path}.part"
    with open(temporary, "wb") as file:
        file.write(data)
    os.replace(temporary, path)


def save_weights(model: Any, filepath: Any, overwrite: bool = True) -> None:
    """Writes weights alone: a file of tensors, without graphs or programs."""
    path = _path(filepath, overwrite)
    states = [w.state for w in model.weights]
    compiled = compile_model([], (), extra_states=states)
    with open(path, "wb") as file:
        file.write(write_model(compiled.model))


def load_weights(model: Any, filepath: Any, skip_mismatch: bool = False) -> None:
    """Sets weights, and optimizer slots, metrics and counters where the model has them, from a file, by name."""
    file = read_model(_read(filepath))
    restore(model, file, skip_mismatch, weights_only=True)


def load_model(filepath: Any, custom_objects: Any = None, compile: bool = True, safe_mode: bool = True) -> Any:
    """A model from a `.tide` file, with the weights and the optimizer's state that the file has now.

    Raises ModelError if the file is broken, ValueError if it was not written by Keras models or uses unknown classes.
    """
    file = read_model(_read(filepath))
    held = dict(file.metadata).get(METADATA)
    if held is None:
        raise ValueError(
            "the file holds no Keras model (no 'keras' entry in its metadata): run its signatures with `python -m tideflow run`"
        )
    try:
        description = json.loads(held)
    except json.JSONDecodeError as error:
        raise ModelError("K01-keras", "metadata[keras]", f"is not JSON: {error}") from None
    with custom_object_scope(custom_objects or {}):
        model = deserialize_layer(description["model"])
        settings = description.get("compile")
        if compile and settings is not None:
            optimizer = optimizers.deserialize(settings["optimizer"])
            model.compile(
                optimizer, **{k: settings.get(k) for k in ("loss", "loss_weights", "metrics", "weighted_metrics")}
            )
            optimizer.build(model.trainable_weights)
    restore(model, file, False)
    return model


def restore(model: Any, file: fmt.Model, skip_mismatch: bool, weights_only: bool = False) -> None:
    """Copies the tensors of a file into a model's variables of the same name."""
    tensors = {t.name: t for t in file.tensors if t.data is not None}
    for state in _states(model, weights_only):
        tensor = tensors.get(state.name)
        if tensor is None:
            if state.role != "WEIGHT" or skip_mismatch:
                continue
            raise ValueError(
                f"the file has no tensor {state.name!r}. It has: {', '.join(sorted(n for n, t in tensors.items() if t.role == fmt.Role.WEIGHT))}"
            )
        shape = tuple(file.dims[d].a for d in tensor.shape)
        if shape != tuple(state.shape) or tensor.dtype.name != state.dtype.code:
            if skip_mismatch:
                continue
            raise ValueError(
                f"tensor {state.name!r} is {tensor.dtype.name} of shape {shape} in the file, {state.dtype.code} of shape {tuple(state.shape)} in the model"
            )
        state.write(np.frombuffer(bytes(tensor.data), state.dtype.numpy).reshape(shape).copy())  # type: ignore[arg-type]


def _states(model: Any, weights_only: bool) -> list[State]:
    found = [w.state for w in model.weights]
    if not weights_only:
        found += [v.state for layer in model._flatten_layers() for v in _random_states(layer)]
        if model.optimizer is not None:
            found += [v.state for v in model.optimizer.variables]
    return found


def _random_states(layer: Any) -> list[Any]:
    generator = getattr(layer, "seed_generator", None)
    return [] if generator is None else [generator.state]


def _reset_metrics(model: Any) -> Source:
    """The signature that sets all metrics to 0."""
    from ..function.trace import trace

    traced = trace(lambda: model.reset_metrics(), [], "reset_metrics")
    return Source("reset_metrics", traced.graph, [], [])


def _describe(model: Any) -> dict[str, Any]:
    """Architecture and training settings, for JSON."""
    made: dict[str, Any] = {"model": registry.serialize(model)}
    if model.compiled:
        settings = {k: _settings(v) for k, v in model._settings.items()}
        made["compile"] = {"optimizer": optimizers.serialize(model.optimizer), **settings}
    return made


def _settings(x: Any) -> Any:
    if isinstance(x, list | tuple):
        return [_settings(v) for v in x]
    if isinstance(x, dict):
        return {k: _settings(v) for k, v in x.items()}
    return x if x is None or isinstance(x, str | int | float) else registry.serialize(x)


def _path(filepath: Any, overwrite: bool) -> str:
    path = str(filepath)
    if not path.endswith(".tide"):
        raise ValueError(
            f"Invalid filepath extension for saving. Please add a `.tide` extension. Received: filepath={filepath}"
        )
    if not overwrite and os.path.exists(path):
        raise FileExistsError(f"{path} exists; give another name or overwrite=True")
    return path


def _read(filepath: Any) -> bytes:
    if isinstance(filepath, bytes | bytearray | memoryview):
        return bytes(filepath)
    with open(str(filepath), "rb") as file:
        return file.read()
