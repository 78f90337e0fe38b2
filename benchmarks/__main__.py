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
from dataclasses import replace
from pathlib import Path
from typing import Any

from . import browser, chart, native, overhead, peaks, report, rounds, startup
from .check import verdict
from .plan import PARTS, Schedule, lacking, ordered, takes_part
from .workloads import BY_NAME, WORKLOADS, Workload


def main() -> None:
    """Measures, prints as it goes, writes the results."""
    arguments = parse()
    chosen = ordered([w for w in WORKLOADS if not arguments.workloads or w.name in arguments.workloads])
    budget = rounds.Budget(0.06, 5, 0.1, 8.0) if arguments.quick else rounds.Budget()
    results = kept(arguments)
    before = results["machine"].get("minutes")
    results["machine"] |= machine()
    if rounds.busy():
        results["machine"]["times"] = "the best round, not the median: the machine is busy"
    begun = time.monotonic()
    arguments.until = begun
    try:
        for part in arguments.parts:
            arguments.until += arguments.minutes * 60 * PARTS[part] / sum(PARTS[p] for p in arguments.parts)
            RUNNERS[part](chosen, budget, results, arguments)
    except KeyboardInterrupt:
        print("stopped: writing what there is", file=sys.stderr)
    minutes = (time.monotonic() - begun) / 60
    spent = f"{before} + {minutes:.1f}" if before else f"{minutes:.1f}"
    results["machine"] |= {"load after": f"{os.getloadavg()[0]:.1f}", "minutes": spent}
    write(results, arguments.output)
    print(f"\n{report.table(results)}\nWritten to {arguments.output.name}/: results.json, table.md, chart.svg")


def kept(arguments: argparse.Namespace) -> dict[str, Any]:
    """What an earlier run left in the output folder and this one adds to; nothing unless asked for."""
    empty: dict[str, Any] = {"machine": {}, "peaks": {}, "cells": [], "missing": [], "startup": {}, "python": {}}
    path = arguments.output / "results.json"
    if not (arguments.update or arguments.missing) or not path.exists():
        return empty
    found = json.loads(path.read_text())
    made = empty | {name: found[name] for name in empty if name in found}
    made["missing"] = [text for text in made["missing"] if "the time was up" not in text]
    return made


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workloads", nargs="*", metavar="WORKLOAD", help=", ".join(BY_NAME))
    parser.add_argument("--contenders", nargs="+", default=[], help="only those whose name has one of these words")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--minutes", type=float, default=27.0, help="what does not fit is left out, and named")
    parser.add_argument("--quick", action="store_true", help="few repetitions")
    parser.add_argument("--real-gpu", action="store_true", help="let Chromium use the GPU instead of SwiftShader")
    parser.add_argument("--update", action="store_true", help="keep what the output folder has of other workloads")
    parser.add_argument("--missing", action="store_true", help="measure only what the output folder lacks")
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


def schedule(part: str, keys: list[str], chosen: list[Workload], results: dict[str, Any],
             arguments: argparse.Namespace) -> Schedule:
    """The workloads of a part, each with the contenders that are to be measured."""
    entries = []
    for w in chosen:
        wanted = [key for key in keys if takes_part(key, w, arguments.contenders)]
        entries.append((w, lacking(wanted, w, results) if arguments.missing else wanted))
    made = Schedule(part, arguments.until, arguments.minutes, entries)
    print(f"{part}: about {made.seconds / 60:.0f} minutes at the least, "
          f"{max(0.0, made.until - time.monotonic()) / 60:.0f} are there", flush=True)
    return made


def run_browser(chosen: list[Workload], budget: rounds.Budget, results: dict[str, Any], arguments: Any) -> None:
    """Everything in Chromium."""
    asked = [c.key for c in browser.CONTENDERS if any(takes_part(c.key, w, arguments.contenders) for w in chosen)]
    absent = browser.absent_libraries(asked, results["missing"])
    known = {c.key: c for c in browser.CONTENDERS if c.key in asked and c.library not in absent}
    try:
        chromium = browser.Chromium(arguments.real_gpu)
    except Exception as error:
        results["missing"].append(f"Chromium: {str(error).splitlines()[0]}")
        return
    try:
        results["machine"]["chromium"] = chromium.version
        for w, keys, until in schedule("browser", list(known), chosen, results, arguments).turns(results):
            print(w.title, flush=True)
            entrants = [browser.entrant(chromium, known[key]) for key in keys] + browser.limits(chromium, w, keys)
            add(results, w, rounds.measure(w, entrants, replace(budget, until=until), print))
            write(results, arguments.output)
    finally:
        chromium.close()


def run_startup(chosen: list[Workload], budget: rounds.Budget, results: dict[str, Any], arguments: Any) -> None:
    """From navigation to the first trained step."""
    words = arguments.contenders
    keys = [k for k in startup.KEYS if not words or any(w in k for w in words)]
    if startup.WORKLOAD not in chosen or not keys or (arguments.missing and results["startup"]):
        return
    absent = browser.absent_libraries(keys, results["missing"])
    libraries = {c.key: c.library for c in browser.CONTENDERS}
    keys = [k for k in keys if libraries[k] not in absent]
    print("from navigation to the first trained step", flush=True)
    chromium = browser.Chromium(arguments.real_gpu)
    try:
        results["startup"] |= startup.measure(chromium, keys, 2 if arguments.quick else 3, print)
    finally:
        chromium.close()
    for key in keys:
        print(f"  {key:22} {results['startup'][key].get('ms', 0):8.0f} ms", flush=True)


def run_python(chosen: list[Workload], budget: rounds.Budget, results: dict[str, Any], arguments: Any) -> None:
    """What Python adds to a call."""
    alone = arguments.workloads and len(arguments.parts) > 1        # somebody asks for these workloads
    if alone or (arguments.missing and results["python"]):
        return
    print("what Python adds to a call, microseconds", flush=True)
    results["python"] |= overhead.measure(arguments.contenders, results["missing"], arguments.real_gpu, print)


def run_native(chosen: list[Workload], budget: rounds.Budget, results: dict[str, Any], arguments: Any) -> None:
    """numpy, TensorFlow and Tideflow without a browser."""
    python, why = native.tensorflow_python()
    if why and why not in results["missing"]:
        results["missing"].append(why)
    keys = [kind for kind in native.KINDS if kind != "tensorflow" or python]
    try:
        for w, there, until in schedule("native", keys, chosen, results, arguments).turns(results):
            print(f"native: {w.title}", flush=True)
            entrants = native.entrants(w, there, python)
            add(results, w, rounds.measure(w, entrants, replace(budget, until=until), print))
            write(results, arguments.output)
    finally:
        native.close_kept()


def add(results: dict[str, Any], w: Workload, cells: list[Any]) -> None:
    """Judges the answers, compares with the limits of the same rounds, keeps the cells and prints them."""
    reached: dict[str, float] = {}
    for cell in [c for c in cells if c.contender in peaks.PEAKS and c.rounds]:
        device, made = peaks.PEAKS[cell.contender]["device"], cell.finish()
        reached[device] = made["work"] / made["bestMs"] / 1e6
        results["peaks"][cell.contender] = max(results["peaks"].get(cell.contender, 0.0), reached[device])
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


RUNNERS = {"browser": run_browser, "startup": run_startup, "python": run_python, "native": run_native}


def write(results: dict[str, Any], folder: Path) -> None:
    """results.json, table.md, chart.svg."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    (folder / "table.md").write_text(report.table(results))
    (folder / "chart.svg").write_text(chart.chart(results))


if __name__ == "__main__":
    main()
