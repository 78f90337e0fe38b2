"""The whole path: graphs of signatures -> passes -> layout of state -> kernels -> programs for each target -> one
Model.

traced graph   passes/      composites expanded, constants folded, equal nodes merged
layout         layout.py    which variables are neighbours, what an optimizer updates at once
kernels        schedule.py  (fuse.py, kernels.py, lower.py) placed values, merged kernels, in-place writes, order
program        programs.py  regions, steps, and the code that targets.py gets from the emitters
model          here         tensors, signatures, and, for export, the graphs themselves
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..graph.ir import Graph, State, Value
from ..program import format as fmt
from .dims import DimTable
from .graphs import store_graph
from .layout import lay_out
from .passes import run_passes
from .programs import build_program
from .schedule import schedule

__all__ = ["Compiled", "PortSpec", "Source", "compile_model"]


@dataclass
class PortSpec:
    """An input of a signature: its name, whether it may be left out (then it is `fill`), and the range of integers
    it takes.
    """

    name: str
    optional: bool = False
    fill: float = 0.0
    low: int | None = None
    high: int | None = None


@dataclass
class Source:
    """A signature to compile: a traced graph, and names for its inputs and outputs."""

    name: str
    graph: Graph
    inputs: list[PortSpec]
    outputs: list[str]


@dataclass
class Compiled:
    """A Model and the tensors that stand for states: index -> State."""

    model: fmt.Model
    states: dict[int, State] = field(default_factory=dict)


def compile_model(
    sources: Sequence[Source],
    targets: Collection[str] = ("wasm",),
    *,
    graphs: bool = False,
    skip: Collection[str] = (),
    fuse: bool = True,
    check: bool = False,
    extra_states: Sequence[State] = (),
) -> Compiled:
    """Compiles signatures that share state into one Model.

    Args:
        sources: the signatures; a State that occurs in several is one tensor.
        targets: "wasm", "wgsl", or none for a portable model of graphs alone.
        graphs: keep the graphs in the model, so that any target can be compiled later and the host can interpret them.
        skip: passes to leave out. fuse: merge kernels. check: verify the graph after every pass.
        extra_states: states that no signature touches: a model of these alone is a checkpoint.

    Raises:
        UnimplementedError: if a value has a dtype or an op that only the host can compute.
    """
    assembly = Assembly()
    lowered = [run_passes(s.graph, skip, check) for s in sources]
    layout = lay_out(lowered)
    for chunk in layout.chunks:
        for state in chunk.offsets:
            assembly.state(state)
    for state in extra_states:
        assembly.state(state)
    for position, (source, graph) in enumerate(zip(sources, lowered, strict=True)):
        signature = assembly.signature(source, graph)
        if graphs:
            signature.graph = store_graph(assembly, source, graph)
        if targets:
            plan = schedule(graph, layout.steps[position], fuse)
            for target in targets:
                assembly.model.programs.append(
                    build_program(assembly, graph, layout, position, plan, target, signature)
                )
                signature.programs.append(len(assembly.model.programs) - 1)
        assembly.model.signatures.append(signature)
    return Compiled(assembly.model, {i: s for s, i in assembly.states.items()})


class Assembly:
    """The model under construction."""

    def __init__(self) -> None:
        self.model = fmt.Model()
        self.dims = DimTable(self.model)
        self.states: dict[State, int] = {}
        self.values: dict[Value, int] = {}
        self.names: set[str] = set()
        self.emitted: dict[str, dict[Any, Any]] = {"wasm": {}, "wgsl": {}}  # code of kernels, by what it depends on

    def tensor(self, value: Value, name: str, role: fmt.Role = fmt.Role.VALUE, data: bytes | None = None) -> int:
        """The tensor of a value, made at first need."""
        if value.state is not None:
            return self.state(value.state)
        found = self.values.get(value)
        if found is None:
            found = self.values[value] = self._add(
                fmt.Tensor(self._unique(name), code_of(value), self.dims.all(value.sizes), role, data=data)
            )
        return found

    def constant(self, value: Value) -> int:
        """The tensor of a constant."""
        import numpy as np

        assert value.constant is not None
        data = np.ascontiguousarray(value.constant, value.dtype.numpy).tobytes()
        return self.tensor(value, "constant", fmt.Role.CONSTANT, data)

    def state(self, state: State) -> int:
        """The tensor of a state, with its value of now."""
        import numpy as np

        found = self.states.get(state)
        if found is None:
            data = np.ascontiguousarray(state.read(), state.dtype.numpy).tobytes()
            found = self.states[state] = self._add(
                fmt.Tensor(
                    self._unique(state.name),
                    fmt.DType[state.dtype.code],
                    self.dims.all(state.shape),
                    fmt.Role[state.role],
                    state.trainable,
                    data,
                )
            )
        return found

    def signature(self, source: Source, graph: Graph) -> fmt.Signature:
        """Ports and what the signature reads, writes and advances."""
        made = fmt.Signature(source.name)
        for spec, value in zip(source.inputs, graph.inputs, strict=True):
            port = fmt.Port(spec.name, self.tensor(value, f"{source.name}/{spec.name}"), spec.optional, spec.fill)
            if spec.low is not None and spec.high is not None:
                port.min, port.max, port.bounded = spec.low, spec.high, True
            made.inputs.append(port)
        for name, value in zip(source.outputs, graph.outputs, strict=True):
            stand_in = Value(value.sizes, value.dtype, label=name)
            made.outputs.append(fmt.Port(name, self.tensor(stand_in, f"{source.name}/{name}")))
        written = [s for s, _ in graph.writes]
        made.writes = sorted(self.state(s) for s in written)
        made.advance = [fmt.Advance(self.state(s), self.dims.index(by)) for s, by in graph.advances]
        moved = {s for s, _ in graph.advances}
        read = {v.state for v in graph.leaves() if v.state is not None}
        made.reads = sorted(self.state(s) for s in read | moved)
        return made

    def _unique(self, name: str) -> str:
        made, count = name, 1
        while made in self.names:
            made, count = f"{name}_{count}", count + 1
        self.names.add(made)
        return made

    def _add(self, tensor: fmt.Tensor) -> int:
        self.model.tensors.append(tensor)
        return len(self.model.tensors) - 1


def code_of(value: Any) -> fmt.DType:
    """The stored element type of a value."""
    return fmt.DType[value.dtype.code]
