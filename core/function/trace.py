"""Records a user's function into a graph: arguments become inputs, variables become states, what is assigned is
written at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ..dtypes import DType, as_dtype
from ..graph.ir import Graph, State, Value
from ..graph.record import Recorder
from ..graph.verify import verify
from ..ops.dispatch import replaced
from ..ops.operators import Tensor
from ..shapes import Dim, TensorShape, symbol

__all__ = ["TensorSpec", "Traced", "flatten", "pack", "trace"]


class TensorSpec:
    """The shape and dtype of an argument; a size of None is bound at each call. `tf.TensorSpec`."""

    __slots__ = ("_dtype", "_name", "_shape")

    def __init__(self, shape: Any, dtype: Any = "float32", name: str | None = None) -> None:
        self._shape = TensorShape(shape)
        self._dtype = as_dtype(dtype)
        self._name = name

    @property
    def shape(self) -> TensorShape:
        """The shape, None where a size is free."""
        return self._shape

    @property
    def dtype(self) -> DType:
        """The element type."""
        return self._dtype

    @property
    def name(self) -> str | None:
        """The name of the argument."""
        return self._name

    @classmethod
    def from_tensor(cls, tensor: Any, name: str | None = None) -> TensorSpec:
        """The spec of a tensor."""
        return cls(tensor.shape, tensor.dtype, name)

    def is_compatible_with(self, other: Any) -> bool:
        """Whether a tensor (or a spec) fits."""
        return bool(as_dtype(other.dtype) is self._dtype and self._shape.is_compatible_with(other.shape))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TensorSpec) and (self._shape, self._dtype) == (other._shape, other._dtype)

    def __hash__(self) -> int:
        return hash((self._shape, self._dtype))

    def __repr__(self) -> str:
        return f"TensorSpec(shape={self._shape}, dtype={self._dtype!r}, name={self._name!r})"


@dataclass
class Traced:
    """A graph and the structure of what the function returned: `None` leaves and Python values are kept as they
    were.
    """

    graph: Graph
    result: Any  # the returned structure, tensors replaced by Slot(position)
    created: int = 0  # how many variables were made while tracing


@dataclass(frozen=True)
class Slot:
    """Stands for output number `index` in the structure of a result."""

    index: int


def input_values(specs: Sequence[TensorSpec], names: Sequence[str], tied: str | None = None) -> list[Value]:
    """A graph input per spec. Free sizes become symbols: `tied` is the name shared by all free first sizes, if
    given.
    """
    values = []
    for spec, name in zip(specs, names, strict=True):
        sizes: list[int | Dim] = []
        for axis, d in enumerate(spec.shape.as_list()):
            if d is None:
                d = symbol(tied) if axis == 0 and tied else symbol(f"{name}_{axis}")  # type: ignore[assignment]
            sizes.append(d)  # type: ignore[arg-type]
        values.append(Value(tuple(sizes), spec.dtype, label=name))
    return values


def trace(
    function: Callable[..., Any],
    inputs: Sequence[Value],
    name: str,
    arguments: Callable[[list[Value]], Any] | None = None,
    preset: dict[State, Value] | None = None,
) -> Traced:
    """Runs the function on these graph inputs. `arguments(values)` gives (args, kwargs); the default is the values as
    they are.
    `preset` states are read as these values: an input that stands for a state."""
    recorder = Recorder(name)
    recorder.states.update(preset or {})
    recorder.current.update(preset or {})
    args, kwargs = (tuple(inputs), {}) if arguments is None else arguments(list(inputs))
    with replaced((recorder,)):
        result = function(*args, **kwargs)
        outputs: list[Value] = []

        def slot(x: Any) -> Any:
            if not isinstance(x, Tensor) and not hasattr(x, "state"):
                return x
            outputs.append(recorder.lift(x))
            return Slot(len(outputs) - 1)

        structure = map_structure(slot, result)
    graph = Graph(
        name, tuple(inputs), tuple(recorder.nodes), tuple(outputs), recorder.written(), tuple(recorder.advances.items())
    )
    check_scope(graph)
    return Traced(verify(graph), structure, len(recorder.created))


def check_scope(graph: Graph) -> None:
    """Raises TypeError if the graph uses a tensor of another trace."""
    known = set(graph.inputs)

    def check(value: Value | None, where: str) -> None:
        if value is not None and value not in known and value.constant is None and value.state is None:
            place = f" ({where})" if where else ""
            raise TypeError(
                f"{value!r} is out of scope and cannot be used in {graph.name!r}{place}: it belongs to another traced "
                f"tf.function. Return it from that function, and pass it to this one as an argument."
            )

    for node in graph.nodes:
        for value in node.inputs:
            check(value, f"{node.op.name} at {node.where}")
        known.update(node.outputs)
    for value in graph.results:
        check(value, "")


def map_structure(function: Callable[[Any], Any], structure: Any) -> Any:
    """The structure (dicts, lists, tuples) with the function applied to each leaf."""
    if isinstance(structure, dict):
        return {k: map_structure(function, v) for k, v in structure.items()}
    if isinstance(structure, tuple) and hasattr(structure, "_fields"):
        return type(structure)(*(map_structure(function, v) for v in structure))
    if isinstance(structure, list | tuple):
        return type(structure)(map_structure(function, v) for v in structure)
    return function(structure)


def flatten(structure: Any) -> list[Any]:
    """The leaves, in order."""
    found: list[Any] = []
    map_structure(found.append, structure)
    return found


def pack(structure: Any, leaves: Sequence[Any]) -> Any:
    """The structure with each Slot replaced."""
    return map_structure(lambda x: leaves[x.index] if isinstance(x, Slot) else x, structure)
