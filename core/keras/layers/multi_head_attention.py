"""MultiHeadAttention: several attentions side by side, each over projections of its own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ...ops.dispatch import apply
from ...ops.elementwise import select
from ...ops.linalg import matmul
from ...ops.random import dropout as drop
from ...ops.softmax import softmax
from ...shapes import num_elements
from .. import masking, regularizers
from ..random import SeedGenerator
from .checks import positive_int
from .einsum_dense import EinsumDense
from .layer import Layer

__all__ = ["MultiHeadAttention", "band_mask", "causal_mask"]

LETTERS = "abcdefghijklmnopqrstuvwxyz"
MASKED = -1e9  # the score of what may not be attended to


class MultiHeadAttention(Layer):
    """Attends from `query` to `value` by `key` (the value itself if left out), `num_heads` times.

    Called with `query` ``[batch, ..., steps, features]`` and `value`, `key` ``[batch, ..., other steps, features]``;
    gives ``[batch, ..., steps, output_shape]`` (by default the query's features), and with `return_attention_scores`
    the probabilities ``[batch, ..., heads, steps, other steps]`` too.

    Args:
        num_heads, key_dim, value_dim: how many heads, and their sizes (`value_dim`: that of the keys by default).
        attention_axes: the axes of steps, counted with the batch; all between batch and features by default.
        sliding_window: attend only to steps nearer than this.
        flash_attention: accepted and ignored: how it is computed is the compiler's choice.
        use_gate: multiply the heads by a sigmoid gate made from the query.
    """

    supports_masking = True

    def __init__(
        self,
        num_heads: int,
        key_dim: int,
        value_dim: int | None = None,
        dropout: float = 0.0,
        use_bias: bool = True,
        output_shape: Any = None,
        attention_axes: Any = None,
        sliding_window: int | None = None,
        flash_attention: bool | None = None,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        use_gate: bool = False,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(activity_regularizer=activity_regularizer, **kwargs)
        self.num_heads = positive_int("num_heads", num_heads, self)
        self.key_dim = positive_int("key_dim", key_dim, self)
        self.value_dim = self.key_dim if value_dim is None else positive_int("value_dim", value_dim, self)
        self.dropout, self.use_bias, self.use_gate, self.seed = float(dropout), bool(use_bias), bool(use_gate), seed
        if not 0 <= self.dropout <= 1:
            raise ValueError(
                f"Invalid value received for argument `dropout`. Expected a float value between 0 and 1. Received: "
                f"dropout={dropout}"
            )
        self._output_shape = (output_shape,) if isinstance(output_shape, int) else output_shape and tuple(output_shape)
        self._attention_axes = (attention_axes,) if isinstance(attention_axes, int) else attention_axes
        if self._attention_axes is not None and not isinstance(self._attention_axes, list | tuple):
            raise ValueError(
                f"`attention_axes` must be an int, list, or tuple. Received: attention_axes={attention_axes}"
            )
        if sliding_window is not None and (not isinstance(sliding_window, int) or sliding_window <= 0):
            raise ValueError(
                f"`sliding_window` must be `None` or a positive integer. Received: sliding_window={sliding_window}"
            )
        self.sliding_window = sliding_window
        self.declare_weight("kernel", kernel_initializer, kernel_regularizer, kernel_constraint)
        self.declare_weight("bias", bias_initializer, bias_regularizer, bias_constraint)
        self.seed_generator = SeedGenerator(seed, name=f"{self.name}/seed") if self.dropout else None

    # -- building -----------------------------------------------------------------------------------------------------

    def build(self, query_shape: Any = None, value_shape: Any = None, key_shape: Any = None) -> None:
        value_shape = query_shape if value_shape is None else value_shape
        key_shape = value_shape if key_shape is None else key_shape
        if tuple(value_shape[1:-1]) != tuple(key_shape[1:-1]):
            raise ValueError(
                "All dimensions of `value` and `key`, except the last one, must be equal. Received: "
                f"value_shape={value_shape} and key_shape={key_shape}"
            )
        self._query_dense = self._project("query", query_shape, self.key_dim)
        self._key_dense = self._project("key", key_shape, self.key_dim)
        if self.use_gate:
            self._gate_dense = self._project("gate", query_shape, self.value_dim, "sigmoid")
        self._value_dense = self._project("value", value_shape, self.value_dim)
        last = tuple(self._output_shape or (query_shape[-1],))
        free = LETTERS[: len(query_shape) - 1]
        outs = LETTERS[len(free) + 2 : len(free) + 2 + len(last)]
        self._output_dense = self._dense(
            "attention_output",
            f"{free}{LETTERS[len(free) : len(free) + 2]},{LETTERS[len(free) : len(free) + 2]}{outs}->{free}{outs}",
            (*query_shape[1:-1], *last),
            outs,
        )
        self._output_dense._build((*query_shape[:-1], self.num_heads, self.value_dim))

    def _project(self, name: str, shape: Any, size: int, activation: Any = None) -> EinsumDense:
        """features -> [heads, size]."""
        free = LETTERS[: len(shape) - 1]
        ins, outs = LETTERS[len(free)], LETTERS[len(free) + 1 : len(free) + 3]
        made = self._dense(
            name, f"{free}{ins},{ins}{outs}->{free}{outs}", (*shape[1:-1], self.num_heads, size), outs, activation
        )
        made._build(tuple(shape))
        return made

    def _dense(self, name: str, equation: str, shape: Any, bias_axes: str, activation: Any = None) -> EinsumDense:
        (kernel, *of_kernel), (bias, *of_bias) = self.declared("kernel"), self.declared("bias")
        return EinsumDense(
            equation,
            shape,
            activation,
            bias_axes if self.use_bias else None,
            # an initializer draws its seed when it is made: each kernel needs one of its own
            kernel.clone() if hasattr(kernel, "clone") else kernel,
            bias,
            *(x for pair in zip(of_kernel, of_bias, strict=True) for x in pair),
            dtype=self._dtype,
            name=name,
        )

    @property
    def query_dense(self) -> EinsumDense:
        """The projection of the queries."""
        return self._query_dense

    @property
    def key_dense(self) -> EinsumDense:
        """The projection of the keys."""
        return self._key_dense

    @property
    def value_dense(self) -> EinsumDense:
        """The projection of the values."""
        return self._value_dense

    @property
    def output_dense(self) -> EinsumDense:
        """The projection of the heads to the output."""
        return self._output_dense

    # -- calling ------------------------------------------------------------------------------------------------------

    def call(
        self,
        query: Any,
        value: Any,
        key: Any = None,
        query_mask: Any = None,
        value_mask: Any = None,
        key_mask: Any = None,
        attention_mask: Any = None,
        return_attention_scores: bool = False,
        training: bool | None = None,
        use_causal_mask: bool = False,
    ) -> Any:
        query_mask = masking.mask_of(query) if query_mask is None else query_mask
        value_mask = masking.mask_of(value) if value_mask is None else value_mask
        key_mask = masking.mask_of(key) if key_mask is None and key is not None and key is not value else key_mask
        key = value if key is None else key
        mask = self._mask(query, value, (query_mask, value_mask, key_mask), attention_mask, use_causal_mask)
        heads, scores = self._attend(
            self._query_dense(query), self._key_dense(key), self._value_dense(value), mask, training
        )
        outputs = self._output_dense(heads * self._gate_dense(query) if self.use_gate else heads)
        return (outputs, scores) if return_attention_scores else outputs

    def _mask(self, query: Any, value: Any, masks: Sequence[Any], given: Any, causal: bool) -> Any:
        """What may be attended to, bool, to be broadcast to [batch, steps, other steps]; None: everything."""
        by_query, by_value, by_key = masks
        parts = [
            None if by_query is None else apply("reshape", _flag(by_query), shape=(*by_query.sizes, 1)),
            *(
                None if m is None else apply("reshape", _flag(m), shape=(*m.sizes[:-1], 1, m.sizes[-1]))
                for m in (by_value, by_key)
            ),
            causal_mask(query.sizes[1], value.sizes[1]) if causal else None,
            band_mask(query.sizes[1], value.sizes[1], self.sliding_window) if self.sliding_window else None,
            None if given is None else _flag(given),
        ]
        mask: Any = None
        for part in parts:
            if part is not None:
                mask = part if mask is None else apply("logical_and", mask, part)
        return mask

    def _attend(self, query: Any, key: Any, value: Any, mask: Any, training: Any) -> tuple[Any, Any]:
        """([batch, ..., steps, heads, size], probabilities) for projected queries, keys and values."""
        rank = len(query.sizes)
        axes = self._attention_axes or tuple(range(1, rank - 2))
        axes = tuple(a % (rank - 1) if a < 0 else a for a in axes)
        outer = [i for i in range(rank - 1) if i not in axes]  # batch axes and, last, the heads
        q, k, v = (_steps_last(x, outer, axes) for x in (query, key, value))
        steps, others = [query.sizes[a] for a in axes], [key.sizes[a] for a in axes]
        # the queries are scaled, not the scores: there are fewer of them
        scores = matmul(q * (1.0 / math.sqrt(self.key_dim)), k, transpose_b=True)
        if mask is not None:
            scores = select(_over_heads(mask, len(outer), scores.sizes, len(axes)), scores, MASKED)
        probabilities = softmax(scores)
        shown = apply("reshape", probabilities, shape=(*scores.sizes[:-2], *steps, *others))
        if training and self.seed_generator is not None:
            key_counter, offset = self.seed_generator.draw(probabilities.sizes)
            probabilities = drop(probabilities, key_counter, self.dropout, None, offset)
        heads = apply("reshape", matmul(probabilities, v), shape=(*scores.sizes[:-2], *steps, value.sizes[-1]))
        order = [*outer, *axes, rank - 1]
        return apply("transpose", heads, perm=tuple(order.index(i) for i in range(rank))), shown

    def compute_mask(self, query: Any, previous_mask: Any = None) -> Any:
        """The query's."""
        return previous_mask

    def compute_output_shape(self, query_shape: Any, value_shape: Any = None, key_shape: Any = None) -> Any:
        """The shape of the output for the shapes of the inputs, None where a size is free."""
        return (*query_shape[:-1], *(self._output_shape or query_shape[-1:]))

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "num_heads": self.num_heads,
            "key_dim": self.key_dim,
            "value_dim": self.value_dim,
            "dropout": self.dropout,
            "use_bias": self.use_bias,
            "use_gate": self.use_gate,
            "output_shape": self._output_shape and list(self._output_shape),
            "attention_axes": self._attention_axes and list(self._attention_axes),
            "sliding_window": self.sliding_window,
            "activity_regularizer": regularizers.serialize(self.activity_regularizer),
            "seed": self.seed,
        }


