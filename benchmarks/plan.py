"""What is measured, in which order, and how the minutes are shared out.

Each workload gets its part of the time that is left, in proportion to what its contenders took in the recorded run:
what one leaves over goes to all that follow, and what one overdraws is taken from all. Whatever has a target comes
first, so that a run that is too short lacks what matters least.
"""

import functools
import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from . import report
from .native import KINDS
from .peers import numpy_steps
from .rounds import fewest, stays
from .targets import TARGETS
from .workloads import Workload

PARTS = {"browser": 0.73, "startup": 0.05, "python": 0.03, "native": 0.19}      # and the share of the time of each
IN_PYODIDE = {"matmul512", "chain4", "softmax1", "mlp", "cnn", "transformer", "lstm", "mobilenet", "adds_eager",
              "adam250k"}
FIRST = ("train", "infer", "compute", "adam")       # what must not be missing if the time does not suffice
ASKED_ONLY = ("worker", "threads")                  # contenders that only train and infer
RECORDED = Path(__file__).with_name("results") / "results.json"
GUESSES = {"pyodide": 7.0, "webgpu": 8.0, "wgpu": 4.0, "": 3.0}     # seconds of a cell that nobody has recorded
FLOOR, ROUND, CLOSER = 1.0, 0.25, 0.5               # seconds: to open and close, of a fast contender's round, to count


@functools.cache
def recorded_cells() -> report.Cells:
    """Of the recorded run, as it was before this one wrote anything."""
    return report.by_key(json.loads(RECORDED.read_text())) if RECORDED.exists() else {}


def ordered(workloads: Sequence[Workload]) -> list[Workload]:
    """Those with targets first, training before inference before expressions."""
    wanted = {t.workload for t in TARGETS}
    return sorted(workloads, key=lambda w: (w.huge, w.name not in wanted, FIRST.index(w.kind)))


def takes_part(key: str, w: Workload, words: Sequence[str] = ()) -> bool:
    """Threads and workers are compared where they are used: in training and inference."""
    if words and not any(word in key for word in words):
        return False
    eager = w.options.get("eager", False)
    if key.endswith("pyodide") and w.name not in IN_PYODIDE:
        return False
    if key.startswith("tideflow pyodide eager") and not (eager or w.name == "transformer"):
        return False
    if key.startswith("numpy") and not numpy_steps.knows(w):
        return False
    if eager and key not in ("tideflow cpu", "tideflow pyodide eager", "numpy", "numpy pyodide", "tensorflow"):
        return False                    # what runs there was compiled, or is no Python
    if key.startswith("ort") and w.kind in ("train", "adam"):
        return False                    # onnxruntime-web runs inference only
    return w.kind in ("train", "infer") or not any(word in key for word in ASKED_ONLY)


def lacking(keys: Sequence[str], w: Workload, results: dict[str, Any]) -> list[str]:
    """Of these contenders, those whose table has a gap in this workload: ratios are of one run, so all or none."""
    there = {c["contender"] for c in results["cells"] if c["workload"] == w.name}
    gaps = {report.group_of(key) for key in keys if key not in there}
    return [key for key in keys if report.group_of(key) in gaps]


def expected(key: str, w: Workload, recorded: report.Cells) -> float:
    """About how many seconds a cell takes at the least, judged by what was recorded."""
    cell = recorded.get((w.name, key))
    opened = not (stays(w) and (key in KINDS or "pyodide" in key))
    if cell is None and not opened:
        return 2.0
    if cell is None:
        guess = next(seconds for part, seconds in GUESSES.items() if part in key)
        return guess * (3.0 if w.kind == "train" or w.huge else 1.0)
    if "steadyMs" not in cell:
        return FLOOR
    step = cell["steadyMs"] / 1e3
    checked = max(2, min(9, round(5.0 / step))) * step if w.kind in ("train", "adam") else 0.0
    ready = (cell["firstMs"] + cell.get("warmFirstMs", 0.0)) / 1e3 + checked
    ready += FLOOR + cell.get("openMs", 0.0) / 1e3 if opened else 0.0
    return ready + fewest(cell["steadyMs"]) * max(ROUND, step) + CLOSER + step


class Schedule:
    """Shares the time until a moment among workloads."""

    def __init__(self, part: str, until: float, minutes: float,
                 entries: Sequence[tuple[Workload, Sequence[str]]]) -> None:
        recorded = recorded_cells()
        self.part, self.until, self.minutes = part, until, minutes
        self.entries = [(w, list(keys), sum(expected(key, w, recorded) for key in keys)) for w, keys in entries if keys]

    @property
    def seconds(self) -> float:
        """What everything takes at the least."""
        return sum(seconds for _, _, seconds in self.entries)

    def turns(self, results: dict[str, Any]) -> Iterator[tuple[Workload, list[str], float]]:
        """Each workload with its contenders and the moment when its rounds should end, as long as there is time."""
        for i, (w, keys, seconds) in enumerate(self.entries):
            now, rest = time.monotonic(), sum(e[2] for e in self.entries[i:])
            if now > self.until:
                left = ", ".join(e[0].name for e in self.entries[i:])
                results["missing"].append(f"{self.part}: the time was up before {left} (--minutes {self.minutes:g})")
                return
            closing = CLOSER * len(keys)
            yield w, keys, now + (self.until - now) * seconds / rest - closing
