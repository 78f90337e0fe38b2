"""Arrays on their way to a device and back: dtype conversion, range checks of labels, the words of scalars.

A device keeps 4 bytes per element (F32, I32, U32). Everything else is converted here, on the host, where a value that
does not fit can still be named.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..device import Span
from ..errors import FailedPreconditionError, InternalError, InvalidArgumentError, UnimplementedError
from ..program.format import DType, Port

__all__ = ["Output", "advance_counter", "as_input", "decode", "from_storage", "in_range", "numpy_dtype", "to_storage"]

FEW = 64                        # elements that are compared in Python

_NUMPY: dict[DType, Any] = {
    DType.F32: np.dtype(np.float32), DType.F16: np.dtype(np.float16), DType.F64: np.dtype(np.float64),
    DType.I8: np.dtype(np.int8), DType.U8: np.dtype(np.uint8), DType.I16: np.dtype(np.int16),
    DType.U16: np.dtype(np.uint16), DType.I32: np.dtype(np.int32), DType.U32: np.dtype(np.uint32),
    DType.I64: np.dtype(np.int64), DType.U64: np.dtype(np.uint64), DType.BOOL: np.dtype(np.bool_),
}
_HOST: dict[DType, Any] = {**_NUMPY, DType.BF16: np.dtype(np.float32)}      # no region stores bfloat16


def numpy_dtype(dtype: DType) -> Any:
    """The numpy form of a stored dtype; bfloat16 values are float32 on the host."""
    if dtype not in _HOST:
        raise UnimplementedError(f"tensors of dtype {dtype.name} stay on the host: programs have no such values")
    return _HOST[dtype]


def decode(data: Any, dtype: DType, shape: tuple[int, ...]) -> np.ndarray:
    """The raw bytes of a stored tensor as an array."""
    if dtype == DType.BF16:
        return (np.frombuffer(data, np.uint16).astype(np.uint32) << 16).view(np.float32).reshape(shape)
    return np.frombuffer(data, numpy_dtype(dtype)).reshape(shape)


def as_input(value: Any, dtype: DType, port: Port, where: str) -> np.ndarray:
    """A caller's value as an array of the port's dtype, range-checked.

    Raises:
        InvalidArgumentError: if the dtype cannot be converted without loss of kind (a float for an integer input), or a
            value is outside the port's bounds.
    """
    wanted = numpy_dtype(dtype)
    array = value if isinstance(value, np.ndarray) else np.asarray(value)
    if array.dtype != wanted:
        plain = not hasattr(value, "dtype")             # Python numbers and lists carry no dtype of their own
        kinds = "biu" if wanted.kind in "iu" else "b" if wanted.kind == "b" else "biuf"
        if array.dtype.kind not in kinds or not (plain or np.can_cast(array.dtype, wanted, "same_kind")
                                                 or (array.dtype.kind in "iu" and wanted.kind in "iu")):
            raise InvalidArgumentError(f"{where} has dtype {array.dtype}, expected {wanted}. "
                                       f"Convert it first, for example with .astype({wanted.name!r}).")
        if wanted.kind in "iu":
            limits = np.iinfo(wanted)
            _check_range(array, int(limits.min), int(limits.max), where)
        array = array.astype(wanted)
    if port.bounded and wanted.kind in "iuf":           # class numbers may come as floats
        _check_range(array, port.min, port.max, where)
    return array


def in_range(array: np.ndarray, low: int, high: int) -> bool:
    """Whether every element is a number from `low` to `high`, both included."""
    if array.size <= FEW and array.dtype.kind in "iu":      # Python is faster: in a tab numpy's reductions cost 20 us
        numbers = (array if array.ndim == 1 else array.ravel()).tolist()
        return not numbers or (min(numbers) >= low and max(numbers) <= high)
    return not array.size or bool(array.min() >= low and array.max() <= high)       # False for NaN


def _check_range(array: np.ndarray, low: int, high: int, where: str) -> None:
    if array.dtype.kind == "b" or in_range(array, low, high):
        return
    bad = np.argwhere(~((array >= low) & (array <= high)))[0]
    position = tuple(int(i) for i in bad)
    raise InvalidArgumentError(f"{where} holds {array[position]} at position {position}, allowed are {low} to {high} "
                               f"(both included). Check the labels or indices that you pass.")


def to_storage(array: np.ndarray, storage: DType, where: str) -> np.ndarray:
    """A C-contiguous array of the region's storage type; integers that do not fit in 32 bits raise."""
    wanted = _NUMPY[storage]
    if array.dtype != wanted:
        if wanted.kind in "iu" and array.dtype.kind in "iu" and array.dtype.itemsize >= 4:
            limits = np.iinfo(wanted)
            _check_range(array, int(limits.min), int(limits.max), where)
        array = array.astype(wanted)
    return np.ascontiguousarray(array)


