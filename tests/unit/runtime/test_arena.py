"""State arenas: neighbours, sharing, and the errors when layouts disagree."""

import numpy as np
import pytest
from tideflow.errors import FailedPreconditionError, InternalError
from tideflow.program.format import DType
from tideflow.runtime.arena import Member, StateArena


@pytest.fixture
def arena(device):
    opened = StateArena(device, max_chunk=2048)
    yield opened
    opened.close()


def test_reserved_variables_are_neighbours(arena):
    places = arena.reserve([("a", 100, DType.F32), ("b", 300, DType.I32), ("c", 4, DType.F32)])
    assert [place.offset for place in places] == [0, 256, 768]
    assert len({id(place.chunk) for place in places}) == 1
    assert arena.reserve([("b", 300, DType.I32)])[0] is places[1]


def test_a_full_chunk_opens_the_next(arena):
    first, second = arena.reserve([("a", 1536, DType.F32), ("b", 1024, DType.F32)])
    assert first.chunk is not second.chunk and second.offset == 0
    arena.reserve([("large", 4096, DType.F32)])                 # larger than a chunk: one of its own


def test_values_round_trip(arena):
    arena.reserve([("a", 12, DType.F32), ("b", 8, DType.I32)])
    assert not arena.is_ready("a")
    arena.write("a", np.array([1, 2, 3]))
    arena.write("b", np.array([4, 5]))
    assert arena.is_ready("a")
    np.testing.assert_array_equal(arena.read("a"), [1, 2, 3])
    values = arena.read_all()
    assert values["a"].dtype == np.float32 and values["b"].tolist() == [4, 5]
    with pytest.raises(InternalError, match="holds 12 bytes, the new value has 8"):
        arena.write("a", np.array([1, 2]))
    with pytest.raises(FailedPreconditionError, match="'z' has no place"):
        arena.read("z")


def test_adopt_finds_reserved_variables_at_any_base(arena):
    arena.reserve([("a", 256, DType.F32), ("b", 256, DType.F32), ("c", 256, DType.F32)])
    span = arena.adopt([Member("b", 0, 256, DType.F32), Member("c", 256, 256, DType.F32)], 512)
    assert (span.offset, span.size) == (256, 512)


@pytest.mark.parametrize(("members", "message"), [
    ([Member("a", 0, 256, DType.F32), Member("new", 256, 4, DType.F32)], "'new' has no place yet"),
    ([Member("a", 0, 256, DType.F32), Member("b", 512, 256, DType.F32)], "'b' lies at 256"),
    ([Member("a", 0, 128, DType.F32)], "256 bytes of F32, a program expects 128"),
    ([Member("b", 512, 256, DType.F32)], "does not fit its chunk"),
])
def test_adopt_refuses_another_layout(arena, members, message):
    arena.reserve([("a", 256, DType.F32), ("b", 256, DType.F32)])
    with pytest.raises(InternalError, match=message):
        arena.adopt(members, 1024)


def test_a_chunk_goes_with_its_last_variable(arena, device):
    arena.reserve([("a", 256, DType.F32), ("b", 256, DType.F32)])
    arena.forget("a")
    assert device.stats().live_buffers == 1 and "a" not in arena
    arena.forget("b")
    assert device.stats().live_buffers == 0
