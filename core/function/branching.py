"""tf.while_loop, tf.cond, tf.case, tf.switch_case.

Eagerly they are Python. In a tf.function a loop whose number of iterations is known (from constants, or from
`maximum_iterations`) is one `scan` op, with a gradient; another is a `while` op, which runs on the host. A branch is
one `cond` op; the compiler computes both sides and selects.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..autodiff.bodies import Body, Runner
from ..eager.tensor import convert_to_tensor
from ..eager.variable import Variable, current_trace
from ..errors import InvalidArgumentError, UnimplementedError
from ..graph.ir import Graph, Value, reachable
from ..ops.dispatch import apply
from .bodies import Recorded, finish, record_body, variable_of
from .control import as_leaf, as_tensors, repack, spec_of, traced_loop
from .trace import flatten

__all__ = ["case", "cond", "switch_case", "while_loop"]

MOST_ITERATIONS = 1 << 20


def while_loop(
    cond: Callable[..., Any],
    body: Callable[..., Any],
    loop_vars: Any,
    shape_invariants: Any = None,
    parallel_iterations: int = 10,
    back_prop: bool = True,
    swap_memory: bool = False,
    maximum_iterations: Any = None,
    name: str | None = None,
) -> Any:
    """Repeats `loop_vars = body(*loop_vars)` as long as `cond(*loop_vars)` is true, at most `maximum_iterations` times.

    In a tf.function it has a gradient, and runs on every device, if the number of iterations is known when it is traced
    or `maximum_iterations` is given. Shapes must not change there.

    >>> [int(x) for x in while_loop(lambda i, s: i < 4, lambda i, s: (i + 1, s + i), (constant(0), constant(0)))]
    [4, 6]
    """
    if not callable(cond):
        raise TypeError("'cond' must be callable.")
    if not callable(body):
        raise TypeError("'body' must be callable.")
    if not flatten(loop_vars):
        raise ValueError("'loop_vars' must be provided.")
    start = as_tensors(list(loop_vars) if isinstance(loop_vars, list | tuple) else [loop_vars])
    most = None if maximum_iterations is None else int(as_leaf(maximum_iterations).host())
    if current_trace() is None:
        made = _run_while(cond, body, start, most)
    else:
        made = _trace_while(cond, body, start, most)
    if isinstance(loop_vars, list | tuple):
        if isinstance(loop_vars, tuple) and hasattr(loop_vars, "_fields"):
            return type(loop_vars)(*made)
        return made if isinstance(loop_vars, list) else tuple(made)
    return made[0]


def _run_while(cond: Any, body: Any, state: list[Any], most: int | None) -> list[Any]:
    count = 0
    while (most is None or count < most) and bool(cond(*state)):
        state = as_tensors(_next(body, state))
        count += 1
    return state


def _next(body: Any, state: list[Any]) -> list[Any]:
    """The loop variables after an iteration, in the structure of those before."""
    made = body(*state)
    made = list(made) if isinstance(made, list | tuple) else [made]
    if len(flatten(made)) != len(flatten(state)):
        raise ValueError(
            f"while_loop: body gives {len(flatten(made))} tensors, there are {len(flatten(state))} loop variables."
        )
    return made


def _condition(cond: Any, state: list[Any]) -> Any:
    made = as_leaf(cond(*state))
    if made.dtype.name != "bool" or made.sizes != ():
        raise TypeError(f"while_loop: cond must give a scalar bool, it gives {made.dtype.name} of shape {made.shape}.")
    return made


def _trace_while(cond: Any, body: Any, state: list[Any], most: int | None) -> list[Any]:
    flat = flatten(state)
    test = _recorded(lambda *xs: [_condition(cond, repack(state, xs))], flat, "condition")
    step = _recorded(lambda *xs: flatten(_next(body, repack(state, xs))), flat, "body")
    if test.written:
        raise UnimplementedError("while_loop: cond must not assign variables.")
    count = _trip_count(test, step, flat, most)
    if count is not None:
        last, _ = traced_loop(lambda carried, _: (flatten(_next(body, repack(state, carried))), []), flat, [], count,
                              name="while_loop")
        return list(repack(state, last))
    if most is not None:
        if most > MOST_ITERATIONS:
            raise InvalidArgumentError(f"while_loop: maximum_iterations is {most}; a program has at most 2^20 steps.")
        return _bounded(cond, body, state, most)
    if step.written:
        names = [s.name for s, _ in step.written]
        raise UnimplementedError(f"while_loop of unknown length assigns {names}: pass maximum_iterations.")
    inputs, given = _joined([test, step], flat)
    made = apply("while", *given, body=_body(step, inputs[1]), condition=_body(test, inputs[0]), carried=len(flat))
    return list(repack(state, made if isinstance(made, tuple) else (made,)))


def _bounded(cond: Any, body: Any, state: list[Any], most: int) -> list[Any]:
    """`most` iterations, of which those after the end change nothing."""
    from ..eager.tensor import constant

    def step(carried: list[Any], _: list[Any]) -> tuple[list[Any], list[Any]]:
        alive, now = carried[0], repack(state, carried[1:])
        go = apply("logical_and", alive, _condition(cond, now))
        new = branch(go, lambda: flatten(_next(body, now)), lambda: list(carried[1:]))
        return [go, *flatten(new)], []

    last, _ = traced_loop(step, [constant(True), *flatten(state)], [], most, name="while_loop")
    return list(repack(state, last[1:]))


def _recorded(function: Any, values: Sequence[Any], name: str) -> Recorded:
    """A body of these values whose `result` is a list of lifted outputs."""
    recorded = record_body(function, [spec_of(x) for x in values], name, lambda given: given)
    recorded.result = [recorded.recorder.lift(as_leaf(x)) for x in recorded.result]
    return finish(recorded)


def _body(recorded: Recorded, inputs: Sequence[Value]) -> Body:
    return Body(Graph(recorded.recorder.name, tuple(inputs), recorded.nodes, tuple(recorded.result)))


def _joined(parts: Sequence[Recorded], values: Sequence[Any]) -> tuple[list[list[Value]], list[Any]]:
    """Inputs for bodies that share their op's: the values, then what any of them captures. And what to give the op."""
    count = len(values)
    outer: dict[Any, Any] = {}
    for p in parts:
        outer.update({key: tensor for key, (tensor, _) in p.recorder.captures.items()})
    inputs = []
    for p in parts:
        mine = [p.recorder.captures[key][1] if key in p.recorder.captures else Value(spec_of(x).shape, x.dtype)
                for key, x in outer.items()]
        inputs.append([*p.inputs[:count], *mine])
    return inputs, [*values, *outer.values()]


