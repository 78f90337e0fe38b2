"""Survives the loss of a GPU: a copy of the state every two seconds, and what was done since then, to do it again.

The memory of a GPU can vanish at any moment (a driver reset, a laptop that changes its GPU, a tab in the background).
`GuardedExecutor` then opens a new device, loads the model again, gives it the last copy of its state, counters and
random state included, and repeats what happened after that copy: writes of state, and runs whose inputs can be made
anew. Outputs that nobody has read yet are those of the repeated runs, so callers notice a pause and a warning. A run
whose inputs are gone is lost, and the warning says how many are.
"""

from __future__ import annotations

import time
import warnings
import weakref
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from ..errors import DeviceHungError, DeviceLostError, FailedPreconditionError
from ..program.format import Model
from .discover import open_device
from .execute import Executor, Inputs
from .values import Output

__all__ = ["GuardedExecutor"]

EVERY = 2.0                     # seconds between copies of the state
SHARE = 0.02                    # of the time may go into copies: the interval is stretched for that
MOST_ENTRIES = 1 << 16          # of the journal: older ones are given up
MOST_LOSSES = 3                 # without a copy in between: then the program itself is to blame

Result = TypeVar("Result")


@dataclass(eq=False, slots=True)
class Write:
    """A state that the host has set."""

    tensor: int
    value: Any


@dataclass(eq=False, slots=True)
class Run:
    """One run and what came of it. `again` makes its inputs anew; None: they are gone."""

    name: str
    again: Callable[[], Inputs] | None
    writes: bool
    lasting: bool                                   # `again` works at any time, not just until the next run
    outputs: list[weakref.ref[Output]]

    def unread(self) -> list[Output]:
        """The outputs that somebody holds and has not read."""
        return [output for ref in self.outputs if (output := ref()) is not None and not output.is_read]


