"""Shapes with symbolic sizes: integer expressions over named symbols, broadcasting, and `TensorShape`.

Inside the system a shape is a tuple whose elements are ints or `Dim`s. A `Dim` is immutable, compared by value and
simplified when made, so that equal sizes written in the usual ways compare equal.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from .errors import InvalidArgumentError

__all__ = [
    "Dim",
    "Shape",
    "Size",
    "TensorShape",
    "as_shape",
    "broadcast_shapes",
    "ceil_div",
    "is_static",
    "num_elements",
    "symbol",
]


class Dim:
    """A size expression: a symbol, a linear combination of terms, or `floordiv`, `mod`, `min`, `max` of two sizes.

    `kind` is "symbol" (args = (name, min, max, multiple_of)), "sum" (args = ((term, factor), ..., constant)),
    "mul", "floordiv", "ceildiv", "mod", "min" or "max" (args = (a, b)).
    """

    __slots__ = ("_hash", "args", "kind")

    def __init__(self, kind: str, args: tuple[Any, ...]) -> None:
        self.kind = kind
        self.args = args
        self._hash = hash((kind, args))

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        return (
            isinstance(other, Dim) and self._hash == other._hash and self.kind == other.kind and self.args == other.args
        )

    def __add__(self, other: Size) -> Size:
        return _add(self, other)

    __radd__ = __add__

    def __sub__(self, other: Size) -> Size:
        return _add(self, _scale(other, -1))

    def __rsub__(self, other: Size) -> Size:
        return _add(other, _scale(self, -1))

    def __mul__(self, other: Size) -> Size:
        return _multiply(self, other)

    __rmul__ = __mul__

    def __floordiv__(self, other: Size) -> Size:
        return _divide("floordiv", self, other)

    def __rfloordiv__(self, other: Size) -> Size:
        return _divide("floordiv", other, self)

    def __mod__(self, other: Size) -> Size:
        if other == 1:
            return 0
        quotient = _exact(self, other)
        return 0 if quotient is not None else Dim("mod", (self, other))

    def __rmod__(self, other: Size) -> Size:
        return Dim("mod", (other, self))

    def __str__(self) -> str:
        if self.kind == "symbol":
            return str(self.args[0])
        if self.kind == "sum":
            *terms, constant = self.args
            parts = [str(t) if f == 1 else f"{f}*{t}" for t, f in terms]
            return "(" + " + ".join(parts + ([str(constant)] if constant else [])) + ")"
        sign = {"mul": "*", "floordiv": "//", "mod": "%"}.get(self.kind)
        a, b = self.args
        return f"({a} {sign} {b})" if sign else f"{self.kind}({a}, {b})"

    __repr__ = __str__

    def evaluate(self, symbols: dict[str, int]) -> int:
        """The value when each symbol has the given value. Raises KeyError for a symbol that is not bound."""
        if self.kind == "symbol":
            return symbols[self.args[0]]
        if self.kind == "sum":
            *terms, constant = self.args
            return constant + sum(f * t.evaluate(symbols) for t, f in terms)
        a, b = (x.evaluate(symbols) if isinstance(x, Dim) else x for x in self.args)
        return int(_PYTHON[self.kind](a, b))

    def symbols(self) -> set[Dim]:
        """The symbols that occur in this expression."""
        if self.kind == "symbol":
            return {self}
        inner = [t for t, _ in self.args[:-1]] if self.kind == "sum" else self.args
        return set().union(*(x.symbols() for x in inner if isinstance(x, Dim)))


Size: TypeAlias = int | Dim
Shape: TypeAlias = tuple[Size, ...]

_PYTHON: dict[str, Callable[[int, int], int]] = {
    "mul": lambda a, b: a * b,
    "floordiv": lambda a, b: a // b,
    "ceildiv": lambda a, b: -(-a // b),
    "mod": lambda a, b: a % b,
    "min": min,
    "max": max,
}


def symbol(name: str, minimum: int = 0, maximum: int = 2**24, multiple_of: int = 1) -> Dim:
    """A named size that is bound when a program runs, with the range it may take."""
    return Dim("symbol", (name, minimum, maximum, multiple_of))


def _linear(x: Size) -> tuple[dict[Dim, int], int]:
    if isinstance(x, int):
        return {}, x
    if x.kind == "sum":
        *terms, constant = x.args
        return dict(terms), constant
    return {x: 1}, 0


def _from_linear(terms: dict[Dim, int], constant: int) -> Size:
    kept = {t: f for t, f in terms.items() if f}
    if not kept:
        return constant
    if constant == 0 and len(kept) == 1:
        ((term, factor),) = kept.items()
        if factor == 1:
            return term
    return Dim("sum", (*sorted(kept.items(), key=lambda item: (str(item[0]), item[1])), constant))


def _add(a: Size, b: Size) -> Size:
    if not isinstance(b, int | Dim):
        return NotImplemented
    terms, constant = _linear(a)
    more, other = _linear(b)
    terms = dict(terms)
    for term, factor in more.items():
        terms[term] = terms.get(term, 0) + factor
    return _from_linear(terms, constant + other)


def _scale(a: Size, factor: int) -> Size:
    terms, constant = _linear(a)
    return _from_linear({t: f * factor for t, f in terms.items()}, constant * factor)


def _multiply(a: Size, b: Size) -> Size:
    if isinstance(a, int):
        return _scale(b, a)
    if isinstance(b, int):
        return _scale(a, b)
    if not isinstance(b, Dim):
        return NotImplemented
    return Dim("mul", tuple(sorted((a, b), key=str)))


def _exact(a: Size, b: Size) -> Size | None:
    """a / b when that is an integer for every value of the symbols, else None."""
    if isinstance(b, int):
        terms, constant = _linear(a)
        if b and constant % b == 0 and all(f % b == 0 for f in terms.values()):
            return _from_linear({t: f // b for t, f in terms.items()}, constant // b)
        return None
    if a == b:
        return 1
    terms, constant = _linear(a)
    if constant == 0 and len(terms) == 1:
        ((term, factor),) = terms.items()
        if term == b:
            return factor
        if term.kind == "mul" and b in term.args:
            left = term.args[1] if term.args[0] == b else term.args[0]
            return _scale(left, factor)
    return None


def _divide(kind: str, a: Size, b: Size) -> Size:
    if isinstance(a, int) and isinstance(b, int):
        return int(_PYTHON[kind](a, b))
    exact = _exact(a, b)
    return exact if exact is not None else Dim(kind, (a, b))


def ceil_div(a: Size, b: Size) -> Size:
    """a / b rounded up."""
    return _divide("ceildiv", a, b)


def smaller(a: Size, b: Size) -> Size:
    """The smaller of two sizes."""
    if isinstance(a, int) and isinstance(b, int):
        return min(a, b)
    return a if a == b else Dim("min", (a, b))


def larger(a: Size, b: Size) -> Size:
    """The larger of two sizes."""
    if isinstance(a, int) and isinstance(b, int):
        return max(a, b)
    return a if a == b else Dim("max", (a, b))


def is_static(shape: Iterable[Size]) -> bool:
    """Whether every size is a plain int."""
    return all(isinstance(d, int) for d in shape)


def num_elements(shape: Iterable[Size]) -> Size:
    """The product of the sizes."""
    shape = tuple(shape)
    if all([isinstance(d, int) for d in shape]):
        return math.prod(shape)  # type: ignore[arg-type]
    total: Size = 1
    for d in shape:
        total = d * total
    return total


def evaluate(size: Size, symbols: dict[str, int]) -> int:
    """An int as it is, a Dim by its symbols' values."""
    return size if isinstance(size, int) else size.evaluate(symbols)


