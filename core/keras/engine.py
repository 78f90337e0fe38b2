"""A Keras model as signatures: its train, test and predict steps traced once, run on the host or compiled for a device.

The graphs share the model's states. `learning_rate` is an input of `train_step`, not a state, so that a schedule or a
page can change it without a new trace; every first size of x, y and sample_weight is the one symbol "batch".
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..compiler.compile import Compiled, PortSpec, Source, compile_model
from ..eager.context import function_device, note_fallback
from ..eager.tensor import EagerTensor, wrap
from ..errors import InvalidArgumentError, UnimplementedError
from ..function.backend import DeviceModel, lazy, target_of
from ..function.function import run_on_host
from ..function.trace import Slot, TensorSpec, flatten, input_values, map_structure, trace
from ..graph.ir import Graph, Value
from ..ops.dispatch import Value as AnyValue
from .structure import Structure

__all__ = ["METHODS", "Engine", "StepSpec", "number_leaves", "output_names"]

METHODS = {"train_step": "train_step", "evaluate": "test_step", "predict": "predict_step"}

LABEL_OPS = {"sparse_softmax_cross_entropy": 1}  # op -> the input that holds class numbers
TRANSPARENT = frozenset({"reshape", "cast", "identity", "stop_gradient", "squeeze", "expand_dims"})


class StepSpec:
    """What a step is traced for: structures of TensorSpec for x, y and sample_weight (None if absent)."""

    def __init__(self, x: Any, y: Any = None, sample_weight: Any = None) -> None:
        self.parts = {"x": x, "y": y, "sample_weight": sample_weight}
        named = self.inputs((x, y, sample_weight))
        self.names: list[str] = list(named)
        self.specs: list[TensorSpec] = list(named.values())

    @staticmethod
    def inputs(parts: Sequence[Any]) -> dict[str, Any]:
        """The leaves of (x, y, sample_weight) by the names of their inputs: "x", or "x_0", "x_1", or "x_key"."""
        made: dict[str, Any] = {}
        for part, structure in zip(("x", "y", "sample_weight"), parts, strict=True):
            if structure is None:
                continue
            if structure.__class__ is np.ndarray:
                made[part] = structure
                continue
            leaves = flatten(structure)
            flat = isinstance(structure, dict) and not any(
                isinstance(v, dict | list | tuple) for v in structure.values()
            )
            keys = list(structure) if flat else [str(i) for i in range(len(leaves))]
            made.update({part if len(leaves) == 1 else f"{part}_{k}": v for k, v in zip(keys, leaves, strict=True)})
        return made

    @property
    def key(self) -> Any:
        """What distinguishes traces."""
        return tuple((n, tuple(s.shape.as_list()), s.dtype.name) for n, s in zip(self.names, self.specs, strict=True))

    def unpack(self, values: Sequence[Any]) -> tuple[Any, ...]:
        """(x, y, sample_weight) with the values in their places, as long as they are there."""
        supply = iter(values)
        made = [None if s is None else map_structure(lambda _: next(supply), s) for s in self.parts.values()]
        while len(made) > 1 and made[-1] is None:
            made.pop()
        return tuple(made)


class Engine:
    """The signatures of one model, by name, and the devices they were compiled for."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.sources: dict[str, Source] = {}
        self.results: dict[str, Any] = {}  # the structure of each signature's result, Slots for tensors
        self.structure: Structure | None = None  # of the model, as it was when somebody asked last
        self.looked = False  # during a compiled step: that it still holds was seen at its start
        self.usual: dict[str, Any] = {}  # the kind of arrays that each signature was prepared for last
        self._keys: dict[str, Any] = {}
        self._files: dict[tuple[str, ...], tuple[list[Source], Compiled]] = {}
        self._devices: dict[str, tuple[dict[str, Source], DeviceModel | None]] = {}

    def reset(self) -> None:
        """Forgets all traces: after `compile`, or when layers, trainability or metrics changed."""
        for _, device in self._devices.values():
            if device is not None:
                device.close()
        self._devices, self.sources, self._keys, self.results, self._files = {}, {}, {}, {}, {}
        self.structure, self.usual = None, {}

    def prepare(self, name: str, spec: StepSpec, training: Any) -> None:
        """Traces signature `name` for these specs if that has not been done. `training` says what it depends on
        beside them.
        """
        key = (spec.key, training)
        if self._keys.get(name) == key:
            return
        self.usual.pop(name, None)
        self.sources[name] = self._trace(name, spec)
        self._keys[name] = key

    def has(self, name: str) -> bool:
        """Whether a signature was traced."""
        return name in self.sources

    def run(
        self, name: str, inputs: dict[str, np.ndarray[Any, Any]], again: Callable[[], Any] | None = None
    ) -> dict[str, EagerTensor]:
        """Runs a prepared signature. Results on a device are fetched when they are looked at.

        `again` makes the inputs anew, should the device be lost.
        """
        source = self.sources[name]
        device = function_device()
        compiled = None if device == "cpu" else self._on(device, name)
        if compiled is None:
            return self._on_host(source, inputs)
        outputs = compiled.run(name, inputs, again)
        made = zip(source.outputs, source.graph.outputs, strict=True)
        return {n: lazy(outputs[n], v.dtype, compiled) for n, v in made}

    def finish(self) -> None:
        """Said at the end of `fit`: devices that may be lost then let go of its data."""
        for _, model in self._devices.values():
            if model is not None:
                model.finish()

    def _on(self, device: str, name: str) -> DeviceModel | None:
        """The compiled model on a device that has this signature as it is traced now."""
        held = self._devices.get(device)
        if held is None or held[0].get(name) is not self.sources[name]:
            if held is not None and held[1] is not None:
                held[1].close()
            try:
                made: DeviceModel | None = DeviceModel(
                    compile_model(list(self.sources.values()), [target_of(device)]), device
                )
            except UnimplementedError as error:
                note_fallback(f"model {self.model.name!r} runs on the host instead of {device}: {error}")
                made = None
            held = self._devices[device] = (dict(self.sources), made)
        return held[1]

    def compiled(
        self, targets: Sequence[str] = ("wgsl", "wasm"), extra: Callable[[], Sequence[Source]] = lambda: ()
    ) -> Compiled:
        """All prepared signatures, and those that `extra` makes, as one Model with graphs, for a file.

        It is compiled once: a save after each epoch only exchanges the values of the states.
        """
        sources, key = list(self.sources.values()), tuple(targets)
        held = self._files.get(key)
        if held is not None and len(held[0]) == len(sources) and all(map(operator.is_, held[0], sources)):
            model = held[1].model
            if all(model.tensors[i].name == state.name for i, state in held[1].states.items()):
                for i, state in held[1].states.items():
                    model.tensors[i].data = np.ascontiguousarray(state.read(), state.dtype.numpy).tobytes()
                return held[1]
        made = compile_model([*sources, *extra()], targets, graphs=True)
        self._files[key] = (sources, made)
        return made

    def _on_host(self, source: Source, inputs: dict[str, np.ndarray[Any, Any]]) -> dict[str, EagerTensor]:
        arrays = self._checked(source, inputs)
        outputs = run_on_host(source.graph, arrays)
        return {n: wrap(a) for n, a in zip(source.outputs, outputs, strict=True)}

    def _checked(self, source: Source, inputs: dict[str, np.ndarray[Any, Any]]) -> list[np.ndarray[Any, Any]]:
        """The inputs in order, as a device would take them: defaults filled in, shapes and class numbers checked."""
        symbols: dict[Any, tuple[int, str]] = {}
        arrays: list[np.ndarray[Any, Any]] = []
        for spec, value in zip(source.inputs, source.graph.inputs, strict=True):
            where = f"{source.name}: input {spec.name!r}"
            array = inputs.get(spec.name)
            if array is None:
                if not spec.optional:
                    raise InvalidArgumentError(f"{where} is missing; given were {sorted(inputs)}.")
                batch = next(iter(inputs.values())).shape[0]
                shape = tuple(d if isinstance(d, int) else batch for d in value.sizes)
                array = np.full(shape, spec.fill, value.dtype.numpy)
            array = np.asarray(array, value.dtype.numpy)
            _check_shape(where, value.sizes, array.shape, symbols)
            if spec.low is not None and spec.high is not None:
                _check_range(where, array, spec.low, spec.high)
            arrays.append(array)
        return arrays

    # -- tracing ------------------------------------------------------------------------------------------------------

    def _trace(self, name: str, spec: StepSpec) -> Source:
        values = input_values(spec.specs, spec.names, tied="batch")
        preset, ports = {}, [PortSpec(n) for n in spec.names]
        for port in ports:
            if port.name.startswith("sample_weight"):
                port.optional, port.fill = True, 1.0
        optimizer = getattr(self.model, "optimizer", None)
        if name == "train_step" and optimizer is not None and not optimizer.scheduled:
            rate = Value((), optimizer.learning_rate_variable.dtype, label="learning_rate")
            preset[optimizer.learning_rate_variable.state] = rate
            values.append(rate)
            ports.append(PortSpec("learning_rate", True, float(optimizer.learning_rate_variable.numpy())))
        method = METHODS[name]
        count = len(spec.specs)

        def step(*tensors: Any) -> Any:
            data = spec.unpack(tensors[:count])
            return getattr(self.model, method)(data)

        traced = trace(step, values, name, preset=preset)
        self.model._clear_losses()
        self.results[name] = traced.result
        names = output_names(traced.result)
        _bound_labels(traced.graph, ports)
        return Source(name, traced.graph, ports, names)


