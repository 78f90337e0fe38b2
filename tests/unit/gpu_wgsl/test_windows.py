"""Which kernels take a window of pixels at once: what they compute is compared in tests/gpu/test_kernels.py."""

import re

import wgsl_samples as samples
from tideflow.gpu_wgsl.emit import Options, emit
from tideflow.gpu_wgsl.unfold import MAX_TRIPS
from tideflow.gpu_wgsl.windows import by_windows
from tideflow.kernel.ir import F32
from wgsl_samples import kernel


def stores(code):
    return len(re.findall(r"b\d\[[^=]*\] =", code))


def test_a_point_takes_its_window_where_there_are_enough():
    windows = next(samples.windows()).kernel
    few, many = (emit(windows, Options(min_invocations=n)).code for n in (1 << 20, 384))
    assert (stores(few), stores(many)) == (1, 4)
    assert many.count("b0[") == 4 and many.count("b2[") == 1


def test_an_axis_along_memory_stays_whole():
    def halves(ir, i):
        return [(1, i, ir.load(0, F32, i // 2))]

    assert stores(emit(kernel("k", [1 << 20], "ff", halves), Options(vector=False)).code) == 1


def test_only_axes_of_the_kernel_are_divided():
    def doubled(ir, y, x):
        return [(1, y * 64 + x, ir.sum([4], lambda k: ir.load(0, F32, (y * 2 + k // 2) * 64 + x)))]

    assert stores(emit(kernel("k", [1 << 14, 64], "ff", doubled), Options(vector=False)).code) == 1


def test_long_sums_are_left_alone():
    def blur(trips):
        def body(ir, y, x):
            return [(1, y * 64 + x, ir.sum([trips], lambda k: ir.load(0, F32, (y // 2) * 64 + k)))]
        return by_windows(kernel("k", [1 << 14, 64], "ff", body), 4, 384)

    assert [a.extent for a in blur(MAX_TRIPS + 1).axes] == [1 << 14, 64]
    assert [a.extent for a in blur(2).axes] == [1 << 13, 64]
