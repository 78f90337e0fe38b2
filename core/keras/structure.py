"""What a model consists of, found once and again only when something has changed: steps on single batches ask often."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from operator import is_
from typing import Any

from . import metrics as metrics_module

__all__ = ["Structure"]

IGNORED = frozenset({"_inbound", "_declared", "_given", "_losses", "_built_shape"})
OWN = frozenset({"_loss_tracker", "_compile_metrics"})      # metrics of the model that are found in another way

_numbers = itertools.count()


class Structure:
    """The layers of a model, the metrics that they hold, and what its traces depend on beside shapes."""

    def __init__(self, model: Any) -> None:
        self.number = next(_numbers)
        self.layers: list[Any] = model._flatten_layers()
        self.metrics = list(_metrics(self.layers))
        self.key = tuple((layer.trainable, *(v.trainable for v in layer._weights)) for layer in self.layers)
        self._seen = [(layer.__dict__, tuple(layer.__dict__.values())) for layer in self.layers]
        self._lists = [(c, _content(c)) for layer in self.layers for c in _containers(layer)]

    def holds(self) -> bool:
        """Whether every layer has the attributes, and every list in them the elements, that it had."""
        for now, then in self._seen:
            if len(now) != len(then) or not all(map(is_, now.values(), then)):
                return False
        for container, elements in self._lists:
            if len(container) != len(elements) or not all(map(is_, _content(container), elements)):
                return False
        return True


def _content(container: Any) -> tuple[Any, ...]:
    return tuple(container.values() if isinstance(container, dict) else container)


def _containers(layer: Any) -> Iterator[Any]:
    """The lists and dicts among a layer's attributes, nested ones too."""
    found = [v for k, v in layer.__dict__.items() if k not in IGNORED and isinstance(v, list | dict | tuple)]
    for value in found:
        found += [v for v in _content(value) if isinstance(v, list | dict | tuple)]
        if not isinstance(value, tuple):
            yield value


def _metrics(layers: list[Any]) -> Iterator[Any]:
    """The metrics that layers hold, each once."""
    seen: set[int] = set()
    for layer in layers:
        for name, value in layer.__dict__.items():
            stack = [value]
            while stack and name not in OWN:
                leaf = stack.pop()
                if isinstance(leaf, metrics_module.Metric) and id(leaf) not in seen:
                    seen.add(id(leaf))
                    yield leaf
                elif isinstance(leaf, list | tuple | dict):
                    stack += reversed(_content(leaf))
