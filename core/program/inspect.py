"""`python -m tideflow inspect model.tide`: what a file holds, for people: entry points, kernels, steps, memory."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from ..errors import ModelError
from .format import DimOp, Graph, Model, Port, Program, Region, Role, Signature, Step, StepKind
from .read import read_model
from .sizes import evaluate, symbol_range

__all__ = ["add_arguments", "describe", "run"]

INFIX = {
    DimOp.ADD: "{} + {}",
    DimOp.SUB: "{} - {}",
    DimOp.MUL: "{}*{}",
    DimOp.FLOORDIV: "{} // {}",
    DimOp.MOD: "{} % {}",
    DimOp.CEILDIV: "ceil({} / {})",
    DimOp.MIN: "min({}, {})",
    DimOp.MAX: "max({}, {})",
}
LOOSE = (DimOp.ADD, DimOp.SUB, DimOp.FLOORDIV, DimOp.MOD)      # need brackets inside another formula
ROLES = {
    Role.WEIGHT: "weights",
    Role.OPTIMIZER_SLOT: "optimizer slots",
    Role.METRIC: "metrics",
    Role.COUNTER: "counters",
    Role.RNG: "random generators",
    Role.CONSTANT: "constants",
    Role.VALUE: "values with data",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `inspect`."""
    parser.add_argument("model", type=Path, nargs="+", help="a .tide file")
    parser.add_argument("--brief", action="store_true", help="no steps and no nodes, totals only")
    parser.add_argument("--tensors", action="store_true", help="every tensor that has data")
    parser.add_argument("--code", metavar="KERNEL", help="print the WGSL text of the kernels of this name")


def run(arguments: argparse.Namespace) -> int:
    """Prints a report for each file. Returns the exit status."""
    status = 0
    for path in arguments.model:
        try:
            data = path.read_bytes()
            model = read_model(data)
        except (ModelError, OSError) as error:
            print(f"tideflow inspect: {path}: {error}", file=sys.stderr)
            status = 1
            continue
        if arguments.code:
            found = {
                bytes(k.code)
                for p in model.programs
                for k in p.kernels
                if k.code is not None and k.name == arguments.code
            }
            print("\n".join(str(code, "utf-8") for code in sorted(found)) or f"no kernel {arguments.code!r} with code")
            status = status or not found
            continue
        print(f"{path.name}  {_bytes(len(data))}")
        print(describe(model, brief=arguments.brief, tensors=arguments.tensors))
    return int(status)


def describe(model: Model, *, brief: bool = False, tensors: bool = False) -> str:
    """A report in plain text, at most about 120 columns wide."""
    text = _Text(model)
    lines = [f"schema {model.schema_version}, made by {model.producer or 'unknown'}", ""]
    lines += _overview(text)
    if tensors:
        lines += ["", "tensors with data", *_table([_tensor_row(text, i) for i in text.with_data])]
    for signature in model.signatures:
        lines += ["", *_signature(text, signature)]
    for index, program in enumerate(model.programs):
        lines += ["", *_program(text, index, program, brief)]
    for index, graph in enumerate(model.graphs):
        lines += ["", *_graph(text, index, graph, brief)]
    return "\n".join(line.rstrip() for line in lines)


