"""The benchmark measures the same thing for everyone, and refuses wrong answers."""

import argparse
import json
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT))
try:
    from benchmarks import __main__ as main
    from benchmarks import chart, check, data, native, plan, report, rounds
    from benchmarks.peers import onnx_models
    from benchmarks.peers.python_steps import Runner
    from benchmarks.targets import PYTHON_CALLS, TARGETS, WORDS, reached
    from benchmarks.workloads import BY_NAME, WORKLOADS
finally:
    sys.path.pop(0)

ARRAYS = [data.Array("a", (3, 5), 21, -0.3, 0.7), data.Array("b", (64,), 0, 2.0, 2.0),
          data.Array("c", (1000,), 32, 0.0, 10.0, "int32"), data.Array("d", (4097,), 600, -1.0, 1.0)]


def test_javascript_makes_the_same_numbers(require, tmp_path):
    import shutil
    require("node", None if shutil.which("node") else "node is missing")
    script = ("import { values, sample } from " + json.dumps((ROOT / "benchmarks/page/data.js").as_uri()) + ";"
              "for (const spec of JSON.parse(process.argv[2])) { const v = values(spec); console.log(JSON.stringify("
              "[Array.from(new Uint8Array(v.buffer)), sample(v)])); }")
    (tmp_path / "make.mjs").write_text(script)
    command = ["node", str(tmp_path / "make.mjs"), json.dumps([a.describe() for a in ARRAYS])]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    for array, line in zip(ARRAYS, lines, strict=True):
        raw, spread = json.loads(line)
        assert bytes(raw) == array.values().tobytes(), array
        assert spread == data.sample(array.values()).tolist()


def test_numbers_are_spread_over_their_range():
    values = data.Array("a", (10000,), 7, -2.0, 6.0).values()
    assert -2.0 <= values.min() < -1.99 and 5.99 < values.max() < 6.0 and abs(values.mean() - 2.0) < 0.1
    assert not np.array_equal(values, data.Array("a", (10000,), 8, -2.0, 6.0).values())


@pytest.mark.parametrize("w", WORKLOADS, ids=lambda w: w.name)
def test_every_workload_has_a_reference_and_a_description(w):
    expected = check.REFERENCE[w.name]
    if w.kind == "train":
        assert len(expected["losses"]) == len(expected["corrected"]) == 10
        assert expected["losses"][9] < expected["losses"][0]
    else:
        assert len(expected["sample"]) in (4, 16) and expected["scale"] > 0
    assert json.loads(json.dumps(w.describe()))["name"] == w.name
    assert w.flops or w.bytes or w.name.startswith("adds")


@pytest.mark.parametrize("kind", ["tideflow cpu", "numpy"])
@pytest.mark.parametrize("name", ["mlp", "adam250k", "sum0", "softmax1", "layernorm0", "chain12", "matmul64x64"])
def test_what_is_measured_is_right(name, kind):
    made = Runner(kind).prepare(BY_NAME[name])
    right, off = check.verdict(BY_NAME[name], made["check"])
    assert right, off


@pytest.mark.parametrize("name", ["cnn", "transformer", "mobilenet"])
def test_tideflow_models_are_right(name):
    assert check.verdict(BY_NAME[name], Runner("tideflow cpu").prepare(BY_NAME[name])["check"])[0]


def test_wrong_answers_are_refused():
    mlp, sums = BY_NAME["mlp"], BY_NAME["sum0"]
    losses, sample = check.REFERENCE["mlp"]["losses"], check.REFERENCE["sum0"]["sample"]
    assert check.verdict(mlp, {"losses": losses})[0] and check.verdict(sums, {"sample": sample})[0]
    assert check.verdict(mlp, {"losses": losses[:3]})[0], "a slow contender need not take all steps"
    for wrong in ({"losses": losses[:2]}, {"losses": [*losses[:9], losses[9] * 1.002]}, {"losses": [None] * 10}, {}):
        assert not check.verdict(mlp, wrong)[0]
    moved = sample[-1] + check.REFERENCE["sum0"]["scale"] * 2e-4
    for spoiled in (sample[:-1], [*sample[:-1], None], [*sample[:-1], moved]):
        assert not check.verdict(sums, {"sample": spoiled})[0]


