"""What `fit` is given, as batches of numpy arrays: arrays, tensors, nested structures of them, or an iterable of
batches."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from ..function.trace import TensorSpec, flatten, map_structure
from ..ops.dispatch import Value

__all__ = ["ArrayData", "Batch", "IterableData", "make_data", "split_validation", "unpack_x_y_sample_weight"]


class Batch(NamedTuple):
    """(x, y, sample_weight) of one batch, absent parts None; and how to make it anew, None if it comes only once."""

    parts: tuple[Any, ...]
    again: Callable[[], tuple[Any, ...]] | None


def unpack_x_y_sample_weight(data: Any) -> tuple[Any, Any, Any]:
    """(x, y, sample_weight) of what a step is given; missing parts are None."""
    if isinstance(data, list):
        data = tuple(data)
    if not isinstance(data, tuple):
        return data, None, None
    if len(data) > 3:
        raise ValueError(
            f"Data is expected to be in format `x`, `(x,)`, `(x, y)`, or `(x, y, sample_weight)`, found: {data}"
        )
    return (*data, None, None)[:3]  # type: ignore[return-value]


def to_array(x: Any) -> np.ndarray[Any, Any]:
    """A host array; float64 and lists of floats become float32. Raises ValueError for what is no array of numbers."""
    array = x.host() if isinstance(x, Value) and hasattr(x, "host") else np.asarray(x)
    if array.dtype == np.float64:
        array = array.astype(np.float32)
    if array.dtype.kind not in "fiub":
        raise ValueError(
            f"fit data must be numbers. Received an array of dtype {array.dtype}; convert text to numbers first"
        )
    return array


class ArrayData:
    """Arrays with one first axis.

    Batches are consecutive slices, of a permutation if shuffled; the last may be smaller.
    """

    def __init__(
        self,
        x: Any,
        y: Any = None,
        sample_weight: Any = None,
        batch_size: int | None = None,
        class_weight: dict[int, float] | None = None,
        steps: int | None = None,
    ) -> None:
        self.parts = tuple(
            None if p is None else map_structure(to_array, _as_structure(p)) for p in (x, y, sample_weight)
        )
        if class_weight is not None:
            if sample_weight is not None:
                raise ValueError(
                    "Arguments `sample_weight` and `class_weight` cannot be specified at the same time: "
                    "multiply the class weights into `sample_weight`"
                )
            self.parts = (*self.parts[:2], _class_weights(self.parts[1], self.parts[2], class_weight))
        sizes = {
            name: [a.shape[0] if a.ndim else None for a in flatten(p)]
            for name, p in zip(("x", "y", "sample_weight"), self.parts, strict=True)
            if p is not None
        }
        counts = {n for found in sizes.values() for n in found}
        if len(counts) != 1 or None in counts:
            raise ValueError(
                "Data cardinality is ambiguous. Make sure all arrays contain the same number of samples. Received: "
                f"{sizes}"
            )
        self.count: int = counts.pop()  # type: ignore[assignment]
        self._plain = all(p is None or isinstance(p, np.ndarray) for p in self.parts)  # no structures of arrays
        if not self.count:
            raise ValueError("The data is empty: it has 0 samples. Expected at least one.")
        self.steps = steps
        self.batch_size = 32 if batch_size is None else int(batch_size)
        if self.batch_size <= 0:
            raise ValueError(f"`batch_size` must be a positive integer. Received: batch_size={batch_size}")

    @property
    def num_batches(self) -> int:
        """Batches of one pass, or the number of steps that was asked for."""
        return self.steps or -(-self.count // self.batch_size)

    def batches(self, shuffle: bool = False, generator: np.random.Generator | None = None) -> Iterator[Batch]:
        """Each batch of one pass."""
        left = self.num_batches
        while left > 0:
            order = (generator or np.random.default_rng()).permutation(self.count) if shuffle else None
            for start in range(0, self.count, self.batch_size)[:left]:
                end = start + self.batch_size
                pick: Any = slice(start, end) if order is None else order[start:end]
                again = functools.partial(self._take, pick)
                yield Batch(again(), again)
                left -= 1

    def _take(self, pick: Any) -> tuple[Any, ...]:
        if self._plain:
            return tuple([None if p is None else p[pick] for p in self.parts])
        take = operator.itemgetter(pick)
        return tuple(None if p is None else map_structure(take, p) for p in self.parts)

    def specs(self) -> tuple[Any, ...]:
        """Structures of TensorSpec, the batch axis free."""
        return tuple(
            None if p is None else map_structure(lambda a: TensorSpec([None, *a.shape[1:]], a.dtype), p)
            for p in self.parts
        )


class IterableData:
    """Batches from a generator, a list or any iterable; the parts of the first batch tell the specs."""

    def __init__(self, source: Any, steps: int | None = None) -> None:
        self.source, self.steps = source, steps
        self._iterator: Iterator[Any] | None = None
        self._first: Any = None
        self.count = None

    @property
    def num_batches(self) -> int | None:
        """Batches of one pass, None if not known."""
        if self.steps is not None:
            return self.steps
        return len(self.source) if hasattr(self.source, "__len__") else None

    def batches(self, shuffle: bool = False, generator: Any = None) -> Iterator[Batch]:
        """One pass; with `steps`, that many batches, going on where the last pass ended."""
        if self._iterator is None or self.steps is None:
            self._iterator = self._chain(iter(self.source))
        taken = 0
        while self.steps is None or taken < self.steps:
            try:
                batch = next(self._iterator)
            except StopIteration:
                if self.steps is None or taken == 0:
                    self._iterator = None
                    break
                raise ValueError(
                    f"The data ran out after {taken} of {self.steps} steps: give more batches or fewer "
                    "`steps_per_epoch`"
                ) from None
            taken += 1
            yield Batch(batch, None)

    def _chain(self, iterator: Iterator[Any]) -> Iterator[Any]:
        if self._first is not None:
            first, self._first = self._first, None
            yield first
        for batch in iterator:
            yield self._arrays(batch)

    def _arrays(self, batch: Any) -> tuple[Any, ...]:
        return tuple(None if p is None else map_structure(to_array, p) for p in unpack_x_y_sample_weight(batch))

    def specs(self) -> tuple[Any, ...]:
        """Structures of TensorSpec, from the first batch, which is not lost."""
        iterator = iter(self.source)
        try:
            first = self._arrays(next(iterator))
        except StopIteration:
            raise ValueError("The data is empty: the iterable gave no batch. Expected at least one.") from None
        if iterator is self.source:  # a generator: keep what was taken from it
            self._first = first
        return tuple(
            None if p is None else map_structure(lambda a: TensorSpec([None, *a.shape[1:]], a.dtype), p) for p in first
        )


def make_data(
    x: Any,
    y: Any = None,
    sample_weight: Any = None,
    batch_size: int | None = None,
    steps: int | None = None,
    class_weight: dict[int, float] | None = None,
) -> Any:
    """ArrayData or IterableData of the arguments of `fit`."""
    if x is None:
        raise ValueError("fit, evaluate and predict need data: received x=None")
    if isinstance(x, np.ndarray | Value | list | tuple | dict):
        return ArrayData(x, y, sample_weight, batch_size, class_weight, steps)
    if hasattr(x, "__iter__"):
        if y is not None or sample_weight is not None:
            raise ValueError(
                "When providing an iterable of batches as `x`, `y` and `sample_weight` come with its batches. "
                "Received them as arguments too."
            )
        return IterableData(x, steps)
    raise ValueError(f"Unrecognized data type: x={x!r} (of type {type(x)}); expected arrays or an iterable of batches")


def explain_loss(data: Any, loss: float) -> str:
    """Why a loss may not be finite: the first such number in the data, or none there."""
    for name, part in zip(("x", "y", "sample_weight"), getattr(data, "parts", ()), strict=False):
        for array in () if part is None else flatten(part):
            if array.dtype.kind != "f":
                continue
            wrong = np.argwhere(~np.isfinite(array))
            if len(wrong):
                position = tuple(int(i) for i in wrong[0])
                return (
                    f"the loss is {loss}: {name} holds {array[position]} at position {position}. "
                    "Remove or replace such samples; the weights have taken it up, so make the model anew."
                )
    return f"the loss is {loss}. If the data holds neither NaN nor infinity, lower the learning rate."


def split_validation(x: Any, y: Any, sample_weight: Any, fraction: float) -> tuple[Any, Any]:
    """The first part for training and the last `fraction` for validation, before any shuffling, as Keras does."""
    if not 0 <= fraction < 1:
        raise ValueError(f"`validation_split` must be between 0 and 1, 1 excluded. Received: {fraction}")
    parts = tuple(None if p is None else map_structure(to_array, _as_structure(p)) for p in (x, y, sample_weight))
    count = flatten(parts[0])[0].shape[0]
    at = int(count * (1.0 - fraction))
    if at == 0 or at == count:
        raise ValueError(
            f"Training data contains {count} samples, which is not sufficient to split it into a validation and "
            f"training set as specified by `validation_split={fraction}`."
        )
    head = tuple(None if p is None else map_structure(lambda a: a[:at], p) for p in parts)
    tail = tuple(None if p is None else map_structure(lambda a: a[at:], p) for p in parts)
    return head, tail


def _as_structure(x: Any) -> Any:
    """A list of numbers is one array; a list of arrays is a structure."""
    if isinstance(x, list | tuple) and x and not all(isinstance(v, np.ndarray | Value) for v in x):
        return np.asarray(x)
    return list(x) if isinstance(x, tuple) else x


def _class_weights(y: Any, sample_weight: Any, weights: dict[int, float]) -> Any:
    if y is None:
        raise ValueError("`class_weight` needs `y`")
    classes = y.argmax(axis=-1) if y.ndim == 2 and y.shape[1] > 1 else y.reshape(y.shape[0]).astype(np.int64)
    made = np.ones(len(classes), np.float32)
    for c, w in weights.items():
        made[classes == c] = w
    return made if sample_weight is None else made * sample_weight
