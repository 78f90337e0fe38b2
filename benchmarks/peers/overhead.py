"""What Python adds to a compiled step: whole steps of a model so small that its kernels take a few microseconds.

Nothing is subtracted: the program's own microseconds are in the numbers. On a GPU a step of `fit` is timed until its
commands are submitted, and the next begins when the device is idle, as it is while Python is ahead of the device;
"python" is the same without the one call of the JavaScript runtime, which is WebGPU's own cost.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

WARM_UP, REPEATS = 30, 400
ROUNDS = 5              # of the calls that take turns: a core can be slow for a fifth of a second
CHAIN = 100             # eager additions timed together


def measure(kind: str) -> dict[str, dict[str, float]]:
    """Microseconds, the best and the median, by the columns of report.PYTHON; `kind`: a contender."""
    if kind == "tensorflow":
        import tensorflow as tf
        return _measure(tf, REPEATS // 2)
    import tideflow as tf
    on_gpu = kind.endswith("webgpu")
    with tf.device("/GPU:0" if on_gpu else "/CPU:0"):
        return _measure(tf, REPEATS // 4 if on_gpu else REPEATS, on_gpu)


def _measure(tf: Any, repeats: int, on_gpu: bool = False) -> dict[str, dict[str, float]]:
    x, y = np.ones((1, 2), np.float32), np.ones(1, np.int32)
    model = _small_model(tf.keras)
    if on_gpu:                  # the other rows wait for a result
        return _gpu_steps(tf.keras, model, x, y, repeats)
    made = {"fit": _summary(_fit_steps(tf.keras, model, x, y, repeats))}
    operand, one = tf.constant([1.0, 2.0, 3.0, 4.0]), tf.constant([1.0, 1.0, 1.0, 1.0])
    function = tf.function(lambda a: a * 2.0 + 1.0)

    def plus() -> None:
        t = operand
        for _ in range(CHAIN):
            t = t + one

    def add() -> None:
        t = operand
        for _ in range(CHAIN):
            t = tf.add(t, one)
    return made | _in_turn({"train_on_batch": (lambda: model.train_on_batch(x, y), repeats, 1),
                            "function": (lambda: function(operand), repeats, 1),
                            "add": (plus, repeats // 4, CHAIN), "tf.add": (add, repeats // 4, CHAIN)})


def _small_model(keras: Any) -> Any:
    """Two units on two numbers: what is left is Python."""
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)])
    model.compile(keras.optimizers.Adam(), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


def _in_turn(calls: dict[str, tuple[Callable[[], Any], int, int]]) -> dict[str, dict[str, float]]:
    """Microseconds of single calls: by name the call, how often, and how many parts it has that are asked for."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for action, _, _ in calls.values():
        for _ in range(WARM_UP):
            action()
    for _ in range(ROUNDS):
        for name, (action, repeats, parts) in calls.items():
            for _ in range(repeats // ROUNDS):
                begun = time.perf_counter()
                action()
                times[name].append((time.perf_counter() - begun) / parts)
    return {name: _summary(found) for name, found in times.items()}


def _summary(times: list[float]) -> dict[str, float]:
    """Of seconds, in microseconds."""
    return {"best": min(times) * 1e6, "median": statistics.median(times) * 1e6}


def _gpu_steps(keras: Any, model: Any, x: Any, y: Any, repeats: int) -> dict[str, dict[str, float]]:
    from tideflow.runtime.discover import open_device
    device, inside = open_device("/GPU:0"), [0.0]
    call = device._call

    def timed(*arguments: Any) -> Any:
        begun = time.perf_counter()
        try:
            return call(*arguments)
        finally:
            inside[0] += time.perf_counter() - begun

    device._call = timed
    spent: list[float] = []
    try:
        times = _fit_steps(keras, model, x, y, repeats, lambda: model.predict_on_batch(x), inside, spent)
    finally:
        device._call = call
    return {"fit": _summary(times), "python": _summary([t - s for t, s in zip(times, spent, strict=True)])}


def _fit_steps(keras: Any, model: Any, x: Any, y: Any, repeats: int, idle: Callable[[], Any] | None = None,
               inside: Sequence[float] = (0.0,), spent: list[float] | None = None) -> list[float]:
    """Seconds from the end of one step of `fit` to the end of the next: slicing, callbacks and launch.

    `idle` waits for the device between steps; what `inside` grew by in each step goes to `spent`.
    """
    times: list[float] = []

    class Clock(keras.callbacks.Callback):  # type: ignore[misc]
        begun, before = 0.0, 0.0

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            if batch >= WARM_UP:
                times.append(time.perf_counter() - self.begun)
                if spent is not None:
                    spent.append(inside[0] - self.before)
            if idle is not None:
                idle()
            self.before, self.begun = inside[0], time.perf_counter()

    count = repeats + WARM_UP
    model.fit(np.repeat(x, count, 0), np.repeat(y, count, 0), batch_size=1, epochs=1, shuffle=False, verbose=0,
              callbacks=[Clock()])
    return times
