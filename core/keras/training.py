"""compile, fit, evaluate, predict. Loss and metrics stay on the device until somebody looks."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from ..autodiff.tape import GradientTape
from ..eager.tensor import convert_to_tensor
from ..function.trace import TensorSpec, flatten, map_structure, pack
from ..ops.movement import dimension
from . import metrics as metrics_module
from . import optimizers
from .callbacks import CallbackList, History
from .compiled import CompiledLosses, CompiledMetrics, CompileMetrics
from .data import Batch, make_data, unpack_x_y_sample_weight
from .engine import METHODS, Engine, StepSpec, number_leaves, output_names
from .loops import evaluate_loop, fit_loop, to_numbers
from .structure import Structure

__all__ = ["Trainer"]


class Trainer:
    """What makes a layer a model that trains."""

    def __init__(self) -> None:
        self.optimizer: Any = None
        self.compiled = False
        self.stop_training = False
        self.run_eagerly = False
        self.history: Any = None
        self._engine: Engine | None = None
        self._settings: dict[str, Any] = {}
        self._losses_of_outputs = CompiledLosses(None, None)
        self._compile_metrics = CompileMetrics(CompiledMetrics(None, None), self)
        self._loss_tracker = metrics_module.Mean(name="loss")

    # -- compile ------------------------------------------------------------------------------------------------------

    def compile(
        self,
        optimizer: Any = "rmsprop",
        loss: Any = None,
        loss_weights: Any = None,
        metrics: Any = None,
        weighted_metrics: Any = None,
        run_eagerly: bool = False,
        steps_per_execution: int = 1,
        jit_compile: Any = "auto",
        auto_scale_loss: bool = True,
    ) -> None:
        """Says how to train.

        Args:
            optimizer: a name or an Optimizer.
            loss: a name, function or Loss; one per output as a list or a dict by output name.
            loss_weights: factors of the losses, in the same form.
            metrics: names, functions or Metrics; for several outputs one list each.
            weighted_metrics: the same, but they see sample and class weights.
            run_eagerly: steps run op by op in Python, on the host: slow, for debugging.
            steps_per_execution, jit_compile, auto_scale_loss: accepted; every step is compiled here.
        """
        self.optimizer = optimizers.get(optimizer)
        self._settings = {
            "loss": loss,
            "loss_weights": loss_weights,
            "metrics": metrics,
            "weighted_metrics": weighted_metrics,
        }
        self._losses_of_outputs = CompiledLosses(loss, loss_weights)
        self._compile_metrics = CompileMetrics(CompiledMetrics(metrics, weighted_metrics), self)
        self.run_eagerly = bool(run_eagerly)
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

    def _structure(self) -> Structure:
        """The layers and metrics as they are now."""
        engine = self.engine
        if engine.structure is None or not (engine.looked or engine.structure.holds()):
            engine.structure = Structure(self)
        return engine.structure

    @property
    def loss(self) -> Any:
        """What `compile` was given as loss."""
        return self._settings.get("loss")

    @property
    def metrics(self) -> list[Any]:
        """The loss tracker, the metrics of `compile` as one, trackers of several losses, and metrics that layers
        hold."""
        found: list[Any] = []
        if self.compiled:
            found = [self._loss_tracker, *self._losses_of_outputs.trackers]
            if (
                self._compile_metrics.compiled.given is not None
                or self._compile_metrics.compiled.given_weighted is not None
            ):
                found.insert(1, self._compile_metrics)
        return found + [m for m in self._structure().metrics if not any(m is f for f in found)]

    @property
    def metrics_names(self) -> list[str]:
        """The names of the metrics."""
        return [m.name for m in self.metrics]

    def reset_metrics(self) -> None:
        """Starts all metrics again."""
        for m in self.metrics:
            m.reset_state()

    # -- steps, which may be overridden -------------------------------------------------------------------------------

    def train_step(self, data: Any) -> dict[str, Any]:
        """One optimizer step on (x, y, sample_weight): returns the metrics. Override it for another way to train."""
        x, y, sample_weight = unpack_x_y_sample_weight(data)
        with GradientTape() as tape:
            y_pred = self(x, training=True)  # type: ignore[operator]
            loss = self.compute_loss(x=x, y=y, y_pred=y_pred, sample_weight=sample_weight, training=True)
        weights = self.trainable_weights  # type: ignore[attr-defined]
        if not weights:
            raise ValueError(f"model {self.name!r} has no trainable weights to update")  # type: ignore[attr-defined]
        self._loss_tracker.update_state(loss, sample_weight=_batch_size(x))
        self.optimizer.apply_gradients(zip(tape.gradient(loss, weights), weights, strict=True))
        return self.compute_metrics(x, y, y_pred, sample_weight=sample_weight)

    def test_step(self, data: Any) -> dict[str, Any]:
        """Loss and metrics on (x, y, sample_weight), nothing updated."""
        x, y, sample_weight = unpack_x_y_sample_weight(data)
        y_pred = self(x, training=False)  # type: ignore[operator]
        loss = self.compute_loss(x=x, y=y, y_pred=y_pred, sample_weight=sample_weight, training=False)
        self._loss_tracker.update_state(loss, sample_weight=_batch_size(x))
        return self.compute_metrics(x, y, y_pred, sample_weight=sample_weight)

    def predict_step(self, data: Any) -> Any:
        """The outputs for x."""
        x, _, _ = unpack_x_y_sample_weight(data)
        return self(x, training=False)  # type: ignore[operator]

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Any:
        """The loss of a batch with the regularization losses."""
        total = self._losses_of_outputs(
            y, y_pred, sample_weight, self._names_of(y_pred), _batch_size(x if x is not None else y_pred)
        )
        for extra in self.losses:  # type: ignore[attr-defined]
            total = extra if total is None else total + extra
        if total is None:
            raise ValueError(
                "No loss to compute. Provide a `loss` argument in `compile()`, or call `add_loss` in a layer."
            )
        return total

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> dict[str, Any]:
        """Updates the metrics and returns their results."""
        self._compile_metrics.update_state(y, y_pred, sample_weight=sample_weight)
        return self.get_metrics_result()

    def get_metrics_result(self) -> dict[str, Any]:
        """The results of all metrics by name."""
        made: dict[str, Any] = {}
        for m in self.metrics:
            result = m.result()
            made.update(result if isinstance(result, dict) else {m.name: result})
        return made

    def _names_of(self, y_pred: Any) -> list[str]:
        """The names of the outputs: those of the layers that make them, if the model knows."""
        names = getattr(self, "output_names", None)
        count = len(flatten(y_pred))
        return list(names) if names is not None and len(names) == count else [f"output_{i + 1}" for i in range(count)]

    # -- running steps ------------------------------------------------------------------------------------------------

    def _run(self, name: str, batch: Batch) -> dict[str, Any]:
        """One step on a batch."""
        if self.run_eagerly:
            return self._run_eagerly(name, batch.parts)
        inputs, again = StepSpec.inputs(batch.parts), batch.again
        settings = {}
        if name == "train_step" and not self.optimizer.scheduled:
            settings["learning_rate"] = inputs["learning_rate"] = self.optimizer.learning_rate_variable.host()
        return self.engine.run(
            name, inputs, None if again is None else lambda: {**StepSpec.inputs(again()), **settings}
        )

    def _run_eagerly(self, name: str, parts: tuple[Any, ...]) -> dict[str, Any]:
        data = tuple(None if p is None else map_structure(convert_to_tensor, p) for p in parts)
        while len(data) > 1 and data[-1] is None:
            data = data[:-1]
        result = getattr(self, METHODS[name])(data if name != "predict" or len(data) > 1 else data[0])
        if name == "predict":
            self.engine.results[name] = number_leaves(result)
        return dict(zip(output_names(result), flatten(result), strict=True))

    def _prepare(self, name: str, specs: tuple[Any, ...]) -> None:
        """Traces what is needed; training brings the steps that a file should hold with it."""
        x, y, w = specs
        if name != "predict" and not self.compiled:
            method = "fit" if name == "train_step" else "evaluate"
            raise ValueError(f"You must call `compile()` before calling `{method}()`.")
        if not self.built:  # type: ignore[attr-defined]
            self._maybe_build((map_structure(lambda s: _Blank(s), x),))  # type: ignore[attr-defined]
        if self.run_eagerly:
            return
        key, engine = self._structure().key, self.engine
        if name == "train_step":
            engine.prepare("train_step", StepSpec(x, y, w), key)
        if name == "evaluate" or (name != "predict" and not engine.has("evaluate")):
            engine.prepare("evaluate", StepSpec(x, y, w), key)
        if name == "predict" or not engine.has("predict"):
            engine.prepare("predict", StepSpec(x), key)

    def train_on_batch(
        self, x: Any, y: Any = None, sample_weight: Any = None, class_weight: Any = None, return_dict: bool = False
    ) -> Any:
        """One optimizer step on one batch: its loss and metrics."""
        return self._on_batch("train_step", x, y, sample_weight, class_weight, return_dict)

    def test_on_batch(self, x: Any, y: Any = None, sample_weight: Any = None, return_dict: bool = False) -> Any:
        """Loss and metrics on one batch."""
        return self._on_batch("evaluate", x, y, sample_weight, None, return_dict)

    def predict_on_batch(self, x: Any) -> Any:
        """The outputs for one batch, as arrays."""
        return self.predict(x, batch_size=1 << 62, verbose=0)

    def _on_batch(self, name: str, x: Any, y: Any, sample_weight: Any, class_weight: Any, return_dict: bool) -> Any:
        kind = None if class_weight is not None or self.run_eagerly else self._kind(x, y, sample_weight)
        engine = self.engine
        if kind is not None and engine.usual.get(name) == kind:
            engine.looked = True
            try:                                        # arrays as they are: such ones were checked before
                return self._batch_answer(name, Batch((x, y, None), None), return_dict)
            finally:
                engine.looked = False
        data = make_data(x, y, sample_weight, 1 << 62, class_weight=class_weight)
        self._prepare(name, data.specs())
        if kind is not None:
            engine.usual[name] = kind
        return self._batch_answer(name, Batch(next(iter(data.batches())).parts, None), return_dict)

    def _batch_answer(self, name: str, batch: Batch, return_dict: bool) -> Any:
        self.reset_metrics()
        return self._answer(to_numbers(self._run(name, batch)), return_dict)

    def _kind(self, x: Any, y: Any, sample_weight: Any) -> Any:
        """What a step on x and y was prepared for, if both are arrays that need no conversion; else None."""
        if sample_weight is not None or x.__class__ is not np.ndarray or y.__class__ is not np.ndarray:
            return None
        if x.dtype.kind not in "fiub" or y.dtype.kind not in "fiub" or np.float64 in (x.dtype, y.dtype):
            return None
        if not x.ndim or not y.ndim or len(x) != len(y) or not len(x):
            return None
        return x.dtype, x.shape[1:], y.dtype, y.shape[1:], self._structure().number

    def _answer(self, logs: dict[str, Any], return_dict: bool) -> Any:
        """What `evaluate` returns: a dict, or a list in the order of the metrics, or the one number."""
        if return_dict:
            return logs
        names = [
            n for m in self.metrics for n in ([s.name for s in m.metrics] if m is self._compile_metrics else [m.name])
        ]
        order = [n for n in names if n in logs]
        values = [logs[n] for n in [*order, *sorted(k for k in logs if k not in order)]]
        return values if len(values) > 1 else values[0]

    # -- loops --------------------------------------------------------------------------------------------------------

    def fit(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose: Any = "auto",
        callbacks: Any = None,
        validation_split: float = 0.0,
        validation_data: Any = None,
        shuffle: bool = True,
        class_weight: Any = None,
        sample_weight: Any = None,
        initial_epoch: int = 0,
        steps_per_epoch: int | None = None,
        validation_steps: int | None = None,
        validation_batch_size: int | None = None,
        validation_freq: int = 1,
    ) -> History:
        """Trains for a number of epochs. Returns the History of losses and metrics.

        Raises:
            ValueError: for data that does not fit: sizes that differ, nothing to train on.
            InvalidArgumentError: for labels out of range.
        """
        loop = fit_loop(
            self,
            x,
            y,
            batch_size,
            epochs,
            verbose,
            callbacks,
            validation_split,
            validation_data,
            shuffle,
            class_weight,
            sample_weight,
            initial_epoch,
            steps_per_epoch,
            validation_steps,
            validation_batch_size,
            validation_freq,
        )
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
        loop = fit_loop(self, **bound.arguments)
        last = time.monotonic()
        while True:
            try:
                next(loop)
            except StopIteration as done:
                return done.value  # type: ignore[no-any-return]
            if time.monotonic() - last > 0.05:
                await asyncio.sleep(0)
                last = time.monotonic()

    def evaluate(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        verbose: Any = "auto",
        sample_weight: Any = None,
        steps: int | None = None,
        callbacks: Any = None,
        return_dict: bool = False,
    ) -> Any:
        """Loss and metrics over data: a number, a list, or a dict by name."""
        data = make_data(x, y, sample_weight, batch_size, steps)
        self._prepare("evaluate", data.specs())
        history = CallbackList(
            callbacks, False, True, self, testing=True, verbose=verbose, epochs=1, steps=data.num_batches
        )
        logs: dict[str, float] = {}
        for found in evaluate_loop(self, data, history):
            logs = found or logs
        return self._answer(logs, return_dict)

    def predict(
        self,
        x: Any,
        batch_size: int | None = None,
        verbose: Any = "auto",
        steps: int | None = None,
        callbacks: Any = None,
    ) -> Any:
        """The outputs for x, as arrays."""
        data = make_data(x, None, None, batch_size, steps)
        self._prepare("predict", (data.specs()[0], None, None))
        history = CallbackList(
            callbacks, False, True, self, testing=True, verbose=verbose, epochs=1, steps=data.num_batches
        )
        history.on_predict_begin()
        collected: list[list[Any]] = []
        for step, batch in enumerate(data.batches()):
            history.on_predict_batch_begin(step)
            outputs = self._run("predict", batch if batch.again else Batch((batch.parts[0], None, None), None))
            collected.append([t.host() for t in outputs.values()])
            history.on_predict_batch_end(step, {})
        history.on_predict_end()
        if not collected:
            raise ValueError("The data is empty: the iterable gave no batch. Expected at least one.")
        columns = [np.concatenate(c) if c[0].ndim else np.stack(c) for c in zip(*collected, strict=True)]
        return pack(self.engine.results["predict"], columns)


class _Blank:
    """Stands for a tensor when a model is built from specs: a shape and a dtype."""

    def __init__(self, spec: TensorSpec) -> None:
        self.sizes = tuple(spec.shape.as_list())
        self.dtype = spec.dtype


def _batch_size(x: Any) -> Any:
    return dimension(flatten(x)[0].sizes[0], "float32")
