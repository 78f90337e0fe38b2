"""Tideflow beside its peers: python -m benchmarks [WORKLOAD ...] [--quick] [--contenders WORD ...] [--parts ...]

Without arguments everything is measured: in Chromium (TensorFlow.js, jax-js, onnxruntime-web beside the JavaScript
runtime; Python and numpy in Pyodide) and natively (numpy; TensorFlow where `TF_PYTHON` names an interpreter that has
it). A peer that is missing, a cell that fails or takes too long is named and left out. Read the ratios: milliseconds
belong to the machine and the moment. Writes results.json, table.md and chart.svg.
"""

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from . import browser, native, peaks, report, rounds, startup
from .check import verdict
from .peers import numpy_steps
from .workloads import BY_NAME, WORKLOADS, Workload

PARTS = {"browser": 0.67, "startup": 0.08, "native": 0.25}        # and the share of the time that each may take
IN_PYODIDE = {"matmul512", "chain4", "softmax1", "mlp", "cnn", "transformer", "lstm", "mobilenet", "adds_eager",
              "adam250k"}
FIRST = ("train", "infer", "compute", "adam")       # what must not be missing if the time does not suffice
ASKED_ONLY = ("worker", "threads")      # contenders that only train and infer


def main() -> None:
    """Measures, prints as it goes, writes the results."""
    arguments = parse()
    chosen = [w for w in WORKLOADS if not arguments.workloads or w.name in arguments.workloads]
    chosen.sort(key=lambda w: FIRST.index(w.kind))
    budget = rounds.Budget(0.06, 5, 0.1, 8.0) if arguments.quick else rounds.Budget()
    results: dict[str, Any] = {"machine": machine(), "peaks": {}, "cells": [], "missing": []}
    if arguments.update and (arguments.output / "results.json").exists():
        kept = json.loads((arguments.output / "results.json").read_text())
        results |= {"cells": kept["cells"], "peaks": kept["peaks"], "startup": kept.get("startup", {})}
    if rounds.busy():
        results["machine"]["times"] = "the best round, not the median: the machine is busy"
    begun = time.monotonic()
    arguments.until = begun
    try:
        for part in arguments.parts:
            arguments.until += arguments.minutes * 60 * PARTS[part] / sum(PARTS[p] for p in arguments.parts)
            RUNNERS[part](chosen, arguments.contenders, budget, results, arguments)
    except KeyboardInterrupt:
        print("stopped: writing what there is", file=sys.stderr)
    minutes = (time.monotonic() - begun) / 60
    results["machine"] |= {"load after": f"{os.getloadavg()[0]:.1f}", "minutes": f"{minutes:.1f}"}
    write(results, arguments.output)
    print(f"\n{report.table(results)}\nWritten to {arguments.output.name}/: results.json, table.md, chart.svg")


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workloads", nargs="*", metavar="WORKLOAD", help=", ".join(BY_NAME))
    parser.add_argument("--contenders", nargs="+", default=[], help="only those whose name has one of these words")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--minutes", type=float, default=30.0, help="what does not fit is left out, and named")
    parser.add_argument("--quick", action="store_true", help="few repetitions")
    parser.add_argument("--real-gpu", action="store_true", help="let Chromium use the GPU instead of SwiftShader")
    parser.add_argument("--update", action="store_true", help="keep what the output folder has of other workloads")
    parser.add_argument("--output", type=Path, default=Path(__file__).with_name("out"))
    arguments = parser.parse_args()
    unknown = [w for w in arguments.workloads if w not in BY_NAME]
    if unknown:
        parser.error(f"no such workload: {', '.join(unknown)}; there are {', '.join(BY_NAME)}")
    return arguments


def machine() -> dict[str, str]:
    """What the numbers belong to."""
    name = platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    return {"processor": name, "cores": str(os.cpu_count()), "load before": f"{os.getloadavg()[0]:.1f}"}


def takes_part(key: str, w: Workload, words: list[str]) -> bool:
    """Threads and workers are compared where they are used: in training and inference."""
    if words and not any(word in key for word in words):
        return False
    if key.endswith("pyodide") and w.name not in IN_PYODIDE:
        return False
    if key.startswith("tideflow pyodide eager") and not (w.options.get("eager") or w.name == "transformer"):
        return False
    if key.startswith("numpy") and not numpy_steps.knows(w):
        return False
    if w.options.get("eager") and key in ("tideflow pyodide", "tideflow wasmtime", "tideflow wgpu", "tideflow wasm",
                                          "tideflow webgpu"):
        return False                    # what runs there was compiled
    if key.startswith("ort") and (w.kind in ("train", "adam") or w.options.get("eager")):
        return False                    # onnxruntime-web runs compiled inference only
    return w.kind in ("train", "infer") or not any(word in key for word in ASKED_ONLY)


