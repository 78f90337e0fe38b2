"""The table that a WASM program reads: region addresses, then each step's uniform words, as 32-bit integers.

Shared by the device that runs in wasmtime and the one that runs in Pyodide's own heap.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..device import Feed, Layout, expanded_steps, host_word_indices
from ..errors import InternalError
from ..program.format import Program

__all__ = ["Table"]


class Table:
    """One program at one set of sizes. `words` is what goes to memory; `steps` is the `last` argument of `run`."""

    def __init__(self, program: Program, layout: Layout, addresses: Sequence[int]) -> None:
        regions = program.regions
        starts, position = [], len(regions)
        for launch in layout.launches:
            starts.append(position)
            position += len(launch.words) + len(launch.scalars)
        self.words = np.zeros(position, np.uint32)
        self.words[: len(regions)] = addresses
        for launch, start in zip(layout.launches, starts, strict=True):
            self.words[start : start + len(launch.words)] = launch.words
        self._targets, self._sources = host_word_indices(layout.launches, starts)
        self._offsets = _input_offsets(program, layout)
        self.steps = expanded_steps(layout.launches)
        if self.steps >= 1 << 31:
            raise InternalError(f"a WASM program of {self.steps} steps does not fit its 32-bit step counter")

    def set_host_words(self, host_words: np.ndarray) -> None:
        """Puts the values of host-owned tensors into every slot that holds one."""
        if len(self._targets):
            self.words[self._targets] = host_words[self._sources]

    def move_input(self, feed: Feed, address: int) -> None:
        """Points an input region, and the regions inside it, at memory of the caller."""
        for region, offset in self._offsets[feed.region]:
            self.words[region] = address + offset


def _input_offsets(program: Program, layout: Layout) -> dict[int, list[tuple[int, int]]]:
    """For each region, the regions that lie in it (itself included) and how far from its start."""
    inside: dict[int, list[tuple[int, int]]] = {}
    for index in range(len(program.regions)):
        ancestor = index
        while ancestor >= 0:
            offset = layout.spans[index].offset - layout.spans[ancestor].offset
            inside.setdefault(ancestor, []).append((index, offset))
            ancestor = program.regions[ancestor].parent
    return inside
