"""tf.function: one Python function, a trace for each signature, run on the host or as a compiled program."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..eager.context import function_device
from ..eager.tensor import EagerTensor, convert_to_tensor, wrap
from ..eager.variable import current_trace
from ..errors import UnimplementedError
from ..graph.interpret import interpret, separate
from ..ops.dispatch import Value as AnyValue
from ..ops.dispatch import interpreters
from ..ops.operators import Tensor
from ..runtime.memory import keep_freed_memory
from ..shapes import Dim, substitute
from .trace import Slot, TensorSpec, Traced, flatten, input_values, map_structure, pack, trace

if TYPE_CHECKING:
    from .backend import CompiledGraph

__all__ = ["ConcreteFunction", "Function", "function", "functions_run_eagerly", "run_functions_eagerly"]

RETRACES_BEFORE_SYMBOLIC = 3
_run_eagerly = False


def run_functions_eagerly(run_eagerly: bool) -> None:
    """With True, every tf.function runs as the Python function it wraps, to look inside with a debugger."""
    global _run_eagerly
    _run_eagerly = bool(run_eagerly)


def functions_run_eagerly() -> bool:
    """What run_functions_eagerly was last told."""
    return _run_eagerly


class ConcreteFunction:
    """One trace. Called with the tensors of its signature, in order or by name."""

    def __init__(self, traced: Traced, name: str) -> None:
        self.traced, self.name = traced, name
        self._compiled: dict[str, CompiledGraph | None] = {}

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Runs it. Python values of the signature are part of the trace and are not passed again.

        Raises TypeError if a tensor is missing, unknown or does not fit.
        """
        wanted = self.traced.graph.inputs
        names = [str(v.label) for v in wanted]
        given = flatten(list(args))
        unknown = [k for k in kwargs if k not in names[len(given):]]
        if len(given) > len(wanted) or unknown or len(given) + len(kwargs) != len(wanted):
            raise TypeError(f"{self.name}(): this trace takes the tensors {names}, received {len(given)} by position "
                            f"and {sorted(kwargs)} by name")
        given += [kwargs[name] for name in names[len(given):]]
        tensors = [convert_to_tensor(x, v.dtype) if not isinstance(x, AnyValue) else convert_to_tensor(x)
                   for x, v in zip(given, wanted, strict=True)]
        for name, tensor, value in zip(names, tensors, wanted, strict=True):
            spec = TensorSpec.from_tensor(value)
            if not spec.is_compatible_with(tensor):
                raise TypeError(f"{self.name}(): {name} has shape {tensor.shape} and dtype {tensor.dtype.name}, "
                                f"this trace takes {spec!r}")
        return self.run(tensors)

    @property
    def graph(self) -> Any:
        """The graph as it was traced."""
        return self.traced.graph

    @property
    def inputs(self) -> list[Any]:
        """The graph's inputs."""
        return list(self.traced.graph.inputs)

    @property
    def outputs(self) -> list[Any]:
        """The graph's outputs."""
        return list(self.traced.graph.outputs)

    @property
    def structured_outputs(self) -> Any:
        """The specs of what it returns, in its structure."""
        return map_structure(
            lambda x: TensorSpec.from_tensor(self.traced.graph.outputs[x.index]) if isinstance(x, Slot) else x,
            self.traced.result,
        )

    def run(self, tensors: Sequence[Any]) -> Any:
        """Runs the graph and gives its results in the structure that the function returned."""
        graph = self.traced.graph
        if interpreters():
            return pack(self.traced.result, self._inline(tensors))
        device = function_device()
        compiled = self._program(device) if device != "cpu" else None
        if compiled is not None:
            return pack(self.traced.result, compiled.run([t.host() for t in tensors]))
        return pack(self.traced.result, [wrap(a) for a in run_on_host(graph, [t.host() for t in tensors])])

    def _program(self, device: str) -> CompiledGraph | None:
        if device not in self._compiled:
            from .backend import CompiledGraph  # the compiler is half of the package: not at import

            try:
                self._compiled[device] = CompiledGraph(self.traced.graph, device)
            except UnimplementedError as error:
                from ..eager.context import note_fallback

                note_fallback(f"function {self.name!r} runs on the host instead of {device}: {error}")
                self._compiled[device] = None
        return self._compiled[device]

    def _inline(self, tensors: Sequence[Any]) -> list[Any]:
        """The nodes again, through the interpreters that are active: a traced function inside a tape or another
        trace.
        """
        from ..ops.dispatch import apply

        graph = self.traced.graph
        values: dict[Any, Any] = dict(zip(graph.inputs, tensors, strict=True))
        sizes = _sizes_of(graph.inputs, tensors)
        trace = current_trace()
        drawn = {} if trace is None else dict(trace.advances)  # what this trace has taken from generators so far

        def get(v: Any) -> Any:
            if v is None or v in values:
                return None if v is None else values[v]
            made = _StateReader(v.state) if v.state is not None else wrap(v.constant)
            values[v] = made
            return made

        for node in graph.nodes:
            attrs = {k: _with_sizes(a, sizes) for k, a in node.attrs.items()}
            if "offset" in attrs:
                states = [v.state for v in node.inputs if v is not None and v.state is not None]
                attrs["offset"] += sum(drawn.get(s, 0) for s in states)
            out = apply(node.op, *(get(v) for v in node.inputs), **attrs)
            values.update(zip(node.outputs, out if isinstance(out, tuple) else (out,), strict=True))
        results = [get(v) for v in graph.outputs]
        for state, v in graph.writes:
            _StateReader(state).assign(get(v))
        if trace is None:
            advance(graph, [t.host() for t in tensors])
        else:
            for state, by in graph.advances:
                trace.advance(state, substitute(by, sizes))
        return results


