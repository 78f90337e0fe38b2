"""Random graphs with a symbolic batch, states and integers: kernels, passes, WASM and WGSL against numpy.

Each graph is made from its seed alone, so a failure is repeated by its test id; the message holds the smallest part of
the graph that still fails. `python tests/differential/test_random_graphs.py 1000 2000` looks at more seeds.
"""

import sys

import numpy as np
import pytest
from random_graphs import compare_on_device, make, minimise, runs_on_numpy, show
from tideflow.compiler.validate import validate
from tideflow.runtime.discover import find

# what a schedule is made with; the last is what the WGSL target does to long reductions
VARIANTS = [
    {},
    {"fuse": False},
    {"skip": ("fold",)},
    {"skip": ("simplify",)},
    {"skip": ("cse",)},
    {"skip": ("flatten",)},
    {"stages": True},
]
BATCHES = (0, 1, 5, 16)


def explain(graph, arrays, fails):
    """The smallest part of a graph that fails, as text."""
    smaller, given = minimise(graph, arrays, fails)
    return f"the smallest part that fails (inputs {[a.shape for a in given]}):\n{show(smaller)}"


def check_kernels(seed, variants=VARIANTS, batches=BATCHES):
    """Every kernel of the schedule stores what the graph says, whichever passes ran."""
    made = make(seed)
    for batch in batches:
        arrays = made.inputs(batch, batch)
        if not runs_on_numpy(made.graph, arrays):
            continue
        for options in variants:
            with np.errstate(all="ignore"):
                report = validate(made.graph, arrays, **options)
                if not report.ok:
                    small = explain(made.graph, arrays, lambda g, a, o=options: not validate(g, a, **o).ok)
                    pytest.fail(f"seed {seed}, batch {batch}, {options}:\n{report}\n{small}", pytrace=False)


def check_device(seed, device, *, fuse=True, batches=BATCHES):
    """Several runs, one after another, give the outputs and leave the states that numpy gives."""
    made = make(seed)
    sets = [a for a in (made.inputs(b, b) for b in batches) if runs_on_numpy(made.graph, a)]
    problem = compare_on_device(made.graph, sets, device, fuse=fuse)
    if problem:
        failing = next((a for a in sets if compare_on_device(made.graph, [a], device, fuse=fuse)), None)
        small = (
            "only several runs after another fail"
            if failing is None
            else explain(made.graph, failing, lambda g, a: bool(compare_on_device(g, [a], device, fuse=fuse)))
        )
        pytest.fail(f"seed {seed} on {device}, fuse={fuse}:\n{problem}\n{small}", pytrace=False)


@pytest.mark.parametrize("seed", range(60))
def test_every_kernel_stores_what_the_graph_says(seed):
    check_kernels(seed, [VARIANTS[0], VARIANTS[1 + seed % (len(VARIANTS) - 1)]], BATCHES if seed % 4 == 0 else (0, 5))


@pytest.mark.parametrize("fuse", [True, False], ids=["fused", "alone"])
@pytest.mark.parametrize("seed", range(100, 160))
def test_wasm_equals_numpy(seed, fuse, require):
    require("wasm", None if find("WASM:0").present else find("WASM:0").reason)
    check_device(seed, "WASM:0", fuse=fuse, batches=(5, 0, 1, 16, 5))


@pytest.mark.gpu
@pytest.mark.parametrize("seed", range(200, 215))
def test_wgsl_equals_numpy(seed, require):
    require("wgsl", None if find("GPU:0").present else find("GPU:0").reason)
    check_device(seed, "GPU:0", batches=(5, 0, 1))


if __name__ == "__main__":
    for number in range(int(sys.argv[1]), int(sys.argv[2])):
        check_kernels(number)
        check_device(number, "WASM:0")
    print("no difference")
