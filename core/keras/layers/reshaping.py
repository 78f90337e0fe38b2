"""Layers that repeat, pad, cut and enlarge."""

from __future__ import annotations

from typing import Any, ClassVar

from ...ops.dispatch import apply
from ...ops.slicing import pad, slice_
from . import checks
from .spatial import FIRST, Spatial, data_format_of

__all__ = [
    "Cropping1D",
    "Cropping2D",
    "Cropping3D",
    "RepeatVector",
    "UpSampling1D",
    "UpSampling2D",
    "UpSampling3D",
    "ZeroPadding1D",
    "ZeroPadding2D",
    "ZeroPadding3D",
]


class RepeatVector(Spatial):
    """Repeats each sample `n` times: [batch, features] -> [batch, n, features]."""

    def __init__(self, n: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not isinstance(n, int) or isinstance(n, bool):
            raise TypeError(f"Expected an integer value for `n`, got {type(n)}.")
        if n <= 0:
            raise ValueError(f"Argument `n` should be a positive integer. Received: n={n}")
        self.n = n
        self.built = True

    def call(self, inputs: Any) -> Any:
        checks.rank(inputs.sizes, 2, self)
        batch, features = inputs.sizes
        apart = apply("reshape", inputs, shape=(batch, 1, features))
        return apply("broadcast_to", apart, shape=(batch, self.n, features))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "n": self.n}


