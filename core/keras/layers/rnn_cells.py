"""One step of a recurrent layer: SimpleRNNCell, GRUCell, LSTMCell, and several of them one above the other.

A built-in cell is split in two: `project` is what depends on the inputs alone and is computed for all steps at once,
`step` is what has to wait for the step before.
"""

from __future__ import annotations

from typing import Any

from ...ops.dispatch import apply
from ...ops.movement import full
from ...ops.random import dropout as drop
from ...shapes import num_elements
from .. import activations, initializers, registry
from ..random import SeedGenerator
from .checks import known_size, positive_int
from .layer import Layer

__all__ = ["GRUCell", "LSTMCell", "SimpleRNNCell", "StackedRNNCells"]

WEIGHTS = ("kernel", "recurrent", "bias")


class Cell(Layer):
    """What the three kinds share: a kernel, a recurrent kernel and a bias of `gates` times the units."""

    gates = 1
    recurrent_initializer: Any  # set by declare_weight, as are the others of its kind
    recurrent_regularizer: Any
    recurrent_constraint: Any
    bias_initializer: Any
    bias_regularizer: Any
    bias_constraint: Any

    def __init__(
        self,
        units: int,
        activation: Any = "tanh",
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        recurrent_regularizer: Any = None,
        bias_regularizer: Any = None,
        kernel_constraint: Any = None,
        recurrent_constraint: Any = None,
        bias_constraint: Any = None,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        if not isinstance(units, int) or isinstance(units, bool) or units <= 0:
            raise ValueError(
                f"Received an invalid value for argument `units`, expected a positive integer, got {units}."
            )
        super().__init__(**kwargs)
        self.units = positive_int("units", units, self)
        self.activation = activations.get(activation)
        self.use_bias = bool(use_bias)
        self.declare_weight("kernel", kernel_initializer, kernel_regularizer, kernel_constraint)
        self.declare_weight("recurrent", recurrent_initializer, recurrent_regularizer, recurrent_constraint)
        self.declare_weight("bias", bias_initializer, bias_regularizer, bias_constraint)
        self.dropout = min(1.0, max(0.0, dropout))
        self.recurrent_dropout = min(1.0, max(0.0, recurrent_dropout))
        self.seed = seed
        drops = self.dropout > 0 or self.recurrent_dropout > 0
        self.seed_generator = SeedGenerator(seed, name=f"{self.name}/seed") if drops else None
        self.state_size: Any = self.units
        self.output_size = self.units

    # -- weights ------------------------------------------------------------------------------------------------------

    def build(self, input_shape: Any = None) -> None:
        wide = self.gates * self.units
        self.kernel = self.make_weight("kernel", (known_size(input_shape, -1, self), wide))
        self.recurrent_kernel = self.add_weight(
            (self.units, wide), self.recurrent_initializer, name="recurrent_kernel",
            regularizer=self.recurrent_regularizer, constraint=self.recurrent_constraint,
        )
        self.bias = None
        if self.use_bias:
            self.bias = self.add_weight(
                self._bias_shape(), self._bias_start(), name="bias", regularizer=self.bias_regularizer,
                constraint=self.bias_constraint,
            )

    def _bias_shape(self) -> tuple[int, ...]:
        return (self.gates * self.units,)

    def _bias_start(self) -> Any:
        return self.bias_initializer

    def get_initial_state(self, batch_size: Any = None) -> list[Any]:
        """Zeros for each state."""
        sizes = self.state_size if isinstance(self.state_size, list) else [self.state_size]
        return [full((batch_size, size), 0, self.compute_dtype) for size in sizes]

    # -- computing ----------------------------------------------------------------------------------------------------

    def call(self, inputs: Any, states: Any, training: bool = False) -> Any:
        """(output, new states) for the inputs [batch, features] of one step."""
        several = isinstance(states, list | tuple)
        held = list(states) if several else [states]
        masked, recurrent = self.masks(inputs.sizes, training)
        output, new = self.step(self.project(inputs if masked is None else inputs * masked), held, recurrent)
        return output, new if several else new[0]

    def masks(self, shape: Any, training: bool) -> tuple[Any, Any]:
        """What inputs [batch, features] and the state are multiplied by in training, or None."""
        if not training or self.seed_generator is None:
            return None, None

        def mask(rate: float, size: Any) -> Any:
            if not 0.0 < rate < 1.0:
                return None
            sizes = (shape[0], size)
            key_counter, offset = self.seed_generator.draw(sizes)  # type: ignore[union-attr]
            return drop(full(sizes, 1, self.compute_dtype), key_counter, rate, None, offset)

        return mask(self.dropout, shape[-1]), mask(self.recurrent_dropout, self.units)

    def project(self, inputs: Any) -> Any:
        """What depends on the inputs alone: of one step [batch, features], or of all [time, batch, features]."""
        bias = None if self.bias is None else self._input_bias()
        if len(inputs.sizes) == 2:
            made = inputs @ self.kernel
            return made if bias is None else made + bias
        rows = apply("reshape", inputs, shape=(num_elements(inputs.sizes[:-1]), inputs.sizes[-1]))
        made = rows @ self.kernel
        made = made if bias is None else made + bias
        return apply("reshape", made, shape=(*inputs.sizes[:-1], made.sizes[-1]))

    def _input_bias(self) -> Any:
        return self.bias

    def step(self, projected: Any, states: list[Any], mask: Any = None) -> tuple[Any, list[Any]]:
        """(output, new states) of one step. `mask` multiplies the state that goes into the recurrent product."""
        raise NotImplementedError

    def gate(self, x: Any, number: int) -> Any:
        """One of the parts of [batch, gates * units]."""
        return apply("slice", x, begin=(0, number * self.units), size=(x.sizes[0], self.units))

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "units": self.units,
            "activation": activations.serialize(self.activation),
            "use_bias": self.use_bias,
            "dropout": self.dropout,
            "recurrent_dropout": self.recurrent_dropout,
            "seed": self.seed,
        }


