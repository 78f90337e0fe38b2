"""Says whether an accepted mutant does no harm: a second, slow and simple statement of what a verified model promises.

Written apart from the readers on purpose. It looks at the contents, tries real symbol values and real numbers.
"""

from __future__ import annotations

import itertools
import operator
from math import prod
from typing import Any

from tideflow.program.format import DimOp, DType, GraphRef, Model, Place, Role, StepKind, Target

BYTES = dict(zip(DType, (4, 2, 2, 8, 1, 1, 2, 2, 4, 4, 8, 8, 1, 0), strict=True))

OPERATORS = {
    DimOp.ADD: operator.add,
    DimOp.SUB: operator.sub,
    DimOp.MUL: operator.mul,
    DimOp.FLOORDIV: operator.floordiv,
    DimOp.CEILDIV: lambda x, y: -(-x // y),
    DimOp.MOD: operator.mod,
    DimOp.MIN: min,
    DimOp.MAX: max,
}


def harm_in(model: Model) -> str | None:
    """The first promise that the model breaks, or None."""
    try:
        _judge(model)
    except (AssertionError, IndexError, ZeroDivisionError, RecursionError) as error:
        return f"{type(error).__name__} {error}"
    return None


def _judge(model: Model) -> None:
    tensors, dims = len(model.tensors), len(model.dims)
    fixed = [_values(model, symbols) for symbols in _symbol_values(model)]
    for tensor in model.tensors:
        assert len(tensor.shape) <= 8 and all(0 <= d < dims for d in tensor.shape), "shape"
        if tensor.data is not None:
            for sizes in fixed:
                assert len(tensor.data) == BYTES[tensor.dtype] * prod(sizes[d] for d in tensor.shape), "data size"
    for g, graph in enumerate(model.graphs):
        assert all(0 <= t < tensors for t in graph.inputs + graph.outputs), "graph"
        for node in graph.nodes:
            assert 0 <= node.op < len(model.opcodes), "opcode"
            assert all(-1 <= t < tensors for t in node.inputs) and all(0 <= t < tensors for t in node.outputs), "node"
            assert all(0 <= a.value.v < g for a in node.attrs if isinstance(a.value, GraphRef)), "body"
    for program in model.programs:
        assert (program.module is not None) == (program.target == Target.WASM), "module"
        for symbols in _symbol_values(model):
            if all(r.min <= symbols[r.symbol] <= r.max for r in program.requires.when):
                _judge_program(model, program, _values(model, symbols))
    for signature in model.signatures:
        declared = {p.tensor for p in signature.inputs}
        for tensor in signature.writes:
            assert model.tensors[tensor].data is not None, "unsavable"
        for number in signature.programs:
            for step in model.programs[number].steps:
                for bit, index in enumerate(step.regions):
                    region = model.programs[number].regions[index]
                    if step.writes & 1 << bit and region.place == Place.STATE and region.tensor >= 0:
                        assert region.tensor in signature.writes, "undeclared write"
                    assert not (step.writes & 1 << bit and region.place in (Place.INPUT, Place.CONSTANT)), (
                        "constant written"
                    )
                for t in step.scalars:
                    assert t in declared or model.tensors[t].role in (Role.COUNTER, Role.RNG), "scalar"


def _judge_program(model: Model, program: Any, sizes: list[int]) -> None:
    spans = []
    for region in program.regions:
        size, offset = sizes[region.bytes], sizes[region.offset]
        if region.tensor >= 0:
            assert size >= BYTES[region.storage] * prod(sizes[d] for d in model.tensors[region.tensor].shape), (
                "too small"
            )
        if region.parent < 0:
            spans.append((len(spans), 0, size))
        else:
            root, start, end = spans[region.parent]
            assert offset % 256 == 0 and start + offset + size <= end, "outside its parent"
            spans.append((root, start + offset, start + offset + size))
    assert all(end - start <= 2**53 for _, start, end in spans), "memory"
    for step in program.steps:
        if step.kind == StepKind.LOOP:
            continue
        assert len(step.regions) == program.kernels[step.kernel].bindings <= 8 and step.writes < 1 << len(
            step.regions
        ), "bindings"
        assert all(0 <= d < len(sizes) for d in step.grid + step.uniforms), "dims"
        bound = [spans[r] for r in step.regions]
        for (root, start, end), (other, begin, stop) in itertools.combinations(bound, 2):
            assert root != other or end <= begin or stop <= start, "bytes bound twice"
    assert _expand(program.steps, sizes, 0, len(program.steps), 0) <= 2**20 or any(d.op for d in model.dims), "steps"


def _expand(steps: list, sizes: list[int], start: int, end: int, depth: int) -> int:
    assert depth <= 4, "depth"
    total, index = 0, start
    while index < end:
        step = steps[index]
        if step.kind == StepKind.LOOP:
            assert 1 <= step.body <= end - index - 1, "body"
            total += sizes[step.count] * _expand(steps, sizes, index + 1, index + 1 + step.body, depth + 1)
            index += step.body
        else:
            total += 1
        index += 1
    return total


def _symbol_values(model: Model) -> list[list[int]]:
    """A few values of all symbols: the ends of their ranges and some between."""
    choices = []
    for symbol in model.symbols:
        m = symbol.multiple_of
        low, high = -(-symbol.min // m), symbol.max // m
        assert low <= high, "symbol"
        choices.append(sorted({low * m, high * m, (low + high) // 2 * m, min(low + 1, high) * m}))
    return [list(values) for values in itertools.product(*choices)][:16]


def _values(model: Model, symbols: list[int]) -> list[int]:
    values: list[int] = []
    for dim in model.dims:
        if dim.op == DimOp.CONST:
            values.append(dim.a)
        elif dim.op == DimOp.SYMBOL:
            values.append(symbols[dim.a])
        else:
            values.append(OPERATORS[dim.op](values[dim.a], values[dim.b]))
        assert 0 <= values[-1] < 2**53, "size"
    return values