def _trip_count(test: Recorded, step: Recorded, flat: Sequence[Any], most: int | None) -> int | None:
    """The number of iterations, if it follows from constants alone."""
    needed: set[int] = set()
    pending = _inputs_of(test, test.result)
    while pending is not None and not pending <= needed:
        needed |= pending
        pending = _inputs_of(step, [step.result[i] for i in sorted(needed)])
    if pending is None or any(_constant(flat[i]) is None for i in needed):
        return None
    order = sorted(needed)
    values = [_constant(flat[i]) for i in order]
    run = [Runner(_part(r, [r.result[i] for i in which], order), {}) for r, which in ((test, [0]), (step, order))]
    for count in range(MOST_ITERATIONS if most is None else min(most, MOST_ITERATIONS)):
        if not bool(run[0](*values)[0]):
            return count
        values = [np.asarray(x) for x in run[1](*values)]
    return most if most is not None and most <= MOST_ITERATIONS else None


def _constant(x: Any) -> Any:
    if isinstance(x, Value):
        return x.constant
    return None if isinstance(x, Variable) or not hasattr(x, "host") else x.host()


def _inputs_of(recorded: Recorded, results: Sequence[Value]) -> set[int] | None:
    """The loop variables that these results need; None if they need anything else that is not constant."""
    nodes = reachable(results)
    if any(n.op.stateful for n in nodes):
        return None
    used = {v for n in nodes for v in n.inputs if v is not None and v.node is None} | {
        v for v in results if v.node is None}
    numbers = {v: i for i, v in enumerate(recorded.inputs[: len(recorded.inputs) - len(recorded.captured)])}
    if any(v not in numbers and v.constant is None for v in used):
        return None
    return {numbers[v] for v in used if v in numbers}


def _part(recorded: Recorded, results: Sequence[Value], order: Sequence[int]) -> Graph:
    return Graph("part", tuple(recorded.inputs[i] for i in order), tuple(reachable(results)), tuple(results))


# -- branches ----------------------------------------------------------------------------------------------------------


def cond(pred: Any, true_fn: Any = None, false_fn: Any = None, name: str | None = None) -> Any:
    """`true_fn()` if `pred`, else `false_fn()`.

    In a tf.function, where `pred` is a tensor, both are traced and must give tensors of the same structure, dtypes and
    shapes; only the gradient of the one that was taken counts.

    >>> float(cond(constant(3.0) > 2.0, lambda: constant(1.0), lambda: constant(0.0)))
    1.0
    """
    if not callable(true_fn):
        raise TypeError("'true_fn' must be callable.")
    if not callable(false_fn):
        raise TypeError("'false_fn' must be callable.")
    if isinstance(pred, bool | np.bool_):
        return true_fn() if pred else false_fn()
    condition = as_leaf(pred)
    if condition.sizes != ():
        raise InvalidArgumentError(f"tf.cond: pred must be a scalar, it has shape {condition.shape}.")
    if current_trace() is None or _constant(condition) is not None:
        value = condition.host() if hasattr(condition, "host") else _constant(condition)
        return true_fn() if bool(value) else false_fn()
    if condition.dtype.name != "bool":
        condition = apply("cast", condition, dtype="bool")
    return branch(condition, true_fn, false_fn)


