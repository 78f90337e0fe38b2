"""EinsumDense: a dense layer over any axes, given in Einstein's notation."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

from ...linalg import einsum
from ...ops.dispatch import apply
from .. import activations, initializers, regularizers
from .layer import Layer

__all__ = ["EinsumDense"]


class EinsumDense(Layer):
    """``activation(einsum(equation, inputs, kernel) + bias)``.

    Args:
        equation: ``"abc,cd->abd"``; ``...`` may stand for axes at the start or the end.
        output_shape: the output's sizes without the batch axis; None where a size is the input's.
        bias_axes: the output axes that the bias has; None for no bias.
    """

    def __init__(
        self,
        equation: str,
        output_shape: Any,
        activation: Any = None,
        bias_axes: str | None = None,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.equation, self.bias_axes = equation, bias_axes
        self.partial_output_shape = (output_shape,) if isinstance(output_shape, int) else tuple(output_shape)
        self.activation = activations.get(activation)
        self.declare_weight("kernel", kernel_initializer, kernel_regularizer, kernel_constraint)
        self.declare_weight("bias", bias_initializer, bias_regularizer, bias_constraint)
        self.bias: Any = None

    def build(self, input_shape: Any = None) -> None:
        shapes = weight_shapes(self.equation, self.bias_axes, input_shape, self.partial_output_shape)
        initializer, regularizer, constraint = self.declared("kernel")
        self.kernel = self.add_weight(
            shapes.kernel,
            _by_fans(initializer, shapes),
            name="kernel",
            regularizer=regularizer,
            constraint=constraint,
        )
        if shapes.bias is not None:
            self.bias = self.make_weight("bias", shapes.bias)

    def call(self, inputs: Any) -> Any:
        outputs = einsum(self.equation, inputs, self.kernel)
        if self.bias is not None:
            outputs = outputs + self.bias
        return self.activation(outputs)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "output_shape": list(self.partial_output_shape),
            "equation": self.equation,
            "activation": activations.serialize(self.activation),
            "bias_axes": self.bias_axes,
            "activity_regularizer": regularizers.serialize(self.activity_regularizer),
        }


@dataclass
class WeightShapes:
    """The kernel's shape and which of its axes are summed over; the bias' shape (None: no bias)."""

    kernel: tuple[int, ...]
    summed: tuple[int, ...]
    bias: tuple[int, ...] | None


def weight_shapes(equation: str, bias_axes: str | None, input_shape: Any, output_shape: Any) -> WeightShapes:
    """The shapes that an equation asks for. Raises ValueError for an equation that does not fit."""
    found = re.fullmatch(r"(\.\.\.)?([a-zA-Z]+)(\.\.\.)?,([a-zA-Z]+)->(\.\.\.)?([a-zA-Z]+)(\.\.\.)?", equation)
    if found is None or bool(found[1]) != bool(found[5]) or bool(found[3]) != bool(found[7]):
        raise ValueError(
            f"Invalid einsum equation '{equation}'. Equations must be in the form [X],[Y]->[Z], ...[X],[Y]->...[Z], "
            "or [X]...,[Y]->[Z]...."
        )
    left, ins, kernel, outs = bool(found[1]), found[2], found[4], found[6]
    elided = len(input_shape) - len(ins)
    start = elided if left else 0
    sizes = {c: input_shape[start + i] for i, c in enumerate(ins)}
    whole = [input_shape[0], *(input_shape[1:elided] if left and elided else ()), *output_shape]
    for i, c in enumerate(outs):
        given = whole[start + i] if start + i < len(whole) else None
        if c in sizes and given is not None and sizes[c] is not None and given != sizes[c]:
            raise ValueError(
                f"Input shape and output shape do not match at shared dimension '{c}'. Input shape is {sizes[c]}, and "
                f"output shape is {given}."
            )
        if c not in ins and c not in kernel:
            raise ValueError(
                f"Dimension '{c}' was specified in the output '{outs}' but has no corresponding dim in the input spec "
                f"'{ins}' or weight spec '{kernel}'"
            )
        if sizes.get(c) is None:
            sizes[c] = given
    unknown = [c for c in kernel if sizes.get(c) is None]
    if unknown:
        raise ValueError(
            f"Weight dimension '{unknown[0]}' did not have a match in either the input spec '{ins}' or the output spec "
            f"'{outs}', or its size is not known. For this layer, the weight must be fully specified."
        )
    bias = None
    if bias_axes:
        missing = [c for c in bias_axes if c not in outs]
        if missing:
            raise ValueError(
                f"Bias dimension '{missing[0]}' was requested, but is not part of the output spec '{outs}'"
            )
        after = outs[min(outs.index(c) for c in bias_axes) :]
        bias = (*(sizes[c] if c in bias_axes else 1 for c in after), *[1] * (0 if left else elided))
    return WeightShapes(
        tuple(sizes[c] for c in kernel), tuple(i for i, c in enumerate(kernel) if c not in outs), bias
    )


def _by_fans(initializer: Any, shapes: WeightShapes) -> Any:
    """Initializers that scale by the number of inputs count the axes that are summed over, wherever they stand."""
    if not isinstance(initializer, initializers.VarianceScaling):
        return initializer
    inside = math.prod(shapes.kernel[i] for i in shapes.summed)
    rest = [i for i in range(len(shapes.kernel)) if i not in shapes.summed]
    outside = math.prod(shapes.kernel[i] for i in rest)
    order = [*shapes.summed, *rest]

    def values(shape: Any, dtype: Any = None) -> Any:
        flat = initializer((inside, outside), dtype=dtype)
        apart = apply("reshape", flat, shape=tuple(shapes.kernel[i] for i in order))
        return apply("transpose", apart, perm=tuple(order.index(i) for i in range(len(order))))

    values.__name__ = initializers.serialize(initializer)["class_name"]
    return values
