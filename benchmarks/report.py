"""Results as a table with ratios, the targets, and a chart."""

import math
from typing import Any

from .targets import TARGETS, reached
from .workloads import BY_NAME, WORKLOADS

GROUPS = {
    "WebAssembly, one thread": ["tideflow wasm", "tfjs wasm", "jax-js wasm", "ort wasm"],
    "WebGPU": ["tideflow webgpu", "tfjs webgpu", "jax-js webgpu", "ort webgpu"],
    "WebAssembly, as many threads as each takes": ["tideflow wasm worker", "tfjs wasm threads", "jax-js wasm threads",
                                                   "ort wasm threads"],
    "Python in Pyodide": ["tideflow pyodide", "tideflow pyodide eager", "numpy pyodide"],
    "Native": ["tideflow cpu", "tideflow wasmtime", "tideflow wgpu", "numpy", "tensorflow"],
}
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
    for title, columns in GROUPS.items():
        present = [c for c in columns if any(key[1] == c for key in cells)]
        if present:
            parts += [f"## {title}", "", *group_rows(present, cells), ""]
    if results.get("startup"):
        parts += ["## From navigation to the first trained step of the MLP", "", "| | ms |", "|---|---|"]
        parts += [f"| {key} | {number(found['ms']) if 'ms' in found else found['error']} |"
                  for key, found in results["startup"].items()] + [""]
    warm = [(c["contender"], BY_NAME[c["workload"]].title, c) for c in results["cells"] if "warmFirstMs" in c]
    if warm:
        parts += ["## Tracing and compiling in Python, to the first result, ms", "",
                  "| | first model | once more |", "|---|---|---|"]
        parts += [f"| {who}: {title} | {number(c['firstMs'])} | {number(c['warmFirstMs'])} |" for who, title, c in warm]
        parts.append("")
    parts += ["## Targets", "", *target_rows(cells), ""]
    problems = [f"* {c['contender']}, {c['workload']}: {c['error']}" for c in results["cells"] if c.get("error")]
    problems += [f"* {m}" for m in results.get("missing", [])]
    wrong = [f"* {c['contender']}, {c['workload']}: wrong by {c['off']:.2g}" for c in results["cells"]
             if c.get("right") is False]
    return "\n".join(parts + (["## Not measured", "", *problems, ""] if problems else []) +
                     (["## Wrong answers", "", *wrong, ""] if wrong else []))


def group_rows(columns: list[str], cells: Cells) -> list[str]:
    """Median ms per step of each contender; the fastest peer over ours; ours beside."""
    ours = columns[0]
    head = ["ms per step", *columns, "best peer / ours", "of the limit", "first ms", "with read-back", "dispatches",
            "memory MB"]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
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
    lines = ["| target | goal | reached | |", "|---|---|---|---|"]
    for t in TARGETS:
        if (t.workload, t.ours) not in cells:
            continue
        value, met = reached(t, cells)
        text = "not measured" if value is None else number(value) + ("x" if t.against else "")
        lines.append(f"| {t.ours.removeprefix('tideflow ')}: {BY_NAME[t.workload].title} | {t.text} | {text} | "
                     f"{'' if value is None else 'met' if met else 'missed'} |")
    return lines


# ---- the chart -----------------------------------------------------------------------------------------------------

COLOURS = {"tfjs": "#d8603c", "jax-js": "#3b6fb5", "ort": "#8a6bb0", "numpy": "#7a8a3a", "tensorflow": "#d8603c"}
ROW, LEFT, WIDTH, TOP = 22, 330, 900, 46


def chart(results: dict[str, Any]) -> str:
    """Per workload, every peer's time over Tideflow's on a logarithmic axis: right of the line, Tideflow is faster."""
    cells = by_key(results)
    rows: list[tuple[str, list[tuple[str, float]]]] = []
    for title, columns in GROUPS.items():
        group = []
        for w in WORKLOADS:
            mine = cells.get((w.name, columns[0]), {}).get("steadyMs")
            points = [(c, cells[(w.name, c)]["steadyMs"] / mine) for c in columns[1:]
                      if mine and "steadyMs" in cells.get((w.name, c), {}) and not c.startswith("tideflow")]
            if points:
                group.append((w.title, points))
        rows += [(f"#{title}", []), *group] if group else []
    values = [v for _, points in rows for _, v in points] or [1.0]
    low, high = math.floor(math.log10(min(*values, 0.5))), math.ceil(math.log10(max(*values, 2.0)))

    def x(value: float) -> float:
        return LEFT + (math.log10(value) - low) / (high - low) * (WIDTH - LEFT - 30)
    height = TOP + ROW * len(rows) + 20
    out = ['<svg xmlns="http://www.w3.org/2000/svg" '
           f'viewBox="0 0 {WIDTH} {height}" font-family="system-ui, sans-serif" '
           f'font-size="12" role="img"><title>Time of each peer over the time of Tideflow</title>',
           f'<rect width="{WIDTH}" height="{height}" fill="#fffdf8"/>', *_axis(low, high, x, height)]
    for i, (label, points) in enumerate(rows):
        y = TOP + ROW * i + ROW / 2
        if label.startswith("#"):
            out.append(f'<text x="12" y="{y + 4}" font-weight="600" fill="#15313a">{label[1:]}</text>')
            continue
        out.append(f'<text x="{LEFT - 12}" y="{y + 4}" text-anchor="end" fill="#5d7177">{label}</text>')
        out += [f'<circle cx="{x(v):.1f}" cy="{y}" r="5" fill="{_colour(c)}"><title>{c}: {v:.2f}x</title></circle>'
                for c, v in points]
    return "\n".join([*out, "</svg>", ""])


def _axis(low: int, high: int, x: Any, height: int) -> list[str]:
    """Powers of ten, the line of equal speed, and the legend."""
    out = []
    for power in range(low, high + 1):
        at = x(10.0**power)
        out.append(f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{TOP - 6}" y2="{height - 12}" '
                   f'stroke="{"#15313a" if power == 0 else "#e2dccd"}"/>'
                   f'<text x="{at:.1f}" y="{TOP - 12}" text-anchor="middle" fill="#5d7177">{10.0**power:g}x</text>')
    at = 12
    for name in ("tfjs", "jax-js", "ort", "numpy"):
        label = {"tfjs": "TensorFlow(.js)", "ort": "onnxruntime-web"}.get(name, name)
        out.append(f'<circle cx="{at + 5}" cy="14" r="5" fill="{COLOURS[name]}"/>'
                   f'<text x="{at + 14}" y="18" fill="#15313a">{label}</text>')
        at += 30 + 7 * len(label)
    return out


def _colour(contender: str) -> str:
    return next((c for name, c in COLOURS.items() if contender.startswith(name)), "#5d7177")
