"""Layers around layers: Bidirectional runs a recurrent layer both ways, TimeDistributed a layer on each step."""

from __future__ import annotations

from typing import Any

from ...function.trace import flatten
from ...ops.dispatch import apply
from ...ops.movement import concat, reverse
from ...shapes import num_elements
from .. import registry
from .layer import Layer
from .rnn import RNN

__all__ = ["Bidirectional", "TimeDistributed", "Wrapper"]

MERGES = ("sum", "mul", "ave", "concat", None)


class Wrapper(Layer):
    """The base of layers that act on one layer."""

    def __init__(self, layer: Any, **kwargs: Any) -> None:
        if not isinstance(layer, Layer):
            raise ValueError(f"Layer {layer} supplied to Wrapper isn't a supported layer type. Please ensure wrapped "
                             "layer is a valid Keras layer.")
        super().__init__(**kwargs)
        self.layer = layer

    def build(self, input_shape: Any = None) -> None:
        if not self.layer.built:
            self.layer._build(input_shape)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "layer": registry.serialize(self.layer)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        from ..saving import deserialize_layer

        return cls(**{**config, "layer": deserialize_layer(config["layer"])})


class TimeDistributed(Wrapper):
    """Applies a layer to each step of [batch, time, ...]: the steps are joined with the batch."""

    supports_masking = True

    def build(self, input_shape: Any = None) -> None:
        shape = tuple(input_shape)
        if len(shape) < 3:
            raise ValueError(
                "`TimeDistributed` Layer should be passed an `input_shape` with at least 3 dimensions, received: "
                f"{shape}"
            )
        if not self.layer.built:
            self.layer._build((shape[0], *shape[2:]))

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        batch, time = inputs.sizes[:2]
        rows = apply("reshape", inputs, shape=(num_elements((batch, time)), *inputs.sizes[2:]))
        more: dict[str, Any] = {"training": training} if self.layer._takes("training") and training is not None else {}
        if mask is not None and self.layer._takes("mask"):
            more["mask"] = apply("reshape", mask, shape=(num_elements((batch, time)), *mask.sizes[2:]))
        made = self.layer(rows, **more)
        return apply("reshape", made, shape=(batch, time, *made.sizes[1:]))


class Bidirectional(Layer):
    """Runs a recurrent layer from the first step to the last and a copy of it the other way, and joins the outputs.

    Args:
        layer: an RNN.
        merge_mode: "concat" (along the last axis), "sum", "mul", "ave", or None: both outputs.
        backward_layer: for the other way, instead of a copy; it must have `go_backwards=True` where `layer` has not.
    """

    supports_masking = True

    def __init__(self, layer: Any, merge_mode: str | None = "concat", weights: Any = None, backward_layer: Any = None,
                 **kwargs: Any) -> None:
        if not isinstance(layer, RNN):
            raise ValueError(f"Please initialize `Bidirectional` layer with a recurrent layer of keras.layers. "
                             f"Received: {layer}")
        if merge_mode not in MERGES:
            raise ValueError(f"Invalid merge mode. Received: {merge_mode}. Merge mode should be one of "
                             '{"sum", "mul", "ave", "concat", None}')
        if backward_layer is not None and backward_layer.go_backwards == layer.go_backwards:
            raise ValueError("Forward layer and backward layer should have different `go_backwards` value.")
        kwargs.setdefault("name", None)
        super().__init__(**kwargs)
        self._backward_given = backward_layer is not None
        self.forward_layer = _renamed(layer, f"forward_{layer.name}")
        if backward_layer is None:
            config = layer.get_config()
            config["go_backwards"] = not config["go_backwards"]
            config["name"] = f"backward_{layer.name}"
            backward_layer = type(layer).from_config(config)
        self.backward_layer = _renamed(backward_layer, f"backward_{layer.name}")
        for each in (self.forward_layer, self.backward_layer):  # so that masked steps of both ways add nothing
            if hasattr(each, "zero_output_for_mask"):
                each.zero_output_for_mask = each.return_sequences
        self.layer_config = registry.serialize(layer)
        self.merge_mode = merge_mode
        self.return_sequences, self.return_state = layer.return_sequences, layer.return_state
        self._first_weights = weights

    def build(self, sequences_shape: Any = None, initial_state_shape: Any = None) -> None:
        for layer in (self.forward_layer, self.backward_layer):
            if not layer.built:
                layer._build(sequences_shape)

    def call(self, sequences: Any, initial_state: Any = None, mask: Any = None, training: bool | None = None) -> Any:
        given: list[Any] = [None, None]
        if initial_state is not None:
            half = len(initial_state) // 2
            given = [list(initial_state[:half]), list(initial_state[half:])]
        both = [layer(sequences, initial_state=state, mask=mask, training=bool(training))
                for layer, state in zip((self.forward_layer, self.backward_layer), given, strict=True)]
        states: list[Any] = []
        if self.return_state:
            states = [*both[0][1:], *both[1][1:]]
            both = [both[0][0], both[1][0]]
        if self.return_sequences:
            both[1] = reverse(both[1], 1)
        made = self._merged(*both)
        if not self.return_state:
            return made
        return (*made, *states) if self.merge_mode is None else (made, *states)

    def _merged(self, a: Any, b: Any) -> Any:
        if self.merge_mode == "concat":
            return concat([a, b], -1)
        if self.merge_mode == "mul":
            return a * b
        if self.merge_mode is None:
            return a, b
        return a + b if self.merge_mode == "sum" else (a + b) / 2

    def compute_mask(self, inputs: Any, previous_mask: Any = None) -> Any:
        """Of the outputs, if there is one for each step."""
        mask = previous_mask[0] if isinstance(previous_mask, list | tuple) else previous_mask
        output = mask if self.return_sequences else None
        outputs = [output, output] if self.merge_mode is None else [output]
        if self.return_state:
            return [*outputs, *([None] * (2 * len(flatten(self.forward_layer.cell.state_size))))]
        return outputs if self.merge_mode is None else output

    def reset_states(self) -> None:
        """The states of stateful layers are 0 again."""
        self.forward_layer.reset_states()
        self.backward_layer.reset_states()

    reset_state = reset_states

    def get_config(self) -> dict[str, Any]:
        config = {**super().get_config(), "merge_mode": self.merge_mode, "layer": self.layer_config}
        return {**config, "backward_layer": registry.serialize(self.backward_layer)} if self._backward_given else config

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        from ..saving import deserialize_layer

        config = {**config, "layer": deserialize_layer(config["layer"])}
        if config.get("backward_layer") is not None:
            config["backward_layer"] = deserialize_layer(config["backward_layer"])
        return cls(**config)


def _renamed(layer: Any, name: str) -> Any:
    """The layer itself if it has that name, else a copy with it."""
    if layer.name == name:
        return layer
    return type(layer).from_config({**layer.get_config(), "name": name})
