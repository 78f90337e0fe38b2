"""Size expressions: the numbers behind symbolic shapes. Twin of `js_bindings/runtime/sizes.js`.

`Model.dims` is a list in which every expression refers only to earlier ones, so one forward pass answers all of them.
Results are whole numbers between 0 and 2^53-1, the range in which JavaScript's plain numbers are exact.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import InvalidArgumentError, ModelError
from .format import DimExpr, DimOp, Symbol

__all__ = ["LARGEST", "bounds", "evaluate", "symbol_range"]

LARGEST = 2**53 - 1

CONST, SYMBOL, ADD, SUB, MUL, FLOORDIV, CEILDIV, MOD, MIN, MAX = (int(op) for op in DimOp)


def evaluate(dims: Sequence[DimExpr], symbols: Mapping[int, int] | Sequence[int]) -> list[int]:
    """Gives the value of every expression, for symbol values by symbol index.

    An expression that needs a symbol without a value gives None: `reset` has no inputs, so it binds no batch size.

    Raises:
        InvalidArgumentError: if a value is negative, above 2^53-1 or a division by zero.

    >>> evaluate([DimExpr(DimOp.CONST, 0), DimExpr(DimOp.SYMBOL, 0), DimExpr(DimOp.CONST, 784),
    ...           DimExpr(DimOp.MUL, 1, 2)], [32])
    [0, 32, 784, 25088]
    """
    known = symbols if isinstance(symbols, Mapping) else dict(enumerate(symbols))
    values: list[Any] = []
    for index, dim in enumerate(dims):
        op, a, b = dim.op, dim.a, dim.b
        value: int | None
        if op == CONST:
            value = a
        elif op == SYMBOL:
            value = known.get(a)
        elif values[a] is None or values[b] is None:
            value = None
        else:
            value = _apply(op, values[a], values[b])
        if value is not None and not 0 <= value <= LARGEST:
            raise InvalidArgumentError(
                f"size expression dims[{index}] = {_text(dim, values)} is not between 0 and 2^53-1 for the sizes "
                f"{dict(known)}. Pass inputs of a size that the model accepts."
            )
        values.append(value)
    return values


def _apply(op: int, x: int, y: int) -> int:
    """One operator on two values; -1 stands for a division by zero, so that the caller reports it."""
    if op == ADD:
        return x + y
    if op == SUB:
        return x - y
    if op == MUL:
        return x * y
    if op == MIN:
        return min(x, y)
    if op == MAX:
        return max(x, y)
    if y == 0:
        return -1
    if op == FLOORDIV:
        return x // y
    if op == CEILDIV:
        return -(-x // y)
    return x % y


def _text(dim: DimExpr, values: Sequence[int]) -> str:
    if dim.op in (CONST, SYMBOL):
        return f"{DimOp(dim.op).name} {dim.a}"
    return f"{DimOp(dim.op).name} {values[dim.a]} {values[dim.b]}"


def symbol_range(symbol: Symbol) -> tuple[int, int]:
    """The smallest and largest value a symbol can take: its range narrowed to multiples of `multiple_of`."""
    step = symbol.multiple_of
    return -(-symbol.min // step) * step, symbol.max // step * step


def bounds(dims: Sequence[DimExpr], symbols: Sequence[Symbol]) -> list[tuple[int, int]]:
    """Bounds every expression over its symbols' ranges by interval arithmetic, before anything is evaluated.

    Thirty squarings would otherwise make a number with a billion digits. An interval ignores that two operands may
    depend on the same symbol, so `n - n` with n in 1..9 is refused although it is 0: write such sizes another way.

    Raises:
        ModelError: rule `P03-size`, if an expression may be negative, above 2^53-1 or divided by zero, or refers
            to itself or a later one.
    """
    ranges = [symbol_range(symbol) for symbol in symbols]
    result: list[tuple[int, int]] = []
    for index, dim in enumerate(dims):
        op, a, b = dim.op, dim.a, dim.b
        if op == CONST:
            why, low, high = _unused(b), a, a
        elif op == SYMBOL:
            if a >= len(ranges):
                raise ModelError("P03-size", f"dims[{index}]", f"symbol {a} of {len(ranges)}")
            why = _unused(b)
            low, high = ranges[a]
        elif a >= index or b >= index:
            raise ModelError(
                "P03-size", f"dims[{index}]", f"refers to dims[{max(a, b)}], only earlier ones may be used"
            )
        else:
            why, low, high = _interval(op, *result[a], *result[b])
        if why or low < 0 or high > LARGEST:
            why = why or f"may be {low}..{high}, allowed is 0..2^53-1"
            raise ModelError("P03-size", f"dims[{index}]", why)
        result.append((low, high))
    return result


def _unused(b: int) -> str:
    return "the second operand is unused and must be 0" if b else ""


def _interval(op: int, a: int, aa: int, b: int, bb: int) -> tuple[str, int, int]:
    """The range of `op` for operands in a..aa and b..bb, after a reason to refuse it (or an empty text)."""
    if op == ADD:
        return "", a + b, aa + bb
    if op == SUB:
        return "", a - bb, aa - b
    if op == MUL:
        return "", a * b, aa * bb
    if op == MIN:
        return "", min(a, b), min(aa, bb)
    if op == MAX:
        return "", max(a, b), max(aa, bb)
    if b == 0:
        return "the divisor may be 0", 0, 0
    if op == FLOORDIV:
        return "", a // bb, aa // b
    if op == CEILDIV:
        return "", -(-a // bb), -(-aa // b)
    if aa < b:
        return "", a, aa
    if a == aa and b == bb:
        return "", a % b, a % b
    return "", 0, min(aa, bb - 1)
