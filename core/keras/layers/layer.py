"""Layer: state made by `build`, computation in `call`, configuration that round-trips."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any, ClassVar

import numpy as np

from ...dtypes import as_dtype
from ...eager.tensor import convert_to_tensor
from ...eager.variable import Variable
from ...function.trace import flatten, map_structure
from ...ops.dispatch import Value as AnyValue
from ...ops.dispatch import apply, replaced
from ...ops.movement import dimension
from .. import constraints, initializers, masking, registry, regularizers
from ..naming import snake_case, unique_name
from ..symbolic import KerasTensor, compute_outputs

__all__ = ["Layer"]

# What the outermost call that is under way was given as `training`, in a tuple; None outside of calls.
_under_way: ContextVar[tuple[Any] | None] = ContextVar("keras_call", default=None)
_UNKNOWN_ARGUMENTS = "Unrecognized keyword arguments passed to {}: {}"


class Layer:
    """The base of all layers and models.

    Write `build(input_shape)` to make weights with `add_weight`, `call(inputs, ...)` to compute, `get_config` to be
    saved with arguments that JSON cannot hold.

    Args:
        trainable: whether its weights are updated in training.
        dtype: the element type of its weights; only "float32" computes on every device.
        name: unique in a model; made from the class if left out.
        activity_regularizer: applied to the outputs; adds to the loss.
    """

    stateless: ClassVar[bool] = False
    supports_masking = False  # whether the outputs have the masks of the inputs
    _given: dict[str, Any]

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        """Remembers the arguments: they are the configuration of a subclass that writes no `get_config`."""
        made = object.__new__(cls)
        try:
            bound = inspect.signature(cls.__init__).bind(made, *args, **kwargs).arguments
        except TypeError:
            return made  # __init__ raises the same, with its own message
        object.__setattr__(made, "_given", dict(list(bound.items())[1:]))
        return made

    def __init__(
        self,
        *,
        activity_regularizer: Any = None,
        trainable: bool = True,
        dtype: Any = None,
        autocast: bool = True,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        shape = kwargs.pop("input_shape", None)
        dim = kwargs.pop("input_dim", None)
        if kwargs:
            raise ValueError(_UNKNOWN_ARGUMENTS.format(type(self).__name__, kwargs))
        self._input_shape_argument = tuple(shape) if shape is not None else (None if dim is None else (dim,))
        self.name = name or unique_name(snake_case(type(self).__name__))
        self._trainable = bool(trainable)
        self._dtype = as_dtype(dtype or "float32").name
        self.activity_regularizer = regularizers.get(activity_regularizer)
        self.built = False
        self._weights: list[Variable] = []
        self._declared: list[str] = []
        self._built_shape: Any = None
        self._losses: list[Any] = []
        self._inbound: list[Any] = []

    def __setattr__(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)
        if isinstance(value, Variable) and "_weights" in self.__dict__ and not any(value is w for w in self._weights):
            self._weights.append(value)

    # -- to be written by subclasses ----------------------------------------------------------------------------------

    def build(self, input_shape: Any = None) -> None:
        """Makes the weights for inputs of this shape (None where a size is free)."""
        self.built = True

    def call(self, *args: Any, **kwargs: Any) -> Any:
        """Computes the outputs."""
        raise NotImplementedError(f"Layer {type(self).__name__} does not have a `call()` method implemented.")

    def get_config(self) -> dict[str, Any]:
        """What `from_config` needs to make an equal layer, without weights."""
        config: dict[str, Any] = {"name": self.name, "trainable": self._trainable, "dtype": self._dtype}
        if self.activity_regularizer is not None:
            config["activity_regularizer"] = regularizers.serialize(self.activity_regularizer)
        config.update({name: registry.serialize(getattr(self, name)) for name in self._declared})
        if type(self).get_config is Layer.get_config:
            return self._given_config(config)
        return config

    def _given_config(self, config: dict[str, Any]) -> dict[str, Any]:
        """The configuration of a class without `get_config`: what `__init__` was given, if JSON can hold it."""
        parameters = inspect.signature(type(self).__init__).parameters
        if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
            config = {k: v for k, v in config.items() if k in parameters}
        for name, value in getattr(self, "_given", {}).items():
            kind = parameters[name].kind
            if kind is inspect.Parameter.VAR_KEYWORD:
                config = {**value, **config}
            elif kind is inspect.Parameter.VAR_POSITIONAL or not _is_plain(value):
                raise NotImplementedError(
                    f"Object {type(self).__name__} was created by passing non-serializable argument values in "
                    "`__init__()`, and "
                    "therefore the object must override `get_config()` in order to be serializable. The argument: "
                    f"{name}={value!r}"
                )
            else:
                config.setdefault(name, value)
        return config

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        """A layer of this configuration."""
        return cls(**config)

    # -- weights ------------------------------------------------------------------------------------------------------

    def add_weight(
        self,
        shape: Any = None,
        initializer: Any = None,
        dtype: Any = None,
        trainable: bool = True,
        autocast: bool = True,
        regularizer: Any = None,
        constraint: Any = None,
        aggregation: Any = None,
        overwrite_with_gradient: bool = False,
        name: str | None = None,
    ) -> Variable:
        """Makes a variable of this layer. The default initializer is glorot_uniform for floating dtypes, else zeros."""
        sizes = tuple(int(d) for d in (shape if shape is not None else ()))
        kind = as_dtype(dtype or self._dtype)
        init = initializers.get(
            initializer if initializer is not None else ("glorot_uniform" if kind.is_floating else "zeros")
        )
        with replaced(()):
            start = init(sizes, dtype=kind.name)
        variable = Variable(start, trainable=trainable, dtype=kind, name=f"{self.name}/{name or 'variable'}")
        variable.initializer = init  # type: ignore[attr-defined]
        variable.constraint = constraints.get(constraint)  # type: ignore[attr-defined]
        variable.regularizer = regularizers.get(regularizer)  # type: ignore[attr-defined]
        if not any(variable is w for w in self._weights):
            self._weights.append(variable)
        return variable

    def _sublayers(self) -> Iterator[Layer]:
        seen: set[int] = set()
        for name, value in list(self.__dict__.items()):
            if name in ("_inbound", "_weights", "_given", "_built_shape"):
                continue
            for leaf in flatten(value) if isinstance(value, list | tuple | dict) else [value]:
                if isinstance(leaf, Layer) and leaf is not self and id(leaf) not in seen:
                    seen.add(id(leaf))
                    yield leaf

    def _flatten_layers(self) -> list[Layer]:
        found: list[Layer] = [self]
        for layer in self._sublayers():
            found += [sub for sub in layer._flatten_layers() if not any(sub is f for f in found)]
        return found

    @property
    def weights(self) -> list[Variable]:
        """All variables: those of each layer in order, trainable or not; random state is not among them."""
        found: list[Variable] = []
        for layer in self._flatten_layers():
            found += [w for w in layer._weights if w.state.role == "WEIGHT" and not any(w is f for f in found)]
        return found

    variables = weights

    @property
    def trainable_weights(self) -> list[Variable]:
        """Variables that training updates."""
        found: list[Variable] = []
        if self._trainable:
            for w in self._weights:
                if w.state.role == "WEIGHT" and w.trainable:
                    found.append(w)
            for layer in self._sublayers():
                found += [w for w in layer.trainable_weights if not any(w is f for f in found)]
        return found

    @property
    def trainable_variables(self) -> list[Variable]:
        """Variables that training updates."""
        return self.trainable_weights

    @property
    def non_trainable_weights(self) -> list[Variable]:
        """Variables that training does not update by gradients."""
        trainable = {id(w) for w in self.trainable_weights}
        return [w for w in self.weights if id(w) not in trainable]

    @property
    def non_trainable_variables(self) -> list[Variable]:
        """Variables that training does not update by gradients."""
        return self.non_trainable_weights

    @property
    def trainable(self) -> bool:
        """Whether the weights of this layer, and of those inside it, are updated."""
        return self._trainable

    @trainable.setter
    def trainable(self, value: bool) -> None:
        self._trainable = bool(value)
        for layer in self._sublayers():
            layer.trainable = value

    def get_weights(self) -> list[np.ndarray[Any, Any]]:
        """Copies of all weights, as arrays."""
        return [np.array(w.host()) for w in self.weights]

    def set_weights(self, weights: Any) -> None:
        """Sets all weights, in the order of `weights`. Raises ValueError if number or shapes differ."""
        held = self.weights
        if len(held) != len(weights):
            raise ValueError(
                f"You called `set_weights(weights)` on layer '{self.name}' with a weight list of length "
                f"{len(weights)}, but the layer was expecting {len(held)} weights."
            )
        for variable, value in zip(held, weights, strict=True):
            array = np.asarray(value)
            if tuple(array.shape) != tuple(variable.sizes):
                raise ValueError(
                    f"Layer {self.name} weight shape {tuple(variable.sizes)} is not compatible with provided weight "
                    f"shape {array.shape}."
                )
            variable.assign(array.astype(variable.dtype.numpy))

    def count_params(self) -> int:
        """The number of elements of all weights. Raises ValueError before the layer is built."""
        if not self.built:
            raise ValueError(f"You tried to call `count_params` on layer '{self.name}', but the layer isn't built.")
        return sum(int(np.prod(w.sizes)) for w in self.weights)

    def declare_weight(
        self,
        name: str,
        initializer: Any,
        regularizer: Any = None,
        constraint: Any = None,
        parts: tuple[str, ...] = ("initializer", "regularizer", "constraint"),
    ) -> None:
        """Keeps what a weight will be made with as `{name}_initializer` and so on, in the configuration too."""
        given = {
            "initializer": initializers.get(initializer),
            "regularizer": regularizers.get(regularizer),
            "constraint": constraints.get(constraint),
        }
        for part in parts:
            setattr(self, f"{name}_{part}", given[part])
            self._declared.append(f"{name}_{part}")

    def declared(self, name: str) -> tuple[Any, Any, Any]:
        """Initializer, regularizer and constraint that were declared for a weight."""
        return (
            getattr(self, f"{name}_initializer"),
            getattr(self, f"{name}_regularizer", None),
            getattr(self, f"{name}_constraint", None),
        )

    def make_weight(self, name: str, shape: Any, trainable: bool = True, called: str | None = None) -> Variable:
        """The weight that was declared; `called` something else if need be."""
        initializer, regularizer, constraint = self.declared(name)
        return self.add_weight(
            shape,
            initializer,
            name=called or name,
            trainable=trainable,
            regularizer=regularizer,
            constraint=constraint,
        )

    # -- losses -------------------------------------------------------------------------------------------------------

    def add_loss(self, loss: Any) -> None:
        """Adds a scalar to the loss, from inside `call`."""
        self._losses += loss if isinstance(loss, list) else [loss]

    @property
    def losses(self) -> list[Any]:
        """Regularization losses and what `add_loss` added in the last call."""
        found: list[Any] = []
        for layer in self._flatten_layers():
            found += layer._losses
            for w in layer._weights:
                regularizer = getattr(w, "regularizer", None)
                if regularizer is not None and any(w is t for t in self.trainable_weights):
                    found.append(regularizer(w))
        return found

    def _clear_losses(self) -> None:
        for layer in self._flatten_layers():
            layer._losses = []

    # -- calling ------------------------------------------------------------------------------------------------------

    @property
    def dtype(self) -> str:
        """The name of the weights' element type."""
        return self._dtype

    compute_dtype = variable_dtype = dtype

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if any(isinstance(x, KerasTensor) for x in flatten((args, kwargs))):
            return compute_outputs(self, args, kwargs)
        outer = _under_way.get()
        if outer is None:
            self._clear_losses()
        args = map_structure(self._as_tensor, args)
        self._maybe_build(args, kwargs)
        training = self._set_training(outer, args, kwargs)
        masks = masking.masks_of(args[0]) if args and masking.any_masks() else None
        if masks is not None and kwargs.get("mask") is None and "mask" in call_parameters(type(self).call)[len(args) :]:
            kwargs["mask"] = masks
        token = _under_way.set((training,))
        try:
            outputs = self.call(*args, **kwargs)
        finally:
            _under_way.reset(token)
        if masks is not None or type(self).compute_mask is not Layer.compute_mask:
            masking.attach(outputs, self.compute_mask(args[0] if args else None, masks))
        if self.activity_regularizer is not None:
            for out in flatten(outputs):
                penalty = self.activity_regularizer(out)
                if out.sizes:  # per sample, so that batches of all sizes count alike
                    penalty = apply("divide_no_nan", penalty, dimension(out.sizes[0], out.dtype))
                self.add_loss(penalty)
        return outputs

    def compute_mask(self, inputs: Any, previous_mask: Any = None) -> Any:
        """The mask of the outputs, given the inputs and theirs."""
        return previous_mask if self.supports_masking else None

    def _set_training(self, outer: tuple[Any] | None, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Layers inside a call get its `training`, unless they are given their own.

        Returns what holds inside this one.
        """
        takes = call_parameters(type(self).call)
        position = takes.index("training") if "training" in takes else None
        if position is not None and position < len(args):
            return args[position]
        training = kwargs.pop("training", None)
        if training is None and outer is not None:
            training = outer[0]
        if training is not None and (position is not None or "**" in takes):
            kwargs["training"] = training
        return training

    def _as_tensor(self, x: Any) -> Any:
        """Arrays and lists as tensors; floating ones in the layer's dtype."""
        if x is None or isinstance(x, str | bool):
            return x
        tensor = x if isinstance(x, AnyValue) else convert_to_tensor(x)
        if tensor.dtype.is_floating and tensor.dtype.name != self._dtype:
            return apply("cast", tensor, dtype=self._dtype)
        return tensor

    def _maybe_build(self, args: tuple[Any, ...], kwargs: dict[str, Any] | None = None) -> None:
        if self.built:
            return
        shapes, more = self._build_shapes(args, kwargs or {}, lambda x: None if x is None else shape_of(x))
        self._build(shapes, **more)

    def _build_shapes(self, args: tuple[Any, ...], kwargs: dict[str, Any], shape: Any) -> tuple[Any, dict[str, Any]]:
        """What `build` is given: the shape of the first argument; a `build` that takes more names them, as
        `value_shape` for the argument `value`.
        """
        named = dict(zip(call_parameters(type(self).call), args, strict=False)) | kwargs
        names = call_parameters(type(self).build)
        first = args[0] if args else named.get(names[0].removesuffix("_shape")) if names else None
        more = {
            n: map_structure(shape, named[n.removesuffix("_shape")])
            for n in names[1:]
            if n.endswith("_shape") and named.get(n.removesuffix("_shape")) is not None
        }
        return map_structure(shape, first), more

    def _build(self, shapes: Any, **more: Any) -> None:
        """`build` outside any trace, so that what it makes are real variables with values."""
        with replaced(()):
            self.build(shapes, **more)
        self.built = True
        self._built_shape = shapes

    def _takes(self, name: str) -> bool:
        takes = call_parameters(type(self).call)
        return name in takes or "**" in takes

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The shape of the output for an input shape, None where a size is free."""
        out = compute_outputs(self, (map_structure_shapes(input_shape),), {})
        return map_structure(lambda t: tuple(t.shape.as_list()), out)

    @property
    def input(self) -> Any:
        """The symbolic input of the first call in a functional model."""
        return self._inbound[0].arguments[0] if self._inbound else None

    @property
    def output(self) -> Any:
        """The symbolic output of the first call in a functional model."""
        return self._inbound[0].outputs if self._inbound else None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} name={self.name}, built={self.built}>"


@functools.cache
def call_parameters(call: Any) -> tuple[str, ...]:
    """The names of what `call` takes after self; "**" if it takes any keyword."""
    parameters = list(inspect.signature(call).parameters.values())[1:]
    return tuple("**" if p.kind is p.VAR_KEYWORD else p.name for p in parameters)


def _is_plain(x: Any) -> bool:
    """Whether JSON holds it as it is."""
    if isinstance(x, list | tuple):
        return all(_is_plain(v) for v in x)
    if isinstance(x, dict):
        return all(isinstance(k, str) and _is_plain(v) for k, v in x.items())
    return x is None or isinstance(x, str | bool | int | float)


def shape_of(x: Any) -> tuple[int | None, ...]:
    """The shape of a tensor, None where a size is free."""
    return tuple(d if isinstance(d, int) else None for d in x.sizes)


def map_structure_shapes(shape: Any) -> Any:
    """KerasTensors of a shape, or of each shape of a list."""
    if isinstance(shape, list) and shape and isinstance(shape[0], list | tuple):
        return [KerasTensor(tuple(s)) for s in shape]
    return KerasTensor(tuple(shape))
