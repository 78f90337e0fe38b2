"""The report of `tideflow inspect`."""

import pytest
from tideflow.__main__ import main
from tideflow.program.format import (
    DimExpr,
    DimOp,
    DType,
    Kernel,
    Model,
    Place,
    Port,
    Program,
    Region,
    Role,
    Signature,
    Step,
    StepKind,
    Symbol,
    Target,
    Tensor,
)
from tideflow.program.inspect import describe
from tideflow.program.write import write_model


@pytest.fixture
def model():
    return Model(
        symbols=[Symbol("batch", 1, 64)],
        dims=[
            DimExpr(DimOp.CONST, 0),
            DimExpr(DimOp.SYMBOL, 0),
            DimExpr(DimOp.CONST, 4),
            DimExpr(DimOp.MUL, 1, 2),
            DimExpr(DimOp.ADD, 1, 2),
            DimExpr(DimOp.CEILDIV, 4, 2),
        ],
        tensors=[
            Tensor("x", DType.F32, [1]),
            Tensor("y", DType.F32, [1]),
            Tensor("w", DType.F32, [2], Role.WEIGHT, True, bytes(16)),
        ],
        programs=[
            Program(
                Target.WGSL,
                kernels=[Kernel("double", code=b"@compute fn main() {}", bindings=2)],
                regions=[Region(Place.INPUT, 3, tensor=0), Region(Place.OUTPUT, 3, tensor=1)],
                steps=[Step(StepKind.LOOP, count=2, body=1), Step(kernel=0, regions=[0, 1], grid=[5], writes=2)],
            )
        ],
        signatures=[Signature("predict", programs=[0], inputs=[Port("x", 0)], outputs=[Port("y", 1)])],
    )


def test_describe_names_everything(model):
    text = describe(model, tensors=True)
    for part in (
        "batch  1 to 64",
        "weights  1      16 B, 1 trainable",
        "signature predict(x: f32[batch]) -> y: f32[batch]",
        "program 0 WGSL for predict: 1 dispatches of 1 kernels, 2 regions",
        "4 times:",
        "ceil((batch + 4) / 4)",
        "x, y*",
        "batch*4 B",
        "2  w  f32[4]  weight  trainable  16 B",
    ):
        assert part in text, f"{part!r} is missing in\n{text}"


def test_command_prints_a_file_and_its_kernels(model, tmp_path, capsys):
    path = tmp_path / "model.tide"
    path.write_bytes(write_model(model))
    assert main(["inspect", str(path)]) == 0
    assert "signature predict" in capsys.readouterr().out
    assert main(["inspect", str(path), "--code", "double"]) == 0
    assert capsys.readouterr().out == "@compute fn main() {}\n"
    assert main(["inspect", str(path), "--code", "triple"]) == 1


def test_command_says_what_is_wrong_with_a_broken_file(model, tmp_path, capsys):
    path = tmp_path / "model.tide"
    path.write_bytes(write_model(model)[:-1])
    assert main(["inspect", str(path), str(tmp_path / "absent.tide")]) == 1
    errors = capsys.readouterr().err
    assert "C02-header" in errors and "truncated download" in errors and "absent.tide" in errors
