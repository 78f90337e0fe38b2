"""The graph: typed values, nodes in execution order, and what a run reads and writes. Immutable; passes make new
ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np

from ..dtypes import DType
from ..ops.op import Op, Spec
from ..ops.operators import Tensor
from ..shapes import Shape, Size

__all__ = ["Graph", "Node", "State", "Value"]


@dataclass(eq=False)
class State:
    """A cell that outlives a run: a variable's value, an optimizer slot, a metric, a counter, or the state of a random
    generator.

    `role` is a name of `program.format.Role`. COUNTER and RNG cells are host-owned: no kernel writes them; a run
    advances them. The value is `array`, unless `owner` is set: then the newest value is on a device,
    `owner.fetch(self)` brings it here and `owner.clean(self)` tells the owner so; `owner.runs` grows with
    every run that may change it.
    """

    name: str
    shape: tuple[int, ...]
    dtype: DType
    role: str = "WEIGHT"
    trainable: bool = False
    array: np.ndarray[Any, Any] | None = None
    owner: Any = None
    version: int = 0  # counts the writes made on the host, so that executors know when to upload
    changes: ClassVar[int] = 0  # counts the writes and the changes of owner of all states

    @property
    def host_owned(self) -> bool:
        """Whether only the host advances it."""
        return self.role in ("COUNTER", "RNG")

    def read(self) -> np.ndarray[Any, Any]:
        """The newest value, as a host array that must not be changed."""
        owner = self.owner
        if owner is not None:
            runs = owner.runs
            array: np.ndarray[Any, Any] = owner.fetch(self)     # may wait, and let others in
            if self.owner is not owner:
                return self.read()
            if owner.runs != runs:
                return array        # what it was when it was asked for; the device has a newer value by now
            self.write(array)
            owner.clean(self)
        if self.array is None:
            raise ValueError(f"state {self.name!r} has no value yet")
        return self.array

    def write(self, array: np.ndarray[Any, Any]) -> None:
        """Gives it a new value on the host."""
        self.array = array
        self.owner = None
        self.version += 1
        State.changes += 1

    def give(self, owner: Any) -> None:
        """From now on the newest value is on a device."""
        if self.owner is not owner:
            self.owner = owner
            State.changes += 1


class Value(Tensor):
    """One value of a graph: an input, a state at entry, a constant, or an output of a node."""

    __slots__ = ("__weakref__", "constant", "dtype", "index", "label", "node", "sizes", "state")

    def __init__(
        self,
        sizes: Shape,
        dtype: DType,
        *,
        node: Node | None = None,
        index: int = 0,
        label: str = "",
        constant: np.ndarray[Any, Any] | None = None,
        state: State | None = None,
    ) -> None:
        self.sizes, self.dtype = tuple(sizes), dtype
        self.node, self.index, self.label = node, index, label
        self.constant, self.state = constant, state

    @property
    def spec(self) -> Spec:
        """Shape and dtype."""
        return Spec(self.sizes, self.dtype)

    @property
    def name(self) -> str:
        return self.label or (f"{self.node.op.name}:{self.index}" if self.node else "value")

    __hash__ = object.__hash__

    def __repr__(self) -> str:
        return f"<tf.Tensor {self.name!r} shape={self.shape} dtype={self.dtype.name} (traced)>"


class Node:
    """One op applied to values. `where` says which line of the user's made it; it never enters a file."""

    __slots__ = ("attrs", "inputs", "op", "outputs", "where")

    def __init__(
        self, op: Op, inputs: Sequence[Value | None], attrs: dict[str, Any], specs: Sequence[Spec], where: str = ""
    ) -> None:
        self.op, self.inputs, self.attrs, self.where = op, tuple(inputs), attrs, where
        self.outputs = tuple(Value(s.shape, s.dtype, node=self, index=i) for i, s in enumerate(specs))

    def __repr__(self) -> str:
        return f"{', '.join(f'{v.dtype.name}{list(v.sizes)}' for v in self.outputs)} = {self.op.name}{self.attrs or ''}"


@dataclass(frozen=True)
class Graph:
    """Inputs, nodes in execution order, outputs; `writes` are the states that get new values when all is done,
    `advances` the
    host-owned states and by how much they move."""

    name: str
    inputs: tuple[Value, ...]
    nodes: tuple[Node, ...]
    outputs: tuple[Value, ...]
    writes: tuple[tuple[State, Value], ...] = ()
    advances: tuple[tuple[State, Size], ...] = ()

    def with_(self, **changes: Any) -> Graph:
        """A copy with some fields exchanged."""
        return replace(self, **changes)

    @property
    def results(self) -> tuple[Value, ...]:
        """Everything that must be computed: outputs, then written values."""
        return self.outputs + tuple(v for _, v in self.writes)

    def leaves(self) -> list[Value]:
        """Values that no node makes and that are used, each once: inputs first, then states and constants as they
        occur.
        """
        found = dict.fromkeys(self.inputs)
        for v in [*(v for n in self.nodes for v in n.inputs if v is not None), *self.results]:
            if v.node is None:
                found.setdefault(v)
        return list(found)

    def states(self) -> list[State]:
        """Every state that is read, written or advanced, each once."""
        found = dict.fromkeys(v.state for v in self.leaves() if v.state is not None)
        for s in [*(s for s, _ in self.writes), *(s for s, _ in self.advances)]:
            found.setdefault(s)
        return list(found)


@dataclass
class Rewriter:
    """Rebuilds a graph: `replaced` maps old values to new ones; nodes whose inputs changed are made again."""

    replaced: dict[Value, Value] = field(default_factory=dict)
    nodes: list[Node] = field(default_factory=list)

    def get(self, value: Value | None) -> Value | None:
        """What stands for an old value now."""
        return None if value is None else self.replaced.get(value, value)

    def keep(self, node: Node) -> None:
        """Takes a node over, with its inputs exchanged where they changed."""
        inputs = tuple(self.get(v) for v in node.inputs)
        if all(a is b for a, b in zip(inputs, node.inputs, strict=True)):
            self.nodes.append(node)
            return
        made = Node(node.op, inputs, node.attrs, [v.spec for v in node.outputs], node.where)
        self.replaced.update(zip(node.outputs, made.outputs, strict=True))
        self.nodes.append(made)

    def finish(self, graph: Graph) -> Graph:
        """The new graph: old inputs, the nodes made, outputs and writes exchanged."""
        return graph.with_(
            nodes=tuple(self.nodes),
            outputs=tuple(self.get(v) for v in graph.outputs),
            writes=tuple((s, self.get(v)) for s, v in graph.writes),
        )


def uses(graph: Graph) -> dict[Value, list[Node]]:
    """The nodes that read each value."""
    found: dict[Value, list[Node]] = {}
    for node in graph.nodes:
        for v in dict.fromkeys(node.inputs):
            if v is not None:
                found.setdefault(v, []).append(node)
    return found


def reachable(results: Iterable[Value]) -> list[Node]:
    """The nodes that the results need, operands first."""
    done: dict[Node, None] = {}
    stack: list[tuple[Node, bool]] = [(v.node, False) for v in reversed(list(results)) if v.node is not None]
    while stack:
        node, ready = stack.pop()
        if node in done:
            continue
        if ready:
            done[node] = None
            continue
        stack.append((node, True))
        stack.extend(
            (v.node, False)
            for v in reversed(node.inputs)
            if v is not None and v.node is not None and v.node not in done
        )
    return list(done)


Pass = Callable[[Graph], Graph]
