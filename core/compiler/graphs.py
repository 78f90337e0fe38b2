"""Graphs in a model, and back: what the host interprets and other targets are compiled from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ..autodiff.bodies import Body
from ..dtypes import ALL
from ..errors import ModelError
from ..graph.ir import Graph, Node, State, Value
from ..ops.op import find_op
from ..program import format as fmt
from ..shapes import Dim, Size, symbol

if TYPE_CHECKING:
    from .compile import Assembly, Source

_DTYPES = {d.code: d for d in ALL}
_SIZES, _EMPTY = ":sizes", ":empty"  # suffixes of attribute names: a tuple of sizes; a tuple of nothing
DEEPEST = 8  # bodies in bodies
_NESTED = ":pairs"  # a tuple of tuples of ints, flattened; the first number is the length of each


def store_graph(assembly: Assembly, source: Source, graph: Graph) -> int:
    """Adds a graph of primitives to the model; returns its index. Its outputs are those of the signature, then the new
    values of
    the written states in the order of `Signature.writes`."""
    written = sorted(graph.writes, key=lambda item: assembly.state(item[0]))
    return _add_graph(assembly, source.name, graph, (*graph.outputs, *(v for _, v in written)))


def _add_graph(assembly: Assembly, name: str, graph: Graph, outputs: tuple[Value, ...]) -> int:
    """Bodies come before the graph that names them."""
    made = fmt.Graph(name, [], [])
    numbers: dict[Value, int] = {}

    def number(value: Value | None) -> int:
        if value is None:
            return -1
        if value not in numbers:
            if value.constant is not None:
                numbers[value] = assembly.constant(value)
            else:
                numbers[value] = assembly.tensor(value, f"{name}/{value.label or 'v'}")
        return numbers[value]

    made.inputs = [number(v) for v in graph.inputs]
    for node in graph.nodes:
        inputs = [number(v) for v in node.inputs]
        attrs = [_attr(assembly, attribute, value, name) for attribute, value in sorted(node.attrs.items())]
        made.nodes.append(fmt.Node(_opcode(assembly, node), inputs, [number(v) for v in node.outputs], attrs))
    made.outputs = [number(v) for v in outputs]
    assembly.model.graphs.append(made)
    return len(assembly.model.graphs) - 1


def _opcode(assembly: Assembly, node: Node) -> int:
    codes = assembly.model.opcodes
    for i, code in enumerate(codes):
        if code.name == node.op.name and code.version == node.op.version:
            return i
    codes.append(fmt.OpCode(node.op.name, node.op.version))
    return len(codes) - 1


def _attr(assembly: Assembly, name: str, value: Any, inside: str) -> fmt.NamedAttr:
    if isinstance(value, Body):
        graph, number = value.graph, len(assembly.model.graphs)
        made = _add_graph(assembly, f"{inside}/{name}{number}", graph, graph.outputs)
        return fmt.NamedAttr(name, fmt.GraphRef(made))
    if value is None:
        return fmt.NamedAttr(name + ":none", [0])
    if isinstance(value, bool | str):
        return fmt.NamedAttr(name, value)
    if isinstance(value, int):
        return fmt.NamedAttr(name, [value])
    if isinstance(value, float):
        return fmt.NamedAttr(name, [value])
    if isinstance(value, Dim):
        return fmt.NamedAttr(name + ":size", [assembly.dims.index(value)])
    if isinstance(value, tuple):
        return _tuple_attr(assembly, name, value)
    raise TypeError(
        f"attribute {name!r} of type {type(value).__name__} cannot be stored; attributes are numbers, text, bools, "
        "sizes and tuples of them"
    )


def _tuple_attr(assembly: Assembly, name: str, value: tuple[Any, ...]) -> fmt.NamedAttr:
    if not value:
        return fmt.NamedAttr(name + _EMPTY, [0])
    if all(isinstance(v, tuple) for v in value):
        return fmt.NamedAttr(name + _NESTED, [len(value[0]), *(int(x) for v in value for x in v)])
    if any(isinstance(v, Dim) for v in value):
        return fmt.NamedAttr(name + _SIZES, assembly.dims.all(value))
    if any(isinstance(v, float) for v in value):
        return fmt.NamedAttr(name + ":tuple", [float(v) for v in value])
    return fmt.NamedAttr(name + ":tuple", [int(v) for v in value])


# -- back --------------------------------------------------------------------------------------------------------------


def load_graph(model: fmt.Model, signature: fmt.Signature, states: dict[int, State]) -> Graph:
    """The graph of a signature, with State cells for the tensors of state. Raises ModelError for an unknown op or
    no graph.
    """
    if signature.graph < 0:
        raise ModelError(
            "G01-graph",
            f"signatures[{signature.name}]",
            "the file holds no graph for it (it was written without graphs)",
        )
    sizes = load_sizes(model)
    inputs, nodes, outputs = _load_nodes(_Loading(model, sizes), signature.graph, states)
    count = len(signature.outputs)
    held = [states.get(t) for t in (*signature.writes, *(a.tensor for a in signature.advance))]
    if (
        len(outputs) != count + len(signature.writes)
        or None in outputs
        or None in held
        or any((s.shape, s.dtype) != (v.sizes, v.dtype) for s, v in zip(held, outputs[count:], strict=False))
    ):
        raise ModelError(
            "G06-signature", f"signatures[{signature.name}]", "its graph does not give its outputs and writes"
        )
    writes = tuple((states[t], v) for t, v in zip(signature.writes, outputs[count:], strict=True))
    advances = tuple((states[a.tensor], sizes[a.by]) for a in signature.advance)
    # type: ignore[arg-type]
    return Graph(signature.name, inputs, tuple(nodes), tuple(outputs[:count]), writes, advances)


@dataclass
class _Loading:
    """A model whose graphs are read: its sizes, the bodies known so far, and the graphs that are being read."""

    model: fmt.Model
    sizes: list[Size]
    bodies: dict[int, Body] = field(default_factory=dict)
    open: list[int] = field(default_factory=list)

    def body(self, number: int) -> Body:
        """A graph that is an attribute: it comes before the one that names it, and touches no state."""
        if number not in self.bodies:
            where = f"graphs[{self.open[-1]}]"
            if number >= self.open[-1]:
                raise ModelError("G04-attribute", where, f"names graph {number}, only earlier ones may be used")
            if len(self.open) > DEEPEST:
                raise ModelError("G04-attribute", where, f"bodies nest more than {DEEPEST} deep")
            inputs, nodes, outputs = _load_nodes(self, number, {})
            if None in inputs or None in outputs:
                raise ModelError("G05-order", f"graphs[{number}]", "an input or output is absent")
            self.bodies[number] = Body(Graph(self.model.graphs[number].name, inputs, tuple(nodes), tuple(outputs)))
        return self.bodies[number]


def _load_nodes(
    loading: _Loading, number: int, states: dict[int, State]
) -> tuple[tuple[Any, ...], list[Node], list[Any]]:
    """Inputs, nodes and outputs of a stored graph."""
    model, sizes = loading.model, loading.sizes
    stored = model.graphs[number]
    loading.open.append(number)
    values: dict[int, Value] = {}

    def value(i: int, needed: bool = True) -> Value | None:
        if i < 0:
            return None
        if i not in values:
            t = model.tensors[i]
            fixed = i in states or (t.role == fmt.Role.CONSTANT and t.data is not None)
            if needed and not fixed:
                raise ModelError(
                    "G05-order", f"graphs[{number}]", f"reads tensor {i} before anything makes it"
                )
            if t.dtype.name not in _DTYPES:
                raise ModelError("G03-shape", f"tensors[{i}]", f"no graph can compute with {t.dtype.name}")
            shape, dtype = tuple(sizes[d] for d in t.shape), _DTYPES[t.dtype.name]
            array = None
            if t.role == fmt.Role.CONSTANT and t.data is not None:
                array = np.frombuffer(bytes(t.data), dtype.numpy).reshape(shape)
            values[i] = Value(shape, dtype, label=t.name, constant=array, state=states.get(i))
        return values[i]

    inputs = tuple(value(i, needed=False) for i in stored.inputs)
    nodes = []
    for n in stored.nodes:
        node = _load_node(loading, n, [value(i) for i in n.inputs], [model.tensors[i] for i in n.outputs])
        nodes.append(node)
        if any(i in values or i in states for i in n.outputs) or len(set(n.outputs)) != len(n.outputs):
            raise ModelError(
                "G05-order", f"graphs[{number}]", f"op {node.op.name} makes a tensor of {n.outputs} again"
            )
        values.update(zip(n.outputs, node.outputs, strict=True))
    outputs = [value(i) for i in stored.outputs]
    loading.open.pop()
    return inputs, nodes, outputs


def _load_node(
    loading: _Loading, stored: fmt.Node, inputs: list[Value | None], outputs: list[fmt.Tensor]
) -> Node:
    model, sizes = loading.model, loading.sizes
    code = model.opcodes[stored.op]
    try:
        op = find_op(code.name)
    except KeyError as error:
        raise ModelError("G02-op", f"opcodes[{stored.op}]", str(error)) from None
    if code.version > op.version:
        raise ModelError(
            "G02-op",
            f"opcodes[{stored.op}]",
            f"op {code.name} has version {code.version}; this release knows {op.version}",
        )
    try:
        attrs = dict(_load_attr(loading, a) for a in stored.attrs)
    except (IndexError, TypeError, ValueError) as error:
        raise ModelError("G04-attribute", f"op {code.name}", f"an attribute has no such value: {error}") from None
    try:
        specs = op.infer(*(None if v is None else v.spec for v in inputs), **attrs)
    except Exception as error:
        raise ModelError("G03-shape", f"op {code.name}", f"its inputs and attributes do not fit: {error}") from error
    specs = specs if isinstance(specs, tuple) else (specs,)
    held = [(tuple(sizes[d] for d in t.shape), t.dtype.name) for t in outputs]
    if held != [(s.shape, s.dtype.code) for s in specs]:
        raise ModelError(
            "G03-shape",
            f"op {code.name}",
            f"the file says its outputs are {held}, the op gives {[(s.shape, s.dtype.code) for s in specs]}",
        )
    return Node(op, inputs, attrs, specs)


def _load_attr(loading: _Loading, attr: fmt.NamedAttr) -> tuple[str, Any]:
    name, _, kind = attr.name.partition(":")
    value: Any = attr.value
    sizes = loading.sizes
    if isinstance(value, fmt.GraphRef):
        return name, loading.body(value.v)
    if not kind:
        return name, value[0] if isinstance(value, list) else value
    convert: dict[str, Callable[[], Any]] = {
        "sizes": lambda: tuple(sizes[i] for i in value),
        "size": lambda: sizes[value[0]],
        "empty": lambda: (),
        "none": lambda: None,
        "tuple": lambda: tuple(value),
        "pairs": lambda: tuple(tuple(value[i : i + value[0]]) for i in range(1, len(value), value[0])),
    }
    if kind not in convert:
        raise ModelError("G04-attribute", attr.name, f"unknown kind {kind!r}")
    return name, convert[kind]()


def load_sizes(model: fmt.Model) -> list[Size]:
    """The dims of a model as sizes."""
    from ..shapes import ceil_div, larger, smaller

    made: list[Size] = []
    for d in model.dims:
        if d.op == fmt.DimOp.CONST:
            made.append(d.a)
        elif d.op == fmt.DimOp.SYMBOL:
            s = model.symbols[d.a]
            made.append(symbol(s.name, s.min, s.max, s.multiple_of))
        else:
            guard = model.dims[d.a]
            guarded = d.op == fmt.DimOp.SUB and guard.op == fmt.DimOp.MAX and guard.b == d.b  # DimTable writes a - b so
            a, b = made[guard.a if guarded else d.a], made[d.b]
            made.append(
                {
                    fmt.DimOp.ADD: lambda a, b: a + b,
                    fmt.DimOp.SUB: lambda a, b: a - b,
                    fmt.DimOp.MUL: lambda a, b: a * b,
                    fmt.DimOp.FLOORDIV: lambda a, b: a // b,
                    fmt.DimOp.CEILDIV: ceil_div,
                    fmt.DimOp.MOD: lambda a, b: a % b,
                    fmt.DimOp.MIN: smaller,
                    fmt.DimOp.MAX: larger,
                }[d.op](a, b)
            )
    return made
