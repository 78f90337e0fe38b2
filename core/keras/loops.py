"""The loops over batches, as generators that give way after each: `fit` runs through, `fit_async` lets others in."""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterator
from typing import Any

import numpy as np

from . import initializers
from .callbacks import CallbackList, History, LazyLogs
from .data import explain_loss, make_data, split_validation, unpack_x_y_sample_weight

__all__ = ["evaluate_loop", "fit_loop", "to_numbers"]


def fit_loop(
    model: Any,
    x: Any,
    y: Any,
    batch_size: Any,
    epochs: int,
    verbose: Any,
    callbacks: Any,
    validation_split: float,
    validation_data: Any,
    shuffle: bool,
    class_weight: Any,
    sample_weight: Any,
    initial_epoch: int,
    steps_per_epoch: Any,
    validation_steps: Any,
    validation_batch_size: Any,
    validation_freq: int,
) -> Generator[None, None, History]:
    """Trains, giving way after each batch. The parameters are those of `fit`."""
    if not model.compiled:
        raise ValueError("You must call `compile()` before calling `fit()`.")
    if validation_split and validation_data is None:
        (x, y, sample_weight), validation_data = split_validation(x, y, sample_weight, validation_split)
    data = make_data(x, y, sample_weight, batch_size, steps_per_epoch, class_weight)
    validation = None
    if validation_data is not None:
        whole = isinstance(validation_data, list | tuple)
        vx, vy, vw = unpack_x_y_sample_weight(tuple(validation_data)) if whole else (validation_data, None, None)
        validation = make_data(vx, vy, vw, validation_batch_size or batch_size, validation_steps)
    model._prepare("train_step", data.specs())
    if validation is not None:
        model._prepare("evaluate", validation.specs())
    model.stop_training = False
    shuffler = np.random.default_rng(initializers.make_seed())
    history = (
        callbacks
        if isinstance(callbacks, CallbackList)
        else CallbackList(callbacks, True, True, model, verbose=verbose, epochs=epochs, steps=data.num_batches)
    )
    history.on_train_begin()
    logs: dict[str, Any] = {}
    for epoch in range(initial_epoch, epochs):
        model.reset_metrics()
        history.on_epoch_begin(epoch)
        outputs: dict[str, Any] = {}
        for step, batch in enumerate(data.batches(shuffle, shuffler)):
            history.on_train_batch_begin(step)
            outputs = {}  # unread ones that somebody holds would be copied aside
            outputs = model._run("train_step", batch)
            history.on_train_batch_end(step, LazyLogs(outputs))
            yield
            if model.stop_training:
                break
        if not outputs:
            raise ValueError("The data is empty: the iterable gave no batch. Expected at least one.")
        usable = np.isfinite(logs.get("loss", 0.0)).all()
        logs = dict(sorted(to_numbers(outputs).items()))
        if usable and not np.isfinite(logs.get("loss", 0.0)).all():  # said once; training goes on, as in Keras
            logging.getLogger("tideflow").warning("fit: %s", explain_loss(data, logs["loss"]))
        if validation is not None and (epoch + 1) % validation_freq == 0:
            for found in evaluate_loop(model, validation, history):
                logs.update({f"val_{k}": v for k, v in sorted((found or {}).items())})
                yield
        history.on_epoch_end(epoch, logs)
        if model.stop_training:
            break
    model.engine.finish()
    history.on_train_end(logs)
    model.history = history.history or History()  # a CallbackList of the caller's may have none
    return model.history


def evaluate_loop(model: Any, data: Any, callbacks: Any) -> Iterator[dict[str, float] | None]:
    """Gives way after each batch with None; at the end, the logs."""
    model.reset_metrics()
    callbacks.on_test_begin()
    outputs: dict[str, Any] = {}
    for step, batch in enumerate(data.batches()):
        callbacks.on_test_batch_begin(step)
        outputs = {}
        outputs = model._run("evaluate", batch)
        callbacks.on_test_batch_end(step, LazyLogs(outputs))
        yield None
    if not outputs:
        raise ValueError("The data is empty: the iterable gave no batch. Expected at least one.")
    logs = to_numbers(outputs)
    callbacks.on_test_end(logs)
    yield logs


def to_numbers(outputs: dict[str, Any]) -> dict[str, Any]:
    """Results on the host: floats, arrays where a metric has several numbers."""
    hosted = {k: v.host() if hasattr(v, "host") else np.asarray(v) for k, v in outputs.items()}
    return {k: float(v) if v.ndim == 0 else v for k, v in hosted.items()}