def causal_mask(steps: Any, others: Any) -> Any:
    """bool [1, steps, others]: no step attends to a later one."""
    rows, columns = _positions(steps, others)
    return apply("greater_equal", rows, columns)


def band_mask(steps: Any, others: Any, window: int) -> Any:
    """bool [1, steps, others]: steps nearer than `window` to each other."""
    rows, columns = _positions(steps, others)
    return apply("less", apply("abs", rows - columns), window)


def _positions(steps: Any, others: Any) -> tuple[Any, Any]:
    """The numbers of rows and columns, int32 [1, steps, 1] and [1, 1, others]."""
    made = [apply("range", size=size, start=0, delta=1, dtype="int32") for size in (steps, others)]
    return apply("reshape", made[0], shape=(1, steps, 1)), apply("reshape", made[1], shape=(1, 1, others))


def _flag(mask: Any) -> Any:
    return mask if mask.dtype.name == "bool" else apply("cast", mask, dtype="bool")


def _steps_last(x: Any, outer: Sequence[int], axes: Sequence[int]) -> Any:
    """[..., steps, size] with all axes of steps as one, the heads among the axes before."""
    moved = apply("transpose", x, perm=(*outer, *axes, len(x.sizes) - 1))
    if len(axes) == 1:
        return moved
    count = num_elements(x.sizes[a] for a in axes)
    return apply("reshape", moved, shape=(*(x.sizes[a] for a in outer), count, x.sizes[-1]))


def _over_heads(mask: Any, outer: int, scores: Any, axes: int) -> Any:
    """A mask [batch, (heads,) steps, others] in a shape that broadcasts against the scores."""
    sizes = list(mask.sizes)
    missing = outer + 2 * axes - len(sizes)
    at = len(sizes) - 2 * axes
    sizes[at:at] = [1] * max(missing, 0)
    if axes == 1:
        return apply("reshape", mask, shape=tuple(sizes))
    whole = [s if d == 1 else d for d, s in zip(sizes[:outer], scores, strict=False)]
    flat = (*sizes[:outer], scores[-2], scores[-1])
    return apply("reshape", apply("broadcast_to", mask, shape=(*whole, *sizes[outer:])), shape=flat)
