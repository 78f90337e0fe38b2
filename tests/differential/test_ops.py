"""Every op of the registry, forward and backward, compiled as a graph: interpreted kernels, WASM and WGSL equal numpy.

Samples come from `op.cases()`, tolerances from `support/tolerances.py`, exclusions from `support/exclusions.py`.
"""

import gc

import numpy as np
import pytest
from exclusions import EXCLUSIONS, excluded, table
from tideflow.autodiff.gradients import Recording, gradients
from tideflow.compiler.compile import PortSpec, Source, compile_model
from tideflow.compiler.validate import validate
from tideflow.dtypes import as_dtype
from tideflow.eager.run_op import wrap
from tideflow.errors import OpError, UnimplementedError
from tideflow.function.backend import CompiledGraph, close_dropped
from tideflow.graph.ir import Graph
from tideflow.graph.record import record
from tideflow.ops.dispatch import apply, pushed
from tideflow.ops.op import Spec, registered_ops
from tideflow.runtime.discover import find, open_device
from tolerances import BY_OP, DEFAULT, tolerance

ON_DEVICE = {"float32", "int32", "uint32", "bool", "int64"}
DEVICES = {"wasm": "WASM:0", "wgsl": "GPU:0"}


def answers(op, case, inputs):
    """The outputs, and where the sample allows it the gradient of their sum for each floating input."""
    recorder = Recording()
    with pushed(recorder):
        out = apply(op, *inputs, **case.attrs)
    results = list(out) if isinstance(out, tuple) else [out]
    targets = [o for o in results if o.dtype.is_floating]
    sources = [x for x in inputs if x is not None and x.dtype.is_floating]
    if targets and sources and case.gradient:
        found = gradients(recorder.entries, targets, [None] * len(targets), sources)
        results += [g for g in found if g is not None]
    return results


def samples():
    for op in registered_ops():
        for i, case in enumerate(op.cases()):
            if not op.stateful and all(a is None or str(a.dtype) in ON_DEVICE for a in case.arrays):
                yield pytest.param(op, case, id=f"{op}-{i}")


SAMPLES = list(samples())


def with_absent(op, case):
    """A function of the inputs that are present."""

    def function(*xs):
        supply = iter(xs)
        return answers(op, case, [None if a is None else next(supply) for a in case.arrays])

    return function


def one_graph(op, case):
    """(graph, arrays, expected): the outputs that a device can hold."""
    arrays = [a for a in case.arrays if a is not None]
    function = with_absent(op, case)
    wanted = [t.host() for t in function(*map(wrap, arrays))]
    recorder, inputs, results = record(function, [Spec(a.shape, as_dtype(a.dtype)) for a in arrays], op.name)
    values = [recorder.lift(r) for r in results]
    kept = [i for i, v in enumerate(values) if v.node is not None and v.dtype.name in ON_DEVICE]
    if not kept:
        pytest.skip("every output stays on the host")
    graph = Graph(op.name, tuple(inputs), tuple(recorder.nodes), tuple(values[i] for i in kept))
    return graph, arrays, [wanted[i] for i in kept]


def check(op, case, backend):
    """One run on a device."""
    if reason := excluded(op.name, backend):
        pytest.skip(f"excluded: {reason}")
    graph, arrays, wanted = one_graph(op, case)
    compiled = CompiledGraph(graph, DEVICES[backend])
    try:
        found = [t.host() for t in compiled.run(arrays)]
    finally:
        compiled.model.close()
    for expected, actual in zip(wanted, found, strict=True):
        assert actual.shape == expected.shape
        assert actual.dtype == expected.dtype
        allowed = tolerance(op.name, str(expected.dtype), backend, case.tolerance)
        np.testing.assert_allclose(actual, expected, rtol=allowed.relative, atol=allowed.absolute)


@pytest.fixture(scope="module")
def devices():
    """What a look at each device gave."""
    return {backend: find(name) for backend, name in DEVICES.items()}


