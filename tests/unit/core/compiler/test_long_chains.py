"""Long chains of ops compile without deep recursion, in pieces."""

import pytest
import tideflow as tf
from tideflow.compiler.compile import PortSpec, Source, compile_model
from tideflow.compiler.fuse import MAX_DEPTH
from tideflow.function.trace import TensorSpec, input_values, trace

CHAINS = {
    "add": lambda z, y: z + y,
    "softplus": lambda z, y: tf.nn.softplus(z),
    "floormod": lambda z, y: z % y,
    "matmul": lambda z, y: tf.matmul(z, y),
    "transpose": lambda z, y: tf.transpose(z),
}


def compiled(op, count, target="wasm"):
    def chain(z, y):
        for _ in range(count):
            z = op(z, y)
        return z

    inputs = input_values([TensorSpec((4, 4)), TensorSpec((4, 4))], ["a", "b"])
    graph = trace(chain, inputs, "chain").graph
    source = Source("chain", graph, [PortSpec("a"), PortSpec("b")], ["out"])
    return compile_model([source], [target]).model.programs[0]


def deep(calls, run):
    """Runs below some more frames, as a notebook's cells and `fit` are."""
    return run() if calls == 0 else deep(calls - 1, run)


@pytest.mark.parametrize("target", ["wasm", "wgsl"])
@pytest.mark.parametrize("name", CHAINS)
def test_chain_of_300_ops_compiles(name, target):
    program = deep(100, lambda: compiled(CHAINS[name], 300 if name != "softplus" else 150, target))
    assert program.steps


def test_short_chain_is_one_kernel():
    assert len(compiled(CHAINS["add"], MAX_DEPTH).steps) == 1


def test_long_chain_gives_its_result():
    @tf.function
    def chain(z, y):
        for _ in range(300):
            z = z + y
        return z

    with tf.device("/WASM:0"):
        assert chain(tf.zeros([4]), tf.ones([4])).numpy().tolist() == [300.0] * 4
