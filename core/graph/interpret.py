"""Runs a graph on the host, node by node, with the ops' numpy kernels."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..ops.op import Composite
from ..ops.silence import IGNORE, enter, leave
from ..shapes import Dim, evaluate
from .chains import LEAST, Call, regroup
from .expand import expand_composites
from .ir import Graph, State, Value, reachable
from .merge import merge_equal

KEPT = 4  # sets of input shapes for which a graph keeps its calls
_ndarray = np.ndarray


def bind(specs: Sequence[Any], arrays: Sequence[Any], symbols: dict[str, int] | None = None) -> dict[str, int]:
    """The values of the symbols that the arrays' shapes imply. Raises ValueError where a shape does not fit."""
    found = dict(symbols or {})
    checks = []
    for i, (spec, array) in enumerate(zip(specs, arrays, strict=True)):
        if len(spec.shape) != array.ndim:
            raise ValueError(f"input {i} has shape {array.shape}; expected {len(spec.shape)} axes: {spec.shape}")
        for axis, (size, got) in enumerate(zip(spec.shape, array.shape, strict=True)):
            if isinstance(size, Dim) and size.kind == "symbol":
                found.setdefault(size.args[0], got)
            checks.append((i, axis, size, got))
    for i, axis, size, got in checks:
        if evaluate(size, found) != got:
            raise ValueError(f"input {i} has size {got} on axis {axis}; expected {size} = {evaluate(size, found)}")
    return found


def concrete(attr: Any, symbols: dict[str, int]) -> Any:
    """An attribute with its sizes as ints."""
    if isinstance(attr, Dim):
        return attr.evaluate(symbols)
    if isinstance(attr, tuple):
        return tuple(concrete(a, symbols) for a in attr)
    return attr.concrete(symbols) if hasattr(attr, "concrete") else attr  # bodies know the sizes around them


def interpret(
    graph: Graph, arrays: Sequence[np.ndarray[Any, Any]], plain: bool = False
) -> tuple[list[Any], list[tuple[State, Any]]]:
    """The outputs and the new values of the written states. States are read from their cells; nothing is written.

    `plain`: node by node as the graph has them, a reference for everything that changes graphs.
    """
    name = "_plain" if plain else "_prepared"
    found = graph.__dict__.get(name)
    if found is None:
        found = Prepared(graph, plain)
        object.__setattr__(graph, name, found)  # lives as long as the graph, which never changes
    return found.run(arrays)


def separate(
    arrays: Sequence[Any], outputs: Sequence[Any], writes: Sequence[tuple[State, Any]]
) -> tuple[list[Any], list[tuple[State, Any]]]:
    """Outputs and new values of states such that who changes one of them changes no other, nor the inputs by a state.

    Nodes that compute the same are one, so several of them may be the very same array.
    """
    seen: set[int] = set()
    found = []
    for array in outputs:
        found.append(np.array(array) if id(array) in seen else array)
        seen.add(id(array))
    seen.update(map(id, arrays))
    kept = []
    for state, array in writes:
        alone = isinstance(array, np.ndarray) and array.base is None and id(array) not in seen
        kept.append((state, array if alone else np.array(array)))
        seen.add(id(array))
    return found, kept