def branch(condition: Any, true_fn: Any, false_fn: Any) -> Any:
    """A `cond` op, both functions traced."""
    structures: list[Any] = []

    def call(function: Any) -> Any:
        made = function()
        structures.append(made)
        return [] if made is None else [x for x in flatten(made) if x is not None]

    yes = _recorded(lambda: call(true_fn), [], "true_fn")
    no = _recorded(lambda: call(false_fn), [], "false_fn")
    _check_alike(yes, no)
    states = list(dict.fromkeys(s for r in (yes, no) for s, _ in r.written))
    for r in (yes, no):
        r.result += [r.recorder.read(s) for s in states]  # the newest value in this branch
        finish_again(r)
    inputs, given = _joined([yes, no], [])
    made = apply("cond", condition, *given, yes=_body(yes, inputs[0]), no=_body(no, inputs[1])) if yes.result else ()
    found = list(made) if isinstance(made, tuple) else [made]
    for state, value in zip(states, found[len(found) - len(states) :], strict=True):
        variable_of(state).assign(value)
    supply = iter(found)
    if structures[0] is None:
        return None
    return repack_present(structures[0], supply)


def finish_again(recorded: Recorded) -> None:
    """Takes in captures made since `finish`."""
    count = len(recorded.inputs) - len(recorded.captured)
    recorded.captured = [outer for outer, _ in recorded.recorder.captures.values()]
    recorded.inputs = [*recorded.inputs[:count], *(v for _, v in recorded.recorder.captures.values())]


def repack_present(structure: Any, supply: Any) -> Any:
    """The structure with other leaves; None stays."""
    from .trace import map_structure

    return map_structure(lambda x: None if x is None else next(supply), structure)


def _check_alike(yes: Recorded, no: Recorded) -> None:
    if len(yes.result) != len(no.result):
        raise TypeError(
            f"true_fn and false_fn arguments to tf.cond must have the same number, type, and overall structure of "
            f"return values: true_fn gives {len(yes.result)} tensors, false_fn {len(no.result)}."
        )
    for i, (a, b) in enumerate(zip(yes.result, no.result, strict=True)):
        if a.dtype is not b.dtype:
            raise TypeError(
                f"tf.cond: output {i} of true_fn is {a.dtype.name}, of false_fn {b.dtype.name}. Cast one of them."
            )
        if a.sizes != b.sizes:
            raise ValueError(
                f"tf.cond: output {i} of true_fn has shape {a.shape}, of false_fn {b.shape}; in a traced function they "
                "must be equal."
            )


def case(pred_fn_pairs: Any, default: Any = None, exclusive: bool = False, strict: bool = False,
         name: str = "case") -> Any:
    """The function of the first pair whose condition is true, else `default`.

    Without a default the last function is taken if no condition holds in a traced function; eagerly that is an error.
    """
    pairs = list(pred_fn_pairs.items()) if isinstance(pred_fn_pairs, dict) else list(pred_fn_pairs)
    if not pairs:
        raise ValueError("pred_fn_pairs must not be empty")
    pairs = [(p.deref() if hasattr(p, "deref") else p, f) for p, f in pairs]
    for _, function in pairs:
        if not callable(function):
            raise TypeError("fn for pred must be callable.")
    if default is not None and not callable(default):
        raise TypeError("default must be callable.")
    eager = current_trace() is None
    if exclusive and eager and sum(bool(convert_to_tensor(p)) for p, _ in pairs) > 1:
        raise InvalidArgumentError("tf.case: more than one condition is true, with exclusive=True.")
    if default is None and eager and not any(bool(convert_to_tensor(p)) for p, _ in pairs):
        raise InvalidArgumentError("tf.case: None of the conditions evaluated as True, and there is no default.")

    def rest(i: int) -> Any:
        if i == len(pairs):
            return default()
        if i == len(pairs) - 1 and default is None:
            return pairs[i][1]()
        return cond(pairs[i][0], pairs[i][1], lambda: rest(i + 1))

    return rest(0)


def switch_case(branch_index: Any, branch_fns: Any, default: Any = None, name: str = "switch_case") -> Any:
    """The function of this index: from a list, a dict or (index, function) pairs; `default` (else the one with the
    largest index) for any other.
    """
    if isinstance(branch_fns, dict):
        pairs = sorted(branch_fns.items())
    else:
        pairs = [p if isinstance(p, tuple) else (i, p) for i, p in enumerate(branch_fns)]
        pairs.sort(key=lambda p: p[0])
    if not pairs:
        raise ValueError("branch_fns: Must provide at least one item.")
    for index, function in pairs:
        if not callable(function):
            raise TypeError(f"branch_fns: the function for {index} is not callable.")
    other = default if default is not None else pairs[-1][1]
    index = as_leaf(branch_index)

    def rest(i: int) -> Any:
        if i == len(pairs):
            return other()
        return cond(apply("equal", index, pairs[i][0]), pairs[i][1], lambda: rest(i + 1))

    return rest(0)
