"""tf.random: draws with and without state. Given the same seeds, eager draws give TensorFlow's numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from .dtypes import as_dtype
from .eager.generator import (
    Generator,
    draw_from_seeds,
    get_global_generator,
    key_counter_of,
    set_global_generator,
    set_seed,
    uniform_between,
)
from .eager.tensor import constant, convert_to_tensor
from .eager.variable import current_trace
from .errors import InvalidArgumentError
from .ops import random as random_ops
from .ops.dispatch import apply
from .ops.elementwise import cast
from .ops.gather import gather
from .ops.movement import expand_dims, shape_tuple
from .ops.reduce import argmax
from .ops.sort import argsort

__all__ = [
    "Generator",
    "categorical",
    "get_global_generator",
    "normal",
    "set_global_generator",
    "set_seed",
    "shuffle",
    "stateless_categorical",
    "stateless_normal",
    "stateless_truncated_normal",
    "stateless_uniform",
    "truncated_normal",
    "uniform",
]

_UNIFORM = {True: "RandomUniformInt", False: "RandomUniform"}


def _scaled(x: Any, mean: Any, stddev: Any) -> Any:
    """x * stddev + mean, without arithmetic where these are 1 and 0."""
    x = x if isinstance(stddev, float | int) and stddev == 1 else x * stddev
    return x if isinstance(mean, float | int) and mean == 0 else x + mean


def normal(
    shape: Any, mean: Any = 0.0, stddev: Any = 1.0, dtype: Any = "float32", seed: Any = None, name: str | None = None
) -> Any:
    """Normal numbers."""
    sizes = shape_tuple(shape, "random.normal")
    key_counter, offset = draw_from_seeds("RandomStandardNormal", dtype, sizes, seed)
    return _scaled(random_ops.random_normal(key_counter, sizes, dtype, offset), mean, stddev)


def truncated_normal(
    shape: Any, mean: Any = 0.0, stddev: Any = 1.0, dtype: Any = "float32", seed: Any = None, name: str | None = None
) -> Any:
    """Normal numbers within two standard deviations of the mean."""
    sizes = shape_tuple(shape, "random.truncated_normal")
    key_counter, offset = draw_from_seeds("TruncatedNormal", dtype, sizes, seed)
    return _scaled(random_ops.truncated_normal(key_counter, sizes, dtype, offset), mean, stddev)


def uniform(
    shape: Any, minval: Any = 0, maxval: Any = None, dtype: Any = "float32", seed: Any = None, name: str | None = None
) -> Any:
    """Numbers from minval (included) to maxval (excluded). Integers need `maxval`; otherwise it is 1."""
    sizes = shape_tuple(shape, "random.uniform")
    key_counter, offset = draw_from_seeds(_UNIFORM[as_dtype(dtype).is_integer], dtype, sizes, seed)
    return uniform_between(key_counter, sizes, minval, maxval, dtype, offset)


def categorical(logits: Any, num_samples: Any, dtype: Any = None, seed: Any = None, name: str | None = None) -> Any:
    """Class numbers drawn with the probabilities softmax(logits): `[batch, num_samples]`.

    Inside a tf.function by the largest of logits plus Gumbel noise, which runs on every device; eagerly as TensorFlow.
    """
    logits = convert_to_tensor(logits)
    shape = (logits.sizes[0], int(num_samples), logits.sizes[1])
    taken = shape if current_trace() is not None else (shape[0], (shape[1] + 3) // 4 * 8)   # two words for a number
    return _categorical(logits, draw_from_seeds("Multinomial", "float32", taken, seed), shape, dtype)


def _categorical(logits: Any, source: Any, shape: Any, dtype: Any) -> Any:
    if current_trace() is None and hasattr(logits, "host"):
        return _categorical_on_host(logits.host().astype(np.float64), source, shape, as_dtype(dtype or "int64"))
    unit = random_ops.random_uniform(source[0], shape, "float32", source[1])
    noise = -apply("log", -apply("log", unit + np.float32(2.0**-25)))
    scores = expand_dims(cast(logits, "float32"), 1) + noise
    return argmax(scores, axis=-1, output_type="int64" if dtype is None else dtype)


def _categorical_on_host(logits: np.ndarray[Any, Any], source: Any, shape: Any, dtype: Any) -> Any:
    """TensorFlow's sampler: a float64 from two words of the stream is looked up in the sums of exp(logits)."""
    rows, count, classes = shape
    words = random_ops.random_bits(source[0], (2 * rows * count,), "uint32", source[1]).host().reshape(-1, 2)
    mantissa = (words[:, 0].astype(np.uint64) & np.uint64(0xFFFFF)) << np.uint64(32) | words[:, 1].astype(np.uint64)
    unit = (mantissa.astype(np.float64) * 2.0**-52).reshape(rows, count)
    usable = np.isfinite(logits)
    largest = np.where(usable, logits, np.finfo(np.float64).min).max(axis=1, initial=np.finfo(np.float64).min)
    with np.errstate(all="ignore"):
        sums = np.cumsum(np.where(usable, np.exp(logits - largest[:, None]), 0.0), axis=1)
    if not classes:
        raise InvalidArgumentError(f"num_classes should be positive, got 0 (logits of shape {logits.shape})")
    found = [np.searchsorted(row, u * row[-1], side="right") for row, u in zip(sums, unit, strict=True)]
    return constant(np.array(found, dtype.numpy).reshape(rows, count), dtype)


