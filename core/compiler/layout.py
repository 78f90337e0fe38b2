"""Where state lies: chunks of neighbouring variables, the same for all programs of a model.

Variables that one optimizer updates in the same way are one chunk, its slots and gradients mirror the offsets, so the
whole update is one kernel over flat arrays. Everything else that a device writes or reads is in a chunk of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ..graph.ir import Graph, Node, State, Value
from .fuse import is_step

ALIGNMENT = 256  # bytes: WebGPU's binding alignment
LARGEST_CHUNK = 128 << 20
GRADIENT = "gradient"


@dataclass(eq=False)
class Chunk:
    """Neighbouring states: offsets in bytes, each a multiple of ALIGNMENT; `size` in bytes."""

    key: str
    offsets: dict[State, int] = field(default_factory=dict)
    size: int = 0

    def add(self, state: State) -> None:
        """Places a state at the end."""
        self.offsets[state] = self.size
        self.size += padded(state.shape)


@dataclass(eq=False)
class StepGroup:
    """Optimizer nodes that become one kernel: same op, attributes and scalars; `chunks` are those of the variables
    and slots.
    """

    nodes: list[Node]
    chunks: list[Chunk]

    @property
    def key(self) -> str:
        """The name of the gradients' chunk."""
        return f"{self.chunks[0].key}:{GRADIENT}"


@dataclass
class Layout:
    """All chunks of a model, and for each graph (by position) its merged optimizer steps."""

    chunks: list[Chunk] = field(default_factory=list)
    steps: list[list[StepGroup]] = field(default_factory=list)

    def find(self, state: State) -> Chunk:
        """The chunk of a state."""
        return next(c for c in self.chunks if state in c.offsets)


def padded(shape: Sequence[int]) -> int:
    """Bytes of a tensor of 4-byte elements, rounded up to the alignment; never 0."""
    size = 4
    for d in shape:
        size *= d
    return max(ALIGNMENT, -(-size // ALIGNMENT) * ALIGNMENT)


def lay_out(graphs: Sequence[Graph], largest: int = LARGEST_CHUNK) -> Layout:
    """The layout of all states that the graphs touch on a device."""
    layout = Layout()
    placed: dict[State, None] = {}
    for graph in graphs:
        made = []
        for nodes in _step_groups(graph, placed, largest):
            slots = len(nodes[0].outputs)
            chunks = [Chunk("") for _ in range(slots)]
            for i, chunk in enumerate(chunks):
                chunk.key = f"weights{len(layout.chunks)}" if i == 0 else f"{chunks[0].key}:slot{i}"
                for node in nodes:
                    chunk.add(node.inputs[i].state)
                    placed[node.inputs[i].state] = None
            layout.chunks += chunks
            made.append(StepGroup(nodes, chunks))
        layout.steps.append(made)
    rest = Chunk("state0")
    for state in dict.fromkeys(s for g in graphs for s in g.states()):
        if state.host_owned or state in placed:
            continue
        if rest.size and rest.size + padded(state.shape) > largest:
            layout.chunks.append(rest)
            rest = Chunk(f"state{len(layout.chunks)}")
        rest.add(state)
    if rest.offsets:
        layout.chunks.append(rest)
    return layout


def _step_groups(graph: Graph, placed: dict[State, None], largest: int) -> list[list[Node]]:
    """Optimizer nodes to be merged: their variables and slots are states that they alone write."""
    writes = dict((v, s) for s, v in graph.writes)
    groups: dict[object, list[Node]] = {}
    depth: dict[Value, int] = {}  # steps before a value, one after another: only steps at equal depth may be one
    for node in graph.nodes:
        before = max((depth.get(v, 0) for v in node.inputs if v is not None), default=0)
        depth.update((v, before + is_step(node)) for v in node.outputs)
        if not is_step(node):
            continue
        count = len(node.outputs)
        states = [v.state if v is not None else None for v in node.inputs[:count]]
        own = all(
            s is not None and s not in placed and writes.get(v) is s for s, v in zip(states, node.outputs, strict=True)
        )
        if own:
            scalars = tuple(id(v) for v in node.inputs[count + 1 :])
            groups.setdefault((node.op.name, tuple(sorted(node.attrs.items())), scalars, before), []).append(node)
    cut: list[list[Node]] = []
    for nodes in groups.values():
        current: list[Node] = []
        size = 0
        for node in nodes:
            more = padded(node.inputs[0].sizes)  # type: ignore[union-attr]
            if current and size + more > largest:
                cut.append(current)
                current, size = [], 0
            current.append(node)
            size += more
        cut.append(current)
    return cut
