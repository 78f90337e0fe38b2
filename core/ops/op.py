"""What an op is: shape rule, numpy kernel, gradient, lowering and test cases in one class, registered by being
defined.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from ..dtypes import DType
from ..shapes import Shape, broadcast_shapes
from .parts import quiet

__all__ = [
    "Case",
    "Composite",
    "Elementwise",
    "Op",
    "Pattern",
    "Spec",
    "case",
    "find_op",
    "no_gradient",
    "registered_ops",
]


@dataclass(frozen=True, init=False)
class Spec:
    """Shape (ints and Dims) and dtype of a value."""

    shape: Shape
    dtype: DType

    def __init__(self, shape: Any, dtype: DType) -> None:
        fields = self.__dict__                          # every op makes some: frozen dataclasses are slow to fill
        fields["shape"] = tuple(shape)
        fields["dtype"] = dtype


@dataclass
class Case:
    """One sample for the tests that run over the registry: arrays, attributes, and whether gradients are checked
    there.
    """

    arrays: tuple[np.ndarray[Any, Any], ...]
    attrs: dict[str, Any] = field(default_factory=dict)
    gradient: bool = True  # False at kinks, NaN, integers
    tolerance: float = 1.0  # factor on the table of tolerances


def case(*arrays: Any, gradient: bool = True, tolerance: float = 1.0, **attrs: Any) -> Case:
    """A Case of these arrays (float64 becomes float32) and attributes."""
    made = [np.asarray(a) for a in arrays]
    made = [
        a.astype(np.float32) if a.dtype == np.float64 else a.astype(np.int32) if a.dtype == np.int64 else a
        for a in made
    ]
    return Case(tuple(made), attrs, gradient, tolerance)


class NoGradient:
    """Says why an op has no gradient."""

    def __init__(self, reason: str) -> None:
        self.reason = reason


def no_gradient(reason: str) -> Any:
    """`grad = no_gradient("why")` in an op that has none: the gradient of its inputs is None."""
    return NoGradient(reason)


def _by_ufunc(op: Op, *arrays: Any) -> Any:
    """The numpy kernel of an op that is one numpy function."""
    return quiet(op.ufunc, *arrays)


_REGISTRY: dict[str, Op] = {}
_NEEDED = ("name", "version", "dtypes", "infer", "numpy", "grad", "lower", "cases")


class Op:
    """The base of all ops. A concrete subclass defines everything in `_NEEDED`; one stateless instance is registered.

    ufunc = np.tanh                     where one numpy function is the whole kernel: stands for `numpy`
    steps = ((np.exp, 0), (np.add, -1, 1.0))    what `numpy` does with floats, for chains: each operand an input by its
                                        number, the result before as -1, or a float
    infer(*specs, **attrs)              Spec or tuple of Specs of the outputs; raises InvalidArgumentError
    numpy(*arrays, **attrs)             array or tuple of arrays
    grad(dy, *inputs, out, **attrs)     one gradient (or None) per input, written with ops; several outputs: tuples dy,
    out lower(...)                          see Elementwise and Pattern
    cases()                             yields Case samples: also empty, odd, broadcast, NaN and infinity where they
    matter

    Inputs are positional tensors; attributes are keywords and hashable (ints, floats, strings, bools, tuples of them,
    sizes); a dtype attribute is its name.
    """

    name: ClassVar[str]
    version: ClassVar[int]
    dtypes: ClassVar[frozenset[DType]]
    kind: ClassVar[str] = "pattern"
    same: ClassVar[tuple[int, ...] | None] = (
        None  # inputs that share one dtype: Python numbers among them take it; None: all
    )
    stateful: ClassVar[bool] = False  # never merged with an equal node, never dropped
    ufunc: ClassVar[Any] = None
    steps: ClassVar[tuple[tuple[Any, ...], ...]] = ()
    infer: Callable[..., Any]
    numpy: Callable[..., Any]
    grad: Any
    lower: Callable[..., Any]
    cases: Callable[[], Iterable[Case]]

    def __init_subclass__(cls, abstract: bool = False, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if abstract:
            cls._abstract = True
            return
        for base in cls.__mro__[1:]:
            if base.__dict__.get("_concrete"):
                raise TypeError(
                    f"op {cls.__name__}: its base {base.__name__} is an op itself; it would inherit gradient and cases"
                )
        if "ufunc" in cls.__dict__:
            cls.numpy = _by_ufunc
        missing = [n for n in _NEEDED if not hasattr(cls, n)]
        if missing:
            raise TypeError(
                f'op {cls.__name__}: {", ".join(missing)} not defined; write grad = no_gradient("why") if there is none'
            )
        if cls.name in _REGISTRY:
            raise TypeError(
                f"op {cls.__name__}: the name {cls.name!r} is taken by {type(_REGISTRY[cls.name]).__name__}"
            )
        cls._concrete = True
        _REGISTRY[cls.name] = cls()

    def __repr__(self) -> str:
        return self.name


class Elementwise(Op, abstract=True):
    """Each element of the outputs depends on the same element of the inputs, which broadcast.

    lower(ir, *exprs, **attrs) gets one Expr per input and returns one Expr (or a tuple, for several outputs).
    """

    kind = "elementwise"

    def infer(self, *inputs: Spec, **attrs: Any) -> Any:
        """The broadcast shape, the dtype of the first input."""
        return Spec(broadcast_shapes(*(x.shape for x in inputs), op=self.name), inputs[0].dtype)


class Pattern(Op, abstract=True):
    """An element of an output is an expression of any elements of the inputs.

    lower(ir, at, *views, **attrs) gets the indices of one element of the output and a kernel.ir.View per input (None
    for an absent one), and returns its Expr; with several outputs it gets `output=i` too. Reductions and contractions
    use ir.fold / ir.sum. `cheap` says that recomputing it in every consumer costs no more than a load (movement ops):
    it never needs memory of its own.
    """

    kind = "pattern"
    cheap: ClassVar[bool] = False


class Composite(Op, abstract=True):
    """Expands to smaller ops: `expand(*inputs, **attrs)`. Gradient and kernels come from the expansion."""

    kind = "composite"
    grad = no_gradient("through its expansion")
    expand: Callable[..., Any]

    def numpy(self, *arrays: Any, **attrs: Any) -> Any:
        """The expansion, run on the host."""
        from .dispatch import on_host

        return on_host(lambda *xs: self.expand(*xs, **attrs), arrays)

    def lower(self, *_: Any, **__: Any) -> Any:
        """Composites are expanded before lowering."""
        raise AssertionError(f"op {self.name} is a composite: the compiler expands it")


def find_op(name: str) -> Op:
    """The registered op of this name. Raises KeyError with the nearest names."""
    try:
        return _REGISTRY[name]
    except KeyError:
        import difflib

        near = difflib.get_close_matches(name, _REGISTRY, 3)
        raise KeyError(f"no op named {name!r}" + (f"; did you mean {', '.join(near)}?" if near else "")) from None


def registered_ops() -> Iterator[Op]:
    """Every op, in order of name."""
    return (op for _, op in sorted(_REGISTRY.items()))
