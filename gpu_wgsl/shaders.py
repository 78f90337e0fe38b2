"""Hand-tuned shaders: texts in `shaders/`, with places for what a kernel puts into them."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from string import Template

__all__ = ["instantiate"]


def instantiate(name: str, **parts: str | int) -> str:
    """The shader `shaders/<name>.wgsl` with every `${part}` filled in, without its comments: they are for readers."""
    return _template(name).substitute({key: str(part) for key, part in parts.items()})


@cache
def _template(name: str) -> Template:
    assert __package__ is not None
    source = files(__package__).joinpath("shaders", f"{name}.wgsl").read_text(encoding="utf-8")
    code = (line.split("//")[0].rstrip() for line in source.splitlines())
    return Template("".join(f"{line}\n" for line in code if line))
