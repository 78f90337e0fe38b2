"""Callbacks: what happens around epochs and batches of `fit`."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

__all__ = [
    "CSVLogger",
    "Callback",
    "CallbackList",
    "EarlyStopping",
    "History",
    "LambdaCallback",
    "LearningRateScheduler",
    "ModelCheckpoint",
    "ProgbarLogger",
    "ReduceLROnPlateau",
    "TerminateOnNaN",
]


class LazyLogs(Mapping[str, float]):
    """Metrics of a batch that are fetched from the device when somebody looks."""

    def __init__(self, outputs: dict[str, Any]) -> None:
        self._outputs = outputs
        self._values: dict[str, float] = {}

    def __getitem__(self, key: str) -> float:
        if key not in self._values:
            self._values[key] = float(self._outputs[key])
        return self._values[key]

    def __iter__(self) -> Any:
        return iter(self._outputs)

    def __len__(self) -> int:
        return len(self._outputs)


class Callback:
    """The base: override the moments you need. `self.model` and `self.params` are set by `fit`."""

    def __init__(self) -> None:
        self.params: dict[str, Any] = {}
        self.model: Any = None

    def set_params(self, params: dict[str, Any]) -> None:
        """Called before training with {"verbose", "epochs", "steps"}."""
        self.params = params

    def set_model(self, model: Any) -> None:
        """Called before training with the model."""
        self.model = model

    def on_train_begin(self, logs: Any = None) -> None: ...
    def on_train_end(self, logs: Any = None) -> None: ...
    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None: ...
    def on_epoch_end(self, epoch: int, logs: Any = None) -> None: ...
    def on_batch_begin(self, batch: int, logs: Any = None) -> None: ...
    def on_batch_end(self, batch: int, logs: Any = None) -> None: ...

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Before each training step."""
        self.on_batch_begin(batch, logs)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """After each training step; `logs` fetches values from the device when they are read."""
        self.on_batch_end(batch, logs)

    def on_test_begin(self, logs: Any = None) -> None: ...
    def on_test_end(self, logs: Any = None) -> None: ...
    def on_test_batch_begin(self, batch: int, logs: Any = None) -> None: ...
    def on_test_batch_end(self, batch: int, logs: Any = None) -> None: ...
    def on_predict_begin(self, logs: Any = None) -> None: ...
    def on_predict_end(self, logs: Any = None) -> None: ...
    def on_predict_batch_begin(self, batch: int, logs: Any = None) -> None: ...
    def on_predict_batch_end(self, batch: int, logs: Any = None) -> None: ...


class History(Callback):
    """Losses and metrics of each epoch: `history.history["loss"]`."""

    def __init__(self) -> None:
        super().__init__()
        self.history: dict[str, list[float]] = {}
        self.epoch: list[int] = []

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.epoch.append(epoch)
        for k, v in (logs or {}).items():
            self.history.setdefault(k, []).append(v)


class ProgbarLogger(Callback):
    """A bar for each epoch in a terminal (verbose 1), or a line (verbose 2).

    Values are read at most ten times a second.
    """

    def __init__(self, verbose: int = 1, testing: bool = False) -> None:
        super().__init__()
        self.verbose, self.testing = verbose, testing
        self._start = self._shown = 0.0
        self._seen = 0

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        if self.verbose and self.params["epochs"] > 1:
            print(f"Epoch {epoch + 1}/{self.params['epochs']}", flush=True)
        self._begin()

    def on_test_begin(self, logs: Any = None) -> None:
        if self.testing:
            self._begin()

    on_predict_begin = on_test_begin

    def _begin(self) -> None:
        self._start, self._shown, self._seen = time.monotonic(), 0.0, 0

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self._seen = batch + 1
        now = time.monotonic()
        if self.verbose == 1 and sys.stdout.isatty() and now - self._shown > 0.1:
            self._shown = now
            self._write(logs or {}, "\r", "")

    def on_test_batch_end(self, batch: int, logs: Any = None) -> None:
        if self.testing:
            self.on_train_batch_end(batch, logs)

    on_predict_batch_end = on_test_batch_end

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self._finish(logs)

    def on_test_end(self, logs: Any = None) -> None:
        if self.testing:
            self._finish(logs)

    on_predict_end = on_test_end

    def _finish(self, logs: Any) -> None:
        if self.verbose:
            self._write(logs or {}, "\r" if self.verbose == 1 and sys.stdout.isatty() else "", "\n")

    def _write(self, logs: Any, before: str, after: str) -> None:
        steps = self.params.get("steps") or self._seen
        elapsed = time.monotonic() - self._start
        per_step = elapsed / max(1, self._seen)
        unit = f"{per_step * 1e3:.0f}ms/step" if per_step >= 1e-3 else f"{per_step * 1e6:.0f}us/step"
        bar, gap = "- ", "- "
        if self.verbose == 1:
            gap = ""
            filled = int(20 * self._seen / max(1, steps))
            bar = "━" * filled + " " * (20 - filled) + " "
        values = "".join(
            f" - {k}: {_short(v)}" for k, v in sorted(logs.items(), key=lambda item: item[0].startswith("val_"))
        )
        print(f"{before}{self._seen}/{steps} {bar}{elapsed:.0f}s {gap}{unit}{values}", end=after, flush=True)


