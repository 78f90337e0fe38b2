"""Layers that prepare data: Normalization by the statistics of a data set, CategoryEncoding; and Lambda."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from ...eager.tensor import constant
from ...ops.dispatch import apply
from ...ops.elementwise import maximum
from ...ops.gather import one_hot
from ...ops.reduce import reduce_max, reduce_sum
from .. import registry
from . import checks
from .layer import Layer

__all__ = ["CategoryEncoding", "Lambda", "Normalization"]

SMALLEST = 1e-7  # deviation: of features that are the same everywhere


class Normalization(Layer):
    """Shifts and scales its inputs to mean 0 and variance 1, by the statistics that `adapt` finds in a data set, or
    by given ones.

    Args:
        axis: the axes whose elements have statistics of their own (None: one mean and variance for all).
        mean, variance: given statistics; then there is nothing to adapt.
        invert: the reverse, from mean 0 and variance 1 back.
    """

    supports_masking = True

    def __init__(
        self, axis: Any = -1, mean: Any = None, variance: Any = None, invert: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.axis = () if axis is None else (axis,) if isinstance(axis, int) else tuple(axis)
        if (mean is None) != (variance is None):
            raise ValueError(
                "When setting values directly, both `mean` and `variance` must be set. Received: "
                f"mean={mean} and variance={variance}"
            )
        if np.shape(mean) != np.shape(variance):
            raise ValueError(
                "When setting values directly, `mean` and `variance` must have the same shape. Received: mean shape "
                f"{np.shape(mean)} and variance shape {np.shape(variance)}"
            )
        self.input_mean, self.input_variance, self.invert = mean, variance, bool(invert)
        self._kept: tuple[int, ...] = ()
        self._sizes: tuple[int, ...] = ()

    def build(self, input_shape: Any = None) -> None:
        rank = len(input_shape)
        if any(not -rank <= a < rank for a in self.axis):
            raise ValueError(
                f"All `axis` values must be in the range [-ndim, ndim). Received inputs with ndim={rank}, while "
                f"axis={self.axis}"
            )
        self._kept = tuple(sorted(a % rank for a in self.axis))
        self._sizes = tuple(checks.known_size(input_shape, a, self) for a in self._kept)
        if self.input_mean is None:
            self.adapt_mean = self.add_weight(self._sizes, "zeros", trainable=False, name="mean")
            self.adapt_variance = self.add_weight(self._sizes, "ones", trainable=False, name="variance")
            self.count = self.add_weight((), "zeros", dtype="int32", trainable=False, name="count")

    def adapt(self, data: Any) -> None:
        """Takes mean and variance from an array, or from batches: arrays, or tuples that start with one."""
        batches: Iterable[Any] = [data] if hasattr(data, "shape") else data
        mean, variance, total = np.zeros(()), np.zeros(()), 0
        for batch in batches:
            x = np.asarray(batch[0] if isinstance(batch, tuple) else batch, np.float64)
            if not self.built:
                self._build((None, *x.shape[1:]))
            if self.input_mean is not None:
                raise ValueError("a Normalization layer with a given `mean` and `variance` has nothing to adapt")
            rest = tuple(i for i in range(x.ndim) if i not in self._kept)
            if tuple(x.shape[a] for a in self._kept) != self._sizes:
                raise ValueError(f"adapt: expected sizes {self._sizes} on axes {self._kept}, received shape {x.shape}")
            count = math.prod(x.shape[i] for i in rest)
            here, spread = x.mean(axis=rest), x.var(axis=rest)
            total += count
            share = count / total
            before = mean
            mean = before * (1 - share) + here * share
            variance = (variance + (before - mean) ** 2) * (1 - share) + (spread + (here - mean) ** 2) * share
        if not total:
            raise ValueError("adapt() received no data. Expected at least one batch, for example layer.adapt(x)")
        self.adapt_mean.assign(mean.astype(np.float32))
        self.adapt_variance.assign(variance.astype(np.float32))
        self.count.assign(np.int32(total))

    def call(self, inputs: Any) -> Any:
        x = inputs if inputs.dtype.is_floating else apply("cast", inputs, dtype=self._dtype)
        mean, variance = self._statistics(x)
        deviation = maximum(apply("sqrt", variance), SMALLEST)
        return x * deviation + mean if self.invert else (x - mean) / deviation

    def _statistics(self, x: Any) -> tuple[Any, Any]:
        """Mean and variance in a shape that broadcasts against x."""
        shape = tuple(d if i in self._kept else 1 for i, d in enumerate(x.sizes))
        if self.input_mean is None:
            return apply("reshape", self.adapt_mean, shape=shape), apply("reshape", self.adapt_variance, shape=shape)
        given = (np.asarray(v, np.float32) for v in (self.input_mean, self.input_variance))
        mean, variance = (constant(np.broadcast_to(v, self._sizes).reshape(shape)) for v in given)
        return mean, variance

    def get_config(self) -> dict[str, Any]:
        given = (None if v is None else np.asarray(v).tolist() for v in (self.input_mean, self.input_variance))
        mean, variance = given
        return {
            **super().get_config(),
            "axis": list(self.axis),
            "invert": self.invert,
            "mean": mean,
            "variance": variance,
        }


class CategoryEncoding(Layer):
    """Encodes integers below `num_tokens`: each as a one-hot row, or all of a sample as one row.

    `output_mode`: "one_hot"; "multi_hot", 1 for every number that occurs in the last axis; "count", how often it does.
    """

    def __init__(
        self, num_tokens: int | None = None, output_mode: str = "multi_hot", sparse: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if num_tokens is None:
            raise ValueError("num_tokens must be set to use this layer.")
        if num_tokens < 1:
            raise ValueError(f"`num_tokens` must be >= 1. Received: num_tokens={num_tokens}.")
        if sparse:
            raise ValueError("CategoryEncoding: sparse=True is not available; leave it out, the result is dense")
        self.num_tokens = num_tokens
        self.output_mode = checks.one_of("output_mode", output_mode, ("count", "one_hot", "multi_hot"))
        self.built = True

    def _as_tensor(self, x: Any) -> Any:
        """Plain numbers stay integers."""
        return super()._as_tensor(np.asarray(x, np.int32) if isinstance(x, int | list | tuple) else x)

    def call(self, inputs: Any, count_weights: Any = None) -> Any:
        if count_weights is not None and self.output_mode != "count":
            raise ValueError(
                "`count_weights` is not used when `output_mode` is not `'count'`. Received "
                f"`count_weights={count_weights}`."
            )
        ids = inputs if inputs.dtype.is_integer else apply("cast", inputs, dtype="int32")
        ids = ids if ids.sizes else apply("reshape", ids, shape=(1,))
        if self.output_mode == "one_hot":
            if len(ids.sizes) > 1 and ids.sizes[-1] == 1:
                ids = apply("reshape", ids, shape=tuple(ids.sizes[:-1]))
            return one_hot(ids, self.num_tokens, dtype=self._dtype)
        rows = one_hot(ids, self.num_tokens, dtype=self._dtype)
        if self.output_mode == "multi_hot":
            return reduce_max(rows, (-2,), False)
        if count_weights is not None:
            rows = rows * apply("reshape", count_weights, shape=(*count_weights.sizes, 1))
        return reduce_sum(rows, (-2,), False)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "num_tokens": self.num_tokens, "output_mode": self.output_mode}


class Lambda(Layer):
    """A function as a layer. To be saved it must have a name, and be registered
    (`@tf.keras.utils.register_keras_serializable()`): files hold no code.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        output_shape: Any = None,
        mask: Any = None,
        arguments: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.function, self.arguments, self.mask = function, dict(arguments or {}), mask
        self._output_shape = output_shape
        self._takes_of_function = set(inspect.signature(function).parameters)
        self.built = True

    def call(self, inputs: Any, mask: Any = None, training: Any = None) -> Any:
        given = {"mask": mask, "training": training}
        known = {k: v for k, v in given.items() if k in self._takes_of_function}
        return self.function(inputs, **self.arguments, **known)

    def compute_mask(self, inputs: Any, previous_mask: Any = None) -> Any:
        """What `mask` says: a function of inputs and mask, or a mask."""
        return self.mask(inputs, previous_mask) if callable(self.mask) else self.mask

    def get_config(self) -> dict[str, Any]:
        config = {**super().get_config(), "function": registry.serialize(self.function), "arguments": self.arguments}
        return config if self._output_shape is None else {**config, "output_shape": list(self._output_shape)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        config = dict(config)
        if isinstance(config["function"], str):
            config["function"] = registry.get(config["function"], {}, "function of a Lambda layer")
        return cls(**config)
