"""From navigation to the first trained step: a fresh profile each time, so nothing is in a cache."""

import contextlib
import json
import statistics
from typing import Any
from urllib.parse import quote

from . import browser
from .workloads import BY_NAME

WORKLOAD = BY_NAME["mlp"]
KEYS = ("tideflow wasm", "tfjs wasm", "jax-js wasm", "tideflow webgpu", "tfjs webgpu", "jax-js webgpu",
        "tideflow pyodide")
SECONDS = 120.0
PATIENCE = 5000.0           # milliseconds: what takes longer is started twice only


def measure(chromium: browser.Chromium, keys: list[str], rounds: int, say: Any) -> dict[str, dict[str, Any]]:
    """Median ms per contender, in turn; what went wrong where there is none."""
    times: dict[str, list[float]] = {key: [] for key in keys}
    errors: dict[str, str] = {}
    contenders = {c.key: c for c in browser.CONTENDERS}
    for turn in range(rounds):
        for key in [k for k in keys if k not in errors and not (turn > 1 and times[k][0] > PATIENCE)]:
            try:
                times[key].append(_once(chromium, contenders[key]))
            except Exception as error:
                errors[key] = (str(error).splitlines() or [type(error).__name__])[0][:300]
                say(f"  {key}: {errors[key]}")
    return {key: {"ms": statistics.median(found), "rounds": found} if found else {"error": errors.get(key, "not run")}
            for key, found in times.items()}


def _once(chromium: browser.Chromium, contender: browser.Contender) -> float:
    file = browser.program_for(WORKLOAD, contender)
    asked = {"options": contender.describe(), "workload": WORKLOAD.describe(), "file": file}
    context = chromium.context()
    try:
        if contender.threads == 1 and contender.library != "pyodide":
            context.add_init_script(browser.ONE_THREAD)
        page = context.new_page()
        page.goto(f"{chromium.address}/page/bench.html#{quote(json.dumps(asked))}", timeout=SECONDS * 1e3)
        page.wait_for_function("globalThis.bench?.answer", timeout=SECONDS * 1e3, polling=10)
        answer = page.evaluate("bench.answer")
    finally:
        with contextlib.suppress(Exception):
            context.close()
    if "error" in answer:
        raise RuntimeError(answer["error"])
    return float(answer["value"])
