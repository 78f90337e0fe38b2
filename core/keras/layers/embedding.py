"""Embedding and Masking: where sequences of ids, and masks, begin."""

from __future__ import annotations

import warnings
from typing import Any

from ...ops.dispatch import apply
from ...ops.elementwise import select
from ...ops.gather import gather
from ...ops.reduce import reduce_any
from .. import regularizers
from . import checks
from .layer import Layer

__all__ = ["Embedding", "Masking"]


class Embedding(Layer):
    """Turns ids from 0 to `input_dim` - 1 into rows of a table. `mask_zero`: id 0 is padding, and masked."""

    def __init__(
        self,
        input_dim: int,
        output_dim: int,
        embeddings_initializer: Any = "uniform",
        embeddings_regularizer: Any = None,
        embeddings_constraint: Any = None,
        mask_zero: bool = False,
        weights: Any = None,
        **kwargs: Any,
    ) -> None:
        for name, value in (("input_dim", input_dim), ("output_dim", output_dim)):
            if not isinstance(value, int) or isinstance(value, bool) or value <= 0:
                raise ValueError(
                    f"`{name}` must be a positive integer. Received: {name}={value} (of type {type(value).__name__})."
                )
        if kwargs.pop("input_length", None) is not None:
            warnings.warn("Argument `input_length` is deprecated. Just remove it.", stacklevel=2)
        super().__init__(**kwargs)
        self.input_dim, self.output_dim, self.mask_zero = input_dim, output_dim, bool(mask_zero)
        self.declare_weight("embeddings", embeddings_initializer, embeddings_regularizer, embeddings_constraint)
        if weights is not None:
            self._build(None)
            self.set_weights(weights if isinstance(weights, list) and len(weights) == 1 else [weights])

    def build(self, input_shape: Any = None) -> None:
        self.embeddings = self.make_weight("embeddings", (self.input_dim, self.output_dim))

    def call(self, inputs: Any) -> Any:
        ids = inputs if inputs.dtype.name in ("int32", "int64") else apply("cast", inputs, dtype="int32")
        return gather(self.embeddings, ids, 0)

    def compute_mask(self, inputs: Any, previous_mask: Any = None) -> Any:
        """True where the id is not 0."""
        return apply("not_equal", inputs, 0) if self.mask_zero else None

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "input_dim": self.input_dim,
            "output_dim": self.output_dim,
            "activity_regularizer": regularizers.serialize(self.activity_regularizer),
            "mask_zero": self.mask_zero,
        }


class Masking(Layer):
    """Masks the steps whose features all equal `mask_value`, and sets them to 0."""

    supports_masking = True

    def __init__(self, mask_value: float = 0.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.mask_value = mask_value
        self.built = True

    def call(self, inputs: Any) -> Any:
        checks.at_least_rank(inputs.sizes, 2, self)
        kept = reduce_any(apply("not_equal", inputs, self.mask_value), (-1,), True)
        return select(kept, inputs, 0.0)

    def compute_mask(self, inputs: Any, previous_mask: Any = None) -> Any:
        """True where a feature differs from the mask's value."""
        return reduce_any(apply("not_equal", inputs, self.mask_value), (-1,), False)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "mask_value": self.mask_value}