class Prepared:
    """A graph as a list of calls on numbered cells, to be run many times. Composites without a kernel of their
    own are expanded, equal nodes are one, nodes that nobody needs are left out.
    """

    def __init__(self, graph: Graph, plain: bool = False) -> None:
        if not plain:
            graph = merge_equal(expand_composites(graph, lambda n: type(n.op).numpy is not Composite.numpy))
        self._plain = plain
        self._specs = [v.spec for v in graph.inputs]
        self._numbers: dict[Value, int] = {v: i for i, v in enumerate(graph.inputs)}
        self._start: list[Any] = [None] * len(graph.inputs)
        self._states: list[tuple[int, State]] = []
        self._ready: OrderedDict[tuple[Any, ...], list[Call]] = OrderedDict()  # calls for recent input shapes
        needed = set(reachable([*graph.results, *(v for n in graph.nodes if n.op.stateful for v in n.outputs)]))
        self._nodes = [n for n in graph.nodes if n in needed or n.op.stateful]
        calls = []
        for node in self._nodes:
            inputs = tuple(-1 if v is None else self._cell(v) for v in node.inputs)
            for v in node.outputs:
                self._numbers[v] = len(self._start)
                self._start.append(None)
            direct = node.op.ufunc is not None and not node.attrs and not plain     # in silence already
            calls.append((node.op.ufunc if direct else node.op.numpy, inputs,
                          tuple(self._numbers[v] for v in node.outputs)))
        self._outputs = [self._cell(v) for v in graph.outputs]
        self._writes = [(s, self._cell(v)) for s, v in graph.writes]
        self._start.append(None)  # cell -1: an absent input
        self._calls = [(*call, free) for call, free in zip(calls, self._last_uses(set(graph.results)), strict=True)]

    def _cell(self, value: Value) -> int:
        if value not in self._numbers:
            if value.state is None and value.constant is None:
                raise ValueError(f"value {value.name!r} is used before it is made")
            self._numbers[value] = len(self._start)
            if value.state is not None:
                self._states.append((len(self._start), value.state))
            self._start.append(value.constant)
        return self._numbers[value]

    def _last_uses(self, results: set[Value]) -> list[tuple[int, ...]]:
        """For each node, the cells that nobody reads after it."""
        last = {v: i for i, n in enumerate(self._nodes) for v in (*n.inputs, *n.outputs) if v is not None}
        free: list[list[int]] = [[] for _ in self._nodes]
        for v, i in last.items():
            if v.node is not None and v not in results:
                free[i].append(self._numbers[v])
        return [tuple(cells) for cells in free]

    def run(self, arrays: Sequence[np.ndarray[Any, Any]]) -> tuple[list[Any], list[tuple[State, Any]]]:
        """One run."""
        key = tuple([a.shape for a in arrays])
        cells = self._start.copy()
        cells[: len(arrays)] = arrays
        for cell, state in self._states:
            cells[cell] = state.read()
        ready = self._ready.get(key)
        token = enter(IGNORE)
        try:
            if ready is not None:
                _run_calls(ready, cells)
            else:
                self._learn(key, arrays, cells)
        finally:
            leave(token)
        return [cells[i] for i in self._outputs], [(s, cells[i]) for s, i in self._writes]

    def _learn(self, key: tuple[Any, ...], arrays: Sequence[Any], cells: list[Any]) -> None:
        """The first run for these shapes: attributes become numbers, and what the arrays are like decides which calls
        become chains later.
        """
        symbols = bind(self._specs, arrays)
        calls = [Call(*call, {k: concrete(a, symbols) for k, a in node.attrs.items()})
                 for call, node in zip(self._calls, self._nodes, strict=True)]
        kinds = {i: (a.shape, a.dtype) for i, a in enumerate(cells) if isinstance(a, np.ndarray)}
        if _run_calls(calls, cells, kinds) >= LEAST and not self._plain:
            kept = {*self._outputs, *(i for _, i in self._writes)}
            for v in (v for n in self._nodes for v in n.outputs if not _is_bound(v, symbols)):
                del kinds[self._numbers[v]]             # its shape may be another one in the next run
            calls = regroup([n.op for n in self._nodes], calls, kinds, kept) or calls
        self._ready[key] = calls
        if len(self._ready) > KEPT:
            self._ready.popitem(last=False)


def _is_bound(value: Value, symbols: dict[str, int]) -> bool:
    """Whether the shapes of the inputs say what the shape of a value is."""
    return all(isinstance(d, int) or {s.args[0] for s in d.symbols()} <= symbols.keys() for d in value.sizes)


def _run_calls(calls: Sequence[Any], cells: list[Any], kinds: dict[int, Any] | None = None) -> int:
    """Makes the calls in order. `kinds` takes shape and dtype of what they make, of which the most elements are
    returned.
    """
    largest = 0
    for function, inputs, outputs, free, settings in calls:
        if settings:
            made = function(*[cells[i] for i in inputs], **settings)
        elif len(inputs) == 2:
            i, j = inputs
            made = function(cells[i], cells[j])
        else:
            made = function(*[cells[i] for i in inputs])
        if made.__class__ is _ndarray:
            cells[outputs[0]] = made
        elif isinstance(made, tuple):
            for cell, array in zip(outputs, made, strict=True):
                cells[cell] = array
        else:
            cells[outputs[0]] = np.asarray(made)
        if kinds is not None:
            for cell in outputs:
                array = np.asarray(cells[cell])
                kinds[cell] = (array.shape, array.dtype)
                largest = max(largest, array.size)
        for cell in free:
            cells[cell] = None
    return largest
