"""Ops with bodies: `scan` repeats one, `cond` chooses between two, `while` repeats one as long as another says so.

Their numpy kernels interpret the bodies; the gradient of a scan is a scan in the other direction (scan_gradient.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ..dtypes import ANY
from ..errors import InvalidArgumentError
from ..ops.dispatch import apply, interpreters
from ..ops.op import Case, Op, Spec, case, no_gradient
from ..shapes import Dim, Size
from .bodies import Body, record_closed

__all__ = ["Scan", "WithBodies", "scan"]


def scan(
    body: Body,
    carried: Sequence[Any],
    stacked: Sequence[Any],
    consts: Sequence[Any],
    length: Size,
    reverse: bool = False,
) -> tuple[Any, ...]:
    """Repeats a body: body(*carried, *slices, *consts) -> (*carried, *results).

    Args:
        carried: values that each iteration gets from the one before; the first gets these.
        stacked: tensors with one slice per iteration along their first axis.
        consts: the same in every iteration.
        length: the number of iterations.
        reverse: from the last slice to the first; results are stacked in the order of the slices.

    Returns:
        The last value of each carried one, then the stacked results.
    """
    count, results = len(carried), len(body.output_specs) - len(carried)
    used, history = body, (False,) * count
    if any(not hasattr(i, "advances") for i in interpreters()):  # a tape: keep what the gradient will need
        from .scan_gradient import with_residuals

        used, history = with_residuals(body, count, len(stacked))
    attrs = {"carried": count, "stacked": len(stacked), "length": length, "reverse": bool(reverse)}
    made = apply("scan", *carried, *stacked, *consts, body=used, history=history, **attrs)
    outputs = made if isinstance(made, tuple) else (made,)
    first = count + sum(history)
    return (*outputs[:count], *outputs[first : first + results])


class WithBodies(Op, abstract=True):
    """Not for kernels: the compiler turns it into loops, or into what the bodies compute."""

    kind = "control"
    same = ()

    def lower(self, *_: Any, **__: Any) -> Any:
        """Never called."""
        raise AssertionError(f"op {self.name} has bodies: the compiler lowers those")


class Scan(WithBodies):
    """A body repeated `length` times; see `scan`.

    Outputs: the last carried values; of those with `history` all versions, [length + 1, ...] in order of iterations;
    the stacked results.
    """

    name, version, dtypes = "scan", 1, ANY

    def infer(self, *inputs: Spec, body: Body, carried: int, stacked: int, length: Size, reverse: bool,
              history: tuple[bool, ...]) -> Any:
        wanted = [*body.input_specs]
        if len(inputs) != len(wanted):
            raise InvalidArgumentError(f"scan: the body takes {len(wanted)} inputs, received {len(inputs)}.")
        for i, (x, spec) in enumerate(zip(inputs, wanted, strict=True)):
            is_slice = carried <= i < carried + stacked
            if is_slice and (not x.shape or not _agree(x.shape[0], length)):
                raise InvalidArgumentError(f"scan: input {i} has shape {x.shape}; its first axis must be {length}.")
            shape = x.shape[1:] if is_slice else x.shape
            if shape != spec.shape or x.dtype is not spec.dtype:
                raise InvalidArgumentError(
                    f"scan: input {i} gives the body {x.dtype.name} of shape {shape}; it takes {spec.dtype.name} of "
                    f"shape {spec.shape}."
                )
        outputs = body.output_specs
        for i in range(carried):
            if outputs[i] != wanted[i]:
                raise InvalidArgumentError(
                    f"scan: carried value {i} has shape {wanted[i].shape} and dtype {wanted[i].dtype.name} before an "
                    f"iteration, {outputs[i].shape} and {outputs[i].dtype.name} after it. They must not change."
                )
        kept = [s for s, h in zip(outputs, history, strict=False) if h]
        found = (*outputs[:carried], *(Spec((length + 1, *s.shape), s.dtype) for s in kept),
                 *(Spec((length, *s.shape), s.dtype) for s in outputs[carried:]))
        return found if len(found) != 1 else found[0]

    def numpy(self, *arrays: Any, body: Body, carried: int, stacked: int, length: int, reverse: bool,
              history: tuple[bool, ...]) -> Any:
        state, slices = list(arrays[:carried]), arrays[carried : carried + stacked]
        consts = arrays[carried + stacked :]
        results = [np.empty((length, *_sizes(s, body, arrays, carried, stacked)), s.dtype.numpy)
                   for s in body.output_specs[carried:]]
        kept = [(j, np.empty((length + 1, *state[j].shape), state[j].dtype)) for j, h in enumerate(history) if h]
        _keep(kept, state, 0)
        if length:
            run = body.runner([*state, *(x[0] for x in slices), *consts])
        for n in range(length):
            t = length - 1 - n if reverse else n
            made = run(*state, *[x[t] for x in slices], *consts)
            state = made[:carried]
            for result, value in zip(results, made[carried:], strict=True):
                result[t] = value
            _keep(kept, state, n + 1)
        found = (*state, *(versions for _, versions in kept), *results)
        return found if len(found) != 1 else found[0]

    def grad(self, dy: Any, *inputs: Any, out: Any, **attrs: Any) -> Any:
        from .scan_gradient import scan_gradient

        outputs = out if isinstance(out, tuple) else (out,)
        return scan_gradient(dy if isinstance(dy, tuple) else (dy,), inputs, outputs, **attrs)

    def cases(self) -> Iterator[Case]:
        rng = np.random.default_rng(3)

        def sample(*shape: int) -> Any:
            return rng.uniform(-1, 1, shape).astype(np.float32)

        for reverse, history in ((False, (False,)), (True, (False,)), (False, (True,))):
            body = _sample_body()
            yield case(sample(2, 3), sample(4, 2, 3), sample(3), body=body, carried=1, stacked=1, length=4,
                       reverse=reverse, history=history)
        yield case(sample(2, 3), sample(0, 2, 3), sample(3), body=_sample_body(), carried=1, stacked=1, length=0,
                   reverse=False, history=(False,))


def _agree(a: Size, b: Size) -> bool:
    return a == b


def _keep(kept: Sequence[tuple[int, Any]], state: Sequence[Any], n: int) -> None:
    for j, versions in kept:
        versions[n] = state[j]


def _sizes(spec: Spec, body: Body, arrays: Sequence[Any], carried: int, stacked: int) -> tuple[int, ...]:
    """The shape of a result, for these inputs."""
    if all(isinstance(d, int) for d in spec.shape):
        return spec.shape  # type: ignore[return-value]
    known = dict(body.symbols)
    for i, (s, x) in enumerate(zip(body.input_specs, arrays, strict=True)):
        sizes = x.shape[1:] if carried <= i < carried + stacked else x.shape
        for d, got in zip(s.shape, sizes, strict=True):
            if isinstance(d, Dim) and d.kind == "symbol":
                known.setdefault(d.args[0], got)
    return tuple(d if isinstance(d, int) else d.evaluate(known) for d in spec.shape)


def _sample_body() -> Body:
    """carried, slice, const -> tanh-free recurrence with a result of its own."""
    from ..dtypes import as_dtype

    f32 = as_dtype("float32")

    def step(state: Any, x: Any, weight: Any) -> Any:
        new = apply("add", apply("multiply", state, weight), x)
        return new, apply("multiply", new, state)

    return record_closed(step, [Spec((2, 3), f32), Spec((2, 3), f32), Spec((3,), f32)], "sample")


class Cond(WithBodies):
    """One of two bodies over the same inputs: inputs[0] is the condition, a scalar bool; only that body runs."""

    name, version, dtypes = "cond", 1, ANY

    def infer(self, condition: Spec, *inputs: Spec, yes: Body, no: Body) -> Any:
        if condition.shape != () or condition.dtype.name != "bool":
            raise InvalidArgumentError(
                f"cond: the condition must be a scalar bool, received {condition.dtype.name} of shape "
                f"{condition.shape}."
            )
        for which, body in (("true_fn", yes), ("false_fn", no)):
            if [(s.shape, s.dtype) for s in body.input_specs] != [(s.shape, s.dtype) for s in inputs]:
                raise InvalidArgumentError(f"cond: the inputs do not fit {which}.")
        if yes.output_specs != no.output_specs:
            raise InvalidArgumentError(
                f"cond: true_fn gives {yes.output_specs}, false_fn {no.output_specs}; they must be alike."
            )
        found = tuple(yes.output_specs)
        return found if len(found) != 1 else found[0]

    def numpy(self, condition: Any, *arrays: Any, yes: Body, no: Body) -> Any:
        body = yes if bool(condition) else no
        found = tuple(np.asarray(x) for x in body.runner(arrays)(*arrays))
        return found if len(found) != 1 else found[0]

    def grad(self, dy: Any, condition: Any, *inputs: Any, out: Any, yes: Body, no: Body) -> Any:
        from .scan_gradient import cond_gradient

        return cond_gradient(dy if isinstance(dy, tuple) else (dy,), condition, inputs, yes, no)

    def cases(self) -> Iterator[Case]:
        from ..dtypes import as_dtype

        spec = Spec((2, 3), as_dtype("float32"))
        x, y = (np.linspace(-1, 1, 6, dtype=np.float32).reshape(2, 3) + d for d in (0.0, 0.3))
        for condition in (True, False):
            yes = record_closed(lambda a, b: (apply("multiply", a, b), a), [spec, spec], "yes")
            no = record_closed(lambda a, b: (apply("add", a, b), b), [spec, spec], "no")
            yield case(np.array(condition), x, y, yes=yes, no=no)


class While(WithBodies):
    """`body` repeated as long as `condition` says True: (carried..., consts...) -> (carried...)."""

    name, version, dtypes = "while", 1, ANY
    grad = no_gradient(
        "the number of iterations is known only when it runs: give tf.while_loop maximum_iterations, or use tf.scan"
    )

    def infer(self, *inputs: Spec, body: Body, condition: Body, carried: int) -> Any:
        found = tuple(inputs[:carried])
        if tuple(body.output_specs) != found:
            raise InvalidArgumentError(f"while: {found} before an iteration, {body.output_specs} after it.")
        return found if len(found) != 1 else found[0]

    def numpy(self, *arrays: Any, body: Body, condition: Body, carried: int) -> Any:
        state, consts = list(arrays[:carried]), arrays[carried:]
        go_on, run = condition.runner(arrays), body.runner(arrays)
        while bool(go_on(*state, *consts)[0]):
            state = [np.asarray(x) for x in run(*state, *consts)]
        found = tuple(state)
        return found if len(found) != 1 else found[0]

    def cases(self) -> Iterator[Case]:
        from ..dtypes import as_dtype

        i32 = as_dtype("int32")
        body = record_closed(lambda i, top: (apply("add", i, 3),), [Spec((), i32)] * 2, "body")
        condition = record_closed(lambda i, top: (apply("less", i, top),), [Spec((), i32)] * 2, "condition")
        yield case(np.int32(0), np.int32(10), body=body, condition=condition, carried=1, gradient=False)
