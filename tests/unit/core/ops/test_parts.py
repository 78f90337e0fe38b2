"""Kernels in parts: the same results whatever the number of threads, errors handed on, BLAS left as it was."""

import gc
import os
import sys
import threading
import time
import tracemalloc
import weakref

import numpy as np
import pytest
from tideflow.ops import columns, parts, products
from tideflow.ops.op import find_op


@pytest.fixture(autouse=True)
def small_products_in_parts(monkeypatch):
    monkeypatch.setattr(products, "LARGE", 1 << 20)


@pytest.fixture(params=[1, 2, 5])
def threads(request, monkeypatch):
    monkeypatch.setattr(parts, "_count", request.param)
    return request.param


def test_every_part_runs_once(threads):
    seen = []
    parts.run_parts([(seen.append, i) for i in range(40)])
    assert sorted(seen) == list(range(40))


def test_other_threads_take_parts(monkeypatch):
    monkeypatch.setattr(parts, "_count", 3)
    meeting = threading.Barrier(3, timeout=30)              # passes only if three threads are inside at once
    parts.run_parts([(meeting.wait,) for _ in range(3)])


def test_error_of_a_part_is_raised_after_all_have_ended(threads):
    ended = []

    def one(i):
        if i == 3:
            raise ValueError("part 3")
        ended.append(i)

    if threads == 1:
        with pytest.raises(ValueError, match="part 3"):
            parts.run_parts([(one, i) for i in range(8)])
        return
    with pytest.raises(ValueError, match="part 3"):
        parts.run_parts([(one, i) for i in range(8)])
    assert sorted(ended) == [0, 1, 2, 4, 5, 6, 7]


def test_parts_inside_parts_end(threads):
    seen = []
    parts.run_parts([(parts.run_parts, [(seen.append, (i, j)) for j in range(4)]) for i in range(4)])
    assert len(set(seen)) == 16


def test_callers_in_many_threads_get_their_own_parts(monkeypatch):
    monkeypatch.setattr(parts, "_count", 3)
    found = {}

    def caller(n):
        mine = []
        parts.run_parts([(mine.append, (n, i)) for i in range(20)])
        found[n] = sorted(mine)

    callers = [threading.Thread(target=caller, args=(n,)) for n in range(6)]
    for c in callers:
        c.start()
    for c in callers:
        c.join()
    assert found == {n: [(n, i) for i in range(20)] for n in range(6)}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_parts_run_in_a_forked_child(monkeypatch):
    monkeypatch.setattr(parts, "_count", 2)
    parts.run_parts([(len, ())] * 4)
    child = os.fork()
    if not child:
        seen = []
        parts.run_parts([(seen.append, i) for i in range(4)])
        os._exit(len(seen))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 4


SHAPES = [
    ((300, 300), (300, 300)), ((17, 4000), (4000, 300)), ((4100, 17), (17, 300)), ((1, 2000), (2000, 400)),
    ((64, 64, 64), (64, 64, 70)), ((3, 70, 300), (3, 300, 300)), ((2, 3, 70, 300), (3, 300, 300)), ((0, 5), (5, 3)),
    ((4, 0), (0, 3)), ((5, 3), (3, 2)),
]


@pytest.mark.parametrize(("left", "right"), SHAPES, ids=str)
def test_product_equals_matmul_and_its_bits_do_not_depend_on_threads(left, right, monkeypatch):
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal(left).astype(np.float32), rng.standard_normal(right).astype(np.float32)
    found = []
    for count in (1, 3):
        monkeypatch.setattr(parts, "_count", count)
        found += [products.product(a, b), products.product(a, b, np.empty_like(found[0]) if found else None)]
    expected = np.matmul(a.astype(np.float64), b.astype(np.float64))
    np.testing.assert_allclose(found[0], expected, rtol=1e-4, atol=1e-4 * max(1, a.shape[-1]) ** 0.5)
    for other in found[1:]:
        assert np.array_equal(other, found[0])


