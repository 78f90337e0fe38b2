"""Outputs that stay on the device: those still unread move aside before a later run writes over them."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from ..device import Copy, Device, Span
from ..errors import InternalError
from .values import Output

__all__ = ["Unread"]

Refs = list["weakref.ref[Output]"]

SPARE_BUFFERS = 8
SPARE_BYTES = 1 << 20
NEAR = 1 << 14                  # bytes between outputs that are read back together


class Unread:
    """The outputs of one executor that nobody has read, and buffers for those that outlive the next run.

    The outputs of the last run of each signature lie where that run left them: `signatures` names them.
    """

    def __init__(self, device: Device, signatures: Iterable[str]) -> None:
        self.device = device
        self.last: dict[str, Refs] = {name: [] for name in signatures}
        self.garbage: list[Any] = []                                # buffers of outputs dropped since the last run
        self._spare: list[Any] = []
        self._lent: set[Any] = set()    # buffers of unread outputs: a collector must not finalize them with these
        self._moved: weakref.WeakSet[Output] = weakref.WeakSet()    # outputs with buffers of their own

    def preserve(self, signature: str) -> list[Copy]:
        """Gives unread outputs of the last run buffers of their own; the copies go with the next submit."""
        refs, self.last[signature] = self.last[signature], []
        return self.move([output for ref in refs if (output := ref()) is not None and output.span is not None])

    def preserve_all(self) -> list[Copy]:
        """The same for the last runs of all signatures."""
        return [copy for signature in self.last for copy in self.preserve(signature)]

    def move(self, outputs: Sequence[Output]) -> list[Copy]:
        """Gives these outputs buffers of their own."""
        copies = []
        for output in outputs:
            source = output.span
            if source is None:
                continue
            target = Span(self._spare_buffer(max(4, source.size)), 0, source.size)
            self._lent.add(target.buffer)
            output.move(target, self.garbage)
            self._moved.add(output)
            if source.size:
                copies.append(Copy(source, target))
        return copies

    def _spare_buffer(self, size: int) -> Any:
        """One that a dropped output left behind, or a new one."""
        for index, buffer in enumerate(self._spare):
            if buffer.size >= size:
                return self._spare.pop(index)
        return self.device.allocate(size)

    def collect(self, spare: int = SPARE_BUFFERS) -> None:
        """Keeps a few buffers of dropped outputs for the next ones, so that a training loop allocates nothing."""
        while self.garbage:
            buffer = self.garbage.pop()
            self._lent.discard(buffer)
            if buffer.size <= SPARE_BYTES:
                self._spare.append(buffer)
            else:
                self.device.release(buffer)
        while len(self._spare) > spare:
            self.device.release(self._spare.pop(0))

    def all(self) -> list[Output]:
        """Every output that somebody holds and that has not been read."""
        unread = [ref() for refs in self.last.values() for ref in refs]
        return [output for output in [*unread, *self._moved] if output is not None]

    def exchange(self, signature: str, made: Output, held: Output) -> None:
        """`held` takes the place of an output that the last run of a signature has `made`."""
        self.last[signature] = [weakref.ref(held) if ref() is made else ref for ref in self.last[signature]]
        if made in self._moved:
            self._moved.discard(made)
            self._moved.add(held)
        held.become(made)

    def fetch(self, output: Output) -> list[tuple[Output, np.ndarray]]:
        """The bytes of an output, and of others that came with them."""
        span = output.span
        if span is None:
            raise InternalError(f"output {output.name!r} has no place on the device")
        near = self._near(output, span)
        if len(near) == 1:
            return [(output, self.device.download(span.buffer, span.offset, span.size))]
        first = min(place.offset for _, place in near)
        data = self.device.download(span.buffer, first, max(place.offset + place.size for _, place in near) - first)
        return [(other, data[place.offset - first : place.offset - first + place.size].copy()) for other, place in near]

    def _near(self, output: Output, span: Span) -> list[tuple[Output, Span]]:
        """The output and those of the same run that lie beside it: one wait for the device brings all."""
        found = [(output, span)]
        if span.size <= NEAR:
            for refs in self.last.values():
                if len(refs) < 2:
                    continue
                unread = [other for ref in refs if (other := ref()) is not None and not other.is_read]
                if any(other is output for other in unread):
                    found += [(other, place) for other in unread if other is not output
                              and (place := other.span) is not None and place.buffer is span.buffer
                              and abs(place.offset - span.offset) <= NEAR and place.size <= NEAR]
        return found
