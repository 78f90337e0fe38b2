"""Opens a model file for a device: its own programs, programs compiled anew from its graphs, or numpy on the graphs.

    opened = open_model(read_model(data), "gpu")
    opened.run("predict", {"x": images})["probabilities"].numpy()

Whatever is returned has `run`, `read`, `write`, `save_into` and `close`, as `runtime/execute.py` describes them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..compiler.compile import Compiled, PortSpec, Source, compile_model
from ..compiler.graphs import load_graph
from ..device import Device, Stats
from ..dtypes import as_dtype
from ..errors import InvalidArgumentError, NoExecutorError
from ..graph.interpret import interpret, separate
from ..graph.ir import Graph, State
from ..program import format as fmt
from ..program.sizes import evaluate
from ..runtime import discover, execute
from ..runtime.binding import Ports
from ..runtime.values import Output, advance_counter, decode, numpy_dtype

__all__ = ["HostModel", "RecompiledModel", "open_model"]

STATE_ROLES = (fmt.Role.WEIGHT, fmt.Role.OPTIMIZER_SLOT, fmt.Role.METRIC, fmt.Role.COUNTER, fmt.Role.RNG)


def open_model(model: fmt.Model, device: str | Device | None = None) -> Any:
    """Puts a model on a device, by the best way that its contents allow.

    Raises:
        NoExecutorError: if the file has neither programs for the device nor graphs.
    """
    if device is None or isinstance(device, str):
        name = discover.device_name(device) if device else discover.default_device()
        if name == "CPU:0" and not discover.IN_PYODIDE:
            return HostModel(model)
        target = fmt.Target.WGSL if name.startswith("GPU") else fmt.Target.WASM
    else:
        name, target = device.name, device.target
    has_programs = all(any(model.programs[i].target == target for i in s.programs) for s in model.signatures)
    if has_programs:
        return execute.load(model, device)
    if all(signature.graph >= 0 for signature in model.signatures):
        return RecompiledModel(model, target, device)
    raise NoExecutorError(
        f"the file has no {target.name} programs for {name}, and no graphs to compile them from. "
        f"Export it for this target, or without strip_graphs."
    )


def load_states(model: fmt.Model) -> dict[int, State]:
    """A cell with the stored value for every tensor of state; zeros where the file has none."""
    sizes = evaluate(model.dims, {})
    states = {}
    for index, tensor in enumerate(model.tensors):
        if tensor.role in STATE_ROLES:
            shape = tuple(sizes[dim] for dim in tensor.shape)
            array = np.zeros(shape, numpy_dtype(tensor.dtype))
            if tensor.data is not None:
                array = decode(tensor.data, tensor.dtype, shape).copy()
            states[index] = State(tensor.name, shape, as_dtype(array.dtype), tensor.role.name, tensor.trainable, array)
    return states


class HostModel:
    """A model whose graphs numpy interprets, node by node. The reference for every device."""

    def __init__(self, model: fmt.Model) -> None:
        lacking = [signature.name for signature in model.signatures if signature.graph < 0]
        if lacking:
            raise NoExecutorError(
                f"the file holds no graphs for {lacking}, so numpy has nothing to interpret. "
                f"Use device='wasm' (pip install 'tideflow[wasm]') or 'gpu' ('tideflow[gpu]')."
            )
        self.model = model
        self._states = load_states(model)
        self._signatures = {signature.name: signature for signature in model.signatures}
        self._graphs: dict[str, Graph] = {}

    @property
    def signatures(self) -> list[str]:
        """The names that `run` takes."""
        return list(self._signatures)

    def stats(self) -> Stats:
        """Nothing is on a device."""
        return Stats()

    def run(self, name: str, inputs: Mapping[str, Any] | None = None) -> dict[str, Output]:
        """Runs a signature once; conversions, checks and errors are those of every device."""
        if name not in self._signatures:
            raise InvalidArgumentError(f"the model has no signature {name!r}; it has {sorted(self._signatures)}.")
        signature = self._signatures[name]
        if name not in self._graphs:
            self._graphs[name] = load_graph(self.model, signature, self._states)
        ports = Ports(self.model, signature)
        given = ports.arrays(inputs or {})
        dims = evaluate(self.model.dims, ports.bind(given))
        arrays = [
            array if array is not None else np.full(shape, port.fill, numpy_dtype(self._dtype(port)))
            for port, shape, array in zip(signature.inputs, ports.check(given, dims), given, strict=True)
        ]
        outputs, writes = separate(arrays, *interpret(self._graphs[name], arrays))
        for state, value in writes:
            state.write(value)
        for advance in signature.advance:
            state = self._states[advance.tensor]
            state.write(advance_counter(state.read(), dims[advance.by] if advance.by else None, state.role == "RNG"))
        return {
            port.name: Output.of(port.name, np.asarray(value), self._dtype(port))
            for port, value in zip(signature.outputs, outputs, strict=True)
        }

    def _dtype(self, port: fmt.Port) -> fmt.DType:
        return self.model.tensors[port.tensor].dtype

    def _state(self, tensor: int) -> State:
        if tensor not in self._states:
            raise not_state(self.model, tensor)
        return self._states[tensor]

    def read(self, tensor: int) -> np.ndarray[Any, Any]:
        """The current value of a state tensor."""
        return self._state(tensor).read().copy()

    def write(self, tensor: int, value: Any) -> None:
        """Sets a state tensor."""
        state, array = self._state(tensor), np.asarray(value)
        if array.shape != state.shape:
            raise InvalidArgumentError(
                f"state tensor {state.name!r} has shape {state.shape}, the value has {array.shape}."
            )
        state.write(array.astype(state.dtype.numpy))

    def save_into(self, model: fmt.Model | None = None) -> fmt.Model:
        """Puts the current values of all state into the tensors of `model` (this one by default) and returns it."""
        model = model or self.model
        for tensor, state in self._states.items():
            model.tensors[tensor].data = np.ascontiguousarray(state.read()).tobytes()
        return model

    def close(self) -> None:
        """Nothing to release."""


class RecompiledModel:
    """A model whose programs are compiled anew from its graphs for a target that the file was not exported for."""

    def __init__(self, model: fmt.Model, target: fmt.Target, device: str | Device | None) -> None:
        self.model = model
        states = load_states(model)
        sources = [
            Source(
                s.name,
                load_graph(model, s, states),
                [_port_spec(port) for port in s.inputs],
                [port.name for port in s.outputs],
            )
            for s in model.signatures
        ]
        compiled = compile_model(sources, [target.name.lower()])
        self._numbers = _numbers(states, compiled)
        self._executor = execute.load(compiled.model, device)

    @property
    def signatures(self) -> list[str]:
        """The names that `run` takes."""
        return [signature.name for signature in self.model.signatures]

    def stats(self) -> Stats:
        """The device's counters."""
        stats: Stats = self._executor.stats()
        return stats

    def run(self, name: str, inputs: Mapping[str, Any] | None = None) -> dict[str, Output]:
        """Runs a signature once."""
        outputs: dict[str, Output] = self._executor.run(name, inputs)
        return outputs

    def _number(self, tensor: int) -> int:
        if tensor not in self._numbers:
            raise not_state(self.model, tensor)
        return self._numbers[tensor]

    def read(self, tensor: int) -> np.ndarray[Any, Any]:
        """The current value of a state tensor, by its index in the file."""
        value: np.ndarray[Any, Any] = self._executor.read(self._number(tensor))
        return value

    def write(self, tensor: int, value: Any) -> None:
        """Sets a state tensor, by its index in the file."""
        self._executor.write(self._number(tensor), value)

    def save_into(self, model: fmt.Model | None = None) -> fmt.Model:
        """Puts the current values of all state into the tensors of `model` (the file's by default) and returns it."""
        model = model or self.model
        saved = self._executor.save_into()
        for tensor, number in self._numbers.items():
            model.tensors[tensor].data = saved.tensors[number].data
        return model

    def close(self) -> None:
        """Releases the device's memory."""
        self._executor.close()


def not_state(model: fmt.Model, tensor: int) -> InvalidArgumentError:
    """The error of reading or writing a tensor that no signature keeps."""
    return InvalidArgumentError(f"tensor {tensor} ({model.tensors[tensor].name!r}) is not part of the model's state.")


def _port_spec(port: fmt.Port) -> PortSpec:
    bounds = (port.min, port.max) if port.bounded else (None, None)
    return PortSpec(port.name, port.optional, port.fill, *bounds)


def _numbers(states: Mapping[int, State], compiled: Compiled) -> dict[int, int]:
    """Tensor index in the file -> tensor index in the compiled model, for the states that its programs use."""
    numbers = {id(state): number for number, state in compiled.states.items()}
    return {tensor: numbers[id(state)] for tensor, state in states.items() if id(state) in numbers}