def _sizes_of(inputs: Sequence[Any], tensors: Sequence[Any]) -> dict[str, Any]:
    """What the symbols of a graph's inputs are for these tensors."""
    found: dict[str, Any] = {}
    for value, tensor in zip(inputs, tensors, strict=True):
        for size, got in zip(value.sizes, tensor.sizes, strict=True):
            if not isinstance(size, int) and size.kind == "symbol":
                found.setdefault(size.args[0], got)
    return found


def _with_sizes(attr: Any, sizes: dict[str, Any]) -> Any:
    """An attribute with the sizes of a call."""
    if isinstance(attr, tuple):
        return tuple(_with_sizes(a, sizes) for a in attr)
    if hasattr(attr, "with_sizes"):
        return attr.with_sizes(sizes)
    return substitute(attr, sizes) if isinstance(attr, Dim) else attr


def _StateReader(state: Any) -> Any:
    """A variable around a cell that already exists."""
    from ..eager.variable import Variable

    made = Variable.__new__(Variable)
    made.state, made._name = state, state.name
    return made


def run_on_host(graph: Any, arrays: Sequence[Any]) -> list[Any]:
    """The outputs of a graph, run by numpy; its states have their new values then."""
    keep_freed_memory()
    outputs, writes = separate(arrays, *interpret(graph, arrays))
    for state, array in writes:
        state.write(array)
    advance(graph, arrays)
    return outputs


def advance(graph: Any, arrays: Sequence[Any]) -> None:
    """Moves the host-owned states on, as an executor would after a run."""
    from ..graph.interpret import bind
    from ..runtime.values import advance_counter
    from ..shapes import evaluate

    if graph.advances:
        constant = all(isinstance(by, int) for _, by in graph.advances)
        symbols = {} if constant else bind([v.spec for v in graph.inputs], arrays)
        for state, by in graph.advances:
            count = None if isinstance(by, int) and by == 0 else evaluate(by, symbols)     # the constant 0: a restart
            state.write(advance_counter(state.read(), count, state.role == "RNG"))


