"""tf.math: reductions, arg-reductions, running sums, segments and counts."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..eager.tensor import convert_to_tensor
from ..errors import InvalidArgumentError, UnimplementedError
from ..ops import gather as gather_ops
from ..ops import reduce as reduce_ops
from ..ops import softmax as softmax_ops
from ..ops import sort as sort_ops
from ..ops.common import as_index
from ..ops.dispatch import apply
from ..ops.elementwise import cast, select, stop_gradient
from ..ops.movement import expand_dims, full, reshape, squeeze

__all__ = [
    "argmax",
    "argmin",
    "bincount",
    "confusion_matrix",
    "count_nonzero",
    "cumprod",
    "cumsum",
    "cumulative_logsumexp",
    "in_top_k",
    "l2_normalize",
    "log_softmax",
    "reduce_all",
    "reduce_any",
    "reduce_euclidean_norm",
    "reduce_logsumexp",
    "reduce_max",
    "reduce_mean",
    "reduce_min",
    "reduce_prod",
    "reduce_std",
    "reduce_sum",
    "reduce_variance",
    "segment_max",
    "segment_mean",
    "segment_min",
    "segment_sum",
    "softmax",
    "top_k",
    "unsorted_segment_max",
    "unsorted_segment_mean",
    "unsorted_segment_min",
    "unsorted_segment_sqrt_n",
    "unsorted_segment_sum",
    "zero_fraction",
]


def reduce_sum(input_tensor: Any, axis: Any = None, keepdims: bool = False, name: str | None = None) -> Any:
    """The sum of elements over some axes.

    Args:
        input_tensor: a numeric tensor.
        axis: an int, several, or None for all axes. Negative ones count from the last.
        keepdims: keep the reduced axes with size 1.

    >>> reduce_sum([[1, 1, 1], [1, 1, 1]], axis=0).numpy().tolist()
    [2, 2, 2]
    """
    return reduce_ops.reduce_sum(convert_to_tensor(input_tensor), axis, bool(keepdims))


def reduce_mean(input_tensor: Any, axis: Any = None, keepdims: bool = False, name: str | None = None) -> Any:
    """The mean of elements over some axes; integers give the truncated mean, as in TensorFlow.

    >>> reduce_mean([[1.0, 1.0], [2.0, 2.0]], axis=1).numpy().tolist()
    [1.0, 2.0]
    """
    return reduce_ops.reduce_mean(convert_to_tensor(input_tensor), axis, bool(keepdims))


def reduce_max(input_tensor: Any, axis: Any = None, keepdims: bool = False, name: str | None = None) -> Any:
    """The largest element over some axes, NaN if one is NaN."""
    return reduce_ops.reduce_max(convert_to_tensor(input_tensor), axis, bool(keepdims))


def reduce_min(input_tensor: Any, axis: Any = None, keepdims: bool = False, name: str | None = None) -> Any:
    """The smallest element over some axes, NaN if one is NaN."""
    return reduce_ops.reduce_min(convert_to_tensor(input_tensor), axis, bool(keepdims))


def reduce_prod(input_tensor: Any, axis: Any = None, keepdims: bool = False, name: str | None = None) -> Any:
    """The product of elements over some axes."""
    return reduce_ops.reduce_prod(convert_to_tensor(input_tensor), axis, bool(keepdims))


def reduce_all(input_tensor: Any, axis: Any = None, keepdims: bool = False, name: str | None = None) -> Any:
    """Whether all elements are true over some axes."""
    return reduce_ops.reduce_all(convert_to_tensor(input_tensor), axis, bool(keepdims))


def reduce_any(input_tensor: Any, axis: Any = None, keepdims: bool = False, name: str | None = None) -> Any:
    """Whether one element is true over some axes."""
    return reduce_ops.reduce_any(convert_to_tensor(input_tensor), axis, bool(keepdims))


def reduce_logsumexp(input_tensor: Any, axis: Any = None, keepdims: bool = False, name: str | None = None) -> Any:
    """log(sum(exp(x))) over some axes, without overflow."""
    return reduce_ops.reduce_logsumexp(convert_to_tensor(input_tensor), axis, bool(keepdims))


def reduce_variance(input_tensor: Any, axis: Any = None, keepdims: bool = False, name: str | None = None) -> Any:
    """The mean squared distance from the mean over some axes. Floating dtypes only."""
    x = convert_to_tensor(input_tensor)
    if not x.dtype.is_floating:
        raise TypeError(
            f"Input must be either real or complex. Received integer type {x.dtype!r}: cast it to a floating dtype."
        )
    mean = reduce_ops.reduce_mean(x, axis, True)
    return reduce_ops.reduce_mean(apply("square", x - mean), axis, bool(keepdims))


def reduce_std(input_tensor: Any, axis: Any = None, keepdims: bool = False, name: str | None = None) -> Any:
    """The square root of `reduce_variance`."""
    return apply("sqrt", reduce_variance(input_tensor, axis, keepdims))


def reduce_euclidean_norm(input_tensor: Any, axis: Any = None, keepdims: bool = False, name: str | None = None) -> Any:
    """The square root of the sum of squares over some axes."""
    x = convert_to_tensor(input_tensor)
    total = reduce_ops.reduce_sum(apply("square", x), axis, bool(keepdims))
    return apply("sqrt", total) if x.dtype.is_floating else cast(apply("sqrt", cast(total, "float64")), x.dtype)


def argmax(input: Any, axis: Any = None, output_type: Any = "int64", name: str | None = None) -> Any:
    """The index of the first largest element along an axis (0 by default).

    >>> int(argmax([2, 20, 30, 3, 6]))
    2
    """
    return reduce_ops.argmax(convert_to_tensor(input), 0 if axis is None else axis, output_type)


def argmin(input: Any, axis: Any = None, output_type: Any = "int64", name: str | None = None) -> Any:
    """The index of the first smallest element along an axis (0 by default)."""
    return reduce_ops.argmin(convert_to_tensor(input), 0 if axis is None else axis, output_type)


def cumsum(x: Any, axis: int = 0, exclusive: bool = False, reverse: bool = False, name: str | None = None) -> Any:
    """Running sums along an axis.

    >>> cumsum([2, 4, 6, 8], exclusive=True).numpy().tolist()
    [0, 2, 6, 12]
    """
    return reduce_ops.cumsum(convert_to_tensor(x), axis, exclusive, reverse)


def cumprod(x: Any, axis: int = 0, exclusive: bool = False, reverse: bool = False, name: str | None = None) -> Any:
    """Running products along an axis."""
    return reduce_ops.cumprod(convert_to_tensor(x), axis, exclusive, reverse)


def cumulative_logsumexp(
    x: Any, axis: int = 0, exclusive: bool = False, reverse: bool = False, name: str | None = None
) -> Any:
    """log of running sums of exp(x) along an axis, shifted by the largest element of the whole axis."""
    x = convert_to_tensor(x)
    peak = stop_gradient(reduce_ops.reduce_max(x, axis, True))
    peak = select(apply("is_finite", peak), peak, 0)
    return apply("log", reduce_ops.cumsum(apply("exp", x - peak), axis, exclusive, reverse)) + peak


def count_nonzero(
    input: Any, axis: Any = None, keepdims: bool | None = None, dtype: Any = "int64", name: str | None = None
) -> Any:
    """How many elements are not zero, over some axes."""
    x = convert_to_tensor(input)
    found = x if x.dtype.is_bool else apply("not_equal", x, 0)
    return reduce_ops.reduce_sum(cast(found, dtype), axis, bool(keepdims))


def zero_fraction(value: Any, name: str | None = None) -> Any:
    """The fraction of elements that are zero, float32."""
    x = convert_to_tensor(value)
    return reduce_ops.reduce_mean(cast(apply("equal", x, 0), "float32"))


def l2_normalize(x: Any, axis: Any = None, epsilon: float = 1e-12, name: str | None = None, dim: Any = None) -> Any:
    """x / sqrt(max(sum(x * x), epsilon)) over some axes."""
    x = convert_to_tensor(x)
    total = reduce_ops.reduce_sum(apply("square", x), dim if axis is None else axis, True)
    return x * apply("rsqrt", apply("maximum", total, epsilon))


def softmax(logits: Any, axis: int | None = None, name: str | None = None) -> Any:
    """exp(logits) / sum(exp(logits)) along an axis (the last by default)."""
    return softmax_ops.softmax(convert_to_tensor(logits), -1 if axis is None else axis)


def log_softmax(logits: Any, axis: int | None = None, name: str | None = None) -> Any:
    """The logarithm of `softmax`, without loss of accuracy."""
    return softmax_ops.log_softmax(convert_to_tensor(logits), -1 if axis is None else axis)


# -- segments and counts -----------------------------------------------------------------------------------------------


def _segments(num_segments: Any) -> Any:
    return num_segments if hasattr(num_segments, "kind") else as_index(num_segments, "num_segments")


def unsorted_segment_sum(data: Any, segment_ids: Any, num_segments: Any, name: str | None = None) -> Any:
    """Sums the slices of `data` that have the same segment id; a negative id drops its slice."""
    return gather_ops.unsorted_segment_sum(
        convert_to_tensor(data), convert_to_tensor(segment_ids), _segments(num_segments)
    )


def _counts(data: Any, ids: Any, num_segments: Any) -> Any:
    """How many slices each segment has (at least 1), in the shape that divides a segment sum."""
    ones = full(tuple(ids.sizes), 1, data.dtype)
    counts = gather_ops.unsorted_segment_sum(ones, ids, num_segments)
    rest = len(data.sizes) - len(ids.sizes)
    return reshape(apply("maximum", counts, 1), (num_segments, *(1,) * rest))


def unsorted_segment_mean(data: Any, segment_ids: Any, num_segments: Any, name: str | None = None) -> Any:
    """The mean of the slices of `data` that have the same segment id; 0 for an empty segment."""
    data, ids, count = convert_to_tensor(data), convert_to_tensor(segment_ids), _segments(num_segments)
    return gather_ops.unsorted_segment_sum(data, ids, count) / _counts(data, ids, count)


def unsorted_segment_sqrt_n(data: Any, segment_ids: Any, num_segments: Any, name: str | None = None) -> Any:
    """The sum of the slices that have the same segment id, divided by the square root of their number."""
    data, ids, count = convert_to_tensor(data), convert_to_tensor(segment_ids), _segments(num_segments)
    return gather_ops.unsorted_segment_sum(data, ids, count) / apply("sqrt", _counts(data, ids, count))


def _extreme(data: Any, segment_ids: Any, num_segments: Any, largest: bool) -> Any:
    """The extreme over segments: every segment looks at every slice."""
    data, ids, count = convert_to_tensor(data), convert_to_tensor(segment_ids), _segments(num_segments)
    rank = len(ids.sizes)
    rest = len(data.sizes) - rank
    chosen = apply("one_hot", ids, depth=count, on_value=True, off_value=False, axis=0, dtype="bool")
    mask = reshape(chosen, (count, *ids.sizes, *(1,) * rest))
    worst = data.dtype.min if largest else data.dtype.max
    masked = select(mask, expand_dims(data, 0), full((), worst, data.dtype))
    reduction = reduce_ops.reduce_max if largest else reduce_ops.reduce_min
    return reduction(masked, tuple(range(1, rank + 1)))


def unsorted_segment_max(data: Any, segment_ids: Any, num_segments: Any, name: str | None = None) -> Any:
    """The largest of the slices that have the same segment id; the lowest value of the dtype for an empty segment."""
    return _extreme(data, segment_ids, num_segments, largest=True)


def unsorted_segment_min(data: Any, segment_ids: Any, num_segments: Any, name: str | None = None) -> Any:
    """The smallest of the slices that have the same segment id; the highest value of the dtype for an empty segment."""
    return _extreme(data, segment_ids, num_segments, largest=False)


def _sorted_count(segment_ids: Any, op: str) -> tuple[Any, int]:
    """Sorted ids and the number of segments, which depends on their values."""
    ids = convert_to_tensor(segment_ids)
    if not hasattr(ids, "host"):
        raise UnimplementedError(
            f"{op}: the size of the result depends on the values of the ids, which a traced function does not know. "
            f"Use tf.math.unsorted_{op} with num_segments."
        )
    array = ids.host()
    if array.ndim != 1 or (array.size and (array[0] < 0 or (np.diff(array) < 0).any())):
        raise InvalidArgumentError(f"{op}: segment ids are not increasing: expected a sorted vector, received {array}.")
    return ids, int(array[-1]) + 1 if array.size else 0


def segment_sum(data: Any, segment_ids: Any, name: str | None = None) -> Any:
    """Sums over runs of equal, sorted segment ids."""
    ids, count = _sorted_count(segment_ids, "segment_sum")
    return unsorted_segment_sum(data, ids, count)


def segment_mean(data: Any, segment_ids: Any, name: str | None = None) -> Any:
    """Means over runs of equal, sorted segment ids."""
    ids, count = _sorted_count(segment_ids, "segment_mean")
    return unsorted_segment_mean(data, ids, count)


def segment_max(data: Any, segment_ids: Any, name: str | None = None) -> Any:
    """Largest elements over runs of equal, sorted segment ids; 0 for an empty segment."""
    return _sorted_extreme(data, segment_ids, True)


def segment_min(data: Any, segment_ids: Any, name: str | None = None) -> Any:
    """Smallest elements over runs of equal, sorted segment ids; 0 for an empty segment."""
    return _sorted_extreme(data, segment_ids, False)


def _sorted_extreme(data: Any, segment_ids: Any, largest: bool) -> Any:
    ids, count = _sorted_count(segment_ids, "segment_max" if largest else "segment_min")
    data = convert_to_tensor(data)
    found = _extreme(data, ids, count, largest)
    ones = full(tuple(ids.sizes), 1, "int32")
    used = apply("greater", gather_ops.unsorted_segment_sum(ones, ids, count), 0)
    return select(reshape(used, (count, *(1,) * (len(data.sizes) - 1))), found, 0)


def bincount(
    arr: Any, weights: Any = None, minlength: Any = None, maxlength: Any = None, dtype: Any = "int32",
    name: str | None = None, axis: Any = None, binary_output: bool = False,
) -> Any:  # fmt: skip
    """How often each value from 0 on occurs, or the sum of its weights.

    The length of the result depends on the largest value, so a traced function needs `minlength` and `maxlength`, both
    equal.
    """
    if axis not in (None, 0) or binary_output:
        raise UnimplementedError(
            "bincount: axis=-1 and binary_output are not available; use tf.one_hot and tf.reduce_sum."
        )
    x = reshape(convert_to_tensor(arr), (-1,))
    if minlength is not None and minlength == maxlength:
        length = as_index(minlength, "bincount")
    elif hasattr(x, "host"):
        values = x.host()
        length = int(values.max()) + 1 if values.size else 0
        length = max(length, 0 if minlength is None else as_index(minlength, "bincount"))
        length = length if maxlength is None else min(length, as_index(maxlength, "bincount"))
    else:
        raise UnimplementedError("bincount: inside a traced function, give minlength and maxlength, and equal.")
    inside = apply("less", x, length)
    kept = select(inside, x, -1)
    if weights is None:
        return gather_ops.unsorted_segment_sum(full(tuple(x.sizes), 1, dtype), kept, length)
    return gather_ops.unsorted_segment_sum(reshape(convert_to_tensor(weights), (-1,)), kept, length)


def confusion_matrix(
    labels: Any,
    predictions: Any,
    num_classes: Any = None,
    weights: Any = None,
    dtype: Any = "int32",
    name: str | None = None,
) -> Any:
    """`[i, j]` counts (or sums the weights of) samples of class i that were predicted as class j."""
    labels, predictions = (reshape(cast(convert_to_tensor(v), "int32"), (-1,)) for v in (labels, predictions))
    if num_classes is None:
        if not (hasattr(labels, "host") and hasattr(predictions, "host")):
            raise UnimplementedError("confusion_matrix: inside a traced function, give num_classes.")
        num_classes = max([int(v.host().max()) + 1 for v in (labels, predictions) if v.host().size], default=0)
    classes = as_index(num_classes, "confusion_matrix")
    for what, v in (("labels", labels), ("predictions", predictions)):
        if hasattr(v, "host") and v.host().size and not 0 <= v.host().min() <= v.host().max() < classes:
            raise InvalidArgumentError(
                f"`{what}` contains values outside [0, {classes}): from {v.host().min()} to {v.host().max()}."
            )
    ids = labels * classes + predictions
    values = (
        full(tuple(ids.sizes), 1, dtype) if weights is None else cast(reshape(convert_to_tensor(weights), (-1,)), dtype)
    )
    return reshape(gather_ops.unsorted_segment_sum(values, ids, classes * classes), (classes, classes))


def in_top_k(targets: Any, predictions: Any, k: Any, name: str | None = None) -> Any:
    """Whether each target is among the k largest predictions of its row. Ties count as in; NaN and infinity as out."""
    targets, scores = convert_to_tensor(targets), convert_to_tensor(predictions)
    classes = scores.sizes[1]
    inside = apply("logical_and", targets >= 0, targets < classes)
    safe = select(inside, targets, 0)
    own = squeeze(apply("gather", scores, expand_dims(safe, 1), axis=1, batch_dims=1), 1)
    better = cast(apply("greater", scores, expand_dims(own, 1)), "int32")
    finite = apply("logical_and", inside, apply("is_finite", own))
    return apply("logical_and", finite, apply("less", reduce_ops.reduce_sum(better, 1), as_index(k, "in_top_k")))


def top_k(input: Any, k: Any = 1, sorted: bool = True, index_type: Any = "int32", name: str | None = None) -> Any:
    """The k largest elements along the last axis, largest first, and their indices: (values, indices)."""
    return sort_ops.top_k(convert_to_tensor(input), as_index(k, "top_k"), index_type)
