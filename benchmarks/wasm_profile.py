"""Where the time of a WASM program goes: python -m benchmarks.wasm_profile [WORKLOAD ...] [--top N] [--ir N]

Every kernel of a workload's program is timed by itself in Node (V8), in the order and with the data of a whole step,
and set beside what it needs at the least: its arithmetic at the speed of the multiply-add loop of peaks.py, its
buffers at the speed of the copy loop, both timed between the kernels. "of limit" is that least time over the
measured one. Times are minima of wall time, or of the processor's time where that is less, so that other work on the
machine disturbs little.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import tideflow as tf
from tideflow.compiler import targets
from tideflow.kernel.contract import find_contract
from tideflow.kernel.ir import Kernel, store_roots, walk
from tideflow.program.format import StepKind
from tideflow.shapes import evaluate
from tideflow.wasm import native
from tideflow.wasm.emit import workspace

from .peaks import PEAKS, files
from .programs import Missing, expression, keras_model, training_step, transformer_loss, update_step
from .workloads import WORKLOADS, Workload

NODE = """
const fs = require("fs"), [folder, seconds] = process.argv.slice(1);
const c = JSON.parse(fs.readFileSync(folder + "/case.json")), data = fs.readFileSync(folder + "/memory");
const load = (file, pages) => { const memory = new WebAssembly.Memory({ initial: pages });
  const module = new WebAssembly.Module(fs.readFileSync(`${folder}/${file}`));
  return [memory, new WebAssembly.Instance(module, { env: { memory } }).exports.run]; };
const [memory, run] = load("program.wasm", c.pages), bytes = new Uint8Array(memory.buffer);
bytes.set(data);
const peaks = c.peaks.map((p) => { const [, f] = load(p.file, p.pages); return () => f(...p.args); });
const cpu = () => { const u = process.cpuUsage(); return (u.user + u.system) / 1e3; };
const time = (f) => { const used = cpu(), t = performance.now(); f();
  const wall = performance.now() - t; return wall > 1.5 ? Math.min(wall, cpu() - used) : wall; };
const least = (best, i, f) => { best[i] = Math.min(best[i], time(f)); };
(async () => {
  for (let i = 0; i < 6; i++) { run(c.table, 0, c.steps); for (const p of peaks) { p(); p(); p(); }
    await new Promise((r) => setTimeout(r, 10)); }
  const steps = Array(c.steps).fill(1e9), whole = [1e9], limits = peaks.map(() => 1e9), start = performance.now();
  for (let n = 0; n < 5 || performance.now() - start < seconds * 1e3; n++) {
    bytes.set(data);
    run(c.table, 0, c.steps);
    least(whole, 0, () => run(c.table, 0, c.steps));
    for (let i = 0; i < c.steps; i++) least(steps, i, () => run(c.table, i, i + 1));
    peaks.forEach((p, i) => least(limits, i, p)); }
  console.log(JSON.stringify({ steps, whole: whole[0], limits })); })();
