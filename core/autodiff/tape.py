"""tf.GradientTape."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import contextmanager
from typing import Any

from ..errors import InvalidArgumentError
from ..ops.dispatch import _STACK, _stack, apply, below
from ..ops.op import Op, find_op
from .gradients import Entry, gradients, key

__all__ = ["GradientTape", "UnconnectedGradients"]


class UnconnectedGradients:
    """What the gradient of an unconnected source is."""

    NONE = "none"
    ZERO = "zero"


class GradientTape:
    """Records ops for automatic differentiation.

    Trainable variables are watched by themselves (unless `watch_accessed_variables=False`), tensors by `watch`. A tape
    that is not `persistent` gives gradients once.

    >>> x = constant(3.0)
    >>> with GradientTape() as tape:
    ...     tape.watch(x)
    ...     y = x * x
    >>> float(tape.gradient(y, x))
    6.0
    """

    def __init__(self, persistent: bool = False, watch_accessed_variables: bool = True) -> None:
        self._persistent = persistent
        self._watch_variables = watch_accessed_variables
        self._entries: list[Entry] = []
        self._watched: set[Any] = set()
        self._alive: list[Any] = []
        self._variables: dict[Any, Any] = {}
        self._recording = False
        self._used = False

    # -- recording -----------------------------------------------------------------------------------------------------

    def __enter__(self) -> GradientTape:
        if self._recording:
            raise ValueError("Tape is already recording.")
        self._recording = True
        _STACK.set((*_stack(), self))
        return self

    def __exit__(self, *_: Any) -> None:
        self._recording = False
        _STACK.set(tuple([i for i in _stack() if i is not self]))

    def run(self, op: Op, inputs: Sequence[Any], attrs: dict[str, Any]) -> Any:
        """Runs an op below the tape, and records it if a watched value goes in."""
        states = [getattr(v, "state", None) for v in inputs]
        if op.name != "identity" and any(s is not None for s in states):
            inputs = [self._value_now(v) for v in inputs]
            states = [getattr(v, "state", None) for v in inputs]
        stack = _stack()
        token = _STACK.set(stack[: stack.index(self)])
        try:
            out = apply(op, *inputs, **attrs)
        finally:
            _STACK.reset(token)
        touched, watched = False, self._watched
        for v, state in zip(inputs, states, strict=True):
            if state is None:                   # a tensor
                touched = touched or id(v) in watched
            elif id(state) in watched:
                touched = True
                if hasattr(v, "assign") and v.trainable:
                    self._variables.setdefault(id(state), v)
            elif self._watch_variables and getattr(v, "trainable", False):
                self._watch(v)
                touched = True
        if touched:
            outputs = out if isinstance(out, tuple) else (out,)
            self._entries.append(Entry(op, inputs, attrs, outputs))
            for o in outputs:
                if o.dtype.is_floating:
                    watched.add(id(o))          # an output is no state
        return out

    def _value_now(self, value: Any) -> Any:
        """The tensor that a variable is at this point: it may be assigned before the gradient is asked for."""
        if not hasattr(value, "assign") or value.state.host_owned:
            return value
        return self.run(find_op("identity"), (value,), {})

    def _watch(self, value: Any) -> None:
        self._watched.add(key(value))
        self._alive.append(value)
        if hasattr(value, "assign"):
            self._variables.setdefault(key(value), value)

    def watch(self, tensor: Any) -> None:
        """Makes the tape follow a tensor (or a list of them) that is not a trainable variable."""
        for t in _flatten(tensor):
            if t.dtype.is_floating:
                self._watch(t)
            else:                               # TensorFlow goes on too: the gradient is None
                import logging

                logging.getLogger("tideflow").warning(
                    "GradientTape.watch: the dtype of the watched tensor must be floating (e.g. tf.float32), got "
                    f"{t.dtype!r}: its gradient will be None"
                )

    @contextmanager
    def stop_recording(self) -> Any:
        """Ops inside this block are not recorded."""
        if not self._recording:
            raise ValueError("Tape is not recording.")
        with below(self):
            yield

    def reset(self) -> None:
        """Forgets everything recorded."""
        self._entries, self._alive = [], []
        self._watched, self._variables = set(), {}

    def watched_variables(self) -> tuple[Any, ...]:
        """The variables that were used, in that order."""
        return tuple(self._variables.values())

    # -- gradients -----------------------------------------------------------------------------------------------------

    def gradient(
        self,
        target: Any,
        sources: Any,
        output_gradients: Any = None,
        unconnected_gradients: str = UnconnectedGradients.NONE,
    ) -> Any:
        """The gradient of `target` (a tensor or a structure of them, summed) for each of `sources`, in the structure
        of `sources`.

        Raises RuntimeError if a tape that is not persistent is asked twice.
        """
        if self._used and not self._persistent:
            raise RuntimeError(
                "A non-persistent GradientTape can only be used to compute one set of gradients (or jacobians)"
            )
        if self._recording and not self._persistent:
            self.__exit__()
        self._used = True
        targets = [t for t in _flatten(target)]
        flat = _flatten(sources)
        seeds = [None] * len(targets) if output_gradients is None else _flatten(output_gradients)
        if self._recording:
            found = gradients(list(self._entries), targets, seeds, flat)
        else:
            found = gradients(self._entries, targets, seeds, flat)
        if str(getattr(unconnected_gradients, "value", unconnected_gradients)).lower() == UnconnectedGradients.ZERO:
            from ..ops.movement import full

            found = [full(s.sizes, 0, s.dtype) if g is None else g for g, s in zip(found, flat, strict=True)]
        if not self._persistent:
            self._entries, self._alive = [], []
        return _pack(sources, iter(found))

    def jacobian(
        self,
        target: Any,
        sources: Any,
        unconnected_gradients: str = UnconnectedGradients.NONE,
        parallel_iterations: Any = None,
        experimental_use_pfor: bool = True,
    ) -> Any:
        """d target[i] / d source for each element i of a target of static shape: shape `target.shape +
        source.shape`.
        """
        if not all(isinstance(d, int) for d in target.sizes):
            raise InvalidArgumentError(f"jacobian needs a target of static shape, received {target.shape}")
        flat = _flatten(sources)
        count = 1
        for d in target.sizes:
            count *= d
        rows: list[list[Any]] = []
        for i in range(count):
            seed = apply(
                "reshape",
                apply("one_hot", _int(i), depth=count, on_value=1.0, off_value=0.0, axis=-1, dtype=target.dtype.name),
                shape=tuple(target.sizes),
            )
            rows.append(gradients(self._entries, [target], [seed], flat))
        made: list[Any] = []
        for column, source in zip(zip(*rows, strict=True), flat, strict=True):
            if all(g is None for g in column):
                made.append(None)
                continue
            parts = [apply("reshape", g, shape=(1, *source.sizes)) for g in column]
            made.append(apply("reshape", apply("concat", *parts, axis=0), shape=(*target.sizes, *source.sizes)))
        self._used = True
        return _pack(sources, iter(made))

    def batch_jacobian(
        self,
        target: Any,
        source: Any,
        unconnected_gradients: str = UnconnectedGradients.NONE,
        parallel_iterations: Any = None,
        experimental_use_pfor: bool = True,
    ) -> Any:
        """d target[b, i] / d source[b, j] for targets whose rows depend on the same row of the source alone: shape
        `[batch, *target.shape[1:], *source.shape[1:]]`.
        """
        if len(target.sizes) < 1 or len(source.sizes) < 1 or target.sizes[0] != source.sizes[0]:
            raise ValueError(
                f"Need first dimension of target shape ({target.shape}) and source shape ({source.shape}) to match."
            )
        self._used = True
        rows = [gradients(self._entries, [target], [seed], [source])[0] for seed in _batch_seeds(target)]
        if any(g is None for g in rows):
            return None
        parts = [apply("reshape", g, shape=(g.sizes[0], 1, *source.sizes[1:])) for g in rows]
        return apply("reshape", apply("concat", *parts, axis=1),
                     shape=(target.sizes[0], *target.sizes[1:], *source.sizes[1:]))


def _batch_seeds(target: Any) -> Any:
    """A seed for each element of a row of `target`: ones there in every row."""
    inner = tuple(target.sizes[1:])
    for i in range(math.prod(inner)):
        seed = apply("one_hot", _int(i), depth=math.prod(inner), on_value=1.0, off_value=0.0, axis=-1,
                     dtype=target.dtype.name)
        yield apply("broadcast_to", apply("reshape", seed, shape=(1, *inner)), shape=tuple(target.sizes))


def _int(i: int) -> Any:
    from ..ops.dispatch import convert

    return convert(i)


def _flatten(structure: Any) -> list[Any]:
    if isinstance(structure, dict):
        return [x for k in sorted(structure) for x in _flatten(structure[k])]
    if isinstance(structure, list | tuple):
        return [x for s in structure for x in _flatten(s)]
    return [] if structure is None else [structure]


def _pack(structure: Any, found: Any) -> Any:
    if isinstance(structure, dict):
        made = {k: _pack(structure[k], found) for k in sorted(structure)}
        return {k: made[k] for k in structure}
    if isinstance(structure, list | tuple):
        return type(structure)(_pack(s, found) for s in structure)
    return None if structure is None else next(found)
