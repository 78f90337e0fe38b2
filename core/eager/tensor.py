"""Eager tensors: a numpy array on the host, or a value that still lies on a device and is fetched when looked at."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..dtypes import ALL, DType, as_dtype, bool_, float32, int32, string
from ..ops.common import quiet
from ..ops.dispatch import Value, _stack, apply
from ..ops.operators import Tensor
from ..ops.silence import FLAGS, silently
from ..shapes import TensorShape

__all__ = ["EagerTensor", "Tensor", "constant", "convert_to_tensor", "is_tensor"]

_FLOAT32 = np.dtype(np.float32)
_ndarray, _new = np.ndarray, object.__new__


def _operator(name: str, function: Callable[..., Any], kinds: str, *, reflected: bool = False,
              compares: bool = False, plain: bool = True, **attrs: Any) -> Callable[[EagerTensor, Any], Any]:
    """An operator of eager tensors that asks numpy at once where nothing watches: both operands on the host, of one
    dtype whose kind is in `kinds`, or (`plain`) the other a Python number that fits. All else, and every failure, goes
    through `apply`, which explains it.
    """
    quick = not FLAGS or compares                           # numpy has nothing to warn of
    codes = frozenset({d.code for d in ALL if d.numpy.kind in kinds})
    usual = float32 if "f" in kinds else bool_              # `is` is quicker than a look into a set

    def operator(self: EagerTensor, other: Any) -> Any:
        dtype, made = self.dtype, None
        if (dtype is usual or dtype.code in codes) and not _stack():
            a, sizes = self._array, self.sizes
            if other.__class__ is EagerTensor:
                b = other._array
                if other.dtype is dtype and a is not None and b is not None and not reflected:
                    try:
                        made = function(a, b) if quick else silently(function, a, b)
                    except (ValueError, RuntimeError):      # sizes that do not fit, another thread
                        pass
                    else:
                        if other.sizes != sizes and made is not None:
                            sizes = made.shape
            elif plain and a is not None:
                kind = other.__class__
                if (kind is float and a.dtype.kind == "f") or (
                        kind is int and a.dtype.kind != "b" and (not compares or 0 <= other < 128)):
                    left, right = (other, a) if reflected else (a, other)
                    try:
                        if quick and -6e4 < other < 6e4:    # numpy warns of what the dtype cannot hold
                            made = function(left, right)
                        else:
                            made = silently(function, left, right)
                    except (ValueError, OverflowError, RuntimeError):
                        pass                                # a number out of range
            if made is not None:
                tensor = _new(EagerTensor)
                tensor._array = made if made.__class__ is _ndarray else np.asarray(made)
                tensor.dtype, tensor.sizes = bool_ if compares else dtype, sizes
                return tensor
        return apply(name, other, self, **attrs) if reflected else apply(name, self, other, **attrs)

    return operator


def _unary(name: str, function: Callable[..., Any], kinds: str) -> Callable[[EagerTensor], Any]:
    """The same for one operand; `function` gives no reason to warn."""

    def operator(self: EagerTensor) -> Any:
        a = self._array
        if a is not None and not _stack() and a.dtype.kind in kinds:
            made = function(a)
            return EagerTensor(made if made.__class__ is _ndarray else np.asarray(made), self.dtype)
        return apply(name, self)

    return operator


def _floordiv(a: Any, b: Any) -> Any:
    """As the op's kernel; zeros among integers are for the op to find."""
    if a.dtype.kind == "f":
        return np.floor(np.true_divide(a, b))
    return np.floor_divide(a, b) if b.__class__ is int and b > 0 else None


def _floormod(a: Any, b: Any) -> Any:
    return np.mod(a, b) if a.dtype.kind == "f" or (b.__class__ is int and b > 0) else None


def _matmul(a: Any, b: Any) -> Any:
    """The plain product of two matrices; None for what needs more."""
    return np.matmul(a, b) if a.ndim == 2 == b.ndim and a.itemsize > 2 else None


def _basic(key: Any) -> bool:
    """Whether numpy and TensorFlow agree on an index: ints, slices of ints, `...`, None, tuples of these."""
    if key.__class__ is tuple:
        return all(_basic(k) for k in key if k.__class__ is not int)
    if key.__class__ is slice:
        return ((key.start is None or key.start.__class__ is int) and (key.stop is None or key.stop.__class__ is int)
                and (key.step is None or key.step.__class__ is int))
    return key.__class__ is int or key is None or key is Ellipsis