class Fake:
    """A contender of known speed that notes when it is asked."""

    def __init__(self, name, ms, asked, fails=None):
        self.name, self.ms, self.asked, self.fails = name, ms, asked, fails

    def open(self):
        return {"ms": 1.0, "version": "0"}

    def prepare(self, w):
        if self.fails:
            raise self.fails
        return {"firstMs": 5.0, "stepMs": 0.0, "check": {"sample": check.REFERENCE[w.name]["sample"]}}

    def call(self, method, *args, seconds=0.0):
        self.asked.append((self.name, method))
        return {"measure": {"ms": self.ms}, "latency": [self.ms], "count": {"dispatches": 1}}[method]

    def close(self):
        self.asked.append((self.name, "close"))


@pytest.mark.parametrize("steps", [3, 7, 10])
def test_adam_may_be_checked_on_fewer_steps(steps):
    w = BY_NAME["adam250k"]
    runner = Runner("numpy")
    runner.prepare(w)                                   # ten steps
    runner._build(w)
    for _ in range(steps - 1):
        made = runner._once()
    given = {"sample": [float(v) for v in data.sample(made)], "steps": steps}
    assert check.verdict(w, given)[0]
    assert not check.verdict(w, given | {"steps": steps - 1})[0]


def run_fakes(name="sum0"):
    """Cells as the command makes them: a fast one of ours, a slower peer, two that fail."""
    asked = []
    fakes = [("tideflow wasm", 1.0, None), ("tfjs wasm", 3.0, None),
             ("jax-js wasm", 1.0, RuntimeError("no such kernel")),
             ("ort wasm", 1.0, TimeoutError("prepare took more than 120 s"))]
    entrants = [(n, lambda w, n=n, ms=ms, fails=fails: Fake(n, ms, asked, fails)) for n, ms, fails in fakes]
    cells = rounds.measure(BY_NAME[name], entrants, rounds.Budget(0.01, 3, 0.01), lambda text: None)
    made = [cell.finish() for cell in cells]
    for cell in made:
        if "check" in cell:
            cell["right"], cell["off"] = check.verdict(BY_NAME[name], cell.pop("check"))
    return made, asked


def test_contenders_take_turns_and_failures_lose_only_their_cell():
    cells, asked = run_fakes()
    turns = [n for n, method in asked if method == "measure"][4:]             # after the warm-ups, two each
    assert turns == ["tideflow wasm", "tfjs wasm"] * 3
    assert {n for n, method in asked if method == "close"} == {"jax-js wasm", "ort wasm", "tfjs wasm", "tideflow wasm"}
    assert [c.get("error", "") for c in cells] == ["", "", "no such kernel", "prepare took more than 120 s"]
    assert [c.get("steadyMs") for c in cells] == [1.0, 3.0, None, None]


def test_table_and_chart_show_ratios_and_problems():
    cells, _ = run_fakes()
    cells[0]["ofLimit"] = 0.42
    results = {"machine": {"cores": "2"}, "peaks": {"wasm copy": 10.0}, "cells": cells, "missing": ["ort: not here"]}
    text = report.table(results)
    row = next(line for line in text.splitlines() if line.startswith("| sum of columns"))
    assert "**3.00**" in row and "42%" in row
    assert "no such kernel" in text and "ort: not here" in text
    image = ElementTree.fromstring(chart.chart(results))
    assert len([e for e in image.iter() if e.tag.endswith("title") and e.text == "tfjs wasm: 3.00x"]) == 1


def test_the_chart_shows_tables_side_by_side_with_the_fastest_peer_as_a_number():
    times = {("mlp", "tideflow webgpu"): 2.0, ("mlp", "tfjs webgpu"): 9.0, ("mlp", "jax-js webgpu"): 3.0,
             ("mlp", "tideflow cpu"): 4.0, ("mlp", "tensorflow"): 2.0, ("cnn", "tfjs webgpu"): 9.0}
    cells = [{"workload": w, "contender": c, "steadyMs": ms} for (w, c), ms in times.items()]
    image = ElementTree.fromstring(chart.chart({"cells": cells}))
    texts = [(e.text, e.get("class")) for e in image.iter() if e.tag.endswith("text")]
    assert [t for t in texts if str(t[1]).startswith("number")] == [("1.50x", "number"), ("0.50x", "number bad")]
    assert [t for t, style in texts if style == "head"] == ["WebGPU", "Native"]
    assert "train CNN" not in [t for t, _ in texts], "nothing to compare with"


