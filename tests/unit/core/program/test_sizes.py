"""Size expressions: values, interval bounds, and what is refused."""

import pytest
from tideflow.errors import InvalidArgumentError, ModelError
from tideflow.program.format import DimExpr, DimOp, Symbol
from tideflow.program.sizes import LARGEST, bounds, evaluate

C, S = DimOp.CONST, DimOp.SYMBOL
BATCH = Symbol("batch", 1, 1024)


def binary(op, x, y):
    return [DimExpr(C, x), DimExpr(C, y), DimExpr(op, 0, 1)]


@pytest.mark.parametrize(
    ("op", "x", "y", "expected"),
    [
        (DimOp.ADD, 7, 2, 9),
        (DimOp.SUB, 7, 2, 5),
        (DimOp.MUL, 7, 2, 14),
        (DimOp.FLOORDIV, 7, 2, 3),
        (DimOp.CEILDIV, 7, 2, 4),
        (DimOp.CEILDIV, 8, 2, 4),
        (DimOp.MOD, 7, 4, 3),
        (DimOp.MIN, 7, 2, 2),
        (DimOp.MAX, 7, 2, 7),
        (DimOp.FLOORDIV, LARGEST, 3, LARGEST // 3),
    ],
)
def test_operator_gives_value_and_exact_bounds(op, x, y, expected):
    dims = binary(op, x, y)
    assert evaluate(dims, [])[2] == expected
    assert bounds(dims, [])[2] == (expected, expected)


@pytest.mark.parametrize(
    ("op", "x", "y"),
    [
        (DimOp.SUB, 2, 7),
        (DimOp.FLOORDIV, 2, 0),
        (DimOp.CEILDIV, 2, 0),
        (DimOp.MOD, 2, 0),
        (DimOp.MUL, 2**27, 2**26),
        (DimOp.ADD, LARGEST, 1),
    ],
)
def test_impossible_value_is_refused_at_load_and_at_evaluation(op, x, y):
    with pytest.raises(ModelError, match=r"P03-size: dims\[2\]"):
        bounds(binary(op, x, y), [])
    with pytest.raises(InvalidArgumentError, match=r"dims\[2\]"):
        evaluate(binary(op, x, y), [])


def test_unbound_symbol_gives_none():
    dims = [DimExpr(C, 3), DimExpr(S, 0), DimExpr(DimOp.MUL, 0, 1), DimExpr(DimOp.ADD, 0, 0)]
    assert evaluate(dims, {}) == [3, None, None, 6]
    assert evaluate(dims, {0: 5}) == [3, 5, 15, 6]


def test_bounds_contain_every_value():
    dims = [DimExpr(C, 7), DimExpr(S, 0), DimExpr(S, 1)]
    dims += [DimExpr(op, a, b) for op in DimOp if op > S and op != DimOp.SUB for a in range(3) for b in range(3)]
    symbols = [Symbol("n", 1, 9), Symbol("m", 3, 20, 4)]
    ranges = bounds(dims, symbols)
    for n in range(1, 10):
        for m in (4, 8, 12, 16, 20):
            assert all(low <= v <= high for v, (low, high) in zip(evaluate(dims, [n, m]), ranges, strict=True))


def test_thirty_squarings_are_refused_at_once():
    dims = [DimExpr(S, 0)] + [DimExpr(DimOp.MUL, i, i) for i in range(30)]
    with pytest.raises(ModelError, match="P03-size"):
        bounds(dims, [BATCH])


@pytest.mark.parametrize("dim", [DimExpr(DimOp.ADD, 0, 1), DimExpr(DimOp.ADD, 2, 0), DimExpr(S, 1), DimExpr(C, 1, 1)])
def test_forward_and_cyclic_and_stray_operands_are_refused(dim):
    with pytest.raises(ModelError, match="P03-size"):
        bounds([DimExpr(S, 0), dim, DimExpr(C, 0)], [BATCH])
