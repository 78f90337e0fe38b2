"""The text of shaders, without a device: canonical, inside the portable limits, launched with enough workgroups."""

from __future__ import annotations

import re

import numpy as np
import pytest
import wgsl_samples as samples
from tideflow.gpu_wgsl.emit import Options, emit
from tideflow.gpu_wgsl.lanes import multiple_of, split_lanes
from tideflow.gpu_wgsl.text import Helpers, constant
from tideflow.kernel.ir import F32, I32, Axis, Builder
from tideflow.kernel.split import split_reduction
from tideflow.shapes import evaluate, num_elements, symbol
from wgsl_samples import BATCH, kernel

ALL = samples.all_samples()


def double(ir, i):
    return [(1, i, ir.load(0, F32, i) * 2.0)]


@pytest.mark.parametrize("sample", ALL, ids=str)
def test_text_is_portable(sample):
    emitted = emit(sample.kernel)
    assert "enable " not in emitted.code and "var<workgroup>" not in emitted.code
    assert len(re.findall(r"var<storage, read_write>", emitted.code)) == len(sample.kernel.buffers) <= 8
    assert "storage, read>" not in emitted.code
    assert int(re.search(r"@workgroup_size\((\d+)\)", emitted.code).group(1)) <= 256
    assert ("var<uniform> slot" in emitted.code) == bool(emitted.sizes or emitted.scalars)


@pytest.mark.parametrize("sample", [s for s in ALL if s.symbols], ids=str)
def test_grid_covers_the_points(sample):
    emitted = emit(sample.kernel, Options(vector=False, max_tile=1, elements=1))
    size = int(re.search(r"@workgroup_size\((\d+)\)", emitted.code).group(1))
    groups = np.prod([evaluate(g, sample.symbols) for g in emitted.grid])
    points = evaluate(num_elements(a.extent for a in sample.kernel.axes), sample.symbols)
    assert points <= groups * size < points + size


def test_equal_kernels_with_other_names_give_one_text():
    first = emit(kernel("one", [BATCH * 4], "ff", double, sizes=[BATCH * 4]))
    other = symbol("rows", 1, 99)
    second = emit(kernel("two", [other * 4], "ff", double, sizes=[other * 4]))
    assert first.code == second.code
    assert first.sizes != second.sizes


def test_large_grids_fold_into_y():
    static = emit(kernel("k", [70_000 * 64], "ff", double), Options(vector=False, elements=1, wide_workgroup=64))
    assert static.grid == (35_000, 2)
    x, y = emit(kernel("k", [BATCH], "ff", double, sizes=[BATCH]), Options(vector=False, elements=1)).grid
    assert [evaluate(d, {"batch": 70_000 * 64}) for d in (x, y)] == [65_535, 2]
    assert [evaluate(d, {"batch": 65}) for d in (x, y)] == [2, 1]


def test_a_value_that_is_stored_and_read_again_is_computed_once():
    def gate(ir, i):
        made = ir.call("sigmoid", ir.load(0, F32, i))
        return [(1, i, made), (2, i, made * 2.0)]

    assert emit(kernel("k", [64], "fff", gate)).code.count("m_sigmoid4(") == 2       # its definition and one call


def test_sibling_folds_share_one_loop():
    code = emit(kernel("k", [32], "fff", lambda ir, i: [
        (1, i, ir.sum([42], lambda k: ir.load(0, F32, k * 32 + i))),
        (2, i, ir.reduce("max", [42], lambda k: ir.load(0, F32, k * 32 + i)))])).code
    assert code.count("for (") == 1
    assert code.count("= b0[") == 1


def test_a_light_loop_takes_four_iterations_at_once():
    code = emit(kernel("k", [33], "ff", lambda ir, i: [
        (1, i, ir.sum([40], lambda k: ir.load(0, F32, k * 33 + i)))])).code
    assert code.count("for (") == 1 and "< 10i;" in code
    assert code.count("b0[") == 4


def test_buffers_of_known_length_are_declared_with_it():
    product = samples.matmul(64, 64, 16)
    code = emit(product, lengths=[1024, 1024, None, 4096]).code
    declared = re.findall(r"read_write> b\d: array<([^;]+)>;", code)
    assert declared == ["vec4<f32>, 256", "vec4<f32>, 256", "vec4<f32>", "vec4<f32>, 1024"]
    assert "array<f32>" in emit(kernel("k", [6], "ff", double), lengths=[0, 6]).code          # no array has no elements


def test_axes_that_are_walked_as_one_become_one():
    flat = emit(kernel("k", [BATCH, 5, 12], "ff", lambda ir, n, y, c: [
        (1, (n * 5 + y) * 12 + c, ir.load(0, F32, (n * 5 + y) * 12 + c) * 2.0)], sizes=[BATCH])).code
    assert " / " not in flat and "%" not in flat
    apart = emit(kernel("k", [BATCH, 5, 12], "ff", lambda ir, n, y, c: [
        (1, (n * 5 + y) * 12 + c, ir.load(0, F32, n * 12 + c) * 2.0)], sizes=[BATCH])).code
    assert " / 5i" in apart