def test_product_of_transposed_matrices_equals_matmul(threads):
    rng = np.random.default_rng(1)
    a, b = rng.standard_normal((300, 310)), rng.standard_normal((320, 310))
    np.testing.assert_allclose(products.product(a, b.T), a @ b.T, rtol=1e-10, atol=1e-9)
    np.testing.assert_allclose(products.product(a.T, a), a.T @ a, rtol=1e-10, atol=1e-9)


def test_blas_has_its_threads_again_after_products():
    control = products._control()
    if control is None:
        pytest.skip("this numpy's BLAS cannot be told its number of threads")
    get, tell = control
    before = get()
    try:
        tell(2)
        with products.alone, products.alone:
            assert get() == 1
        assert get() == 2
        with pytest.raises(ValueError):
            with products.alone:
                raise ValueError
        assert get() == 2
    finally:
        tell(before)


def test_product_without_control_over_blas_equals_matmul(monkeypatch):
    monkeypatch.setattr(products, "alone", products._Alone())
    monkeypatch.setattr(products, "_control", lambda: None)
    a = np.ones((300, 300), np.float32)
    assert np.array_equal(products.product(a, a), np.full((300, 300), 300.0, np.float32))


@pytest.mark.parametrize("shapes", [
    ((500, 301), (500, 301)), ((500, 301), (301,)), ((500, 301), (500, 1)), ((500, 301), ()), ((), (150_000,)),
    ((150_001,), (150_001,)), ((500, 301), (1, 301)), ((16, 30, 301), (30, 1)),
], ids=str)
def test_spread_equals_the_ufunc(shapes, threads):
    rng = np.random.default_rng(2)
    a, b = (rng.standard_normal(s).astype(np.float32) for s in shapes)
    made = parts.spread(np.subtract, np.float32, a, b)
    assert made is not None and made.dtype == np.float32 and np.array_equal(made, a - b)


@pytest.mark.parametrize("name", ["maximum", "tanh", "less"])
def test_large_arrays_give_what_numpy_gives_without_warnings(name, threads, monkeypatch):
    monkeypatch.setattr(parts, "SPREAD", 1000)
    function, x = getattr(np, name), np.linspace(-3.0, 3.0, 40_000, dtype=np.float32).reshape(200, 200)
    arrays = [x, -x][: function.nin]
    made, expected = parts.quiet(function, *arrays), function(*arrays)
    assert made.dtype == expected.dtype and np.array_equal(made, expected)


@pytest.mark.parametrize("shapes", [((500, 1), (1, 301)), ((2, 70_000), (2, 1))], ids=str)
def test_spread_leaves_what_does_not_divide_well(shapes):
    a, b = (np.ones(s, np.float32) for s in shapes)
    assert parts.spread(np.subtract, np.float32, a, b) is None


def test_spread_leaves_transposed_arrays():
    a = np.ones((300, 500), np.float32).T
    assert parts.spread(np.subtract, np.float32, a, np.float32(1.0)) is None


def test_parts_on_other_threads_do_not_warn(monkeypatch):
    monkeypatch.setattr(parts, "_count", 2)
    zeros = np.zeros(300_000, np.float32)
    with np.errstate(all="ignore"):
        made = parts.spread(np.divide, np.float32, zeros, zeros)
    assert np.isnan(made).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("axis", [0, 1, 2, -1, -3])
def test_softmax_and_erf_do_not_depend_on_threads(axis, dtype, monkeypatch):
    monkeypatch.setattr(parts, "SPREAD", 1000)
    x = (np.random.default_rng(3).standard_normal((21, 30, 17)) * 3.0).astype(dtype)
    for kernel in (lambda: find_op("softmax").numpy(x, axis=axis), lambda: find_op("erf").numpy(x)):
        found = []
        for count in (1, 3):
            monkeypatch.setattr(parts, "_count", count)
            found.append(kernel())
        assert found[0].shape == x.shape and found[0].dtype == x.dtype and np.array_equal(*found)


