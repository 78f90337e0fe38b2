"""From shapes to addresses: binds a signature's symbols to the inputs at hand and lays a program out for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from ..device import Launch, Layout, Span
from ..errors import DeviceLimitError, InternalError, InvalidArgumentError
from ..program.format import DimOp, DType, Model, Place, Port, Program, Role, Signature, StepKind
from ..program.plan import Plan, Scratch, place, plan_scratch
from ..program.sizes import evaluate
from .values import Output, as_input, in_range, numpy_dtype

__all__ = ["HostSlots", "MemoryPlan", "Ports", "known_size", "lay_out", "plan_memory", "suits"]

SLOT_WORDS = 64                 # a step's uniform slot is 256 bytes


class Ports:
    """The inputs of one signature: which axes bind a symbol, and what every shape must be."""

    def __init__(self, model: Model, signature: Signature) -> None:
        self.model, self.name, self.ports = model, signature.name, signature.inputs
        self.names = {port.name for port in signature.inputs}
        self.shapes = [model.tensors[port.tensor].shape for port in signature.inputs]
        self._plain = [self._as_is(port) for port in signature.inputs]
        self.symbols: list[list[tuple[int, int]]] = [       # per port: (axis, symbol)
            [(axis, model.dims[dim].a) for axis, dim in enumerate(shape) if model.dims[dim].op == DimOp.SYMBOL]
            for shape in self.shapes]

    def _as_is(self, port: Port) -> tuple[str, Any, tuple[int, int] | None]:
        """What needs no conversion: the input's name, numpy's dtype (None: there is none), the range of its values."""
        dtype = self.model.tensors[port.tensor].dtype
        wanted = None if dtype == DType.STRING else numpy_dtype(dtype)
        return port.name, wanted, (port.min, port.max) if port.bounded and dtype != DType.BOOL else None

    def where(self, port: Port) -> str:
        """How errors name an input."""
        return f"{self.name}: input {port.name!r}"

    def arrays(self, inputs: Mapping[str, Any]) -> list[np.ndarray | None]:
        """The caller's values in port order, converted and range-checked; None for an optional one that is absent.

        Raises:
            InvalidArgumentError: for a missing or unknown input, a dtype of another kind, or a value out of range.
        """
        if not inputs.keys() <= self.names:
            raise InvalidArgumentError(f"{self.name}: unknown inputs {sorted(inputs.keys() - self.names)}; "
                                       f"it takes {[port.name for port in self.ports]}.")
        arrays: list[np.ndarray | None] = []
        for name, wanted, allowed in self._plain:
            value = inputs.get(name)
            if value.__class__ is np.ndarray and value.dtype is wanted and (    # type: ignore[union-attr]
                    allowed is None or in_range(value, *allowed)):              # type: ignore[arg-type]
                arrays.append(value)
            else:
                arrays.append(self._converted(self.ports[len(arrays)], value, inputs))
        return arrays

    def _converted(self, port: Port, value: Any, inputs: Mapping[str, Any]) -> np.ndarray | None:
        """A value that may need a conversion, or is not as it should be."""
        if value is None:
            if not port.optional:
                raise InvalidArgumentError(f"{self.where(port)} is missing; given were {sorted(inputs)}.")
            return None
        if isinstance(value, Output):
            value = value.numpy()
        return as_input(value, self.model.tensors[port.tensor].dtype, port, self.where(port))

    def bind(self, arrays: Sequence[np.ndarray | None]) -> dict[int, int]:
        """The value of every symbol that occurs bare in the shape of a given input; None is an absent optional one.

        Raises:
            InvalidArgumentError: for a wrong rank, two sizes for one symbol, or a size outside its symbol's range.
        """
        values: dict[int, int] = {}
        origin: dict[int, str] = {}
        for port, shape, axes, array in zip(self.ports, self.shapes, self.symbols, arrays, strict=True):
            if array is None:
                continue
            if array.ndim != len(shape):
                raise InvalidArgumentError(f"{self.where(port)} has shape {array.shape}, "
                                           f"expected {len(shape)} axes: {self._text(shape)}.")
            for axis, symbol in axes:
                size = array.shape[axis]
                if values.setdefault(symbol, size) != size:
                    raise InvalidArgumentError(
                        f"{self.where(port)} has {size} in axis {axis}, but {origin[symbol]} has {values[symbol]}: "
                        f"both are the size {self.model.symbols[symbol].name!r} and must agree.")
                if symbol not in origin:
                    origin[symbol] = f"input {port.name!r} axis {axis}"
                    self._check_symbol(port, axis, symbol, size)
        return values

    def _check_symbol(self, port: Port, axis: int, index: int, size: int) -> None:
        symbol = self.model.symbols[index]
        if size < symbol.min or (symbol.max and size > symbol.max) or size % symbol.multiple_of:
            rule = f"{symbol.min} to {symbol.max}" if symbol.max else f"at least {symbol.min}"
            rule += f" and a multiple of {symbol.multiple_of}" if symbol.multiple_of > 1 else ""
            raise InvalidArgumentError(f"{self.where(port)} has {size} in axis {axis}; "
                                       f"the size {symbol.name!r} must be {rule}.")

    def check(self, arrays: Sequence[np.ndarray | None], dims: Sequence[int]) -> list[tuple[int, ...]]:
        """Every input's shape for evaluated `dims`, after comparing the given arrays with it."""
        shapes = []
        for port, shape, array in zip(self.ports, self.shapes, arrays, strict=True):
            expected = tuple(dims[dim] for dim in shape)
            if None in expected:
                raise InvalidArgumentError(f"{self.where(port)} was not given, and its shape {self._text(shape)} "
                                           f"depends on a size that no other input fixes. Pass it.")
            if array is not None and array.shape != expected:
                raise InvalidArgumentError(
                    f"{self.where(port)} has shape {array.shape}, expected {expected} ({self._text(shape)}).")
            shapes.append(expected)
        return shapes

    def _text(self, shape: Sequence[int]) -> str:
        """A shape with symbol names: (batch, 28, 28, 1)."""
        parts = []
        for dim in shape:
            expr = self.model.dims[dim]
            if expr.op == DimOp.SYMBOL:
                parts.append(self.model.symbols[expr.a].name)
            else:
                parts.append(str(expr.a) if expr.op == DimOp.CONST else f"<size {dim}>")
        return f"({', '.join(parts)}{',' if len(parts) == 1 else ''})"


