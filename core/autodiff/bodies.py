"""Bodies: graphs that are attributes of ops: what a loop repeats, what a branch computes.

A body is closed: what it uses from outside is an input of the op, so that gradients, compilers and files need to look
nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..graph.interpret import bind, concrete
from ..graph.ir import Graph, Node, Value
from ..graph.record import record
from ..ops.op import Spec
from ..shapes import Dim, substitute

__all__ = ["Body", "Runner", "rebuilt", "record_closed"]


class Body:
    """A graph as the attribute of an op. Equal only to itself. `symbols` are sizes known beside those of the inputs."""

    __slots__ = ("__weakref__", "cache", "graph", "symbols")

    def __init__(self, graph: Graph, symbols: dict[str, int] | None = None) -> None:
        self.graph = graph
        self.symbols = symbols or {}
        self.cache: dict[Any, Any] = {}  # what was derived from it: gradients, runners

    @property
    def input_specs(self) -> list[Spec]:
        """Shapes and dtypes of the inputs."""
        return [v.spec for v in self.graph.inputs]

    @property
    def output_specs(self) -> list[Spec]:
        """Shapes and dtypes of the outputs."""
        return [v.spec for v in self.graph.outputs]

    def concrete(self, symbols: dict[str, int]) -> Body:
        """The same body where these sizes are known."""
        key = tuple(sorted(symbols.items()))
        found = self.cache.get(key)
        if found is None:
            found = self.cache[key] = Body(self.graph, {**self.symbols, **symbols}) if symbols else self
        return found  # type: ignore[no-any-return]

    def with_sizes(self, sizes: dict[str, Any]) -> Body:
        """The body with symbols replaced by sizes."""
        return self if not sizes else Body(rebuilt(self.graph, sizes), self.symbols)

    def runner(self, arrays: Sequence[np.ndarray[Any, Any]]) -> Runner:
        """What runs it on arrays of the shapes of these."""
        return Runner(self.graph, bind(self.input_specs, arrays, self.symbols))

    def __repr__(self) -> str:
        return f"<body {self.graph.name!r}: {len(self.graph.nodes)} ops>"


class Runner:
    """Runs a graph again and again on the host: everything that does not change is prepared once."""

    def __init__(self, graph: Graph, symbols: dict[str, int]) -> None:
        slots: dict[Value, int] = {v: i for i, v in enumerate(graph.inputs)}
        self.values: list[Any] = [None] * len(slots)

        def slot(v: Value | None) -> int:
            if v is None:
                return nothing
            if v not in slots:
                slots[v] = len(self.values)
                self.values.append(v.constant)
            return slots[v]

        nothing = len(self.values)
        self.values.append(None)
        self.steps = []
        for node in graph.nodes:
            attrs = {k: concrete(a, symbols) for k, a in node.attrs.items()}
            self.steps.append((node.op.numpy, [slot(v) for v in node.inputs], attrs, [slot(v) for v in node.outputs]))
        self.outputs = [slot(v) for v in graph.outputs]

    def __call__(self, *arrays: Any) -> list[Any]:
        """The outputs for these inputs."""
        values = self.values
        values[: len(arrays)] = arrays
        for compute, inputs, attrs, outputs in self.steps:
            made = compute(*[values[i] for i in inputs], **attrs)
            if isinstance(made, tuple):
                for i, array in zip(outputs, made, strict=True):
                    values[i] = array
            else:
                values[outputs[0]] = made
        return [values[i] for i in self.outputs]


def rebuilt(graph: Graph, sizes: dict[str, Any]) -> Graph:
    """The graph with symbols replaced in every shape and attribute."""
    replaced_by: dict[Value, Value] = {}

    def shape(v: Value) -> tuple[Any, ...]:
        return tuple(substitute(d, sizes) if isinstance(d, Dim) else d for d in v.sizes)

    def get(v: Value | None) -> Value | None:
        return None if v is None else replaced_by.get(v, v)

    def attr(a: Any) -> Any:
        if isinstance(a, Dim):
            return substitute(a, sizes)
        if isinstance(a, Body):
            return a.with_sizes(sizes)
        return tuple(map(attr, a)) if isinstance(a, tuple) else a

    for v in graph.inputs:
        replaced_by[v] = Value(shape(v), v.dtype, label=v.label)
    nodes = []
    for node in graph.nodes:
        specs = [Spec(shape(v), v.dtype) for v in node.outputs]
        attrs = {k: attr(a) for k, a in node.attrs.items()}
        made = Node(node.op, [get(v) for v in node.inputs], attrs, specs, node.where)
        nodes.append(made)
        replaced_by.update(zip(node.outputs, made.outputs, strict=True))
    inputs = tuple(replaced_by[v] for v in graph.inputs)
    return Graph(graph.name, inputs, tuple(nodes), tuple(replaced_by.get(v, v) for v in graph.outputs))


def record_closed(function: Callable[..., Any], specs: Sequence[Spec], name: str) -> Body:
    """The body of a function of values that uses nothing else from outside than constants."""
    recorder, inputs, result = record(function, specs, name)
    outputs = tuple(recorder.lift(v) for v in (result if isinstance(result, tuple | list) else (result,)))
    return Body(Graph(name, tuple(inputs), tuple(recorder.nodes), outputs))
