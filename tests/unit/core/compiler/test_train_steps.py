"""Train steps: every kernel is right, and there are few of them."""

import pytest
from tideflow.compiler.compile import PortSpec, Source, compile_model
from tideflow.compiler.validate import validate
from train_steps import batch, convolutional, perceptron

# name -> (graph, shape of an example, most steps of a WASM program, most dispatches of a WGSL program)
STEPS = {
    "perceptron": (perceptron, (784,), 11, 14),
    "small perceptron": (lambda: perceptron((6, 5, 10)), (6,), 8, 11),
    "convolutional": (convolutional, (8, 8, 1), 18, 26),
    "narrow convolutional": (lambda: convolutional((3, 5), 7), (8, 8, 1), 18, 26),
}


@pytest.fixture(scope="module", params=list(STEPS))
def step(request):
    """(name, graph) of each train step."""
    return request.param, STEPS[request.param][0]()


@pytest.mark.parametrize("options", [{}, {"fuse": False}, {"stages": True}], ids=["fused", "alone", "stages"])
@pytest.mark.parametrize("size", [1, 7])
def test_every_kernel_stores_what_the_graph_says(step, options, size):
    name, graph = step
    report = validate(graph, batch(size, *STEPS[name][1]), **options)
    assert report.ok, report


def test_kernels_are_few(step):
    name, graph = step
    names = [f"o{i}" for i in range(len(graph.outputs))]
    source = Source("train_step", graph, [PortSpec("x"), PortSpec("y"), PortSpec("learning_rate")], names)
    model = compile_model([source], ["wasm", "wgsl"]).model
    counts = [len(p.steps) for p in model.programs]
    allowed = list(STEPS[name][2:])
    made = [[p.kernels[s.kernel].name for s in p.steps] for p in model.programs]
    assert all(c <= a for c, a in zip(counts, allowed, strict=True)), f"{counts} steps, allowed {allowed}: {made}"
