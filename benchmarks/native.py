"""Native contenders: a process each, measuring in turn like the pages of the browser.

`python -m benchmarks.native KIND` is such a process: it answers one line of JSON with another.
"""

import functools
import json
import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from queue import Empty, Queue
from typing import Any

from .rounds import Entrant, Kept, stays
from .workloads import BY_NAME, Workload

KINDS = ("tideflow cpu", "tideflow wasmtime", "tideflow wgpu", "numpy", "tensorflow")


class Process:
    """A contender in an interpreter of its own; the interface of browser.Tab."""

    def __init__(self, kind: str, python: str = sys.executable) -> None:
        self.process = subprocess.Popen([python, "-m", "benchmarks.native", kind], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                                        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"})
        self.lines: Queue[str] = Queue()
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self.lines.put(line)
        self.lines.put("")

    def open(self) -> dict[str, Any]:
        """Imports the library."""
        return dict(self.call("open", seconds=120.0))

    def prepare(self, w: Workload) -> dict[str, Any]:
        """Builds and checks."""
        return dict(self.call("prepare", w.name, seconds=w.seconds))

    def call(self, method: str, *args: Any, seconds: float = 60.0) -> Any:
        """A method of Runner. Raises RuntimeError with what it says, TimeoutError."""
        assert self.process.stdin
        self.process.stdin.write(json.dumps([method, args]) + "\n")
        self.process.stdin.flush()
        try:
            line = self.lines.get(timeout=seconds)
        except Empty:
            raise TimeoutError(f"{method} took more than {seconds:.0f} s") from None
        if not line:
            raise RuntimeError(f"the process ended with status {self.process.wait()}")
        answer = json.loads(line)
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer["value"]

    def close(self) -> None:
        """Ends it."""
        self.process.kill()
        self.process.wait()


kept: dict[str, Any] = {}           # processes that stay for the next expression, by kind


def close_kept() -> None:
    """Ends all processes that stayed."""
    while kept:
        kept.popitem()[1][0].close()


def serve(kind: str) -> None:
    """Answers calls until the input ends. Printing goes elsewhere: the answers own the output."""
    from .peers.python_steps import Runner
    runner, out = Runner(kind), os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        method, args = json.loads(line)
        try:
            if method == "prepare":
                args = [BY_NAME[args[0]]]
            answer = {"value": getattr(runner, method)(*args)}
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"[:300]}
        out.write(json.dumps(answer) + "\n")
        out.flush()


def tensorflow_python() -> tuple[str | None, str]:
    """The interpreter that has TensorFlow, or why there is none."""
    python = os.environ.get("TF_PYTHON", "")
    if not python:
        return None, "tensorflow: set TF_PYTHON to an interpreter that has it"
    done = subprocess.run([python, "-c", "import importlib.util as u; print(u.find_spec('tensorflow') is not None)"],
                          capture_output=True, text=True, check=False)
    if "True" in done.stdout:
        return python, ""
    return None, f"tensorflow: {python} cannot import it"


def entrants(w: Workload, kinds: Sequence[str], python: str | None) -> list[Entrant]:
    """The contenders of a workload. The software GPU is not asked for minutes of work."""
    made: list[Entrant] = []
    for kind in kinds:
        if kind == "tideflow wgpu" and w.huge:
            continue
        interpreter = python if kind == "tensorflow" and python else sys.executable
        new = functools.partial(Process, kind, interpreter)
        made.append((kind, lambda w, kind=kind, new=new: Kept(kind, new, kept) if stays(w) else new()))  # type: ignore[misc]
    return made


if __name__ == "__main__":
    serve(sys.argv[1])