class _Text:
    """Names for the indices of a model."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.formulas: dict[int, str] = {}
        self.with_data = [i for i, tensor in enumerate(model.tensors) if tensor.data is not None]
        self.lowest = evaluate(model.dims, [symbol_range(s)[0] for s in model.symbols])

    def dim(self, index: int, inside: bool = False) -> str:
        """A size expression as a formula; a part that grows long is `dims[i]`, since shared parts would repeat."""
        if index not in self.formulas:
            self.formulas[index] = self._formula(index)
        formula = self.formulas[index]
        if inside and len(formula) > 24:
            return f"dims[{index}]"
        return f"({formula})" if inside and self.model.dims[index].op in LOOSE else formula

    def _formula(self, index: int) -> str:
        dim = self.model.dims[index]
        if dim.op == DimOp.CONST:
            return f"{dim.a}"
        if dim.op == DimOp.SYMBOL:
            return self.model.symbols[dim.a].name
        return INFIX[dim.op].format(self.dim(dim.a, True), self.dim(dim.b, True))

    def grid(self, dims: list[int]) -> str:
        """The workgroups of a launch; a count that is folded into two axes because of WebGPU's limit is shown whole."""
        if len(dims) == 2:
            x, y = (self.model.dims[d] for d in dims)
            folded = x.op == DimOp.MIN and y.op == DimOp.CEILDIV and x.a == y.a and x.b == y.b
            if folded and self.model.dims[x.b].op == DimOp.CONST:
                return self.dim(x.a)
        return " x ".join(self.dim(d) for d in dims)

    def tensor(self, index: int) -> str:
        return self.model.tensors[index].name or f"tensor {index}"

    def shape(self, index: int) -> str:
        tensor = self.model.tensors[index]
        return f"{tensor.dtype.name.lower()}[{', '.join(self.dim(d) for d in tensor.shape)}]"

    def tensors(self, indices: Iterable[int], most: int = 8) -> str:
        names = [self.tensor(i) for i in indices]
        return (
            ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
            if names
            else "nothing"
        )

    def region(self, program: Program, index: int, written: bool = False) -> str:
        region = program.regions[index]
        what = self.tensor(region.tensor) if region.tensor >= 0 else f"{region.place.name.lower()} {index}"
        return what + ("*" if written else "")


def _overview(text: _Text) -> list[str]:
    model = text.model
    rows = []
    for symbol in model.symbols:
        step = f" in steps of {symbol.multiple_of}" if symbol.multiple_of > 1 else ""
        rows.append(["size", symbol.name, f"{symbol.min:,} to {symbol.max:,}{step}"])
    for role, name in ROLES.items():
        held = [model.tensors[i] for i in text.with_data if model.tensors[i].role == role]
        if held:
            trainable = sum(1 for t in held if t.trainable)
            rows.append(
                [
                    name,
                    str(len(held)),
                    _bytes(sum(len(t.data or b"") for t in held)) + (f", {trainable} trainable" if trainable else ""),
                ]
            )
    for index, segment in enumerate(model.segments):
        rows.append(
            [
                "segment",
                str(index),
                f"{_bytes(segment.size)} from byte {segment.offset:,}, SHA-256 {segment.sha256.hex()[:16]}",
            ]
        )
    code = {bytes(k.code) for p in model.programs for k in p.kernels if k.code is not None}
    if code:
        rows.append(["WGSL", f"{len(code)}", f"{_bytes(sum(map(len, code)))} of different kernels"])
    if model.base:
        rows.append(["checkpoint of", "", model.base.hex()])
    rows += [
        ["metadata", key, value if len(value) < 60 and value.isprintable() else f"{len(value):,} characters"]
        for key, value in model.metadata
    ]
    return _table(rows)


def _tensor_row(text: _Text, index: int) -> list[str]:
    tensor = text.model.tensors[index]
    return [
        str(index),
        text.tensor(index),
        text.shape(index),
        tensor.role.name.lower(),
        "trainable" if tensor.trainable else "",
        _bytes(len(tensor.data or b"")),
    ]


def _signature(text: _Text, signature: Signature) -> list[str]:
    def port(port: Port) -> str:
        extra = f" = {port.fill:g}" if port.optional else ""
        return f"{port.name}: {text.shape(port.tensor)}{extra}" + (
            f" in {port.min}..{port.max}" if port.bounded else ""
        )

    programs = ", ".join(f"{i} ({text.model.programs[i].target.name})" for i in signature.programs) or "none"
    lines = [
        f"signature {signature.name}({', '.join(map(port, signature.inputs))}) -> "
        + ", ".join(map(port, signature.outputs))
    ]
    lines += [
        f"  programs {programs}"
        + (f", graph {text.model.graphs[signature.graph].name}" if signature.graph >= 0 else ""),
        f"  reads {text.tensors(signature.reads)}",
        f"  writes {text.tensors(signature.writes)}",
    ]
    if signature.advance:
        moved = (
            f"{text.tensor(a.tensor)} by {text.dim(a.by)}" if a.by else f"{text.tensor(a.tensor)} to its start"
            for a in signature.advance
        )
        lines.append("  advances " + ", ".join(moved))
    return lines