@pytest.mark.parametrize(("environment", "expected"), [({"TIDEFLOW_THREADS": "3"}, 3), ({"OMP_NUM_THREADS": "1"}, 1), (
    {"TIDEFLOW_THREADS": "2", "OMP_NUM_THREADS": "1"}, 2)])
def test_environment_says_how_many_threads(environment, expected, monkeypatch):
    for name in parts.ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(parts, "_count", 0)
    assert parts.threads() == expected


def test_load_of_the_last_minute_turns_no_threads_off(monkeypatch):
    monkeypatch.setattr(parts, "_count", 2)
    monkeypatch.setattr(os, "getloadavg", lambda: (1e6, 1e6, 1e6), raising=False)
    meeting = threading.Barrier(2, timeout=30)              # passes only if two threads are inside at once
    parts.run_parts([(meeting.wait,) for _ in range(2)])


def test_nobody_waits_for_a_thread_that_gets_no_core(monkeypatch):
    class Starved:
        """Is told of jobs, and never takes a part."""

        def __init__(self):
            self.job, self.wake = None, threading.Lock()
            self.wake.acquire()

    monkeypatch.setattr(parts, "_count", 3)
    monkeypatch.setattr(parts, "_workers", [])
    monkeypatch.setattr(parts, "_Worker", Starved)
    on = []
    for _ in range(3):
        parts.run_parts([(lambda: on.append(threading.get_ident()),) for _ in range(8)])
    assert on == [threading.get_ident()] * 24 and len(parts._workers) == 2


def test_pyodide_has_one_thread_whatever_the_environment_says(monkeypatch):
    monkeypatch.setattr(parts, "_count", 0)
    monkeypatch.setattr(sys, "platform", "emscripten")
    monkeypatch.setenv("TIDEFLOW_THREADS", "4")
    assert parts.threads() == 1


def test_parts_run_where_no_thread_can_be_started(monkeypatch):
    def refuse():
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(parts, "_count", 3)
    monkeypatch.setattr(parts, "_workers", [])
    monkeypatch.setattr(parts, "_Worker", refuse)
    seen = []
    parts.run_parts([(seen.append, i) for i in range(8)])
    assert sorted(seen) == list(range(8))


def test_error_of_a_part_keeps_no_arrays(monkeypatch):
    monkeypatch.setattr(parts, "_count", 2)

    class Held:
        pass

    def fail(held):
        raise ValueError("part")

    def attempt():
        held = Held()
        with pytest.raises(ValueError, match="part"):
            parts.run_parts([(fail, held)] * 4)
        return weakref.ref(held)

    gc.collect()
    gc.disable()
    try:
        held, until = attempt(), time.monotonic() + 10
        while held() is not None and time.monotonic() < until:    # the other thread may still be on its way to sleep
            time.sleep(0.01)
        assert held() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("kernel", [(3, 3, 4, 5), (1, 1, 4, 5), (3, 3, 1, 4)], ids=["conv", "1x1", "depthwise"])
def test_convolutions_are_silent_on_every_thread(kernel, threads):
    groups = 4 if kernel[2] == 1 else 1
    attrs = {"strides": (1, 1), "padding": "VALID", "dilations": (1, 1), "groups": groups}
    x, w = np.full((64, 16, 16, 4), 1e38, np.float32), np.full(kernel, 1e38, np.float32)
    with np.errstate(all="raise"):
        y = find_op("conv2d").numpy(x, w, **attrs)
        dx = find_op("conv2d_input_grad").numpy(y, w, input_shape=x.shape, **attrs)
        dw = find_op("conv2d_filter_grad").numpy(x, y, filter_shape=kernel, **attrs)
    assert np.isinf(y).all() and np.isinf(dx).all() and np.isinf(dw).all()


def test_parts_are_silent_on_every_thread(threads):
    ones = np.full(8, 1e38, np.float32)
    with np.errstate(all="raise"):
        parts.run_parts([(np.multiply, ones, ones)] * 8)


