"""Model, functional models and Sequential."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

from ..function.trace import flatten, map_structure
from ..ops.dispatch import apply
from . import registry
from .layers.core import InputLayer
from .layers.layer import Layer
from .saving import load_model, save_model
from .summary import print_summary
from .symbolic import KerasTensor, order_of_calls, run_calls
from .training import Trainer

__all__ = ["Functional", "Model", "Sequential", "clone_model", "load_model", "save_model"]


class Model(Trainer, Layer):
    """A layer that can be trained and saved.

    ``Model(inputs, outputs)`` makes a functional model of symbolic tensors; a subclass writes `__init__` and `call`.
    """

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        return super().__new__(Functional if cls is Model and _is_symbolic(args, kwargs) else cls, *args, **kwargs)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if _is_symbolic(args, kwargs) and not isinstance(self, Functional):
            self.__class__ = _functional_kind(type(self))  # type: ignore
            Functional.__init__(self, *args, **kwargs)  # type: ignore[arg-type]
            return
        Layer.__init__(self, *args, **kwargs)
        Trainer.__init__(self)

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Any:
        """A model of this configuration."""
        return Functional.from_graph(cls, config) if {"layers", "calls", "outputs"} <= config.keys() else cls(**config)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return Layer.__call__(self, *args, **kwargs)

    @property
    def layers(self) -> list[Layer]:
        """The layers directly inside, in order."""
        return list(self._sublayers())

    def get_layer(self, name: str | None = None, index: int | None = None) -> Layer:
        """The layer of a name or at an index. Raises ValueError."""
        if index is not None:
            if index >= len(self.layers):
                raise ValueError(
                    f"Was asked to retrieve layer at index {index} but model only has {len(self.layers)} layers."
                )
            return self.layers[index]
        for layer in self.layers:
            if layer.name == name:
                return layer
        raise ValueError(f"No such layer: {name}. Existing layers are: {[layer.name for layer in self.layers]}.")

    def summary(
        self,
        line_length: int | None = None,
        positions: Any = None,
        print_fn: Any = None,
        expand_nested: bool = False,
        show_trainable: bool = False,
        layer_range: Any = None,
    ) -> None:
        """Prints a table of the layers, their output shapes and parameters."""
        print_summary(self, line_length, print_fn)

    def save(self, filepath: Any, overwrite: bool = True, **kwargs: Any) -> None:
        """Writes the model, weights, optimizer and compiled programs to a `.tide` file."""
        from .saving import save_model

        save_model(self, filepath, overwrite)

    def save_weights(self, filepath: Any, overwrite: bool = True) -> None:
        """Writes the weights alone to a `.tide` file."""
        from .saving import save_weights

        save_weights(self, filepath, overwrite)

    def load_weights(self, filepath: Any, skip_mismatch: bool = False) -> None:
        """Reads weights by their names from a `.tide` file, one that JavaScript trained on included."""
        from .saving import load_weights

        load_weights(self, filepath, skip_mismatch)

    def build(self, input_shape: Any = None) -> None:
        """Makes the weights by calling the model on symbolic inputs of this shape."""
        shapes = (
            input_shape if isinstance(input_shape, list) and isinstance(input_shape[0], list | tuple) else [input_shape]
        )
        tensors = [KerasTensor(tuple(s)) for s in shapes]
        from .symbolic import compute_outputs

        self.built = True
        compute_outputs(self, (tensors[0] if len(tensors) == 1 else tensors,), {})

    def _build(self, shapes: Any, **more: Any) -> None:
        if type(self).build is not Model.build:
            super()._build(shapes, **more)
        self._built_shape = shapes
        self.built = True  # layers inside build themselves when they are called


def _is_symbolic(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether these are (inputs, outputs) of a functional model."""
    given = [*args[:2], *(kwargs[k] for k in ("inputs", "outputs") if k in kwargs)]
    leaves = [x for structure in given for x in flatten(structure)]
    return len(given) == 2 and bool(leaves) and any(isinstance(x, KerasTensor) for x in leaves)


@functools.cache
def _functional_kind(cls: type) -> type:
    """A subclass of Model that was given inputs and outputs: its own methods, and the graph of a functional model."""
    return type(cls.__name__, (cls, Functional), {"__module__": cls.__module__, "__qualname__": cls.__qualname__})


