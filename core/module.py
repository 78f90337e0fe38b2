"""tf.Module: an object that finds the variables and modules among its attributes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from .eager.variable import Variable

__all__ = ["Module"]


class Module:
    """A base for own building blocks: finds the variables and modules among its attributes, also in lists and
    dictionaries.

    >>> class Scale(Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.factor = Variable(2.0)
    >>> len(Scale().trainable_variables)
    1
    """

    def __init__(self, name: str | None = None) -> None:
        made = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", type(self).__name__).lower()
        if name is not None and not re.fullmatch(r"[A-Za-z_]\w*", name):
            raise ValueError(f"{name!r} is not a valid module name. Module names must be valid Python identifiers.")
        self._name = name or made

    @property
    def name(self) -> str:
        """The name given, or that of the class in lower case."""
        return self._name

    @property
    def name_scope(self) -> AbstractContextManager[str]:
        """A `with` block for ops of this module; names have no effect here."""
        return nullcontext(self._name)

    @classmethod
    def with_name_scope(cls, method: Any) -> Any:
        """The method as it is: names have no effect here."""
        return method

    @property
    def variables(self) -> tuple[Any, ...]:
        """All variables of this module and its submodules, each once."""
        return tuple(x for x in self._found() if isinstance(x, Variable))

    @property
    def trainable_variables(self) -> tuple[Any, ...]:
        """Those that tapes watch."""
        return tuple(v for v in self.variables if v.trainable)

    @property
    def non_trainable_variables(self) -> tuple[Any, ...]:
        """The others."""
        return tuple(v for v in self.variables if not v.trainable)

    @property
    def submodules(self) -> tuple[Any, ...]:
        """All modules below this one, each once."""
        return tuple(x for x in self._found() if isinstance(x, Module) and x is not self)

    def _found(self) -> Iterator[Any]:
        seen: set[int] = {id(self)}
        waiting: list[Any] = [vars(self)]
        while waiting:
            x = waiting.pop(0)
            if isinstance(x, Mapping):
                waiting[:0] = [x[k] for k in sorted(x, key=str)]
            elif isinstance(x, list | tuple):
                waiting[:0] = list(x)
            elif id(x) in seen:
                continue
            elif isinstance(x, Variable) or hasattr(x, "trainable_variables"):
                seen.add(id(x))
                yield x
                if not isinstance(x, Variable):
                    waiting[:0] = [vars(x)] if isinstance(x, Module) else [list(x.variables)]
