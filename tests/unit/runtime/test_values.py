"""Conversions at the device's edge."""

import numpy as np
import pytest
from tideflow.errors import InternalError, InvalidArgumentError, UnimplementedError
from tideflow.program.format import DimExpr, DimOp, DType, Model, Port, Program, Step, Target, Tensor
from tideflow.runtime.binding import HostSlots
from tideflow.runtime.values import FEW, advance_counter, as_input, decode, from_storage, numpy_dtype, to_storage

LABELS = Port("y", 0, min=0, max=9, bounded=True)
FREE = Port("x", 0)


def test_matching_arrays_are_not_copied():
    x = np.ones((2, 3), np.float32)
    assert to_storage(as_input(x, DType.F32, FREE, "x"), DType.F32, "x") is x


@pytest.mark.parametrize(("value", "dtype", "expected"), [
    ([1, 2], DType.F32, np.array([1, 2], np.float32)),
    (np.array([1.5]), DType.F32, np.array([1.5], np.float32)),
    (np.array([1], np.uint8), DType.F32, np.array([1], np.float32)),
    (np.array([3], np.uint8), DType.I64, np.array([3], np.int64)),
    (np.array([3], np.int64), DType.U8, np.array([3], np.uint8)),
    (True, DType.BOOL, np.array(True)),
    (np.array([True]), DType.I32, np.array([1], np.int32)),
])
def test_inputs_convert_within_their_kind(value, dtype, expected):
    array = as_input(value, dtype, FREE, "x")
    assert array.dtype == expected.dtype
    np.testing.assert_array_equal(array, expected)


@pytest.mark.parametrize(("value", "dtype"), [
    (np.array([1.0]), DType.I32), ([1.5], DType.I64), (np.array([1 + 2j]), DType.F32), (["a"], DType.F32),
    ([2], DType.BOOL)])
def test_inputs_of_another_kind_are_refused(value, dtype):
    with pytest.raises(InvalidArgumentError, match=r"step: input 'x' has dtype .* expected"):
        as_input(value, dtype, FREE, "step: input 'x'")


def test_label_errors_name_value_position_and_range():
    labels = np.array([[1, 2], [3, 10]], np.int64)
    with pytest.raises(InvalidArgumentError, match=r"y holds 10 at position \(1, 1\), allowed are 0 to 9"):
        as_input(labels, DType.I64, LABELS, "y")
    with pytest.raises(InvalidArgumentError, match=r"y holds -1 at position \(0,\)"):
        as_input([-1], DType.I32, LABELS, "y")
    as_input(np.empty(0, np.int64), DType.I64, LABELS, "y")


@pytest.mark.parametrize("count", [1, FEW, FEW + 1])
@pytest.mark.parametrize("dtype", [np.int32, np.uint8, np.int64, np.float32])
def test_few_numbers_are_checked_as_many_are(count, dtype):
    for wrong, position in ((10, 0), (12, count - 1)):
        labels = np.zeros((count, 1), dtype)
        assert as_input(labels, DType.I64 if dtype != np.float32 else DType.F32, LABELS, "y").shape == (count, 1)
        labels[position] = wrong
        with pytest.raises(InvalidArgumentError, match=rf"y holds {wrong}(\.0)? at position \({position}, 0\)"):
            as_input(labels, DType.I64 if dtype != np.float32 else DType.F32, LABELS, "y")


def test_integers_that_do_not_fit_are_refused():
    with pytest.raises(InvalidArgumentError, match=r"x holds 2147483648 at position \(1,\)"):
        to_storage(np.array([0, 2**31]), DType.I32, "x")
    with pytest.raises(InvalidArgumentError, match=r"x holds 300 at position \(0,\), allowed are 0 to 255"):
        as_input(np.array([300]), DType.U8, FREE, "x")


