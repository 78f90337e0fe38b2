"""Size expressions as the file holds them: a list in which each refers to earlier ones only."""

from __future__ import annotations

from ..program.format import DimExpr, DimOp, Model, Symbol
from ..shapes import Dim, Size

_OPS = {
    "mul": DimOp.MUL,
    "floordiv": DimOp.FLOORDIV,
    "ceildiv": DimOp.CEILDIV,
    "mod": DimOp.MOD,
    "min": DimOp.MIN,
    "max": DimOp.MAX,
}


class DimTable:
    """Interns sizes into `model.dims` and symbols into `model.symbols`."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.known: dict[object, int] = {0: 0}
        self.symbols: dict[str, int] = {}

    def index(self, size: Size) -> int:
        """The dim that stands for a size."""
        found = self.known.get(size)
        if found is None:
            found = self.known[size] = self._make(size)
        return found

    def all(self, sizes: object) -> list[int]:
        """The dims of several sizes."""
        return [self.index(s) for s in sizes]  # type: ignore[attr-defined]

    def _make(self, size: Size) -> int:
        if isinstance(size, int):
            return self._add(DimOp.CONST, size)
        if size.kind == "symbol":
            return self._add(DimOp.SYMBOL, self._symbol(size))
        if size.kind == "sum":
            return self._sum(size)
        a, b = (self.index(x) for x in size.args)
        return self._add(_OPS[size.kind], a, b)

    def _symbol(self, size: Dim) -> int:
        name, low, high, multiple = size.args
        if name not in self.symbols:
            self.symbols[name] = len(self.model.symbols)
            self.model.symbols.append(Symbol(name, low, high, multiple))
        return self.symbols[name]

    def _sum(self, size: Dim) -> int:
        *terms, constant = size.args
        total: int | None = self.index(constant) if constant > 0 else None
        negative = [(t, -f) for t, f in terms if f < 0] + ([(1, -constant)] if constant < 0 else [])
        for term, factor in ((t, f) for t, f in terms if f > 0):
            part = self._scaled(term, factor)
            total = part if total is None else self._op(DimOp.ADD, total, part)
        for term, factor in negative:
            total = self._minus(0 if total is None else total, self._scaled(term, factor))
        assert total is not None
        return total

    def _minus(self, a: int, b: int) -> int:
        """`a - b`, or 0 where that is negative (a slice that starts past the end): readers refuse a size below 0."""
        return self._op(DimOp.SUB, self._op(DimOp.MAX, a, b), b)

    def _scaled(self, term: Size, factor: int) -> int:
        if isinstance(term, int):
            return self.index(term * factor)
        return self.index(term) if factor == 1 else self._op(DimOp.MUL, self.index(term), self.index(factor))

    def _op(self, op: DimOp, a: int, b: int) -> int:
        key = (op, a, b)
        found = self.known.get(key)
        if found is None:
            found = self.known[key] = self._add(op, a, b)
        return found

    def _add(self, op: DimOp, a: int = 0, b: int = 0) -> int:
        self.model.dims.append(DimExpr(op, a, b))
        return len(self.model.dims) - 1