def substitute(size: Size, sizes: Mapping[str, Size]) -> Size:
    """A size with other sizes in the place of symbols, by their names."""
    if isinstance(size, int):
        return size
    if size.kind == "symbol":
        return sizes.get(size.args[0], size)
    if size.kind == "sum":
        *terms, constant = size.args
        total: Size = constant
        for term, factor in terms:
            total = substitute(term, sizes) * factor + total
        return total
    a, b = (substitute(x, sizes) for x in size.args)
    if size.kind == "mul":
        return a * b
    if size.kind == "mod":
        return a % b
    if size.kind == "floordiv":
        return a // b
    return {"ceildiv": ceil_div, "min": smaller, "max": larger}[size.kind](a, b)


def as_shape(value: Any) -> Shape:
    """A shape from an int, a sequence or a TensorShape. Raises ValueError for an unknown rank or size."""
    if isinstance(value, TensorShape):
        value = value.as_list()
    if isinstance(value, int | Dim):
        return (value,)
    sizes = []
    for d in value:
        if d is None:
            raise ValueError(f"a fully known shape is needed, received {tuple(value)}: replace None by a size")
        sizes.append(d if isinstance(d, Dim) else int(d))
    return tuple(sizes)


def broadcast_shapes(*shapes: Shape, op: str = "broadcast") -> Shape:
    """The shape that all broadcast to, by numpy's rules. Raises InvalidArgumentError if they do not agree."""
    rank = max((len(s) for s in shapes), default=0)
    result: list[Size] = [1] * rank
    for shape in shapes:
        for i, d in enumerate(shape, start=rank - len(shape)):
            if d == 1 or d == result[i]:
                continue
            if result[i] != 1:
                raise InvalidArgumentError(
                    f"{op}: the shapes {' and '.join(str(tuple(s)) for s in shapes)} do not broadcast: sizes "
                    f"{result[i]} and {d} "
                    f"meet on axis {i}. Sizes must be equal or 1, aligned at the last axis."
                )
            result[i] = d
    return tuple(result)


