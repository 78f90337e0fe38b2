"""Records ops as nodes of a graph: the interpreter beneath every trace, and what runs `expand` and bodies into
nodes.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..dtypes import DType, as_dtype
from ..errors import InvalidArgumentError
from ..ops.dispatch import pushed
from ..ops.op import Op, Spec
from .ir import Node, State, Value


class Recorder:
    """An interpreter that adds a node for each op. Constants are shared by value; states are read once, at entry."""

    def __init__(self, name: str = "graph") -> None:
        self.name = name
        self.nodes: list[Node] = []
        self.states: dict[State, Value] = {}  # the value at entry
        self.current: dict[State, Value] = {}  # the value now: what was assigned last
        self.advances: dict[State, Any] = {}
        self.constants: dict[Any, Value] = {}
        self.captured: dict[int, tuple[Any, Value]] = {}
        self.created: list[State] = []  # cells of variables that were made while recording

    def run(self, op: Op, inputs: Sequence[Any], attrs: dict[str, Any]) -> Any:
        """Adds the node; composites stay whole (the compiler expands them)."""
        values = [None if x is None else self.lift(x) for x in inputs]
        try:
            specs = op.infer(*(None if v is None else v.spec for v in values), **attrs)
        except (InvalidArgumentError, ValueError, TypeError) as error:
            place = user_line()
            if place and hasattr(error, "add_note"):
                error.add_note(f"while tracing {self.name!r}, at {place}")
            raise
        several = isinstance(specs, tuple)
        node = Node(op, values, attrs, specs if several else (specs,), user_line())
        self.nodes.append(node)
        return node.outputs if several else node.outputs[0]

    def lift(self, x: Any) -> Value:
        """The value of this graph that stands for x: itself, a state's newest value, or a constant."""
        if isinstance(x, Value):
            return x
        state = getattr(x, "state", None)
        if isinstance(state, State):
            return self.read(state)
        return self.constant(x)

    def read(self, state: State) -> Value:
        """The state's value at this point of the trace."""
        found = self.current.get(state)
        if found is None:
            found = Value(state.shape, state.dtype, label=state.name, state=state)
            self.states[state] = self.current[state] = found
        return found

    def write(self, state: State, value: Any) -> None:
        """The state has this value from here on."""
        self.read(state)
        self.current[state] = self.lift(value)

    def advance(self, state: State, by: Any) -> None:
        """A host-owned state moves on by this much when the run is done; reads in this trace still see the value at
        entry.
        """
        if not (isinstance(by, int) and by == 0):
            self.advances[state] = self.advances.get(state, 0) + by

    def restart(self, state: State) -> None:
        """A host-owned state is back at its start when the run is done: that is what an advance by 0 means."""
        self.advances[state] = 0

    def constant(self, x: Any) -> Value:
        """A constant of the array of an eager tensor."""
        array = np.asarray(x.numpy() if hasattr(x, "numpy") else x)
        dtype = x.dtype if isinstance(getattr(x, "dtype", None), DType) else as_dtype(array.dtype)
        key = (dtype.name, array.shape, array.tobytes()) if array.nbytes <= 4096 else id(x)
        found = self.constants.get(key)
        if found is None:
            found = Value(array.shape, dtype, constant=array)
            self.constants[key] = found
            self.captured[id(x)] = (x, found)  # keeps x alive: its id is the key of a large one
        return found

    def written(self) -> tuple[tuple[State, Value], ...]:
        """The states that got a new value, in order of first reading."""
        return tuple((s, v) for s, v in self.current.items() if v is not self.states[s])


def expand_node(node: Node, inputs: Sequence[Value | None]) -> tuple[list[Node], tuple[Value, ...]]:
    """The nodes of a composite's expansion over these inputs, and what its outputs become."""
    recorder = Recorder(node.op.name)
    with pushed(recorder):
        made = node.op.expand(*inputs, **node.attrs)  # type: ignore[attr-defined]
        outputs = tuple(recorder.lift(v) for v in (made if isinstance(made, tuple) else (made,)))
    for inner in recorder.nodes:
        inner.where = node.where
    return recorder.nodes, outputs


def record(
    function: Callable[..., Any], specs: Sequence[Spec], name: str = "graph"
) -> tuple[Recorder, list[Value], Any]:
    """Runs a function on fresh values of these specs. Returns the recorder, the values, and what the function
    returned.
    """
    recorder = Recorder(name)
    inputs = [Value(s.shape, s.dtype, label=f"arg{i}") for i, s in enumerate(specs)]
    with pushed(recorder):
        result = function(*inputs)
    return recorder, inputs, result


def user_line() -> str:
    """The nearest caller outside the package, as "file:line"."""
    frame = sys._getframe(2)
    while frame is not None:
        package = frame.f_globals.get("__name__", "")
        if not package.startswith("tideflow"):
            return f"{frame.f_code.co_filename.rsplit('/', 1)[-1]}:{frame.f_lineno}"
        frame = frame.f_back  # type: ignore[assignment]
    return ""