class GuardedExecutor(Executor):
    """An Executor on a device that can be lost. Its arena is its own."""

    device: Any

    def __init__(self, model: Model, device: Any, state_keys: Mapping[int, Hashable] | None = None) -> None:
        self._keys = state_keys
        self._base: dict[int, Any] = {}             # the last copy; a tensor that is absent is as the model has it
        self._journal: list[Run | Write] = []
        self._dirty = False                         # the journal holds a run that writes state
        self._given_up = self._losses = 0
        self._copied, self._cost = time.monotonic(), 0.0    # when the last copy was made, and what it took
        self._due = self._copied + EVERY
        super().__init__(model, device, None, state_keys)
        self._writing = {s.name for s in model.signatures if s.writes or s.advance}

    # what callers do

    def run(self, name: str, inputs: Inputs = None, again: Callable[[], Inputs] | None = None) -> dict[str, Output]:
        if self._dirty and time.monotonic() > self._due:
            self._copy_state()
        try:
            outputs = super().run(name, inputs)
        except DeviceLostError as error:
            self._survive(error)
            outputs = self._attempt(lambda: super(GuardedExecutor, self).run(name, inputs))
        self._append(Run(name, again or (lambda: inputs), name in self._writing, again is not None or not inputs,
                         [*map(weakref.ref, outputs.values())]))
        return outputs

    def finish(self) -> None:
        """A copy at the end of a training, if it is cheap: then the journal need not keep the training's data."""
        if self._dirty and time.monotonic() > self._copied + self._cost / SHARE:
            self._copy_state()

    def write(self, tensor: int, value: Any) -> None:
        self._attempt(lambda: super(GuardedExecutor, self).write(tensor, value))
        if self._dirty:
            self._append(Write(tensor, value))
        else:
            self._base[tensor] = value

    def read(self, tensor: int) -> np.ndarray:
        return self._attempt(lambda: super(GuardedExecutor, self).read(tensor))

    def save_into(self, model: Model | None = None) -> Model:
        return self._attempt(lambda: super(GuardedExecutor, self).save_into(model))

    def prepare(self, name: str, inputs: Inputs = None) -> None:
        self._attempt(lambda: super(GuardedExecutor, self).prepare(name, inputs))

    def _fetch(self, output: Output) -> list[tuple[Output, np.ndarray]]:
        found = self._attempt(lambda: [] if output.gone else super(GuardedExecutor, self)._fetch(output))
        if not found:
            raise output.gone or DeviceLostError(f"output {output.name!r} is gone")
        return found

    # noticing a loss

    def _attempt(self, action: Callable[[], Result]) -> Result:
        """Does something, on a new device if this one is lost."""
        while True:
            try:
                return action()
            except DeviceLostError as error:
                self._survive(error)

    def _survive(self, error: DeviceLostError) -> None:
        """A new device in place of one that was lost; raises the error if that cannot help."""
        if self._closed or isinstance(error, DeviceHungError):
            raise error
        self._recover(str(error))

    # the copy and the journal

    def _append(self, item: Run | Write) -> None:
        journal = self._journal
        while journal and isinstance(last := journal[-1], Run):
            if not last.lasting:
                last.again = None                   # from now on the caller may do with its arrays what it likes
            if last.writes or last.unread():
                break
            journal.pop()
        journal.append(item)
        if not self._dirty:
            self._dirty = isinstance(item, Run) and item.writes
        if len(journal) > MOST_ENTRIES:
            dropped = journal.pop(0)
            if isinstance(dropped, Write):
                self._base[dropped.tensor] = dropped.value
            else:
                self._given_up += dropped.writes

    def _copy_state(self) -> None:
        """Takes a copy of the state; what the journal holds is then no longer needed."""
        try:
            self.arena.wait()                       # for the runs under way: that is no cost of the copy
            start = time.monotonic()
            values = self._state.read_all()
        except DeviceLostError as error:
            self._recover(str(error))
            return
        except FailedPreconditionError:             # Python in a tab that cannot wait now
            self._due = time.monotonic() + EVERY
            return
        self._base, self._dirty, self._given_up, self._losses = values, False, 0, 0
        self._journal.clear()
        self._copied = time.monotonic()
        self._cost = self._copied - start
        self._due = self._copied + max(EVERY, self._cost / SHARE)

    # after a loss

    def _recover(self, reason: str) -> None:
        """A new device with the last copy of the state, and everything since then once more."""
        while True:
            self._losses += 1
            if self._losses > MOST_LOSSES:
                raise DeviceLostError(f"{self.device.name} was lost {self._losses} times without two seconds of work "
                                      f"in between: {_short(reason)}. Use device='wasm' or 'cpu'.")
            try:
                self._rebuild()
                repeated, lost = self._repeat()
                break
            except DeviceLostError as error:
                reason = str(error)
        lost += self._given_up
        self._given_up = 0
        text = f"{self.device.name} was lost ({_short(reason)}). A new device goes on with the state copied last; "
        text += f"{repeated} steps since then were repeated" + (", nothing is lost." if not lost else (
            f", {lost} are lost, for their inputs are gone. Training by fit on arrays loses none."))
        warnings.warn(text, RuntimeWarning, stacklevel=5)

    def _rebuild(self) -> None:
        """Loads the model on a device that works, with the state copied last."""
        old, name = self.device, self.device.name
        limits = {limit.name: limit.value for program in self.model.programs if program.target == old.target
                  for limit in program.requires.limits if not program.requires.features}
        for output in self._unread.all():
            output.lose(DeviceLostError(f"output {output.name!r} was not read before {name} was lost."))
        self.close()
        device: Any = open_device(name, limits) if getattr(old, "lost", False) else old
        Executor.__init__(self, self.model, device, None, self._keys)
        for tensor, value in self._base.items():
            super().write(tensor, value)

    def _repeat(self) -> tuple[int, int]:
        """Goes through the journal. Returns how many runs that write state were repeated, and how many were lost."""
        repeated = lost = 0
        for item in list(self._journal):
            if isinstance(item, Write):
                super().write(item.tensor, item.value)
                continue
            if item.again is None:
                lost += item.writes
                item.writes = False                 # counted once, should this device be lost as well
                continue
            made = super().run(item.name, item.again())
            for output in item.unread():
                self.exchange(item.name, made[output.name], output)
            repeated += item.writes
        return repeated, lost


def _short(reason: str) -> str:
    """What an engine said, on one line."""
    return " ".join(reason.split(". Load the model")[0].split())