class EagerTensor(Tensor):
    """A tensor with a value. Immutable; `numpy()` gives the array, fetching it from the device first if it is there."""

    __slots__ = ("__weakref__", "_array", "_fetch", "dtype", "sizes")

    __add__ = _operator("add", np.add, "fiu")
    __radd__ = _operator("add", np.add, "fiu", reflected=True)
    __sub__ = _operator("subtract", np.subtract, "fiu")
    __rsub__ = _operator("subtract", np.subtract, "fiu", reflected=True)
    __mul__ = _operator("multiply", np.multiply, "fiu")
    __rmul__ = _operator("multiply", np.multiply, "fiu", reflected=True)
    __truediv__ = _operator("truediv", np.true_divide, "f")
    __rtruediv__ = _operator("truediv", np.true_divide, "f", reflected=True)
    __floordiv__ = _operator("floordiv", _floordiv, "fi")
    __mod__ = _operator("floormod", _floormod, "fi")
    __pow__ = _operator("pow", np.power, "fi")
    __matmul__ = _operator("matmul", _matmul, "f", plain=False, transpose_a=False, transpose_b=False)
    __lt__ = _operator("less", np.less, "fiu", compares=True)
    __le__ = _operator("less_equal", np.less_equal, "fiu", compares=True)
    __gt__ = _operator("greater", np.greater, "fiu", compares=True)
    __ge__ = _operator("greater_equal", np.greater_equal, "fiu", compares=True)
    __and__ = _operator("logical_and", np.logical_and, "b", plain=False)
    __or__ = _operator("logical_or", np.logical_or, "b", plain=False)
    __xor__ = _operator("not_equal", np.not_equal, "b", plain=False)
    __neg__ = _unary("negative", np.negative, "fi")
    __abs__ = _unary("abs", np.abs, "fi")
    __invert__ = _unary("logical_not", np.logical_not, "b")
    _equal = _operator("equal", np.equal, "fiub", compares=True)
    _differs = _operator("not_equal", np.not_equal, "fiub", compares=True)

    def __eq__(self, other: object) -> Any:
        return False if other is None else self._equal(other)

    def __ne__(self, other: object) -> Any:
        return True if other is None else self._differs(other)

    __hash__ = Tensor.__hash__

    def __getitem__(self, key: Any) -> Any:
        a = self._array
        if a is not None and not _stack() and a.dtype.kind != "O" and (key.__class__ is int or _basic(key)):
            try:
                made = a[key]
            except (IndexError, ValueError):
                pass                                    # out of range, a step of 0: the op explains it
            else:
                return EagerTensor(made if made.__class__ is np.ndarray else np.asarray(made), self.dtype)
        return super().__getitem__(key)

    def __init__(
        self,
        array: np.ndarray[Any, Any] | None,
        dtype: DType,
        sizes: tuple[int, ...] | None = None,
        fetch: Callable[[], np.ndarray[Any, Any]] | None = None,
    ) -> None:
        self._array = array
        self.dtype = dtype
        self.sizes = array.shape if sizes is None else sizes  # type: ignore[union-attr]
        if fetch is not None:
            self._fetch = fetch

    @property
    def shape(self) -> TensorShape:
        """The shape: every size is known."""
        return TensorShape.known(self.sizes)

    def host(self) -> np.ndarray[Any, Any]:
        """The value, not to be changed by the caller."""
        if self._array is None:
            self._array = np.asarray(self._fetch(), dtype=self.dtype.numpy)
            del self._fetch
        return self._array

    def numpy(self) -> Any:
        """The value: a numpy array, or a numpy scalar for a 0-d tensor, as TensorFlow gives."""
        array = self.host()
        return array[()] if array.ndim == 0 else array

    @property
    def device(self) -> str:
        """Where the value is."""
        return "/job:localhost/replica:0/task:0/device:" + ("CPU:0" if self._array is not None else "GPU:0")

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        array = self.host()
        return array.astype(array.dtype if dtype is None else dtype) if copy else np.asarray(array, dtype)

    def __bool__(self) -> bool:
        return bool(self.host())

    def __format__(self, spec: str) -> str:
        return format(self.numpy() if self.sizes == () else self.host(), spec)

    def __complex__(self) -> complex:
        return complex(self.host())

    def __str__(self) -> str:
        text = np.array2string(self.host(), separator=" ")
        gap = "\n" if "\n" in text else ""
        return f"tf.Tensor({gap}{text}, shape={self.shape}, dtype={self.dtype.name})"

    def __repr__(self) -> str:
        return f"<tf.Tensor: shape={self.shape}, dtype={self.dtype.name}, numpy={shown(self.host())}>"

    def __reduce__(self) -> Any:
        return constant, (self.host(), self.dtype)

    def __copy__(self) -> EagerTensor:
        return self

    def __deepcopy__(self, memo: Any) -> EagerTensor:
        return self

    def _ipython_display_(self) -> None:
        print(repr(self))