def suits(program: Program, values: Mapping[int, int], dims: Sequence[int]) -> bool:
    """Whether a program is meant for these sizes: its `when` ranges hold and its `equal` pairs agree."""
    requires = program.requires
    pairs = zip(requires.equal[::2], requires.equal[1::2], strict=True)
    return (all(r.symbol in values and r.min <= values[r.symbol] <= r.max for r in requires.when)
            and all(dims[a] == dims[b] for a, b in pairs))


def known_size(model: Model, constants: Sequence[int | None], dim: int, what: str) -> int:
    """A size that may not depend on an input, such as that of state."""
    value = constants[dim]
    if value is None:
        raise InternalError(f"{what} has a size that depends on an input's: {model.dims[dim]}")
    return value


class HostSlots:
    """The host-owned tensors that a program's steps read, and where each lies in the vector of host words."""

    def __init__(self, model: Model, program: Program, constants: Sequence[int | None]) -> None:
        self.tensors: list[int] = []
        self._model, self._shapes = model, list[tuple[int, ...]]()
        self._words: dict[int, range] = {}
        self.length = 0
        for tensor in dict.fromkeys(t for step in program.steps for t in step.scalars):
            entry = model.tensors[tensor]
            shape = tuple(known_size(model, constants, d, f"host-owned tensor {entry.name!r}") for d in entry.shape)
            count = prod(shape)
            width = 2 if entry.dtype in (DType.I64, DType.U64, DType.F64) else 1
            self._words[tensor] = range(self.length, self.length + count * width)
            self.tensors.append(tensor)
            self._shapes.append(shape)
            self.length += count * width

    def views(self, vector: np.ndarray) -> list[tuple[int, np.ndarray]]:
        """Each tensor with its part of a vector of host words, as an array of its shape to write values to."""
        made = []
        for tensor, shape in zip(self.tensors, self._shapes, strict=True):
            positions, dtype = self._words[tensor], numpy_dtype(self._model.tensors[tensor].dtype)
            if dtype.itemsize < 4:
                dtype = np.dtype({"f": np.float32, "i": np.int32}.get(dtype.kind, np.uint32))
            made.append((tensor, vector[positions.start : positions.stop].view(dtype).reshape(shape)))
        return made

    def words(self, tensors: Sequence[int]) -> list[int]:
        """Positions of the words of these tensors, in order."""
        return [position for tensor in tensors for position in self._words[tensor]]


