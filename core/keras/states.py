"""The states of a model: their names in a file, and the action that starts all of them again.

A name tells the place in the model, not the number that the session gave to a layer: "conv2d/kernel",
"adam/m/conv2d/kernel". So a model that is made later, or in another process, finds its weights, and equal models give
equal files.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

from ..eager.variable import Variable, current_trace
from ..graph.ir import State
from .naming import snake_case
from .random import SeedGenerator

__all__ = ["name_states", "random_states", "reset_all"]


def name_states(model: Any) -> None:
    """Gives every state of the model its name for files."""
    names = dict(_of_layer(model, ""))
    optimizer = model.optimizer
    if optimizer is not None:
        names[optimizer.iterations.state] = f"{optimizer.name}/iterations"
        names[optimizer.learning_rate_variable.state] = f"{optimizer.name}/learning_rate"
        for variable, slots in optimizer.slots_by_variable():
            for slot, held in slots.items():
                names[held.state] = f"{optimizer.name}/{slot}/{names.get(variable.state, variable.state.name)}"
    for metric in model.metrics:
        for variable in metric.variables:
            names.setdefault(variable.state, f"metrics/{variable._name}")
    taken: set[str] = set()
    for state, name in names.items():
        unique, count = name, 1
        while unique in taken:
            unique, count = f"{name}_{count}", count + 1
        taken.add(unique)
        state.name = unique


def _of_layer(layer: Any, prefix: str) -> Iterator[tuple[State, str]]:
    attributes = {id(v): k for k, v in layer.__dict__.items() if isinstance(v, Variable)}
    for position, weight in enumerate(layer._weights):
        leaf = weight._name.rsplit("/", 1)[-1]
        if re.fullmatch(r"Variable_\d+|variable", leaf):  # nobody named it
            leaf = attributes.get(id(weight), f"variable_{position}")
        yield weight.state, f"{prefix}{leaf}"
    for name, generator in _generators(layer):
        yield generator.state.state, f"{prefix}{name}"
    counts: Counter[str] = Counter()
    for inner in layer._sublayers():
        kind = snake_case(type(inner).__name__)
        name = inner.name
        if re.fullmatch(rf"{re.escape(kind)}(_\d+)?", name):  # named by the session: count within this layer
            name = f"{kind}_{counts[kind]}" if counts[kind] else kind
            counts[kind] += 1
        yield from _of_layer(inner, f"{prefix}{name}/")


def _generators(layer: Any) -> Iterator[tuple[str, SeedGenerator]]:
    for name, value in layer.__dict__.items():
        if isinstance(value, SeedGenerator):
            yield name, value


def random_states(model: Any) -> list[State]:
    """The states of the model's random generators."""
    return [g.state.state for layer in model._flatten_layers() for _, g in _generators(layer)]


def reset_all(model: Any) -> None:
    """Weights as their initializers made them, everything else at its start. To be traced.

    The numbers are drawn by the program. Weights made by a function of the user's are stored as they are now; variables
    without an initializer stay.
    """
    trace = current_trace()
    for weight in model.weights:
        initializer = getattr(weight, "initializer", None)
        if initializer is not None:
            weight.assign(initializer(weight.sizes, dtype=weight.dtype.name))
    optimizer = model.optimizer
    for _, slots in optimizer.slots_by_variable():
        for slot in slots.values():
            slot.assign(slot.initializer(slot.sizes, dtype=slot.dtype.name))
    model.reset_metrics()
    for state in [optimizer.iterations.state, *random_states(model)]:
        trace.restart(state)
