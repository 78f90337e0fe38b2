"""What Python adds to a compiled step: whole steps of a model so small that its kernels take a few microseconds.

Nothing is subtracted: the program's own microseconds are in the numbers. On a GPU a step of `fit` is timed until its
commands are submitted, and the next begins when the device is idle, as it is while Python is ahead of the device.
"""

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

WARM_UP, REPEATS = 30, 400
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
    made = {"fit": _fit_steps(tf.keras, model, x, y, repeats, on_gpu)}
    if on_gpu:                  # the others wait for a result
        return made
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
    return made | {"train_on_batch": _timed(lambda: model.train_on_batch(x, y), repeats),
                   "function": _timed(lambda: function(operand), repeats),
                   "add": _timed(plus, repeats // 4, CHAIN), "tf.add": _timed(add, repeats // 4, CHAIN)}


def _small_model(keras: Any) -> Any:
    """Two units on two numbers: what is left is Python."""
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)])
    model.compile(keras.optimizers.Adam(), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


def _timed(action: Callable[[], Any], repeats: int, parts: int = 1) -> dict[str, float]:
    """Microseconds of single calls, or of each of the `parts` of a call."""
    times = []
    for i in range(WARM_UP + repeats):
        begun = time.perf_counter()
        action()
        if i >= WARM_UP:
            times.append((time.perf_counter() - begun) / parts)
    return _summary(times)


def _summary(times: list[float]) -> dict[str, float]:
    """Of seconds, in microseconds."""
    return {"best": min(times) * 1e6, "median": statistics.median(times) * 1e6}


def _fit_steps(keras: Any, model: Any, x: Any, y: Any, repeats: int, wait: bool) -> dict[str, float]:
    """From the end of one step of `fit` to the end of the next: slicing, callbacks and launch."""
    times: list[float] = []

    class Clock(keras.callbacks.Callback):  # type: ignore[misc]
        begun = 0.0

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            if batch >= WARM_UP:
                times.append(time.perf_counter() - self.begun)
            if wait:
                model.predict_on_batch(x)       # reading its result waits for all that was submitted
            self.begun = time.perf_counter()

    count = repeats + WARM_UP
    model.fit(np.repeat(x, count, 0), np.repeat(y, count, 0), batch_size=1, epochs=1, shuffle=False, verbose=0,
              callbacks=[Clock()])
    return _summary(times)
