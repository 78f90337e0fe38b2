"""Runs one op at once, on the host."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..dtypes import as_dtype
from ..ops import dispatch
from ..ops.op import Composite, Op, Spec
from .tensor import EagerTensor, from_python, wrap
from .variable import Variable

# What the shape rule of an op said: (op, dtype and shape of each input, attributes) -> (dtype, numpy dtype) of the
# output, a list of these, or EXPAND. A rule depends on nothing else, so it runs once for each; a refusal is not kept.
_known: dict[Any, Any] = {}
_MOST = 4096
_EXPAND = ()


def run_now(op: Op, inputs: Sequence[Any], attrs: dict[str, Any]) -> Any:
    """The outputs as eager tensors; plain values among the inputs become constants. The shape rule runs before the
    kernel, so that a wrong shape or dtype gives the op's own message.
    """
    arrays: list[Any] = []
    parts: list[Any] = [op]
    for x in inputs:
        if x.__class__ is EagerTensor:
            array = x._array
            arrays.append(x.host() if array is None else array)
            parts.append(x.dtype.code)
            parts.append(x.sizes)
        elif x.__class__ is Variable:
            state = x.state
            arrays.append(state.read())
            parts.append(state.dtype.code)
            parts.append(state.shape)
        elif x is None:
            arrays.append(None)
            parts.append(None)
        else:
            return _run_mixed(op, inputs, attrs)
    if attrs:
        parts.append(tuple(attrs.items()))
    key = tuple(parts)
    try:
        known = _known.get(key)
    except TypeError:                           # an attribute that cannot be a key
        known = None
    if known is None:
        known = _infer(op, inputs, attrs, key)
    if known is _EXPAND:
        return op.expand(*inputs, **attrs)  # type: ignore[attr-defined]
    made = op.numpy(*arrays, **attrs)
    if known.__class__ is list:
        return tuple(_tensor(a, *k) for a, k in zip(made, known, strict=True))
    dtype, wanted = known
    if made.__class__ is not np.ndarray:
        made = np.asarray(made)
    if made.dtype is not wanted and made.dtype != wanted:
        made = made.astype(wanted)
    return EagerTensor(made, dtype)


def _infer(op: Op, inputs: Sequence[Any], attrs: dict[str, Any], key: Any) -> Any:
    """What the shape rule says, kept under the key."""
    if _expands(op):
        known: Any = _EXPAND
    else:
        made = op.infer(*(None if x is None else Spec(x.sizes, x.dtype) for x in inputs), **attrs)
        several = isinstance(made, tuple)
        known = [(s.dtype, s.dtype.numpy) for s in made] if several else (made.dtype, made.dtype.numpy)
    if len(_known) >= _MOST:
        _known.clear()
    try:
        _known[key] = known
    except TypeError:
        pass
    return known


def _run_mixed(op: Op, inputs: Sequence[Any], attrs: dict[str, Any]) -> Any:
    """Inputs that are not all eager tensors: plain values, variables; symbolic Keras inputs, which record the op."""
    inputs = dispatch.converted(op, inputs)
    if _expands(op):
        return op.expand(*inputs, **attrs)  # type: ignore[attr-defined]
    values: list[Any] = []
    for x in inputs:
        if x is None or x.__class__ is EagerTensor:
            values.append(x)
        elif hasattr(x, "host"):
            values.append(EagerTensor(x.host(), x.dtype))
        else:
            return _not_eager(op, inputs, attrs)
    return run_now(op, values, attrs)


def _expands(op: Op) -> bool:
    """Whether the op has no kernel on the host, only an expansion."""
    return op.kind == "composite" and type(op).numpy is Composite.numpy


def _not_eager(op: Op, inputs: Sequence[Any], attrs: dict[str, Any]) -> Any:
    """A symbolic Keras input records the op; a value of a trace that has ended is an error."""
    symbolic = next((x for x in inputs if hasattr(x, "record_op")), None)
    if symbolic is not None:
        return symbolic.record_op(op, inputs, attrs)
    raise TypeError(
        f"{op.name}: a tensor of a traced tf.function is out of scope and cannot be used here. Return it from the "
        "function instead."
    )


def _tensor(made: Any, dtype: Any, wanted: Any) -> EagerTensor:
    array = np.asarray(made)
    return EagerTensor(array if array.dtype == wanted else array.astype(wanted), dtype)


def on_host(function: Callable[..., Any], arrays: Sequence[Any]) -> Any:
    """A function of tensors, run eagerly on arrays."""
    with dispatch.replaced(()):
        out = function(
            *(None if a is None else EagerTensor(np.asarray(a), as_dtype(np.asarray(a).dtype)) for a in arrays)
        )
    return tuple(o.host() for o in out) if isinstance(out, tuple) else out.host()


dispatch.install(run_now, from_python, on_host)
__all__ = ["on_host", "run_now", "wrap"]
