"""Finding Keras objects by name, and turning them into configuration and back. No code is ever loaded from a file."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .naming import snake_case

__all__ = ["custom_object_scope", "deserialize", "get", "register_keras_serializable", "serialize"]

_registered: dict[str, Any] = {}


def register_keras_serializable(package: str = "Custom", name: str | None = None) -> Callable[[Any], Any]:
    """Decorator: makes a class or function of the user's known, so that models that use it can be loaded."""

    def decorate(obj: Any) -> Any:
        _registered[f"{package}>{name or obj.__name__}"] = obj
        return obj

    return decorate


def registered_name(obj: Any) -> str:
    """The name that a file holds for a class or function."""
    return next((k for k, v in _registered.items() if v is obj), obj.__name__)


class custom_object_scope:
    """Inside the `with` block these names are known."""

    def __init__(self, custom_objects: dict[str, Any]) -> None:
        self.objects = dict(custom_objects)
        self._before: dict[str, Any] = {}

    def __enter__(self) -> custom_object_scope:
        self._before = dict(_registered)
        _registered.update(self.objects)
        return self

    def __exit__(self, *_: Any) -> None:
        _registered.clear()
        _registered.update(self._before)


def find(name: str, known: dict[str, Any], what: str) -> Any:
    """A class or function by its own name, its snake_case name, or a registered one.

    Raises ValueError with what is known.
    """
    for candidate in (name, snake_case(name)):
        if candidate in known:
            return known[candidate]
    if name in _registered:
        return _registered[name]
    for key, obj in _registered.items():
        if key.split(">")[-1] == name:
            return obj
    if what == "layer":
        raise ValueError(
            f"Could not find the class {name!r} of a layer or model. If it is yours, pass "
            f"custom_objects={{{name!r}: {name}}} or put @tf.keras.utils.register_keras_serializable() before it."
        )
    raise ValueError(
        f"Could not interpret {what} {name!r}. Known: {', '.join(sorted(k for k in known if k == snake_case(k)))}."
    )


def get(identifier: Any, known: dict[str, Any], what: str) -> Any:
    """An object from None, a name, a configuration, a class or an object."""
    if identifier is None:
        return None
    if isinstance(identifier, dict):
        return deserialize(identifier, known, what)
    if isinstance(identifier, str):
        found = find(identifier, known, what)
        return found() if isinstance(found, type) else found
    if isinstance(identifier, type):
        return identifier()
    if callable(identifier):
        return identifier
    raise ValueError(
        f"Could not interpret {what}: received {identifier!r}; expected a name, a configuration or an object"
    )


def serialize(obj: Any) -> Any:
    """The configuration of an object: {"class_name", "config"}, or the name of a function."""
    if obj is None:
        return None
    if hasattr(obj, "get_config"):
        return {"class_name": registered_name(type(obj)), "config": obj.get_config()}
    if getattr(obj, "__name__", "") == "<lambda>":
        raise ValueError(
            "a lambda cannot be saved: write a named function and decorate it with "
            "@keras.saving.register_keras_serializable()"
        )
    return registered_name(obj)


def deserialize(config: Any, known: dict[str, Any], what: str) -> Any:
    """The object of a configuration."""
    if isinstance(config, str) or config is None:
        return get(config, known, what)
    found = find(config["class_name"], known, what)
    return found.from_config(dict(config["config"])) if hasattr(found, "from_config") else found(**config["config"])
