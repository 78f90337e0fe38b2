"""Programs of one model share what the emitters made for equal kernels, and get the same code as by themselves."""

import pytest
import tideflow as tf
from tideflow.compiler.compile import PortSpec, Source, compile_model
from tideflow.function.trace import TensorSpec, input_values, trace
from tideflow.gpu_wgsl import emit as wgsl
from tideflow.program.sizes import evaluate
from tideflow.wasm import emit as wasm


def source(name, free):
    def forward(x, y):
        return tf.nn.softmax(tf.matmul(x, y) + 1.0), tf.reduce_sum(x * x)

    specs = [TensorSpec((None if free else 4, 5)), TensorSpec((5, 3))]
    graph = trace(forward, input_values(specs, ["x", "y"]), name).graph
    return Source(name, graph, [PortSpec("x"), PortSpec("y")], ["a", "b"])


def code_of(program):
    return program.module or [k.code for k in program.kernels]


@pytest.mark.parametrize(("target", "module", "function"), [("wgsl", wgsl, "emit"), ("wasm", wasm, "emit_kernel")])
def test_equal_kernels_of_two_programs_are_emitted_once(target, module, function, monkeypatch):
    calls, emit = [], getattr(module, function)
    monkeypatch.setattr(module, function, lambda *a: calls.append(1) or emit(*a))
    for free in (True, False):
        calls.clear()
        alone = compile_model([source("one", free)], [target]).model.programs[0]
        count = len(calls)
        both = compile_model([source("one", free), source("two", free)], [target]).model.programs
        assert len(calls) == 2 * count > 0                      # once for the model of one, once for that of two
        assert [code_of(p) for p in both] == [code_of(alone)] * 2


def test_kernels_of_other_sizes_keep_grids_of_their_own():
    sources = []
    for name, columns in (("small", 4), ("large", 8)):
        graph = trace(lambda x: x * 2.0, input_values([TensorSpec((None, columns))], ["x"]), name).graph
        sources.append(Source(name, graph, [PortSpec("x")], ["y"]))
    both = compile_model(sources, ["wgsl"]).model
    for source_, program in zip(sources, both.programs, strict=True):
        alone = compile_model([source_], ["wgsl"]).model
        grids = [[evaluate(m.dims, dict.fromkeys(range(len(m.symbols)), 1 << 20))[g] for g in p.steps[0].grid]
                 for m, p in ((alone, alone.programs[0]), (both, program))]
        assert grids[0] == grids[1] and code_of(alone.programs[0]) == code_of(program)


@pytest.mark.parametrize(("shape", "axis"), [((6, 40), 0), ((2, 6, 40), 1), ((2, 6, 40), 2)])
def test_softmax_along_any_axis_is_one_kernel_over_its_lines(shape, axis, monkeypatch):
    emitted, emit = [], wasm.emit_kernel
    monkeypatch.setattr(wasm, "emit_kernel", lambda kernel, *rest: emitted.append(kernel) or emit(kernel, *rest))
    graph = trace(lambda x: tf.nn.softmax(x, axis=axis), input_values([TensorSpec(shape)], ["x"]), "f").graph
    compile_model([Source("f", graph, [PortSpec("x")], ["y"])], ["wasm"])
    assert [[a.extent for a in kernel.axes] for kernel in emitted] == [[n for i, n in enumerate(shape) if i != axis]]
