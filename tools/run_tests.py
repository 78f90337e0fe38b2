"""Runs every part of the test suite, prints wall times against their budgets, ends with `N passed, N failed`.

    .venv/bin/python tools/run_tests.py [PART ...]     # all, or: lint unit wasm wgsl program keras e2e

A failing part does not stop the later ones. The exit status is 1 if anything failed, or if a part ran no test at all.
"""

import os
import shutil
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / ".cache" / "test_results"
PYTEST = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
PARALLEL = ["-n", "2", "--dist", "worksteal"]
REQUIRED = "wgsl,wasm,node,chromium"


@dataclass
class Count:
    """Results of one part."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0

    def __add__(self, other: "Count") -> "Count":
        return Count(self.passed + other.passed, self.failed + other.failed, self.skipped + other.skipped)


@dataclass
class Part:
    """One row of the table: pytest folders, node test folders and plain commands that run together."""

    name: str
    title: str
    minutes: float
    folders: list[str] = field(default_factory=list)
    arguments: list[str] = field(default_factory=list)
    node_folder: str | None = None
    commands: list[list[str]] = field(default_factory=list)


def lint_commands() -> list[list[str]]:
    """ruff, mypy against an installed copy of the package, tsc on the JavaScript."""
    python = sys.executable
    return [
        [python, "-m", "ruff", "check", "."],
        [python, "tools/typecheck.py"],
        ["node", "node_modules/typescript/bin/tsc", "--project", "tools/tsconfig.json"],
    ]


PARTS = [
    Part("lint", "set-up; lint, mypy, tsc", 3.5, commands=lint_commands()),
    Part("unit", "unit, gradient, reference", 3, ["tests/unit", "tests/gradient", "tests/reference"], PARALLEL),
    Part("wasm", "differential: host, WASM", 3, ["tests/differential"], [*PARALLEL, "-k", "not wgsl"]),
    Part("wgsl", "differential: WGSL", 5, ["tests/differential", "tests/gpu"], [*PARALLEL, "-k", "wgsl or gpu"]),
    Part("program", "program, corpus, js", 2, ["tests/program"], PARALLEL, node_folder="tests/js"),
    Part("keras", "keras, packaging, examples", 2.5, ["tests/keras", "tests/packaging", "tests/examples"], PARALLEL),
    Part("e2e", "e2e, serial", 5, ["tests/e2e"]),
]


def run_part(part: Part) -> Count:
    """Runs one part to its end, whatever fails in it."""
    total = Count()
    for command in part.commands:
        print(f"$ {' '.join(command[-3:])}", flush=True)
        failed = subprocess.run(command, cwd=ROOT).returncode != 0
        total += Count(passed=int(not failed), failed=int(failed))
    folders = [folder for folder in part.folders if (ROOT / folder).is_dir()]
    if folders:
        total += run_pytest(part, folders)
    if part.node_folder:
        total += run_node(ROOT / part.node_folder)
    if total == Count():
        print(f"{part.title}: no test ran")
        total.failed = 1
    return total


def run_pytest(part: Part, folders: list[str]) -> Count:
    """Counts come from pytest's own XML report; a run without one (an internal error) counts as one failure."""
    report = RESULTS / f"{part.name}.xml"
    report.unlink(missing_ok=True)
    environment = {**os.environ, "TIDEFLOW_REQUIRE": os.environ.get("TIDEFLOW_REQUIRE", REQUIRED)}
    done = subprocess.run([*PYTEST, f"--junitxml={report}", *part.arguments, *folders], cwd=ROOT, env=environment)
    if not report.exists():
        return Count(failed=1)
    count = Count()
    for suite in ElementTree.parse(report).getroot().iter("testsuite"):
        tests, skipped = int(suite.get("tests", 0)), int(suite.get("skipped", 0))
        failed = int(suite.get("failures", 0)) + int(suite.get("errors", 0))
        count += Count(max(tests - skipped - failed, 0), failed, skipped)
    if done.returncode not in (0, 5) and count.failed == 0:
        count.failed = 1
    return count


def run_node(folder: Path) -> Count:
    """`node --test` on every test file below a folder; the numbers are read from its TAP summary."""
    files = sorted(str(path.relative_to(ROOT)) for path in folder.rglob("*.test.*js"))
    if not files:
        return Count()
    command = ["node", "--test", "--test-reporter=tap", *files]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    numbers = {}
    for line in done.stdout.splitlines():
        words = line.split()
        if len(words) == 3 and words[0] == "#" and words[2].isdigit():
            numbers[words[1]] = int(words[2])
    failed = numbers.get("fail", 0) + numbers.get("cancelled", 0)
    count = Count(numbers.get("pass", 0), failed, numbers.get("skipped", 0))
    if done.returncode and not count.failed:
        count.failed = 1
    if count.failed:
        print(done.stdout[-20000:], done.stderr[-4000:], sep="\n")
    print(f"node --test: {count.passed} passed, {count.failed} failed, {count.skipped} skipped", flush=True)
    return count


def setup_seconds() -> float:
    """What tools/make_env.py took, when it ran just before; it belongs to the first row of the table."""
    note = ROOT / ".cache" / "setup_seconds"
    return float(note.read_text()) if note.exists() and time.time() - note.stat().st_mtime < 60 else 0.0


def table(rows: list[tuple[Part, Count, float]]) -> Iterator[str]:
    """The lines of the table."""
    yield f"{'part':32} {'min':>6} {'budget':>6} {'passed':>7} {'failed':>7} {'skipped':>8}"
    for part, count, seconds in rows:
        over = "  over budget" if seconds > part.minutes * 60 else ""
        yield (f"{part.title:32} {seconds / 60:6.1f} {part.minutes:6.1f} {count.passed:7} {count.failed:7} "
               f"{count.skipped:8}{over}")
    yield f"{'all':32} {sum(row[2] for row in rows) / 60:6.1f} {sum(row[0].minutes for row in rows):6.1f}"


def main(names: list[str]) -> int:
    """Runs the named parts, or all."""
    if unknown := set(names) - {part.name for part in PARTS}:
        print(f"unknown part {sorted(unknown)}; known: {' '.join(part.name for part in PARTS)}")
        return 2
    RESULTS.mkdir(parents=True, exist_ok=True)
    if shutil.which("node") is None:
        print("node is missing: run `make setup`, which says what to install")
    rows = []
    for part in PARTS:
        if names and part.name not in names:
            continue
        print(f"\n=== {part.title}", flush=True)
        started = time.monotonic() - (setup_seconds() if part.name == "lint" else 0)
        rows.append((part, run_part(part), time.monotonic() - started))
    total = sum((row[1] for row in rows), Count())
    print("", *table(rows), "", sep="\n")
    print(f"{total.passed} passed, {total.failed} failed, {total.skipped} skipped", flush=True)
    return 1 if total.failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
