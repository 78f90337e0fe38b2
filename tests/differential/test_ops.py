"""Every op of the registry, forward and backward, compiled as one graph: WASM and WGSL equal numpy at every sample."""

import gc

import numpy as np
import pytest
import tideflow.ops  # noqa: F401
from tideflow.autodiff.gradients import Recording, gradients
from tideflow.dtypes import as_dtype
from tideflow.eager.run_op import wrap
from tideflow.function.backend import CompiledGraph
from tideflow.graph.ir import Graph
from tideflow.graph.record import record
from tideflow.ops.dispatch import apply, pushed
from tideflow.ops.op import Spec, registered_ops
from tideflow.runtime.discover import find, open_device

ON_DEVICE = {"float32", "int32", "uint32", "bool", "int64"}
RTOL, ATOL = 5e-5, 5e-6


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


def run_compiled(op, case, device):
    """(expected arrays, arrays from the device)."""
    present = [i for i, a in enumerate(case.arrays) if a is not None]
    arrays = [case.arrays[i] for i in present]

    def function(*xs):
        inputs = [None] * len(case.arrays)
        for i, x in zip(present, xs, strict=True):
            inputs[i] = x
        return answers(op, case, inputs)

    wanted = [t.host() for t in function(*map(wrap, arrays))]
    recorder, inputs, results = record(function, [Spec(a.shape, as_dtype(a.dtype)) for a in arrays], op.name)
    values = [recorder.lift(r) for r in results]
    kept = [i for i, v in enumerate(values) if v.node is not None and v.dtype.name in ON_DEVICE]
    if not kept:
        pytest.skip("every output stays on the host")
    compiled = CompiledGraph(
        Graph(op.name, tuple(inputs), tuple(recorder.nodes), tuple(values[i] for i in kept)), device
    )
    try:
        found = [t.host() for t in compiled.run(arrays)]
    finally:
        compiled.model.close()
    return [wanted[i] for i in kept], found


def check(op, case, device):
    for expected, actual in zip(*run_compiled(op, case, device), strict=True):
        assert actual.shape == expected.shape
        assert actual.dtype == expected.dtype
        if expected.dtype.kind == "f":
            np.testing.assert_allclose(actual, expected, rtol=RTOL * case.tolerance, atol=ATOL * case.tolerance)
        else:
            np.testing.assert_array_equal(actual, expected)


@pytest.fixture(scope="module")
def devices():
    """What a look at each device gave."""
    return {found.name: found for found in (find(name) for name in ("WASM:0", "GPU:0"))}


@pytest.fixture(scope="module", autouse=True)
def nothing_leaks(devices):
    """After all samples no buffer is alive on a device that was not before."""
    opened = {name: open_device(name) for name, found in devices.items() if found.present}
    before = {name: device.stats().live_buffers for name, device in opened.items()}
    yield
    gc.collect()
    assert {name: device.stats().live_buffers for name, device in opened.items()} == before


@pytest.mark.parametrize("op, case", SAMPLES)
def test_wasm_equals_numpy(op, case, devices, require):
    require("wasm", None if devices["WASM:0"].present else devices["WASM:0"].reason)
    check(op, case, "WASM:0")


@pytest.mark.gpu
@pytest.mark.parametrize("op, case", SAMPLES)
def test_wgsl_equals_numpy(op, case, devices, require):
    require("wgsl", None if devices["GPU:0"].present else devices["GPU:0"].reason)
    check(op, case, "GPU:0")
