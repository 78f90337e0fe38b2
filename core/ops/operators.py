"""The operators of tensors and variables: `+`, `@`, comparison, indexing. Everything goes through `apply`."""

from __future__ import annotations

from typing import Any

from .dispatch import Value, apply


class Operators(Value):
    """A mixin: Python's operators as ops. Both operands must have the same dtype, as in TensorFlow; plain numbers adapt."""

    __slots__ = ()

    def __add__(self, other: Any) -> Any:
        return apply("add", self, other)

    def __radd__(self, other: Any) -> Any:
        return apply("add", other, self)

    def __sub__(self, other: Any) -> Any:
        return apply("subtract", self, other)

    def __rsub__(self, other: Any) -> Any:
        return apply("subtract", other, self)

    def __mul__(self, other: Any) -> Any:
        return apply("multiply", self, other)

    def __rmul__(self, other: Any) -> Any:
        return apply("multiply", other, self)

    def __truediv__(self, other: Any) -> Any:
        return apply("truediv", self, other)

    def __rtruediv__(self, other: Any) -> Any:
        return apply("truediv", other, self)

    def __floordiv__(self, other: Any) -> Any:
        return apply("floordiv", self, other)

    def __rfloordiv__(self, other: Any) -> Any:
        return apply("floordiv", other, self)

    def __mod__(self, other: Any) -> Any:
        return apply("floormod", self, other)

    def __rmod__(self, other: Any) -> Any:
        return apply("floormod", other, self)

    def __pow__(self, other: Any) -> Any:
        return apply("pow", self, other)

    def __rpow__(self, other: Any) -> Any:
        return apply("pow", other, self)

    def __matmul__(self, other: Any) -> Any:
        return apply("matmul", self, other, transpose_a=False, transpose_b=False)

    def __rmatmul__(self, other: Any) -> Any:
        return apply("matmul", other, self, transpose_a=False, transpose_b=False)

    def __neg__(self) -> Any:
        return apply("negative", self)

    def __abs__(self) -> Any:
        return apply("abs", self)

    def __invert__(self) -> Any:
        return apply("logical_not", self)

    def __and__(self, other: Any) -> Any:
        return apply("logical_and", self, other)

    def __or__(self, other: Any) -> Any:
        return apply("logical_or", self, other)

    def __xor__(self, other: Any) -> Any:
        return apply("not_equal", self, other)

    def __lt__(self, other: Any) -> Any:
        return apply("less", self, other)

    def __le__(self, other: Any) -> Any:
        return apply("less_equal", self, other)

    def __gt__(self, other: Any) -> Any:
        return apply("greater", self, other)

    def __ge__(self, other: Any) -> Any:
        return apply("greater_equal", self, other)

    def __eq__(self, other: object) -> Any:
        return False if other is None else apply("equal", self, other)

    def __ne__(self, other: object) -> Any:
        return True if other is None else apply("not_equal", self, other)

    __hash__ = None  # type: ignore[assignment]

    def __getitem__(self, key: Any) -> Any:
        from .movement import getitem

        return getitem(self, key)