@pytest.mark.parametrize(("dtype", "storage"), [
    (DType.BOOL, DType.U32), (DType.U8, DType.U32), (DType.I8, DType.I32), (DType.I64, DType.I32),
    (DType.F16, DType.F32), (DType.F64, DType.F32), (DType.F32, DType.F32)])
def test_storage_round_trip(dtype, storage):
    value = np.array([[0, 1, 1], [1, 0, 0]]).astype(numpy_dtype(dtype))
    stored = to_storage(value, storage, "x")
    assert stored.itemsize == 4 and stored.flags.c_contiguous
    back = from_storage(stored.reshape(-1).view(np.uint8), storage, dtype, value.shape)
    assert back.dtype == value.dtype
    np.testing.assert_array_equal(back, value)


def test_transposed_arrays_become_contiguous():
    x = np.arange(6, dtype=np.float32).reshape(2, 3).T
    assert to_storage(x, DType.F32, "x").flags.c_contiguous


def test_decode_bfloat16():
    exact = np.array([1.0, -2.5, 0.0], np.float32)
    halves = (exact.view(np.uint32) >> 16).astype(np.uint16)
    np.testing.assert_array_equal(decode(halves.tobytes(), DType.BF16, (3,)), exact)
    with pytest.raises(UnimplementedError, match="STRING"):
        decode(b"", DType.STRING, (0,))


@pytest.mark.parametrize("dtype, value, words", [
    (DType.F32, 1.0, [0x3F800000]), (DType.I64, 2**33 + 5, [5, 2]), (DType.I64, -1, [0xFFFFFFFF, 0xFFFFFFFF]),
    (DType.BOOL, True, [1]), (DType.I8, -1, [0xFFFFFFFF]), (DType.F16, 1.0, [0x3F800000]), (DType.U32, 7, [7]),
])
def test_host_words(dtype, value, words):
    model = Model(dims=[DimExpr(DimOp.CONST, 1, 0)], tensors=[Tensor("t", dtype, []), Tensor("u", DType.U32, [])])
    slots = HostSlots(model, Program(Target.WGSL, steps=[Step(scalars=[1, 0])]), [1])
    vector = np.zeros(slots.length, np.uint32)
    for tensor, view in slots.views(vector):
        view[...] = value if tensor == 0 else 9
    assert vector.tolist() == [9, *words] and slots.words([0]) == list(range(1, 1 + len(words)))


def test_counters_wrap_and_rng_carries():
    assert advance_counter(np.array(2**63 - 1), 1, False) == -(2**63)
    assert advance_counter(np.array(41, np.int32), 1, False).dtype == np.int32
    rng = np.array([1, 2, 0xFFFFFFFF, 6], np.uint32)
    assert advance_counter(rng, 2, True).tolist() == [1, 2, 1, 7]
    with pytest.raises(InternalError, match="RNG state"):
        advance_counter(np.array([1, 2]), 1, True)


def test_no_count_takes_host_values_back_to_their_start():
    assert advance_counter(np.array(41), None, False) == 0
    assert advance_counter(np.array([1, 2, 5, 6], np.uint32), None, True).tolist() == [1, 2, 0, 0]
    assert advance_counter(np.array([1, 2, 5, 6], np.uint32), 0, True).tolist() == [1, 2, 5, 6]


@pytest.mark.parametrize("wrong", [10.0, -1.0, np.nan])
def test_class_numbers_as_floats_are_checked(wrong):
    assert as_input(np.float32([0, 9]), DType.F32, LABELS, "y").tolist() == [0.0, 9.0]
    with pytest.raises(InvalidArgumentError, match=r"at position \(1,\), allowed are 0 to 9"):
        as_input(np.float32([3, wrong]), DType.F32, LABELS, "y")


def test_no_region_stores_bfloat16():
    assert numpy_dtype(DType.BF16) == np.float32         # on the host: twice the bytes that a file counts
    with pytest.raises(KeyError):
        to_storage(np.zeros(2, np.float32), DType.BF16, "x")
