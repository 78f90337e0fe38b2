"""A traced graph on a device: compiled once, its states kept there between calls."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..compiler.compile import Compiled, PortSpec, Source, compile_model
from ..dtypes import DType
from ..eager.tensor import EagerTensor
from ..graph.ir import Graph, State
from ..runtime import execute
from ..runtime.tuning import family_of

__all__ = ["CompiledGraph", "DeviceModel", "target_of"]


def target_of(device: str) -> str:
    """The form of program that a device runs."""
    if not device.startswith("GPU"):
        return "wasm"
    family = family_of(device)
    return "wgsl" if family == "direct" else f"wgsl:{family}"


class DeviceModel:
    """A compiled model on a device, and which states are newer where.

    A state is uploaded before a run if its host value changed since this model last saw it; after a run that writes
    it, this model owns it until somebody reads it.
    """

    def __init__(self, compiled: Compiled, device: str) -> None:
        close_dropped()
        self.executor = execute.load(compiled.model, device)
        self._finalizer = weakref.finalize(self, _dropped.append, self.executor)
        self._finalizer.atexit = False
        self.states = {s: i for i, s in compiled.states.items()}
        self.moved: dict[str, list[State]] = {}
        for signature in compiled.model.signatures:
            touched = [*signature.writes, *(a.tensor for a in signature.advance)]
            self.moved[signature.name] = [compiled.states[i] for i in touched]
        self.used = {
            s.name: [compiled.states[i] for i in sorted({*s.reads, *s.writes})] for s in compiled.model.signatures
        }
        self._known = {s: s.version for s in self.states}
        self.runs = 0  # that are done: a value fetched before is an older one after
        self._settled: dict[str, int] = {}  # by signature: `State.changes` when its states were as it leaves them

    def run(self, signature: str, inputs: dict[str, Any], again: Callable[[], Any] | None = None) -> dict[str, Any]:
        """One run; the outputs stay on the device until they are read. `again`: see `Executor.run`."""
        if _dropped:
            close_dropped()
        before = State.changes
        settled = self._settled.get(signature) == before
        if not settled:
            for state in self.used[signature]:
                if state.owner is not self and (state.owner is not None or state.version != self._known[state]):
                    self.executor.write(self.states[state], state.read())
                    self._known[state] = state.version
        outputs = self.executor.run(signature, inputs, again)
        self.runs += 1
        alone = State.changes == before     # fetching a state and running may wait, and let others in
        if not (settled and alone):
            for state in self.moved[signature]:
                state.give(self)
            if alone:
                self._settled[signature] = State.changes
        return outputs  # type: ignore[no-any-return]

    def finish(self) -> None:
        """Said after the last of a series of runs."""
        self.executor.finish()

    def fetch(self, state: State) -> np.ndarray[Any, Any]:
        """The value that the device holds."""
        return np.asarray(self.executor.read(self.states[state]), dtype=state.dtype.numpy).reshape(state.shape)

    def clean(self, state: State) -> None:
        """The host has the device's value now."""
        self._known[state] = state.version

    def close(self) -> None:
        """Brings every owned state to the host and releases the device's memory."""
        for state in self.states:
            while state.owner is self:
                state.read()
        self._finalizer.detach()
        self.executor.close()


_dropped: list[Any] = []            # executors of models that nobody holds any more


def close_dropped() -> None:
    """Releases the device memory of models that are gone. Not at once: a collection may happen in the midst of a
    run.
    """
    while _dropped:
        _dropped.pop().close()


class CompiledGraph:
    """One graph on one device."""

    def __init__(self, graph: Graph, device: str) -> None:
        self.names = [f"arg{i}" for i in range(len(graph.inputs))]
        results = [f"out{i}" for i in range(len(graph.outputs))]
        source = Source("call", graph, [PortSpec(n) for n in self.names], results)
        self.model = DeviceModel(compile_model([source], [target_of(device)]), device)
        self.results = [(n, v.dtype) for n, v in zip(results, graph.outputs, strict=True)]

    def run(self, arrays: Sequence[np.ndarray[Any, Any]]) -> list[EagerTensor]:
        """The outputs as tensors that fetch their values when looked at."""
        outputs = self.model.run("call", dict(zip(self.names, arrays, strict=True)))
        return [lazy(outputs[n], dtype, self.model) for n, dtype in self.results]


def lazy(output: Any, dtype: DType, model: DeviceModel) -> EagerTensor:
    """A tensor around a result that is still on a device. It keeps the model that holds it."""

    def fetch(model: DeviceModel = model) -> Any:
        return output.numpy()

    return EagerTensor(None, dtype, tuple(output.shape), fetch)
