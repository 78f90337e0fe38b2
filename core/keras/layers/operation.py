"""An op applied to symbolic tensors, as a layer of a functional model."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...eager.tensor import constant
from ...ops.dispatch import apply
from ...shapes import Dim, Size, ceil_div, larger, smaller
from .layer import Layer

__all__ = ["OpLayer"]


class OpLayer(Layer):
    """Runs one op.

    Args:
        op: its name.
        operands: its constant inputs, None where a tensor of the model goes in.
        attrs: its attributes; sizes in them may depend on free sizes of the tensors, which are bound at each call.
        free: for each tensor of the model, the axes that were free when the op was recorded.
    """

    def __init__(
        self, op: str, operands: list[Any], attrs: dict[str, Any], free: list[list[int]] | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.op, self.operands, self.attrs = op, list(operands), dict(attrs)
        self.free = [list(axes) for axes in free or []]

    def call(self, *inputs: Any) -> Any:
        """The op's outputs."""
        supply = iter(inputs)
        sizes: dict[str, Any] = {}
        for x, axes in zip(inputs, self.free, strict=False):
            for axis in axes:
                sizes.setdefault("batch" if axis == 0 else f"size_{axis}", x.sizes[axis])
        attrs = {k: _bind(v, sizes) for k, v in self.attrs.items()}
        return apply(self.op, *(next(supply) if x is None else x for x in self.operands), **attrs)

    def get_config(self) -> dict[str, Any]:
        held = [None if x is None else {"value": np.asarray(x).tolist(), "dtype": x.dtype.name} for x in self.operands]
        attrs = {k: _plain(v) for k, v in self.attrs.items()}
        return {**super().get_config(), "op": self.op, "operands": held, "attrs": attrs, "free": self.free}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> OpLayer:
        config = dict(config)
        config["attrs"] = {k: _unplain(v) for k, v in config["attrs"].items()}
        config["operands"] = [None if x is None else constant(x["value"], x["dtype"]) for x in config["operands"]]
        return cls(**config)


def _bind(x: Any, sizes: dict[str, Any]) -> Any:
    """An attribute with its symbols replaced."""
    if isinstance(x, tuple):
        return tuple(_bind(v, sizes) for v in x)
    return _size(x, sizes) if isinstance(x, Dim) else x


def _size(x: Size, sizes: dict[str, Any]) -> Any:
    if isinstance(x, int):
        return x
    if x.kind == "symbol":
        return sizes.get(x.args[0], x)
    if x.kind == "sum":
        *terms, total = x.args
        for term, factor in terms:
            total = total + _size(term, sizes) * factor
        return total
    a, b = (_size(v, sizes) for v in x.args)
    combine: dict[str, Any] = {
        "mul": lambda: a * b,
        "floordiv": lambda: a // b,
        "ceildiv": lambda: ceil_div(a, b),
        "mod": lambda: a % b,
        "min": lambda: smaller(a, b),
        "max": lambda: larger(a, b),
    }
    return combine[x.kind]()


def _plain(x: Any) -> Any:
    """For JSON: tuples as lists, sizes as {"size": [kind, arguments]}."""
    if isinstance(x, tuple | list):
        return [_plain(v) for v in x]
    return {"size": [x.kind, _plain(x.args)]} if isinstance(x, Dim) else x


def _unplain(x: Any) -> Any:
    if isinstance(x, list | tuple):
        return tuple(_unplain(v) for v in x)
    return Dim(x["size"][0], _unplain(x["size"][1])) if isinstance(x, dict) else x