def test_remainders_reuse_quotients_and_powers_of_two_shift():
    code = emit(kernel("k", [40], "iii", lambda ir, i: [(1, i, i // 12), (2, i, i % 12 + i // 8 + i % 8)]),
                Options(vector=False)).code
    assert "%" not in code and code.count(" / ") == 1 and ">> 3u" in code and "& 7i" in code


def test_values_are_hoisted_to_the_loop_they_depend_on():
    def body(ir, i):
        scale = ir.call("sqrt", ir.load(1, F32, i))
        return [(2, i, ir.sum([10, 10], lambda y, x: ir.load(0, F32, y * 10 + x) * scale))]
    code = emit(kernel("k", [6], "fff", body)).code
    before, after = code.split("for (", 1)
    assert "sqrt" in before and "sqrt" not in after


def test_contraction_is_tiled_and_keeps_invocations():
    def matmul(m, n, k):
        return kernel("mm", [m, n], "fff", lambda ir, i, j: [
            (2, i * n + j, ir.sum([k], lambda r: ir.load(0, F32, i * k + r) * ir.load(1, F32, r * n + j)))])
    large, small = emit(matmul(512, 512, 64)).code, emit(matmul(16, 16, 64)).code
    assert large.count("+=") == 16                          # 8 rows of two vec4
    assert small.count("+=") < 4


@pytest.mark.parametrize("value, text", [
    (0.1, "0.10000000149011612f"), (-1.5, "(-1.5f)"), (0.0, "0.0f"), (-0.0, "bits(0x80000000u)"),
    (float("inf"), "bits(0x7f800000u)"), (1e-45, "bits(0x00000001u)"), (3e38, None)])
def test_constants_are_exact(value, text):
    value = float(np.float32(value))
    written = constant(value, F32, Helpers())
    assert text is None or written == text
    if written.endswith("f"):
        assert np.float32(written[:-1]) == np.float32(value)


def test_smallest_integer_is_no_negated_literal():
    assert constant(-(2**31), I32, Helpers()) == "i32(-2147483648)"


def test_lanes_of_flattened_indices():
    ir, lane, block = Builder(), Axis("lane", 4), Axis("q", 100)
    at = ir.axis(block) * 4 + ir.axis(lane)
    assert split_lanes(at * 1 + 8, lane) is ir.axis(block) + 2
    assert split_lanes(at + 1, lane) is None
    assert split_lanes(at * 2, lane) is None


def test_multiples_of_symbolic_sizes():
    even = symbol("n", 4, 400, multiple_of=4)
    assert all(multiple_of(s, 4) for s in (even, BATCH * 8, even + 8, BATCH * even))
    assert not multiple_of(BATCH, 2) and not multiple_of(BATCH * 4 + 2, 4)


def test_guards_of_a_filter_gradient_leave_the_inner_loop():
    def body(ir, ky, ci, co):
        def tap(n, y):
            row = y + ky - 1
            with ir.guard((row >= 0) & (row < 9)):
                return ir.load(0, F32, (n * 9 + row) * 8 + ci) * ir.load(1, F32, (n * 9 + y) * 8 + co)
        return [(2, (ky * 8 + ci) * 8 + co, ir.sum([20, 9], tap))]
    code = emit(kernel("dw", [3, 8, 8], "fff", body)).code
    assert "min(9i, " in code                               # `row < 9` ends the loop
    assert "continue" not in code                           # `0 <= row` stays a guard in the innermost loop


def test_parts_past_the_end_are_not_computed():
    whole = kernel("sum", [4], "ff", lambda ir, j: [(1, j, ir.sum([BATCH], lambda k: ir.load(0, F32, k * 4 + j)))])
    code = emit(split_reduction(whole, 8).first).code
    assert re.search(r"r\d+ < min\(s\d, v\d+\)", code) and "select(" not in code


def test_short_folds_are_written_out_and_rows_taken_four_at_once():
    pool = emit(kernel("pool", [6, 6, 8], "ff", lambda ir, y, x, c: [
        (1, (y * 6 + x) * 8 + c, ir.reduce("max", [2, 2], lambda i, j: ir.load(
            0, F32, ((y * 2 + i) * 12 + x * 2 + j) * 8 + c)))])).code
    assert "for (" not in pool and pool.count("b0[") == 4
    rows = next(s for s in ALL if s.name == "row_sum")
    assert "array<vec4<f32>>" not in emit(rows.kernel).code            # 50 is no multiple of 4
    code = emit(kernel("sum", [6], "ff", lambda ir, i: [
        (1, i, ir.sum([48], lambda k: ir.load(0, F32, i * 48 + k)))])).code
    assert "b0: array<vec4<f32>>" in code and "< 12i" in code


def test_neighbouring_pixels_share_what_their_windows_load():
    def body(ir, image, y, x, co):
        def tap(i, j, ci):
            row, column = y + i - 1, x + j - 1
            with ir.guard((row >= 0) & (row < 28) & (column >= 0) & (column < 28)):
                pixel = ir.load(0, F32, ((image * 28 + row) * 28 + column) * 16 + ci)
            return pixel * ir.load(1, F32, ((i * 3 + j) * 16 + ci) * 32 + co)
        return [(2, ((image * 28 + y) * 28 + x) * 32 + co, ir.sum([3, 3, 16], tap))]

    def convolution(images):
        return emit(kernel("conv", [images, 28, 28, 32], "fff", body)).code

    code = convolution(1)
    assert code.count("for (") == 3 and "< 16i;" in code          # rows of the filter, and channels; pixels are stored
    assert code.count("b0[") == 6                                 # 4 pixels, with one on either side
    assert code.count("= b1[") == 6                               # 3 taps of 8 channels
    assert code.count("+=") == 8
    assert convolution(64).count("+=") == 14                      # 7 pixels where they are worth the longer text


def test_columns_of_a_filter_share_the_pixels_that_their_gradients_sum_over():
    row = next(s for s in ALL if s.name == "filter_row").kernel
    many, few = (emit(row, Options(min_invocations=n)).code for n in (4, 256))
    assert many.count("for (") == 3 and "< 3i;" in many           # rows of pixels, two pixels at a time; storing
    assert many.count("b0[") == 4 and many.count("b1[") == 2      # 4 pixels, 2 pixels: vectors of channels
    assert many.count("+=") == 3 * 4                              # vectors: taps, rows
    assert few.count("+=") == 1                                   # of few points each takes a vector of one tap


def test_a_register_tile_takes_two_iterations_at_once():
    code = emit(samples.matmul(512, 128, 128)).code
    assert code.count("for (") == 2 and "< 64i;" in code                 # one of them stores
    assert code.count("= b0[") == 32 and code.count("= b1[") == 2 and code.count("+=") == 16        # 16 rows, a vector
    assert "< 65i;" in emit(samples.matmul(512, 128, 65)).code           # an odd one takes them one by one


def test_rows_of_a_tile_are_stored_by_a_loop():
    few, many = (emit(samples.residual(m, 32, 6), Options(min_invocations=4)).code for m in (23, 64))
    for code in (few, many):
        sums, rest = code.split("  var t", 1)
        assert sums.count("for (") == rest.count("for (") == 1      # rows share what the first loop loads
        assert rest.count("b2[") == 2 and rest.count("tanh") == 1   # loaded, stored, and its function: once
    past_the_end = ["if (" in code.split("  var t")[-1] for code in (few, many)]
    assert past_the_end == [True, False]
    alone = emit(samples.residual(3, 32, 6), Options(min_invocations=4)).code
    assert "var t" not in alone


def test_few_points_are_shared_out_in_narrow_workgroups():
    many, few = emit(samples.matmul(512, 128, 128)), emit(samples.matmul(128, 128, 512))
    assert ("@workgroup_size(64)" in many.code, many.grid) == (True, (16,))
    assert ("@workgroup_size(32)" in few.code, few.grid) == (True, (8,))


def test_too_much_work_for_one_dispatch_is_launched_in_parts():
    product = samples.matmul(512, 512, 64)
    whole, split = emit(product), emit(product, Options(max_flops=2**23))
    assert (whole.parts, len(whole.launches())) == (1, 1)
    assert split.parts == 5 and split.launches() == [(0,), (1,), (2,), (3,), (4,)]
    assert split.flops * 5 >= whole.flops == 512 * 512 * (64 * 2 + 2)
    assert split.grid[0] * 5 >= whole.grid[0] > split.grid[0] * 4


def test_parts_follow_the_sizes_in_the_uniform():
    split = emit(samples.matmul(BATCH, 320, 4), Options(max_flops=10_000))
    assert split.parts > 1 and all(launch[: len(split.sizes)] == split.sizes for launch in split.launches())
    declared = re.search(r"struct Slot \{ (.*) \}", split.code).group(1).split(", ")
    assert declared[-1] == "part: u32" and len(declared) == len(split.sizes) + 1


def test_text_is_short_where_little_is_computed():
    def stored(m, n, k):
        code = emit(samples.matmul(m, n, k)).code
        rows = re.search(r"for \(var r1 = 0i; r1 < (\d+)i", code)
        return code.count("  b3[") * int(rows.group(1) if rows else 1)

    assert stored(512, 128, 128) == 16          # vectors: 16 x 4 results
    assert stored(512, 128, 16) == 4            # 4 x 4 where all of it is little
    assert stored(65536, 64, 4) == 4            # and where products are written out instead of added in a loop