@pytest.mark.parametrize("kernel", [(3, 3, 64, 96), (1, 1, 64, 96)], ids=str)
def test_gradient_of_filters_keeps_the_products_of_a_wave(kernel, threads, monkeypatch):
    attrs = {"strides": (1, 1), "padding": "SAME", "dilations": (1, 1), "groups": 1}
    rng = np.random.default_rng(5)
    x, dy = (rng.standard_normal((30, 9, 9, n)).astype(np.float32) for n in kernel[2:])
    monkeypatch.setattr(columns, "CHUNK", 1 << 16)           # one member of the batch a part
    made, most = [], []
    for wave, kept in ((100, 0), (8, 0), (4, 0), (1, 4 * 9 * 64 * 96)):
        monkeypatch.setattr(columns, "WAVE", wave)
        monkeypatch.setattr(columns, "KEPT", kept)
        tracemalloc.start()
        made.append(find_op("conv2d_filter_grad").numpy(x, dy, filter_shape=kernel, **attrs))
        most.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert all(np.array_equal(dw, made[0]) for dw in made)
    assert kernel[0] == 1 or most[1] < most[0] / 2


@pytest.mark.parametrize(("left", "right"), [
    ((1, 300, 310), (1, 310, 320)), ((1, 5, 60, 70), (1, 5, 70, 80)), ((1, 1, 310, 300), (300, 320)),
    ((5, 90, 70), (70, 80)), ((90, 70), (5, 70, 80)), ((2, 1, 90, 70), (3, 70, 80)),
], ids=str)
def test_large_products_are_divided_whatever_their_leading_axes(left, right, monkeypatch):
    shared = []
    monkeypatch.setattr(products, "run_parts", lambda given: (shared.append(len(given)), parts.run_parts(given)))
    rng = np.random.default_rng(6)
    a, b = rng.standard_normal(left), rng.standard_normal(right)
    made = products.product(a, b)
    expected = np.matmul(a, b)
    assert made.shape == expected.shape
    np.testing.assert_allclose(made, expected, rtol=1e-10, atol=1e-9)
    with products.alone:
        assert not products.alone.works or shared[0] > 1


@pytest.fixture
def blas(monkeypatch):
    """A BLAS of 4 threads, as the list of the numbers that it was told."""
    told = [4]
    monkeypatch.setattr(products, "_control", lambda: (lambda: told[-1], told.append))
    monkeypatch.setattr(products, "alone", products._Alone())
    return told


def test_interrupt_on_entry_leaves_blas_its_threads(blas, monkeypatch):
    def interrupted(number):
        blas.append(number)
        if number == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(products, "_control", lambda: (lambda: blas[-1], interrupted))
    with pytest.raises(KeyboardInterrupt), products.alone:
        pass
    assert blas == [4, 1, 4] and products.alone._depth == 0


def test_child_of_a_fork_inside_a_block_has_the_threads_of_blas(blas):
    with products.alone:
        products.alone.forget()
        assert blas[-1] == 4
    assert products.alone._depth == 0
    with products.alone:
        assert blas[-1] == 1
    assert blas[-1] == 4


def test_products_are_not_divided_where_blas_keeps_its_threads(monkeypatch):
    monkeypatch.setattr(products, "alone", products._Alone())
    monkeypatch.setattr(products, "_control", lambda: None)
    monkeypatch.setattr(products, "run_parts", lambda given: pytest.fail("divided"))
    a = np.ones((300, 300))
    assert np.array_equal(products.product(a, a), a @ a)


def test_windows_finds_blas_beside_numpy(monkeypatch, tmp_path):
    (tmp_path / "numpy.libs").mkdir()
    dll = tmp_path / "numpy.libs" / "libscipy_openblas64_-0.dll"
    dll.touch()
    asked = []
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(np, "__file__", str(tmp_path / "numpy" / "__init__.py"))
    monkeypatch.setattr(products.ctypes, "CDLL", lambda path: asked.append(path))
    assert len(list(products._libraries())) == 2 and asked[1] == str(dll)
