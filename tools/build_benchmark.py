"""Fills `site/benchmark/`: the workloads of the speed page as programs without weights, and numbers recorded earlier.

The page makes weights and operands itself (benchmarks/page/data.js), so the compressed files are a few kilobytes each.
"""

import gzip
import json
import shutil
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
SHARED = ["data.js", "peak.js"]          # modules that the page has in common with the benchmark
RECORDED = ROOT / "benchmarks" / "results" / "results.json"
BUDGET = 1_000_000                       # bytes


def build_benchmark(target: Path) -> None:
    """Everything, in an empty folder. Raises RuntimeError if it became large."""
    sys.path.insert(0, str(ROOT))
    try:
        from benchmarks import check, peaks, programs, report, workloads
    finally:
        sys.path.remove(str(ROOT))
    target.mkdir(parents=True)
    for name in SHARED:
        shutil.copy2(ROOT / "benchmarks" / "page" / name, target / name)
    for name, content in peaks.files().items():
        (target / name).write_bytes(content)
    shown = []
    for w in workloads.WORKLOADS:
        if w.huge or w.options.get("eager"):
            continue
        try:
            built = programs.build(w, empty=True)
        except programs.Missing as error:
            print(f"speed page: without {w.name}: {error}", flush=True)
            continue
        (target / f"{w.name}.tide.gz").write_bytes(gzip.compress(built.file, 9, mtime=0))
        tensors = [{"tensor": name, **array.describe()} for name, array in built.tensors]
        shown.append({**w.describe(), "params": tensors, "expected": check.REFERENCE[w.name]})
    tolerances = {"value": check.VALUE_TOLERANCE, "loss": check.LOSS_TOLERANCE}
    described = {"workloads": shown, "peaks": peaks.PEAKS, "tolerances": tolerances}
    (target / "workloads.json").write_text(json.dumps(described))
    (target / "recorded.json").write_text(json.dumps(recorded(report)))
    size = sum(path.stat().st_size for path in target.iterdir())
    if size > BUDGET:
        raise RuntimeError(f"benchmark/ has {size:,} bytes, budget {BUDGET:,}: is a file stored with its weights?")


def recorded(report: Any) -> dict[str, Any]:
    """Each peer's time over Tideflow's, as the last recorded run of the benchmark had it; empty without one."""
    if not RECORDED.exists():
        return {"machine": {}, "groups": []}
    results = json.loads(RECORDED.read_text())
    cells, groups = report.by_key(results), []
    for title, columns in list(report.GROUPS.items())[:2]:
        rows = []
        for w in report.WORKLOADS:
            mine = cells.get((w.name, columns[0]), {})
            peers = {c.rsplit(" ", 1)[0]: cells[w.name, c]["steadyMs"] / mine["steadyMs"] for c in columns[1:]
                     if "steadyMs" in mine and "steadyMs" in cells.get((w.name, c), {})}
            if peers:
                rows.append({"workload": w.name, "title": w.title, "ms": mine["steadyMs"], "peers": peers})
        groups.append({"title": title, "rows": rows})
    return {"machine": results["machine"], "groups": groups}
