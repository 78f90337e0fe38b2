"""Runs the signatures of a model on a device: sizes, inputs, host-owned values, outputs; then one `Device.run`.

    executor = load(model, "wasm")
    result = executor.run("train_step", {"x": x, "y": y, "learning_rate": 1e-3})
    loss = float(result["loss"])            # waits for the device only here

Everything that depends on sizes is kept for the last 4 sets of sizes of each program; a run with known sizes makes
nothing new.
"""

from __future__ import annotations

import weakref
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from ..device import Device, Feed, Layout, Span, Stats
from ..errors import DeviceLimitError, FailedPreconditionError, InternalError, InvalidArgumentError, NoExecutorError
from ..kernel.bindings import check_bindings, check_bound
from ..program.format import DType, Model, Place, Port, Program, Signature, Target
from ..program.plan import MAX_CHUNK
from ..program.sizes import evaluate
from .arena import StateArena
from .binding import HostSlots, Ports, constant_sizes, is_host_owned, lay_out, plan_memory, suits
from .discover import device_name, open_device
from .outputs import Unread
from .state import ModelState
from .values import Output, numpy_dtype, to_storage

__all__ = ["Executor", "Inputs", "load"]

Inputs = Mapping[str, Any] | None

KEPT_SIZES = 4


@dataclass(eq=False)
class Loaded:
    """A program on the device: compiled kernels, fixed memory, and what is bound for recent sizes."""

    program: Program
    index: int
    handle: Any
    fixed: dict[int, Span]
    slots: HostSlots
    bounds: OrderedDict[tuple[tuple[int, int], ...], Bound] = field(default_factory=OrderedDict)


@dataclass(eq=False)
class Bound:
    """A program at one set of sizes."""

    loaded: Loaded
    handle: Any
    layout: Layout
    dims: list[int]
    shapes: list[tuple[int, ...]]
    buffers: list[Any]
    feeds: list[tuple[int, int, DType, str]]                    # (port, region, storage, how errors name it)
    results: list[Result]
    advance: list[tuple[Hashable, int | None, bool]]            # see `ModelState.advance`
    fills: list[tuple[float, Any]]                              # per port: the default and its dtype
    words: np.ndarray                                           # the host words of a run
    slots: list[tuple[np.ndarray, int, Hashable]]               # (where in them, a port or -1, else the key of a state)
    key: tuple[tuple[int, int], ...] = ()                       # the sizes
    defaults: dict[int, np.ndarray] = field(default_factory=dict)

    def filled(self, given: Sequence[np.ndarray | None]) -> list[np.ndarray]:
        """The inputs with the default in place of each that was not given."""
        return [self._default(port) if array is None else array for port, array in enumerate(given)]

    def _default(self, port: int) -> np.ndarray:
        if port not in self.defaults:
            value, dtype = self.fills[port]
            self.defaults[port] = np.full(self.shapes[port], value, dtype)
        return self.defaults[port]


class Result(NamedTuple):
    """Where an output comes from: a region (copied at once if it is state); without `span` an input or host value."""

    name: str
    shape: tuple[int, ...]
    dtype: DType
    storage: DType
    span: Span | None
    copied: bool
    tensor: int


class Entry:
    """One signature: its ports, the programs that may run it, and what is bound for the shapes it met."""

    def __init__(self, model: Model, signature: Signature, programs: list[int]) -> None:
        self.signature, self.programs = signature, programs
        self.ports = Ports(model, signature)
        self.recent: dict[tuple[Any, ...], Bound] = {}          # by the shapes of the inputs


