"""The rules for what a file says (class P, and names): indices, sizes, programs, signatures: see `docs/format.md`.

They hold for models in memory too, so the writer checks them as well. `js_bindings/runtime/rules.js` is the twin of
this file, with the same checks in the same order. The shape rules of ops (class G) live with the graph, in
`graph/verify.py`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

from ..errors import ModelError
from ..kernel.bindings import ITEM_SIZES, check_bindings, check_bound
from .format import DType, GraphRef, Model, Place, Program, Role, Signature, StepKind, Symbol, Target
from .modules import check_module
from .sizes import LARGEST, bounds, evaluate, symbol_range

__all__ = ["verify_model"]

MAX_RANK = 8
MAX_LOOP_DEPTH = 4
HOST_OWNED = (Role.COUNTER, Role.RNG)


def verify_model(model: Model, *, max_region_bytes: int = 2**32) -> None:
    """Checks a model whose bytes are in place (not Slices).

    Raises:
        ModelError: the first rule that it breaks.
    """
    _names(model)
    _symbols(model.symbols)
    if not model.dims or model.dims[0].op != 0 or model.dims[0].a != 0:
        raise ModelError("P03-size", "dims[0]", "must be CONST 0, the meaning of an absent size")
    ranges = bounds(model.dims, model.symbols)
    _tensors(model, ranges)
    if len(model.base) not in (0, 32):
        raise ModelError("C17-base", "base", f"has {len(model.base)} bytes, expected 0 or 32")
    _graphs(model)
    for index, program in enumerate(model.programs):
        where = f"programs[{index}]"
        _program(model, program, where, ranges)
        symbols = _when(model, program, where)
        for corner, limit in ((0, max_region_bytes), (1, None)):
            sizes = evaluate(model.dims, [ends[corner] for ends in symbols])
            check_bound(model, program, sizes, where, limit)
    _state(model, ranges)
    for index, signature in enumerate(model.signatures):
        _signature(model, signature, f"signatures[{index}]")


def _index(value: int, length: int, where: str, what: str, lowest: int = 0) -> None:
    if not lowest <= value < length:
        raise ModelError("P01-index", where, f"{what} {value} of {length}")


def _indices(values: Iterable[int], length: int, where: str, what: str, lowest: int = 0) -> None:
    for value in values:
        if not lowest <= value < length:
            raise ModelError("P01-index", where, f"{what} {value} of {length}")


def _unique(names: Iterable[Any], where: str) -> None:
    seen = set()
    for name in names:
        if name in seen:
            raise ModelError("C11-name", where, f"the name {name!r} occurs twice")
        seen.add(name)


def _names(model: Model) -> None:
    _unique([s.name for s in model.symbols], "symbols")
    _unique([t.name for t in model.tensors if t.name], "tensors")
    _unique([(o.name, o.version) for o in model.opcodes], "opcodes")
    _unique([g.name for g in model.graphs], "graphs")
    for g, graph in enumerate(model.graphs):
        for n, node in enumerate(graph.nodes):
            _unique([a.name for a in node.attrs], f"graphs[{g}].nodes[{n}].attrs")
    for p, program in enumerate(model.programs):
        _unique(program.requires.features, f"programs[{p}].requires.features")
        _unique([limit.name for limit in program.requires.limits], f"programs[{p}].requires.limits")
    _unique([s.name for s in model.signatures], "signatures")
    for s, signature in enumerate(model.signatures):
        _unique([port.name for port in signature.inputs], f"signatures[{s}].inputs")
        _unique([port.name for port in signature.outputs], f"signatures[{s}].outputs")
    _unique([key for key, _ in model.metadata], "metadata")


def _symbols(symbols: Sequence[Symbol]) -> None:
    for index, symbol in enumerate(symbols):
        if symbol.multiple_of < 1:
            raise ModelError("P02-symbol", f"symbols[{index}]", "multiple_of is 0")
        low, high = symbol_range(symbol)
        if low > high:
            raise ModelError(
                "P02-symbol",
                f"symbols[{index}]",
                f"no multiple of {symbol.multiple_of} lies in {symbol.min}..{symbol.max}",
            )


def _tensors(model: Model, ranges: Sequence[tuple[int, int]]) -> None:
    for index, tensor in enumerate(model.tensors):
        where = f"tensors[{index}]"
        if len(tensor.shape) > MAX_RANK:
            raise ModelError("C16-rank", where, f"has {len(tensor.shape)} axes, at most {MAX_RANK}")
        _indices(tensor.shape, len(ranges), where, "shape: dims")
        smallest = largest = ITEM_SIZES[tensor.dtype]
        for dim in tensor.shape:
            smallest *= ranges[dim][0]
            largest *= ranges[dim][1]
        if largest > LARGEST:
            raise ModelError("P04-tensor", where, "may have more than 2^53-1 bytes")
        if tensor.data is not None:
            if tensor.dtype == DType.STRING:
                raise ModelError("P04-tensor", where, "strings cannot have data")
            if any(ranges[d][0] != ranges[d][1] for d in tensor.shape):
                raise ModelError("P04-tensor", where, "has data, so its shape must be constant")
            if len(tensor.data) != smallest:
                raise ModelError(
                    "P04-tensor", where, f"has {len(tensor.data)} bytes of data, its shape and dtype say {smallest}"
                )
        if tensor.quant is not None:
            _index(tensor.quant.axis, len(tensor.shape), where, "quant: axis", -1)
            if len(tensor.quant.zero_point) not in (0, len(tensor.quant.scale)):
                raise ModelError("P04-tensor", where, "quant: as many zero points as scales, or none")


def _graphs(model: Model) -> None:
    num_tensors = len(model.tensors)
    for g, graph in enumerate(model.graphs):
        where = f"graphs[{g}]"
        _indices(graph.inputs, num_tensors, where, "inputs: tensor")
        _indices(graph.outputs, num_tensors, where, "outputs: tensor")
        for n, node in enumerate(graph.nodes):
            at = f"{where}.nodes[{n}]"
            _index(node.op, len(model.opcodes), at, "op: opcode")
            _indices(node.inputs, num_tensors, at, "inputs: tensor", -1)
            _indices(node.outputs, num_tensors, at, "outputs: tensor")
            for attr in node.attrs:
                if isinstance(attr.value, GraphRef) and attr.value.v >= g:
                    raise ModelError(
                        "P01-index", at, f"{attr.name}: graph {attr.value.v}, only earlier ones than {g} may be used"
                    )


def _program(model: Model, program: Program, where: str, ranges: Sequence[tuple[int, int]]) -> None:
    _index(program.graph, len(model.graphs), where, "graph", -1)
    needs = program.requires
    _indices((r.symbol for r in needs.when), len(model.symbols), f"{where}.requires", "when: symbol")
    _indices(needs.equal, len(ranges), f"{where}.requires", "equal: dims")
    if len(needs.equal) % 2:
        raise ModelError("P12-requirement", f"{where}.requires", "equal: an odd number of sizes, expected pairs")
    is_wasm = program.target == Target.WASM
    for k, kernel in enumerate(program.kernels):
        _kernel(kernel, is_wasm, f"{where}.kernels[{k}]")
    if is_wasm != (program.module is not None):
        raise ModelError(
            "P10-module", where, "a WASM program needs a module" if is_wasm else "a WGSL program has no module"
        )
    _regions(model, program, where, ranges)
    _steps(model, program, where, len(ranges))
    check_bindings(model, program, where)
    if program.module is not None:
        check_module(program.module, f"{where}.module")


def _kernel(kernel: Any, is_wasm: bool, where: str) -> None:
    if is_wasm:
        if kernel.code is not None or kernel.hash:
            raise ModelError("P05-kernel", where, "the kernels of a WASM program have no code of their own")
        return
    if kernel.code is None:
        raise ModelError("P05-kernel", where, "has no code")
    if kernel.hash and hashlib.sha256(kernel.code).digest() != kernel.hash:
        raise ModelError("P05-kernel", where, "the hash is not the SHA-256 of the code")
    try:
        str(kernel.code, "utf-8")
    except UnicodeDecodeError:
        raise ModelError("P05-kernel", where, "the code is not UTF-8") from None


def _regions(model: Model, program: Program, where: str, ranges: Sequence[tuple[int, int]]) -> None:
    held = set()
    for r, region in enumerate(program.regions):
        at = f"{where}.regions[{r}]"
        _indices((region.bytes, region.offset), len(ranges), at, "dims")
        _index(region.tensor, len(model.tensors), at, "tensor", -1)
        _index(region.parent, r, at, "parent: region", -1)
        if region.parent < 0 and ranges[region.offset][1] != 0:
            raise ModelError("P06-region", at, "has an offset but no parent")
        if region.parent >= 0 and program.regions[region.parent].place != region.place:
            raise ModelError("P06-region", at, "its parent lives in another place")
        if region.tensor >= 0:
            if (region.place, region.tensor) in held:
                raise ModelError("P06-region", at, f"another region of this place holds tensor {region.tensor}")
            held.add((region.place, region.tensor))
            if region.place == Place.CONSTANT and model.tensors[region.tensor].data is None:
                raise ModelError("P06-region", at, "a constant without data")
        elif region.place in (Place.INPUT, Place.OUTPUT):
            raise ModelError("P06-region", at, "an input or output without a tensor")


def _state(model: Model, ranges: Sequence[tuple[int, int]]) -> None:
    """State outlives a run and is shared by the programs: its sizes are constant, and all place a tensor alike."""
    known: dict[int, tuple[int, int]] = {}
    for p, program in enumerate(model.programs):
        starts: list[int] = []
        for r, region in enumerate(program.regions):
            at = f"programs[{p}].regions[{r}]"
            starts.append(ranges[region.offset][0] + (starts[region.parent] if region.parent >= 0 else 0))
            if region.place != Place.STATE:
                continue
            if any(ranges[d][0] != ranges[d][1] for d in (region.bytes, region.offset)):
                raise ModelError("P14-state", at, "the size of state depends on a symbol")
            if region.tensor >= 0:
                place = (starts[r], region.storage)
                if known.setdefault(region.tensor, place) != place:
                    raise ModelError(
                        "P14-state",
                        at,
                        f"tensor {region.tensor} lies at {place}, another program has it at {known[region.tensor]}",
                    )


def _steps(model: Model, program: Program, where: str, num_dims: int) -> None:
    blocks = [len(program.steps)]  # where each open loop ends
    for s, step in enumerate(program.steps):
        at = f"{where}.steps[{s}]"
        while len(blocks) > 1 and s >= blocks[-1]:
            blocks.pop()
        _indices((step.flops, step.count, *step.grid, *step.uniforms), num_dims, at, "dims")
        if step.kind == StepKind.LOOP:
            if step.kernel or step.regions or step.grid or step.uniforms or step.scalars or step.flops or step.writes:
                raise ModelError("P07-step", at, "a LOOP has only count and body")
            if step.body < 1 or s + 1 + step.body > blocks[-1]:
                raise ModelError(
                    "P07-step", at, f"a body of {step.body} entries, {blocks[-1] - s - 1} are left in its block"
                )
            blocks.append(s + 1 + step.body)
            if len(blocks) - 1 > MAX_LOOP_DEPTH:
                raise ModelError("P07-step", at, f"loops nest more than {MAX_LOOP_DEPTH} deep")
            continue
        if step.count or step.body:
            raise ModelError("P07-step", at, "only a LOOP has count and body")
        _index(step.kernel, len(program.kernels), at, "kernel")
        _indices(step.regions, len(program.regions), at, "region")
        _indices(step.scalars, len(model.tensors), at, "scalars: tensor")
        if not 1 <= len(step.grid) <= 3:
            raise ModelError("P07-step", at, f"a grid of {len(step.grid)} sizes, expected 1 to 3")


def _when(model: Model, program: Program, where: str) -> list[tuple[int, int]]:
    """The range of each symbol for which the program runs."""
    result = [symbol_range(symbol) for symbol in model.symbols]
    for r in program.requires.when:
        symbol = model.symbols[r.symbol]
        low, high = symbol_range(Symbol("", max(r.min, symbol.min), min(r.max, symbol.max), symbol.multiple_of))
        if low > high:
            raise ModelError(
                "P12-requirement", f"{where}.requires", f"when: symbol {r.symbol} can have no value in {r.min}..{r.max}"
            )
        result[r.symbol] = (low, high)
    return result


def _signature(model: Model, signature: Signature, where: str) -> None:
    num_tensors = len(model.tensors)
    _index(signature.graph, len(model.graphs), where, "graph", -1)
    _indices(signature.programs, len(model.programs), where, "programs: program")
    for name in ("inputs", "outputs"):
        for p, port in enumerate(getattr(signature, name)):
            _index(port.tensor, num_tensors, f"{where}.{name}[{p}]", "tensor")
            if port.bounded and port.min > port.max:
                raise ModelError("P11-signature", f"{where}.{name}[{p}]", f"no value lies in {port.min}..{port.max}")
    _indices(signature.reads, num_tensors, where, "reads: tensor")
    _indices(signature.writes, num_tensors, where, "writes: tensor")
    for tensor in signature.writes:
        if model.tensors[tensor].data is None:
            raise ModelError("P11-signature", where, f"writes tensor {tensor}, which has no data to be saved in")
        if model.tensors[tensor].role in HOST_OWNED:
            raise ModelError("P11-signature", where, f"writes tensor {tensor}, a counter, which only the host advances")
    for a, advance in enumerate(signature.advance):
        at = f"{where}.advance[{a}]"
        _index(advance.tensor, num_tensors, at, "tensor")
        _index(advance.by, len(model.dims), at, "by: dims")
        if model.tensors[advance.tensor].data is None or model.tensors[advance.tensor].role not in HOST_OWNED:
            raise ModelError("P11-signature", at, f"tensor {advance.tensor} is not a counter with data")
    inputs = {port.tensor for port in signature.inputs}
    sizes = _input_sizes(model, inputs)
    for p in signature.programs:
        _entry(model, model.programs[p], signature, inputs, f"{where}.programs[{p}]")
        check_bound(model, model.programs[p], sizes, f"{where}.programs[{p}]")


def _input_sizes(model: Model, inputs: Iterable[int]) -> list[int]:
    """The sizes at the low ends of the symbols that occur bare in an input's shape; None where another is needed."""
    symbols = {model.dims[d].a for t in inputs for d in model.tensors[t].shape if model.dims[d].op == 1}
    return evaluate(model.dims, {s: symbol_range(model.symbols[s])[0] for s in symbols})


