"""The base of layers over [batch, spatial axes..., channels], of any number of spatial axes."""

from __future__ import annotations

from typing import Any, ClassVar

from ...ops.dispatch import apply
from . import checks
from .layer import Layer

__all__ = ["FIRST", "LAST", "Spatial", "data_format_of"]

LAST, FIRST = "channels_last", "channels_first"


def data_format_of(value: str | None) -> str:
    """A checked `data_format`; None is channels_last."""
    return str(checks.one_of("data_format", value or LAST, (LAST, FIRST)))


class Spatial(Layer):
    """Channels may come first: then axes are moved around the op. `rank` is the number of spatial axes."""

    rank: ClassVar[int] = 2
    data_format: str

    def to_last(self, x: Any) -> Any:
        """With channels last. Raises ValueError for another number of axes."""
        checks.rank(x.sizes, self.rank + 2, self)
        return apply("transpose", x, perm=(0, *range(2, self.rank + 2), 1)) if self.data_format == FIRST else x

    def from_last(self, x: Any) -> Any:
        """As the caller has it."""
        return apply("transpose", x, perm=(0, self.rank + 1, *range(1, self.rank + 1))) if self._first else x

    @property
    def _first(self) -> bool:
        return self.data_format == FIRST

    @property
    def channel_axis(self) -> int:
        """Where the channels are."""
        return 1 if self._first else -1

    def input_channels(self, input_shape: Any) -> int:
        """The number of input channels, which must be known. Raises ValueError."""
        checks.rank(input_shape, self.rank + 2, self)
        return checks.known_size(input_shape, self.channel_axis, self)
