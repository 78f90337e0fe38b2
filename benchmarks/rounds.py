"""Measures contenders in turn, round after round, wherever they run: what else the machine does meets all alike."""

import contextlib
import math
import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from .workloads import Workload

PATIENCE = 30.0                 # seconds of one measurement beyond what is expected
SLOW = 700.0                    # ms per step from which single steps are timed
VERY_SLOW = 3000.0              # ms per step from which one round must do if the time is short


@dataclass
class Budget:
    """How long to measure: seconds of a round, rounds, seconds of single steps, seconds of all rounds of a cell.

    `until`: the moment (of time.monotonic) from which on no more rounds are begun than the fewest that say something.
    """

    seconds: float = 0.2
    rounds: int = 7
    latency: float = 0.2
    cell: float = 20.0
    until: float = math.inf


def fewest(ms: float) -> int:
    """How many rounds a contender of that speed is given however short the time is."""
    return 1 if ms > VERY_SLOW else 2 if ms > SLOW else 3


def busy() -> bool:
    """Whether others use this machine so much that only the best of several rounds says something."""
    return hasattr(os, "getloadavg") and os.getloadavg()[0] > (os.cpu_count() or 1) + 1.5


class Session(Protocol):
    """A contender that waits for calls: a page of the browser or a process."""

    def open(self) -> dict[str, Any]:
        """Loads the library: {ms, version}."""

    def prepare(self, w: Workload) -> dict[str, Any]:
        """Builds and checks: {firstMs, stepMs, check}."""

    def call(self, method: str, *args: Any, seconds: float = ...) -> Any:
        """measure, latency or count."""

    def close(self) -> None:
        """Ends it, whatever it is doing."""


class Kept:
    """A session that stays for the next workload: opening one takes longer than measuring. A failure ends it.

    `store`: what stays, with the answer of `open`, by key.
    """

    def __init__(self, key: str, make: Callable[[], Session], store: dict[str, tuple[Session, dict[str, Any]]]) -> None:
        self.key, self.make, self.store = key, make, store

    def open(self) -> dict[str, Any]:
        """Loads the library, if no workload before did."""
        if self.key not in self.store:
            session = self.make()
            try:
                self.store[self.key] = session, session.open()
            except Exception:
                session.close()
                raise
        return dict(self.store[self.key][1])

    def prepare(self, w: Workload) -> dict[str, Any]:
        """See Session."""
        return dict(self._try(lambda session: session.prepare(w)))

    def call(self, method: str, *args: Any, seconds: float = 60.0) -> Any:
        """See Session."""
        return self._try(lambda session: session.call(method, *args, seconds=seconds))

    def close(self) -> None:
        """Nothing: whoever has the store ends what is in it."""

    def _try(self, action: Callable[[Session], Any]) -> Any:
        try:
            return action(self.store[self.key][0])
        except Exception:
            self.store.pop(self.key)[0].close()
            raise


def stays(w: Workload) -> bool:
    """Whether a Python that computed other expressions may compute this one: not where building a model is timed."""
    return w.kind in ("compute", "adam") and not w.huge


@dataclass
class Cell:
    """What one contender did with one workload. Times in milliseconds; `error` says why there are none."""

    contender: str
    workload: str
    values: dict[str, Any] = field(default_factory=dict)
    rounds: list[float] = field(default_factory=list)
    error: str = ""
    spent: float = 0.0          # seconds of rounds
    seconds: float = 0.0        # of everything
    known: float = 0.0          # about how many ms a step takes

    def finish(self) -> dict[str, Any]:
        """For JSON."""
        if self.rounds:
            best, median = min(self.rounds), statistics.median(self.rounds)
            self.values |= {"steadyMs": best if busy() else median, "medianMs": median, "bestMs": best}
        made = {"contender": self.contender, "workload": self.workload, **self.values, "rounds": self.rounds,
                "seconds": round(self.seconds, 2)}
        return made | ({"error": self.error} if self.error else {})


Entrant = tuple[str, Callable[[Workload], Session]]


def measure(w: Workload, entrants: Sequence[Entrant], budget: Budget, say: Callable[[str], None]) -> list[Cell]:
    """One workload on all contenders, in turn; on huge ones one contender after the other."""
    if not w.huge:
        return _measure_group(w, list(entrants), budget, say)
    cells, begun = [], time.monotonic()
    for i, entrant in enumerate(entrants):
        until = begun + (budget.until - begun) * (i + 1) / len(entrants)
        cells += _measure_group(w, [entrant], replace(budget, until=until), say)
    return cells


def _measure_group(w: Workload, entrants: Sequence[Entrant], budget: Budget, say: Callable[[str], None]) -> list[Cell]:
    sessions: list[tuple[Cell, Session]] = []
    cells = [Cell(key, w.name) for key, _ in entrants]
    for cell, (_, make) in zip(cells, entrants, strict=True):
        with _noting(cell, say):
            session = make(w)
            sessions.append((cell, session))
            _prepare(cell, session, w)
        cell.spent = 0.0
    for _ in range(budget.rounds):
        late = time.monotonic() > budget.until
        for cell, session in sessions:
            enough = len(cell.rounds) >= fewest(cell.known)
            if not cell.error and not (enough and (late or cell.spent > budget.cell)):
                with _noting(cell, say):
                    made = session.call("measure", budget.seconds * 1e3, cell.known, seconds=patience(cell))
                    cell.rounds.append(made["ms"])
    for cell, session in sessions:
        if not cell.error:
            with _noting(cell, say):
                _look_closer(cell, session, budget)
        session.close()
    return cells


def _prepare(cell: Cell, session: Session, w: Workload) -> None:
    """Opens, builds, checks, warms up."""
    opened = session.open()
    cell.values |= {"openMs": opened["ms"], "version": opened["version"]}
    cell.values |= session.prepare(w)
    cell.known = cell.values.pop("stepMs")
    for _ in range(2):
        if cell.known < SLOW:
            cell.known = session.call("measure", 60, cell.known, seconds=w.seconds)["ms"]
            if cell.known > SLOW:
                cell.rounds.append(cell.known)          # too dear to be thrown away


def _look_closer(cell: Cell, session: Session, budget: Budget) -> None:
    """Single steps with their results read, and what one asks of WebGPU."""
    if cell.known > budget.seconds * 1e3:       # its rounds were single steps with their results read
        times = cell.rounds
    else:
        times = session.call("latency", budget.latency * 1e3, seconds=patience(cell))
    cell.values["latencyMs"] = statistics.median(times)
    cell.values["perStep"] = session.call("count", 1 if cell.known > SLOW else 3, seconds=patience(cell))


def patience(cell: Cell) -> float:
    """Seconds after which a measurement is given up."""
    return PATIENCE + cell.known / 100


@contextlib.contextmanager
def _noting(cell: Cell, say: Callable[[str], None]) -> Iterator[None]:
    """A contender that fails or hangs loses its cell, not the run; the time is the cell's."""
    begun = time.monotonic()
    try:
        yield
    except Exception as error:
        known = isinstance(error, RuntimeError | TimeoutError) or type(error).__name__ == "Missing"
        text = str(error).strip().splitlines()[0][:300] if str(error).strip() else ""
        cell.error = text if known and text else f"{type(error).__name__}: {text}"
        say(f"  {cell.contender}: {cell.error[:160]}")
    finally:
        taken = time.monotonic() - begun
        cell.spent, cell.seconds = cell.spent + taken, cell.seconds + taken