def _entry(model: Model, program: Program, signature: Signature, inputs: set[int], where: str) -> None:
    """A program of a signature touches only what the signature declares."""
    held = set()
    for region in program.regions:
        held.add(region.tensor)
        if region.place == Place.INPUT and region.tensor not in inputs:
            raise ModelError(
                "P11-signature", where, f"reads tensor {region.tensor}, which is no input of the signature"
            )
    for port in signature.outputs:
        if port.tensor not in held:
            raise ModelError("P11-signature", where, f"has no region for the output {port.name!r}")
    writes = set(signature.writes)
    for step in program.steps:
        for tensor in step.scalars:
            if tensor not in inputs and model.tensors[tensor].role not in HOST_OWNED:
                raise ModelError(
                    "P11-signature", where, f"tensor {tensor} is a scalar but neither an input nor a counter"
                )
        for bit, number in enumerate(step.regions):
            region = program.regions[number]
            if not step.writes >> bit & 1 or region.place in (Place.SCRATCH, Place.OUTPUT):
                continue
            if region.place != Place.STATE:
                raise ModelError("P11-signature", where, f"writes region {number}, an input or a constant")
            tensors = _tensors_in(program, number)
            if tensors and not writes & tensors:
                raise ModelError(
                    "P11-signature", where, f"writes tensors {sorted(tensors)}, none of which the signature declares"
                )


def _tensors_in(program: Program, number: int) -> set[int]:
    """The tensors whose bytes lie in a region: its own or that of an enclosing region, else those of its children."""
    regions, at = program.regions, number
    while at >= 0:
        if regions[at].tensor >= 0:
            return {regions[at].tensor}
        at = regions[at].parent
    inside, found = {number}, set()
    for index in range(number + 1, len(regions)):
        if regions[index].parent in inside:
            inside.add(index)
            if regions[index].tensor >= 0:
                found.add(regions[index].tensor)
    return found
