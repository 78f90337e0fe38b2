"""Rules of class G: a stored graph that is not what the ops say is refused when it is loaded, by a rule."""

import collections

import numpy as np
import pytest
import tideflow as tf
from tideflow.compiler.compile import PortSpec, Source, compile_model
from tideflow.compiler.graphs import load_graph
from tideflow.errors import ModelError
from tideflow.function.host import load_states
from tideflow.graph.verify import verify
from tideflow.program.read import read_model
from tideflow.program.write import write_model

from .corpus.mutants import fields_mutated


def source():
    """A step with state, a convolution, a reduction and a slice: attributes of every kind."""
    w = tf.Variable(np.ones((4, 3), np.float32), name="w")

    def step(x, rate):
        y = tf.reduce_sum(tf.transpose(x @ w), axis=0, keepdims=True)
        w.assign_add(rate * tf.reshape(tf.reduce_sum(x, axis=0), (4, 1)) + tf.zeros_like(w))
        return tf.concat([y, y], axis=1)[:, 1:]

    specs = tf.TensorSpec([None, 4], tf.float32), tf.TensorSpec([], tf.float32)
    graph = tf.function(step).get_concrete_function(*specs).graph
    return Source("step", graph, [PortSpec("x"), PortSpec("rate", True, 0.5)], ["y"])


FILE = write_model(compile_model([source()], [], graphs=True).model)


def load(data):
    """The rule that stops the file, or "accept"; anything but a rule is an error of the test."""
    try:
        model = read_model(data)
        states = load_states(model)
        graphs = [load_graph(model, signature, states) for signature in model.signatures if signature.graph >= 0]
    except ModelError as error:
        return error.rule
    for graph in graphs:
        verify(graph)
    return "accept"


def changed(**places):
    """The rule for the file with some changes: `nodes_0_inputs=[1]` sets `graphs[0].nodes[0].inputs`."""
    model = read_model(FILE)
    for path, value in places.items():
        *way, last = path.split("_")
        target = model.graphs[0]
        for part in way:
            target = target[int(part)] if part.isdigit() else getattr(target, part)
        if last.isdigit():
            target[int(last)] = value
        else:
            setattr(target, last, value)
    return load(write_model(model, verify=False))


def test_the_file_itself_is_accepted():
    assert load(FILE) == "accept"


def test_graphs_that_lie_are_refused_by_rule():
    graph = read_model(FILE).graphs[0]
    first, last = graph.nodes[0], graph.nodes[-1]
    assert changed(nodes_0_inputs=[last.outputs[0], first.inputs[1]]) == "G05-order"
    assert changed(nodes_1_outputs=first.outputs) in ("G03-shape", "G05-order")
    assert changed(outputs=graph.outputs[:-1]) == "G06-signature"
    assert changed(nodes_0_inputs=first.inputs[:1]) == "G03-shape"
    assert changed(nodes_0_inputs=[first.inputs[1], first.inputs[1]]) == "G03-shape"


def test_unknown_and_newer_ops_are_named():
    model = read_model(FILE)
    model.opcodes[0].name = "perceive"
    assert load(write_model(model)) == "G02-op"
    model = read_model(FILE)
    model.opcodes[0].version = 999
    with pytest.raises(ModelError, match="has version 999; this release knows"):
        load_graph(model, model.signatures[0], load_states(model))


def test_mutants_of_a_graph_end_in_a_rule_or_a_graph_that_verifies():
    outcomes = collections.Counter(load(data) for _, data, _ in fields_mutated(lambda: read_model(FILE)))
    assert outcomes["accept"] and outcomes["G03-shape"] and outcomes["G05-order"] and outcomes["P01-index"]