class SimpleRNNCell(Cell):
    """output = activation(inputs @ kernel + bias + state @ recurrent_kernel)."""

    def step(self, projected: Any, states: list[Any], mask: Any = None) -> tuple[Any, list[Any]]:
        before = states[0] if mask is None else states[0] * mask
        output = projected + before @ self.recurrent_kernel
        output = self.activation(output) if self.activation is not None else output
        return output, [output]


class LSTMCell(Cell):
    """Long short-term memory; the kernels hold the input, forget, cell and output parts, in this order."""

    gates = 4

    def __init__(
        self,
        units: int,
        activation: Any = "tanh",
        recurrent_activation: Any = "sigmoid",
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros",
        unit_forget_bias: bool = True,
        *arguments: Any,
        **kwargs: Any,
    ) -> None:
        super().__init__(units, activation, use_bias, kernel_initializer, recurrent_initializer, bias_initializer,
                         *arguments, **kwargs)
        self.recurrent_activation = activations.get(recurrent_activation)
        self.unit_forget_bias = unit_forget_bias
        self.state_size = [self.units, self.units]

    def _bias_start(self) -> Any:
        if not self.unit_forget_bias:
            return self.bias_initializer
        ones = initializers.get("ones")

        def start(shape: Any, dtype: Any = None) -> Any:
            parts = [self.bias_initializer((self.units,), dtype=dtype), ones((self.units,), dtype=dtype),
                     self.bias_initializer((self.units * 2,), dtype=dtype)]
            return apply("concat", *parts, axis=0)

        return start

    def step(self, projected: Any, states: list[Any], mask: Any = None) -> tuple[Any, list[Any]]:
        before, cell = states
        z = projected + (before if mask is None else before * mask) @ self.recurrent_kernel
        keep = self.recurrent_activation(self.gate(z, 1)) * cell
        cell = keep + self.recurrent_activation(self.gate(z, 0)) * self.activation(self.gate(z, 2))
        output = self.recurrent_activation(self.gate(z, 3)) * self.activation(cell)
        return output, [output, cell]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "unit_forget_bias": self.unit_forget_bias,
                "recurrent_activation": activations.serialize(self.recurrent_activation)}


