"""The results as an SVG: per workload, every peer's time over Tideflow's. Light and dark by the reader's own choice."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from xml.sax.saxutils import escape

from .report import GROUPS, by_key
from .workloads import WORKLOADS, Workload

NAMES = {"tfjs": "TensorFlow(.js)", "tensorflow": "TensorFlow(.js)", "jax-js": "jax-js", "ort": "onnxruntime-web",
         "numpy": "numpy"}
SHORT = {"mlp": "train MLP", "cnn": "train CNN", "transformer": "train transformer block", "lstm": "train LSTM",
         "mobilenet": "infer MobileNet 0.25", "chain4": "chain of 4 operations", "chain12": "chain of 12 operations",
         "matmul64x64": "matmul 64 of 64x64", "adds": "1,000 tiny adds, compiled",
         "adds_eager": "1,000 tiny adds, eager"}
BLOCKS = (("WebAssembly, one thread", "WebGPU"),
          ("WebAssembly, as many threads as each takes", "Python in Pyodide", "Native"))
TITLES = {"WebAssembly, as many threads as each takes": "WebAssembly, threads"}
WIDTH, LEFT, RIGHT, GAP, ROW, HEAD, TOP = 1000, 200, 12, 18, 22, 54, 78
NUMBER = 52                         # at the right of a panel: the fastest peer's ratio
STYLE = """
svg { --ground: #fffdf8; --ink: #15313a; --soft: #5d7177; --line: #e7e1d3; --stripe: #f6f2e8; --good: #0b7a6b;
  --bad: #b4451f; --tf: #d8603c; --jax: #3b6fb5; --ort: #8a6bb0; --numpy: #8a8a2e; }
@media (prefers-color-scheme: dark) { svg { --ground: #0e1c22; --ink: #e6efee; --soft: #93a8ad; --line: #26393f;
  --stripe: #13252c; --good: #4fd1bd; --bad: #f08a62; --tf: #f0825c; --jax: #6ea3ea; --ort: #b497dc;
  --numpy: #c3c05a; } }
text { font: 12px system-ui, sans-serif; fill: var(--soft); }
.title { font-size: 18px; font-weight: 650; fill: var(--ink); } .head { font-weight: 650; fill: var(--ink); }
.name { fill: var(--ink); } .number { font-weight: 650; fill: var(--good); } .number.bad { fill: var(--bad); }
.tick { font-size: 10.5px; } .line { stroke: var(--line); } .one { stroke: var(--ink); stroke-width: 1.5; }
.stem { stroke: var(--line); stroke-width: 2; } .stripe { fill: var(--stripe); } .ground { fill: var(--ground); }
circle { stroke: var(--ground); stroke-width: 1.5; }
.tf { fill: var(--tf); } .jax { fill: var(--jax); } .ort { fill: var(--ort); } .numpy { fill: var(--numpy); }"""

Points = list[tuple[str, float]]


@dataclass(frozen=True)
class Panel:
    """One table of the report: its place, its axis, and the points of each workload."""

    title: str
    left: float
    right: float
    points: dict[str, Points]

    def x(self, ratio: float) -> float:
        """Where a ratio lies."""
        low, high = self.bounds
        return self.left + math.log(ratio / low) / math.log(high / low) * (self.right - NUMBER - self.left)

    @property
    def bounds(self) -> tuple[float, float]:
        """The least and the largest ratio of the axis."""
        values = [v for points in self.points.values() for _, v in points]
        return min(0.6, *values) / 1.15, max(4.0, *values) * 1.15


def chart(results: dict[str, Any]) -> str:
    """Right of the line, Tideflow is faster; the number is the fastest peer's time over Tideflow's."""
    cells = by_key(results)
    out, y = list[str](), float(TOP)
    for block in BLOCKS:
        found = {title: ratios(title, cells) for title in block}
        shown = {title: points for title, points in found.items() if points}
        rows = [w for w in WORKLOADS if any(w.name in points for points in shown.values())]
        if rows:
            out += draw_block(place_panels(shown), rows, y)
            y += HEAD + ROW * len(rows) + 26
    head = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y:.0f}" role="img">',
            "<title>Time of each peer over the time of Tideflow</title>", f"<style>{STYLE}\n</style>",
            f'<rect class="ground" width="{WIDTH}" height="{y:.0f}"/>',
            text(16, 30, "How many times as long as Tideflow each library takes", "title"), *legend(cells)]
    return "\n".join([*head, *out, "</svg>", ""])


def ratios(title: str, cells: dict[tuple[str, str], dict[str, Any]]) -> dict[str, Points]:
    """Per workload (peer, its time over ours) of one table."""
    found: dict[str, Points] = {}
    for w in WORKLOADS:
        columns = GROUPS[title]
        mine = next((cells[w.name, c]["steadyMs"] for c in columns
                     if c.startswith("tideflow") and "steadyMs" in cells.get((w.name, c), {})), None)
        points = [(c, cells[w.name, c]["steadyMs"] / mine) for c in columns
                  if mine and not c.startswith("tideflow") and "steadyMs" in cells.get((w.name, c), {})]
        if points:
            found[w.name] = points
    return found


def place_panels(shown: dict[str, dict[str, Points]]) -> list[Panel]:
    """Panels side by side."""
    width = (WIDTH - LEFT - RIGHT + GAP) / len(shown)
    return [Panel(TITLES.get(title, title), LEFT + i * width, LEFT + (i + 1) * width - GAP, points)
            for i, (title, points) in enumerate(shown.items())]


def draw_block(panels: Sequence[Panel], rows: Sequence[Workload], top: float) -> list[str]:
    """Names at the left, then each panel's axis and dots."""
    first, bottom = top + HEAD, top + HEAD + ROW * len(rows)
    out = [f'<rect class="stripe" x="8" y="{first + ROW * i:.0f}" width="{WIDTH - 16}" height="{ROW}" rx="4"/>'
           for i in range(0, len(rows), 2)]
    out += [text(16, first + ROW * i + 15, SHORT.get(w.name, w.title.split(",")[0]), "name")
            for i, w in enumerate(rows)]
    for panel in panels:
        out += [text(panel.left, top + 14, panel.title, "head"), *axis(panel, top + 38, first, bottom)]
        for i, w in enumerate(rows):
            out += dots(panel, panel.points.get(w.name, []), first + ROW * (i + 0.5))
    return out


def axis(panel: Panel, label: float, top: float, bottom: float) -> list[str]:
    """Powers of ten and the line of equal speed."""
    low, high = panel.bounds
    out = []
    for power in range(math.ceil(math.log10(low)), math.floor(math.log10(high)) + 1):
        x = panel.x(10.0**power)
        out += [f'<line class="{"line" if power else "one"}" x1="{x:.1f}" x2="{x:.1f}" y1="{top - 8:.0f}" '
                f'y2="{bottom:.0f}"/>', text(x, label, f"{10.0**power:g}x", "tick", "middle")]
    return out


def dots(panel: Panel, points: Points, y: float) -> list[str]:
    """A stem from equal speed to the farthest peer, a dot per peer, the fastest peer's ratio."""
    if not points:
        return []
    ends = [panel.x(v) for v in (1.0, *(v for _, v in points))]
    out = [f'<line class="stem" x1="{min(ends):.1f}" x2="{max(ends):.1f}" y1="{y}" y2="{y}"/>']
    out += [f'<circle class="{kind(c)}" cx="{panel.x(v):.1f}" cy="{y}" r="5"><title>{c}: {v:.2f}x</title></circle>'
            for c, v in sorted(points, key=lambda p: -p[1])]
    best = min(v for _, v in points)
    number = f"{best:.0f}x" if best >= 99.5 else f"{best:.1f}x" if best >= 9.95 else f"{best:.2f}x"
    return [*out, text(panel.right - 4, y + 4, number, "number" if best >= 1 else "number bad", "end")]


def legend(cells: dict[tuple[str, str], dict[str, Any]]) -> list[str]:
    """The peers that were measured, and what the numbers are."""
    there = dict.fromkeys(NAMES[name] for name in NAMES if any(c.startswith(name) for _, c in cells))
    out, x = list[str](), 16.0
    for label in there:
        name = next(name for name, known in NAMES.items() if known == label)
        out += [f'<circle class="{kind(name)}" cx="{x + 5}" cy="50" r="5"/>', text(x + 15, 54, label, "name")]
        x += 32 + 6.6 * len(label)
    note = "Right of the line Tideflow is faster. Number: the fastest peer's time over Tideflow's."
    return [*out, text(WIDTH - 16, 54, note, "", "end")]


def kind(contender: str) -> str:
    """The class of a peer's dots."""
    return {"tfjs": "tf", "tensorflow": "tf", "jax-js": "jax"}.get(contender.split()[0], contender.split()[0])


def text(x: float, y: float, content: str, style: str, anchor: str = "start") -> str:
    """A line of text."""
    return f'<text class="{style}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(content)}</text>'
