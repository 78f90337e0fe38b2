"""Models that together use every field of the schema: the seeds of the corpus of broken files, and of round trips."""

from __future__ import annotations

from tideflow.program.format import (
    Advance,
    DimExpr,
    DimOp,
    DType,
    Graph,
    GraphRef,
    Kernel,
    Limit,
    Model,
    NamedAttr,
    Node,
    OpCode,
    Place,
    Port,
    Program,
    Quant,
    Range,
    Region,
    Requirement,
    Role,
    Signature,
    Step,
    StepKind,
    Symbol,
    Target,
    Tensor,
)

DYLINK = b"\0\x0f\x08dylink.0\1\4\0\0\0\0"
IMPORT = b"\2\x0f\1\3env\6memory\2\0\1"
# one function (i32, i32, i32) -> i32 that returns its third argument, exported as `run`
TYPE = b"\1\x08\1\x60\3\x7f\x7f\x7f\1\x7f"
FUNCTION = b"\3\2\1\0"
EXPORT = b"\7\7\1\3run\0\0"
CODE = b"\x0a\6\1\4\0\x20\2\x0b"
MODULE = b"\0asm\1\0\0\0" + DYLINK + IMPORT[:0] + TYPE + IMPORT + FUNCTION + EXPORT + CODE


def weights_only() -> Model:
    """A checkpoint: tensors, no programs, a base."""
    return Model(
        tensors=[
            Tensor("w", DType.F32, [1, 2], Role.WEIGHT, True, bytes(range(24))),
            Tensor("q", DType.I8, [2, 1], Role.WEIGHT, False, bytes(6), Quant([0.5, 0.25, 2.0], [1, -2, 3], 0, 4)),
            Tensor("empty", DType.F32, [0, 1], Role.WEIGHT, False, b""),
        ],
        dims=[DimExpr(DimOp.CONST, 0), DimExpr(DimOp.CONST, 2), DimExpr(DimOp.CONST, 3)],
        metadata=[("name", "checkpoint"), ("note", "any\ntext: \u00e9\u4e2d")],
        base=bytes(range(32)),
    )


def trainable() -> Model:
    """A linear model y = relu(x @ w + b) with a symbolic batch, programs for both targets, a loop and a train step."""
    dims = [
        DimExpr(DimOp.CONST, 0),
        DimExpr(DimOp.SYMBOL, 0),
        DimExpr(DimOp.CONST, 3),
        DimExpr(DimOp.CONST, 2),  # 0-3
        DimExpr(DimOp.CONST, 4),
        DimExpr(DimOp.MUL, 1, 2),
        DimExpr(DimOp.MUL, 5, 4),
        DimExpr(DimOp.MUL, 1, 3),  # 4-7
        DimExpr(DimOp.MUL, 7, 4),
        DimExpr(DimOp.CONST, 64),
        DimExpr(DimOp.CEILDIV, 1, 9),
        DimExpr(DimOp.CONST, 256),  # 8-11
        DimExpr(DimOp.CONST, 512),
        DimExpr(DimOp.CONST, 24),
        DimExpr(DimOp.CONST, 8),
        DimExpr(DimOp.CONST, 1),  # 12-15
        DimExpr(DimOp.FLOORDIV, 6, 9),
        DimExpr(DimOp.MOD, 1, 9),
        DimExpr(DimOp.MIN, 1, 9),
        DimExpr(DimOp.MAX, 1, 9),  # 16-19
        DimExpr(DimOp.ADD, 1, 2),
        DimExpr(DimOp.SUB, 20, 3),
        DimExpr(DimOp.SYMBOL, 1),  # 20-22
    ]
    tensors = [
        Tensor("x", DType.F32, [1, 2]),
        Tensor("y", DType.I64, [1]),
        Tensor("out", DType.F32, [1, 3]),  # 0-2
        Tensor("w", DType.F32, [2, 3], Role.WEIGHT, True, bytes(range(100, 124))),  # 3
        Tensor("b", DType.F32, [3], Role.WEIGHT, True, bytes(8)),  # 4
        Tensor("w/momentum", DType.F32, [2, 3], Role.OPTIMIZER_SLOT, False, bytes(24)),  # 5
        Tensor("iterations", DType.I64, [], Role.COUNTER, False, bytes(8)),  # 6
        Tensor("learning_rate", DType.F32, []),
        Tensor("loss", DType.F32, []),  # 7-8
        Tensor("table", DType.U32, [4], Role.CONSTANT, False, bytes(range(16))),  # 9
        Tensor("", DType.F32, [1, 3]),
        Tensor("", DType.F32, [1, 3]),  # 10-11
        Tensor("mean", DType.F32, [], Role.METRIC, False, bytes(4)),  # 12
        Tensor("random", DType.U32, [4], Role.RNG, False, bytes(range(16))),  # 13
    ]
    body = Graph("body", [10], [11], [Node(1, [10], [11], layer="dense/relu")])
    main = Graph(
        "main",
        [0],
        [2],
        [
            Node(
                0,
                [0, 3, -1],
                [10],
                [
                    NamedAttr("transpose_b", False),
                    NamedAttr("axes", [1, -1]),
                    NamedAttr("scale", [0.5, 2.0]),
                    NamedAttr("padding", "SAME"),
                    NamedAttr("none", []),
                ],
            ),
            Node(2, [10], [2], [NamedAttr("body", GraphRef(0)), NamedAttr("flag", True)]),
        ],
    )
    return Model(
        symbols=[Symbol("batch", 1, 1024), Symbol("time", 4, 40, 4)],
        dims=dims,
        tensors=tensors,
        opcodes=[OpCode("matmul"), OpCode("relu"), OpCode("call", 2)],
        graphs=[body, main],
        programs=[_predict(Target.WGSL), _predict(Target.WASM), _train()],
        signatures=[
            Signature("predict", 1, [0, 1], [Port("x", 0)], [Port("out", 2)], [3, 4]),
            Signature(
                "train_step",
                -1,
                [2],
                [Port("x", 0), Port("y", 1, min=0, max=9, bounded=True), Port("learning_rate", 7, True, 0.001)],
                [Port("loss", 8)],
                [3, 4, 5],
                [3, 4, 5, 12],
                [Advance(6, 15), Advance(13, 1)],
            ),
        ],
        metadata=[("config", "{}")],
    )


