"""The corpus of broken files: both readers give the expected outcome, the same from both, and only ever a rule."""

import os
import shutil
import struct
import subprocess
import time
from pathlib import Path

import pytest
from tideflow.errors import ModelError
from tideflow.program.read import read_model

from .corpus.hostile import hostile_files
from .corpus.judge import harm_in
from .corpus.mutants import all_mutants
from .samples import SAMPLES

NODE = shutil.which("node")
READ_ALL = Path(__file__).parents[1] / "js" / "read_all.mjs"
LONGEST = 1.0  # seconds of processor time per file


def read_in_python(data: bytes) -> tuple[str, str | None]:
    """The rule that the file breaks or "accept", and the harm in what was accepted (None: harmless)."""
    try:
        model = read_model(data)
    except ModelError as error:
        return error.rule, None
    return "accept", harm_in(model)


def read_in_javascript(pack: Path) -> list[tuple[float, str]]:
    done = subprocess.run([NODE, str(READ_ALL), str(pack)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    return [(float(t) / 1000, outcome) for t, outcome in (line.split(" ", 1) for line in done.stdout.splitlines())]


def judge_corpus(mutants, folder: Path) -> tuple[dict, list[str]]:
    """Reads every mutant with both readers; returns counts by reader and what went wrong."""
    pack, records, slow = folder / "pack", [], []
    with pack.open("wb") as out:
        for name, data, expected in mutants:
            out.write(struct.pack("<I", len(data)) + data)
            start = time.process_time()
            outcome, harm = read_in_python(data)
            if time.process_time() - start > LONGEST:
                slow.append(f"{name}: Python took {time.process_time() - start:.1f} s")
            records.append((name, expected, outcome, harm))
    answers = read_in_javascript(pack)
    assert len(answers) == len(records)
    wrong = slow
    counts = {
        reader: {"tried": 0, "refused": 0, "accepted, harmless": 0, "wrongly accepted": 0}
        for reader in ("Python", "JavaScript")
    }
    for (name, expected, outcome, harm), (seconds, other) in zip(records, answers, strict=True):
        must_refuse = expected != "either"
        for reader, found in (("Python", outcome), ("JavaScript", other)):
            kind = (
                "refused" if found != "accept" else "wrongly accepted" if must_refuse or harm else "accepted, harmless"
            )
            counts[reader]["tried"] += 1
            counts[reader][kind] += 1
            if kind == "wrongly accepted" or (expected not in ("either", "refuse") and found != expected):
                wrong.append(f"{name}: {reader} gave {found}, expected {expected}{f' ({harm})' if harm else ''}")
        if outcome != other:
            wrong.append(f"{name}: Python gave {outcome}, JavaScript {other}")
        if seconds > LONGEST:
            wrong.append(f"{name}: JavaScript took {seconds:.1f} s")
    return counts, wrong


def report(counts: dict) -> str:
    columns = list(next(iter(counts.values())))
    lines = ["reader      " + "".join(f"{c:>20}" for c in columns)]
    lines += [f"{reader:<12}" + "".join(f"{row[c]:>20}" for c in columns) for reader, row in counts.items()]
    return "\n".join(lines)


@pytest.fixture
def node(require):
    require("node", None if NODE else "node is not installed: the JavaScript reader needs Node 20 or newer")


def test_hostile_files_are_refused_by_rule(node, tmp_path, capsys):
    counts, wrong = judge_corpus(hostile_files(SAMPLES["trainable"]), tmp_path)
    with capsys.disabled():
        print(f"\nfiles broken by hand\n{report(counts)}")
    assert not wrong, "\n".join(wrong[:30])


@pytest.mark.parametrize("part", [0, 1])
def test_mutants_are_refused_or_harmless(part, node, tmp_path, capsys):
    """Every changed field, and one in four changes of bytes (all of them with TIDEFLOW_CORPUS=full)."""
    every = 1 if os.environ.get("TIDEFLOW_CORPUS") == "full" else 4
    chosen = (m for i, m in enumerate(all_mutants(SAMPLES, every)) if i % 2 == part)
    counts, wrong = judge_corpus(chosen, tmp_path)
    with capsys.disabled():
        print(f"\nfiles broken mechanically, part {part + 1} of 2\n{report(counts)}")
    assert not wrong, f"{len(wrong)} wrong\n" + "\n".join(wrong[:30])
