"""Runs one op at once, on the host."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..dtypes import as_dtype
from ..ops import dispatch
from ..ops.op import Composite, Op, Spec
from .tensor import EagerTensor, from_python, wrap


class Eager:
    """The interpreter at the bottom of the stack."""

    def run(self, op: Op, inputs: Sequence[Any], attrs: dict[str, Any]) -> Any:
        """The outputs as eager tensors. The shape rule runs first, so that a wrong shape or dtype gives the op's
        own message.
        """
        kind = type(op)
        if op.kind == "composite" and kind.numpy is Composite.numpy:
            return op.expand(*inputs, **attrs)  # type: ignore[attr-defined]
        arrays: list[Any] = []
        specs: list[Any] = []
        for x in inputs:
            if x is None:
                arrays.append(None)
                specs.append(None)
            elif type(x) is EagerTensor or hasattr(x, "host"):
                arrays.append(x.host())
                specs.append(Spec(x.sizes, x.dtype))
            else:
                return _not_eager(op, inputs, attrs)
        made = op.infer(*specs, **attrs)
        result = op.numpy(*arrays, **attrs)
        if isinstance(made, tuple):
            return tuple(_tensor(a, s) for a, s in zip(result, made, strict=True))
        return _tensor(result, made)


def _not_eager(op: Op, inputs: Sequence[Any], attrs: dict[str, Any]) -> Any:
    """A symbolic Keras input records the op; a value of a trace that has ended is an error."""
    symbolic = next((x for x in inputs if hasattr(x, "record_op")), None)
    if symbolic is not None:
        return symbolic.record_op(op, inputs, attrs)
    raise TypeError(
        f"{op.name}: a tensor of a traced tf.function is out of scope and cannot be used here. Return it from the "
        "function instead."
    )


def _tensor(array: Any, spec: Any) -> EagerTensor:
    array = np.asarray(array)
    if array.dtype != spec.dtype.numpy:
        array = array.astype(spec.dtype.numpy)
    return EagerTensor(array, spec.dtype)


def on_host(function: Callable[..., Any], arrays: Sequence[Any]) -> Any:
    """A function of tensors, run eagerly on arrays."""
    with dispatch.replaced(()):
        out = function(
            *(None if a is None else EagerTensor(np.asarray(a), as_dtype(np.asarray(a).dtype)) for a in arrays)
        )
    return tuple(o.host() for o in out) if isinstance(out, tuple) else out.host()


EAGER = Eager()
dispatch.install(EAGER, from_python, on_host)
__all__ = ["EAGER", "on_host", "wrap"]