class Executor:
    """A model on one device. Made by `load`; `close` it, or use it as a context manager."""

    def __init__(self, model: Model, device: Device, arena: StateArena | None = None,
                 state_keys: Mapping[int, Hashable] | None = None) -> None:
        self.model, self.device = model, device
        self._constants = constant_sizes(model)
        limits = device.limits()
        self._max_chunk = min(limits.get(name, MAX_CHUNK) for name in ("maxStorageBufferBindingSize", "maxBufferSize"))
        self._entries = {s.name: Entry(model, s, runnable(model, s, device)) for s in model.signatures}
        used = sorted({index for entry in self._entries.values() for index in entry.programs})
        self._state = ModelState(model, device, arena, state_keys or {}, used, self._constants)
        self._loaded: dict[int, Loaded] = {}
        self._pool: dict[tuple[Hashable, ...], Any] = {}            # grow-only buffers for scratch, inputs and outputs
        self._unread = Unread(device, self._entries)
        self._pause = getattr(device, "pause", None)
        self._closed = False

    def __enter__(self) -> Executor:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @property
    def arena(self) -> StateArena:
        """Where this model's state lives; give it to another `load` to share variables."""
        return self._state.arena

    @property
    def signatures(self) -> list[str]:
        return list(self._entries)

    def stats(self) -> Stats:
        """The device's counters (see `core/device.py`)."""
        return self.device.stats()

    # running

    def run(self, name: str, inputs: Inputs = None, again: Callable[[], Inputs] | None = None) -> dict[str, Output]:
        """Runs a signature once. Outputs stay on the device until they are read.

        `again` makes the same inputs anew, at any later time: with it a run can be repeated after the device was lost.

        Raises:
            InvalidArgumentError: for a missing or unknown input, a wrong dtype, shape or value.
        """
        entry = self._entry(name)
        given = entry.ports.arrays(inputs or {})
        bound = self._bound(entry, given)
        arrays = bound.filled(given)
        for view, port, key in bound.slots:
            view[...] = arrays[port] if port >= 0 else self._state.arena.host[key]
        feeds = [Feed(region, to_storage(arrays[port], storage, where)) for port, region, storage, where in bound.feeds]
        unread = self._unread
        if unread.garbage:
            unread.collect()
        self.device.run(bound.handle, bound.words, feeds, unread.preserve(name))
        outputs = self._outputs(entry, bound, arrays)
        self._state.advance(bound.advance)
        if self._pause is not None:
            self._pause()           # last: others may run this signature meanwhile, and move these outputs aside
        return outputs

    def prepare(self, name: str, inputs: Inputs = None) -> None:
        """Compiles and binds a signature for the sizes of these inputs without running it."""
        entry = self._entry(name)
        self._bound(entry, entry.ports.arrays(inputs or {}))

    def finish(self) -> None:
        """Said after the last of a series of runs; nothing has to be done here."""

    def _entry(self, name: str) -> Entry:
        if self._closed:
            raise FailedPreconditionError("this model was closed. Load it again to run it.")
        if name not in self._entries:
            raise InvalidArgumentError(f"the model has no signature {name!r}; it has {sorted(self._entries)}.")
        return self._entries[name]

    def _bound(self, entry: Entry, arrays: list[np.ndarray | None]) -> Bound:
        """The first program that suits these sizes, bound to them; found or made."""
        shapes_given = tuple([None if a is None else a.shape for a in arrays])
        recent = entry.recent.get(shapes_given)
        if recent is not None:
            if len(recent.loaded.bounds) > 1:
                recent.loaded.bounds.move_to_end(recent.key)
            return recent
        bound = entry.recent[shapes_given] = self._find_bound(entry, arrays)
        return bound

    def _find_bound(self, entry: Entry, arrays: list[np.ndarray | None]) -> Bound:
        values = entry.ports.bind(arrays)
        key = tuple(sorted(values.items()))
        for index in entry.programs:
            loaded = self._loaded.get(index)
            bound = loaded.bounds.get(key) if loaded else None
            if loaded and bound:
                loaded.bounds.move_to_end(key)
                if all(a is None or a.shape == shape for a, shape in zip(arrays, bound.shapes, strict=True)):
                    return bound
        dims = evaluate(self.model.dims, values)
        shapes = entry.ports.check(arrays, dims)
        for index in entry.programs:
            if suits(self.model.programs[index], values, dims):
                loaded = self._load_program(index)
                bound = self._bind(entry, loaded, dims, shapes)
                bound.key = key
                loaded.bounds[key] = bound
                while len(loaded.bounds) > KEPT_SIZES:
                    self._unbind(loaded.bounds.popitem(last=False)[1])
                return bound
        sizes = {self.model.symbols[symbol].name: value for symbol, value in values.items()}
        raise InvalidArgumentError(f"{entry.signature.name}: no program of the model is made for the sizes {sizes}.")

    def _unbind(self, bound: Bound) -> None:
        self.device.unbind(bound.handle)
        for entry in self._entries.values():
            entry.recent = {shapes: other for shapes, other in entry.recent.items() if other is not bound}

    def _load_program(self, index: int) -> Loaded:
        if index not in self._loaded:
            program = self.model.programs[index]
            check_bindings(self.model, program, f"programs[{index}]")
            slots = HostSlots(self.model, program, self._constants)
            handle = self.device.load(program)
            self._loaded[index] = Loaded(program, index, handle, self._state.fixed_spans(index), slots)
        return self._loaded[index]

    def _bind(self, entry: Entry, loaded: Loaded, dims: list[int], shapes: list[tuple[int, ...]]) -> Bound:
        check_bound(self.model, loaded.program, dims, f"programs[{loaded.index}]")
        plan = plan_memory(loaded.program, dims, self._max_chunk, getattr(self.device, "borrows_inputs", False))
        needs: dict[tuple[Hashable, ...], int] = {("scratch", i): size for i, size in enumerate(plan.scratch.chunks)}
        needs |= {("in", loaded.index, i): size for i, size in enumerate(plan.inputs.chunks)}
        needs |= {("out", loaded.index, i): size for i, size in enumerate(plan.outputs.chunks)}
        self._grow(entry, needs)
        buffers = {Place.SCRATCH: [self._pool["scratch", i] for i in range(len(plan.scratch.chunks))],
                   Place.INPUT: [self._pool["in", loaded.index, i] for i in range(len(plan.inputs.chunks))],
                   Place.OUTPUT: [self._pool["out", loaded.index, i] for i in range(len(plan.outputs.chunks))]}
        layout = lay_out(loaded.program, dims, plan, buffers, loaded.fixed, loaded.slots)
        handle = self.device.bind(loaded.handle, layout)
        feeds = [(number, region, storage, entry.ports.where(port))
                 for number, port in enumerate(entry.signature.inputs)
                 for region, storage in regions_of(loaded.program, port.tensor, Place.INPUT)]
        results = [self._result(entry, loaded.program, layout, dims, port) for port in entry.signature.outputs]
        fills = [(port.fill, numpy_dtype(self.model.tensors[port.tensor].dtype)) for port in entry.signature.inputs]
        words = np.zeros(loaded.slots.length, np.uint32)
        ports = {port.tensor: number for number, port in enumerate(entry.signature.inputs)}
        slots = [(view, ports[tensor], None) if tensor in ports else (view, -1, self._state.host_key(tensor))
                 for tensor, view in loaded.slots.views(words)]
        advance = [self._state.advancing(a.tensor, dims[a.by] if a.by else None) for a in entry.signature.advance]
        return Bound(loaded, handle, layout, dims, shapes, [self._pool[key] for key in needs], feeds, results, advance,
                     fills, words, slots)

    def _result(self, entry: Entry, program: Program, layout: Layout, dims: list[int], port: Port) -> Result:
        tensor = self.model.tensors[port.tensor]
        shape = tuple(dims[dim] for dim in tensor.shape)
        for places in ((Place.OUTPUT,), (Place.STATE, Place.CONSTANT)):
            for region, storage in regions_of(program, port.tensor, *places):
                span, state = layout.spans[region], places[0] != Place.OUTPUT
                return Result(port.name, shape, tensor.dtype, storage, span, state, port.tensor)
        if is_host_owned(self.model, port.tensor) or any(p.tensor == port.tensor for p in entry.signature.inputs):
            return Result(port.name, shape, tensor.dtype, tensor.dtype, None, False, port.tensor)
        raise InternalError(f"{entry.signature.name}: no region holds the output {port.name!r}")

    def _grow(self, entry: Entry, needs: Mapping[tuple[Hashable, ...], int]) -> None:
        """Makes every pooled buffer at least as large as needed; what was bound to one that is replaced is unbound."""
        small = [key for key, size in needs.items() if key in self._pool and self._pool[key].size < size]
        stale = [self._pool.pop(key) for key in small]
        if stale:
            if copies := self._unread.preserve_all():
                self.device.copy(copies)
            for loaded in self._loaded.values():
                for sizes, bound in list(loaded.bounds.items()):
                    if any(buffer is old for buffer in bound.buffers for old in stale):
                        self._unbind(loaded.bounds.pop(sizes))
            for buffer in stale:
                self.device.release(buffer)
        for key, size in needs.items():
            if key not in self._pool:
                self._pool[key] = self.device.allocate(size)

    # outputs

    def _outputs(self, entry: Entry, bound: Bound, arrays: list[np.ndarray]) -> dict[str, Output]:
        outputs, unread = {}, []
        for name, shape, dtype, storage, span, copied, tensor in bound.results:
            if span is None:
                outputs[name] = Output.of(name, self._host_result(entry, tensor, arrays), dtype)
                continue
            output = outputs[name] = Output(name, shape, dtype, storage, span, self._download)
            if copied:
                self.device.copy(self._unread.move([output]))       # later runs may overwrite state
            else:
                unread.append(weakref.ref(output))
        self._unread.last[entry.signature.name] = unread
        return outputs

    def _host_result(self, entry: Entry, tensor: int, arrays: list[np.ndarray]) -> np.ndarray:
        """An output that is an input, or a host-owned value of before the run."""
        for port, array in zip(entry.signature.inputs, arrays, strict=True):
            if port.tensor == tensor:
                return array.copy()
        return self._state.host(tensor).copy()

    def exchange(self, name: str, made: Output, held: Output) -> None:
        """`held` takes the place of an output that the last run of a signature has `made`."""
        self._unread.exchange(name, made, held)

    def _download(self, output: Output) -> np.ndarray:
        (_, data), *others = self._fetch(output)
        for other, beside in others:
            other.take(beside)
        return data

    def _fetch(self, output: Output) -> list[tuple[Output, np.ndarray]]:
        """The bytes of an output, and of others that came with them."""
        return self._unread.fetch(output)

    # state

    def read(self, tensor: int) -> np.ndarray:
        """The current value of a state tensor, host-owned ones included, in its own dtype."""
        return self._state.read(tensor)

    def write(self, tensor: int, value: Any) -> None:
        """Sets a state tensor."""
        self._state.write(tensor, value)

    def save_into(self, model: Model | None = None) -> Model:
        """Puts the current values of all state into the tensors of `model` (this one by default) and returns it."""
        model = model or self.model
        for tensor, value in self._state.read_all().items():
            model.tensors[tensor].data = np.ascontiguousarray(value).tobytes()
        return model

    def close(self) -> None:
        """Releases this model's memory; state in an arena that was passed in stays. Unread outputs are lost."""
        if self._closed:
            return
        self._closed = True
        for output in self._unread.all():
            output.discard()
        for loaded in self._loaded.values():
            for bound in loaded.bounds.values():
                self.device.unbind(bound.handle)
            self.device.unload(loaded.handle)
        self._loaded.clear()
        for buffer in self._pool.values():
            self.device.release(buffer)
        self._pool.clear()
        self._state.close()
        self._unread.collect(spare=0)