def shown(array: np.ndarray[Any, Any]) -> str:
    """An array as `repr` of a tensor shows it: a number if it is 0-d, else numpy's own text."""
    text = repr(array.tolist()) if array.ndim == 0 else repr(array)
    return f"\n{text}" if "\n" in text else text


def is_tensor(x: Any) -> bool:
    """Whether x is a tensor or a variable."""
    return isinstance(x, Value)


def constant(value: Any, dtype: Any = None, shape: Any = None, name: str | None = "Const") -> EagerTensor:
    """A tensor from a Python value, a nested list or an array.

    Python floats become float32, ints int32 (int64 if they do not fit), numpy arrays keep their dtype. With `shape`, a
    single value fills it. Raises TypeError or ValueError for what is not a regular array of numbers.

    >>> constant([1.0, 2.0]).dtype
    tf.float32
    """
    wanted = None if dtype is None else as_dtype(dtype)
    if isinstance(value, Tensor):
        if wanted is not None and value.dtype is not wanted:
            raise ValueError(
                f"constant: the tensor has dtype {value.dtype.name}, {wanted.name} was asked for; use tf.cast"
            )
        if shape is None and isinstance(value, EagerTensor):
            return value
        value = value.numpy()
    array = to_array(value, wanted)
    if shape is not None:
        target = tuple(int(d) for d in ([shape] if isinstance(shape, int) else shape))
        if array.shape != target:
            if array.size == 1:
                array = np.broadcast_to(array.reshape(()), target).copy()
            elif array.size == int(np.prod(target)):
                array = array.reshape(target)
            else:
                raise TypeError(
                    f"Eager execution of tf.constant with unsupported shape. Tensor {value} has {array.size} "
                    f"elements, shape {target} needs {int(np.prod(target))}."
                )
    return EagerTensor(array, as_dtype(array.dtype) if wanted is None else wanted)


