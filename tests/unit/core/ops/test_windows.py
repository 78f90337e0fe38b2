"""Windows: sizes as in TensorFlow, and reads that agree with each other, for ints and for sizes known later."""

import numpy as np
import pytest
from tideflow.errors import InvalidArgumentError, UnimplementedError
from tideflow.ops.windows import normal_padding, windows
from tideflow.shapes import evaluate, symbol


def window(size, kernel, stride, padding, dilation=1):
    return windows("test", (size,), (kernel,), (stride,), padding, (dilation,))[0]


@pytest.mark.parametrize(
    "size, kernel, stride, padding, out, before",
    [
        (5, 3, 1, "SAME", 5, 1),
        (5, 2, 1, "SAME", 5, 0),  # an odd padding goes behind
        (6, 3, 2, "SAME", 3, 0),
        (7, 2, 3, "SAME", 3, 0),
        (5, 3, 2, "VALID", 2, 0),
        (3, 3, 1, "VALID", 1, 0),
        (2, 3, 1, "VALID", 0, 0),
        (5, 3, 2, ((2, 1),), 3, 2),
    ],
)
def test_sizes_are_tensorflows(size, kernel, stride, padding, out, before):
    made = window(size, kernel, stride, padding)
    assert (made.out, made.before) == (out, before)


@pytest.mark.parametrize("padding", ["SAME", "VALID", ((1, 2),)])
@pytest.mark.parametrize("size, kernel, stride, dilation", [(7, 3, 2, 1), (8, 2, 3, 1), (9, 3, 1, 2), (6, 1, 1, 1)])
def test_a_symbolic_size_gives_the_same_numbers(size, kernel, stride, dilation, padding):
    height = symbol("height")
    known, unknown = window(size, kernel, stride, padding, dilation), window(height, kernel, stride, padding, dilation)
    assert evaluate(unknown.out, {"height": size}) == known.out
    assert evaluate(unknown.before, {"height": size}) == known.before


@pytest.mark.parametrize("padding", ["SAME", "VALID", ((2, 1),)])
@pytest.mark.parametrize("size, kernel, stride, dilation", [(7, 3, 2, 1), (8, 2, 3, 1), (9, 3, 1, 2), (4, 4, 4, 1)])
def test_taps_visit_exactly_the_positions_inside(size, kernel, stride, dilation, padding):
    made = window(size, kernel, stride, padding, dilation)
    expected = set()
    for o in range(made.out):
        for k in range(kernel):
            position = o * stride + k * dilation - made.before
            if 0 <= position < size:
                expected.add((k, o, position))
    visited = {
        (k, o, i)
        for k, os, js in made.taps()
        for o, i in zip(np.arange(made.out)[os], np.arange(size)[js], strict=True)
    }
    assert visited == expected


def test_errors_say_what_to_change():
    with pytest.raises(InvalidArgumentError, match=r"negative.*padding='SAME'"):
        window(2, 5, 1, "VALID")
    with pytest.raises(InvalidArgumentError, match="at least 1"):
        window(5, 3, 0, "SAME")
    with pytest.raises(UnimplementedError, match="fixed height and width"):
        window(5, symbol("k"), 1, "SAME")
    with pytest.raises(ValueError, match="'SAME', 'VALID' or pairs"):
        normal_padding("FULL", "test")
