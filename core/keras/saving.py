"""Models as `.tide` files: signatures, weights, optimizer and programs, and the architecture as JSON.

No code in a file.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..compiler.compile import Source, compile_model
from ..errors import ModelError
from ..function.trace import TensorSpec, map_structure, trace
from ..graph.ir import State
from ..program import format as fmt
from ..program.read import read_model
from ..program.write import write_model
from . import layers as layers_module
from . import losses, metrics, optimizers, registry
from .registry import custom_object_scope, register_keras_serializable
from .states import name_states, random_states, reset_all
from .symbolic import KerasTensor, compute_outputs

__all__ = ["custom_object_scope", "load_model", "model_bytes", "register_keras_serializable", "save_model"]

METADATA = "keras"


def deserialize_layer(config: dict[str, Any]) -> Any:
    """A layer of a configuration. Raises ValueError for a class that is not known."""
    from . import models

    known = {n: getattr(layers_module, n) for n in layers_module.__all__}
    known |= {"Sequential": models.Sequential, "Functional": models.Functional, "Model": models.Model}
    return registry.deserialize(config, known, "layer")


def model_bytes(model: Any, targets: Sequence[str] = ("wgsl", "wasm")) -> bytes:
    """The file of a model, as bytes: what `save` writes.

    Args:
        model: a model that was trained or called, or whose input shapes are known.
        targets: what to hold programs for; every other target is compiled from the graphs when the file is opened.

    Raises:
        ValueError: if nothing was traced and shapes are not known.
    """
    engine = model.engine
    if not engine.has("predict"):
        if not getattr(model, "inputs", None):
            raise ValueError(
                f"model {model.name!r} has not been called on data yet, so its input shapes are not known: "
                f"call fit or predict before save"
            )
        _prepare_untrained(model)
    name_states(model)

    def extra() -> list[Source]:
        if not engine.has("train_step"):
            return []
        return [_signature("reset_metrics", model.reset_metrics), _signature("reset", lambda: reset_all(model))]

    file = engine.compiled(targets, extra).model
    file.metadata = [entry for entry in file.metadata if entry[0] != METADATA]
    file.metadata.append((METADATA, json.dumps(_describe(model), sort_keys=True)))
    for port in (port for s in file.signatures for port in s.inputs if port.name == "learning_rate"):
        port.fill = float(model.optimizer.learning_rate_variable.numpy())
    return write_model(file)


def _prepare_untrained(model: Any) -> None:
    """Traces a model that was never run: its inputs are known, and its targets if the loss says what they are."""

    def spec(t: Any) -> TensorSpec:
        return TensorSpec([None, *t.shape.as_list()[1:]], t.dtype)

    x = map_structure(spec, getattr(model, "_input_structure", model.inputs[0]))
    loss = losses.get(model.loss) if isinstance(model.loss, str) else model.loss
    if model.compiled and len(model.outputs) == 1 and loss is not None and not model.run_eagerly:
        y = spec(model.outputs[0])
        if isinstance(loss, losses.SparseCategoricalCrossentropy) or loss is losses.sparse_categorical_crossentropy:
            y = TensorSpec(y.shape.as_list()[:-1], "int64")
        model._prepare("train_step", (x, y, None))
    model._prepare("predict", (x, None, None))


def save_model(model: Any, filepath: Any, overwrite: bool = True, **kwargs: Any) -> None:
    """Writes a model to a `.tide` file: all of it, or the file that was there stays."""
    path = _path(filepath, overwrite)
    _write(path, model_bytes(model))


def save_weights(model: Any, filepath: Any, overwrite: bool = True) -> None:
    """Writes weights, random states and the optimizer's state: a file of tensors, without graphs or programs."""
    path = _path(filepath, overwrite)
    if not model.built:
        raise ValueError(f"model {model.name!r} has no weights yet: build it, or call it on data, before save_weights")
    name_states(model)
    _write(path, write_model(compile_model([], (), extra_states=_states(model)).model))


def load_weights(model: Any, filepath: Any, skip_mismatch: bool = False) -> None:
    """Sets weights by their places in the model, and the optimizer's state and random states where the file has them.

    Raises ValueError for a weight that the file lacks or has in another shape, unless `skip_mismatch`.
    """
    if not model.built:
        raise ValueError(f"model {model.name!r} has no weights yet: build it, or call it on data, before load_weights")
    restore(model, read_model(_read(filepath)), skip_mismatch)


