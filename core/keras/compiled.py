"""What `compile` was given as losses and metrics, matched to the outputs of a model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..function.trace import flatten
from ..ops.dispatch import replaced
from . import losses as losses_module
from . import metrics as metrics_module

__all__ = ["CompileMetrics", "CompiledLosses", "CompiledMetrics", "align"]


def align(given: Any, structure: Any, names: Sequence[str], what: str) -> list[Any]:
    """One entry per output of what is given per output: by key of the outputs' dict, by output name, or by position.

    Raises ValueError for names that no output has and for a number of entries that is not the number of outputs.
    """
    count = len(flatten(structure))
    if given is None:
        return [None] * count
    if isinstance(given, dict):
        keys = list(structure) if isinstance(structure, dict) else list(names)
        unknown = [k for k in given if k not in keys]
        if unknown:
            raise ValueError(
                f"In the dict argument `{what}`, the keys {unknown} do not correspond to any model output. "
                f"Expected keys: {keys}"
            )
        return [given.get(k) for k in keys]
    if count == 1:
        return [given[0] if isinstance(given, list | tuple) and len(given) == 1 else given]
    if not isinstance(given, list | tuple):
        raise ValueError(
            f"The model has {count} outputs ({', '.join(names)}); `{what}` must be a list or a dict with one "
            f"entry for each. Received: {given!r}"
        )
    if len(given) != count:
        raise ValueError(
            f"For a model with multiple outputs, when providing the `{what}` argument as a list, it should have "
            f"as many entries as the model has outputs. Received {len(given)} entries for {count} outputs."
        )
    return list(given)


class CompiledLosses:
    """A loss per output, its factor, and for several outputs a tracker of each."""

    def __init__(self, loss: Any, loss_weights: Any) -> None:
        self.given, self.factors = loss, loss_weights
        self.trackers: list[Any] = []
        self._parts: list[tuple[int, Any, float]] | None = None

    def build(self, y_pred: Any, names: Sequence[str]) -> None:
        """Makes the losses when the outputs are known."""
        if self._parts is not None:
            return
        count = len(flatten(y_pred))
        alone = self.given is not None and not isinstance(self.given, list | tuple | dict)
        given = [self.given] * count if alone else align(self.given, y_pred, names, "loss")
        factors = align(self.factors, y_pred, names, "loss_weights")
        found = []
        for i, (loss, factor) in enumerate(zip(given, factors, strict=True)):
            made = losses_module.as_loss(loss)
            if made is not None:
                found.append((i, made, 1.0 if factor is None else float(factor)))
        with replaced(()):
            if count > 1:
                self.trackers = [metrics_module.Mean(name=f"{names[i]}_loss") for i, _, _ in found]
        self._parts = found

    def __call__(self, y: Any, y_pred: Any, sample_weight: Any, names: Sequence[str], batch: Any) -> Any:
        """The sum of the losses, each times its factor; None without any."""
        self.build(y_pred, names)
        assert self._parts is not None
        outputs = flatten(y_pred)
        if not self._parts:
            return None
        if y is None:
            raise ValueError("the loss needs targets: no `y` was given, or the data yields no (x, y) tuples")
        targets = align(y, y_pred, names, "y")
        weights = (
            align(sample_weight, y_pred, names, "sample_weight")
            if isinstance(sample_weight, list | tuple | dict)
            else [sample_weight] * len(outputs)
        )
        total: Any = None
        for position, (i, loss, factor) in enumerate(self._parts):
            if targets[i] is None:
                raise ValueError(f"output {names[i]!r} has a loss but no target in `y`")
            part = loss(targets[i], outputs[i], weights[i])
            if self.trackers:
                self.trackers[position].update_state(part, sample_weight=batch)
            part = part if factor == 1.0 else part * factor
            total = part if total is None else total + part
        return total


class CompiledMetrics:
    """The metrics of each output, made when the first batch shows the shapes."""

    def __init__(self, metrics: Any, weighted_metrics: Any) -> None:
        self.given, self.given_weighted = metrics, weighted_metrics
        self._entries: list[tuple[int, Any, bool, str]] | None = None  # (output, metric, weighted, name)

    @property
    def metrics(self) -> list[Any]:
        """The metrics that are there so far."""
        return [m for _, m, _, _ in self._entries or ()]

    def build(self, y: Any, y_pred: Any, names: Sequence[str]) -> None:
        """Makes the metrics. Raises ValueError for names that no output has."""
        if self._entries is not None:
            return
        if not self.given and not self.given_weighted:
            self._entries = []
            return
        outputs, targets = flatten(y_pred), align(y, y_pred, names, "y")
        entries = []
        for i, output in enumerate(outputs):
            for given, weighted in ((self.given, False), (self.given_weighted, True)):
                for metric in self._of_output(given, y_pred, names, i):
                    with replaced(()):
                        made = metrics_module.resolve(metric, targets[i], output)
                    entries.append((i, made, weighted, f"{names[i]}_{made.name}" if len(outputs) > 1 else made.name))
        self._entries = _distinct(entries)

    def _of_output(self, given: Any, y_pred: Any, names: Sequence[str], output: int) -> list[Any]:
        if given is None or (isinstance(given, list | tuple) and not given):
            return []
        single = len(flatten(y_pred)) == 1
        if not isinstance(given, list | tuple | dict):
            given = [given]
        if single and not isinstance(given, dict):
            flat = given[0] if len(given) == 1 and isinstance(given[0], list | tuple) else given
            return [m for m in flat if m is not None]
        entry = align(given, y_pred, names, "metrics")[output]
        found = [] if entry is None else list(entry) if isinstance(entry, list | tuple) else [entry]
        return [m for m in found if m is not None]

    def update(self, y: Any, y_pred: Any, sample_weight: Any, names: Sequence[str]) -> None:
        """Takes a batch in."""
        self.build(y, y_pred, names)
        if not self._entries:
            return
        outputs, targets = flatten(y_pred), align(y, y_pred, names, "y")
        weights = (
            align(sample_weight, y_pred, names, "sample_weight")
            if isinstance(sample_weight, list | tuple | dict)
            else [sample_weight] * len(outputs)
        )
        for i, metric, weighted, _ in self._entries:
            if targets[i] is None:
                raise ValueError(f"output {names[i]!r} has the metric {metric.name!r} but no target in `y`")
            if weighted and weights[i] is not None:
                metric.update_state(targets[i], outputs[i], sample_weight=weights[i])
            else:
                metric.update_state(targets[i], outputs[i])

    def result(self) -> dict[str, Any]:
        """Results by name."""
        return {name: metric.result() for _, metric, _, name in self._entries or ()}


def _distinct(entries: list[tuple[int, Any, bool, str]]) -> list[tuple[int, Any, bool, str]]:
    """A name that a former entry has gets "weighted_" before it, then a number after it."""
    taken: set[str] = set()
    made = []
    for output, metric, weighted, name in entries:
        if name in taken and weighted:
            name = f"weighted_{name}"
        base, number = name, 1
        while name in taken:
            name, number = f"{base}_{number}", number + 1
        taken.add(name)
        made.append((output, metric, weighted, name))
    return made


class CompileMetrics:
    """The metrics of `compile` as one, for training steps that go through `self.metrics`."""

    name = "compile_metrics"

    def __init__(self, compiled: CompiledMetrics, model: Any) -> None:
        self.compiled, self._model = compiled, model

    @property
    def metrics(self) -> list[Any]:
        """The single metrics."""
        return self.compiled.metrics

    @property
    def variables(self) -> list[Any]:
        """The variables of all."""
        return [v for m in self.metrics for v in m.variables]

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Takes a batch in."""
        self.compiled.update(y_true, y_pred, sample_weight, self._model._names_of(y_pred))

    def reset_state(self) -> None:
        """Starts all again."""
        for m in self.metrics:
            m.reset_state()

    def result(self) -> dict[str, Any]:
        """Results by name."""
        return self.compiled.result()