class _Margins(Spatial):
    """The base of padding and cropping: pairs (before, after), one for each spatial axis."""

    argument: ClassVar[str]

    def __init__(self, margins: Any, data_format: str | None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.data_format = data_format_of(data_format)
        self.margins = _pairs(margins, self.rank, self.argument)
        self.built = True

    def whole(self) -> list[tuple[int, int]]:
        """The pairs of all axes."""
        first = self.data_format == FIRST
        return [(0, 0), *([(0, 0)] if first else []), *self.margins, *([] if first else [(0, 0)])]

    def get_config(self) -> dict[str, Any]:
        pairs = [list(p) for p in self.margins]
        config = {**super().get_config(), self.argument: pairs if self.rank > 1 else pairs[0]}
        if self.rank > 1 or self.argument == "padding":
            config["data_format"] = self.data_format
        return config


def _pairs(value: Any, rank: int, name: str) -> tuple[tuple[int, int], ...]:
    if rank == 1:
        return (checks.per_axis(value, 2, name, least=0),)  # type: ignore[return-value]
    if isinstance(value, int):
        return tuple((pair[0], pair[0]) for pair in [checks.per_axis(value, 1, name, least=0)] * rank)
    if not isinstance(value, list | tuple) or len(value) != rank:
        raise ValueError(
            f"`{name}` should be either an int, a tuple of {rank} ints (the same before and after), or a tuple of "
            f"{rank} tuples of 2 ints. Received: {name}={value}."
        )
    return tuple(checks.per_axis(v, 2, f"entry of {name}", least=0) for v in value)  # type: ignore[misc]


class _ZeroPadding(_Margins):
    """The base: zeros around the spatial axes."""

    argument = "padding"

    def __init__(self, padding: Any = 1, data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(padding, data_format, **kwargs)
        self.padding = self.margins if self.rank > 1 else self.margins[0]

    def call(self, inputs: Any) -> Any:
        checks.rank(inputs.sizes, self.rank + 2, self)
        return pad(inputs, self.whole())


class ZeroPadding1D(_ZeroPadding):
    """Zeros before and after a sequence."""

    rank = 1


class ZeroPadding2D(_ZeroPadding):
    """Zeros around an image."""


class ZeroPadding3D(_ZeroPadding):
    """Zeros around a volume."""

    rank = 3


class _Cropping(_Margins):
    """The base: cuts the ends of the spatial axes off."""

    argument = "cropping"

    def __init__(self, cropping: Any = 0, data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(cropping, data_format, **kwargs)
        self.cropping = self.margins if self.rank > 1 else self.margins[0]

    def call(self, inputs: Any) -> Any:
        checks.rank(inputs.sizes, self.rank + 2, self)
        whole = self.whole()
        for size, (before, after) in zip(inputs.sizes, whole, strict=True):
            if isinstance(size, int) and before + after >= size and before + after:
                raise ValueError(
                    "Values in `cropping` argument should be smaller than the corresponding spatial dimension of the "
                    f"input. Received: inputs.shape={tuple(inputs.sizes)}, cropping={self.cropping}"
                )
        sizes = [d - before - after for d, (before, after) in zip(inputs.sizes, whole, strict=True)]
        return slice_(inputs, [before for before, _ in whole], sizes)


class Cropping1D(_Cropping):
    """Cuts the ends of a sequence off."""

    rank = 1

    def __init__(self, cropping: Any = (1, 1), **kwargs: Any) -> None:
        super().__init__(cropping, None, **kwargs)


class Cropping2D(_Cropping):
    """Cuts the borders of an image off."""


class Cropping3D(_Cropping):
    """Cuts the borders of a volume off."""

    rank = 3

    def __init__(self, cropping: Any = 1, data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(cropping, data_format, **kwargs)


class _UpSampling(Spatial):
    """The base: repeats each element along the spatial axes."""

    def __init__(self, size: Any, data_format: str | None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.data_format = data_format_of(data_format)
        self.factors = checks.per_axis(size, self.rank, "size")
        self.built = True

    def call(self, inputs: Any) -> Any:
        x = self.to_last(inputs)
        for axis, factor in enumerate(self.factors, 1):
            if factor > 1:
                sizes = x.sizes
                apart = apply("reshape", x, shape=(*sizes[: axis + 1], 1, *sizes[axis + 1 :]))
                many = apply("broadcast_to", apart, shape=(*sizes[: axis + 1], factor, *sizes[axis + 1 :]))
                x = apply("reshape", many, shape=(*sizes[:axis], sizes[axis] * factor, *sizes[axis + 1 :]))
        return self.from_last(x)


class UpSampling1D(_UpSampling):
    """Repeats each step of a sequence `size` times."""

    rank = 1

    def __init__(self, size: int = 2, **kwargs: Any) -> None:
        super().__init__(size, None, **kwargs)
        self.size = size

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "size": self.size}


class UpSampling2D(_UpSampling):
    """Repeats each pixel of an image `size` times along each axis, or blends neighbours ("bilinear")."""

    def __init__(
        self, size: Any = (2, 2), data_format: str | None = None, interpolation: str = "nearest", **kwargs: Any
    ) -> None:
        super().__init__(size, data_format, **kwargs)
        self.size = self.factors
        self.interpolation = checks.one_of("interpolation", interpolation, ("nearest", "bilinear"))

    def call(self, inputs: Any) -> Any:
        if self.interpolation == "nearest":
            return super().call(inputs)
        x = self.to_last(inputs)
        for axis, factor in enumerate(self.factors, 1):
            x = _blend(x, axis, factor)
        return self.from_last(x)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "size": list(self.size),
            "data_format": self.data_format,
            "interpolation": self.interpolation,
        }


class UpSampling3D(_UpSampling):
    """Repeats each element of a volume `size` times along each axis."""

    rank = 3

    def __init__(self, size: Any = (2, 2, 2), data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(size, data_format, **kwargs)
        self.size = self.factors

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "size": list(self.size), "data_format": self.data_format}


def _blend(x: Any, axis: int, factor: int) -> Any:
    """An axis `factor` times as long; each new element a weighted mean of the two old ones nearest to its centre.

    Its parts are taken phase by phase: within a factor every new element has the same weights.
    """
    if factor == 1:
        return x
    size, rank = x.sizes[axis], len(x.sizes)
    begin, whole = [0] * rank, list(x.sizes)

    def shifted(by: int) -> Any:
        if by == 0:
            return x
        edge_at = list(begin)
        edge_at[axis] = 0 if by < 0 else size - 1
        edge = slice_(x, edge_at, [1 if i == axis else d for i, d in enumerate(whole)])
        rest_at = list(begin)
        rest_at[axis] = 0 if by < 0 else 1
        rest = slice_(x, rest_at, [size - 1 if i == axis else d for i, d in enumerate(whole)])
        return apply("concat", *((edge, rest) if by < 0 else (rest, edge)), axis=axis)

    phases = []
    for phase in range(factor):
        at = (phase + 0.5) / factor - 0.5
        low = -1 if at < 0 else 0
        weight = at - low
        blended = shifted(low) * (1.0 - weight) + shifted(low + 1) * weight if weight else shifted(low)
        phases.append(apply("reshape", blended, shape=(*whole[: axis + 1], 1, *whole[axis + 1 :])))
    together = apply("concat", *phases, axis=axis + 1)
    return apply("reshape", together, shape=(*whole[:axis], size * factor, *whole[axis + 1 :]))
