"""What is not compared, and why: one table. `python tests/support/exclusions.py` prints it.

Values that stay on the host by their dtype (float64, strings, int64 arithmetic) are no exclusions: to compile them is
an error that names the dtype, and a test asks for that.
"""

from __future__ import annotations

from typing import NamedTuple


class Exclusion(NamedTuple):
    """An op that a backend ("interpreter", "wasm", "wgsl") is not compared for, and why."""

    op: str
    backend: str
    reason: str


_HOST = "the number of iterations is data: such a loop is a host stage"
EXCLUSIONS: tuple[Exclusion, ...] = tuple(Exclusion("while", b, _HOST) for b in ("interpreter", "wasm", "wgsl"))


def excluded(op: str, backend: str) -> str | None:
    """The reason, if the op is excluded."""
    return next((e.reason for e in EXCLUSIONS if (e.op, e.backend) == (op, backend)), None)


def table() -> str:
    """All exclusions as Markdown."""
    rows = [f"| {e.op} | {e.backend} | {e.reason} |" for e in EXCLUSIONS]
    return "\n".join(["| op | backend | reason |", "|---|---|---|", *rows]) if rows else "Nothing is excluded."


if __name__ == "__main__":
    print(table())