class Function:
    """What `tf.function` returns: call it like the Python function it wraps."""

    def __init__(
        self,
        python_function: Callable[..., Any],
        input_signature: Sequence[TensorSpec] | None = None,
        jit_compile: bool | None = None,
        reduce_retracing: bool = False,
        name: str | None = None,
    ) -> None:
        self.python_function = python_function
        self.input_signature = None if input_signature is None else tuple(input_signature)
        self._signature = inspect.signature(python_function)
        self._reduce = reduce_retracing
        self._cache: dict[Any, ConcreteFunction] = {}
        self._known: dict[Any, ConcreteFunction] = {}  # for calls with tensors alone
        self._seen: dict[Any, list[tuple[Any, ...]]] = {}
        self._bound: dict[int, Function] = {}
        self._made_variables = False
        self._kept: list[Any] = []  # arguments known by identity live as long as their traces
        self.__name__: str = name or str(getattr(python_function, "__name__", "function"))
        functools.update_wrapper(self, python_function, updated=())

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        if instance is None:
            return self
        found = instance.__dict__.get(f"_tideflow_function_{self.__name__}") if hasattr(instance, "__dict__") else None
        if found is None:
            found = Function(
                functools.partial(self.python_function, instance),
                self.input_signature,
                None,
                self._reduce,
                self.__name__,
            )
            if hasattr(instance, "__dict__"):
                object.__setattr__(instance, f"_tideflow_function_{self.__name__}", found)
        return found

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if _run_eagerly:
            return self.python_function(*args, **kwargs)
        plain = not kwargs and all([a.__class__ is EagerTensor for a in args])
        kind = tuple([(a.sizes, a.dtype) for a in args]) if plain else None
        known = self._known.get(kind)
        if known is not None:
            return known.run(args)
        concrete, tensors = self._select(args, kwargs)
        if plain and self.input_signature is None:
            self._known[kind] = concrete  # the same shapes and dtypes never get another trace
        return concrete.run(tensors)

    def get_concrete_function(self, *args: Any, **kwargs: Any) -> ConcreteFunction:
        """The trace for these arguments (tensors, specs or Python values)."""
        if not args and not kwargs and self.input_signature is not None:
            args = self.input_signature
        return self._select(args, kwargs)[0]

    @property
    def experimental_get_tracing_count(self) -> Callable[[], int]:
        """How often the function was traced."""
        return lambda: len(self._cache)

    # -- signatures ----------------------------------------------------------------------------------------------------

    def _select(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[ConcreteFunction, list[Any]]:
        """The trace for these arguments, made if there is none, and its tensors."""
        args, kwargs = self._canonical(args, kwargs)
        if self.input_signature is not None:
            args = (*map(_converted, self.input_signature, args), *args[len(self.input_signature) :])
        leaves = [_tensor_or_self(x) for x in flatten((args, kwargs))]
        tensors = [x for x in leaves if isinstance(x, Tensor | TensorSpec)]
        if self.input_signature is not None:
            tensors = self._fit_signature(tensors)
        skeleton = _skeleton((args, kwargs), leaves)
        specs = tuple((_list(t.shape), t.dtype.name) for t in tensors)
        if self.input_signature is not None:
            specs = tuple((_list(s.shape), s.dtype.name) for s in flatten(self.input_signature))
        skeleton = (skeleton, _tied(tensors, specs))
        concrete = self._cache.get((skeleton, specs)) or self._relaxed(skeleton, specs, tensors)
        if concrete is None:
            specs = self._relax(skeleton, specs)
            skeleton = (skeleton[0], _tied(tensors, specs))
            concrete = self._trace(args, kwargs, leaves, specs, skeleton[1])
            self._kept += [x for x in leaves if not isinstance(x, Tensor | TensorSpec)]
            self._cache[(skeleton, specs)] = concrete
        return concrete, tensors

    def _canonical(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        try:
            bound = self._signature.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{self.__name__}(): {error}") from None
        bound.apply_defaults()
        return bound.args, bound.kwargs

    def _fit_signature(self, tensors: list[Any]) -> list[Any]:
        assert self.input_signature is not None
        wanted = flatten(self.input_signature)
        if len(tensors) != len(wanted):
            raise TypeError(
                f"{self.__name__}(): input_signature has {len(wanted)} specs, the call has "
                f"{len(tensors)} tensors"
            )
        for t, s in zip(tensors, wanted, strict=True):
            if not s.is_compatible_with(t):
                raise TypeError(
                    f"{self.__name__}(): binding inputs to tf.function failed: {t!r} does not fit the input_signature "
                    f"{s!r}"
                )
        return tensors

    def _relaxed(self, skeleton: Any, specs: tuple[Any, ...], tensors: list[Any]) -> ConcreteFunction | None:
        """A trace with free sizes that fits."""
        for ((other, tied), held), concrete in self._cache.items():
            if (
                other == skeleton[0]
                and len(held) == len(specs)
                and all(_fits(h, s) for h, s in zip(held, specs, strict=True))
            ):
                if not tied or _tied(tensors, held):
                    return concrete
        return None

    def _relax(self, skeleton: Any, specs: tuple[Any, ...]) -> tuple[Any, ...]:
        """After some traces that differ in sizes alone, the sizes that differ become free."""
        seen = self._seen.setdefault((skeleton, tuple((len(s), d) if s is not None else d for s, d in specs)), [])
        seen.append(specs)
        if len(seen) <= (1 if self._reduce else RETRACES_BEFORE_SYMBOLIC):
            return specs
        relaxed = []
        for column in zip(*seen, strict=True):
            shape = tuple(
                sizes[0] if len(set(sizes)) == 1 else None for sizes in zip(*(c[0] for c in column), strict=True)
            )
            relaxed.append((shape, column[0][1]))
        return tuple(relaxed)

    def _trace(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], leaves: list[Any], specs: tuple[Any, ...], tied: bool
    ) -> ConcreteFunction:
        names = self._names(args, kwargs)
        made = input_values(
            [TensorSpec(shape, dtype) for shape, dtype in specs], names[: len(specs)], "batch" if tied else None
        )

        def arguments(values: list[Any]) -> Any:
            supply = iter(values)
            flat = iter([next(supply) if isinstance(x, Tensor | TensorSpec) else x for x in leaves])
            return map_structure(lambda _: next(flat), (args, kwargs))

        traced = trace(self.python_function, made, self.__name__, arguments)
        if traced.created:
            first, self._made_variables = not self._made_variables, True
            traced = trace(self.python_function, made, self.__name__, arguments) if first else traced
            if traced.created:
                raise ValueError(
                    f"tf.function only supports singleton tf.Variables created on the first call: {self.__name__!r} "
                    f"makes one whenever it is traced. Create it outside, or only if it is not there yet."
                )
        return ConcreteFunction(traced, self.__name__)

    def _names(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[str]:
        names: list[str] = []
        parameters = list(self._signature.parameters)
        for i, arg in enumerate(args):
            base = parameters[min(i, len(parameters) - 1)] if parameters else "args"
            count = sum(isinstance(_tensor_or_self(x), Tensor | TensorSpec) for x in flatten(arg))
            names += [base if count == 1 and base not in names else f"{base}_{len(names)}" for _ in range(count)]
        for k, v in kwargs.items():
            names += [
                f"{k}_{j}" if j else k
                for j in range(sum(isinstance(_tensor_or_self(x), Tensor | TensorSpec) for x in flatten(v)))
            ]
        return names


def _tensor_or_self(x: Any) -> Any:
    """Arrays and numpy's scalars are tensors; variables are captured by identity, Python values by value."""
    return convert_to_tensor(x) if isinstance(x, np.ndarray | np.generic) else x


def _converted(spec: Any, arg: Any) -> Any:
    """An argument with tensors where the input_signature has specs: of numbers, lists, arrays and variables."""
    if isinstance(spec, TensorSpec):
        return arg if isinstance(arg, Tensor | TensorSpec) else convert_to_tensor(arg, spec.dtype)
    if isinstance(spec, dict) and isinstance(arg, dict):
        return {k: _converted(spec.get(k), v) for k, v in arg.items()}
    if isinstance(spec, list | tuple) and isinstance(arg, list | tuple) and len(spec) == len(arg):
        return tuple(map(_converted, spec, arg)) if isinstance(arg, tuple) else list(map(_converted, spec, arg))
    return arg


def _skeleton(structure: Any, leaves: list[Any]) -> Any:
    """What of the arguments is not a tensor: the structure, and Python values by value (other objects by identity)."""
    supply = iter(leaves)

    def shape_of(x: Any) -> Any:
        if isinstance(x, dict):
            return ("dict", tuple((k, shape_of(v)) for k, v in x.items()))
        if isinstance(x, list | tuple):
            return (type(x).__name__, tuple(shape_of(v) for v in x))
        leaf = next(supply)
        if isinstance(leaf, Tensor | TensorSpec):
            return "tensor"
        try:
            hash(leaf)
            return (type(leaf).__name__, leaf)
        except TypeError:
            return ("object", id(leaf))

    return shape_of(structure)


def _list(shape: Any) -> tuple[int | None, ...]:
    return tuple(shape.as_list())


def _tied(tensors: list[Any], specs: tuple[Any, ...]) -> bool:
    """Whether the free first sizes are one size: they are until a call shows otherwise, and then they are symbols
    of their own.
    """
    first = {_first_size(t) for t, (shape, _) in zip(tensors, specs, strict=True) if shape and shape[0] is None}
    return len(first - {None}) <= 1


def _first_size(tensor: Any) -> Any:
    """Of a tensor under another trace it is a size expression."""
    return tensor.shape[0] if isinstance(tensor, TensorSpec) else tensor.sizes[0]


def _fits(held: Any, got: Any) -> bool:
    return bool(
        held[1] == got[1]
        and len(held[0]) == len(got[0])
        and all(h is None or h == g for h, g in zip(held[0], got[0], strict=True))
    )


def function(
    func: Callable[..., Any] | None = None,
    input_signature: Sequence[TensorSpec] | None = None,
    autograph: bool = True,
    jit_compile: bool | None = None,
    reduce_retracing: bool = False,
    experimental_implements: Any = None,
    experimental_autograph_options: Any = None,
    experimental_attributes: Any = None,
    experimental_relax_shapes: Any = None,
    experimental_compile: Any = None,
    experimental_follow_type_hints: Any = None,
) -> Any:
    """Compiles a Python function into a graph that is traced once for each signature.

    Tensors (and numpy arrays) among the arguments are traced by shape and dtype; Python values are part of the
    signature, so a new number means a new trace. After three traces that differ in sizes alone, those sizes become
    free. Variables are captured; what is assigned to them is written when a call ends.

    >>> @function
    ... def double(x):
    ...     return x + x
    >>> float(double(constant(2.0)))
    4.0
    """

    def decorate(f: Callable[..., Any]) -> Function:
        if isinstance(f, Function):
            return f
        return Function(f, input_signature, jit_compile, reduce_retracing or bool(experimental_relax_shapes))

    return decorate if func is None else decorate(func)
