"""The table that WASM programs read, and the section that makes a module loadable in Pyodide."""

import numpy as np
import pytest
from tideflow.device import Feed, Launch, Layout, Span
from tideflow.errors import NoExecutorError
from tideflow.program.format import Place, Program, Region, Step, StepKind, Target
from tideflow.wasm import inplace
from tideflow.wasm.table import Table


def make():
    regions = [Region(Place.INPUT, 0), Region(Place.INPUT, 0, parent=0), Region(Place.SCRATCH, 0)]
    steps = [Step(uniforms=[0]), Step(StepKind.LOOP, count=0, body=1), Step(uniforms=[0, 0], scalars=[0])]
    launches = [Launch(steps[0], (), [11], []), Launch(steps[1], (), [], [], 3), Launch(steps[2], (), [22, 33], [1, 0])]
    spans = [Span(None, 0, 1024), Span(None, 256, 64), Span("buffer", 0, 64)]
    return Table(Program(Target.WASM, regions=regions, steps=steps), Layout(spans, launches, 2), [0, 0, 4096])


def test_addresses_then_words_then_host_words():
    table = make()
    table.set_host_words(np.array([7, 8], np.uint32))
    assert table.words.tolist() == [0, 0, 4096, 11, 22, 33, 8, 7]


def test_steps_count_loop_iterations():
    assert make().steps == 1 + 3


def test_an_input_moves_with_the_regions_inside_it():
    table = make()
    table.move_input(Feed(0, np.zeros(1, np.float32)), 1 << 31)
    assert table.words[:3].tolist() == [1 << 31, (1 << 31) + 256, 4096]


def test_dylink_section_is_added_once():
    module = b"\0asm\1\0\0\0" + b"\1\4\1\x60\0\0"
    linked = inplace.with_dylink(module)
    assert linked[:8] == module[:8] and linked.endswith(module[8:]) and b"dylink.0" in linked
    assert linked[9] == len(linked) - len(module) - 2           # the section's length
    assert inplace.with_dylink(linked) == linked


def test_inplace_says_where_it_works():
    with pytest.raises(NoExecutorError, match="in Pyodide alone"):
        inplace.open_device()
