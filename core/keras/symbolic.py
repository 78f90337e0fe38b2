"""Symbolic tensors of functional models: shapes without values, and which call of which layer made them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..dtypes import as_dtype
from ..eager.tensor import wrap
from ..function.trace import flatten, map_structure
from ..graph.ir import Value
from ..graph.record import Recorder
from ..ops.dispatch import replaced
from ..ops.op import Op
from ..ops.operators import Tensor
from ..shapes import TensorShape, symbol

__all__ = ["Call", "KerasTensor", "compute_outputs", "order_of_calls"]


class KerasTensor(Tensor):
    """A tensor of a functional model under construction. `call` made it (None for an Input)."""

    __slots__ = ("__weakref__", "_name", "_shape", "call", "dtype", "index")

    def __init__(
        self,
        shape: Sequence[int | None],
        dtype: Any = "float32",
        name: str | None = None,
        call: Call | None = None,
        index: int = 0,
    ) -> None:
        self._shape = tuple(shape)
        self.dtype = as_dtype(dtype)
        self._name = name or "keras_tensor"
        self.call, self.index = call, index

    @property
    def shape(self) -> TensorShape:
        """The shape, None where a size is free."""
        return TensorShape(self._shape)

    @property
    def sizes(self) -> Any:
        """The shape with a symbol for each free size: the first is "batch"."""
        return tuple(
            d if d is not None else symbol("batch" if i == 0 else f"size_{i}") for i, d in enumerate(self._shape)
        )

    @property
    def name(self) -> str:
        return self._name

    def record_op(self, op: Op, inputs: Sequence[Any], attrs: dict[str, Any]) -> Any:
        """The op as a call in the model under construction."""
        from .layers.operation import OpLayer

        free = [[i for i, d in enumerate(x._shape) if d is None] for x in inputs if isinstance(x, KerasTensor)]
        layer = OpLayer(op.name, [x if not isinstance(x, KerasTensor) else None for x in inputs], attrs, free)
        return layer(*(x for x in inputs if isinstance(x, KerasTensor)))

    def __hash__(self) -> int:  # type: ignore[override]
        return id(self)

    def __repr__(self) -> str:
        return f"<KerasTensor shape={tuple(self._shape)}, dtype={self.dtype.name}, name={self._name}>"


@dataclass(eq=False)
class Call:
    """One call of a layer on symbolic tensors."""

    layer: Any
    arguments: tuple[Any, ...]
    keywords: dict[str, Any]
    outputs: Any = None

    @property
    def inputs(self) -> list[KerasTensor]:
        """The symbolic tensors among the arguments."""
        return [x for x in flatten((self.arguments, self.keywords)) if isinstance(x, KerasTensor)]


def compute_outputs(layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """What a layer gives for symbolic tensors: its `call`, traced for shapes alone. The layer is built if it is not."""
    if not layer.built:
        shapes, more = layer._build_shapes(
            args, kwargs, lambda x: tuple(x.shape.as_list()) if isinstance(x, KerasTensor) else None
        )
        layer._build(shapes, **more)
    if "training" in kwargs and not layer._takes("training"):
        kwargs = {k: v for k, v in kwargs.items() if k != "training"}
    recorder = Recorder(layer.name)

    def stand_in(x: Any) -> Any:
        return Value(x.sizes, x.dtype, label=x.name) if isinstance(x, KerasTensor) else x

    with replaced((recorder,)):
        result = layer.call(*map_structure(stand_in, args), **map_structure(stand_in, kwargs))
    layer._clear_losses()
    call = Call(layer, args, kwargs)
    made: list[KerasTensor] = []

    def symbolic(x: Any) -> Any:
        if not isinstance(x, Tensor):
            x = wrap(x.host()) if hasattr(x, "host") else x
        if not isinstance(x, Tensor):
            return x
        made.append(
            KerasTensor([d if isinstance(d, int) else None for d in x.sizes], x.dtype, layer.name, call, len(made))
        )
        return made[-1]

    call.outputs = map_structure(symbolic, result)
    layer._inbound.append(call)
    return call.outputs


def order_of_calls(outputs: Sequence[KerasTensor], inputs: Sequence[KerasTensor]) -> list[Call]:
    """The calls that lead from the inputs to the outputs, in order.

    Raises ValueError if an output needs another input.
    """
    known = {id(t) for t in inputs}
    order: list[Call] = []
    done: set[int] = set()

    def visit(t: KerasTensor) -> None:
        if id(t) in known:
            return
        if t.call is None:
            raise ValueError(
                f"`inputs` not connected to `outputs`: the output needs the input {t!r}, which is not among the "
                "model's inputs"
            )
        if id(t.call) in done:
            return
        for x in t.call.inputs:
            visit(x)
        if id(t.call) not in done:
            done.add(id(t.call))
            order.append(t.call)

    for t in outputs:
        visit(t)
    return order


def run_calls(order: Sequence[Call], values: dict[int, Any], **keywords: Any) -> dict[int, Any]:
    """Runs the calls on real tensors: `values` maps id(KerasTensor) to a tensor, and is extended."""

    def real(x: Any) -> Any:
        return values[id(x)] if isinstance(x, KerasTensor) else x

    for call in order:
        given = dict(map_structure(real, call.keywords))
        for k, v in keywords.items():
            if v is not None and call.layer._takes(k):
                given.setdefault(k, v)
        out = call.layer(*map_structure(real, call.arguments), **given)
        values.update((id(s), t) for s, t in zip(flatten(call.outputs), flatten(out), strict=True))
    return values