def scheduled(seconds, names=("matmul256", "matmul512", "matmul1024"), keys=("numpy", "tideflow cpu")):
    return plan.Schedule("native", time.monotonic() + seconds, 30.0, [(BY_NAME[n], list(keys)) for n in names])


def test_what_does_not_fit_into_the_time_is_named():
    results = {"missing": []}
    assert [w.name for w, _, _ in scheduled(3600.0).turns(results)] == ["matmul256", "matmul512", "matmul1024"]
    assert results["missing"] == [] and list(scheduled(-1.0).turns(results)) == []
    assert results["missing"] == ["native: the time was up before matmul256, matmul512, matmul1024 (--minutes 30)"]


def test_what_one_leaves_over_goes_to_the_others():
    schedule = scheduled(600.0)
    parts = [until - time.monotonic() for _, _, until in schedule.turns({"missing": []})]   # each takes no time at all
    assert parts == sorted(parts) and parts[0] < 300.0 and abs(parts[2] - 600.0) < 10.0


class Interpreter:
    """A process that counts what it is asked; `broken` is a method that fails."""

    broken = ""
    started = 0

    def __init__(self, kind, python):
        Interpreter.started += 1
        self.closed = False

    def open(self):
        return {"ms": 1.0, "version": "0"}

    def prepare(self, w):
        return {}

    def call(self, method, *args, seconds=0.0):
        if method == self.broken:
            raise RuntimeError("no")
        return {}

    def close(self):
        self.closed = True


def test_natively_expressions_share_a_process_until_one_fails(monkeypatch):
    monkeypatch.setattr(native, "Process", Interpreter)
    monkeypatch.setattr(native, "kept", {})
    for w in ("sum0", "sum1"):
        (_, make), = native.entrants(BY_NAME[w], ["numpy"], None)
        session = make(BY_NAME[w])
        session.open()
        session.prepare(BY_NAME[w])
        session.close()
    (process, _), = native.kept.values()
    assert Interpreter.started == 1 and not process.closed
    monkeypatch.setattr(Interpreter, "broken", "measure")
    with pytest.raises(RuntimeError):
        session.call("measure", 1.0, 1.0)
    assert process.closed and not native.kept
    session.open()
    assert Interpreter.started == 2
    native.close_kept()
    (_, make), = native.entrants(BY_NAME["mlp"], ["numpy"], None)
    assert isinstance(make(BY_NAME["mlp"]), Interpreter), "a model gets a process of its own"


def test_targets_come_first_and_huge_ones_last():
    names = [w.name for w in plan.ordered(WORKLOADS)]
    wanted = {t.workload for t in TARGETS} - {PYTHON_CALLS}
    assert set(names[:len(wanted)]) == wanted and names[0] == "mlp" and names[-1] == "adam25M"
    assert sorted(names) == sorted(BY_NAME)


def test_a_slow_contender_takes_longer_in_the_plan_and_an_unknown_one_is_guessed():
    fast, slow = ({("mlp", "tfjs webgpu"): {"openMs": 100.0, "firstMs": 500.0, "steadyMs": ms, "latencyMs": ms}}
                  for ms in (10.0, 4000.0))
    times = [plan.expected("tfjs webgpu", BY_NAME["mlp"], known) for known in (fast, slow, {})]
    assert times[0] < 4.0 and 15.0 < times[1] < 25.0 and times[2] > 3.0
    assert plan.expected("tfjs webgpu", BY_NAME["mlp"], {("mlp", "tfjs webgpu"): {"error": "no"}}) <= 1.0


def test_a_second_call_measures_only_the_tables_with_gaps(tmp_path):
    keys = ["tideflow wasm", "tfjs wasm", "tideflow webgpu", "tfjs webgpu"]
    cells = [{"workload": "sum0", "contender": c} for c in keys[:3]]
    assert plan.lacking(keys, BY_NAME["sum0"], {"cells": cells}) == ["tideflow webgpu", "tfjs webgpu"]
    assert plan.lacking(keys[:2], BY_NAME["sum0"], {"cells": cells}) == []
    kept = {"cells": cells, "peaks": {"wasm copy": 1.0}, "startup": {}, "python": {"a": {}}, "machine": {"cores": "9"},
            "missing": ["tensorflow: set TF_PYTHON", "native: the time was up before sum0 (--minutes 1)"]}
    (tmp_path / "results.json").write_text(json.dumps(kept))
    again = main.kept(argparse.Namespace(update=False, missing=True, output=tmp_path))
    assert again["cells"] == cells and again["python"] == {"a": {}} and again["machine"] == {"cores": "9"}
    assert again["missing"] == ["tensorflow: set TF_PYTHON"]
    assert main.kept(argparse.Namespace(update=False, missing=False, output=tmp_path))["cells"] == []


