"""Sliding windows, for convolution and pooling: which positions a window reads, and which windows read a position."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import gcd
from typing import Any

from ..errors import InvalidArgumentError, UnimplementedError
from ..kernel.ir import Builder, Expr
from ..shapes import Size, ceil_div, larger

__all__ = ["Padding", "Window", "both", "normal_padding", "windows"]

Padding = Any  # "SAME", "VALID", or one (before, after) pair per spatial axis


@dataclass(frozen=True)
class Window:
    """One spatial axis: window `o` reads the input positions `o * stride + k * dilation - before`, k below `kernel`."""

    size: Any  # of the input; an int or a Dim, like `out` and `before`
    kernel: int
    stride: int
    dilation: int
    out: Any  # number of windows
    before: Any  # padding in front
    padded: bool  # whether a window may reach outside the input

    @property
    def reach(self) -> int:
        """How many positions a window spans, holes of the dilation included."""
        return (self.kernel - 1) * self.dilation + 1

    def read(self, ir: Builder, o: Expr, k: Expr) -> tuple[Expr, Expr]:
        """The position that tap `k` of window `o` reads, and whether it is inside the input."""
        index = o * self.stride + k * self.dilation
        if not self.padded:
            return index, ir.const(True)
        index = index - self.before
        return index, both((index >= 0), (index < self.size))

    def window_of(self, ir: Builder, i: Expr, k: Expr) -> tuple[Expr, Expr]:
        """The window that reads position `i` by its tap `k`, and whether there is one."""
        shift = -(-(self.reach - 1) // self.stride)  # keeps the dividend from being negative
        t = i + self.before - k * self.dilation + shift * self.stride
        o = t // self.stride - shift
        inside = both(o >= 0, o < self.out)
        return o, inside if self.stride == 1 else both((t % self.stride).eq(0), inside)

    @property
    def step(self) -> int:
        """How many taps lie between two taps that read one position."""
        return self.stride // gcd(self.stride, self.dilation)

    @property
    def overlap(self) -> int:
        """The largest number of windows that read one position."""
        return -(-self.kernel // self.step)

    def covering(self, ir: Builder, i: Expr, j: Expr) -> tuple[Expr, Expr, Expr]:
        """The j-th window, counted backwards, that reads position `i`; the tap that reads it; whether there is one.

        The tap depends on `j` and on `i % stride` alone.
        """
        t = i + self.before
        if self.dilation == 1:
            k = t % self.stride + j * self.stride
            o = t // self.stride - j
            return o, k, both(k < self.kernel, both(o >= 0, o < self.out))
        common = gcd(self.stride, self.dilation)
        first = t % self.stride // common * pow(self.dilation // common, -1, self.step) % self.step
        shift = -(-(self.step - 1) * self.dilation // self.stride)  # keeps the dividend from being negative
        o = (t + shift * self.stride - first * self.dilation) // self.stride - shift - j * (self.dilation // common)
        k = first + j * self.step
        return o, k, both(both((t % common).eq(0), k < self.kernel), both(o >= 0, o < self.out))

    def taps(self) -> Iterator[tuple[int, slice, slice]]:
        """For numpy: each tap, the windows for which it is inside the input, and the positions that it reads there."""
        for k in range(self.kernel):
            start = k * self.dilation - self.before
            first = max(0, -(start // self.stride))  # ceil(-start / stride)
            last = min(self.out, (self.size - start - 1) // self.stride + 1)
            if last > first:
                at = first * self.stride + start
                yield k, slice(first, last), slice(at, at + (last - first - 1) * self.stride + 1, self.stride)


def both(a: Expr, b: Expr) -> Expr:
    """a and b."""
    return a.ir.binary("and", a, b)


def normal_padding(padding: Any, op: str) -> Padding:
    """ "SAME", "VALID", or a tuple of (before, after) pairs."""
    if isinstance(padding, str):
        if padding.upper() in ("SAME", "VALID"):
            return padding.upper()
    else:
        pairs = tuple(tuple(int(n) for n in pair) for pair in padding)
        if all(len(pair) == 2 and min(pair) >= 0 for pair in pairs):
            return pairs
    raise ValueError(
        f"{op}: padding must be 'SAME', 'VALID' or pairs (before, after) of sizes >= 0, received {padding!r}."
    )


def windows(
    op: str,
    sizes: Sequence[Size],
    kernel: Sequence[Size],
    strides: Sequence[int],
    padding: Padding,
    dilations: Sequence[int],
) -> tuple[Window, ...]:
    """One Window per spatial axis. As in TensorFlow: under SAME, out = ceil(in / stride), odd padding goes behind."""
    made = []
    for axis, (size, k, stride, dilation) in enumerate(zip(sizes, kernel, strides, dilations, strict=True)):
        if not isinstance(k, int):
            raise UnimplementedError(
                f"{op}: the window size of spatial axis {axis} is {k}, known only when the program "
                "runs. Give the filters a fixed height and width."
            )
        if k < 1 or stride < 1 or dilation < 1:
            raise InvalidArgumentError(
                f"{op}: window, strides and dilations must be at least 1, received window {tuple(kernel)}, "
                f"strides {tuple(strides)}, dilations {tuple(dilations)}."
            )
        reach = (k - 1) * dilation + 1
        if padding == "SAME":
            out = ceil_div(size, stride)
            total = reach - 1 if stride == 1 else larger(0, (out - 1) * stride + reach - size)
            before = total // 2
            padded = total != 0
        else:
            before, after = (0, 0) if padding == "VALID" else padding[axis]
            out = (size + before + after - reach) // stride + 1
            padded = bool(before or after)
        if isinstance(out, int) and out < 0:
            raise InvalidArgumentError(
                f"{op}: the computed output size of spatial axis {axis} would be negative: {out} (input size "
                f"{size}, effective window size {reach}, stride {stride}). Use padding='SAME' "
                "or a smaller window."
            )
        made.append(Window(size, k, stride, dilation, out, before, padded))
    return tuple(made)