def from_storage(data: np.ndarray, storage: DType, dtype: DType, shape: tuple[int, ...]) -> np.ndarray:
    """Downloaded bytes as an array of the tensor's own dtype."""
    array: np.ndarray = data.view(_NUMPY[storage]).reshape(shape)
    if dtype == DType.BOOL:
        return array.astype(np.bool_)
    return np.asarray(array, numpy_dtype(dtype))


def advance_counter(value: np.ndarray, by: int | None, is_rng: bool) -> np.ndarray:
    """A host-owned tensor after a run: a counter plus `by`; RNG state is (key, key, low, high word of a counter).

    None is back to the start: a counter becomes 0, RNG state keeps its key.
    """
    if by is None:
        start = np.zeros_like(value)
        if is_rng:
            start[:2] = value[:2]
        return start
    if not is_rng:
        if value.ndim == 0 and -_FAR_FROM_WRAPPING < (now := value.item()) < _FAR_FROM_WRAPPING:
            return np.array(now + by, value.dtype)
        limits = np.iinfo(value.dtype)
        span = int(limits.max) - int(limits.min) + 1
        total = [(int(v) + by - int(limits.min)) % span + int(limits.min) for v in value.reshape(-1)]
        return np.array(total, value.dtype).reshape(value.shape)
    if value.shape != (4,) or value.dtype != np.uint32:
        raise InternalError(f"RNG state is uint32 of shape (4,), this is {value.dtype} of shape {value.shape}")
    counter = (int(value[2]) + (int(value[3]) << 32) + by) & 0xFFFF_FFFF_FFFF_FFFF
    return np.array([value[0], value[1], counter & 0xFFFF_FFFF, counter >> 32], np.uint32)


_FAR_FROM_WRAPPING = 1 << 30


class Output:
    """A result of a run that stays on the device until somebody looks: `numpy()`, `float()`, `np.asarray`."""

    __slots__ = ("__weakref__", "_download", "_held", "_span", "_storage", "_value", "dtype", "gone", "name", "shape")

    def __init__(self, name: str, shape: tuple[int, ...], dtype: DType, storage: DType, span: Span,
                 download: Callable[[Output], np.ndarray]) -> None:
        self.name, self.shape, self.dtype = name, shape, numpy_dtype(dtype)
        self._storage = (storage, dtype)
        self._span: Span | None = span
        self._download: Callable[[Output], np.ndarray] | None = download
        self._value: np.ndarray | None = None
        self.gone: Exception | None = None                      # why it can no longer be read, if so
        self._held: tuple[list[Any], Any] | None = None          # a buffer of its own, and where to leave it

    @classmethod
    def of(cls, name: str, value: np.ndarray, dtype: DType) -> Output:
        """An output whose value the host knows already."""
        output = cls(name, value.shape, dtype, dtype, Span(None, 0, 0), _no_download)
        output._value, output._span, output._download = value, None, None
        return output

    @property
    def span(self) -> Span | None:
        """Where the value lies on the device; None once it has been read."""
        return self._span

    def move(self, span: Span, garbage: list[Any]) -> None:
        """The value now lies in a buffer of its own, which goes to `garbage` when it is no longer needed."""
        self._span = span
        self._held = (garbage, span.buffer)

    def __del__(self) -> None:
        if self._held is not None:
            garbage, buffer = self._held
            self._held = None
            garbage.append(buffer)

    def discard(self) -> None:
        """The device is closing: reading raises from now on."""
        self.lose(FailedPreconditionError(
            f"output {self.name!r} was not read before its model was closed. Call numpy() before close()."))

    def lose(self, error: Exception) -> None:
        """Reading raises this error from now on, unless the value is known already."""
        if self._value is None and self.gone is None:
            self._span = self._download = None
            self.gone = error
            self.__del__()

    @property
    def is_read(self) -> bool:
        """Whether the host has the value."""
        return self._value is not None

    def become(self, other: Output) -> None:
        """Takes the place of another output, which is not to be used any more."""
        self._span, self._download, self._value, self.gone = other._span, other._download, other._value, other.gone
        self._held, other._held = other._held, None

    def numpy(self) -> np.ndarray:
        """The value; waits for the device the first time."""
        if self._value is None:
            if self.gone is not None or self._download is None:
                raise self.gone or InternalError(f"output {self.name!r} has no place")
            self.take(self._download(self))
        assert self._value is not None
        return self._value

    def take(self, data: np.ndarray) -> None:
        """The bytes that were read back."""
        self._value = from_storage(data, *self._storage, self.shape)
        self._span = self._download = None
        self.__del__()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        value = self.numpy()
        return value.astype(dtype) if dtype is not None and value.dtype != dtype else value.copy() if copy else value

    def __float__(self) -> float:
        return float(self.numpy())

    def __int__(self) -> int:
        return int(self.numpy())

    def __bool__(self) -> bool:
        return bool(self.numpy())

    def __repr__(self) -> str:
        place = "on the device" if self._value is None else repr(self._value)
        return f"<Output {self.name!r} shape={self.shape} dtype={self.dtype}: {place}>"


def _no_download(output: Output) -> np.ndarray:
    raise InternalError("an output that the host knows has nothing to download")