def load_model(filepath: Any, custom_objects: Any = None, compile: bool = True, safe_mode: bool = True) -> Any:
    """A model from a `.tide` file (a path or its bytes), with the weights and optimizer state that the file has now.

    Raises:
        ModelError: if the file is broken.
        ValueError: if it was not written by Keras models, or uses unknown classes.
    """
    file = read_model(_read(filepath))
    held = dict(file.metadata).get(METADATA)
    if held is None:
        raise ValueError(
            "the file holds no Keras model (no 'keras' entry in its metadata): "
            "run its signatures with `python -m tideflow run`"
        )
    try:
        description = json.loads(held)
        architecture, settings = description["model"], description.get("compile")
    except (json.JSONDecodeError, TypeError, KeyError, AttributeError) as error:
        raise ModelError("K01-keras", "metadata[keras]", f"is not the description of a model: {error}") from None
    with custom_object_scope(custom_objects or {}):
        model = deserialize_layer(architecture)
        if not model.built and description.get("input_shape") is not None:
            build_for(model, description["input_shape"])
        if compile and settings is not None:
            optimizer = optimizers.deserialize(settings["optimizer"])
            kinds = {"loss": losses, "loss_weights": losses, "metrics": metrics, "weighted_metrics": metrics}
            model.compile(optimizer, **{k: _given(settings.get(k), module) for k, module in kinds.items()})
    restore(model, file, False)
    return model


def build_for(model: Any, shapes: Any) -> None:
    """Makes the weights of a subclassed model, by calling it on symbolic inputs of these shapes (of JSON: in lists)."""

    def tensors(shape: Any) -> Any:
        if isinstance(shape, dict):
            return {k: tensors(v) for k, v in shape.items()}
        if any(isinstance(d, list | dict) for d in shape):
            return [tensors(v) for v in shape]
        return KerasTensor(shape)

    compute_outputs(model, (tensors(shapes),), {})


def restore(model: Any, file: fmt.Model, skip_mismatch: bool) -> None:
    """Copies the tensors of a file into the states of the same names, all or none; only weights must be there."""
    tensors = {t.name: t for t in file.tensors if t.data is not None}
    optimizer = model.optimizer
    if optimizer is not None and any(n.startswith(f"{optimizer.name}/") for n in tensors):
        optimizer.build(model.trainable_weights)
    name_states(model)
    found = []
    for state in _states(model):
        tensor = tensors.get(state.name)
        if tensor is None:
            if state.role != "WEIGHT" or skip_mismatch:
                continue
            known = ", ".join(sorted(n for n, t in tensors.items() if t.role == fmt.Role.WEIGHT))
            raise ValueError(f"the file has no weight {state.name!r}, which the model has. It has: {known or 'none'}")
        shape = tuple(file.dims[d].a for d in tensor.shape)
        if shape != tuple(state.shape) or tensor.dtype.name != state.dtype.code:
            if skip_mismatch:
                continue
            raise ValueError(
                f"weight {state.name!r} is {tensor.dtype.name} of shape {shape} in the file, "
                f"{state.dtype.code} of shape {tuple(state.shape)} in the model"
            )
        found.append((state, np.frombuffer(bytes(tensor.data or b""), state.dtype.numpy).reshape(shape)))
    for state, array in found:
        state.write(array.copy())


def _states(model: Any) -> list[State]:
    """Weights, random states, and the optimizer's counter and slots."""
    found = [w.state for w in model.weights] + random_states(model)
    if model.optimizer is not None:
        found += [v.state for v in model.optimizer.variables]
    return found


def _signature(name: str, action: Any) -> Source:
    """A signature without inputs and outputs, that only writes states."""

    def run() -> None:
        action()

    return Source(name, trace(run, [], name).graph, [], [])


def _describe(model: Any) -> dict[str, Any]:
    """Architecture and training settings, for JSON."""
    made: dict[str, Any] = {"model": registry.serialize(model)}
    if model._built_shape is not None:
        made["input_shape"] = model._built_shape
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


def _given(x: Any, module: Any) -> Any:
    """What `_settings` described: losses or metrics in their structure."""
    if isinstance(x, list):
        return [_given(v, module) for v in x]
    if isinstance(x, dict):
        made = {"class_name", "config"} == x.keys()
        return module.deserialize(x) if made else {k: _given(v, module) for k, v in x.items()}
    return x


def _path(filepath: Any, overwrite: bool) -> str:
    path = os.fspath(filepath)
    if not path.endswith(".tide"):
        raise ValueError(
            f"Invalid filepath extension for saving. Please add a `.tide` extension. Received: filepath={filepath}"
        )
    if not overwrite and os.path.exists(path):
        raise FileExistsError(f"{path} exists; give another name or overwrite=True")
    return path


def _write(path: str, data: bytes) -> None:
    """A crash while writing leaves the former file as it was."""
    temporary = f"{path}.part"
    with open(temporary, "wb") as file:
        file.write(data)
    os.replace(temporary, path)


def _read(filepath: Any) -> bytes:
    if isinstance(filepath, bytes | bytearray | memoryview):
        return bytes(filepath)
    with open(os.fspath(filepath), "rb") as file:
        return file.read()
