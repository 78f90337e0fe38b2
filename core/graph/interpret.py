"""Runs a graph on the host, node by node, with the ops' numpy kernels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..shapes import Dim, evaluate
from .ir import Graph, State, Value


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


def interpret(graph: Graph, arrays: Sequence[np.ndarray[Any, Any]]) -> tuple[list[Any], list[tuple[State, Any]]]:
    """The outputs and the new values of the written states. States are read from their cells; nothing is written."""
    symbols = bind([v.spec for v in graph.inputs], arrays)
    values: dict[Value, Any] = dict(zip(graph.inputs, arrays, strict=True))

    def get(v: Value | None) -> Any:
        if v is None:
            return None
        found = values.get(v)
        if found is None:
            if v.state is not None:
                found = v.state.read()
            elif v.constant is not None:
                found = v.constant
            else:
                raise ValueError(f"value {v.name!r} is used before it is made")
            values[v] = found
        return found

    last_use: dict[Value, int] = {v: i for i, n in enumerate(graph.nodes) for v in n.inputs if v is not None}
    results = set(graph.results)
    for i, node in enumerate(graph.nodes):
        attrs = {k: concrete(a, symbols) for k, a in node.attrs.items()}
        out = node.op.numpy(*(get(v) for v in node.inputs), **attrs)
        for v, array in zip(node.outputs, out if isinstance(out, tuple) else (out,), strict=True):
            values[v] = array
        for used in node.inputs:
            if used is not None and last_use[used] == i and used.node is not None and used not in results:
                values.pop(used, None)
    return [get(v) for v in graph.outputs], [(s, get(v)) for s, v in graph.writes]