@pytest.fixture(scope="module", autouse=True)
def nothing_leaks(devices):
    """After all samples no buffer is alive on a device that was not before."""
    opened = {found.name: open_device(found.name) for found in devices.values() if found.present}
    gc.collect()
    close_dropped()                                 # models of another file's tests, which the next run would close
    before = {name: device.stats().live_buffers for name, device in opened.items()}
    yield
    gc.collect()
    assert {name: device.stats().live_buffers for name, device in opened.items()} == before


@pytest.mark.parametrize("op, case", SAMPLES)
def test_interpreted_kernels_equal_numpy(op, case):
    if reason := excluded(op.name, "interpreter"):
        pytest.skip(f"excluded: {reason}")
    graph, arrays, _ = one_graph(op, case)
    allowed = tolerance(op.name, "float32", "interpreter", case.tolerance)
    for fuse in (True, False):
        report = validate(graph, arrays, fuse=fuse, rtol=allowed.relative, atol=allowed.absolute)
        assert report.ok, report


@pytest.mark.parametrize("op, case", SAMPLES)
def test_wasm_equals_numpy(op, case, devices, require):
    require("wasm", None if devices["wasm"].present else devices["wasm"].reason)
    check(op, case, "wasm")


@pytest.mark.gpu
@pytest.mark.parametrize("op, case", SAMPLES)
def test_wgsl_equals_numpy(op, case, devices, require):
    require("wgsl", None if devices["wgsl"].present else devices["wgsl"].reason)
    check(op, case, "wgsl")


def in_dtype(op, case, old, new):
    """(graph of the sample, arrays), one dtype exchanged for another; None if the op refuses it."""
    with np.errstate(over="ignore"):
        arrays = [a if a is None or a.dtype != old else a.astype(new) for a in case.arrays]
    attrs = {k: new if v == old else v for k, v in case.attrs.items()}
    present = [a for a in arrays if a is not None]

    def function(*xs):
        supply = iter(xs)
        out = apply(op, *(None if a is None else next(supply) for a in arrays), **attrs)
        return out if isinstance(out, tuple) else (out,)

    try:
        recorder, inputs, results = record(function, [Spec(a.shape, as_dtype(a.dtype)) for a in present], op.name)
    except (TypeError, ValueError, OpError):
        return None
    return Graph(op.name, tuple(inputs), tuple(recorder.nodes), tuple(map(recorder.lift, results))), present


def compile_alone(graph):
    source = Source(
        "call",
        graph,
        [PortSpec(f"in{i}") for i in range(len(graph.inputs))],
        [f"out{i}" for i in range(len(graph.outputs))],
    )
    return compile_model([source], ["wasm"])


def has(case, dtype):
    return any(a is not None and a.dtype == dtype for a in case.arrays)


@pytest.mark.parametrize("dtype", ["float64", "float16"])
@pytest.mark.parametrize("op", list(registered_ops()), ids=str)
def test_a_dtype_of_the_host_is_named(op, dtype):
    """Compiling a sample in a dtype that devices lack raises an error that says which."""
    made = (in_dtype(op, case, "float32", dtype) for case in op.cases() if has(case, "float32") and not op.stateful)
    found = next((m for m in made if m is not None), None)
    if found is None:
        pytest.skip("no sample in that dtype")
    with pytest.raises(UnimplementedError, match=dtype):
        compile_alone(found[0])


@pytest.mark.parametrize("op", [op for op in registered_ops() if any(has(c, "int32") for c in op.cases())], ids=str)
def test_int64_is_carried_or_named(op):
    """Devices compare, move and pick 64-bit integers that fit into 32 bits; arithmetic with them is for the host."""
    for case in op.cases():
        made = in_dtype(op, case, "int32", "int64") if has(case, "int32") and not op.stateful else None
        if made is None:
            continue
        try:
            compile_alone(made[0])
        except UnimplementedError as error:
            assert "int64" in str(error)
            continue
        report = validate(*made)
        assert report.ok, report


def test_tables_name_ops_and_backends_that_exist():
    print(table())
    ops = {op.name for op in registered_ops()}
    assert {e.op for e in EXCLUSIONS} | {op for op, _ in BY_OP} <= ops
    assert {e.backend for e in EXCLUSIONS} | {backend for _, backend in BY_OP} <= set(DEFAULT)
    assert all(e.reason for e in EXCLUSIONS) and all(t.because for t in BY_OP.values())