"""


@dataclass
class Row:
    """One kernel: all its runs in a step together."""

    kernel: Kernel
    shape: str
    runs: int = 0
    ms: float = 0.0
    flops: float = 0.0
    bytes: float = 0.0


@dataclass
class Capture:
    """What the compiler emits and the device runs while it is watched."""

    emitted: dict[bytes, Sequence[Kernel]] = field(default_factory=dict)
    last: tuple[Any, Any, Any] | None = None        # device, bound program, layout

    def watch(self) -> None:
        """From now on, in this process."""
        emit, bind, run = targets.wasm_module, native.WasmtimeDevice.bind, native.WasmtimeDevice.run
        layouts: dict[int, Any] = {}

        def emitting(kernels: Sequence[Kernel], *rest: Any) -> bytes:
            code = emit(kernels, *rest)
            self.emitted[code] = kernels
            return code

        def binding(device: Any, loaded: Any, layout: Any) -> Any:
            bound = bind(device, loaded, layout)
            layouts[id(bound)] = layout
            return bound

        def running(device: Any, bound: Any, *rest: Any) -> None:
            run(device, bound, *rest)
            self.last = device, bound, layouts[id(bound)]

        targets.wasm_module = emitting
        native.WasmtimeDevice.bind = binding            # type: ignore[method-assign]
        native.WasmtimeDevice.run = running             # type: ignore[method-assign]


def step_of(w: Workload) -> Callable[[], object]:
    """One step of a workload. Raises Missing."""
    inputs = [a.values() for a in w.inputs]
    if w.kind == "compute":
        operands = [tf.constant(a.values()) for a in w.params]
        compute = tf.function(lambda *given: expression(w, *given))
        return lambda: compute(*operands)
    if w.kind == "adam" or w.name == "transformer":
        variables = {a.name: tf.Variable(a.values(), name=a.name) for a in w.params}
        if w.kind == "adam":
            return tf.function(update_step(variables["w"], variables["g"]))
        step = tf.function(training_step(variables, transformer_loss))
        fed = [tf.constant(x) for x in inputs]
        return lambda: step(*fed)
    model = keras_model(w)
    return (lambda: model.train_on_batch(*inputs)) if w.kind == "train" else lambda: model.predict_on_batch(inputs[0])


def expanded(launches: Sequence[Any], start: int = 0, end: int | None = None) -> Iterator[tuple[Any, bool]]:
    """The dispatches of a program in order, loops unrolled; and whether each is in a loop."""
    index, looped, end = start, end is not None, len(launches) if end is None else end
    while index < end:
        launch = launches[index]
        index += 1
        if launch.step.kind == StepKind.LOOP:
            for _ in range(launch.count):
                yield from expanded(launches, index, index + launch.step.body)
            index += launch.step.body
        else:
            yield launch, looped


def needs(kernel: Kernel, launch: Any, layout: Any) -> tuple[str, float, float]:
    """Its shape in words, operations of its contraction, bytes of its buffers or of what it can reach of them."""
    sizes = dict(zip(kernel.sizes, launch.words, strict=False))

    def extent(size: Any) -> int:
        return size if isinstance(size, int) else sizes[size] if size in sizes else evaluate(size, {})

    def product(axes: Sequence[Any]) -> int:
        return prod(extent(a.extent) for a in axes)

    contract = find_contract(kernel)
    trips = {x.attr.axes: product(x.attr.axes) for x in walk(store_roots(list(kernel.stores))) if x.op == "fold"}
    points = product(kernel.axes) * max(trips.values(), default=1) * max(product(s.loops) for s in kernel.stores)
    regions = launch.step.regions[:-1] if workspace(kernel) != 0 else launch.step.regions
    moved = float(sum(min(layout.spans[r].size, 4 * points) for r in set(regions)))
    if contract is None:
        return "x".join(str(extent(a.extent)) for a in kernel.axes) or "1", 0.0, moved
    parts = [product(a) for a in (contract.batch, contract.m, contract.n, contract.k)]
    return f"{parts[0]} of {parts[1]}x{parts[3]}x{parts[2]}", 2.0 * prod(parts), moved


def measure(code: bytes, memory: bytes, table: int, steps: int, seconds: float) -> dict[str, Any]:
    """Runs a program in Node: milliseconds of each step, of all together, of the peak loops."""
    peaks = [p for p in PEAKS.values() if p["device"] == "wasm"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file, content in {**files(), "program.wasm": code, "memory": memory}.items():
            (folder / file).write_bytes(content)
        case = {"pages": len(memory) // 65536, "table": table, "steps": steps,
                "peaks": [{"file": p["file"], **p["options"]} for p in peaks]}
        (folder / "case.json").write_text(json.dumps(case))
        command = [shutil.which("node") or "node", "-e", NODE, name, str(seconds)]
        answer = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found: dict[str, Any] = json.loads(answer)
    found["flops"], found["bytes"] = (p["options"]["work"] / ms * 1e3
                                      for p, ms in zip(peaks, found["limits"], strict=True))
    return found


def profile(w: Workload, capture: Capture, seconds: float, top: int = 12, ir: int = 0) -> list[Row]:
    """Prints and returns the kernels of one workload, the slowest first: `top` in the table, `ir` of them in full."""
    with tf.device("/WASM:0"):
        step = step_of(w)
        step()
        step()
    assert capture.last is not None
    device, bound, layout = capture.last
    code = bytes(bound.loaded.program.module)
    kernels = capture.emitted[code]
    found = measure(code, bytes(device._bytes), bound.memory.address, bound.table.steps, seconds)
    rows: dict[int, Row] = {}
    for (launch, looped), ms in zip(expanded(layout.launches), found["steps"], strict=True):
        shape, flops, moved = needs(kernels[launch.step.kernel], launch, layout)
        moved = 0.0 if looped else moved    # a region that moves with the loop is not touched as a whole
        row = rows.setdefault(launch.step.kernel, Row(kernels[launch.step.kernel], shape))
        row.runs, row.ms = row.runs + 1, row.ms + ms
        row.flops, row.bytes = row.flops + flops, row.bytes + moved
    ranked = sorted(rows.values(), key=lambda r: -r.ms)
    print(f"\n{w.name}: {found['whole']:.3f} ms a step, {sum(r.runs for r in ranked)} kernels, {len(code)} bytes; "
          f"limits {found['flops'] / 1e9:.1f} GFLOP/s, {found['bytes'] / 1e9:.1f} GB/s")
    print(f"{'ms':>9} {'share':>6} {'runs':>4} {'GF/s':>6} {'GB/s':>6} {'of limit':>8}  kernel")
    total = sum(r.ms for r in ranked)
    for r in ranked[:top]:
        least = max(r.flops / found["flops"], r.bytes / found["bytes"]) * 1e3
        speed = f"{r.flops / r.ms / 1e6:6.1f}" if r.flops else " " * 6
        traffic = f"{r.bytes / r.ms / 1e6:6.1f}" if r.bytes else " " * 6
        share = f"{least / r.ms:8.2f}" if least else " " * 8
        print(f"{r.ms:9.4f} {r.ms / total:6.1%} {r.runs:4} {speed} {traffic} {share}  {r.kernel.name} ({r.shape})")
    for r in ranked[:ir]:
        print(f"\n{r.kernel.name} over {r.kernel.axes}")
        for s in r.kernel.stores:
            print(f"  b{s.buffer}[{s.index}] = {s.value}" + (f" where {s.valid}" if s.valid is not None else "")
                  + (f" for {s.loops}" if s.loops else ""))
    return ranked


def main() -> None:
    """Profiles the workloads asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workloads", nargs="*", help="words that a workload's name contains; none: all but the huge")
    parser.add_argument("--top", type=int, default=12, help="kernels to list of each")
    parser.add_argument("--ir", type=int, default=0, help="kernels to print as kernel IR, the slowest first")
    parser.add_argument("--seconds", type=float, default=1.5, help="time for each workload")
    options = parser.parse_args()
    capture = Capture()
    capture.watch()
    np.seterr(all="ignore")
    for w in WORKLOADS:
        if any(word in w.name for word in options.workloads) or not (options.workloads or w.huge):
            try:
                if not w.options.get("eager"):
                    profile(w, capture, options.seconds, options.top, options.ir)
            except Missing as missing:
                print(f"\n{w.name}: {missing}")


if __name__ == "__main__":
    main()
