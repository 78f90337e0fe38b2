"""The reverse walk: from recorded ops to gradients, written with ops, so that gradients have gradients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..ops.dispatch import _STACK, _stack, apply, pushed
from ..ops.op import NoGradient, Op
from ..shapes import unbroadcast_axes


class Entry:
    """One recorded op."""

    __slots__ = ("attrs", "inputs", "op", "outputs")

    def __init__(self, op: Op, inputs: Sequence[Any], attrs: dict[str, Any], outputs: Sequence[Any]) -> None:
        self.op, self.inputs, self.attrs, self.outputs = op, tuple(inputs), attrs, tuple(outputs)


def key(value: Any) -> Any:
    """What identifies a value to the walk: the cell of a variable, else the object."""
    state = getattr(value, "state", None)
    return id(state) if state is not None else id(value)


def gradients(
    entries: Sequence[Entry], targets: Sequence[Any], seeds: Sequence[Any | None], sources: Sequence[Any]
) -> list[Any]:
    """d(sum of targets * seeds) / d(source) for each source; None where no path leads. A missing seed is ones."""
    from ..ops.movement import full

    collected: dict[Any, Any] = {}
    for target, seed in zip(targets, seeds, strict=True):
        _accumulate(collected, target, full(target.sizes, 1, target.dtype) if seed is None else seed)
    needed, path = _path(entries, {key(s) for s in sources})
    for entry in reversed(path):
        dys = tuple([collected.get(key(v)) for v in entry.outputs])
        if all(d is None for d in dys):
            continue
        made = _op_gradient(entry, dys)
        for v, g in zip(entry.inputs, made, strict=True):
            if v is not None and g is not None and key(v) in needed:
                _accumulate(collected, v, unbroadcast(g, v))
    return [collected.get(key(s)) for s in sources]


def _path(entries: Sequence[Entry], wanted: set[Any]) -> tuple[set[Any], list[Entry]]:
    """The values on a path from a source, and the ops on it."""
    found, path = set(wanted), []
    for entry in entries:
        for v in entry.inputs:
            if v is not None and key(v) in found:
                path.append(entry)
                found.update([key(o) for o in entry.outputs])
                break
    return found, path


def _op_gradient(entry: Entry, dys: tuple[Any, ...]) -> Sequence[Any]:
    """The gradients of one op's inputs, by its rule or by that of its expansion."""
    op = entry.op
    if op.kind == "composite" and isinstance(op.grad, NoGradient):
        recorder = Recording()
        with pushed(recorder):
            made = op.expand(*entry.inputs, **entry.attrs)  # type: ignore[attr-defined]
        outputs = made if isinstance(made, tuple) else (made,)
        pairs = [(o, d) for o, d in zip(outputs, dys, strict=True) if d is not None]
        inputs = [v for v in entry.inputs if v is not None]
        found = dict(
            zip(
                (key(v) for v in inputs),
                gradients(recorder.entries, [o for o, _ in pairs], [d for _, d in pairs], inputs),
                strict=True,
            )
        )
        return [None if v is None else found[key(v)] for v in entry.inputs]
    if isinstance(op.grad, NoGradient):
        return [None] * len(entry.inputs)
    several = len(entry.outputs) > 1
    dy = dys if several else dys[0]
    out = entry.outputs if several else entry.outputs[0]
    made = op.grad(dy, *entry.inputs, out=out, **entry.attrs)
    if len(made) != len(entry.inputs):
        raise TypeError(f"op {op.name}: grad returned {len(made)} gradients for {len(entry.inputs)} inputs")
    return made  # type: ignore[no-any-return]


def unbroadcast(gradient: Any, like: Any) -> Any:
    """A gradient summed over the axes along which the value was broadcast."""
    shape, target = tuple(gradient.sizes), tuple(like.sizes)
    if shape == target:
        return gradient
    axes = unbroadcast_axes(shape, target)
    if axes:
        gradient = apply("reduce_sum", gradient, axis=axes, keepdims=False)
    if tuple(gradient.sizes) != target:
        joined = apply("reshape", gradient, shape=target) if len(gradient.sizes) != len(target) or axes else None
        gradient = joined if joined is not None else apply("broadcast_to", gradient, shape=target)
    return gradient


def _accumulate(collected: dict[Any, Any], value: Any, gradient: Any) -> None:
    k = key(value)
    collected[k] = apply("add", collected[k], gradient) if k in collected else gradient


class Recording:
    """An interpreter that runs each op below itself and keeps what happened."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []

    def run(self, op: Op, inputs: Sequence[Any], attrs: dict[str, Any]) -> Any:
        """Runs the op and records it."""
        stack = _stack()
        token = _STACK.set(stack[: stack.index(self)])
        try:
            out = apply(op, *inputs, **attrs)
        finally:
            _STACK.reset(token)
        self.entries.append(Entry(op, inputs, attrs, out if isinstance(out, tuple) else (out,)))
        return out
