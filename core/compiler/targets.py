"""The only importer of emitters: kernels become code here, at first use of a target."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ..kernel.ir import Kernel
from ..kernel.split import Scratch, separate, should_split, split_reduction, split_start
from ..kernel.structure import structure
from ..shapes import Size


def wasm_workspace(kernel: Kernel) -> Size:
    """Bytes of scratch that the kernel's code needs beside its buffers."""
    from ..wasm import emit

    return emit.workspace(kernel)


def wasm_loop(count: Size, body: Sequence[Any]) -> Any:
    """Steps that are repeated."""
    from ..wasm.walk import LoopCode

    return LoopCode(count, body)


def wasm_moving(region: int, shifts: Sequence[Any]) -> Any:
    """A region that begins somewhere else in each iteration; `shifts` as in loops.Shift."""
    from ..wasm.walk import Move, Moving

    return Moving(region, [Move(s.kind, s.stride, s.depth, s.length) for s in shifts])


def wasm_factor(kernel: Kernel) -> frozenset[int] | None:
    """The buffers of the factor that a contraction packs once for all runs with the same one; None: it does not."""
    from ..wasm import emit

    return emit.factor_buffers(kernel)


def wasm_module(
    kernels: Sequence[Kernel], steps: Sequence[Any], num_regions: int, known: dict[Any, Any] | None = None
) -> bytes:
    """The module that runs the steps: (kernel, regions) each, or what `wasm_loop` gives. `known`: see `wgsl`."""
    from ..wasm import emit

    return emit.emit_module(kernels, steps, num_regions, known)


def wgsl(
    kernel: Kernel, lengths: Sequence[int | None] = (), family: str = "", known: dict[Any, Any] | None = None
) -> Any:
    """The shader of a kernel, with its grid.

    `lengths`: how many elements each buffer has, as far as it is known. `family`: "shared" for contractions and sums of
    rows in workgroup memory. `known` keeps what was made, for equal kernels of this and other programs of a model.
    """
    from ..gpu_wgsl.emit import emit
    from ..gpu_wgsl.schedule import FAMILIES

    options = FAMILIES[family or "direct"]
    if known is None:
        return emit(kernel, options, lengths)
    key = (structure(kernel), kernel.sizes, tuple(lengths), family)
    if key not in known:
        known[key] = emit(kernel, options, lengths)
    return replace(known[key], scalars=kernel.scalars)


def wgsl_stages(kernel: Kernel, places: Sequence[Any]) -> list[tuple[Kernel, list[Any]]]:
    """The kernel as it is, or in two stages where a long fold or a loop that only sets elements would leave a GPU
    idle, each with the places of its buffers.

    Memory between the stages is a `kernel.split.Scratch`.
    """
    parts = split_start(kernel)
    if len(parts) > 1:
        return [(part, [places[i] for i in numbers]) for part, numbers in parts]
    kernel = separate(kernel)
    chunks = should_split(kernel)
    halves = None if chunks is None else split_reduction(kernel, chunks)
    if halves is None:
        return [(kernel, list(places))]

    def of(found: Sequence[int | Scratch]) -> list[Any]:
        return [p if isinstance(p, Scratch) else places[p] for p in found]

    return [(halves.first, of(halves.first_places)), (halves.second, of(halves.second_places))]
