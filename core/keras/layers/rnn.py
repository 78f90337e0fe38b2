"""RNN: a cell run over the steps of sequences, as one loop op; SimpleRNN, LSTM and GRU have a built-in cell."""

from __future__ import annotations

from typing import Any

from ...eager.variable import Variable
from ...function.control import repack, traced_loop
from ...function.trace import flatten, map_structure
from ...ops.dispatch import apply
from ...ops.movement import reverse, transpose
from .. import registry
from ..naming import snake_case
from .layer import Layer
from .rnn_cells import Cell, GRUCell, LSTMCell, SimpleRNNCell, StackedRNNCells, initial_state

__all__ = ["GRU", "LSTM", "RNN", "SimpleRNN"]

OPTIONS = ("return_sequences", "return_state", "go_backwards", "stateful", "unroll", "zero_output_for_mask")


class RNN(Layer):
    """Runs a cell over the second axis of its inputs, [batch, time, ...].

    Args:
        cell: a layer with `call(inputs, states) -> (output, states)` and `state_size`; a list of cells is stacked.
        return_sequences: the outputs of all steps, [batch, time, units], instead of the last.
        return_state: the last states too, after the output.
        go_backwards: from the last step to the first; the outputs are in the order they were computed.
        stateful: a batch goes on from the last states of the batch before; needs a fixed batch size.
        unroll: accepted; a loop is one op here either way.
        zero_output_for_mask: outputs of masked steps are 0 instead of those of the step before.
    """

    def __init__(
        self,
        cell: Any,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
        unroll: bool = False,
        zero_output_for_mask: bool = False,
        **kwargs: Any,
    ) -> None:
        if isinstance(cell, list | tuple):
            cell = StackedRNNCells(cell)
        if not hasattr(cell, "call"):
            raise ValueError(f"Argument `cell` should have a `call` method. Received: cell={cell}")
        if not hasattr(cell, "state_size"):
            raise ValueError(
                f"The RNN cell should have a `state_size` attribute (single integer or list of integers, one integer "
                f"per RNN state). Received: cell={cell}"
            )
        super().__init__(**kwargs)
        self.cell = cell
        self.return_sequences, self.return_state = return_sequences, return_state
        self.go_backwards, self.stateful, self.unroll = go_backwards, stateful, unroll
        self.zero_output_for_mask = zero_output_for_mask
        self.supports_masking = True
        self.states: Any = None

    # -- weights and states -------------------------------------------------------------------------------------------

    def build(self, sequences_shape: Any = None, initial_state_shape: Any = None) -> None:
        step_shape = (sequences_shape[0], *sequences_shape[2:])
        if isinstance(self.cell, Layer) and not self.cell.built:
            self.cell._build(step_shape)
        if self.stateful:
            if self.states is None:
                if sequences_shape[0] is None:
                    raise ValueError(
                        "When using `stateful=True` in a RNN, the batch size must be static. Found dynamic batch size: "
                        f"sequence.shape={tuple(sequences_shape)}"
                    )
                start = initial_state(self.cell, sequences_shape[0])
                self.states = map_structure(
                    lambda x: Variable(x, trainable=False, name=f"{self.name}/state"), start)

    def reset_states(self) -> None:
        """The states of a stateful layer are 0 again."""
        for v in flatten(self.states):
            if v is not None:
                v.assign(apply("full", shape=tuple(v.sizes), value=0, dtype=v.dtype.name))

    reset_state = reset_states

    # -- computing ----------------------------------------------------------------------------------------------------

    def call(self, sequences: Any, initial_state: Any = None, mask: Any = None, training: bool = False) -> Any:
        if len(sequences.sizes) < 3:
            raise ValueError(
                f'Input 0 of layer "{self.name}" is incompatible with the layer: expected ndim=3, found '
                f"ndim={len(sequences.sizes)}. Full shape received: {tuple(sequences.shape.as_list())}"
            )
        start = self._start(sequences, initial_state)
        mask = mask[0] if isinstance(mask, list | tuple) else mask
        stepwise = transpose(sequences, (1, 0, *range(2, len(sequences.sizes))))
        outputs, last, states = self._loop(stepwise, start, mask, training)
        if self.stateful:
            for variable, value in zip(flatten(self.states), flatten(states), strict=True):
                variable.assign(value)
        result = last
        if self.return_sequences:
            outputs = reverse(outputs, 0) if self.go_backwards else outputs
            result = transpose(outputs, (1, 0, *range(2, len(outputs.sizes))))
        return (result, *states) if self.return_state else result

    def _start(self, sequences: Any, given: Any) -> list[Any]:
        if given is not None:
            return list(given) if isinstance(given, list | tuple) else [given]
        if self.stateful:
            held = map_structure(lambda v: v.value(), self.states)
            return list(held) if isinstance(held, list | tuple) else [held]
        made = initial_state(self.cell, sequences.sizes[0])
        return list(made) if isinstance(made, list | tuple) else [made]

    def _loop(self, stepwise: Any, start: list[Any], mask: Any, training: bool) -> tuple[Any, Any, list[Any]]:
        """(outputs [time, batch, ...], the last one, last states)."""
        step, inputs = self._step(stepwise, training)
        flat = flatten(start)
        count, length = len(flat), stepwise.sizes[0]
        if mask is None:
            structure: list[Any] = [start]

            def plain(carried: list[Any], slices: list[Any]) -> tuple[list[Any], list[Any]]:
                output, states = step(slices[0], repack(start, carried))
                structure[0] = states
                return flatten(states), [output]

            last, (outputs,) = traced_loop(plain, flat, [inputs], length, self.go_backwards, self.name)
            states = repack(structure[0], last)
        else:
            outputs, states = self._masked(step, inputs, start, count, mask)
        end = 0 if self.go_backwards else length - 1
        final = apply("slice", outputs, begin=(end, *([0] * (len(outputs.sizes) - 1))), size=(1, *outputs.sizes[1:]))
        return outputs, apply("reshape", final, shape=tuple(outputs.sizes[1:])), list(states)

    def _masked(self, step: Any, inputs: Any, start: list[Any], count: int, mask: Any) -> tuple[Any, list[Any]]:
        """As `_loop`, where masked steps leave everything as it was; their output is the one before, or 0."""
        size = getattr(self.cell, "output_size", None) or flatten(self.cell.state_size)[-1]
        before = apply("full", shape=(inputs.sizes[1], size), value=0, dtype=inputs.dtype.name)

        def masked(carried: list[Any], slices: list[Any]) -> tuple[list[Any], list[Any]]:
            held = repack(start, carried[:count])
            output, states = step(slices[0], held)

            def choose(new: Any, old: Any) -> Any:
                there = apply("reshape", slices[1], shape=(slices[1].sizes[0], *([1] * (len(new.sizes) - 1))))
                return apply("select", there, new, old)

            kept = [choose(n, o) for n, o in zip(flatten(states), carried, strict=False)]
            output = choose(output, carried[count] * 0.0 if self.zero_output_for_mask else carried[count])
            return [*kept, output], [output]

        steps = transpose(mask, (1, 0))
        last, (outputs,) = traced_loop(masked, [*flatten(start), before], [inputs, steps], inputs.sizes[0],
                                       self.go_backwards, self.name)
        return outputs, repack(start, last[:count])

    def _step(self, stepwise: Any, training: bool) -> tuple[Any, Any]:
        """The function of one step (slice, states), and what it takes slices of."""
        cell = self.cell
        if isinstance(cell, Cell):
            masked, recurrent = cell.masks(stepwise.sizes[1:], training)
            projected = cell.project(stepwise if masked is None else stepwise * masked)
            return (lambda x, states: cell.step(x, list(states), recurrent)), projected
        more = {"training": training} if isinstance(cell, Layer) and cell._takes("training") else {}

        def step(x: Any, states: Any) -> tuple[Any, list[Any]]:
            given = states if isinstance(cell, StackedRNNCells) or len(states) > 1 else list(states)
            output, new = cell(x, given, **more)
            return output, list(new) if isinstance(new, list | tuple) else [new]

        return step, stepwise

    def compute_mask(self, inputs: Any, previous_mask: Any = None) -> Any:
        """Of the outputs if there is one for each step; states have none."""
        mask = previous_mask[0] if isinstance(previous_mask, list | tuple) else previous_mask
        output = mask if self.return_sequences else None
        return [output, *([None] * len(flatten(self.cell.state_size)))] if self.return_state else output

    def get_config(self) -> dict[str, Any]:
        config = {**super().get_config(), **{name: getattr(self, name) for name in OPTIONS}}
        return {**config, "cell": registry.serialize(self.cell)} if type(self) is RNN else config

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        if "cell" in config:
            from ..saving import deserialize_layer

            config = {**config, "cell": deserialize_layer(config["cell"])}
        return cls(**config)