def _program(text: _Text, index: int, program: Program, brief: bool) -> list[str]:
    users = [s.name for s in text.model.signatures if index in s.programs]
    launches = sum(step.kind == StepKind.DISPATCH for step in program.steps)
    lines = [
        f"program {index} {program.target.name} for {', '.join(users) or 'nobody'}: {launches} dispatches of "
        f"{len(program.kernels)} kernels, {len(program.regions)} regions"
        + (f", module of {_bytes(len(program.module))}" if program.module is not None else "")
    ]
    lines += [f"  needs {need}" for need in _needs(text, program)]
    memory: Counter[str] = Counter()
    for region in program.regions:
        if region.parent < 0:
            memory[region.place.name.lower()] += text.lowest[region.bytes]
    sizes = ", ".join(f"{s.name}={symbol_range(s)[0]}" for s in text.model.symbols)
    lines.append(
        "  memory (before scratch is shared) "
        + ", ".join(f"{place} {_bytes(n)}" for place, n in memory.items())
        + (f" at {sizes}" if sizes else "")
    )
    if brief:
        return lines
    lines += ["  regions", *_table([_region_row(text, program, i, r) for i, r in enumerate(program.regions)], "    ")]
    return [*lines, "  steps (* written)", *_table(list(_step_rows(text, program)), "    ")]


def _needs(text: _Text, program: Program) -> Iterable[str]:
    needs = program.requires
    yield from (f"feature {feature}" for feature in needs.features)
    yield from (f"{limit.name} of at least {limit.value:,}" for limit in needs.limits)
    yield from (f"{text.model.symbols[r.symbol].name} in {r.min}..{r.max}" for r in needs.when)
    for a, b in zip(needs.equal[::2], needs.equal[1::2], strict=True):
        yield f"{text.dim(a)} = {text.dim(b)}"


def _region_row(text: _Text, program: Program, index: int, region: Region) -> list[str]:
    place = region.place.name.lower()
    inside = f"in {region.parent} at {text.dim(region.offset)}" if region.parent >= 0 else ""
    return [
        str(index),
        place,
        text.tensor(region.tensor) if region.tensor >= 0 else "",
        region.storage.name.lower(),
        f"{text.dim(region.bytes)} B",
        inside,
    ]


def _step_rows(text: _Text, program: Program) -> Iterable[list[str]]:
    ends: list[int] = []
    for index, step in enumerate(program.steps):
        while ends and index >= ends[-1]:
            ends.pop()
        indent = "  " * len(ends)
        if step.kind == StepKind.LOOP:
            ends.append(index + 1 + step.body)
            yield [str(index), f"{indent}{text.dim(step.count)} times:", "", "", "", ""]
        else:
            yield [str(index), indent + program.kernels[step.kernel].name, *_step_row(text, program, step)]


def _step_row(text: _Text, program: Program, step: Step) -> list[str]:
    regions = [text.region(program, r, bool(step.writes >> bit & 1)) for bit, r in enumerate(step.regions)]
    words = [text.dim(d) for d in step.uniforms] + [text.tensor(t) for t in step.scalars]
    flops = text.lowest[step.flops]
    return [
        text.grid(step.grid),
        ", ".join(regions),
        f"({', '.join(words)})" if words else "",
        f"{flops:,} flops" if flops else "",
    ]


def _graph(text: _Text, index: int, graph: Graph, brief: bool) -> list[str]:
    ops = Counter(text.model.opcodes[node.op].name for node in graph.nodes)
    lines = [
        f"graph {index} {graph.name}: {len(graph.nodes)} nodes, {', '.join(f'{n} {c}' for n, c in ops.most_common())}"
    ]
    if brief:
        return lines
    rows = []
    for node in graph.nodes:
        inputs = ", ".join(text.tensor(t) if t >= 0 else "-" for t in node.inputs)
        outputs = ", ".join(f"{text.tensor(t)}: {text.shape(t)}" for t in node.outputs)
        rows.append([f"{text.model.opcodes[node.op].name}({inputs})", outputs, node.layer])
    return lines + _table(rows)


def _table(rows: Sequence[Sequence[str]], indent: str = "  ") -> list[str]:
    """Rows as aligned columns; a long cell does not push the others apart."""
    if not rows:
        return []
    widths = [min(max(len(row[c]) for row in rows), 44) for c in range(len(rows[0]))]
    return [
        indent + "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]


def _bytes(n: int) -> str:
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if n >= size:
            return f"{n / size:.1f} {unit}"
    return f"{n} B"