def regions_of(program: Program, tensor: int, *places: Place) -> list[tuple[int, DType]]:
    """The regions of some places that hold a tensor, with their storage types."""
    return [(index, region.storage) for index, region in enumerate(program.regions)
            if region.tensor == tensor and region.place in places]


def runnable(model: Model, signature: Signature, device: Device) -> list[int]:
    """The programs of a signature that this device can run, compared by target, features and limits alone.

    Raises:
        NoExecutorError: if none is made for the device's kind, or each needs a feature that it lacks.
        DeviceLimitError: if each needs more than the device allows.
    """
    allowed, reasons = device.limits(), []
    found: list[int] = []
    for index in signature.programs:
        program = model.programs[index]
        if program.target != device.target:
            continue
        lacking = sorted(set(program.requires.features) - device.features)
        over = [limit for limit in program.requires.limits if limit.value > allowed.get(limit.name, limit.value)]
        if lacking:
            reasons.append(f"program {index} needs the features {lacking}")
        elif over:
            reasons.append(f"program {index} needs {over[0].name} {over[0].value}, "
                           f"this device allows {allowed[over[0].name]}")
        else:
            found.append(index)
    if found:
        return found
    if not reasons:
        targets = sorted({model.programs[index].target.name for index in signature.programs})
        raise NoExecutorError(f"{signature.name}: {device.name} runs {device.target.name} programs, the model has "
                              f"{targets or 'none'}. Export it for this device, or load it with another.")
    message = f"{signature.name}: {device.name} ({device.description}) cannot run it: {'; '.join(reasons)}."
    raise (DeviceLimitError if any("allows" in reason for reason in reasons) else NoExecutorError)(message)


