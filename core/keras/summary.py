"""model.summary()."""

from __future__ import annotations

from typing import Any

import numpy as np


def print_summary(model: Any, line_length: int | None = None, print_fn: Any = None) -> None:
    """Prints the table. Raises ValueError before the model is built."""
    if not model.built:
        raise ValueError(
            "This model has not yet been built. Build the model first by calling `build()` or by calling the model "
            f"on a batch of data. Model: {model.name}"
        )
    rows = [
        (f"{layer.name} ({type(layer).__name__})", _shape(layer), f"{layer.count_params():,}" if layer.built else "?")
        for layer in model.layers
    ]
    head = ("Layer (type)", "Output Shape", "Param #")
    widths = [max(len(r[i]) for r in [head, *rows]) + 2 for i in range(3)]
    if line_length:
        widths[0] = max(widths[0], line_length - widths[1] - widths[2] - 4)
    lines = [f'Model: "{model.name}"', _rule("┏┳┓", "━", widths), _row(head, widths, "┃"), _rule("┡╇┩", "━", widths)]
    for i, row in enumerate(rows):
        lines += [_row(row, widths, "│"), _rule("├┼┤" if i + 1 < len(rows) else "└┴┘", "─", widths)]
    total, trainable = _count(model.weights), _count(model.trainable_weights)
    lines += [
        f" Total params: {total:,} ({_bytes(total)})",
        f" Trainable params: {trainable:,} ({_bytes(trainable)})",
        f" Non-trainable params: {total - trainable:,} ({_bytes(total - trainable)})",
    ]
    optimizer = getattr(model, "optimizer", None)
    if optimizer is not None and optimizer.built:
        slots = _count(optimizer.variables)
        lines[-3] = f" Total params: {total + slots:,} ({_bytes(total + slots)})"
        lines.append(f" Optimizer params: {slots:,} ({_bytes(slots)})")
    (print_fn or print)("\n".join(lines))


def _shape(layer: Any) -> str:
    out = layer.output
    if out is None:
        return "?"
    first = out[0] if isinstance(out, list | tuple) else out
    return str(tuple(first.shape.as_list()))


def _count(variables: Any) -> int:
    return sum(int(np.prod(v.sizes)) for v in variables)


def _bytes(count: int) -> str:
    size = 4.0 * count
    for unit in ("B", "KB", "MB"):
        if size < 1024:
            return f"{size:.2f} {unit}"
        size /= 1024
    return f"{size:.2f} GB"


def _rule(ends: str, fill: str, widths: list[int]) -> str:
    return ends[0] + ends[1].join(fill * (w + 1) for w in widths) + ends[2]


def _row(cells: Any, widths: list[int], bar: str) -> str:
    first, second, last = cells
    return f"{bar} {first:<{widths[0]}}{bar} {second:<{widths[1]}}{bar} {last:>{widths[2] - 1}} {bar}"