def _as_bytes(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Text as TensorFlow holds it: bytes, UTF-8 for Python's strings."""
    made = np.empty(array.shape, object)
    made[...] = np.array([v.encode() if isinstance(v, str) else v for v in array.ravel().tolist()],
                         object).reshape(array.shape)
    return made


def to_array(value: Any, dtype: DType | None = None) -> np.ndarray[Any, Any]:
    """A host array of a value by TensorFlow's rules; an array in memory of its own, so that later changes do not
    show.
    """
    if isinstance(value, np.ndarray):
        array = value.astype(dtype.numpy) if dtype is not None else value.copy()
        if array.dtype.kind in "US":
            return _as_bytes(array)
        as_dtype(array.dtype)
        return array
    if isinstance(value, list | tuple) and any(isinstance(v, Tensor) or hasattr(v, "state") for v in _flat(value)):
        value = _plain(value)
    if hasattr(value, "__array__") and not isinstance(value, np.generic):
        return to_array(np.asarray(value), dtype)
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise ValueError(f"Can't convert non-rectangular Python sequence to Tensor: {error}") from None
    if array.dtype.kind == "O" or array.dtype.kind in "US":
        if array.dtype.kind in "US" or all(isinstance(v, str | bytes) for v in array.ravel()):
            if array.dtype.kind != "O" and not all(isinstance(v, str | bytes) for v in _flat([value])):
                raise ValueError(f"Can't convert Python sequence with mixed types to Tensor: {value!r}")
            return _as_bytes(array)
        raise ValueError(
            f"Attempt to convert a value ({value!r}) with an unsupported type ({type(value)}) to a Tensor."
        )
    if dtype is not None:
        if dtype.is_integer and array.dtype.kind == "f" and not isinstance(value, np.generic):
            raise TypeError(f"Cannot convert {value!r} to EagerTensor of dtype {dtype.name}")
        if dtype.is_integer and array.size and array.dtype.kind in "iu":
            low, high = int(array.min()), int(array.max())
            if low < dtype.min or high > dtype.max:
                raise OverflowError(
                    f"constant: {low if low < dtype.min else high} does not fit into {dtype.name} "
                    f"({dtype.min}..{dtype.max})"
                )
        return array.astype(dtype.numpy)
    if isinstance(value, np.generic):
        return array
    if array.dtype.kind == "f":
        return array.astype(np.float32)
    if array.dtype.kind == "i" and array.dtype == np.int64:
        fits = array.size == 0 or (array.min() >= int32.min and array.max() <= int32.max)
        return array.astype(np.int32 if fits else np.int64)
    as_dtype(array.dtype)
    return array


def _flat(value: Any) -> Any:
    if isinstance(value, list | tuple):
        for v in value:
            yield from _flat(v)
    else:
        yield value


def _plain(value: Any) -> Any:
    return (
        [_plain(v) for v in value]
        if isinstance(value, list | tuple)
        else (value.numpy() if hasattr(value, "numpy") else value)
    )


def convert_to_tensor(value: Any, dtype: Any = None, dtype_hint: Any = None, name: str | None = None) -> Any:
    """A tensor of a value; a tensor or variable as it is, if its dtype is the one asked for.

    Lists that hold traced tensors are stacked. Raises ValueError if the dtypes differ.
    """
    if value.__class__ is EagerTensor and (dtype is None or dtype is value.dtype):
        return value
    wanted = None if dtype is None else as_dtype(dtype)
    if isinstance(value, Value):
        if wanted is not None and value.dtype is not wanted:
            raise ValueError(
                f"Tensor conversion requested dtype {wanted.name} for Tensor with dtype {value.dtype.name}: {value!r}"
            )
        return value.value() if hasattr(value, "value") else value
    if isinstance(value, list | tuple) and any(
        isinstance(v, Value) and not isinstance(v, EagerTensor) for v in _flat(value)
    ):
        parts = [convert_to_tensor(v, wanted) for v in value]
        dims = [apply("reshape", p, shape=(1, *p.sizes)) for p in parts]
        return apply("concat", *dims, axis=0)
    if wanted is None and dtype_hint is not None and not hasattr(value, "dtype"):
        try:
            return constant(value, dtype_hint)
        except (TypeError, ValueError, OverflowError):
            pass
    return constant(value, wanted)


def from_python(value: Any, dtype: DType | None) -> Any:
    """The conversion that `apply` uses for plain values beside tensors of `dtype`."""
    if value.__class__ is float and dtype is float32 and -3e38 < value < 3e38:
        return EagerTensor(np.array(value, _FLOAT32), float32)
    if dtype is None or (isinstance(value, np.ndarray) and dtype is string):
        return convert_to_tensor(value)
    if isinstance(value, np.ndarray):
        return EagerTensor(value.astype(dtype.numpy), dtype)  # TensorFlow casts arrays, even a float one to integers
    array = np.asarray(value) if not isinstance(value, list | tuple) else to_array(value)
    if dtype.is_integer and array.dtype.kind == "f":
        raise TypeError(
            f"Cannot convert {value!r} to EagerTensor of dtype {dtype.name}; cast the tensor first: tf.cast(x, "
            "tf.float32)"
        )
    if dtype is bool_ and array.dtype.kind != "b":
        raise TypeError(f"Cannot convert {value!r} to EagerTensor of dtype bool")
    if dtype is string:
        return constant(value)
    return EagerTensor(quiet(array.astype, dtype.numpy), dtype)         # 1e30 is an infinite float16, silently


def wrap(array: Any) -> EagerTensor:
    """An eager tensor around an array that nobody else changes."""
    array = np.asarray(array)
    return EagerTensor(array, as_dtype(array.dtype))