class TensorShape:
    """The shape of a tensor as TensorFlow presents it: sizes that are ints or None (not known before the program
    runs).
    """

    __slots__ = ("_dims",)
    _dims: tuple[int | None, ...] | None

    def __init__(self, dims: Any) -> None:
        if isinstance(dims, TensorShape):
            self._dims = dims._dims
        elif dims is None:
            self._dims = None
        elif isinstance(dims, int):
            self._dims = (dims,)
        else:
            self._dims = tuple(None if d is None or isinstance(d, Dim) else int(d) for d in dims)

    @classmethod
    def known(cls, sizes: tuple[int, ...]) -> TensorShape:
        """The shape of these sizes, which are ints for certain."""
        made = cls.__new__(cls)
        made._dims = sizes
        return made

    @property
    def rank(self) -> int | None:
        """The number of axes, None if unknown."""
        return None if self._dims is None else len(self._dims)

    ndims = rank

    @property
    def dims(self) -> list[int | None] | None:
        """The sizes as a list, None for an unknown rank."""
        return None if self._dims is None else list(self._dims)

    def as_list(self) -> list[int | None]:
        """The sizes as a list. Raises ValueError for an unknown rank."""
        if self._dims is None:
            raise ValueError("as_list() is not defined on an unknown TensorShape.")
        return list(self._dims)

    def is_fully_defined(self) -> bool:
        """Whether every size is known."""
        return self._dims is not None and None not in self._dims

    def num_elements(self) -> int | None:
        """The product of the sizes, None if one is unknown."""
        return math.prod(self._dims) if self.is_fully_defined() else None  # type: ignore[arg-type]

    def is_compatible_with(self, other: Any) -> bool:
        """Whether some shape fits both."""
        a, b = self._dims, TensorShape(other)._dims
        if a is None or b is None:
            return True
        return len(a) == len(b) and all(x is None or y is None or x == y for x, y in zip(a, b, strict=True))

    def assert_is_compatible_with(self, other: Any) -> None:
        """Raises ValueError if no shape fits both."""
        if not self.is_compatible_with(other):
            raise ValueError(f"Shapes {self} and {TensorShape(other)} are incompatible")

    def merge_with(self, other: Any) -> TensorShape:
        """The shape that says what both say."""
        other = TensorShape(other)
        self.assert_is_compatible_with(other)
        if self._dims is None or other._dims is None:
            return other if self._dims is None else self
        return TensorShape([x if y is None else y for x, y in zip(self._dims, other._dims, strict=True)])

    def concatenate(self, other: Any) -> TensorShape:
        """The sizes of this shape followed by those of the other."""
        other = TensorShape(other)
        if self._dims is None or other._dims is None:
            return TensorShape(None)
        return TensorShape(self._dims + other._dims)

    def with_rank(self, rank: int) -> TensorShape:
        """This shape if it may have this rank, else ValueError."""
        return self.merge_with(TensorShape([None] * rank))

    def __len__(self) -> int:
        if self._dims is None:
            raise ValueError("Cannot take the length of shape with unknown rank.")
        return len(self._dims)

    def __iter__(self) -> Any:
        if self._dims is None:
            raise ValueError("Cannot iterate over a shape with unknown rank.")
        return iter(self._dims)

    def __getitem__(self, key: Any) -> Any:
        if self._dims is None:
            return None if isinstance(key, int) else TensorShape(None)
        return TensorShape(self._dims[key]) if isinstance(key, slice) else self._dims[key]

    def __add__(self, other: Any) -> TensorShape:
        return self.concatenate(other)

    def __bool__(self) -> bool:
        return self._dims is not None

    def __eq__(self, other: object) -> bool:
        if other is None or isinstance(other, TensorShape | list | tuple | int):
            return self._dims == TensorShape(other)._dims
        return NotImplemented

    def __hash__(self) -> int:
        return hash(self._dims)

    def __str__(self) -> str:
        if self._dims is None:
            return "<unknown>"
        inner = ", ".join(str(d) for d in self._dims)
        return f"({inner},)" if len(self._dims) == 1 else f"({inner})"

    def __repr__(self) -> str:
        return f"TensorShape({None if self._dims is None else list(self._dims)})"


def unbroadcast_axes(shape: Sequence[Size], target: Sequence[Size]) -> tuple[int, ...]:
    """The axes of `shape` to sum over, so that an array of `shape` becomes one that broadcast from `target`."""
    extra = len(shape) - len(target)
    return tuple(range(extra)) + tuple(
        i + extra for i, (d, t) in enumerate(zip(shape[extra:], target, strict=True)) if t == 1 and d != 1
    )
