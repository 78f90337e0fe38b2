"""A schedule as a program: regions for every place, steps for every kernel, code from the emitter of the target."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..graph.ir import Graph, Value
from ..kernel.ir import Kernel
from ..kernel.split import Scratch
from ..program import format as fmt
from ..program.sizes import LARGEST
from ..shapes import Dim, Size, num_elements
from . import targets
from .kernels import Closed
from .layout import Chunk, Layout
from .loops import Part, Repeat, dims_of, flat, shifted
from .loops_fuse import fuse_loops
from .schedule import Place, Schedule

if TYPE_CHECKING:
    from .compile import Assembly

_STORAGE = {"f32": fmt.DType.F32, "i32": fmt.DType.I32, "u32": fmt.DType.U32}


def build_program(
    assembly: Assembly,
    graph: Graph,
    layout: Layout,
    position: int,
    plan: Schedule,
    target: str,
    signature: fmt.Signature,
) -> fmt.Program:
    """The program of one signature for "wasm", "wgsl", or "wgsl:shared" for a GPU that likes this family of kernels."""
    builder = _Builder(assembly, graph, layout, position, signature)
    target, _, builder.family = target.partition(":")
    program = builder.program
    program.graph = signature.graph
    program.target = fmt.Target.WASM if target == "wasm" else fmt.Target.WGSL
    if target == "wasm":
        builder.emit_wasm(plan)
    else:
        builder.emit_wgsl(plan)
    return program


class _Builder:
    def __init__(
        self, assembly: Assembly, graph: Graph, layout: Layout, position: int, signature: fmt.Signature
    ) -> None:
        self.assembly, self.graph, self.layout, self.signature = assembly, graph, layout, signature
        self.steps = layout.steps[position]
        self.family = ""
        self.program = fmt.Program(fmt.Target.WASM)
        self.places: dict[Any, int] = {}
        self.chunks: dict[str, int] = {}

    # -- emitting ------------------------------------------------------------------------------------------------------

    def emit_wasm(self, plan: Schedule) -> None:
        """One module for all kernels; a kernel's workspace is a scratch region bound last."""
        kernels: list[Kernel] = []
        codes = self._wasm_entries(plan.kernels, kernels, [])
        known = self.assembly.emitted["wasm"]
        self.program.module = targets.wasm_module(kernels, codes, len(self.program.regions), known)

    def _wasm_entries(
        self, entries: Sequence[Any], kernels: list[Kernel], needed: list[Dim], stored_inside: Any = None
    ) -> list[Any]:
        """Steps for the program, and for the module. `needed`: sizes that the first kernel must bring besides;
        `stored_inside`: the places that the loop around them stores.
        """
        codes: list[Any] = []
        for entry in entries:
            if isinstance(entry, Repeat):
                step = self._loop(entry)
                stored = {v.place if isinstance(v, Part) else v for k in flat(entry.body)
                          for v, b in zip(k.values, k.kernel.buffers, strict=True) if b.written}
                inside = self._wasm_entries(entry.body, kernels, [*needed, *dims_of(entry.count, [])], stored)
                codes.append(targets.wasm_loop(entry.count, inside))
                self._end(step)
            else:
                codes.append((*self._wasm_step(entry, kernels, needed), self._is_kept(entry, stored_inside)))
            needed = []
        return codes

    def _is_kept(self, closed: Closed, stored: Any) -> bool:
        """Whether the factor that a contraction packs is the same in every iteration of the loop around it."""
        factor = None if stored is None else targets.wasm_factor(closed.kernel)
        return factor is not None and not any(
            isinstance(closed.values[i], Part) or closed.values[i] in stored for i in factor
        )

    def _wasm_step(self, closed: Closed, kernels: list[Kernel], needed: Sequence[Dim]) -> Any:
        own = closed.kernel.sizes
        more = dict.fromkeys(d for d in (*needed, *dims_of(0, [closed])) if d not in own)
        kernel = replace(closed.kernel, sizes=(*own, *more)) if more else closed.kernel
        places = [v.place if isinstance(v, Part) else v for v in closed.values]
        regions = [self._region(p, b.dtype) for p, b in zip(places, kernel.buffers, strict=True)]
        bound: dict[int, bool] = {}  # parts of one region are one binding
        for r, b in zip(regions, kernel.buffers, strict=True):
            bound[r] = bound.get(r, False) or b.written
        moving: list[Any] = [targets.wasm_moving(r, v.shifts) if isinstance(v, Part) else r
                             for r, v in zip(regions, closed.values, strict=True)]
        size = targets.wasm_workspace(kernel)
        if size != 0:
            moving.append(self._add(fmt.Place.SCRATCH, size, fmt.DType.F32))
            bound[moving[-1]] = True
        number = len(kernels)
        kernels.append(kernel)
        self.program.kernels.append(fmt.Kernel(kernel.name, f"k{number}", None, b"", len(bound)))
        self._step(kernel, number, list(bound), (1,), kernel.sizes, list(bound.values()))
        return number, moving

    def emit_wgsl(self, plan: Schedule) -> None:
        """One shader per distinct text."""
        self._wgsl_entries(fuse_loops(plan.kernels) if plan.fused else plan.kernels, {})

    def _wgsl_entries(self, entries: Sequence[Any], known: dict[str, int]) -> None:
        for entry in entries:
            if isinstance(entry, Repeat):
                step = self._loop(entry)
                self._wgsl_entries(entry.body, known)
                self._end(step)
                continue
            closed = shifted(entry)
            for kernel, places in targets.wgsl_stages(closed.kernel, closed.values):
                self._wgsl_step(kernel, places, known)

    def _wgsl_step(self, kernel: Kernel, places: Sequence[Any], known: dict[str, int]) -> None:
        from hashlib import sha256

        regions = [self._region(p, kernel.buffers[i].dtype) for i, p in enumerate(places)]
        lengths = [self._elements(r) for r in regions]
        emitted = targets.wgsl(kernel, lengths, self.family, self.assembly.emitted["wgsl"])
        number = known.get(emitted.code)
        if number is None:
            code = emitted.code.encode()
            number = known[emitted.code] = len(self.program.kernels)
            self.program.kernels.append(
                fmt.Kernel(kernel.name, emitted.entry, code, sha256(code).digest(), len(regions))
            )
        for sizes in emitted.launches():
            self._step(kernel, number, regions, emitted.grid, sizes, [b.written for b in kernel.buffers])
            self.program.steps[-1].flops = self._bounded(emitted.flops)

    def _bounded(self, size: Size) -> int:
        """The dim of an estimate, or 0 where it could be larger than any size in a file may be."""
        most = size if isinstance(size, int) else size.evaluate({s.args[0]: s.args[2] for s in size.symbols()})
        return self.assembly.dims.index(size) if most <= LARGEST else 0

    def _elements(self, region: int) -> int | None:
        """How many elements of 4 bytes a region has, where no size is involved."""
        dim = self.assembly.model.dims[self.program.regions[region].bytes]
        return dim.a // 4 if dim.op == fmt.DimOp.CONST else None

    def _loop(self, loop: Repeat) -> int:
        """Opens a LOOP; `_end` says how long its body is."""
        self.program.steps.append(fmt.Step(fmt.StepKind.LOOP, count=self.assembly.dims.index(loop.count)))
        return len(self.program.steps) - 1

    def _end(self, number: int) -> None:
        self.program.steps[number].body = len(self.program.steps) - 1 - number

    def _step(
        self, kernel: Kernel, number: int, regions: list[int], grid: Sequence[Size], sizes: Sequence[Size],
        written: Sequence[bool],
    ) -> None:
        dims = self.assembly.dims
        writes = sum(1 << i for i, w in enumerate(written) if w)
        scalars = [self._scalar_tensor(s.key) for s in kernel.scalars]
        self.program.steps.append(
            fmt.Step(fmt.StepKind.DISPATCH, number, regions, dims.all(grid), dims.all(sizes), scalars, writes=writes)
        )

    def _scalar_tensor(self, key: Any) -> int:
        if isinstance(key, Value):
            return self.assembly.tensor(key, key.label)
        return self.assembly.state(key)

    # -- regions -------------------------------------------------------------------------------------------------------

    def _region(self, place: Any, dtype: str) -> int:
        found = self.places.get(place)
        if found is None:
            found = self.places[place] = self._make(place, dtype)
        return found

    def _make(self, place: Any, dtype: str) -> int:
        storage = _STORAGE[dtype]
        if isinstance(place, Scratch):
            return self._add(fmt.Place.SCRATCH, 4 * place.elements, storage)
        assert isinstance(place, Place)
        what = place.what
        if place.kind == "scratch":
            return self._add(fmt.Place.SCRATCH, _bytes(what), storage)
        if place.kind == "input":
            return self._add(fmt.Place.INPUT, _bytes(what), storage, self.assembly.tensor(what, what.label))
        if place.kind == "constant":
            return self._add(fmt.Place.CONSTANT, _bytes(what), storage, self.assembly.constant(what))
        if place.kind == "output":
            return self._add(
                fmt.Place.OUTPUT, _bytes(self.graph.outputs[what]), storage, self.signature.outputs[what].tensor
            )
        if place.kind == "chunk":
            return self._chunk(next(c for c in self.layout.chunks if c.key == what))
        if place.kind == "private":
            return self._gradients(what)
        if place.kind == "gradient":
            key, state = place.what
            chunk = next(s.chunks[0] for s in self.steps if s.key == key)
            return self._add(
                fmt.Place.STATE, _bytes(state), storage, parent=self._gradients(key), offset=chunk.offsets[state]
            )
        chunk = self.layout.find(what)
        self._chunk(chunk)
        return self.places[Place("state", what)]

    def _chunk(self, chunk: Chunk) -> int:
        """The region of a chunk; the places of all its states come with it, so that every program agrees on them."""
        found = self.chunks.get(chunk.key)
        if found is None:
            found = self.chunks[chunk.key] = self._add(fmt.Place.STATE, chunk.size, fmt.DType.F32)
            for state, offset in chunk.offsets.items():
                storage = (
                    fmt.DType.F32
                    if state.dtype.is_floating
                    else fmt.DType.U32
                    if state.dtype.name in ("bool", "uint32")
                    else fmt.DType.I32
                )
                made = self._add(fmt.Place.STATE, _bytes(state), storage, self.assembly.state(state), found, offset)
                self.places[Place("state", state)] = made
        return found

    def _gradients(self, key: str) -> int:
        found = self.chunks.get(key)
        if found is None:
            size = next(s.chunks[0].size for s in self.steps if s.key == key)
            found = self.chunks[key] = self._add(fmt.Place.STATE, size, fmt.DType.F32)
        return found

    def _add(
        self, place: fmt.Place, size: Size, storage: fmt.DType, tensor: int = -1, parent: int = -1, offset: int = 0
    ) -> int:
        dims = self.assembly.dims
        self.program.regions.append(fmt.Region(place, dims.index(size), storage, tensor, parent, dims.index(offset)))
        return len(self.program.regions) - 1


def _bytes(value: Any) -> Size:
    """Bytes on a device: 4 per element."""
    shape = value.sizes if isinstance(value, Value) else value.shape
    return 4 * num_elements(shape)