class _OfCell(RNN):
    """A layer of one built-in cell: its arguments are those of the cell, then those of RNN."""

    kind: type[Cell]
    own: tuple[str, ...] = ()  # arguments of the cell beyond those of every cell

    def _make(self, units: int, options: dict[str, Any], kwargs: dict[str, Any], **arguments: Any) -> None:
        """Makes the cell and the layer around it."""
        cell_options = {k: kwargs[k] for k in ("dtype", "trainable") if k in kwargs}
        super().__init__(self.kind(units, **arguments, **cell_options), **options, **kwargs)
        self.cell.name = f"{self.name}/{snake_case(self.kind.__name__)}"

    def __getattr__(self, name: str) -> Any:
        """What the layer was made with is kept by its cell."""
        cell = self.__dict__.get("cell")
        if cell is None or name.startswith("_") or not hasattr(cell, name):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return getattr(cell, name)

    def get_config(self) -> dict[str, Any]:
        config = {k: v for k, v in self.cell.get_config().items() if k not in ("name", "trainable", "dtype")}
        made = {**super().get_config(), **config}
        return {"activity_regularizer": None, **made}


class SimpleRNN(_OfCell):
    """A fully connected recurrent layer: the output is fed back."""

    kind = SimpleRNNCell

    def __init__(
        self, units: int, activation: Any = "tanh", use_bias: bool = True, kernel_initializer: Any = "glorot_uniform",
        recurrent_initializer: Any = "orthogonal", bias_initializer: Any = "zeros", kernel_regularizer: Any = None,
        recurrent_regularizer: Any = None, bias_regularizer: Any = None, activity_regularizer: Any = None,
        kernel_constraint: Any = None, recurrent_constraint: Any = None, bias_constraint: Any = None,
        dropout: float = 0.0, recurrent_dropout: float = 0.0, return_sequences: bool = False,
        return_state: bool = False, go_backwards: bool = False, stateful: bool = False, unroll: bool = False,
        seed: int | None = None, **kwargs: Any,
    ) -> None:
        given = {k: v for k, v in locals().items() if k not in ("self", "kwargs", "__class__")}
        _from_arguments(self, given, kwargs)


