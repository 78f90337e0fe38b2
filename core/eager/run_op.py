"""Runs one op at once, on the host."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..dtypes import as_dtype
from ..errors import InvalidArgumentError
from ..ops import dispatch
from ..ops.op import Op
from .tensor import EagerTensor, from_python, wrap


class Eager:
    """The interpreter at the bottom of the stack."""

    def run(self, op: Op, inputs: Sequence[Any], attrs: dict[str, Any]) -> Any:
        """The outputs as eager tensors. The shape rule runs first, so that a wrong shape or dtype gives the op's
        own message.
        """
        if op.kind == "composite" and type(op).numpy is _composite_numpy():
            return op.expand(*inputs, **attrs)  # type: ignore[attr-defined]
        symbolic = next((x for x in inputs if hasattr(x, "record_op")), None)
        if symbolic is not None:
            return symbolic.record_op(op, inputs, attrs)
        if not all(x is None or hasattr(x, "host") for x in inputs):
            raise TypeError(
                f"{op.name}: a tensor of a traced tf.function is out of scope and cannot be used here. Return it from "
                "the function instead."
            )
        arrays = [None if x is None else x.host() for x in inputs]
        specs = op.infer(*(None if x is None else _spec(x) for x in inputs), **attrs)
        result = op.numpy(*arrays, **attrs)
        if isinstance(specs, tuple):
            return tuple(_tensor(a, s) for a, s in zip(result, specs, strict=True))
        return _tensor(result, specs)


def _composite_numpy() -> Any:
    from ..ops.op import Composite

    return Composite.numpy


def _spec(x: Any) -> Any:
    from ..ops.op import Spec

    if not all(isinstance(d, int) for d in x.sizes):
        raise InvalidArgumentError(
            f"a traced tensor of shape {x.shape} was used outside its tf.function; return it from the function instead"
        )
    return Spec(x.sizes, x.dtype)


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
