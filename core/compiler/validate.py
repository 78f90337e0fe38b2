"""Runs the kernels of a schedule one by one with the kernel interpreter and compares what they store with the graph's.

    report = validate(graph, arrays)
    assert report.ok, report

A wrong result of a compiled program is found at the kernel that makes it. Beside values, every kernel is checked for
what only shows where points run at the same time: a buffer that is read at another element than the one stored there.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..graph.interpret import bind, interpret
from ..graph.ir import Graph, State, Value
from ..kernel.index import linear
from ..kernel.interpret import run_kernel
from ..kernel.ir import Expr, Kernel, Store, store_roots, walk
from ..kernel.split import Scratch
from ..shapes import evaluate
from .layout import Layout, lay_out
from .loops import START, Part, Repeat, flat, shifted
from .loops_fuse import fuse_loops
from .passes import run_passes
from .schedule import Place, Schedule, schedule
from .targets import wgsl_stages

__all__ = ["KernelReport", "Report", "validate"]

_STORAGE = {"f32": np.float32, "i32": np.int32, "u32": np.uint32}
MAX_BUFFERS = 8


@dataclass
class KernelReport:
    """One kernel: its name, how many buffers it binds, the largest difference in what it stores, and what is wrong."""

    name: str
    buffers: int
    error: float = 0.0
    problems: list[str] = field(default_factory=list)


@dataclass
class Report:
    """All kernels in order, and what is wrong with the results of the whole graph."""

    kernels: list[KernelReport] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems and not any(k.problems for k in self.kernels)

    def __str__(self) -> str:
        lines = [f"{len(self.kernels)} kernels"]
        for i, k in enumerate(self.kernels):
            lines.append(f"{i:4} {k.name}: {k.buffers} buffers, largest difference {k.error:.3g}")
            lines += [f"     ! {problem}" for problem in k.problems]
        return "\n".join([*lines, *(f"! {problem}" for problem in self.problems)])


def validate(
    graph: Graph,
    arrays: Sequence[np.ndarray[Any, Any]],
    *,
    skip: Collection[str] = (),
    fuse: bool = True,
    stages: bool = False,
    rtol: float = 1e-4,
    atol: float = 1e-5,
) -> Report:
    """Compiles a graph as `compile_model` does, runs the kernels on these inputs, and compares.

    Args:
        graph: as it was traced. States are read, never written.
        arrays: one per input.
        skip, fuse: as in `compile_model`.
        stages: split long reductions and join kernels of loops as the WGSL target does.
        rtol, atol: what differs by more is a problem; atol counts times the largest expected magnitude (at least 1).
    """
    lowered = run_passes(graph, skip, check=True)
    layout = lay_out([lowered])
    plan = schedule(lowered, layout.steps[0], fuse)
    run = _Run(lowered, layout, arrays, rtol, atol)
    run.entries(fuse_loops(plan.kernels) if stages and fuse else plan.kernels, stages, ())
    run.compare_results(graph, plan)
    return run.report


class _Run:
    """Memory by place, and the expected contents of each."""

    def __init__(self, graph: Graph, layout: Layout, arrays: Sequence[Any], rtol: float, atol: float) -> None:
        self.graph, self.layout, self.rtol, self.atol = graph, layout, rtol, atol
        self.arrays = [np.asarray(a) for a in arrays]
        self.symbols = bind([v.spec for v in graph.inputs], self.arrays)
        self.report = Report()
        self.memory: dict[Any, np.ndarray[Any, Any]] = {}
        values = list(dict.fromkeys(v for n in graph.nodes for v in n.outputs))
        outputs, writes = interpret(graph.with_(outputs=tuple(values)), self.arrays, plain=True)
        self.known: dict[Value, Any] = dict(zip(values, outputs, strict=True))
        self.known |= dict(zip(graph.inputs, self.arrays, strict=True))
        self.written = {s: np.asarray(a) for s, a in writes}
        self._place_states()

    def _place_states(self) -> None:
        for chunk in self.layout.chunks:
            whole = self.memory[Place("chunk", chunk.key)] = np.zeros(chunk.size // 4, np.uint32)
            for state, offset in chunk.offsets.items():
                old = stored(state.read())
                part = whole[offset // 4 : offset // 4 + old.size].view(old.dtype)
                part[:] = old
                self.memory[Place("state", state)] = part
        for steps in self.layout.steps:
            for step in steps:
                whole = self.memory[Place("private", step.key)] = np.zeros(step.chunks[0].size // 4, np.float32)
                for state, offset in step.chunks[0].offsets.items():
                    size = int(np.prod(state.shape, dtype=int))
                    self.memory[Place("gradient", (step.key, state))] = whole[offset // 4 : offset // 4 + size]

    # one kernel

    def entries(self, entries: Sequence[Any], stages: bool, iterations: tuple[int, ...]) -> None:
        """Kernels and loops of them, in order."""
        for entry in entries:
            if isinstance(entry, Repeat):
                for n in range(evaluate(entry.count, self.symbols)):
                    self.entries(entry.body, stages, (*iterations, n))
                if not iterations:
                    self._compare_stacks(entry)
                continue
            closed = shifted(entry)
            pairs = wgsl_stages(closed.kernel, closed.values) if stages else [(closed.kernel, closed.values)]
            for i, (kernel, places) in enumerate(pairs):
                later = {p for k, q in pairs[i + 1 :] for p, b in zip(q, k.buffers, strict=True) if b.written}
                self.kernel(kernel, places, iterations, later)

    def kernel(
        self, kernel: Kernel, places: Sequence[Any], iterations: tuple[int, ...] = (), later: Collection[Any] = ()
    ) -> None:
        """Runs it and compares what it stored; inside a loop what it leads to will show. `later`: what the stages
        after it go on with.
        """
        made = KernelReport(kernel.name, len(kernel.buffers))
        if not any(iterations):  # in the first iteration: a kernel of a loop is reported once
            self.report.kernels.append(made)
        if len(kernel.buffers) > MAX_BUFFERS:
            made.problems.append(f"binds {len(kernel.buffers)} buffers, devices allow {MAX_BUFFERS}")
        arrays = [self._memory(p, b.dtype) for p, b in zip(places, kernel.buffers, strict=True)]
        made.problems += [*_overlaps(places, arrays), *([] if iterations else hazards(kernel))]
        scalars = {s.key: self._words(s.key).view(_STORAGE[s.dtype]) for s in kernel.scalars}
        scalars["iterations"] = iterations
        try:
            run_kernel(kernel, arrays, self.symbols, scalars)
        except (IndexError, ValueError) as error:
            made.problems.append(str(error))
            return
        for place, buffer in zip(places, kernel.buffers, strict=True):
            last = not iterations and kernel.name != START and place not in later
            if buffer.written and isinstance(place, Place) and last:
                self._compare(place, made)

    def _compare_stacks(self, loop: Repeat) -> None:
        """What a loop has stored: its results, and the versions of its carried values."""
        made = KernelReport("loop", 0)
        self.report.kernels.append(made)
        stored = [v.place for k in flat(loop.body) for v, b in zip(k.values, k.kernel.buffers, strict=True)
                  if b.written and isinstance(v, Part)]
        for place in dict.fromkeys(stored):
            if place in self.memory:
                self._compare(place, made)

    def _memory(self, place: Any, dtype: str) -> np.ndarray[Any, Any]:
        found = self.memory.get(place)
        if found is None:
            found = self.memory[place] = self._make(place, dtype)
        return found.view(_STORAGE[dtype])

    def _make(self, place: Any, dtype: str) -> np.ndarray[Any, Any]:
        if isinstance(place, Scratch):
            return garbage(evaluate(place.elements, self.symbols), dtype)
        if place.kind == "constant":
            return stored(place.what.constant)
        if place.kind == "input":
            return stored(self.known[place.what])
        value = self.graph.outputs[place.what] if place.kind == "output" else place.what
        return garbage(int(np.prod([evaluate(d, self.symbols) for d in value.sizes], dtype=int)), dtype)

    def _words(self, key: Any) -> np.ndarray[Any, Any]:
        array = key.read() if isinstance(key, State) else self.known[key]
        if isinstance(key, State) and array.dtype.itemsize == 8:
            return np.ascontiguousarray(array).reshape(-1).view(np.uint32)
        return stored(array).view(np.uint32)

    def _compare(self, place: Place, made: KernelReport) -> None:
        for name, actual, expected in self._pairs(place):
            made.error = max(made.error, difference(actual, expected))
            if text := self._mismatch(actual, expected):
                made.problems.append(f"{name}: {text}")

    def _pairs(self, place: Place) -> list[tuple[str, Any, Any]]:
        """(name, actual, expected) of what a place should hold after its kernel."""
        if place.kind == "chunk":
            chunk = next(c for c in self.layout.chunks if c.key == place.what)
            return [(f"state {s.name}", self.memory[Place("state", s)], self.written[s]) for s in chunk.offsets]
        actual = self.memory[place]
        if place.kind == "scratch":
            if place.what not in self.known:  # a copy of an old state: what reads it will show
                return []
            return [(f"value {place.what.name}", actual, self.known[place.what])]
        if place.kind == "output":
            return [(f"output {place.what}", actual, self._value(self.graph.outputs[place.what]))]
        if place.kind == "state":
            return [(f"state {place.what.name}", actual, self.written[place.what])]
        if place.kind == "gradient":
            key, state = place.what
            nodes = next(s.nodes for steps in self.layout.steps for s in steps if s.key == key)
            node = next(n for n in nodes if n.inputs[0].state is state)  # type: ignore[union-attr]
            return [(f"gradient of {state.name}", actual, self._value(node.inputs[len(node.outputs)]))]
        return []

    def _value(self, value: Any) -> Any:
        if value.constant is not None:
            return value.constant
        return value.state.read() if value.state is not None else self.known[value]

    def _mismatch(self, actual: Any, expected: Any) -> str:
        wanted = stored(expected)
        got = actual.view(wanted.dtype)
        if wanted.dtype != np.float32:
            bad = np.flatnonzero(got != wanted)
        else:
            finite = np.abs(wanted[np.isfinite(wanted)])
            scale = max(1.0, float(finite.max(initial=0.0)))
            bad = np.flatnonzero(~np.isclose(got, wanted, rtol=self.rtol, atol=self.atol * scale, equal_nan=True))
        if not bad.size:
            return ""
        i = int(bad[0])
        return f"{bad.size} of {wanted.size} elements differ; element {i} is {got[i]}, expected {wanted[i]}"

    # the whole

    def compare_results(self, original: Graph, plan: Schedule) -> None:
        """What memory holds at the end, against the graph as it was before any pass."""
        outputs, writes = interpret(original, self.arrays, plain=True)
        for i, expected in enumerate(outputs):
            self._final(f"output {i}", Place("output", i), self.graph.outputs[i], expected)
        for state, expected in writes:
            if not state.host_owned:
                self._final(f"state {state.name}", Place("state", state), None, expected)

    def _final(self, name: str, place: Place, value: Value | None, expected: Any) -> None:
        actual = self.memory.get(place)
        if actual is None:
            self.report.problems.append(f"{name} ({value!r}) is stored by no kernel")
        elif text := self._mismatch(actual, expected):
            self.report.problems.append(f"{name} at the end: {text}")


def stored(array: Any) -> np.ndarray[Any, Any]:
    """A flat copy as a device holds it: 4 bytes per element."""
    array = np.asarray(array)
    unsigned = array.dtype.kind == "b" or array.dtype == np.uint32
    kept = np.float32 if array.dtype.kind == "f" else np.uint32 if unsigned else np.int32
    return array.astype(kept).reshape(-1).copy()


def garbage(size: int, dtype: str) -> np.ndarray[Any, Any]:
    """Memory that nothing was stored in yet: reading it shows."""
    return np.full(size, 0x7FC0_DEAD, np.uint32).view(_STORAGE[dtype])


def difference(actual: Any, expected: Any) -> float:
    """The largest finite difference."""
    wanted = stored(expected)
    with np.errstate(all="ignore"):
        gap = np.abs(actual.view(wanted.dtype).astype(np.float64) - wanted.astype(np.float64))
    return float(gap[np.isfinite(gap)].max(initial=0.0))


def _overlaps(places: Sequence[Any], arrays: Sequence[np.ndarray[Any, Any]]) -> list[str]:
    """The same memory bound twice, which WebGPU refuses."""
    return [
        f"binds the same memory as {p.kind} {p.what!r} and {q.kind} {q.what!r}"
        for i, (p, a) in enumerate(zip(places, arrays, strict=True))
        for q, b in list(zip(places, arrays, strict=True))[:i]
        if np.shares_memory(a, b)
    ]


def hazards(kernel: Kernel) -> list[str]:
    """Reads of a buffer that the kernel also stores, at another element than the same point stores.

    Points run in no order, so such a read sees the old value or the new one. Also reads in later loops than its own.
    """
    problems = []
    for s in kernel.stores:
        for reader in kernel.stores:
            for x in walk(store_roots([reader])):
                if x.op == "load" and x.attr == s.buffer:
                    problems += _hazard(kernel, s, reader, x)
    return list(dict.fromkeys(problems))


def _own(kernel: Kernel, s: Store, x: Expr) -> bool:
    """Whether each point stores and reads elements that no other point does: both places go with its axes alike."""

    def own(index: Expr) -> dict[Expr, int]:
        return {t: f for t, f in linear(index)[0].items() if t.op == "axis" and t.attr in kernel.axes}

    return own(s.index) == own(x.args[0]) and set(own(s.index)) == {x.ir.axis(a) for a in kernel.axes if a.extent != 1}


def _hazard(kernel: Kernel, s: Store, reader: Store, x: Expr) -> list[str]:
    buffer = kernel.buffers[s.buffer].name
    order = kernel.stores.index
    if s.value.op == "const" and s.loops and order(s) < order(reader) and _own(kernel, s, x):
        return []
    if x.args[0] is not s.index:
        return [f"reads {buffer} at {x.args[0]!r} and stores it at {s.index!r}"]
    if s.valid is not None and reader is not s:
        return [f"stores {buffer} at some of the points that read it"]
    # a read that varies along the store's loops must be in that loop nest: a later nest runs when all of it is stored
    if x.axes & frozenset(s.loops) and reader.loops != s.loops and kernel.stores.index(reader) > kernel.stores.index(s):
        return [f"stores {buffer} in the loops {s.loops} and reads it again in the later loops {reader.loops}"]
    return []
