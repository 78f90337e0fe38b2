"""What is aimed at: ratios in one run (a peer's time over ours), counts per step, times."""

from dataclasses import dataclass
from typing import Any

WASM, WEBGPU = "tideflow wasm", "tideflow webgpu"
PYTHON_CALLS = "what Python adds"       # not a workload: microseconds of calls
WORDS = {"dispatches": "dispatches a step", "submits": "submits a step", "created": "objects created a step",
         "firstMs": "ms to the first step", "warmFirstMs": "ms to trace, compile and run once, warm",
         "fit": "us a step of fit", "python": "us of Python in a step of fit", "train_on_batch": "us a train_on_batch",
         "add": "us an eager a + b", "tf.add": "us an eager tf.add"}


@dataclass(frozen=True)
class Target:
    """`goal` times faster than the fastest of `against`; or, without peers, at most `goal` of one number of ours."""

    workload: str
    ours: str
    goal: float
    against: tuple[str, ...] = ()
    measure: str = "steadyMs"

    @property
    def text(self) -> str:
        """For the table."""
        if self.against:
            return f"{self.goal:g}x {' and '.join(self.against)}"
        return f"at most {self.goal:g} {WORDS[self.measure]}"


def _wasm() -> list[Target]:
    tfjs, jax, every = "tfjs wasm", "jax-js wasm", ("tfjs wasm", "jax-js wasm", "ort wasm")
    table: list[tuple[str, float, tuple[str, ...]]] = [
        ("matmul512", 1.3, (tfjs,)), ("matmul1024", 1.3, (tfjs,)), ("conv3x3", 1.15, (tfjs,)), ("chain4", 3.0, every),
        ("chain12", 3.0, every), ("softmax1", 1.0, (tfjs,)), ("layernorm1", 1.0, (tfjs,)), ("mlp", 1.3, (jax,)),
        ("mlp", 7.0, (tfjs,)), ("cnn", 40.0, (tfjs, jax)), ("transformer", 1.5, (jax,)), ("transformer", 6.0, (tfjs,)),
        ("lstm", 6.0, (jax,)), ("mobilenet", 1.0, (tfjs,))]
    return [Target(name, WASM, goal, against) for name, goal, against in table]


def _webgpu() -> list[Target]:
    peers = ("tfjs webgpu", "jax-js webgpu")
    goals = {"matmul512": 1.5, "matmul1024": 1.5, "mlp": 1.6, "cnn": 4.0, "transformer": 3.5, "lstm": 6.0,
             "chain4": 1.0, "chain12": 1.0}
    made = [Target(name, WEBGPU, goal, peers) for name, goal in goals.items()]
    for name, most in {"mlp": 12, "cnn": 22, "transformer": 60, "lstm": 115}.items():
        made += [Target(name, WEBGPU, most, (), "dispatches"), Target(name, WEBGPU, 1, (), "submits"),
                 Target(name, WEBGPU, 0, (), "created")]
    return [*made, Target("cnn", WEBGPU, 1000, (), "firstMs")]


def _python() -> list[Target]:
    made = [Target(name, "tideflow cpu", 1.0, ("tensorflow",)) for name in ("mlp", "lstm", "transformer")]
    return [*made, Target("cnn", "tideflow cpu", round(1 / 1.5, 2), ("tensorflow",)),
            Target(PYTHON_CALLS, "tideflow cpu", 1.5, (), "add"),
            Target(PYTHON_CALLS, "tideflow cpu", 4.0, (), "tf.add"),
            Target(PYTHON_CALLS, "tideflow pyodide", 5.0, (), "add"),
            Target(PYTHON_CALLS, "tideflow pyodide", 20.0, (), "tf.add"),
            Target(PYTHON_CALLS, "tideflow pyodide", 300.0, (), "fit"),
            Target(PYTHON_CALLS, "tideflow pyodide", 300.0, (), "train_on_batch"),
            Target(PYTHON_CALLS, "tideflow pyodide webgpu", 300.0, (), "python"),
            Target("cnn", "tideflow pyodide", 500, (), "warmFirstMs")]


TARGETS = (*_wasm(), *_webgpu(), *_python())


def reached(target: Target, cells: dict[tuple[str, str], dict[str, Any]]) -> tuple[float | None, bool]:
    """What was measured in the target's terms, and whether that is enough; None where something is missing."""
    ours = cells.get((target.workload, target.ours), {})
    if not target.against:
        value = ours.get(target.measure, ours.get("perStep", {}).get(target.measure))
        return value, value is not None and value <= target.goal
    # a peer that failed is beaten, one that was left out is not
    peers = [cells.get((target.workload, p)) for p in target.against]
    times = [p["steadyMs"] for p in peers if p and "steadyMs" in p]
    if None in peers or not times or not ours.get("steadyMs") or not ours.get("right"):
        return None, False
    ratio = min(times) / ours["steadyMs"]
    return ratio, ratio >= target.goal
