"""Names of layers and variables: unique, stable, in Keras' style ("conv2d", "conv2d_1")."""

from __future__ import annotations

import re
from collections import Counter

_counts: Counter[str] = Counter()


def snake_case(name: str) -> str:
    """ "MaxPooling2D" -> "max_pooling2d"."""
    name = re.sub(r"(.)([A-Z][a-z0-9]+)", r"\1_\2", name)
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()


def unique_name(prefix: str) -> str:
    """The prefix, then prefix_1, prefix_2…"""
    number = _counts[prefix]
    _counts[prefix] += 1
    return f"{prefix}_{number}" if number else prefix


def clear_session(free_memory: bool = True) -> None:
    """Starts the numbers of names again."""
    _counts.clear()
