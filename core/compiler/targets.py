"""The only importer of emitters: kernels become code here, at first use of a target."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..kernel.ir import Kernel
from ..kernel.split import Scratch, should_split, split_reduction
from ..shapes import Size


@dataclass(eq=False)
class Partial:
    """Memory between the two halves of a split reduction."""

    bytes: Size


def wasm_workspace(kernel: Kernel) -> Size:
    """Bytes of scratch that the kernel's code needs beside its buffers."""
    from ..wasm import emit

    return emit.workspace(kernel)


def wasm_module(kernels: Sequence[Kernel], steps: Sequence[tuple[int, list[int]]], num_regions: int) -> bytes:
    """The module that runs the steps: (kernel, regions) each."""
    from ..wasm import emit

    return emit.emit_module(kernels, steps, num_regions)


def wgsl(kernel: Kernel) -> Any:
    """The shader of a kernel, with its grid."""
    from ..gpu_wgsl import emit

    return emit.emit(kernel)


def wgsl_stages(kernel: Kernel, places: Sequence[Any]) -> list[tuple[Kernel, list[Any]]]:
    """The kernel as it is, or two where a long fold would leave a GPU idle, each with the places of its buffers."""
    chunks = should_split(kernel)
    split = split_reduction(kernel, chunks) if chunks else None
    if split is None:
        return [(kernel, list(places))]
    parts: dict[Scratch, Partial] = {}

    def place(p: int | Scratch) -> Any:
        return parts.setdefault(p, Partial(p.elements * 4)) if isinstance(p, Scratch) else places[p]

    stages = ((split.first, split.first_places), (split.second, split.second_places))
    return [(half, [place(p) for p in half_places]) for half, half_places in stages]