def _short(value: Any) -> str:
    """Four digits of a number; of several numbers their mean."""
    value = float(np.mean(value))
    return f"{value:.4f}" if abs(value) > 1e-3 or value == 0 else f"{value:.4e}"


class CallbackList:
    """All callbacks of a run; calls go to each in order."""

    def __init__(
        self,
        callbacks: Any = None,
        add_history: bool = False,
        add_progbar: bool = False,
        model: Any = None,
        *,
        testing: bool = False,
        **params: Any,
    ) -> None:
        given = [] if callbacks is None else list(callbacks) if isinstance(callbacks, list | tuple) else [callbacks]
        level = params.get("verbose", "auto")
        level = 1 if level == "auto" else int(level)
        self.history = next((c for c in given if isinstance(c, History)), None)
        self.callbacks: list[Any] = [c for c in given if c is not self.history]
        if add_progbar and level and not any(isinstance(c, ProgbarLogger) for c in self.callbacks):
            self.callbacks.insert(0, ProgbarLogger(level, testing))
        if self.history is None and add_history:
            self.history = History()
        if self.history is not None:
            self.callbacks.append(self.history)
        for c in self.callbacks:
            c.set_model(model)
            c.set_params({**params, "verbose": level})

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("on_"):
            raise AttributeError(name)

        told = [c for c in self.callbacks if _listens(c, name)]

        def call(*args: Any) -> None:
            for c in told:
                getattr(c, name)(*args)  # looked up each time: a callback may exchange its methods

        self.__dict__[name] = call  # found without this function from now on
        return call


def _listens(callback: Any, name: str) -> bool:
    """False for a callback that does nothing at this moment: most have no use for single batches."""
    if name not in ("on_train_batch_begin", "on_train_batch_end") or name in callback.__dict__:
        return True
    short, kind = name.replace("train_", ""), type(callback)
    inherited = getattr(kind, name, None) is getattr(Callback, name) and short not in callback.__dict__
    return not (inherited and getattr(kind, short, None) is getattr(Callback, short))


