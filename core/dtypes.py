"""TensorFlow's element types, their numpy forms and their forms on a device."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["BOOLEAN", "FLOATING", "INTEGER", "NUMERIC", "DType", "as_dtype"]


class DType:
    """An element type. There is one object for each; compare with `==` to a DType, a name or a numpy dtype."""

    __slots__ = ("_numpy", "code", "device", "name")

    def __init__(self, name: str, numpy_type: Any, code: str, device: str | None) -> None:
        self.name = name
        self._numpy = np.dtype(numpy_type)
        self.code = code  # the name in model files: "F32"
        self.device = device  # the type that kernels compute with: "f32", "i32", "u32", "bool"; None: host only

    @property
    def as_numpy_dtype(self) -> Any:
        """The numpy scalar type."""
        return self._numpy.type

    @property
    def numpy(self) -> np.dtype[Any]:
        """The numpy dtype."""
        return self._numpy

    @property
    def size(self) -> int:
        """Bytes of one element on the host."""
        return self._numpy.itemsize

    @property
    def is_floating(self) -> bool:
        return self._numpy.kind == "f"

    @property
    def is_integer(self) -> bool:
        return self._numpy.kind in "iu"

    @property
    def is_unsigned(self) -> bool:
        return self._numpy.kind == "u"

    @property
    def is_bool(self) -> bool:
        return self._numpy.kind == "b"

    @property
    def is_complex(self) -> bool:
        return False

    @property
    def min(self) -> Any:
        """The smallest finite value."""
        return np.finfo(self._numpy).min if self.is_floating else (False if self.is_bool else np.iinfo(self._numpy).min)

    @property
    def max(self) -> Any:
        """The largest finite value."""
        return np.finfo(self._numpy).max if self.is_floating else (True if self.is_bool else np.iinfo(self._numpy).max)

    @property
    def as_datatype_enum(self) -> int:
        """TensorFlow's protocol number."""
        return _ENUM[self.name]

    @property
    def base_dtype(self) -> DType:
        return self

    @property
    def real_dtype(self) -> DType:
        return self

    def is_compatible_with(self, other: Any) -> bool:
        return self == as_dtype(other)

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if other is None:
            return False
        try:
            return as_dtype(other) is self
        except TypeError:
            return False

    def __hash__(self) -> int:
        return hash(self.name)

    def __str__(self) -> str:
        return f"<dtype: '{self.name}'>"

    def __repr__(self) -> str:
        return f"tf.{self.name}"

    def __reduce__(self) -> Any:
        return as_dtype, (self.name,)


_ENUM = {
    "float32": 1,
    "float64": 2,
    "int32": 3,
    "uint8": 4,
    "int16": 5,
    "int8": 6,
    "string": 7,
    "int64": 9,
    "bool": 10,
    "uint16": 17,
    "float16": 19,
    "uint32": 22,
    "uint64": 23,
}

float16 = half = DType("float16", np.float16, "F16", None)
float32 = DType("float32", np.float32, "F32", "f32")
float64 = double = DType("float64", np.float64, "F64", None)
int8 = DType("int8", np.int8, "I8", None)
int16 = DType("int16", np.int16, "I16", None)
int32 = DType("int32", np.int32, "I32", "i32")
int64 = DType("int64", np.int64, "I64", None)
uint8 = DType("uint8", np.uint8, "U8", None)
uint16 = DType("uint16", np.uint16, "U16", None)
uint32 = DType("uint32", np.uint32, "U32", "u32")
uint64 = DType("uint64", np.uint64, "U64", None)
bool_ = DType("bool", np.bool_, "BOOL", "bool")
string = DType("string", np.object_, "STRING", None)

ALL = (float16, float32, float64, int8, int16, int32, int64, uint8, uint16, uint32, uint64, bool_, string)
FLOATING = frozenset({float16, float32, float64})
INTEGER = frozenset({int8, int16, int32, int64, uint8, uint16, uint32, uint64})
NUMERIC = FLOATING | INTEGER
BOOLEAN = frozenset({bool_})
ANY = NUMERIC | BOOLEAN

_BY_NAME = {d.name: d for d in ALL} | {"half": float16, "double": float64}
_BY_NUMPY = {d.numpy: d for d in ALL}


def as_dtype(value: Any) -> DType:
    """The DType of a DType, a name, a numpy dtype or a Python type. Raises TypeError for anything else."""
    if isinstance(value, DType):
        return value
    if isinstance(value, str) and value in _BY_NAME:
        return _BY_NAME[value]
    if value is float:
        return float32
    if value is int:
        return int32
    if value is bool:
        return bool_
    if value is str:
        return string
    try:
        kind = np.dtype(value)
    except TypeError:
        kind = None
    if kind is not None:
        if kind.kind in "US":
            return string
        if kind in _BY_NUMPY:
            return _BY_NUMPY[kind]
    raise TypeError(f"Cannot convert value {value!r} to a TensorFlow DType. Known: {', '.join(d.name for d in ALL)}.")
