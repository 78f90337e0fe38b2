"""Plans scratch memory: which chunk and offset each SCRATCH region gets. The twin of `js_bindings/runtime/plan.js`.

Two regions may share bytes only when no step needs both. Largest first, lowest fitting offset: deterministic, so
Python and JavaScript place every region alike; `tests/program/plan_corpus.json` holds cases that both must answer
equally.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import DeviceLimitError
from .format import Place, Program, StepKind

__all__ = ["ALIGNMENT", "MAX_CHUNK", "Plan", "Scratch", "align", "lifetimes", "place", "plan_scratch", "top_regions"]

ALIGNMENT = 256                 # WebGPU's binding alignment
MAX_CHUNK = 128 * 1024 * 1024   # WebGPU's default maxStorageBufferBindingSize


@dataclass(frozen=True)
class Scratch:
    """A region to place: live from step `first` to step `last`, both included; `first` -1: no step binds it."""

    bytes: int
    first: int
    last: int


@dataclass(frozen=True)
class Plan:
    """`places[i]` is (chunk, offset) of region i, (-1, 0) for one that needs no memory; `chunks` are sizes in bytes."""

    places: list[tuple[int, int]]
    chunks: list[int]


def align(size: int, alignment: int = ALIGNMENT) -> int:
    """`size` rounded up to a multiple of `alignment`."""
    return -(-size // alignment) * alignment


def place(regions: Sequence[Scratch], max_chunk: int = MAX_CHUNK) -> Plan:
    """Places regions in chunks of at most `max_chunk` bytes.

    Regions go in order of decreasing size (at least 4 bytes each; ties: lower index first), each at the lowest
    aligned offset of the first chunk where it overlaps no placed region whose lifetime meets its own. Chunk sizes are
    aligned.

    Raises:
        DeviceLimitError: if one region is larger than a chunk may be.
    """
    places = [(-1, 0)] * len(regions)
    chunks: list[int] = []
    placed: list[list[tuple[int, int, int, int]]] = []      # per chunk: offset, end, first, last
    for index in sorted(range(len(regions)), key=lambda i: (-max(regions[i].bytes, 4), i)):
        region = regions[index]
        if region.first < 0:
            continue
        size = max(region.bytes, 4)
        if size > max_chunk:
            raise DeviceLimitError(
                f"scratch region {index} needs {size} bytes in one piece, this device binds at most {max_chunk}. "
                f"Use a smaller batch, or device='cpu'."
            )
        for chunk in range(len(chunks) + 1):
            if chunk == len(chunks):
                chunks.append(0)
                placed.append([])
            offset = _lowest_offset(placed[chunk], region, size)
            if offset + size <= max_chunk:
                placed[chunk].append((offset, offset + size, region.first, region.last))
                places[index] = (chunk, offset)
                chunks[chunk] = max(chunks[chunk], min(align(offset + size), max_chunk))
                break
    return Plan(places, chunks)


def _lowest_offset(placed: list[tuple[int, int, int, int]], region: Scratch, size: int) -> int:
    """The lowest aligned offset at which `size` bytes meet no placed region alive at the same time."""
    offset = 0
    for start, end, first, last in sorted(placed):
        if first > region.last or last < region.first or end <= offset:
            continue
        if start >= offset + size:
            break
        offset = align(end)
    return offset


def top_regions(program: Program) -> list[int]:
    """For each region, the top-level region it lies in (itself, if it has no parent)."""
    tops: list[int] = []
    for index, region in enumerate(program.regions):
        tops.append(index if region.parent < 0 else tops[region.parent])
    return tops


def lifetimes(program: Program) -> list[tuple[int, int]]:
    """First and last step of each region, (-1, -1) if none binds it or a child.

    A step inside a LOOP counts as the whole outermost loop: an iteration may read what an earlier one wrote.
    """
    tops = top_regions(program)
    spans = [(-1, -1)] * len(program.regions)
    loop_start, loop_end = 0, -1                # the outermost loop around the current step; empty when loop_end < step
    for index, step in enumerate(program.steps):
        if step.kind == StepKind.LOOP:
            if index > loop_end:
                loop_start, loop_end = index, index + step.body
            continue
        first, last = (loop_start, loop_end) if index <= loop_end else (index, index)
        for region in {tops[r] for r in step.regions}:
            earlier = spans[region]
            spans[region] = (first if earlier[0] < 0 else min(earlier[0], first), max(earlier[1], last))
    return spans


def plan_scratch(program: Program, dims: Sequence[int], max_chunk: int = MAX_CHUNK) -> Plan:
    """Places a program's top-level SCRATCH regions for evaluated `dims`; other regions get (-1, 0)."""
    spans = lifetimes(program)
    entries = [
        Scratch(dims[region.bytes], *spans[index]) if region.place == Place.SCRATCH and region.parent < 0
        else Scratch(0, -1, -1)
        for index, region in enumerate(program.regions)
    ]
    return place(entries, max_chunk)
