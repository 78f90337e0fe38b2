"""The operators of tensors and variables: `+`, `@`, comparison, indexing. Everything goes through `apply`."""

from __future__ import annotations

from typing import Any

from ..errors import OperatorNotAllowedInGraphError
from ..shapes import TensorShape
from .dispatch import Value, apply


class Operators(Value):
    """A mixin: Python's operators as ops. Both operands must have the same dtype, as in TensorFlow; plain numbers
    adapt.
    """

    __slots__ = ()
    __array_priority__ = 100  # numpy leaves `array + tensor` to the tensor

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


class Tensor(Operators):
    """A value of an eager computation or of a trace: a shape, a dtype and operators. `tf.Tensor`."""

    __slots__ = ()

    @property
    def shape(self) -> TensorShape:
        """The shape; a size that is known only when a program runs is None."""
        return TensorShape([d if isinstance(d, int) else None for d in self.sizes])

    def get_shape(self) -> TensorShape:
        """The shape, as `shape`."""
        return self.shape

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.sizes)

    @property
    def name(self) -> str:
        """A name, for messages."""
        return "tensor"

    def __len__(self) -> int:
        if not self.sizes:
            raise TypeError("Scalar tensor has no `len()`")
        if not isinstance(self.sizes[0], int):
            raise TypeError("len() of a traced tensor whose first size is known only when it runs: use tf.shape(x)[0]")
        return self.sizes[0]

    def __iter__(self) -> Any:
        if not self.sizes:
            raise TypeError("Cannot iterate over a scalar tensor.")
        return (self[i] for i in range(len(self)))

    def __hash__(self) -> int:
        raise TypeError("Tensor is unhashable. Instead, use tensor.ref() as the key.")

    def ref(self) -> Reference:
        """A hashable stand-in that compares by identity."""
        return Reference(self)

    def set_shape(self, shape: Any) -> None:
        """Checks that the shape fits; the shape stays as it is. Raises ValueError if it does not."""
        if not self.shape.is_compatible_with(TensorShape(shape)):
            raise ValueError(f"Tensor's shape {self.shape} is not compatible with supplied shape {TensorShape(shape)}.")

    def numpy(self) -> Any:
        """The value as a numpy array; only an eager tensor has one."""
        raise NotImplementedError(
            "numpy() is only available when eager execution is enabled; this tensor belongs to a traced tf.function, "
            "where values "
            "are not known yet. Return it from the function and call numpy() on the result."
        )

    def __bool__(self) -> bool:
        raise OperatorNotAllowedInGraphError(
            "Using a symbolic `tf.Tensor` as a Python `bool` is not allowed: its value is not known while tracing. "
            "Use tf.where(condition, a, b)."
        )

    def __float__(self) -> float:
        return float(self.numpy())

    def __int__(self) -> int:
        return int(self.numpy())

    def __index__(self) -> int:
        return int(self.numpy().__index__())

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        array = self.numpy()
        return array if dtype is None else array.astype(dtype)


class Reference:
    """A tensor or variable as a dictionary key, by identity."""

    __slots__ = ("_value",)

    def __init__(self, value: Any) -> None:
        self._value = value

    def deref(self) -> Any:
        """The tensor or variable."""
        return self._value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Reference) and self._value is other._value

    def __hash__(self) -> int:
        return id(self._value)