class LSTM(_OfCell):
    """Long short-term memory.

    >>> LSTM(4)(ones([2, 5, 3])).shape
    TensorShape([2, 4])
    """

    kind = LSTMCell

    def __init__(
        self, units: int, activation: Any = "tanh", recurrent_activation: Any = "sigmoid", use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform", recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros", unit_forget_bias: bool = True, kernel_regularizer: Any = None,
        recurrent_regularizer: Any = None, bias_regularizer: Any = None, activity_regularizer: Any = None,
        kernel_constraint: Any = None, recurrent_constraint: Any = None, bias_constraint: Any = None,
        dropout: float = 0.0, recurrent_dropout: float = 0.0, seed: int | None = None,
        return_sequences: bool = False, return_state: bool = False, go_backwards: bool = False,
        stateful: bool = False, unroll: bool = False, use_cudnn: Any = "auto", **kwargs: Any,
    ) -> None:
        given = {k: v for k, v in locals().items() if k not in ("self", "kwargs", "__class__", "use_cudnn")}
        _from_arguments(self, given, kwargs)


class GRU(_OfCell):
    """Gated recurrent unit."""

    kind = GRUCell

    def __init__(
        self, units: int, activation: Any = "tanh", recurrent_activation: Any = "sigmoid", use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform", recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros", kernel_regularizer: Any = None, recurrent_regularizer: Any = None,
        bias_regularizer: Any = None, activity_regularizer: Any = None, kernel_constraint: Any = None,
        recurrent_constraint: Any = None, bias_constraint: Any = None, dropout: float = 0.0,
        recurrent_dropout: float = 0.0, seed: int | None = None, return_sequences: bool = False,
        return_state: bool = False, go_backwards: bool = False, stateful: bool = False, unroll: bool = False,
        reset_after: bool = True, use_cudnn: Any = "auto", **kwargs: Any,
    ) -> None:
        given = {k: v for k, v in locals().items() if k not in ("self", "kwargs", "__class__", "use_cudnn")}
        _from_arguments(self, given, kwargs)


def _from_arguments(layer: _OfCell, given: dict[str, Any], kwargs: dict[str, Any]) -> None:
    """Tells the arguments of the cell from those of RNN and of every layer."""
    options = {name: given.pop(name) for name in OPTIONS if name in given}
    kwargs = {**kwargs, "activity_regularizer": given.pop("activity_regularizer")}
    layer._make(given.pop("units"), options, kwargs, **given)
