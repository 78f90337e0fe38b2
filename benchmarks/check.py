"""Compares what a contender computed with the float64 reference, so that nobody can be fast and wrong."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

from .workloads import CHECKED_STEPS, Workload

REFERENCE: dict[str, Any] = json.loads(Path(__file__).with_name("reference.json").read_text())
VALUE_TOLERANCE = 1e-4          # of the largest value of the result
FEWEST_CHECKED = 3              # steps: one that takes seconds need not take all ten
LOSS_TOLERANCE = 1e-3           # relative, after ten steps: Adam magnifies the last bits of small gradients


def verdict(w: Workload, given: dict[str, Any]) -> tuple[bool, float]:
    """Whether an answer is right, and how far it is off: of the scale of the result, or of the last loss."""
    expected = REFERENCE[w.name]
    if w.kind == "train":
        off = min(_relative(given.get("losses", []), expected[rule]) for rule in ("losses", "corrected"))
        return off <= LOSS_TOLERANCE, off
    wanted, got = _sample(w, given.get("steps", CHECKED_STEPS)), given.get("sample", [])
    if len(got) != len(wanted):
        return False, math.inf
    off = max(abs(g - e) if g is not None else math.inf for g, e in zip(got, wanted, strict=True)) / expected["scale"]
    return off <= VALUE_TOLERANCE, off


def _sample(w: Workload, steps: int) -> list[float]:
    """What comes out after so many steps: with a gradient that stays the same, Adam's steps are equal."""
    last: list[float] = REFERENCE[w.name]["sample"]
    if w.kind != "adam" or steps >= CHECKED_STEPS:
        return last
    if steps < FEWEST_CHECKED:
        return []
    start = replace(w.params[0], shape=(len(last),)).values()      # the result is the first elements
    return [float(a + (b - a) * steps / CHECKED_STEPS) for a, b in zip(start, last, strict=True)]


def _relative(got: list[Any], wanted: list[float]) -> float:
    """The largest relative difference; both of Keras' and TensorFlow.js' place of Adam's epsilon are right."""
    if len(got) < FEWEST_CHECKED:
        return math.inf
    return max(abs(g - e) / abs(e) if g is not None else math.inf for g, e in zip(got, wanted, strict=False))
