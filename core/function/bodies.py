"""Records the body of a loop or branch from a Python function.

What the function uses from outside (tensors of the surrounding trace, variables, tensors that a tape watches) becomes
an input of the body; what it assigns to variables is found in `written`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..autodiff.gradients import key
from ..eager.variable import Variable
from ..errors import UnimplementedError
from ..graph.ir import Node, State, Value
from ..graph.record import Recorder
from ..ops.dispatch import interpreters, replaced
from ..ops.op import Spec

__all__ = ["BodyRecorder", "Recorded", "finish", "record_body", "variable_of"]


class BodyRecorder(Recorder):
    """Records a body. Tensors and variables from outside become captures: pairs of the outer tensor and the input."""

    def __init__(self, name: str, inputs: Sequence[Value], watched: Callable[[Any], bool]) -> None:
        super().__init__(name)
        self._inputs = {id(v) for v in inputs}
        self._nodes: set[int] = set()
        self._is_watched = watched
        self.captures: dict[Any, tuple[Any, Value]] = {}

    def run(self, op: Any, inputs: Sequence[Any], attrs: dict[str, Any]) -> Any:
        """Adds the node."""
        out = super().run(op, inputs, attrs)
        first = out[0] if isinstance(out, tuple) else out
        self._nodes.add(id(first.node))
        return out

    def lift(self, x: Any) -> Value:
        """The value of this body that stands for x."""
        if isinstance(x, Value):
            mine = id(x) in self._inputs or (x.node is not None and id(x.node) in self._nodes)
            if mine or x.constant is not None:
                return x
            return self._capture(id(x), x, x.sizes, x.dtype, x.name)
        if isinstance(getattr(x, "state", None), State):
            return self.read(x.state)
        if hasattr(x, "record_op") or self._is_watched(x):
            return self._capture(id(x), x, x.sizes, x.dtype, "tensor")
        return self.constant(x)

    def _capture(self, key: Any, outer: Any, sizes: Any, dtype: Any, label: str) -> Value:
        found = self.captures.get(key)
        if found is None:
            made = Value(sizes, dtype, label=label)
            self._inputs.add(id(made))
            found = self.captures[key] = (outer, made)
        return found[1]

    def read(self, state: State) -> Value:
        """The variable's value at this point of the body."""
        found = self.current.get(state)
        if found is None:
            if state.host_owned:
                raise UnimplementedError(
                    f"random numbers (or the counter {state.name!r}) inside a loop or branch of a traced tf.function: "
                    "draw them before it, one more axis for the iterations, and pass them in."
                )
            found = self._capture(state, variable_of(state), state.shape, state.dtype, state.name)
            self.states[state] = self.current[state] = found
        return found

    def advance(self, state: State, by: Any) -> None:
        """Refused: a body runs any number of times."""
        self.read(state)


@dataclass
class Recorded:
    """A recorded body: its inputs (as given, then one per capture), what it returned, and the variables it assigned."""

    nodes: tuple[Node, ...]
    inputs: list[Value]
    captured: list[Any]  # the outer tensors and variables
    result: Any  # what the function returned
    recorder: BodyRecorder
    written: list[tuple[State, Value]] = field(default_factory=list)


def record_body(function: Callable[..., Any], specs: Sequence[Spec], name: str, pack: Callable[..., Any]) -> Recorded:
    """Runs `function(*pack(values))` on fresh values of these specs. What it returns is left as it is: `lift` it."""
    inputs = [Value(s.shape, s.dtype, label=f"{name}{i}") for i, s in enumerate(specs)]
    recorder = BodyRecorder(name, inputs, watched_now())
    with replaced((recorder,)):
        result = function(*pack(inputs))
    return Recorded(tuple(recorder.nodes), inputs, [], result, recorder)


def finish(recorded: Recorded) -> Recorded:
    """Fills in captures and written variables, once everything returned was lifted."""
    recorder = recorded.recorder
    recorded.nodes = tuple(recorder.nodes)
    recorded.written = list(recorder.written())
    recorded.captured = [outer for outer, _ in recorder.captures.values()]
    recorded.inputs = [*recorded.inputs, *(v for _, v in recorder.captures.values())]
    return recorded


def watched_now() -> Callable[[Any], bool]:
    """Whether an eager tensor takes part in a gradient that is being recorded outside of the body."""
    sets = [t._watched for t in interpreters() if hasattr(t, "_watched")]
    everything = any(hasattr(t, "entries") for t in interpreters())
    return lambda x: everything or any(key(x) in s for s in sets)


def variable_of(state: State) -> Any:
    """A variable around a cell that already exists."""
    made = Variable.__new__(Variable)
    made.state, made._name = state, state.name
    return made
