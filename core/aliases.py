"""`import tensorflow` and `import keras` as other names of this package, submodules included."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

__all__ = ["install"]

PACKAGE = __name__.rpartition(".")[0]
ALIASES = {"tensorflow": PACKAGE, "keras": f"{PACKAGE}.keras"}


class _Aliases(MetaPathFinder, Loader):
    """Finds `tensorflow.keras.layers` where `tideflow.keras.layers` is: the same module object, never a second copy of
    its classes.
    """

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: Any = None) -> ModuleSpec | None:
        """A spec for the names that are aliases. Raises ModuleNotFoundError, with what to use, for absent ones."""
        top, _, rest = name.partition(".")
        if top not in ALIASES:
            return None
        found: Any = importlib.import_module(ALIASES[top])
        for part in rest.split(".") if rest else ():
            found = self._inside(found, part, name)
        spec = ModuleSpec(name, self, is_package=hasattr(found, "__path__"))
        spec.loader_state = (found, found.__spec__)
        return spec

    def _inside(self, module: Any, part: str, name: str) -> Any:
        try:
            found = getattr(module, part)                       # also lazy ones, and names that differ from the file's
        except AttributeError as error:
            why = str(error)
        else:
            if isinstance(found, ModuleType):
                return found
            why = f"{part} is not a module: write `from {name.rpartition('.')[0]} import {part}`"
        raise ModuleNotFoundError(f"No module named {name!r}: {why}", name=name)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """The module that is there already."""
        module: ModuleType = spec.loader_state[0]
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Nothing: it has run. The import system has just marked the module with the alias: its own name comes back."""
        spec = module.__spec__
        if spec is not None and spec.loader is self:
            module.__spec__ = spec.loader_state[1]


def install() -> None:
    """Makes the aliases, once. Raises RuntimeError if TensorFlow or Keras itself is already loaded."""
    for name, target in ALIASES.items():
        if name in sys.modules and sys.modules[name] is not sys.modules.get(target):
            raise RuntimeError(f"{name} is already imported: call install_as_tensorflow() before anything imports it")
    if not any(isinstance(finder, _Aliases) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Aliases())
    for name in ALIASES:
        importlib.import_module(name)