class Functional(Model):
    """A model given by symbolic inputs and outputs."""

    def __init__(self, inputs: Any = None, outputs: Any = None, name: str | None = None, **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        self._set_graph(inputs, outputs)

    def _set_graph(self, inputs: Any, outputs: Any) -> None:
        for t in [*flatten(inputs), *flatten(outputs)]:
            if not isinstance(t, KerasTensor):
                raise ValueError(
                    f"All `inputs` and `outputs` values must be KerasTensors. Received: {t!r} of type "
                    f"{type(t).__name__}"
                )
        self._input_structure, self._output_structure = inputs, outputs
        self.inputs, self.outputs = flatten(inputs), flatten(outputs)
        self._order = order_of_calls(self.outputs, self.inputs)
        self.built = True

    def _sublayers(self) -> Any:
        seen: set[int] = set()
        for call in self.__dict__.get("_order", ()):
            if id(call.layer) not in seen:
                seen.add(id(call.layer))
                yield call.layer

    @property
    def output_names(self) -> list[str]:
        """The names of the outputs: of the layers that make them, numbered where one makes several."""
        names = [t.call.layer.name if t.call is not None else t.name for t in self.outputs]
        return [n if n not in names[:i] else f"{n}_{names[:i].count(n)}" for i, n in enumerate(names)]

    @property
    def input(self) -> Any:
        """The symbolic inputs."""
        return self._input_structure

    @property
    def output(self) -> Any:
        """The symbolic outputs."""
        return self._output_structure

    @property
    def input_shape(self) -> Any:
        """The shapes of the inputs."""
        return map_structure(lambda t: tuple(t.shape.as_list()), self._input_structure)

    @property
    def output_shape(self) -> Any:
        """The shapes of the outputs."""
        return map_structure(lambda t: tuple(t.shape.as_list()), self._output_structure)

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        given = flatten(inputs if not isinstance(inputs, dict) else [inputs[t.name] for t in self.inputs])
        if len(given) != len(self.inputs):
            raise ValueError(
                f'Layer "{self.name}" expects {len(self.inputs)} input(s), but it received {len(given)} input tensors.'
            )
        for i, (held, got) in enumerate(zip(self.inputs, given, strict=True)):
            _check_shape(self, held, got, i)
            if got.dtype is not held.dtype:
                given[i] = apply("cast", got, dtype=held.dtype.name)
        values = run_calls(self._order, {id(t): x for t, x in zip(self.inputs, given, strict=True)}, training=training)
        return map_structure(lambda t: values[id(t)], self._output_structure)

    def get_config(self) -> dict[str, Any]:
        calls = {id(c): i for i, c in enumerate(self._order)}
        position = {id(t): i for i, t in enumerate(self.inputs)}

        def reference(x: Any) -> Any:
            if not isinstance(x, KerasTensor):
                return x
            return {"input": position[id(x)]} if id(x) in position else {"call": calls[id(x.call)], "output": x.index}

        layers = self.layers
        return {
            "name": self.name,
            "trainable": self._trainable,
            "inputs": [{"shape": list(t.shape.as_list()), "dtype": t.dtype.name, "name": t.name} for t in self.inputs],
            "input_structure": map_structure(lambda t: position[id(t)], self._input_structure),
            "layers": [registry.serialize(layer) for layer in layers],
            "calls": [
                {
                    "layer": next(i for i, x in enumerate(layers) if x is c.layer),
                    "args": map_structure(reference, list(c.arguments)),
                    "kwargs": map_structure(reference, c.keywords),
                }
                for c in self._order
            ],
            "outputs": map_structure(reference, self._output_structure),
        }

    @staticmethod
    def from_graph(cls: type, config: dict[str, Any]) -> Any:
        """A model of class `cls` from layers and the calls between them."""
        from .saving import deserialize_layer

        layers = [deserialize_layer(c) for c in config["layers"]]
        inputs = [KerasTensor(i["shape"], i["dtype"], i["name"]) for i in config["inputs"]]
        made: list[list[KerasTensor]] = []

        def resolve(x: Any) -> Any:
            if isinstance(x, dict) and set(x) == {"input"}:
                return inputs[x["input"]]
            if isinstance(x, dict) and set(x) == {"call", "output"}:
                return made[x["call"]][x["output"]]
            if isinstance(x, dict):
                return {k: resolve(v) for k, v in x.items()}
            return [resolve(v) for v in x] if isinstance(x, list | tuple) else x

        for c in config["calls"]:
            out = layers[c["layer"]](*resolve(c["args"]), **resolve(c["kwargs"]))
            made.append(flatten(out))
        structure = map_structure(lambda i: inputs[i], config["input_structure"])
        return cls(structure, resolve(config["outputs"]), name=config["name"])


def _check_shape(model: Any, held: KerasTensor, got: Any, index: int) -> None:
    shape = held.shape.as_list()
    sizes = tuple(d if isinstance(d, int) else None for d in got.sizes)
    fits = len(shape) == len(sizes) and all(a is None or b is None or a == b for a, b in zip(shape, sizes, strict=True))
    if not fits:
        raise ValueError(
            f'Input {index} of layer "{model.name}" is incompatible with the layer: expected '
            f"shape={tuple(shape)}, found shape={sizes}"
        )


class Sequential(Model):
    """Layers one after another. Without an Input the shapes are known at the first call."""

    def __init__(self, layers: Sequence[Any] | None = None, trainable: bool = True, name: str | None = None) -> None:
        super().__init__(trainable=trainable, name=name)
        self._stack: list[Layer] = []
        self._functional: Functional | None = None
        for layer in layers or ():
            self._append(layer)
        self._maybe_rebuild()

    def add(self, layer: Any, rebuild: bool = True) -> None:
        """Puts a layer on top. Raises ValueError for a name that is there already or something that is not a layer."""
        self._append(layer)
        if rebuild:
            self._maybe_rebuild()

    def pop(self, rebuild: bool = True) -> Layer:
        """Takes the last layer away."""
        layer = self._stack.pop()
        self._functional, self.built = None, False
        if rebuild:
            self._maybe_rebuild()
        return layer

    def _append(self, layer: Any) -> None:
        if isinstance(layer, KerasTensor):
            layer = InputLayer(batch_shape=tuple(layer.shape.as_list()), dtype=layer.dtype, name=layer.name)
        if not isinstance(layer, Layer):
            raise ValueError(
                f"Only instances of `keras.Layer` can be added to a Sequential model. Received: {layer} (of type "
                f"{type(layer)})"
            )
        if any(layer.name == other.name for other in self._stack):
            raise ValueError(
                f"All layers added to a Sequential model should have unique names. Name '{layer.name}' is already "
                "the name of a layer in this model. Update the `name` argument to pass a unique name."
            )
        if isinstance(layer, InputLayer) and self._stack:
            raise ValueError(
                f"Sequential model '{self.name}' already has layers: an Input comes first. Received: {layer}"
            )
        if not self._stack and layer._input_shape_argument is not None:
            self._stack.append(InputLayer(shape=layer._input_shape_argument))
        self._stack.append(layer)
        self._reset_engine()

    def _maybe_rebuild(self) -> None:
        if self._stack and isinstance(self._stack[0], InputLayer):
            first = self._stack[0].tensor
            x: Any = first
            for layer in self._stack[1:]:
                x = layer(x)
            self._functional = Functional(first, x, name=self.name)
            self.inputs, self.outputs = self._functional.inputs, self._functional.outputs
            self.built = True

    def _build(self, shapes: Any, **more: Any) -> None:
        self.build(shapes)

    def build(self, input_shape: Any = None) -> None:
        """Makes the weights for inputs of this shape."""
        if self._functional is not None:
            return
        if not self._stack:
            raise ValueError(
                f"Sequential model {self.name} cannot be built because it has no layers. Call `model.add(layer)`."
            )
        self._stack.insert(0, InputLayer(batch_shape=(None, *tuple(input_shape)[1:])))
        self._maybe_rebuild()

    def _sublayers(self) -> Any:
        return iter([layer for layer in self.__dict__.get("_stack", ()) if not isinstance(layer, InputLayer)])

    @property
    def output_names(self) -> Any:
        """The name of the last layer."""
        return None if self._functional is None else self._functional.output_names

    @property
    def input_shape(self) -> Any:
        """The shape of the input."""
        return self._built_model().input_shape

    @property
    def output_shape(self) -> Any:
        """The shape of the output."""
        return self._built_model().output_shape

    @property
    def input(self) -> Any:
        """The symbolic input."""
        return self._built_model().input

    @property
    def output(self) -> Any:
        """The symbolic output."""
        return self._built_model().output

    def _built_model(self) -> Functional:
        if self._functional is None:
            raise AttributeError(
                f"Sequential model '{self.name}' has no defined shapes yet: give it an Input, or call it on data"
            )
        return self._functional

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        if self._functional is None:
            self.build(tuple(d if isinstance(d, int) else None for d in inputs.sizes))
        return self._built_model().call(inputs, training=training)

    def get_config(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "trainable": self._trainable,
            "layers": [registry.serialize(layer) for layer in self._stack],
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Any:
        from .saving import deserialize_layer

        return cls([deserialize_layer(c) for c in config["layers"]], config.get("trainable", True), config["name"])


def clone_model(model: Any, **kwargs: Any) -> Any:
    """A model of the same architecture with new weights."""
    return type(model).from_config(model.get_config())