def shuffle(value: Any, seed: int | None = None, name: str | None = None) -> Any:
    """The rows of a tensor in a random order; inside a tf.function another order than eagerly."""
    x = convert_to_tensor(value)
    count = x.sizes[0]
    if current_trace() is not None:
        key_counter, offset = draw_from_seeds("RandomShuffle", "uint32", (count,), seed)
        return gather(x, argsort(random_ops.random_uniform(key_counter, (count,), "float32", offset)))
    key_counter, _ = draw_from_seeds("RandomShuffle", "uint32", (1,), seed)
    order = np.arange(count)
    if count > 1:
        words = random_ops.random_bits(key_counter, (count - 1,)).numpy()
        for i, word in enumerate(words.tolist()):                # Fisher and Yates, with TensorFlow's use of the stream
            j = i + word % (count - i)
            order[i], order[j] = order[j], order[i]
    return constant(x.host()[order], x.dtype)


# -- stateless ---------------------------------------------------------------------------------------------------------


def stateless_normal(
    shape: Any,
    seed: Any,
    mean: Any = 0.0,
    stddev: Any = 1.0,
    dtype: Any = "float32",
    name: str | None = None,
    alg: Any = "auto_select",
) -> Any:
    """Normal numbers, decided by `seed` (two integers) alone."""
    sizes = shape_tuple(shape, "random.stateless_normal")
    return _scaled(random_ops.random_normal(key_counter_of(seed), sizes, dtype), mean, stddev)


def stateless_truncated_normal(
    shape: Any,
    seed: Any,
    mean: Any = 0.0,
    stddev: Any = 1.0,
    dtype: Any = "float32",
    name: str | None = None,
    alg: Any = "auto_select",
) -> Any:
    """Normal numbers within two standard deviations of the mean, decided by `seed` (two integers) alone."""
    sizes = shape_tuple(shape, "random.stateless_truncated_normal")
    return _scaled(random_ops.truncated_normal(key_counter_of(seed), sizes, dtype), mean, stddev)


def stateless_uniform(
    shape: Any,
    seed: Any,
    minval: Any = 0,
    maxval: Any = None,
    dtype: Any = "float32",
    name: str | None = None,
    alg: Any = "auto_select",
) -> Any:
    """Numbers from minval (included) to maxval (excluded), decided by `seed` (two integers) alone.

    Integers need both bounds; None for both asks for all bit patterns.
    """
    sizes, kind = shape_tuple(shape, "random.stateless_uniform"), as_dtype(dtype)
    key_counter = key_counter_of(seed)
    if kind.is_integer and minval is None and maxval is None:
        return random_ops.random_bits(key_counter, sizes, kind)
    if kind.is_integer and (minval is None or maxval is None):
        raise ValueError(
            f"For integer dtype {kind.name}, minval and maxval must be both `None` or both non-`None`; got "
            f"minval={minval} and maxval={maxval}."
        )
    return uniform_between(key_counter, sizes, minval, maxval, kind)


def stateless_categorical(
    logits: Any, num_samples: Any, seed: Any, dtype: Any = "int64", name: str | None = None
) -> Any:
    """Class numbers drawn with the probabilities softmax(logits), decided by `seed` alone."""
    logits = convert_to_tensor(logits)
    shape = (logits.sizes[0], int(num_samples), logits.sizes[1])
    return _categorical(logits, (key_counter_of(seed), 0), shape, dtype)
