"""Variables: values that change. Inside a trace, reads and assignments become part of the graph."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np

from ..dtypes import DType, as_dtype
from ..errors import InvalidArgumentError, OperatorNotAllowedInGraphError
from ..graph.ir import State
from ..ops.common import quiet
from ..ops.dispatch import _stack, apply, convert, replaced
from ..ops.operators import Operators, Reference, Tensor
from ..shapes import TensorShape
from .tensor import EagerTensor, constant, convert_to_tensor, shown

__all__ = ["Variable"]

_names = itertools.count()


class Variable(Operators):
    """A tensor that can be assigned. `trainable` variables are watched by every tape.

    Args:
        initial_value: a value, or a function of no arguments that gives one.
        trainable: whether tapes and optimizers see it; the default is True.
        name: for messages and files.
        dtype: the element type; the default is that of the value (Python floats: float32).
        shape: checked against the value's.
    """

    __slots__ = ("__dict__", "__weakref__", "_name", "state")

    def __init__(
        self,
        initial_value: Any = None,
        trainable: bool | None = None,
        validate_shape: bool = True,
        caching_device: Any = None,
        name: str | None = None,
        variable_def: Any = None,
        dtype: Any = None,
        import_scope: Any = None,
        constraint: Any = None,
        synchronization: Any = None,
        aggregation: Any = None,
        shape: Any = None,
        *,
        role: str = "WEIGHT",
    ) -> None:
        if initial_value is None:
            raise ValueError(
                "The `initial_value` arg to `tf.Variable` must be specified: give a value or a function that returns "
                "one."
            )
        recorder = _recorder()
        if callable(initial_value):
            with replaced(()):  # not part of a trace that is under way
                initial_value = initial_value()
        value = initial_value
        if recorder is not None and isinstance(value, Tensor) and not hasattr(value, "host"):
            raise ValueError(
                "Tensor-typed variable initializers must be callable when a tf.function is traced, for example "
                "tf.Variable(lambda: tf.random.normal([10, 40])): the value is needed now, not when the function runs."
            )
        if isinstance(value, Variable):
            value = value.host()
        tensor = (
            constant(value, dtype)
            if not isinstance(value, EagerTensor)
            else (value if dtype is None or as_dtype(dtype) is value.dtype else constant(value.numpy(), dtype))
        )
        if shape is not None and not TensorShape(shape).is_compatible_with(tensor.shape):
            raise ValueError(f"Variable: the initial value has shape {tensor.shape}, `shape` says {TensorShape(shape)}")
        wanted = True if trainable is None else bool(trainable)
        self._name = name or f"Variable_{next(_names)}"
        array = np.array(tensor.host(), dtype=tensor.dtype.numpy)
        self.state = State(
            self._name, tuple(array.shape), tensor.dtype, role, wanted and tensor.dtype.is_floating, array
        )
        if wanted and not tensor.dtype.is_floating:
            self.state.trainable = False
        if recorder is not None:
            recorder.created.append(self.state)

    # -- what it is ----------------------------------------------------------------------------------------------------

    @property
    def sizes(self) -> tuple[int, ...]:  # type: ignore[override]
        return self.state.shape

    @property
    def dtype(self) -> DType:  # type: ignore[override]
        return self.state.dtype

    @property
    def shape(self) -> TensorShape:
        """The shape; it never changes."""
        return TensorShape(self.state.shape)

    @property
    def ndim(self) -> int:
        return len(self.state.shape)

    @property
    def name(self) -> str:
        """The name with TensorFlow's output suffix."""
        return f"{self._name}:0"

    @property
    def trainable(self) -> bool:
        """Whether tapes watch it by themselves."""
        return self.state.trainable

    @property
    def device(self) -> str:
        return "/job:localhost/replica:0/task:0/device:CPU:0"

    # -- values --------------------------------------------------------------------------------------------------------

    def host(self) -> np.ndarray[Any, Any]:
        """The value on the host, not to be changed by the caller."""
        return self.state.read()

    def numpy(self) -> Any:
        """The value as a numpy array of its own."""
        array = self._known("numpy()")
        return array[()] if array.ndim == 0 else array.copy()

    def _known(self, what: str) -> np.ndarray[Any, Any]:
        """The value, for Python to look at."""
        if _recorder() is not None:
            raise NotImplementedError(
                f"{what} of variable {self._name!r} inside a traced tf.function: its value is not known while tracing"
            )
        return self.state.read()

    def value(self) -> Any:
        """A tensor with the value it has now."""
        return apply("identity", self)

    def read_value(self) -> Any:
        """A tensor with the value it has now."""
        return self.value()

    def assign(self, value: Any, use_locking: bool = False, name: str | None = None, read_value: bool = True) -> Any:
        """Gives it a new value of the same shape and dtype. Raises ValueError if they differ. Returns the variable."""
        if isinstance(value, np.ndarray | np.generic):
            tensor = constant(np.asarray(value), self.dtype)
        else:
            tensor = value if hasattr(value, "dtype") else convert_to_tensor(value, self.dtype)
        if tensor.dtype is not self.dtype:
            raise ValueError(
                f"Cannot assign value to variable '{self.name}': it has dtype {self.dtype.name}, the value "
                f"{tensor.dtype.name}; use tf.cast"
            )
        if tuple(tensor.sizes) != self.state.shape:
            raise ValueError(
                f"Cannot assign value to variable '{self.name}': Shape mismatch. The variable shape "
                f"{tuple(self.state.shape)}, and the assigned value shape {tuple(tensor.sizes)} are incompatible."
            )
        recorder = _recorder()
        if recorder is not None:
            recorder.write(self.state, tensor)
        elif not hasattr(tensor, "host"):
            raise TypeError(
                f"{tensor!r} is out of scope and cannot be assigned to variable {self._name!r}: it belongs to a traced "
                f"tf.function. Return it from the function."
            )
        else:
            self.state.write(np.array(tensor.host()))
        return self

    def assign_add(
        self, delta: Any, use_locking: bool = False, name: str | None = None, read_value: bool = True
    ) -> Any:
        """Adds to the value. A counter (role COUNTER) inside a trace moves on when the run is done."""
        recorder = _recorder()
        if recorder is not None and self.state.host_owned:
            recorder.advance(self.state, int(delta))
            return self
        if self._moved(np.add, delta):
            return self
        return self.assign(apply("add", self, self._same_shape(delta)))

    def assign_sub(
        self, delta: Any, use_locking: bool = False, name: str | None = None, read_value: bool = True
    ) -> Any:
        """Subtracts from the value."""
        if self._moved(np.subtract, delta):
            return self
        return self.assign(apply("subtract", self, self._same_shape(delta)))

    def _moved(self, function: Any, delta: Any) -> bool:
        """Moves on at once where nothing watches and the change is a tensor that fits; says whether it did."""
        state = self.state
        fits = delta.__class__ is EagerTensor and delta.dtype is state.dtype and delta.sizes == state.shape
        if not fits or _stack() or state.dtype.numpy.kind not in "fiu":
            return False
        state.write(quiet(function, state.read(), delta.host()))
        return True

    def _same_shape(self, delta: Any) -> Any:
        """The change as a tensor: it does not broadcast, as in TensorFlow."""
        tensor = convert(delta, self.dtype)
        if tuple(tensor.sizes) != self.state.shape:
            raise InvalidArgumentError(
                f"Cannot update variable with shape {list(self.state.shape)} using a Tensor with shape "
                f"{list(tensor.sizes)}, shapes must be equal. For broadcasting: v.assign(v + delta)."
            )
        return tensor

    def is_initialized(self, name: str | None = None) -> bool:
        """True: a variable always has a value."""
        return True

    def ref(self) -> Reference:
        """A hashable stand-in that compares by identity."""
        return Reference(self)

    def __hash__(self) -> int:  # type: ignore[override]
        raise TypeError("Variable is unhashable. Instead, use variable.ref() as the key.")

    def __len__(self) -> int:
        if not self.state.shape:
            raise TypeError("Scalar variable has no `len()`")
        return self.state.shape[0]

    def __iter__(self) -> Any:
        return iter(self.value())

    def __bool__(self) -> bool:
        if _recorder() is not None:
            raise OperatorNotAllowedInGraphError(
                f"Using variable {self._name!r} as a Python `bool` is not allowed in a traced tf.function: its "
                f"value is not known while tracing. Use tf.where or tf.cond."
            )
        return bool(self.host())

    def __float__(self) -> float:
        return float(self._known("float()"))

    def __int__(self) -> int:
        return int(self._known("int()"))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        array = self._known("a numpy array")
        return array.copy() if dtype is None else array.astype(dtype)

    def __repr__(self) -> str:
        if _recorder() is not None:
            return f"<tf.Variable {self.name!r} shape={self.shape} dtype={self.dtype.name}>"
        return (f"<tf.Variable {self.name!r} shape={self.shape} dtype={self.dtype.name}, "
                f"numpy={shown(self.state.read())}>")

    def __deepcopy__(self, memo: Any) -> Variable:
        return Variable(
            self.state.read().copy(), self.trainable, name=self._name, dtype=self.dtype, role=self.state.role
        )


def _recorder() -> Any:
    """The trace that is under way, if any: the nearest interpreter that records states."""
    for interpreter in reversed(_stack()):
        if hasattr(interpreter, "advances"):
            return interpreter
    return None


current_trace: Callable[[], Any] = _recorder
