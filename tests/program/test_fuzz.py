"""Random bytes and random damage: the reader answers with a rule or with a model, and soon."""

import struct
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tideflow.errors import ModelError
from tideflow.program.read import read_model
from tideflow.program.write import write_model

from .corpus.judge import harm_in
from .samples import SAMPLES

FILE = write_model(SAMPLES["trainable"]())
FLAT = struct.unpack_from("<Q", FILE, 16)[0]
QUICK = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)


def answer(data):
    start = time.process_time()
    try:
        model = read_model(data)
    except ModelError as error:
        assert error.rule and error.where and error.why
        model = None
    assert time.process_time() - start < 1.0
    return model


@QUICK
@given(st.binary(max_size=400))
def test_random_bytes_are_no_model(data):
    assert answer(data) is None


@QUICK
@given(st.binary(min_size=0, max_size=800), st.integers(0, 900))
def test_random_flatbuffers_behind_a_good_header_are_no_model(body, root):
    size = 64 + len(body)
    assert answer(struct.pack("<I4s4sIQQQ24x", root, b"TID1", b"tdh1", 56, size, size, 0) + body) is None


@QUICK
@given(st.lists(st.tuples(st.integers(0, FLAT - 1), st.integers(0, 255)), min_size=1, max_size=6))
def test_damaged_files_are_refused_or_harmless(changes):
    data = bytearray(FILE)
    for at, byte in changes:
        data[at] = byte
    model = answer(bytes(data))
    assert model is None or harm_in(model) is None


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_any_buffer_can_be_read(kind):
    assert answer(kind(FILE)) is not None


def test_a_caller_can_add_the_rules_for_graphs():
    seen = []
    model = read_model(FILE, check_graph=seen.append)
    assert seen == [model]

    def refuse(model):
        raise ModelError("G01-shape", "graphs[0]", "not what the op says")

    with pytest.raises(ModelError, match="G01-shape"):
        read_model(FILE, check_graph=refuse)


def test_limits_of_the_caller_hold():
    with pytest.raises(ModelError, match="C09-count"):
        read_model(FILE, max_items=20)
    with pytest.raises(ModelError, match="P09-budget"):
        read_model(FILE, max_region_bytes=500)
