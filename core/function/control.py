"""tf.scan, tf.foldl, tf.foldr, tf.map_fn: loops over the slices of tensors. See branching.py for while_loop and cond.

Eagerly they are Python loops, so the functions may look at values. In a tf.function each is one op with a body that is
traced once: a loop of a compiled program, with a gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..autodiff import control as ops
from ..autodiff.bodies import Body
from ..eager.tensor import convert_to_tensor
from ..eager.variable import Variable, current_trace
from ..graph.ir import Graph, Value
from ..ops.dispatch import Value as AnyValue
from ..ops.dispatch import apply
from ..ops.movement import concat, expand_dims, stack
from ..ops.op import Spec
from ..shapes import Size
from .bodies import finish, record_body, variable_of
from .trace import flatten, map_structure

__all__ = ["foldl", "foldr", "map_fn", "scan", "traced_loop"]


def as_tensors(structure: Any) -> Any:
    """The structure with a tensor for each leaf; of a variable its value now."""
    return map_structure(lambda x: x.value() if isinstance(x, Variable)
                         else x if isinstance(x, AnyValue) else convert_to_tensor(x), structure)


def repack(structure: Any, leaves: Sequence[Any]) -> Any:
    """The structure with other leaves, in order."""
    supply = iter(leaves)
    return map_structure(lambda _: next(supply), structure)


def spec_of(x: Any) -> Spec:
    """Shape and dtype of a tensor."""
    return Spec(x.sizes, x.dtype)


def traced_loop(
    step: Callable[[list[Any], list[Any]], tuple[list[Any], list[Any]]],
    carried: Sequence[Any],
    stacked: Sequence[Any],
    length: Size,
    reverse: bool = False,
    name: str = "scan",
) -> tuple[list[Any], list[Any]]:
    """One loop op: `step(carried, slices)` gives (carried, results) and is called once, to be recorded.

    Variables that it assigns are carried too, and assigned when the loop is over. Returns the last carried values, and
    the stacked results.
    """
    count = len(carried)
    slices = [Spec(x.sizes[1:], x.dtype) for x in stacked]
    recorded = record_body(step, [*(spec_of(x) for x in carried), *slices], name,
                           lambda values: (values[:count], values[count:]))
    new, results = ([recorded.recorder.lift(as_leaf(x)) for x in part] for part in recorded.result)
    finish(recorded)
    written = recorded.written
    places = {state: recorded.recorder.captures[state][1] for state, _ in written}
    moved = set(places.values())
    rest = [(outer, v) for outer, v in zip(recorded.captured, recorded.inputs[count + len(stacked) :], strict=True)
            if v not in moved]
    inputs = [*recorded.inputs[:count], *(places[s] for s, _ in written),
              *recorded.inputs[count : count + len(stacked)], *(v for _, v in rest)]
    outputs = [*new, *(v for _, v in written), *results]
    _check_carried(inputs, outputs, count, name)
    body = Body(Graph(name, tuple(inputs), recorded.nodes, tuple(outputs)))
    starts = [*carried, *(variable_of(s) for s, _ in written)]
    made = ops.scan(body, starts, list(stacked), [outer for outer, _ in rest], length, reverse)
    for (state, _), value in zip(written, made[count:], strict=False):
        variable_of(state).assign(value)
    return list(made[:count]), list(made[len(starts) :])


def as_leaf(x: Any) -> Any:
    """A tensor or variable as it is, anything else as a tensor."""
    return x if isinstance(x, AnyValue) or hasattr(x, "state") else convert_to_tensor(x)


def _check_carried(inputs: Sequence[Value], outputs: Sequence[Value], count: int, name: str) -> None:
    for i, (before, after) in enumerate(zip(inputs[:count], outputs, strict=False)):
        if before.dtype is not after.dtype:
            raise TypeError(
                f"{name}: loop variable {i} is {before.dtype.name} before an iteration, {after.dtype.name} after it. "
                f"Cast it: tf.cast(x, tf.{before.dtype.name})."
            )
        if before.sizes != after.sizes:
            raise ValueError(
                f"{name}: loop variable {i} enters the loop with shape {before.shape}, but has shape {after.shape} "
                f"after one iteration. In a traced loop shapes must not change."
            )


def _slice_of(elems: Any, t: int) -> Any:
    return map_structure(lambda x: x[t], elems)


def _length(elems: Any, what: str) -> Size:
    leaves = flatten(elems)
    if not leaves:
        raise ValueError(f"{what}: elems must be a tensor, or a non-empty list or dict of tensors.")
    for x in leaves:
        if not x.sizes:
            raise ValueError(f"{what}: elements in elems must be 1+ dimensional Tensors, not scalars")
    for x in leaves[1:]:
        if isinstance(x.sizes[0], int) and isinstance(leaves[0].sizes[0], int) and x.sizes[0] != leaves[0].sizes[0]:
            raise ValueError(
                f"{what}: the first axes of elems differ: {leaves[0].sizes[0]} and {x.sizes[0]}. They are looped over "
                f"together."
            )
    return leaves[0].sizes[0]  # type: ignore[no-any-return]


def scan(
    fn: Callable[..., Any],
    elems: Any,
    initializer: Any = None,
    parallel_iterations: int = 10,
    back_prop: bool = True,
    swap_memory: bool = False,
    infer_shape: bool = True,
    reverse: bool = False,
    name: str | None = None,
) -> Any:
    """Applies `fn(accumulator, slice)` to the slices of `elems` one after another, and stacks the accumulators.

    Args:
        fn: gives the next accumulator, in the structure and with the shapes and dtypes of the one before.
        elems: a tensor or a structure of tensors, looped over along their first axes.
        initializer: the first accumulator; None takes the first slice of `elems` (the last one with `reverse`).
        reverse: from the last slice to the first; what is stacked has the order of `elems`.

    Returns:
        All accumulators, stacked along a new first axis.

    >>> scan(lambda a, x: a + x, constant([1, 2, 3, 4])).numpy().tolist()
    [1, 3, 6, 10]
    """
    if not callable(fn):
        raise TypeError(f"The provided fn {fn!r} is not callable. fn must be callable.")
    elems = as_tensors(elems)
    length = _length(elems, "tf.scan")
    first = None
    if initializer is None:
        if isinstance(length, int) and length == 0:
            raise ValueError("tf.scan: without an initializer elems needs at least one slice.")
        first = map_structure(lambda x: x[-1 if reverse else 0], elems)
        elems = map_structure(lambda x: x[:-1] if reverse else x[1:], elems)
        length = length - 1
    start = as_tensors(initializer) if first is None else first
    _, made = _accumulate(fn, start, elems, length, reverse, "tf.scan")
    if first is None:
        return made

    def joined(x: Any, rest: Any) -> Any:
        parts = [expand_dims(x, 0), rest]
        return concat(parts[::-1] if reverse else parts, 0)

    return repack(first, [joined(x, r) for x, r in zip(flatten(first), flatten(made), strict=True)])


def _accumulate(fn: Any, start: Any, elems: Any, length: Size, reverse: bool, what: str, keep: bool = True) -> Any:
    """(the last accumulator, all of them stacked or None)."""
    if current_trace() is not None or not isinstance(length, int):

        def step(carried: list[Any], slices: list[Any]) -> tuple[list[Any], list[Any]]:
            new = flatten(fn(repack(start, carried), repack(elems, slices)))
            if len(new) != len(carried):
                raise ValueError(f"{what}: fn gives {len(new)} tensors, the accumulator has {len(carried)}.")
            return new, list(new) if keep else []

        last, made = traced_loop(step, flatten(start), flatten(elems), length, reverse, what)
        return repack(start, last), repack(start, made) if keep else None
    accumulator, kept = start, []
    for n in range(length):
        t = length - 1 - n if reverse else n
        accumulator = as_tensors(fn(accumulator, _slice_of(elems, t)))
        kept.append(flatten(accumulator))
    if not keep:
        return accumulator, None
    kept = kept[::-1] if reverse else kept
    stacked = [stack(list(column), 0) for column in zip(*kept, strict=True)] or [
        apply("full", shape=(0, *x.sizes), value=0, dtype=x.dtype.name) for x in flatten(start)]
    return accumulator, repack(start, stacked)


def _fold(fn: Any, elems: Any, initializer: Any, reverse: bool, what: str) -> Any:
    if not callable(fn):
        raise TypeError(f"{fn.__class__.__name__} is not callable. Please provide a callable function.")
    elems = as_tensors(elems)
    length = _length(elems, what)
    if initializer is None:
        start = map_structure(lambda x: x[-1 if reverse else 0], elems)
        elems = map_structure(lambda x: x[:-1] if reverse else x[1:], elems)
        length = length - 1
    else:
        start = as_tensors(initializer)
    return _accumulate(fn, start, elems, length, reverse, what, keep=False)[0]


def foldl(fn: Callable[..., Any], elems: Any, initializer: Any = None, parallel_iterations: int = 10,
          back_prop: bool = True, swap_memory: bool = False, name: str | None = None) -> Any:
    """Applies `fn(accumulator, slice)` from the first slice of `elems` to the last; the last accumulator.

    >>> int(foldl(lambda a, x: a - x, constant([1, 2, 3])))
    -4
    """
    return _fold(fn, elems, initializer, False, "tf.foldl")


def foldr(fn: Callable[..., Any], elems: Any, initializer: Any = None, parallel_iterations: int = 10,
          back_prop: bool = True, swap_memory: bool = False, name: str | None = None) -> Any:
    """Applies `fn(accumulator, slice)` from the last slice of `elems` to the first; the last accumulator.

    >>> int(foldr(lambda a, x: a - x, constant([1, 2, 3])))
    0
    """
    return _fold(fn, elems, initializer, True, "tf.foldr")


def map_fn(
    fn: Callable[..., Any],
    elems: Any,
    dtype: Any = None,
    parallel_iterations: int | None = None,
    back_prop: bool = True,
    swap_memory: bool = False,
    infer_shape: bool = True,
    name: str | None = None,
    fn_output_signature: Any = None,
) -> Any:
    """Applies `fn` to each slice of `elems` and stacks what it gives.

    Args:
        fn: a function of one slice (a structure of slices, where `elems` is one).
        elems: a tensor or a structure of tensors, looped over along their first axes.
        fn_output_signature: dtypes (or specs) of what `fn` gives; the default is those of `elems`. `dtype` is its old
            name.

    Raises:
        TypeError: if `fn` gives other dtypes than the signature says.

    >>> map_fn(lambda x: x * x, constant([1.0, 2.0, 3.0])).numpy().tolist()
    [1.0, 4.0, 9.0]
    """
    if not callable(fn):
        raise TypeError(f"The provided function fn={fn.__class__.__name__} is not callable.fn must be callable.")
    signature = fn_output_signature if fn_output_signature is not None else dtype
    elems = as_tensors(elems)
    length = _length(elems, "tf.map_fn")
    shape: list[Any] = []

    def call(slices: Any) -> list[Any]:
        made = as_tensors(fn(slices))
        shape[:] = [made]
        _check_signature(flatten(made), flatten(elems) if signature is None else flatten(signature))
        return flatten(made)

    if current_trace() is not None or not isinstance(length, int):
        _, found = traced_loop(lambda carried, slices: ([], call(repack(elems, slices))), [], flatten(elems), length,
                               name="map_fn")
        return repack(shape[0], found)
    rows = [call(_slice_of(elems, t)) for t in range(length)]
    if not rows:
        zeros = map_structure(lambda x: apply("full", shape=tuple(x.sizes[1:]), value=0, dtype=x.dtype.name), elems)
        rows = [call(zeros)]
        return repack(shape[0], [stack([x], 0)[:0] for x in rows[0]])
    return repack(shape[0], [stack(list(column), 0) for column in zip(*rows, strict=True)])


def _check_signature(made: list[Any], wanted: list[Any]) -> None:
    if len(made) != len(wanted):
        raise TypeError(
            f"tf.map_fn: fn gives {len(made)} tensors, {len(wanted)} were expected. Pass fn_output_signature."
        )
    from ..dtypes import as_dtype

    for x, w in zip(made, wanted, strict=True):
        dtype = w.dtype if hasattr(w, "dtype") else as_dtype(w)
        if x.dtype is not dtype:
            raise TypeError(
                f"tf.map_fn: fn gives {x.dtype.name}, {dtype.name} was expected. Pass "
                f"fn_output_signature=tf.{x.dtype.name}."
            )
