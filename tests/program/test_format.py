"""The format stays what it is: golden files, generated tables, documented rules, and a stock flatbuffers reader."""

import re
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from tideflow.program.read import read_model
from tideflow.program.tables import TABLES, UNIONS
from tideflow.program.write import write_model

from .samples import SAMPLES

ROOT = Path(__file__).parents[2]
GOLDEN = sorted((Path(__file__).parent / "golden").glob("*.tide"))
RULE = re.compile(r"\b[CPG]\d\d-[a-z]+\b")
PYTHON_READER = [
    "core/program/read.py",
    "core/program/decode.py",
    "core/program/rules.py",
    "core/program/modules.py",
    "core/program/sizes.py",
    "core/kernel/bindings.py",
]
JAVASCRIPT_READER = ["model.js", "rules.js", "sizes.js", "bindings.js"]


def rules_in(*paths):
    return {rule for path in paths for rule in RULE.findall((ROOT / path).read_text(encoding="utf-8"))}


def test_golden_files_exist():
    assert len(GOLDEN) >= len(SAMPLES)


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_golden_file_still_means_the_same(path):
    read = read_model(path.read_bytes())
    assert read == read_model(write_model(SAMPLES[path.stem.split("-", 1)[1]]()))


def test_bytes_have_not_changed_within_the_release():
    from tideflow.version import RELEASE

    for path in GOLDEN:
        release, name = path.stem.split("-", 1)
        if release == RELEASE:
            assert path.read_bytes() == write_model(SAMPLES[name]()), f"{name}: the canonical bytes changed"


def test_golden_files_load_in_javascript(require):
    node = shutil.which("node")
    require("node", None if node else "node is not installed")
    pack = b"".join(struct.pack("<I", path.stat().st_size) + path.read_bytes() for path in GOLDEN)
    script = ROOT / "tests" / "js" / "read_all.mjs"
    done = subprocess.run([node, str(script), "/dev/stdin"], input=pack, capture_output=True, timeout=60)
    assert [line.split()[1] for line in done.stdout.decode().splitlines()] == ["accept"] * len(GOLDEN), done.stderr


def test_generated_tables_are_up_to_date():
    done = subprocess.run([sys.executable, str(ROOT / "tools" / "generate_tables.py"), "--check"], capture_output=True)
    assert done.returncode == 0, done.stdout.decode()


def test_both_readers_enforce_the_documented_rules():
    documented = {rule for rule in rules_in("docs/format.md") if not rule.startswith("G")}
    assert documented == rules_in(*PYTHON_READER)
    assert documented == rules_in(*[f"js_bindings/runtime/{name}" for name in JAVASCRIPT_READER])


def test_stock_flatbuffers_library_reads_the_same():
    """Our builder is our own; the library's accessors must find every tensor name, number and step in its output."""
    table_module = pytest.importorskip("flatbuffers.table")
    flags = pytest.importorskip("flatbuffers.number_types")
    data = write_model(SAMPLES["trainable"]())
    model = read_model(data)

    def slot(table, field):
        number = 0
        for part in TABLES[table].split():
            name, kind = part.split(":")
            if name == field:
                return 4 + 2 * number
            number += 2 if kind in UNIONS else 1
        raise AssertionError(field)

    root = table_module.Table(bytearray(data), struct.unpack_from("<I", data)[0])

    def children(parent, table, field):
        offset = parent.Offset(slot(table, field))
        start = parent.Vector(offset)
        return [
            table_module.Table(parent.Bytes, parent.Indirect(start + 4 * i)) for i in range(parent.VectorLen(offset))
        ]

    tensors = children(root, "Model", "tensors")
    names = [
        t.String(t.Offset(slot("Tensor", "name")) + t.Pos).decode() if t.Offset(slot("Tensor", "name")) else ""
        for t in tensors
    ]
    assert names == [tensor.name for tensor in model.tensors]
    for stock, symbol in zip(children(root, "Model", "symbols"), model.symbols, strict=True):
        for field, default in (("min", 1), ("max", 0), ("multiple_of", 1)):
            assert stock.GetSlot(slot("Symbol", field), default, flags.Uint64Flags) == getattr(symbol, field)
    for stock, program in zip(children(root, "Model", "programs"), model.programs, strict=True):
        for step, ours in zip(children(stock, "Program", "steps"), program.steps, strict=True):
            assert step.GetSlot(slot("Step", "flops"), 0, flags.Uint32Flags) == ours.flops
            offset = step.Offset(slot("Step", "uniforms"))
            found = (
                []
                if not offset
                else [step.Get(flags.Uint32Flags, step.Vector(offset) + 4 * i) for i in range(step.VectorLen(offset))]
            )
            assert found == ours.uniforms
