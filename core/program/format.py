"""The contents of a `model.tide` as plain dataclasses: one class per table of `schema/model.fbs`, same names and order.

Indices are plain ints into the lists of `Model`. A *dim* is an index into `Model.dims`; `dims[0]` is CONST 0.
Bytes (`Tensor.data`, `Kernel.code`, `Program.module`) sit in the objects; the writer places them in segments as Slices.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum


class DType(IntEnum):
    """Element types as stored. Codes never change."""

    F32 = 0
    F16 = 1
    BF16 = 2
    F64 = 3
    I8 = 4
    U8 = 5
    I16 = 6
    U16 = 7
    I32 = 8
    U32 = 9
    I64 = 10
    U64 = 11
    BOOL = 12
    STRING = 13


class Role(IntEnum):
    """What a tensor is for. COUNTER and RNG tensors are host-owned: the executor writes and advances them."""

    VALUE = 0
    CONSTANT = 1
    WEIGHT = 2
    OPTIMIZER_SLOT = 3
    METRIC = 4
    COUNTER = 5
    RNG = 6


class Place(IntEnum):
    """Where the bytes of a region live."""

    SCRATCH = 0
    STATE = 1
    CONSTANT = 2
    INPUT = 3
    OUTPUT = 4


class DimOp(IntEnum):
    """Operators of size expressions."""

    CONST = 0
    SYMBOL = 1
    ADD = 2
    SUB = 3
    MUL = 4
    FLOORDIV = 5
    CEILDIV = 6
    MOD = 7
    MIN = 8
    MAX = 9


class Target(IntEnum):
    """What a program is compiled for."""

    WGSL = 0
    WASM = 1


class StepKind(IntEnum):
    """DISPATCH runs one kernel; LOOP repeats the next `body` list entries `count` times."""

    DISPATCH = 0
    LOOP = 1


@dataclass
class Symbol:
    name: str
    min: int = 1
    max: int = 0
    multiple_of: int = 1


@dataclass
class DimExpr:
    """CONST a | SYMBOL a | op over earlier expressions a and b."""

    op: DimOp
    a: int = 0
    b: int = 0


@dataclass
class Quant:
    scale: list[float] = field(default_factory=list)
    zero_point: list[int] = field(default_factory=list)
    axis: int = -1
    block: int = 0


@dataclass
class Slice:
    """Bytes inside a segment; `offset` is a multiple of 256."""

    segment: int
    offset: int
    size: int


@dataclass
class Tensor:
    """`data` holds the raw little-endian bytes in memory, or None; the writer places them in a segment."""

    name: str
    dtype: DType
    shape: list[int]  # dims
    role: Role = Role.VALUE
    trainable: bool = False
    data: bytes | memoryview | None = None
    quant: Quant | None = None


# list[int] -> Ints, list[float] -> Floats, str -> Text, bool -> Flag
AttrValue = list[int] | list[float] | str | bool | int | float


@dataclass
class GraphRef:
    """An attribute that names a body graph."""

    v: int


@dataclass
class NamedAttr:
    """`value`: list[int] (Ints), list[float] (Floats), str (Text), bool (Flag) or GraphRef."""

    name: str
    value: object


@dataclass
class OpCode:
    name: str
    version: int = 1


@dataclass
class Node:
    """One op of a graph; an input of -1 is absent."""

    op: int
    inputs: list[int]
    outputs: list[int]
    attrs: list[NamedAttr] = field(default_factory=list)
    layer: str = ""


@dataclass
class Graph:
    name: str
    inputs: list[int]
    outputs: list[int]
    nodes: list[Node] = field(default_factory=list)


@dataclass
class Limit:
    name: str
    value: int


@dataclass
class Range:
    symbol: int
    min: int
    max: int


@dataclass
class Requirement:
    features: list[str] = field(default_factory=list)
    limits: list[Limit] = field(default_factory=list)
    when: list[Range] = field(default_factory=list)
    equal: list[int] = field(default_factory=list)  # dims, in pairs that must agree


@dataclass
class Kernel:
    """`code` is the WGSL text as UTF-8, None in a WASM program (its one module holds all)."""

    name: str
    entry: str = "main"
    code: bytes | None = None
    hash: bytes = b""  # SHA-256 of the code
    bindings: int = 0


@dataclass
class Region:
    """A range of memory. `bytes` and `offset` are dims; `offset` (inside the parent) is a multiple of 256."""

    place: Place
    bytes: int
    storage: DType = DType.F32
    tensor: int = -1
    parent: int = -1
    offset: int = 0


@dataclass
class Step:
    """One kernel launch: `regions` bound at 0..n-1, then one uniform slot: `uniforms` (dims, u32), then `scalars`."""

    kind: StepKind = StepKind.DISPATCH
    kernel: int = 0
    regions: list[int] = field(default_factory=list)
    grid: list[int] = field(default_factory=list)
    uniforms: list[int] = field(default_factory=list)
    scalars: list[int] = field(default_factory=list)  # host-owned tensors; 64-bit ones are two u32 words
    flops: int = 0
    writes: int = 0  # bit i: regions[i] is written
    count: int = 0
    body: int = 0


@dataclass
class Program:
    target: Target
    graph: int = -1
    requires: Requirement = field(default_factory=Requirement)
    kernels: list[Kernel] = field(default_factory=list)
    regions: list[Region] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    module: bytes | None = None


@dataclass
class Port:
    """An input or output of a signature; `fill`: default of an optional input; `min`..`max` bound integer values."""

    name: str
    tensor: int
    optional: bool = False
    fill: float = 0.0
    min: int = 0
    max: int = 0
    bounded: bool = False


@dataclass
class Advance:
    """After a run the executor adds `by` (a dim) to a host-owned tensor."""

    tensor: int
    by: int


@dataclass
class Signature:
    name: str
    graph: int = -1
    programs: list[int] = field(default_factory=list)
    inputs: list[Port] = field(default_factory=list)
    outputs: list[Port] = field(default_factory=list)
    reads: list[int] = field(default_factory=list)
    writes: list[int] = field(default_factory=list)
    advance: list[Advance] = field(default_factory=list)


@dataclass
class Segment:
    """A range of the file, from its start; `offset` is a multiple of 4096."""

    offset: int
    size: int
    sha256: bytes


@dataclass
class Model:
    """A whole file. Segments are made by the writer from the `data`, `code` and `module` bytes."""

    schema_version: int = 1
    producer: str = "tideflow"
    symbols: list[Symbol] = field(default_factory=list)
    dims: list[DimExpr] = field(default_factory=lambda: [DimExpr(DimOp.CONST, 0)])
    tensors: list[Tensor] = field(default_factory=list)
    opcodes: list[OpCode] = field(default_factory=list)
    graphs: list[Graph] = field(default_factory=list)
    programs: list[Program] = field(default_factory=list)
    signatures: list[Signature] = field(default_factory=list)
    metadata: list[tuple[str, str]] = field(default_factory=list)
    base: bytes = b""
    segments: list[Segment] = field(default_factory=list, compare=False)  # set by the reader, ignored by the writer
