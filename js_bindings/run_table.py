"""The table of a binding's runs, in the memory where `runtime/python.js` reads it.

Words of 32 bits: the binding, the number of host words, these; the number of feeds, (region, address, bytes) of each;
the number of copies, 5 words each. What is the same in every run is written once. Small inputs are copied beside the
table, to a place of their own: in a tab that is cheaper than to find out where they lie. Those that are neighbours on
the device are neighbours there too, and cross as one feed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..device import Copy, Feed, Span
from ..program.plan import ALIGNMENT, align

__all__ = ["RunTable", "row"]

SMALL = 1 << 16             # bytes of an input that is copied
ROOM = 8                    # copies for which there is room at first
WORD = np.uint32            # addresses in a tab have 32 bits


class RunTable:
    """For runs with inputs of the same sizes; `pointer` is the table's address, `uploaded` the bytes of the inputs."""

    def __init__(self, binding: int, spans: Sequence[Span], host_words: int, feeds: Sequence[Feed]) -> None:
        self.uploaded = sum(feed.array.nbytes for feed in feeds)
        blocks, views = place(spans, feeds)
        self._places = [(feed.array.nbytes, feed.array.dtype, view) for feed, view in zip(feeds, views, strict=True)]
        large = [number for number, (size, _, view) in enumerate(self._places) if size and view is None]
        rows = [*blocks, *((feeds[number].region, 0, feeds[number].array.nbytes) for number in large)]
        start = 3 + host_words
        self._large = [(number, start + 3 * (len(blocks) + i) + 1) for i, number in enumerate(large)]
        self._end = start + 3 * len(rows)                   # where the number of copies is
        self._copies = 0
        self._words = np.zeros(self._end + 1 + 5 * ROOM, WORD)
        self._words[: self._end] = [binding, host_words, *[0] * host_words, len(rows), *(w for r in rows for w in r)]
        self._locate(host_words)

    def _locate(self, host_words: int) -> None:
        self.pointer: int = self._words.ctypes.data
        self._host = self._words[2 : 2 + host_words]

    def write(self, host_words: np.ndarray, feeds: Sequence[Feed], copies: Sequence[Copy]) -> list[Any] | None:
        """Writes what a run brings. Returns arrays that must live until the table was read.

        None: the run is not like those that the table was made for.
        """
        if len(feeds) != len(self._places) or len(host_words) != len(self._host):
            return None
        for (_, array), (size, dtype, view) in zip(feeds, self._places, strict=True):
            if array.nbytes != size or (array.dtype is not dtype and array.dtype != dtype):
                return None
            if view is not None:
                view[...] = array
        if len(host_words):
            self._host[...] = host_words
        held = []
        for number, at in self._large:
            array = np.ascontiguousarray(feeds[number].array)
            held.append(array)
            self._words[at] = array.ctypes.data
        if copies or self._copies:
            self._write_copies(copies)
        return held

    def _write_copies(self, copies: Sequence[Copy]) -> None:
        rows = [word for copy in copies for word in row(copy)]
        needed = self._end + 1 + len(rows)
        if needed > len(self._words):
            grown = np.zeros(2 * needed, WORD)
            grown[: self._end] = self._words[: self._end]
            self._words = grown
            self._locate(len(self._host))
        self._words[self._end : needed] = [len(copies), *rows]
        self._copies = len(copies)


def place(spans: Sequence[Span], feeds: Sequence[Feed]) -> tuple[list[tuple[int, int, int]], list[np.ndarray | None]]:
    """Gives small inputs places beside the table.

    Returns (region, address, bytes) of each block of neighbours, and per feed its place, None if it has none.
    """
    small = sorted((n for n, feed in enumerate(feeds) if 0 < feed.array.nbytes <= SMALL),
                   key=lambda n: (spans[feeds[n].region].buffer.id, spans[feeds[n].region].offset))
    blocks: list[tuple[int, Span, int, int]] = []           # (region, its span, where it begins in the memory, bytes)
    starts: dict[int, int] = {}
    for number in small:
        region, array = feeds[number]
        span, end = spans[region], 0
        if blocks:
            first, begun, start, size = blocks[-1]
            ahead, end = span.offset - begun.offset, start + size
            if span.buffer is begun.buffer and ahead < size + ALIGNMENT:        # nothing but padding in between
                blocks[-1] = first, begun, start, max(size, ahead + array.nbytes)
                starts[number] = start + ahead
                continue
        starts[number] = align(end)
        blocks.append((region, span, align(end), array.nbytes))
    memory = np.zeros(blocks[-1][2] + blocks[-1][3] if blocks else 0, np.uint8)
    views: list[np.ndarray | None] = [None] * len(feeds)
    for number, start in starts.items():
        array = feeds[number].array
        views[number] = memory[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    address = memory.ctypes.data
    return [(region, address + start, size) for region, _, start, size in blocks], views


def row(copy: Copy) -> tuple[int, int, int, int, int]:
    """The words of a copy: source, offset, target, offset, bytes."""
    return copy.source.buffer.id, copy.source.offset, copy.target.buffer.id, copy.target.offset, copy.source.size
