"""A subset of the registry's kernels, forward and backward, in Chromium: accepted, and equal to the interpreter.

The kernels are those the compiler makes for the ops' own samples; their inputs here are random.
"""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import wgsl_browser
from exclusions import excluded
from tideflow.compiler import targets
from tideflow.compiler.compile import PortSpec, Source, compile_model
from tideflow.dtypes import as_dtype
from tideflow.graph.ir import Graph
from tideflow.graph.record import record
from tideflow.kernel.interpret import run_kernel
from tideflow.ops.op import Spec
from tideflow.program import sizes
from tideflow.program.format import StepKind

pytestmark = [pytest.mark.gpu, pytest.mark.browser, pytest.mark.slow]
MOST = 300
NUMPY = {"f32": np.float32, "i32": np.int32, "u32": np.uint32, "bool": np.uint32}


def differential():
    """The module with the samples of every op."""
    path = Path(__file__).parents[1] / "differential" / "test_ops.py"
    spec = importlib.util.spec_from_file_location("tideflow_differential_ops", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def kernels_of(ops, op, case, monkeypatch):
    """(kernel, emitted, arrays) for each launch of the program of a sample."""
    made = []

    def wgsl(kernel, *options):
        emitted = emit(kernel, *options)
        made.append((kernel, emitted))
        return emitted

    emit = targets.wgsl
    present = [a for a in case.arrays if a is not None]

    def function(*xs):
        left = iter(xs)
        return ops.answers(op, case, [None if a is None else next(left) for a in case.arrays])

    recorder, inputs, results = record(function, [Spec(a.shape, as_dtype(a.dtype)) for a in present], op.name)
    values = [v for v in map(recorder.lift, results) if v.node is not None and v.dtype.name in ops.ON_DEVICE]
    if not values:
        return []
    graph = Graph(op.name, tuple(inputs), tuple(recorder.nodes), tuple(values))
    names = [f"x{i}" for i in range(len(inputs))]
    with monkeypatch.context() as patch:
        patch.setattr(targets, "wgsl", wgsl)
        model = compile_model([Source("call", graph, [PortSpec(n) for n in names],
                                      [f"y{i}" for i in range(len(values))])], ["wgsl"]).model
    program, numbers = model.programs[0], sizes.evaluate(model.dims, {})
    if any(step.kind == StepKind.LOOP for step in program.steps):
        return []                           # tests/e2e runs loops: their kernels want the number of the iteration
    rng = np.random.default_rng(len(made))
    launches = []
    for step, (kernel, emitted) in zip(program.steps, made, strict=True):
        arrays = []
        for region, buffer in zip(step.regions, kernel.buffers, strict=True):
            count = -(-max(numbers[program.regions[region].bytes], 16) // 16) * 4
            dtype = NUMPY[buffer.dtype]
            small = rng.integers(0, 2, count) if dtype != np.float32 else rng.standard_normal(count)
            arrays.append(small.astype(dtype))
        launches.append((kernel, emitted, arrays))
    return launches


def test_kernels_of_ops_run_in_chromium(require, monkeypatch):
    require("chromium", wgsl_browser.missing())
    ops, seen = differential(), {}
    for parameter in ops.SAMPLES:
        op, case = parameter.values
        if excluded(op.name, "wgsl"):
            continue
        for kernel, emitted, arrays in kernels_of(ops, op, case, monkeypatch):
            if 0 not in emitted.grid and not kernel.scalars:
                seen.setdefault(emitted.code, (parameter.id, kernel, emitted, arrays))
    assert len(seen) > MOST
    chosen = list(seen.values())[:: -(-len(seen) // MOST)]
    jobs = [wgsl_browser.job(e.code, a, np.zeros(0), [*map(int, e.grid), 1, 1][:3]) for _, _, e, a in chosen]
    answers = []
    with wgsl_browser.page() as tab:
        for start in range(0, len(jobs), 50):
            answer = tab.evaluate(wgsl_browser.PAGE, jobs[start : start + 50])
            require("chromium", answer.get("missing"))
            answers += answer["results"]
    for (name, kernel, emitted, arrays), result in zip(chosen, answers, strict=True):
        problem = result["problems"] or result["error"]
        assert not problem, f"{name}: {problem}\n{emitted.code}"
        wanted = [a.copy() for a in arrays]
        run_kernel(kernel, wanted)
        note = f"{name}\n{emitted.code}"
        for got, right in zip(wgsl_browser.arrays_of(result, arrays), wanted, strict=True):
            np.testing.assert_allclose(got, right, rtol=1e-4, atol=1e-4, err_msg=note)