def _regions() -> list[Region]:
    return [
        Region(Place.INPUT, 6, tensor=0),
        Region(Place.OUTPUT, 8, tensor=2),
        Region(Place.STATE, 12),  # 0-2
        Region(Place.STATE, 13, tensor=3, parent=2),
        Region(Place.STATE, 14, tensor=4, parent=2, offset=11),  # 3-4
        Region(Place.SCRATCH, 8),
        Region(Place.CONSTANT, 9, DType.U32, tensor=9),  # 5-6
    ]


def _predict(target: Target) -> Program:
    wgsl = target == Target.WGSL
    kernels = [
        Kernel("matmul", code=b"@compute fn main() {}" if wgsl else None, bindings=3),
        Kernel("relu", "relu", code=b"@compute fn relu() {}" if wgsl else None, bindings=3),
    ]
    return Program(
        target,
        1,
        Requirement(["shader-f16"], [Limit("maxBufferSize", 2**28)], [Range(0, 1, 512)], [1, 1]),
        kernels,
        _regions(),
        [
            Step(kernel=0, regions=[0, 3, 5], grid=[10, 15], uniforms=[1, 2, 3], flops=5, writes=4),
            Step(kernel=1, regions=[5, 4, 1], grid=[10], uniforms=[1, 16, 17, 18, 19, 21], flops=7, writes=4),
        ],
        None if wgsl else MODULE,
    )


def _train() -> Program:
    """A train step in form only: its kernels do nothing, but every kind of step and scalar occurs."""
    regions = _regions()
    regions[1] = Region(Place.OUTPUT, 4, tensor=8)
    regions += [
        Region(Place.INPUT, 8, DType.U32, tensor=1),
        Region(Place.STATE, 13, tensor=5),
        Region(Place.STATE, 12),  # 7-9
        Region(Place.STATE, 4, tensor=12),
    ]  # 10
    kernels = [
        Kernel("forward", code=b"@compute fn main() { }", bindings=4),
        Kernel("step", code=b"fn step() {}", bindings=2),
        Kernel("loss", code=b"@compute fn main() {}", bindings=3),
    ]
    return Program(
        Target.WGSL,
        -1,
        Requirement(),
        kernels,
        regions,
        [
            Step(kernel=0, regions=[0, 7, 3, 5], grid=[10], uniforms=[1], scalars=[13], flops=5, writes=8),
            Step(StepKind.LOOP, count=4, body=3),
            Step(kernel=1, regions=[5, 9], grid=[15], writes=2),
            Step(StepKind.LOOP, count=3, body=1),
            Step(kernel=1, regions=[8, 9], grid=[15, 15, 15], writes=3),
            Step(kernel=2, regions=[2, 10, 1], grid=[15], scalars=[7, 6], writes=7),
        ],
    )


SAMPLES = {"weights_only": weights_only, "trainable": trainable, "empty": Model}