class LambdaCallback(Callback):
    """Functions as callbacks: LambdaCallback(on_epoch_end=lambda epoch, logs: ...)."""

    def __init__(
        self,
        on_epoch_begin: Any = None,
        on_epoch_end: Any = None,
        on_train_begin: Any = None,
        on_train_end: Any = None,
        on_train_batch_begin: Any = None,
        on_train_batch_end: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__()
        given = {
            "on_epoch_begin": on_epoch_begin,
            "on_epoch_end": on_epoch_end,
            "on_train_begin": on_train_begin,
            "on_train_end": on_train_end,
            "on_train_batch_begin": on_train_batch_begin,
            "on_train_batch_end": on_train_batch_end,
            **kwargs,
        }
        for name, function in given.items():
            if function is not None:
                setattr(self, name, function)


class Monitor(Callback):
    """The base of callbacks that watch one metric.

    `mode` "auto" takes larger accuracies and smaller losses as better.
    """

    def __init__(self, monitor: str, mode: str, min_delta: float = 0.0) -> None:
        super().__init__()
        if mode not in ("auto", "min", "max"):
            raise ValueError(f"`mode` must be 'auto', 'min' or 'max'. Received: mode={mode!r}")
        self.monitor, self.mode, self.min_delta = monitor, mode, abs(min_delta)
        self.larger = mode == "max" or (
            mode == "auto" and any(s in monitor for s in ("acc", "auc", "precision", "recall", "f1"))
        )
        self.best = -np.inf if self.larger else np.inf

    def improved(self, value: float) -> bool:
        """Whether the value is better than the best by min_delta."""
        return value - self.min_delta > self.best if self.larger else value + self.min_delta < self.best

    def value(self, logs: Any) -> float | None:
        """The watched metric; says once that it is missing."""
        found = (logs or {}).get(self.monitor)
        if found is None:
            import warnings

            warnings.warn(
                f"{type(self).__name__}: the metric {self.monitor!r} is not available. Available: "
                f"{', '.join(logs or {})}",
                stacklevel=3,
            )
        return found


class EarlyStopping(Monitor):
    """Stops when a metric has not improved for `patience` epochs."""

    def __init__(
        self,
        monitor: str = "val_loss",
        min_delta: float = 0,
        patience: int = 0,
        verbose: int = 0,
        mode: str = "auto",
        baseline: float | None = None,
        restore_best_weights: bool = False,
        start_from_epoch: int = 0,
    ) -> None:
        super().__init__(monitor, mode, min_delta)
        self.patience, self.verbose, self.baseline = patience, verbose, baseline
        self.restore_best_weights, self.start_from_epoch = restore_best_weights, start_from_epoch
        self.wait = self.stopped_epoch = self.best_epoch = 0
        self.best_weights: Any = None

    def on_train_begin(self, logs: Any = None) -> None:
        self.wait = self.stopped_epoch = self.best_epoch = 0
        self.best_weights = None
        self.best = -np.inf if self.larger else np.inf

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        value = self.value(logs)
        if value is None or epoch < self.start_from_epoch:
            return
        if self.restore_best_weights and self.best_weights is None:
            self.best_weights, self.best_epoch = self.model.get_weights(), epoch
        self.wait += 1
        if self.improved(value):
            self.best, self.best_epoch = value, epoch
            if self.restore_best_weights:
                self.best_weights = self.model.get_weights()
            if self.baseline is None or (value > self.baseline if self.larger else value < self.baseline):
                self.wait = 0
            return
        if self.wait >= self.patience and epoch > 0:
            self.stopped_epoch = epoch
            self.model.stop_training = True

    def on_train_end(self, logs: Any = None) -> None:
        if self.stopped_epoch and self.verbose:
            print(f"Epoch {self.stopped_epoch + 1}: early stopping")
        if self.restore_best_weights and self.best_weights is not None:
            if self.verbose:
                print(f"Restoring model weights from the end of the best epoch: {self.best_epoch + 1}.")
            self.model.set_weights(self.best_weights)


class ModelCheckpoint(Monitor):
    """Saves the model, or its weights, at the end of each epoch or of the best.

    `filepath` may hold {epoch} and metrics.
    """

    def __init__(
        self,
        filepath: Any,
        monitor: str = "val_loss",
        verbose: int = 0,
        save_best_only: bool = False,
        save_weights_only: bool = False,
        mode: str = "auto",
        save_freq: Any = "epoch",
        initial_value_threshold: float | None = None,
    ) -> None:
        super().__init__(monitor, mode)
        self.filepath, self.verbose = str(filepath), verbose
        self.save_best_only, self.save_weights_only, self.save_freq = save_best_only, save_weights_only, save_freq
        if initial_value_threshold is not None:
            self.best = initial_value_threshold
        if save_freq != "epoch" and not isinstance(save_freq, int):
            raise ValueError(f"Unrecognized save_freq: {save_freq}. Expected save_freq are 'epoch' or integer values")
        self._batches = 0

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self._batches += 1
        if isinstance(self.save_freq, int) and self._batches % self.save_freq == 0:
            self._save(0, logs)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if self.save_freq == "epoch":
            self._save(epoch, logs)

    def _save(self, epoch: int, logs: Any) -> None:
        if self.save_best_only:
            value = self.value(logs)
            if value is None or not self.improved(value):
                return
            self.best = value
        path = self.filepath.format(epoch=epoch + 1, **dict(logs or {}))
        (self.model.save_weights if self.save_weights_only else self.model.save)(path)
        if self.verbose:
            print(f"Epoch {epoch + 1}: saving model to {path}")


class LearningRateScheduler(Callback):
    """Sets the learning rate at the start of each epoch: schedule(epoch, rate) -> rate."""

    def __init__(self, schedule: Any, verbose: int = 0) -> None:
        super().__init__()
        self.schedule, self.verbose = schedule, verbose

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        rate = float(self.model.optimizer.learning_rate_variable.numpy())
        try:
            rate = self.schedule(epoch, rate)
        except TypeError:
            rate = self.schedule(epoch)
        if not isinstance(rate, float | np.floating):
            raise ValueError(f"The output of the `schedule` function should be a float. Got: {rate}")
        self.model.optimizer.learning_rate = float(rate)
        if self.verbose:
            print(f"\nEpoch {epoch + 1}: LearningRateScheduler setting learning rate to {rate}.")

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if logs is not None:
            logs["learning_rate"] = float(self.model.optimizer.learning_rate_variable.numpy())


class ReduceLROnPlateau(Monitor):
    """Multiplies the learning rate by `factor` when a metric has not improved for `patience` epochs."""

    def __init__(
        self,
        monitor: str = "val_loss",
        factor: float = 0.1,
        patience: int = 10,
        verbose: int = 0,
        mode: str = "auto",
        min_delta: float = 1e-4,
        cooldown: int = 0,
        min_lr: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(monitor, mode, min_delta)
        if factor >= 1.0:
            raise ValueError(f"ReduceLROnPlateau does not support a factor >= 1.0. Got factor={factor}")
        self.factor, self.patience, self.verbose, self.cooldown, self.min_lr = (
            factor,
            patience,
            verbose,
            cooldown,
            min_lr,
        )
        self.wait = self.cooldown_counter = 0

    def on_train_begin(self, logs: Any = None) -> None:
        self.wait = self.cooldown_counter = 0
        self.best = -np.inf if self.larger else np.inf

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        value = self.value(logs)
        if logs is not None:
            logs["learning_rate"] = float(self.model.optimizer.learning_rate_variable.numpy())
        if value is None:
            return
        if self.cooldown_counter > 0:
            self.cooldown_counter -= 1
            self.wait = 0
        if self.improved(value):
            self.best, self.wait = value, 0
        elif self.cooldown_counter <= 0:
            self.wait += 1
            old = float(self.model.optimizer.learning_rate_variable.numpy())
            if self.wait >= self.patience and old > self.min_lr:
                self.model.optimizer.learning_rate = max(old * self.factor, self.min_lr)
                self.cooldown_counter, self.wait = self.cooldown, 0
                if self.verbose:
                    print(
                        f"\nEpoch {epoch + 1}: ReduceLROnPlateau reducing learning rate to "
                        f"{max(old * self.factor, self.min_lr)}."
                    )


class TerminateOnNaN(Callback):
    """Stops when the loss is NaN or infinite."""

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        loss = (logs or {}).get("loss")
        if loss is not None and not np.isfinite(loss):
            print(f"Batch {batch}: Invalid loss, terminating training")
            self.model.stop_training = True


class CSVLogger(Callback):
    """Writes the metrics of each epoch to a CSV file."""

    def __init__(self, filename: Any, separator: str = ",", append: bool = False) -> None:
        super().__init__()
        self.filename, self.separator, self.append = filename, separator, append
        self._keys: list[str] | None = None

    def on_train_begin(self, logs: Any = None) -> None:
        if not self.append:
            with open(self.filename, "w"):
                pass

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        logs = logs or {}
        with open(self.filename, "a") as file:
            if self._keys is None:
                self._keys = sorted(logs)
                if not self.append:
                    file.write(self.separator.join(["epoch", *self._keys]) + "\n")
            file.write(self.separator.join(str(x) for x in [epoch, *(logs.get(k, "NA") for k in self._keys)]) + "\n")