def load(model: Model, device: str | Device | None = None, arena: StateArena | None = None,
         state_keys: Mapping[int, Hashable] | None = None) -> Any:
    """Puts a model on a device and returns its executor: `run`, `read`, `write`, `save_into`, `stats`, `close`.

    Args:
        model: as built by the compiler or read from a file.
        device: a name ("wasm", "gpu", "/GPU:0"), an open Device, or None for the default.
        arena: state shared with other models on the same device; a private one by default.
        state_keys: for each state tensor (by index) that other models share, the key of its variable in `arena`.
            Tensors without a key are private to this model.
    """
    if device is None or isinstance(device, str):
        device = arena.device if arena is not None and device is None else _open_for(model, device)
    if arena is not None and arena.device is not device:
        raise InvalidArgumentError(f"the arena belongs to {arena.device.name}, the model is to run on {device.name}.")
    load_model = getattr(device, "load_model", None)        # a device that executes whole models by itself
    if load_model:
        return load_model(model, arena, state_keys)
    if arena is None and device.target == Target.WGSL:      # its memory may vanish
        from .recovery import GuardedExecutor

        return GuardedExecutor(model, device, state_keys)
    return Executor(model, device, arena, state_keys)


def _open_for(model: Model, name: str | None) -> Device:
    """The named device, asked for with the limits that the model's programs state."""
    target = Target.WGSL if name is not None and device_name(name).startswith("GPU") else Target.WASM
    if name is None:
        return open_device(None)
    limits: dict[str, int] = {}
    for program in model.programs:
        if program.target == target and not program.requires.features:
            for limit in program.requires.limits:
                limits[limit.name] = max(limits.get(limit.name, 0), limit.value)
    return open_device(name, limits)
