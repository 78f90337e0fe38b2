"""An op applied to symbolic tensors, as a layer of a functional model."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...ops.dispatch import apply
from .layer import Layer

__all__ = ["OpLayer"]


class OpLayer(Layer):
    """Runs one op; `operands` holds its constant inputs, None where a tensor of the model goes in."""

    def __init__(self, op: str, operands: list[Any], attrs: dict[str, Any], **kwargs: Any) -> None:
        kwargs.setdefault("name", None)
        super().__init__(**kwargs)
        self.op, self.operands, self.attrs = op, list(operands), dict(attrs)

    def call(self, *inputs: Any) -> Any:
        """The op's outputs."""
        supply = iter(inputs)
        return apply(self.op, *(next(supply) if x is None else _constant(x) for x in self.operands), **self.attrs)

    def get_config(self) -> dict[str, Any]:
        held = [None if x is None else {"value": np.asarray(x).tolist(), "dtype": x.dtype.name} for x in self.operands]
        return {
            **super().get_config(),
            "op": self.op,
            "operands": held,
            "attrs": {k: list(v) if isinstance(v, tuple) else v for k, v in self.attrs.items()},
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> OpLayer:
        config = dict(config)
        config["attrs"] = {k: _tuples(v) for k, v in config["attrs"].items()}
        return cls(**config)


def _constant(x: Any) -> Any:
    if isinstance(x, dict):
        from ...eager.tensor import constant

        return constant(x["value"], x["dtype"])
    return x


def _tuples(x: Any) -> Any:
    return tuple(_tuples(v) for v in x) if isinstance(x, list) else x
