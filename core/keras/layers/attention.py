"""Attention of one head without projections: by dot products (Luong) or by a sum (Bahdanau)."""

from __future__ import annotations

from typing import Any

from ...ops.dispatch import apply
from ...ops.elementwise import select
from ...ops.linalg import matmul
from ...ops.random import dropout as drop
from ...ops.reduce import reduce_sum
from ...ops.softmax import softmax
from ..random import SeedGenerator
from .layer import Layer
from .multi_head_attention import causal_mask

__all__ = ["AdditiveAttention", "Attention"]

FAR = 1e9  # taken from the scores of what may not be attended to


class Attention(Layer):
    """Called on [query, value] or [query, value, key]: for each query the mean of the values, weighted by how well
    their keys fit.

    Args:
        use_scale: learn a factor for the scores.
        score_mode: "dot", or "concat" for the sum of tanh(query + key).
        dropout: the fraction of weights set to 0 in training.
    """

    def __init__(
        self,
        use_scale: bool = False,
        score_mode: str = "dot",
        dropout: float = 0.0,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if score_mode not in ("dot", "concat"):
            raise ValueError(
                "Invalid value for argument score_mode. Expected one of {'dot', 'concat'}. Received: "
                f"score_mode={score_mode}"
            )
        self.use_scale, self.score_mode, self.dropout, self.seed = bool(use_scale), score_mode, float(dropout), seed
        self.seed_generator = SeedGenerator(seed, name=f"{self.name}/seed") if self.dropout > 0 else None
        self.scale: Any = None
        self.concat_score_weight: Any = None

    def build(self, input_shape: Any = None) -> None:
        self._check(input_shape)
        if self.use_scale:
            self.scale = self.add_weight((), "ones", name="scale")
        if self.score_mode == "concat":
            self.concat_score_weight = self.add_weight((), "ones", name="concat_score_weight")

    def call(
        self,
        inputs: Any,
        mask: Any = None,
        training: bool = False,
        return_attention_scores: bool = False,
        use_causal_mask: bool = False,
    ) -> Any:
        self._check(inputs)
        self._check_mask(mask)
        query, value = inputs[0], inputs[1]
        scores = self._scores(query, inputs[2] if len(inputs) > 2 else value)
        allowed = causal_mask(scores.sizes[-2], scores.sizes[-1]) if use_causal_mask else None
        query_mask, value_mask = (None, None) if mask is None else mask[:2]
        if value_mask is not None:
            by_value = apply("reshape", value_mask, shape=(*value_mask.sizes[:-1], 1, value_mask.sizes[-1]))
            allowed = by_value if allowed is None else apply("logical_and", by_value, allowed)
        if allowed is not None:
            scores = select(allowed, scores, scores - FAR)
        weights = softmax(scores)
        if training and self.seed_generator is not None:
            key_counter, offset = self.seed_generator.draw(weights.sizes)
            weights = drop(weights, key_counter, self.dropout, None, offset)
        outputs = matmul(weights, value)
        if query_mask is not None:
            outputs = select(apply("reshape", query_mask, shape=(*query_mask.sizes, 1)), outputs, 0.0)
        return (outputs, weights) if return_attention_scores else outputs

    def _scores(self, query: Any, key: Any) -> Any:
        """[batch, queries, keys]."""
        if self.score_mode == "dot":
            scores = matmul(query, key, transpose_b=True)
            return scores if self.scale is None else scores * self.scale
        together = _pairs(query, key)
        together = together if self.scale is None else self.scale * together
        return self.concat_score_weight * reduce_sum(apply("tanh", together), (-1,), False)

    def compute_mask(self, inputs: Any, previous_mask: Any = None) -> Any:
        """The query's."""
        return None if previous_mask is None else previous_mask[0]

    def compute_output_shape(self, input_shape: Any) -> Any:
        """[batch, queries, features of the values]."""
        return (*input_shape[0][:-1], input_shape[1][-1])

    def _check(self, inputs: Any) -> None:
        kind = type(self).__name__
        if not isinstance(inputs, list):
            raise ValueError(
                f"{kind} layer must be called on a list of inputs, namely [query, value] or [query, value, key]. "
                f"Received: inputs={inputs}."
            )
        if not 2 <= len(inputs) <= 3:
            raise ValueError(
                f"{kind} layer accepts inputs list of length 2 or 3, namely [query, value] or [query, value, key]. "
                f"Received length: {len(inputs)}."
            )

    def _check_mask(self, mask: Any) -> None:
        if mask is not None and (not isinstance(mask, list) or not 2 <= len(mask) <= 3):
            raise ValueError(
                f"{type(self).__name__} layer mask must be a list of 2 or 3, namely [query_mask, value_mask]. "
                f"Received: mask={mask}."
            )

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "use_scale": self.use_scale,
            "score_mode": self.score_mode,
            "dropout": self.dropout,
            "seed": self.seed,
        }


class AdditiveAttention(Attention):
    """Attention whose scores are sums of tanh(query + key), with a learned factor for each feature."""

    def __init__(self, use_scale: bool = True, dropout: float = 0.0, **kwargs: Any) -> None:
        super().__init__(use_scale=use_scale, dropout=dropout, **kwargs)

    def build(self, input_shape: Any = None) -> None:
        self._check(input_shape)
        if self.use_scale:
            self.scale = self.add_weight((input_shape[0][-1],), "glorot_uniform", name="scale")

    def _scores(self, query: Any, key: Any) -> Any:
        together = apply("tanh", _pairs(query, key))
        return reduce_sum(together if self.scale is None else self.scale * together, (-1,), False)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        del config["score_mode"]
        return config


def _pairs(query: Any, key: Any) -> Any:
    """query + key for every pair: [batch, queries, keys, features]."""
    apart = apply("reshape", query, shape=(*query.sizes[:-1], 1, query.sizes[-1]))
    return apart + apply("reshape", key, shape=(*key.sizes[:-2], 1, *key.sizes[-2:]))
