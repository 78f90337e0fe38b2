"""What an executor asks of a device: memory, loaded programs, and one call that runs a whole program.

A device module (`gpu_wgsl/native.py`, `wasm/native.py`, `wasm/inplace.py`, `js_bindings/browser.py`) offers one
function, `open_device(limits, features)`, which gives a Device or raises NoExecutorError with the reason. Sizes,
lifetimes, state and conversions are the executor's business (`runtime/execute.py`); a device sees addresses and
numbers only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

if TYPE_CHECKING:
    from .program.format import Program, Step, StepKind, Target

__all__ = ["Copy", "Device", "Feed", "Launch", "Layout", "Span", "Stats", "expanded_steps", "host_word_indices"]


class Span(NamedTuple):
    """`size` bytes of a device buffer. `buffer` None: the region is bound by no step and has no memory."""

    buffer: Any
    offset: int
    size: int


class Feed(NamedTuple):
    """One input of a run: the region that receives it, and C-contiguous elements of 4 bytes."""

    region: int
    array: np.ndarray


class Copy(NamedTuple):
    """Bytes to move before the steps run. The two spans lie in different buffers."""

    source: Span
    target: Span


@dataclass
class Launch:
    """One entry of a program's step list with every size filled in.

    The step's uniform slot is `words` followed by the host words (see `Device.run`) at the positions `scalars`.
    """

    step: Step
    grid: tuple[int, ...]
    words: list[int]
    scalars: list[int]
    count: int = 0

    @property
    def skipped(self) -> bool:
        """True for a dispatch with an empty grid: nothing to launch."""
        return 0 in self.grid


@dataclass
class Layout:
    """A program at one set of sizes: where each region lies, and what each step is given."""

    spans: list[Span]
    launches: list[Launch]
    host_words: int = 0                   # length of the vector that `Device.run` receives


@dataclass
class Stats:
    """What a device has done since it was opened, and what is alive on it."""

    dispatches: int = 0
    submits: int = 0
    live_buffers: int = 0
    live_bytes: int = 0
    uploaded: int = 0
    downloaded: int = 0
    programs: int = 0
    notes: dict[str, Any] = field(default_factory=dict)


class Device(Protocol):
    """One place where programs run. Every buffer starts as zeros and at a multiple of 256 bytes.

    One on which runs may pile up has `pause()` as well: an executor calls it at the end of each run, and it may let
    others in until fewer are under way.

    A GPU can be lost. Then every call raises DeviceLostError, `lost` is set, and `runtime/recovery.py` goes on with
    another one.
    """

    name: str                   # "GPU:0"
    target: Target              # which programs it runs
    description: str            # adapter or engine, for people
    software: bool              # a GPU emulated by the processor
    features: frozenset[str]

    def limits(self) -> Mapping[str, int]:
        """WebGPU's limit names to values; a name that is absent is not limited here."""

    def stats(self) -> Stats:
        """Counters so far."""

    def allocate(self, size: int) -> Any:
        """A zeroed buffer of `size` bytes. Raises DeviceLimitError or ResourceExhaustedError."""

    def release(self, buffer: Any) -> None:
        """Gives a buffer back. Work already submitted may still use it; nothing may be submitted with it afterwards."""

    def upload(self, buffer: Any, offset: int, array: np.ndarray) -> None:
        """Writes the bytes of an array; offset and size are multiples of 4."""

    def download(self, buffer: Any, offset: int, size: int) -> np.ndarray:
        """The bytes of a range as a fresh uint8 array, after everything submitted has finished."""

    def copy(self, copies: Sequence[Copy]) -> None:
        """Copies ranges between buffers, in order with the runs."""

    def load(self, program: Program) -> Any:
        """Compiles a program's kernels."""

    def unload(self, loaded: Any) -> None:
        """Forgets a loaded program, as far as the engine can."""

    def bind(self, loaded: Any, layout: Layout) -> Any:
        """Prepares everything that depends on sizes: bind groups and uniforms, or the address table."""

    def unbind(self, bound: Any) -> None:
        """Releases what `bind` made."""

    def run(self, bound: Any, host_words: np.ndarray, feeds: Sequence[Feed], copies: Sequence[Copy]) -> None:
        """Copies, then runs every step once: on a GPU one encoder and one submit.

        `host_words` are uint32: the values of host-owned tensors, which the launches' `scalars` index.
        """

    def close(self) -> None:
        """Releases everything. Using the device afterwards is an error."""


def expanded_steps(launches: Sequence[Launch]) -> int:
    """How many steps a run takes when every LOOP is unrolled; the LOOP entries themselves do not count."""
    from .program.format import StepKind  # here: `import tideflow` loads this module, but not the file format

    return _expanded(launches, 0, len(launches), StepKind.LOOP)


def _expanded(launches: Sequence[Launch], start: int, end: int, loop: StepKind) -> int:
    total, index = 0, start
    while index < end:
        launch = launches[index]
        if launch.step.kind == loop:
            inner = index + 1 + launch.step.body
            total += launch.count * _expanded(launches, index + 1, inner, loop)
            index = inner
        else:
            total += 1
            index += 1
    return total


def host_word_indices(launches: Sequence[Launch], starts: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """For a table in which launch i's slot starts at word `starts[i]`: target and source indices of all host words.

    `table[targets] = host_words[sources]` then refreshes every slot at once.
    """
    targets: list[int] = []
    sources: list[int] = []
    for launch, start in zip(launches, starts, strict=True):
        first = start + len(launch.words)
        targets.extend(range(first, first + len(launch.scalars)))
        sources.extend(launch.scalars)
    return np.array(targets, np.intp), np.array(sources, np.intp)
