"""compile, fit, evaluate, predict. Loss and metrics stay on the device until somebody looks."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from ..autodiff.tape import GradientTape
from ..function.trace import TensorSpec, flatten, map_structure

from ..ops.movement import dimension
from . import losses as losses_module
from . import metrics as metrics_module
from . import optimizers
from .callbacks import CallbackList, History, LazyLogs
from .data import make_data, split_validation, to_array, unpack_x_y_sample_weight
from .engine import Engine, StepSpec

__all__ = ["Trainer"]


class Trainer:
    """What makes a layer a model that trains."""

    def __init__(self) -> None:
        self.optimizer: Any = None
        self.compiled = False
        self.stop_training = False
        self.history: Any = None
        self._engine: Engine | None = None
        self._loss_argument: Any = None
        self._metric_arguments: Any = None
        self._loss_objects: list[Any] = []
        self._metric_objects: list[Any] | None = None
        self._loss_weights: Any = None
        self._loss_tracker = metrics_module.Mean(name="loss")
        self._shuffler = np.random.default_rng()

    # -- compile --------------------------------------------------------------------------------------------------------

    def compile(self, optimizer: Any = "rmsprop", loss: Any = None, loss_weights: Any = None, metrics: Any = None, weighted_metrics: Any = None,
                run_eagerly: bool = False, steps_per_execution: int = 1, jit_compile: Any = "auto", auto_scale_loss: bool = True) -> None:
        """Says how to train: optimizer, loss (one, or one per output), metrics."""
        self.optimizer = optimizers.get(optimizer)
        self._loss_argument, self._loss_weights = loss, loss_weights
        self._loss_objects = [losses_module.as_loss(x) for x in (flatten(loss) if isinstance(loss, list | tuple | dict) else [loss])]
        self._metric_arguments = metrics if metrics is not None else []
        self._metric_objects = None
        self.run_eagerly = run_eagerly
        self.compiled = True
        self._reset_engine()

    def _reset_engine(self) -> None:
        if self._engine is not None:
            self._engine.reset()

    @property
    def engine(self) -> Engine:
        """The traced and compiled steps."""
        if self._engine is None:
            self._engine = Engine(self)
        return self._engine

    @property
    def loss(self) -> Any:
        """What `compile` was given as loss."""
        return self._loss_argument

    @property
    def metrics(self) -> list[Any]:
        """The loss tracker and the metrics; those in `compile` are made when the first batch shows the shapes."""
        return [self._loss_tracker, *(self._metric_objects or [])]

    @property
    def metrics_names(self) -> list[str]:
        """The names of the metrics."""
        return [m.name for m in self.metrics]

    def reset_metrics(self) -> None:
        """Starts all metrics again."""
        for m in self.metrics:
            m.reset_state()

    # -- steps, which may be overridden ---------------------------------------------------------------------------------

    def train_step(self, data: Any) -> dict[str, Any]:
        """One optimizer step on (x, y, sample_weight): returns the metrics. Override it for another way to train."""
        x, y, sample_weight = unpack_x_y_sample_weight(data)
        with GradientTape() as tape:
            y_pred = self(x, training=True)  # type: ignore[operator]
            loss = self.compute_loss(x, y, y_pred, sample_weight, training=True)
        weights = self.trainable_weights  # type: ignore[attr-defined]
        if not weights:
            raise ValueError(f"model {self.name!r} has no trainable weights to update")  # type: ignore[attr-defined]
        self.optimizer.apply_gradients(zip(tape.gradient(loss, weights), weights, strict=True))
        self._loss_tracker.update_state(loss, sample_weight=_batch_size(x))
        return self.compute_metrics(x, y, y_pred, sample_weight)

    def test_step(self, data: Any) -> dict[str, Any]:
        """Loss and metrics on (x, y, sample_weight), nothing updated."""
        x, y, sample_weight = unpack_x_y_sample_weight(data)
        y_pred = self(x, training=False)  # type: ignore[operator]
        loss = self.compute_loss(x, y, y_pred, sample_weight, training=False)
        self._loss_tracker.update_state(loss, sample_weight=_batch_size(x))
        return self.compute_metrics(x, y, y_pred, sample_weight)

    def predict_step(self, data: Any) -> Any:
        """The outputs for x."""
        x, _, _ = unpack_x_y_sample_weight(data)
        return self(x, training=False)  # type: ignore[operator]

    def compute_loss(self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True) -> Any:
        """The loss of a batch with the regularization losses."""
        total: Any = None
        outputs = flatten(y_pred)
        if any(f is not None for f in self._loss_objects):
            targets = flatten(y) if y is not None else []
            if len(self._loss_objects) not in (1, len(outputs)) or len(targets) != len(outputs):
                raise ValueError(f"The model has {len(outputs)} outputs, {len(targets)} targets and {len(self._loss_objects)} losses: there must be one target and one loss per output")
            fns = self._loss_objects * len(outputs) if len(self._loss_objects) == 1 else self._loss_objects
            factors = flatten(self._loss_weights) if self._loss_weights is not None else [1.0] * len(outputs)
            weights = flatten(sample_weight) if isinstance(sample_weight, list | dict) else [sample_weight] * len(outputs)
            for fn, t, p, w, factor in zip(fns, targets, outputs, weights, factors, strict=True):
                if fn is None:
                    continue
                part = fn(t, p, w)
                part = part if factor == 1.0 else part * float(factor)
                total = part if total is None else total + part
        for extra in self.losses:  # type: ignore[attr-defined]
            total = extra if total is None else total + extra
        self._clear_losses()  # type: ignore[attr-defined]
        if total is None:
            raise ValueError("No loss to compute. Provide a `loss` argument in `compile()`.")
        return total

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> dict[str, Any]:
        """Updates the metrics and returns their results."""
        self._make_metrics(y, y_pred)
        outputs, targets = flatten(y_pred), flatten(y) if y is not None else []
        for m, i in zip(self._metric_objects or [], self._metric_outputs, strict=True):
            if i is not None:
                m.update_state(targets[i], outputs[i])
        return self.get_metrics_result()

    def get_metrics_result(self) -> dict[str, Any]:
        """The results of all metrics by name."""
        return {m.name: m.result() for m in self.metrics}

    def _make_metrics(self, y: Any, y_pred: Any) -> None:
        if self._metric_objects is not None:
            return
        from ..ops.dispatch import replaced

        outputs, targets = flatten(y_pred), flatten(y) if y is not None else []
        given = self._metric_arguments
        per_output = [given] if len(outputs) == 1 or not any(isinstance(g, list) for g in _values(given)) else _values(given)
        made, where = [], []
        for i, names in enumerate(per_output):
            for m in names if isinstance(names, list | tuple) else [names]:
                with replaced(()):
                    made.append(metrics_module.resolve(m, targets[i], outputs[i], self._loss_objects[min(i, len(self._loss_objects) - 1)]))
                where.append(i)
        self._metric_objects, self._metric_outputs = made, where

    # -- running steps --------------------------------------------------------------------------------------------------

    def _run(self, name: str, parts: tuple[Any, ...]) -> dict[str, Any]:
        """One step on arrays."""
        inputs: dict[str, Any] = {}
        for part, structure in zip(("x", "y", "sample_weight"), parts, strict=True):
            if structure is None:
                continue
            leaves = flatten(structure)
            keys = list(structure) if isinstance(structure, dict) else [str(i) for i in range(len(leaves))]
            inputs.update({part if len(leaves) == 1 else f"{part}_{k}": a for k, a in zip(keys, leaves, strict=True)})
        if name == "train_step" and not self.optimizer.scheduled:
            inputs["learning_rate"] = self.optimizer.learning_rate_variable.host()
        return self.engine.run(name, inputs)

    def _prepare(self, name: str, specs: tuple[Any, ...]) -> None:
        """Traces what is needed; training brings the steps that a file should hold with it."""
        x, y, w = specs
        if not self.built:  # type: ignore[has-type]
            self._maybe_build((map_structure(lambda s: _Blank(s), x),))  # type: ignore[attr-defined]
        key = tuple(w.trainable for w in self.weights) + tuple(layer.trainable for layer in self._flatten_layers())  # type: ignore[attr-defined]
        engine = self.engine
        if name != "predict":
            if not self.compiled:
                raise ValueError(f"You must call `compile()` before calling `{'fit' if name == 'train_step' else 'evaluate'}()`.")
            if name == "train_step":
                engine.prepare("train_step", StepSpec(x, y, w), key)
            if name == "evaluate" or not engine.has("evaluate"):
                engine.prepare("evaluate", StepSpec(x, y, w), key)
        if name == "predict" or not engine.has("predict"):
            engine.prepare("predict", StepSpec(x), key)

    def train_on_batch(self, x: Any, y: Any = None, sample_weight: Any = None, class_weight: Any = None, return_dict: bool = False) -> Any:
        """One optimizer step on one batch: the metrics since they were last reset."""
        return self._on_batch("train_step", x, y, sample_weight, class_weight, return_dict)

    def test_on_batch(self, x: Any, y: Any = None, sample_weight: Any = None, return_dict: bool = False) -> Any:
        """Loss and metrics on one batch."""
        return self._on_batch("evaluate", x, y, sample_weight, None, return_dict)

    def predict_on_batch(self, x: Any) -> Any:
        """The outputs for one batch, as arrays."""
        return self.predict(x, batch_size=len(flatten(map_structure(to_array, x))[0]), verbose=0)

    def _on_batch(self, name: str, x: Any, y: Any, sample_weight: Any, class_weight: Any, return_dict: bool) -> Any:
        data = make_data(x, y, sample_weight, 1 << 62, class_weight=class_weight)
        self._prepare(name, data.specs())
        logs = {k: float(v) for k, v in self._run(name, next(iter(data.batches()))).items()}
        return logs if return_dict else (list(logs.values()) if len(logs) > 1 else next(iter(logs.values())))

    # -- loops ----------------------------------------------------------------------------------------------------------

    def fit(self, x: Any = None, y: Any = None, batch_size: int | None = None, epochs: int = 1, verbose: Any = "auto", callbacks: Any = None,
            validation_split: float = 0.0, validation_data: Any = None, shuffle: bool = True, class_weight: Any = None, sample_weight: Any = None,
            initial_epoch: int = 0, steps_per_epoch: int | None = None, validation_steps: int | None = None,
            validation_batch_size: int | None = None, validation_freq: int = 1) -> History:
        """Trains for a number of epochs. Returns the History of losses and metrics.

        Raises ValueError for data that does not fit (sizes that differ, nothing to train on), InvalidArgumentError for labels out of range.
        """
        loop = self._fit_loop(x, y, batch_size, epochs, verbose, callbacks, validation_split, validation_data, shuffle, class_weight, sample_weight,
                              initial_epoch, steps_per_epoch, validation_steps, validation_batch_size, validation_freq)
        try:
            while True:
                next(loop)
        except StopIteration as done:
            return done.value  # type: ignore[no-any-return]

    async def fit_async(self, *args: Any, **kwargs: Any) -> History:
        """`fit`, giving way to the event loop about every 50 ms: for pages whose Python may not block."""
        import asyncio
        import inspect

        bound = inspect.signature(self.fit).bind(*args, **kwargs)
        bound.apply_defaults()
        loop = self._fit_loop(**bound.arguments)
        last = time.monotonic()
        while True:
            try:
                next(loop)
            except StopIteration as done:
                return done.value  # type: ignore[no-any-return]
            if time.monotonic() - last > 0.05:
                await asyncio.sleep(0)
                last = time.monotonic()

    def _fit_loop(self, x: Any, y: Any, batch_size: Any, epochs: int, verbose: Any, callbacks: Any, validation_split: float, validation_data: Any,
                  shuffle: bool, class_weight: Any, sample_weight: Any, initial_epoch: int, steps_per_epoch: Any, validation_steps: Any,
                  validation_batch_size: Any, validation_freq: int) -> Iterator[None]:
        if not self.compiled:
            raise ValueError("You must call `compile()` before calling `fit()`.")
        if validation_split and validation_data is None:
            (x, y, sample_weight), validation_data = split_validation(x, y, sample_weight, validation_split)
        data = make_data(x, y, sample_weight, batch_size, steps_per_epoch, class_weight)
        validation = None
        if validation_data is not None:
            parts = unpack_x_y_sample_weight(tuple(validation_data)) if isinstance(validation_data, list | tuple) else (validation_data, None, None)
            validation = make_data(*parts, validation_batch_size or batch_size, validation_steps)
        self._prepare("train_step", data.specs())
        if validation is not None:
            self._prepare("evaluate", validation.specs())
        self.stop_training = False
        history = callbacks if isinstance(callbacks, CallbackList) else CallbackList(callbacks, self, verbose, epochs, data.num_batches)
        history.on_train_begin()
        logs: dict[str, Any] = {}
        for epoch in range(initial_epoch, epochs):
            self.reset_metrics()
            history.on_epoch_begin(epoch)
            outputs: dict[str, Any] = {}
            for step, parts in enumerate(data.batches(shuffle, self._shuffler)):
                history.on_train_batch_begin(step)
                outputs = self._run("train_step", parts)
                history.on_train_batch_end(step, LazyLogs(outputs))
                yield
                if self.stop_training:
                    break
            if not outputs:
                raise ValueError("The data is empty: the iterable gave no batch. Expected at least one.")
            logs = {k: float(v) for k, v in outputs.items()}
            if validation is not None and (epoch + 1) % validation_freq == 0:
                for found in self._evaluate_loop(validation, history):
                    logs.update({f"val_{k}": v for k, v in (found or {}).items()})
                    yield
            history.on_epoch_end(epoch, logs)
            if self.stop_training:
                break
        history.on_train_end(logs)
        self.history = history.history
        return history.history

    def _evaluate_loop(self, data: Any, callbacks: Any) -> Iterator[dict[str, float] | None]:
        self.reset_metrics()
        callbacks.on_test_begin()
        outputs: dict[str, Any] = {}
        for step, parts in enumerate(data.batches()):
            callbacks.on_test_batch_begin(step)
            outputs = self._run("evaluate", parts)
            callbacks.on_test_batch_end(step, LazyLogs(outputs))
            yield None
        logs = {k: float(v) for k, v in outputs.items()}
        callbacks.on_test_end(logs)
        yield logs

    def evaluate(self, x: Any = None, y: Any = None, batch_size: int | None = None, verbose: Any = "auto", sample_weight: Any = None,
                 steps: int | None = None, callbacks: Any = None, return_dict: bool = False, **kwargs: Any) -> Any:
        """Loss and metrics over data: a number, a list, or a dict by name."""
        data = make_data(x, y, sample_weight, batch_size, steps)
        self._prepare("evaluate", data.specs())
        history = CallbackList(callbacks, self, verbose, 1, data.num_batches, testing=True)
        logs: dict[str, float] = {}
        for found in self._evaluate_loop(data, history):
            logs = found or logs
        if return_dict:
            return logs
        return list(logs.values()) if len(logs) > 1 else next(iter(logs.values()))

    def predict(self, x: Any, batch_size: int | None = None, verbose: Any = "auto", steps: int | None = None, callbacks: Any = None) -> Any:
        """The outputs for x, as arrays."""
        data = make_data(x, None, None, batch_size, steps)
        self._prepare("predict", (data.specs()[0], None, None))
        history = CallbackList(callbacks, self, verbose, 1, data.num_batches, testing=True)
        history.on_predict_begin()
        collected: list[list[Any]] = []
        for step, parts in enumerate(data.batches()):
            history.on_predict_batch_begin(step)
            outputs = self._run("predict", (parts[0], None, None))
            collected.append([t.host() for t in outputs.values()])
            history.on_predict_batch_end(step, {})
        history.on_predict_end()
        columns = [np.concatenate(c) for c in zip(*collected, strict=True)]
        structure = self._result_structure("predict")
        return _fill(structure, columns)

    def _result_structure(self, name: str) -> Any:
        return self.engine.results[name]


class _Blank:
    """Stands for a tensor when a model is built from specs: a shape and a dtype."""

    def __init__(self, spec: TensorSpec) -> None:
        self.sizes = tuple(spec.shape.as_list())
        self.dtype = spec.dtype


def _values(structure: Any) -> list[Any]:
    return list(structure.values()) if isinstance(structure, dict) else list(structure)


def _fill(structure: Any, columns: list[Any]) -> Any:
    from ..function.trace import pack

    return pack(structure, columns)


def _batch_size(x: Any) -> Any:
    return dimension(flatten(x)[0].sizes[0], "float32")