class GRUCell(Cell):
    """Gated recurrent unit; the kernels hold the update, reset and candidate parts, in this order.

    `reset_after` applies the reset gate after the recurrent product, which then has a bias of its own: bias [2, 3 *
    units].
    """

    gates = 3

    def __init__(
        self,
        units: int,
        activation: Any = "tanh",
        recurrent_activation: Any = "sigmoid",
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        recurrent_regularizer: Any = None,
        bias_regularizer: Any = None,
        kernel_constraint: Any = None,
        recurrent_constraint: Any = None,
        bias_constraint: Any = None,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        reset_after: bool = True,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(units, activation, use_bias, kernel_initializer, recurrent_initializer, bias_initializer,
                         kernel_regularizer, recurrent_regularizer, bias_regularizer, kernel_constraint,
                         recurrent_constraint, bias_constraint, dropout, recurrent_dropout, seed, **kwargs)
        self.recurrent_activation = activations.get(recurrent_activation)
        self.reset_after = bool(reset_after)

    def _bias_shape(self) -> tuple[int, ...]:
        wide = 3 * self.units
        return (2, wide) if self.reset_after else (wide,)

    def _row(self, number: int) -> Any:
        wide = 3 * self.units
        return apply("reshape", apply("slice", self.bias, begin=(number, 0), size=(1, wide)), shape=(wide,))

    def _input_bias(self) -> Any:
        return self._row(0) if self.reset_after else self.bias

    def step(self, projected: Any, states: list[Any], mask: Any = None) -> tuple[Any, list[Any]]:
        state, units = states[0], self.units
        before = state if mask is None else state * mask
        if self.reset_after:
            inner = before @ self.recurrent_kernel
            inner = inner if self.bias is None else inner + self._row(1)
            update = self.recurrent_activation(self.gate(projected, 0) + self.gate(inner, 0))
            reset = self.recurrent_activation(self.gate(projected, 1) + self.gate(inner, 1))
            candidate = reset * self.gate(inner, 2)
        else:
            gates = apply("slice", self.recurrent_kernel, begin=(0, 0), size=(units, 2 * units))
            last = apply("slice", self.recurrent_kernel, begin=(0, 2 * units), size=(units, units))
            inner = before @ gates
            update = self.recurrent_activation(self.gate(projected, 0) + self.gate(inner, 0))
            reset = self.recurrent_activation(self.gate(projected, 1) + self.gate(inner, 1))
            candidate = (reset * before) @ last
        candidate = self.activation(self.gate(projected, 2) + candidate)
        output = update * state + (1.0 - update) * candidate
        return output, [output]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "reset_after": self.reset_after,
                "recurrent_activation": activations.serialize(self.recurrent_activation)}


class StackedRNNCells(Layer):
    """Cells one above the other, as one cell."""

    def __init__(self, cells: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        for cell in cells:
            if not callable(getattr(cell, "call", None)) or not hasattr(cell, "state_size"):
                raise ValueError(f"All cells must have a `call` method and a `state_size` attribute. Received: {cell}")
        self.cells = list(cells)

    @property
    def state_size(self) -> list[Any]:
        """Of each cell."""
        return [cell.state_size for cell in self.cells]

    @property
    def output_size(self) -> Any:
        """Of the last cell."""
        return getattr(self.cells[-1], "output_size", None) or _first(self.cells[-1].state_size)

    def get_initial_state(self, batch_size: Any = None) -> list[Any]:
        """Zeros for each state of each cell."""
        return [initial_state(cell, batch_size) for cell in self.cells]

    def build(self, input_shape: Any = None) -> None:
        for cell in self.cells:
            if isinstance(cell, Layer) and not cell.built:
                cell._build(input_shape)
            input_shape = (input_shape[0], getattr(cell, "output_size", None) or _first(cell.state_size))

    def call(self, inputs: Any, states: Any, training: bool = False) -> Any:
        new = []
        for cell, state in zip(self.cells, states, strict=True):
            more = {"training": training} if isinstance(cell, Layer) and cell._takes("training") else {}
            inputs, after = cell(inputs, state, **more)
            new.append(after)
        return inputs, new

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "cells": [registry.serialize(cell) for cell in self.cells]}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        from ..saving import deserialize_layer

        return cls(**{**config, "cells": [deserialize_layer(cell) for cell in config["cells"]]})


def _first(sizes: Any) -> Any:
    return sizes[0] if isinstance(sizes, list | tuple) else sizes


def initial_state(cell: Any, batch: Any) -> Any:
    """What a cell starts from: its own answer, else zeros of its state sizes."""
    if hasattr(cell, "get_initial_state"):
        made = cell.get_initial_state(batch_size=batch)
        return made
    sizes = cell.state_size if isinstance(cell.state_size, list | tuple) else [cell.state_size]
    return [full((batch, s) if isinstance(s, int) else (batch, *s), 0, "float32") for s in sizes]
