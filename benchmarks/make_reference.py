"""Writes reference.json: what every workload must give, computed by TensorFlow in float64.

    TF_PYTHON -m benchmarks.make_reference        from the repository root, in an interpreter with TensorFlow
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from .data import sample
from .peers.tensorflow_steps import make_step
from .workloads import CHECKED_STEPS, WORKLOADS, Workload

PATH = Path(__file__).with_name("reference.json")


def answer(w: Workload) -> dict[str, Any]:
    """Samples of a result, or the losses of the first steps."""
    if w.kind == "train":
        return {name: _losses(w, corrected) for name, corrected in (("losses", False), ("corrected", True))}
    step, given = make_step(w, "float64")
    result = step(*given)
    for _ in range(CHECKED_STEPS - 1 if w.kind == "adam" else 0):
        result = step(*given)
    values = np.asarray(result)
    return {"sample": [float(v) for v in sample(values)], "scale": float(np.abs(values).max())}


def _losses(w: Workload, corrected: bool) -> list[float]:
    step, given = make_step(w, "float64", corrected)
    return [float(step(*given)) for _ in range(CHECKED_STEPS)]


def main() -> None:
    """All workloads."""
    found = {}
    for w in WORKLOADS:
        found[w.name] = answer(w)
        print(w.name, json.dumps(found[w.name])[:100], flush=True)
    PATH.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
