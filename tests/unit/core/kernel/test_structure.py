"""Kernels that differ only in names are one function; anything that changes the code tells them apart."""

import kernel_samples as samples
from tideflow.kernel.ir import F32, Buffer, Builder, Store
from tideflow.kernel.structure import structure
from tideflow.shapes import symbol
from wasm_runner import axes_of, close


def test_equal_kernels_have_equal_structure():
    for make in (
        lambda: samples.row_softmax(symbol("batch"), 10),
        lambda: samples.argmax(5, 6, True),
        lambda: samples.adam(8),
        lambda: samples.conv(2, 5, 5, 3, 8),
    ):
        assert structure(make()) == structure(make())
    assert structure(samples.column_sums(symbol("batch"), 8)) == structure(samples.column_sums(symbol("length"), 8))


def scaled(factor, extent=8, buffer_dtype=F32, index=1):
    ir = Builder()
    axes, (i,) = axes_of(ir, extent)
    return close(
        "scaled",
        axes,
        [Store(1, i, ir.load(0, F32, i * index) * factor)],
        [Buffer("x", buffer_dtype), Buffer("o", F32, True)],
    )


def test_constants_extents_indices_and_dtypes_count():
    kernels = [
        scaled(2.0),
        scaled(3.0),
        scaled(0.0),
        scaled(-0.0),
        scaled(2.0, 9),
        scaled(2.0, symbol("n")),
        scaled(2.0, 8, "i32"),
        scaled(2.0, 8, F32, 2),
    ]
    assert len({structure(k) for k in kernels}) == len(kernels)
