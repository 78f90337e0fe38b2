"""What Python adds to each call of something compiled, and to an eager op: in the tab and natively, in microseconds."""

import contextlib
import sys
from collections.abc import Callable
from typing import Any

from . import browser, native

PAGES = {"tideflow pyodide": "cpu", "tideflow pyodide webgpu": "gpu"}
PROCESSES = ("tideflow cpu", "tensorflow")
SECONDS = 90.0


def measure(words: list[str], missing: list[str], real_gpu: bool, say: Callable[[str], None]) -> dict[str, Any]:
    """{contender: {row: {"best": us, "median": us}} or {"error": text}}."""
    wanted = [key for key in (*PAGES, *PROCESSES) if not words or any(word in key for word in words)]
    found: dict[str, Any] = {}
    pages = [key for key in wanted if key in PAGES]
    if pages and not (absent := browser.missing_pyodide()):
        chromium = browser.Chromium(real_gpu)
        try:
            for key in pages:
                contender = browser.Contender(key, "pyodide", PAGES[key], threads=0)
                found[key] = _guarded(lambda c=contender: browser.Tab(chromium, c, None))
        finally:
            chromium.close()
    elif pages:
        missing.append(absent)
    python, why = native.tensorflow_python()
    if "tensorflow" in wanted and not python and why not in missing:
        missing.append(why)
    for key in [key for key in wanted if key in PROCESSES and (key != "tensorflow" or python)]:
        interpreter = python if key == "tensorflow" and python else sys.executable
        found[key] = _guarded(lambda k=key, i=interpreter: native.Process(k, i))
    for key, rows in found.items():
        numbers = ", ".join(f"{row} {us['median']:.1f}" for row, us in rows.items()) if "error" not in rows else ""
        say(f"  {key:24} {numbers or rows['error']}")
    return found


def _guarded(make: Callable[[], Any]) -> dict[str, Any]:
    """What a session answers, or its error."""
    session = None
    try:
        session = make()
        session.open()
        return dict(session.call("overhead", seconds=SECONDS))
    except Exception as error:
        return {"error": (str(error).splitlines() or [type(error).__name__])[0][:300]}
    finally:
        if session is not None:
            with contextlib.suppress(Exception):
                session.close()