@dataclass(frozen=True)
class MemoryPlan:
    """Chunks that a program needs at one set of sizes, each list for one kind of memory."""

    scratch: Plan
    inputs: Plan
    outputs: Plan


def plan_memory(program: Program, dims: Sequence[int], max_chunk: int, borrows_inputs: bool) -> MemoryPlan:
    """Places scratch by lifetimes, inputs and outputs side by side; inputs that the device borrows get none."""
    def together(kind: Place) -> Plan:
        entries = []
        for region in program.regions:
            wanted = region.place == kind and region.parent < 0
            borrowed = kind == Place.INPUT and borrows_inputs and region.tensor >= 0
            entries.append(Scratch(dims[region.bytes], 0, 0) if wanted and not borrowed else Scratch(0, -1, -1))
        return place(entries, max_chunk)

    return MemoryPlan(plan_scratch(program, dims, max_chunk), together(Place.INPUT), together(Place.OUTPUT))


def lay_out(program: Program, dims: Sequence[int], plan: MemoryPlan, buffers: Mapping[Place, Sequence[object]],
            fixed: Mapping[int, Span], slots: HostSlots) -> Layout:
    """Addresses of every region and the numbers of every step, for sizes that `check_bound` has accepted.

    `fixed` holds top-level STATE and CONSTANT regions.
    """
    plans = {Place.SCRATCH: plan.scratch, Place.INPUT: plan.inputs, Place.OUTPUT: plan.outputs}
    spans: list[Span] = []
    for index, region in enumerate(program.regions):
        size = dims[region.bytes]
        if region.parent >= 0:
            parent, offset = spans[region.parent], dims[region.offset]
            spans.append(Span(parent.buffer, parent.offset + offset, size))
        elif index in fixed:
            spans.append(fixed[index])
        else:
            chunk, offset = plans[region.place].places[index]
            spans.append(Span(buffers[region.place][chunk] if chunk >= 0 else None, offset, size))
    launches = []
    for index, step in enumerate(program.steps):
        loop = step.kind == StepKind.LOOP
        launch = Launch(step, tuple(dims[g] for g in step.grid), [dims[u] for u in step.uniforms],
                        slots.words(step.scalars), dims[step.count] if loop else 0)
        if len(launch.words) + len(launch.scalars) > SLOT_WORDS:
            raise DeviceLimitError(f"step {index} has {len(launch.words) + len(launch.scalars)} words of uniforms and "
                                   f"scalars, {SLOT_WORDS} fit")
        launches.append(launch)
    return Layout(spans, launches, slots.length)


def constant_sizes(model: Model) -> list[int | None]:
    """Every size expression that depends on no symbol, None for the others."""
    values: list[int | None] = list(evaluate(model.dims, {}))
    return values


def is_host_owned(model: Model, tensor: int) -> bool:
    """Counters and RNG state live on the host; the executor sends them with each run and advances them."""
    return model.tensors[tensor].role in (Role.COUNTER, Role.RNG)
