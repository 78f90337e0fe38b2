"""`run`: the function of a module that walks the steps of a program, loops included.

A kernel inside a loop is the same code in each iteration: what moves are the addresses that it is given.
"""

from __future__ import annotations

from collections.abc import Collection, Container, Sequence
from typing import NamedTuple, TypeAlias, Union

from ..kernel.ir import Kernel
from ..shapes import Dim, Size
from . import encode
from .encode import Code

__all__ = ["LoopCode", "Move", "Moving", "StepCode", "undivided", "walk"]


class Move(NamedTuple):
    """`stride` elements times a number that follows from the iteration n of the loop at `depth` (0: the outermost).

    `kind`: "now" n; "next" n + 1; "back" length - 1 - n; "turn" n % 2; "other" (n + 1) % 2; "fixed": `length`.
    """

    kind: str
    stride: Size
    depth: int
    length: Size


class Moving(NamedTuple):
    """A region that begins somewhere else in each iteration."""

    region: int
    moves: Sequence[Move]


class StepCode(NamedTuple):
    """One step of a program: which kernel, and the region behind each of its buffers, workspace last. Symbolic sizes
    of moves must be among the kernel's own. `kept`: what a contraction packs is the same in all iterations.
    """

    kernel: int
    regions: Sequence[int | Moving]
    kept: bool = False


class LoopCode(NamedTuple):
    """Steps that are repeated. A symbolic count must be among the sizes of the first kernel inside."""

    count: Size
    body: Sequence[Union[StepCode, LoopCode]]  # noqa: UP007


Entry: TypeAlias = StepCode | LoopCode


def walk(
    kernels: Sequence[Kernel], steps: Sequence[Entry | tuple[int, Sequence[int | Moving]]], of_kernel: Sequence[int],
    params: Sequence[int], num_regions: int, keeping: Container[int] = (), sharing: Collection[int] = (),
) -> bytes:
    """The body of `run(table, first, last)`; `of_kernel` are function numbers, `params` how many each takes.

    Functions in `keeping` are told whether their workspace holds what they packed in the iteration before. If any is
    in `sharing`, the body is that of `part(table, first, last, share, shares)`, and those are told which share to make.
    """
    return _Walk(kernels, of_kernel, params, num_regions, keeping, sharing).all(steps)


def undivided(part: int) -> bytes:
    """The body of `run` where function `part` makes shares: the one share there is."""
    return Code(3).get(0).get(1).get(2).i32(0).i32(1).call(part).body()


class _Walk:
    def __init__(
        self, kernels: Sequence[Kernel], of_kernel: Sequence[int], params: Sequence[int], num_regions: int,
        keeping: Container[int], sharing: Collection[int],
    ) -> None:
        self.kernels, self.of_kernel, self.params, self.keeping = kernels, of_kernel, params, keeping
        self.sharing = sharing
        self.code = Code(5 if sharing else 3)
        self.word = num_regions
        self.iterations: list[int] = []  # locals, outermost first
        self.position = -1  # the local that counts expanded steps, where there are loops

    def all(self, steps: Sequence[Entry | tuple[int, Sequence[int | Moving]]]) -> bytes:
        """The steps, and the answer."""
        if any(isinstance(s, LoopCode) for s in steps):
            self.position = self.code.local(encode.I32)
        for i, step in enumerate(steps):
            self.entry(step, i)
        self.code.get(2)
        return self.code.body()

    def entry(self, step: Entry | tuple[int, Sequence[int | Moving]], number: int) -> None:
        """A step or a loop of them."""
        if isinstance(step, LoopCode):
            self.loop(step)
        else:
            self.step(StepCode(*step), number)

    def step(self, step: StepCode, number: int) -> None:
        """Calls a kernel, if its step is among those asked for."""
        code, kernel, function = self.code, self.kernels[step.kernel], self.of_kernel[step.kernel]
        shared = function in self.sharing
        expected = self.params[function] - 1 - (function in self.keeping) - 2 * shared
        if len(step.regions) != expected:
            raise ValueError(
                f"step {number} runs kernel {kernel.name!r} with {len(step.regions)} regions, its function takes "
                f"{expected}: one per buffer ({len(kernel.buffers)}), and one more if "
                "workspace(kernel) is not 0."
            )
        for comparison, side in (("i32.le_s", 1), ("i32.gt_s", 2)):
            code.get(side)
            self.here(number)
            code.op(comparison)
        code.op("i32.and")
        if self.sharing and not shared:
            code.get(3).op("i32.eqz").op("i32.and")
        code.if_()
        for region in step.regions:
            self.address(region, kernel)
        code.get(0).i32(4 * self.word).op("i32.add")
        if function in self.keeping and step.kept and self.iterations:
            code.get(self.iterations[-1])
        elif function in self.keeping:
            code.i32(0)
        if shared:
            code.get(3).get(4)
        code.call(function)
        code.end()
        if self.position >= 0:
            code.get(self.position).i32(1).op("i32.add").set(self.position)
        self.word += len(kernel.sizes) + sum(s.words for s in kernel.scalars)

    def here(self, number: int) -> None:
        """Pushes the number of this step."""
        if self.position >= 0:
            self.code.get(self.position)
        else:
            self.code.i32(number)

    def loop(self, loop: LoopCode) -> None:
        """The body as often as the count says."""
        code = self.code
        n = code.local(encode.I32)
        code.i32(0).set(n)
        code.block().loop()
        code.get(n)
        self.size(loop.count, self.kernels[_first(loop).kernel])
        code.op("i32.ge_s").br_if(1)
        self.iterations.append(n)
        for i, step in enumerate(loop.body):
            self.entry(step, i)
        self.iterations.pop()
        code.get(n).i32(1).op("i32.add").set(n)
        code.br(0)
        code.end().end()

    def address(self, region: int | Moving, kernel: Kernel) -> None:
        """Pushes where a region begins in this iteration."""
        code = self.code
        if not isinstance(region, Moving):
            code.get(0).memory("i32.load", 4 * region)
            return
        code.get(0).memory("i32.load", 4 * region.region)
        for move in region.moves:
            self.number(move, kernel)
            if isinstance(move.stride, int):
                code.i32(4 * move.stride).op("i32.mul")
            else:
                self.size(move.stride, kernel)
                code.i32(4).op("i32.mul").op("i32.mul")
            code.op("i32.add")

    def number(self, move: Move, kernel: Kernel) -> None:
        """Pushes what the stride is multiplied by."""
        code = self.code
        if move.kind == "fixed":
            self.size(move.length, kernel)
            return
        n = self.iterations[move.depth]
        if move.kind == "back":
            self.size(move.length, kernel)
            code.i32(1).op("i32.sub").get(n).op("i32.sub")
            return
        code.get(n)
        if move.kind in ("next", "other"):
            code.i32(1).op("i32.add")
        if move.kind in ("turn", "other"):
            code.i32(1).op("i32.and")

    def size(self, size: Size, kernel: Kernel) -> None:
        """Pushes a size: a constant, or a word of the kernel that is next in the table."""
        if isinstance(size, int):
            self.code.i32(size)
        else:
            self.code.get(0).memory("i32.load", 4 * (self.word + kernel.sizes.index(_dim(size))))


def _dim(size: Size) -> Dim:
    assert isinstance(size, Dim)
    return size


def _first(loop: LoopCode) -> StepCode:
    step = loop.body[0]
    return _first(step) if isinstance(step, LoopCode) else StepCode(*step)