def output_names(result: Any) -> list[str]:
    """Names of the tensors of a result: the keys of dicts, nested ones too, or numbers."""
    names: list[str] = []

    def walk(x: Any, name: str) -> None:
        if isinstance(x, dict):
            for k, v in x.items():
                walk(v, str(k))
        elif isinstance(x, list | tuple):
            for i, v in enumerate(x):
                walk(v, f"{name}_{i}")
        elif isinstance(x, Slot) or isinstance(x, AnyValue):
            names.append(name)

    walk(result, "output")
    return [n if n not in names[:i] else f"{n}_{i}" for i, n in enumerate(names)]


def number_leaves(result: Any) -> Any:
    """The structure of a result with a Slot for each tensor."""
    count = iter(range(1 << 30))
    return map_structure(lambda _: Slot(next(count)), result)


def _check_shape(where: str, sizes: Any, shape: tuple[int, ...], symbols: dict[Any, tuple[int, str]]) -> None:
    """Raises InvalidArgumentError unless a shape fits: sizes with one symbol agree."""
    if len(shape) != len(sizes):
        raise InvalidArgumentError(f"{where} has shape {shape}, expected {len(sizes)} axes: {tuple(sizes)}.")
    for axis, (wanted, found) in enumerate(zip(sizes, shape, strict=True)):
        if isinstance(wanted, int):
            if wanted != found:
                raise InvalidArgumentError(f"{where} has shape {shape}, expected {tuple(sizes)}.")
        else:
            known, first = symbols.setdefault(wanted, (found, f"{where} axis {axis}"))
            if known != found:
                raise InvalidArgumentError(
                    f"{where} has {found} in axis {axis}, but {first} has {known}: they must agree."
                )


def _check_range(where: str, array: np.ndarray[Any, Any], low: int, high: int) -> None:
    """Raises InvalidArgumentError naming the first value out of range."""
    if array.size and not (array.min() >= low and array.max() <= high):  # also for NaN
        bad = np.argwhere((array < low) | (array > high) | (array != array))
        position = tuple(int(i) for i in bad[0])
        raise InvalidArgumentError(
            f"{where} holds {array[position]} at position {position}, allowed are {low} to {high} "
            f"(both included). Check the labels or indices that you pass."
        )


def _bound_labels(graph: Graph, ports: list[PortSpec]) -> None:
    """Class numbers are checked where they come in: a wrong one is an error there, not a NaN later."""
    position = {v: i for i, v in enumerate(graph.inputs)}
    for node in graph.nodes:
        which = LABEL_OPS.get(node.op.name)
        if which is None:
            continue
        value = node.inputs[which]
        while value is not None and value.node is not None and value.node.op.name in TRANSPARENT:
            value = value.node.inputs[0]
        scores = node.inputs[0]
        classes = None if scores is None else scores.sizes[-1]
        if value in position and isinstance(classes, int):
            ports[position[value]].low, ports[position[value]].high = 0, classes - 1