def in_time(chosen: list[Workload], arguments: Any, results: dict[str, Any], part: str) -> Iterator[Workload]:
    """The workloads, as long as the part's share of the time lasts."""
    for i, w in enumerate(chosen):
        if time.monotonic() > arguments.until:
            left = ", ".join(w.name for w in chosen[i:])
            results["missing"].append(f"{part}: the time was up before {left} (--minutes {arguments.minutes:g})")
            return
        yield w


def run_browser(chosen: list[Workload], words: list[str], budget: Any, results: dict[str, Any], arguments: Any) -> None:
    """Everything in Chromium."""
    keys = [c.key for c in browser.CONTENDERS if not words or any(word in c.key for word in words)]
    missing = browser.bundle_peers(keys)
    results["missing"] += missing
    absent = {m.split(":")[0] for text in missing for m in text.split(", ")}
    try:
        chromium = browser.Chromium(arguments.real_gpu)
    except Exception as error:
        results["missing"].append(f"Chromium: {str(error).splitlines()[0]}")
        return
    try:
        results["machine"]["chromium"] = chromium.version
        for w in in_time(chosen, arguments, results, "browser"):
            contenders = [c for c in browser.CONTENDERS if c.library not in absent and takes_part(c.key, w, words)]
            print(w.title, flush=True)
            entrants = [browser.entrant(chromium, c) for c in contenders]
            entrants += browser.limits(chromium, w, [c.key for c in contenders])
            add(results, w, rounds.measure(w, entrants, budget, print))
            write(results, arguments.output)
    finally:
        chromium.close()


def run_startup(chosen: list[Workload], words: list[str], budget: Any, results: dict[str, Any], arguments: Any) -> None:
    """From navigation to the first trained step."""
    keys = [k for k in startup.KEYS if not words or any(w in k for w in words)]
    if startup.WORKLOAD not in chosen or not keys:
        return
    absent = {m.split(":")[0] for text in browser.bundle_peers(keys) for m in text.split(", ")}
    libraries = {c.key: c.library for c in browser.CONTENDERS}
    keys = [k for k in keys if libraries[k] not in absent]
    print("from navigation to the first trained step", flush=True)
    chromium = browser.Chromium(arguments.real_gpu)
    try:
        results["startup"] = startup.measure(chromium, keys, 2 if arguments.quick else 3, print)
    finally:
        chromium.close()
    for key, found in results["startup"].items():
        print(f"  {key:22} {found.get('ms', 0):8.0f} ms", flush=True)


def run_native(chosen: list[Workload], words: list[str], budget: Any, results: dict[str, Any], arguments: Any) -> None:
    """numpy, TensorFlow and Tideflow without a browser."""
    missing: list[str] = []
    for w in in_time(chosen, arguments, results, "native"):
        entrants, missing = native.entrants(w)
        print(f"native: {w.title}", flush=True)
        add(results, w, rounds.measure(w, [e for e in entrants if takes_part(e[0], w, words)], budget, print))
        write(results, arguments.output)
    results["missing"] += missing


def add(results: dict[str, Any], w: Workload, cells: list[Any]) -> None:
    """Judges the answers, compares with the limits of the same rounds, keeps the cells and prints them."""
    reached: dict[str, float] = {}
    for cell in [c for c in cells if c.contender in peaks.PEAKS and c.rounds]:
        peak = peaks.PEAKS[cell.contender]
        reached[peak["device"]] = peak.get("flops", peak.get("bytes", 0.0)) / cell.finish()["steadyMs"] / 1e6
        results["peaks"][cell.contender] = max(results["peaks"].get(cell.contender, 0.0), reached[peak["device"]])
    cells = [c for c in cells if c.contender not in peaks.PEAKS]
    replaced = {(w.name, report.group_of(cell.contender)) for cell in cells}    # ratios are of one run
    results["cells"] = [c for c in results["cells"] if (c["workload"], report.group_of(c["contender"])) not in replaced]
    for cell in cells:
        made = cell.finish()
        if "check" in made:
            made["right"], made["off"] = verdict(w, made.pop("check"))
        limit = reached.get(made["contender"].removeprefix("tideflow "))
        if limit and "steadyMs" in made:
            made["ofLimit"] = (w.flops or w.bytes) / made["steadyMs"] / 1e6 / limit
        results["cells"].append(made)
        if "steadyMs" in made:
            note = "" if made["right"] else f"  WRONG by {made['off']:.2g}"
            steady, first = report.number(made["steadyMs"]), report.number(made["firstMs"])
            print(f"  {made['contender']:22} {steady:>8} ms, first {first} ms{note}", flush=True)


RUNNERS = {"browser": run_browser, "startup": run_startup, "native": run_native}


def write(results: dict[str, Any], folder: Path) -> None:
    """results.json, table.md, chart.svg."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    (folder / "table.md").write_text(report.table(results))
    (folder / "chart.svg").write_text(report.chart(results))


if __name__ == "__main__":
    main()