def test_no_more_rounds_than_needed_when_the_time_is_up():
    asked = []
    for ms, least in ((1.0, 3), (800.0, 2), (4000.0, 1)):
        fake = Fake("tfjs wasm", ms, asked)
        cells = rounds.measure(BY_NAME["sum0"], [("tfjs wasm", lambda w, fake=fake: fake)],
                               rounds.Budget(until=time.monotonic()), lambda text: None)
        assert len(cells[0].rounds) == least == rounds.fewest(ms)


def test_a_target_is_met_only_by_right_answers():
    target = next(t for t in TARGETS if t.workload == "mlp" and t.against == ("jax-js wasm",))
    cells = {("mlp", "tideflow wasm"): {"steadyMs": 1.0, "right": True}, ("mlp", "jax-js wasm"): {"steadyMs": 1.5}}
    assert reached(target, cells) == (1.5, True)
    cells["mlp", "tideflow wasm"]["right"] = False
    assert reached(target, cells) == (None, False)
    every = next(t for t in TARGETS if t.workload == "cnn" and t.goal == 40)
    some = {("cnn", "tideflow wasm"): {"steadyMs": 1.0, "right": True}, ("cnn", "jax-js wasm"): {"steadyMs": 50.0}}
    assert reached(every, some) == (None, False), "a peer was left out"
    assert reached(every, some | {("cnn", "tfjs wasm"): {"error": "no such kernel"}}) == (50.0, True)
    most = next(t for t in TARGETS if t.workload == "mlp" and t.measure == "dispatches")
    assert reached(most, {("mlp", "tideflow webgpu"): {"perStep": {"dispatches": 11}}}) == (11, True)


def test_every_target_can_be_read_and_is_about_something_measured():
    for t in TARGETS:
        assert t.workload in BY_NAME or (t.workload == PYTHON_CALLS and t.measure in report.PYTHON)
        assert t.against or t.measure in WORDS
        assert t.workload == PYTHON_CALLS or plan.takes_part(t.ours, BY_NAME[t.workload])


def test_what_python_adds_is_a_table_and_a_target():
    us = {name: {"best": 1.0, "median": 2.0} for name in report.PYTHON}
    results = {"machine": {}, "cells": [], "python": {"tideflow pyodide": us | {"fit": {"best": 90.0, "median": 310.0}},
                                                      "tensorflow": {"error": "no such library"}}}
    text = report.table(results)
    assert "| tideflow pyodide | 310, 90 | 2, 1 |" in text and "| tensorflow | no such library |" in text
    assert "at most 300 us a step of fit | 310 | **missed** |" in text
    assert "at most 20 us an eager tf.add | 2 | met |" in text


def fields(message):
    """The fields of a protobuf message, read back."""
    at, found = 0, []

    def varint():
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value
    while at < len(message):
        tag = varint()
        if tag & 7 == 0:
            found.append((tag >> 3, varint()))
        else:
            size = varint() if tag & 7 == 2 else 4
            found.append((tag >> 3, message[at:at + size]))
            at += size
    return found


@pytest.mark.parametrize("name", ["matmul64x64", "chain12", "sum1", "depthwise", "mobilenet"])
def test_onnx_models_say_what_they_hold(name):
    model = dict(fields(onnx_models.make_model(BY_NAME[name])))
    graph = fields(model[7])
    nodes = [dict(fields(content))[4].decode() for field, content in graph if field == 1]
    expected = {"matmul64x64": ["MatMul"], "sum1": ["ReduceSum"], "depthwise": ["Conv"],
                "chain12": ["Mul", "Add", "Tanh", "Mul", "Sub", "Abs", "Add", "Sqrt", "Neg", "Exp", "Mul", "Relu"]}
    assert nodes == expected.get(name, nodes)
    assert nodes.count("Conv") == {"mobilenet": 27, "depthwise": 1}.get(name, 0)
    inputs = [dict(fields(content))[1].decode() for field, content in graph if field == 11]
    assert inputs == [a.name for a in (BY_NAME[name].inputs or BY_NAME[name].params)]
    assert fields(model[8])[1] == (2, 17)
