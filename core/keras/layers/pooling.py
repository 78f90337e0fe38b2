"""Pooling over windows, and over whole sequences, images and volumes."""

from __future__ import annotations

from typing import Any

from ...ops.dispatch import apply
from ...ops.elementwise import select
from ...ops.pool import avg_pool, max_pool
from ...ops.reduce import reduce_max, reduce_mean, reduce_sum
from . import checks
from .spatial import FIRST, Spatial, data_format_of

__all__ = [
    "AveragePooling1D",
    "AveragePooling2D",
    "AveragePooling3D",
    "GlobalAveragePooling1D",
    "GlobalAveragePooling2D",
    "GlobalAveragePooling3D",
    "GlobalMaxPooling1D",
    "GlobalMaxPooling2D",
    "GlobalMaxPooling3D",
    "MaxPooling1D",
    "MaxPooling2D",
    "MaxPooling3D",
]


class Pooling(Spatial):
    """The base of pooling over windows."""

    function: Any

    def __init__(
        self,
        pool_size: Any = 2,
        strides: Any = None,
        padding: str = "valid",
        data_format: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.pool_size = checks.per_axis(pool_size, self.rank, "pool_size")
        self.strides = self.pool_size if strides is None else checks.per_axis(strides, self.rank, "strides")
        self.padding = checks.one_of("padding", padding, ("valid", "same"))
        self.data_format = data_format_of(data_format)
        self.built = True

    def call(self, inputs: Any) -> Any:
        return self.from_last(
            type(self).function(self.to_last(inputs), self.pool_size, self.strides, self.padding.upper())
        )

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "pool_size": list(self.pool_size),
            "strides": list(self.strides),
            "padding": self.padding,
            "data_format": self.data_format,
        }


class MaxPooling2D(Pooling):
    """The largest value of each window."""

    function = staticmethod(max_pool)


class MaxPooling1D(MaxPooling2D):
    """The largest value of each stretch of a sequence."""

    rank = 1


class MaxPooling3D(MaxPooling2D):
    """The largest value of each box of a volume."""

    rank = 3


class AveragePooling2D(Pooling):
    """The mean of each window, padding not counted."""

    function = staticmethod(avg_pool)


class AveragePooling1D(AveragePooling2D):
    """The mean of each stretch of a sequence, padding not counted."""

    rank = 1


class AveragePooling3D(AveragePooling2D):
    """The mean of each box of a volume, padding not counted."""

    rank = 3


class GlobalPooling(Spatial):
    """The base of pooling over all spatial axes."""

    function: Any

    def __init__(self, data_format: str | None = None, keepdims: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.data_format = data_format_of(data_format)
        self.keepdims = bool(keepdims)
        self.built = True

    def axes(self) -> tuple[int, ...]:
        """The spatial axes."""
        first = 2 if self.data_format == FIRST else 1
        return tuple(range(first, first + self.rank))

    def call(self, inputs: Any) -> Any:
        checks.rank(inputs.sizes, self.rank + 2, self)
        return type(self).function(inputs, self.axes(), self.keepdims)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "data_format": self.data_format, "keepdims": self.keepdims}


class GlobalAveragePooling2D(GlobalPooling):
    """The mean of each channel of an image."""

    function = staticmethod(reduce_mean)


class GlobalAveragePooling1D(GlobalPooling):
    """The mean of each channel of a sequence; masked steps are not counted."""

    rank, function = 1, staticmethod(reduce_mean)
    supports_masking = True

    def call(self, inputs: Any, mask: Any = None) -> Any:
        if mask is None:
            return super().call(inputs)
        checks.rank(inputs.sizes, 3, self)
        shape = (mask.sizes[0], 1, mask.sizes[1]) if self.data_format == FIRST else (*mask.sizes, 1)
        kept = apply("reshape", apply("cast", mask, dtype="bool"), shape=shape)
        total = reduce_sum(select(kept, inputs, 0.0), self.axes(), self.keepdims)
        return total / reduce_sum(apply("cast", kept, dtype=inputs.dtype.name), self.axes(), self.keepdims)

    def compute_mask(self, inputs: Any, previous_mask: Any = None) -> Any:
        """None: the steps are gone."""
        return None


class GlobalAveragePooling3D(GlobalAveragePooling2D):
    """The mean of each channel of a volume."""

    rank = 3


class GlobalMaxPooling2D(GlobalPooling):
    """The largest value of each channel of an image."""

    function = staticmethod(reduce_max)


class GlobalMaxPooling1D(GlobalMaxPooling2D):
    """The largest value of each channel of a sequence."""

    rank = 1


class GlobalMaxPooling3D(GlobalMaxPooling2D):
    """The largest value of each channel of a volume."""

    rank = 3
