"""Results as tables with ratios, and the targets."""

from typing import Any

from .targets import PYTHON_CALLS, TARGETS, reached
from .workloads import BY_NAME, WORKLOADS

GROUPS = {
    "WebAssembly, one thread": ["tideflow wasm", "tfjs wasm", "jax-js wasm", "ort wasm"],
    "WebGPU": ["tideflow webgpu", "tfjs webgpu", "jax-js webgpu", "ort webgpu"],
    "WebAssembly, as many threads as each takes": ["tideflow wasm threads", "tideflow wasm worker", "tfjs wasm threads",
                                                   "jax-js wasm threads", "ort wasm threads"],
    "Python in Pyodide": ["tideflow pyodide", "tideflow pyodide eager", "numpy pyodide"],
    "Native": ["tideflow cpu", "tideflow wasmtime", "tideflow wgpu", "numpy", "tensorflow"],
}
PYTHON = {"fit": "a step of fit", "python": "of it in Python", "train_on_batch": "train_on_batch",
          "function": "a compiled function", "add": "a + b, eager", "tf.add": "tf.add(a, b), eager"}
Cells = dict[tuple[str, str], dict[str, Any]]


def by_key(results: dict[str, Any]) -> Cells:
    """(workload, contender) -> cell."""
    return {(c["workload"], c["contender"]): c for c in results["cells"]}


def group_of(contender: str) -> str:
    """The title of the table that a contender stands in."""
    return next((title for title, columns in GROUPS.items() if contender in columns), "")


def number(value: float) -> str:
    """Three digits, no more."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def steady(cell: dict[str, Any] | None) -> str:
    """The cell's time as text; what went wrong, where there is none."""
    if cell is None:
        return ""
    if "steadyMs" not in cell:
        return "–"
    return number(cell["steadyMs"]) + ("" if cell.get("right", True) else " wrong")


def table(results: dict[str, Any]) -> str:
    """Everything as Markdown."""
    cells, peaks = by_key(results), results.get("peaks", {})
    parts = [f"{' · '.join(f'{k}: {v}' for k, v in results['machine'].items())}", ""]
    if peaks:
        parts += ["Limits, the best of this run: " + ", ".join(f"{k} {v:.1f} {'GB/s' if 'copy' in k else 'GFLOP/s'}"
                                                     for k, v in peaks.items()), ""]
    targets = target_rows(cells | python_cells(results))
    parts += ["## Targets", "", *targets, ""] if targets else []
    for title, columns in GROUPS.items():
        present = [c for c in columns if any(key[1] == c for key in cells)]
        if present:
            parts += [f"## {title}", "", *group_rows(present, cells), ""]
    if results.get("startup"):
        parts += ["## From navigation to the first trained step of the MLP", "", "| | ms |", "|---|--:|"]
        parts += [f"| {key} | {number(found['ms']) if 'ms' in found else found['error']} |"
                  for key, found in results["startup"].items()] + [""]
    parts += python_rows(results.get("python", {})) + trace_rows(results["cells"])
    problems = [f"* {c['contender']}, {c['workload']}: {c['error']}" for c in results["cells"] if c.get("error")]
    problems += [f"* {m}" for m in results.get("missing", [])]
    wrong = [f"* {c['contender']}, {c['workload']}: wrong by {c['off']:.2g}" for c in results["cells"]
             if c.get("right") is False]
    return "\n".join(parts + (["## Not measured", "", *problems, ""] if problems else []) +
                     (["## Wrong answers", "", *wrong, ""] if wrong else []))


def trace_rows(cells: list[dict[str, Any]]) -> list[str]:
    """What making a model costs in Python."""
    warm = [(c["contender"], BY_NAME[c["workload"]].title, c) for c in cells if "warmFirstMs" in c]
    if not warm:
        return []
    return ["## Tracing and compiling in Python, to the first result, ms", "", "| | first model | once more |",
            "|---|--:|--:|", *(f"| {who}: {title} | {number(c['firstMs'])} | {number(c['warmFirstMs'])} |"
                               for who, title, c in warm), ""]


def python_rows(found: dict[str, Any]) -> list[str]:
    """What Python adds to a call."""
    if not found:
        return []
    lines = ["## What Python adds to a call, microseconds: the median, and the best", "",
             "A model of two units at batch 1. Its kernels' few microseconds are not subtracted; on WebGPU "
             "until the step is submitted, and without WebGPU's own calls. Eager additions are of four numbers.", "",
             "| | " + " | ".join(PYTHON.values()) + " |", "|---|" + "--:|" * len(PYTHON)]
    for who, rows in found.items():
        values = [f"{number(rows[r]['median'])}, {number(rows[r]['best'])}" if r in rows else "" for r in PYTHON]
        lines.append(f"| {who} | " + (rows["error"] if "error" in rows else " | ".join(values)) + " |")
    return [*lines, ""]


def python_cells(results: dict[str, Any]) -> Cells:
    """The medians of `python`, as cells of the workload PYTHON_CALLS that targets look into."""
    return {(PYTHON_CALLS, who): {name: us["median"] for name, us in rows.items()}
            for who, rows in results.get("python", {}).items() if "error" not in rows}


def group_rows(columns: list[str], cells: Cells) -> list[str]:
    """Median ms per step of each contender; the fastest peer over ours; ours beside."""
    ours = columns[0]
    head = ["ms per step", *columns, "best peer / ours", "of the limit", "first ms", "with read-back", "dispatches",
            "memory MB"]
    lines = ["| " + " | ".join(head) + " |", "|---|" + "--:|" * (len(head) - 1)]
    for w in WORKLOADS:
        row = [cells.get((w.name, c)) for c in columns]
        if not any(row):
            continue
        mine = next((c for c in row if c and c["contender"].startswith("tideflow") and "steadyMs" in c), {})
        peers = [c["steadyMs"] for c in row[1:] if c and "steadyMs" in c and not c["contender"].startswith("tideflow")]
        ratio = f"**{min(peers) / mine['steadyMs']:.2f}**" if peers and "steadyMs" in mine else ""
        share = mine.get("ofLimit")
        counts = mine.get("perStep", {})
        memory = sum(counts.get("memory", {}).values()) / 1e6
        dispatches = f"{counts['dispatches']:.0f}" if "webgpu" in ours and "dispatches" in counts else ""
        times = [number(mine[k]) if k in mine else "" for k in ("firstMs", "latencyMs")]
        values = [ratio, f"{share:.0%}" if share else "", *times,
                  dispatches, f"{memory:.0f}" if memory else ""]
        lines.append("| " + " | ".join([w.title, *map(steady, row), *values]) + " |")
    return lines


def target_rows(cells: Cells) -> list[str]:
    """Each target with what was reached."""
    lines, met, missed = list[str](), 0, 0
    for t in TARGETS:
        if (t.workload, t.ours) not in cells:
            continue
        value, enough = reached(t, cells)
        text = "not measured" if value is None else number(value) + ("x" if t.against else "")
        share = cells[t.workload, t.ours].get("ofLimit") if t.against else None
        title = BY_NAME[t.workload].title if t.workload in BY_NAME else t.workload
        if value is not None:
            met, missed = met + enough, missed + (not enough)
        verdict = "" if value is None else "met" if enough else "**missed**"
        lines.append(f"| {t.ours.removeprefix('tideflow ')}: {title} | {t.text} | {text} | {verdict} | "
                     f"{f'{share:.0%}' if share else ''} |")
    if not lines:
        return []
    return [f"{met} met, {missed} missed.", "", "| target | goal | reached | | of the limit |", "|---|---|--:|---|--:|",
            *lines]
