"""Contenders in Python: Tideflow on its devices, eager and compiled, and numpy. Natively and in Pyodide.

`open_contender(kind)` gives an object with `prepare(workload)`; `Runner` measures it as page/harness.js does in a page.
"""

import contextlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ..data import sample
from ..workloads import CHECKED_STEPS, Workload

Step = Callable[[], Any]
FEWEST_CHECKED, PATIENCE = 3, 5.0       # steps, seconds: a slow contender need not take all that are checked
DEVICES = {"tideflow cpu": "/CPU:0", "tideflow wasmtime": "/WASM:0", "tideflow wgpu": "/GPU:0",
           "tideflow pyodide": "/CPU:0", "tideflow pyodide eager": "/CPU:0", "tideflow pyodide webgpu": "/GPU:0"}


class Missing(Exception):
    """A contender cannot do a workload; says why."""


class Runner:
    """One workload on one contender: the methods of the harness, by name."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.step: Step = lambda: None
        self.read: Callable[[], np.ndarray] = lambda: np.zeros(0)

    def open(self) -> dict[str, Any]:
        """Imports the library."""
        begun = time.perf_counter()
        if self.kind.startswith("tideflow"):
            import tideflow as tf
            version = tf.__version__
        elif self.kind == "tensorflow":
            import tensorflow as tf
            version = tf.__version__
        else:
            version = np.__version__
        return {"ms": (time.perf_counter() - begun) * 1e3, "version": version}

    def first(self, w: Workload) -> dict[str, Any]:
        """Builds, and runs one step: what a cold start takes."""
        return {"firstMs": self._build(w)[0]}

    def prepare(self, w: Workload) -> dict[str, Any]:
        """Builds, runs the first step and those that are checked; `warmFirstMs`: the same model built once more."""
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")       # the peak of memory starts anew
        first_ms, result = self._build(w)
        results, begun = [result], time.perf_counter()
        steps = CHECKED_STEPS if w.kind in ("train", "adam") else 1
        while len(results) < min(steps, FEWEST_CHECKED) or (len(results) < steps
                                                            and time.perf_counter() - begun < PATIENCE):
            results.append(self._once())
        each = (time.perf_counter() - begun) * 1e3 / max(1, len(results) - 1)
        made: dict[str, Any] = {"firstMs": first_ms, "stepMs": each if len(results) > 1 else 0.0}
        if w.kind == "train":
            made["check"] = {"losses": [float(r.reshape(-1)[0]) for r in results]}
        else:
            made["check"] = {"sample": [float(v) for v in sample(results[-1])]}
            if w.kind == "adam":
                made["check"]["steps"] = len(results)
        if self.kind.startswith("tideflow") and w.kind in ("train", "infer"):
            made["warmFirstMs"] = self._build(w)[0]
        return made

    def _build(self, w: Workload) -> tuple[float, np.ndarray]:
        """Milliseconds until the first result, and that."""
        begun = time.perf_counter()
        make = {"numpy": _numpy, "numpy pyodide": _numpy, "tensorflow": _tensorflow}.get(self.kind, _tideflow)
        self.step, self.read = make(w, self.kind)
        result = self._once()
        return (time.perf_counter() - begun) * 1e3, result

    def measure(self, budget: float, known: float) -> dict[str, Any]:
        """Milliseconds per step of about `budget` ms of steps, one result read at the end."""
        count = max(1, min(2000, round(budget / (known or budget))))
        begun = time.perf_counter()
        for _ in range(count):
            self.step()
        self.read()
        return {"ms": (time.perf_counter() - begun) * 1e3 / count, "count": count}

    def latency(self, budget: float) -> list[float]:
        """Milliseconds of single steps with their results read."""
        times: list[float] = []
        end = time.perf_counter() + budget / 1e3
        while not times or (time.perf_counter() < end and len(times) < 50):
            begun = time.perf_counter()
            self.step()
            self.read()
            times.append((time.perf_counter() - begun) * 1e3)
        return times

    def count(self, steps: int) -> dict[str, Any]:
        """Peak memory of the process, since the workload was built."""
        try:
            lines = Path("/proc/self/status").read_text().splitlines()
            peak = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
        except (OSError, StopIteration):
            return {}       # of a page, the page counts it
        return {"memory": {"process": peak}}

    def overhead(self) -> dict[str, Any]:
        """What Python adds to a call."""
        from .overhead import measure
        return measure(self.kind)

    def _once(self) -> np.ndarray:
        self.step()
        return np.array(self.read())


# ---- Tideflow ------------------------------------------------------------------------------------------------------

def _tideflow(w: Workload, kind: str) -> tuple[Step, Step]:
    import tideflow as tf

    from .. import programs
    eager = kind.endswith("eager")
    device = DEVICES[kind]
    if eager and w.kind not in ("compute", "train"):
        raise Missing("eager: measured on expressions and training")
    if w.options.get("eager") and kind in ("tideflow wasmtime", "tideflow wgpu", "tideflow pyodide"):
        raise Missing("measured compiled")
    last: list[Any] = [None]
    given = [a.values() for a in w.inputs]

    def placed(action: Callable[[], Any]) -> Step:
        def step() -> None:
            with tf.device(device):
                last[0] = action()
        return step

    with tf.device(device):
        if w.kind == "compute":
            operands = [tf.constant(a.values()) for a in w.params]
            function = (lambda *a: programs.expression(w, *a)) if eager or w.options.get("eager") else tf.function(
                lambda *a: programs.expression(w, *a))
            return placed(lambda: function(*operands)), lambda: last[0].numpy()
        if w.kind == "adam":
            return _tideflow_adam(tf, w, placed, last)
        if w.name == "transformer":
            weights = {a.name: tf.Variable(a.values()) for a in w.params}
            step = programs.training_step(weights, programs.transformer_loss)
            function = step if eager else tf.function(step)
            return placed(lambda: function(*given)), lambda: last[0].numpy()
        model = programs.keras_model(w)
        if w.kind == "infer":
            return placed(lambda: model.predict_on_batch(given[0])), lambda: np.asarray(last[0])
        if eager:
            raise Missing("eager: measured on expressions and the transformer")
        return placed(lambda: _on_batch(model, given)), lambda: np.asarray(last[0])


def _on_batch(model: Any, given: list[np.ndarray]) -> Any:
    model.reset_metrics()
    return model.train_on_batch(*given)


def _tideflow_adam(tf: Any, w: Workload, placed: Callable[..., Step], last: list[Any]) -> tuple[Step, Step]:
    from .. import programs
    update = tf.function(programs.update_step(*(tf.Variable(a.values()) for a in w.params)))
    return placed(update), lambda: last[0].numpy()


# ---- TensorFlow ----------------------------------------------------------------------------------------------------

def _tensorflow(w: Workload, kind: str) -> tuple[Step, Step]:
    from .tensorflow_steps import make_step
    step, given = make_step(w)
    last: list[Any] = [None]

    def run() -> None:
        last[0] = step(*given)
    return run, lambda: last[0].numpy()


# ---- numpy ---------------------------------------------------------------------------------------------------------

def _numpy(w: Workload, kind: str) -> tuple[Step, Step]:
    from .numpy_steps import make_step
    step = make_step(w)
    if step is None:
        raise Missing("not written in numpy")
    last: list[Any] = [None]

    def run() -> None:
        last[0] = step()
    return run, lambda: last[0]
