"""GPU:0 in Pyodide with a JavaScript side that only records: what crosses, in which words, and how errors come back."""

import ctypes
import json
import sys
import types

import numpy as np
import pytest
from tideflow.device import Copy, Feed, Launch, Layout, Span
from tideflow.errors import DeviceLostError, FailedPreconditionError, InternalError, ModelError, NoExecutorError
from tideflow.js_bindings import bridge
from tideflow.program.format import Kernel, Place, Program, Region, Step, Target


class JsError(Exception):
    """As `pyodide.ffi.JsException`: name and message are those of the JavaScript error."""

    def __init__(self, name, message="", **fields):
        super().__init__(message)
        self.name, self.message = name, message
        self.__dict__.update(fields)


class Recorder:
    """Stands for runtime/python.js: records calls; `pointer` arguments of `run` are read like the real one does."""

    dispatches, word = 7, ctypes.c_uint32

    def __init__(self):
        self.calls, self.failure, self.lost = [], None, False

    def attach(self, module):
        self.module = module

    def about(self):
        return json.dumps({"description": "acme", "software": False, "features": ["shader-f16"], "kept": "one",
                           "limits": {"maxBufferSize": 1024}})

    def submits(self):
        return 3

    def isLost(self):
        return self.lost

    def __getattr__(self, method):
        def call(*arguments):
            self.calls.append((method, *arguments))
            if self.failure:
                error, self.failure = self.failure, None
                raise error
            if method == "run":
                self.table = np.array((self.word * 32).from_address(arguments[0]))
            if method == "download":
                ctypes.memset(arguments[3], 5, arguments[2])
            return len(self.calls)

        return call


def read(pointer, size, dtype=np.float32):
    """A copy of what lies at an address."""
    return np.frombuffer(ctypes.string_at(pointer, size), dtype)


@pytest.fixture
def tab(monkeypatch):
    """A Python that believes it runs in a tab; `tab.waits` says whether it may wait."""
    tab = types.SimpleNamespace(waits=True, device=Recorder())
    ffi = types.SimpleNamespace(can_run_sync=lambda: tab.waits, run_sync=lambda result: result, JsException=JsError)
    runtime = types.SimpleNamespace(preparedForPython=lambda: tab.device)
    for name, module in {"pyodide": types.SimpleNamespace(ffi=ffi), "pyodide.ffi": ffi, "tideflow_runtime": runtime,
                         "pyodide_js": types.SimpleNamespace(_module="module")}.items():
        monkeypatch.setitem(sys.modules, name, module)
    tab.runtime = runtime
    bridge.ffi.cache_clear()
    yield tab
    bridge.ffi.cache_clear()


@pytest.fixture
def gpu(tab):
    from tideflow.js_bindings import browser

    return browser.open_device()


@pytest.fixture
def wide(gpu, tab, monkeypatch):
    """`gpu` with tables of words that hold the addresses of this machine."""
    monkeypatch.setattr("tideflow.js_bindings.run_table.WORD", np.uint64)
    monkeypatch.setattr(Recorder, "word", ctypes.c_uint64)
    return gpu


def test_a_device_tells_what_the_runtime_says(gpu):
    assert (gpu.description, gpu.software, gpu.limits()["maxBufferSize"]) == ("acme", False, 1024)
    assert gpu.features == frozenset({"shader-f16"})
    assert (gpu.stats().submits, gpu.stats().dispatches) == (3, 7)


def test_what_was_measured_is_kept_by_the_browser(gpu, tab):
    assert gpu.recall() == ["one"] and gpu.can_wait()
    for n in range(9):
        gpu.remember(f"line {n}")
    assert tab.device.calls[0] == ("note", "one\nline 0")
    assert gpu.recall() == [f"line {n}" for n in range(1, 9)]       # the last eight


def test_a_run_is_one_call_whose_table_holds_everything(gpu, tab):
    state, spare = gpu.allocate(10), gpu.allocate(16)
    assert (state.size, gpu.stats().live_buffers, gpu.stats().live_bytes) == (12, 2, 28)
    bound = gpu.bind(5, Layout([Span(state, 0, 12), Span(None, 0, 0)], []))
    tab.device.calls.clear()
    gpu.run(bound, np.array([8, 9], np.uint32), [], [Copy(Span(state, 4, 8), Span(spare, 0, 8))])
    assert [call[0] for call in tab.device.calls] == ["run"]
    assert tab.device.table[:11].tolist() == [bound.id, 2, 8, 9, 0, 1, state.id, 4, spare.id, 0, 8]


def test_the_table_grows_with_the_run(gpu, tab):
    bound = gpu.bind(5, Layout([], []))
    gpu.run(bound, np.arange(300, dtype=np.uint32), [], [])
    assert tab.device.table[:4].tolist() == [bound.id, 300, 0, 1]


def test_small_inputs_that_are_neighbours_cross_as_one(wide, tab):
    inputs, other = wide.allocate(2048), wide.allocate(64)
    spans = [Span(inputs, 512, 8), Span(other, 0, 4), Span(inputs, 256, 12), Span(inputs, 1280, 4), Span(inputs, 0, 0)]
    bound = wide.bind(5, Layout(spans, []))
    for start in (1, 10):               # the second run finds the table as the first has left it
        arrays = [np.arange(start, start + n, dtype=np.float32) for n in (2, 1, 3, 1, 0)]
        wide.run(bound, np.empty(0, np.uint32), [Feed(i, array) for i, array in enumerate(arrays)], [])
        count, rows = tab.device.table[2], tab.device.table[3:12].reshape(3, 3).tolist()
        assert count == 3 and sorted((row[0], row[2]) for row in rows) == [(1, 4), (2, 264), (3, 4)]
        data = {region: read(pointer, size) for region, pointer, size in rows}
        np.testing.assert_array_equal(data[2][:3], arrays[2])
        np.testing.assert_array_equal(data[2][64:], arrays[0])          # 256 bytes further on, as on the device
        np.testing.assert_array_equal(data[1], arrays[1])
        np.testing.assert_array_equal(data[3], arrays[3])
    assert wide.stats().uploaded == 2 * 4 * (2 + 1 + 3 + 1)
    assert tab.device.table[12] == 0


def test_large_inputs_are_read_where_they_lie(wide, tab):
    buffer = wide.allocate(1 << 20)
    bound = wide.bind(5, Layout([Span(buffer, 0, 80_000), Span(buffer, 80_128, 8)], []))
    label = np.array([3, 4], np.int32)
    for array in (np.ones((100, 200), np.float32), np.full((200, 200), 2, np.float32)[::2]):
        wide.run(bound, np.array([7], np.uint32), [Feed(0, array), Feed(1, label)], [])
        count, *rows = tab.device.table[3:10].tolist()
        assert count == 2 and rows[0] == 1 and rows[3] == 0 and rows[5] == 80_000
        assert read(rows[1], rows[2], np.int32).tolist() == [3, 4]
        if array.flags.c_contiguous:
            assert rows[4] == array.ctypes.data


def test_inputs_of_another_kind_get_a_table_of_their_own(wide, tab):
    bound = wide.bind(5, Layout([Span(wide.allocate(64), 0, 64)], []))
    for array in (np.float32([1.5, 2.5]), np.int32([3, 4]), np.int32([[5], [6], [7]])):
        wide.run(bound, np.empty(0, np.uint32), [Feed(0, array)], [])
        pointer, size = tab.device.table[4:6].tolist()
        assert read(pointer, size, array.dtype).tolist() == array.reshape(-1).tolist()
    wide.run(bound, np.empty(0, np.uint32), [], [])
    assert tab.device.table[1:4].tolist() == [0, 0, 0]


def test_copies_come_and_go(wide, tab):
    bound = wide.bind(5, Layout([Span(wide.allocate(64), 0, 8)], []))
    copy = Copy(Span(wide.allocate(64), 4, 8), Span(wide.allocate(64), 0, 8))
    row = [copy.source.buffer.id, 4, copy.target.buffer.id, 0, 8]
    for count in (1, 0, 4, 9, 0):                       # there is room for 8 at first
        value = np.float32([count, 1])
        wide.run(bound, np.uint32([count]), [Feed(0, value)], [copy] * count)
        table = tab.device.table
        assert table[:5].tolist() == [bound.id, 1, count, 1, 0] and table[7] == count
        assert table[8 : 8 + 5 * min(count, 4)].tolist() == row * min(count, 4)
        assert read(int(table[5]), 8).tolist() == [count, 1]


def test_two_runs_under_way_are_waited_for(gpu, tab):
    bound = gpu.bind(5, Layout([], []))
    gpu.run(bound, np.empty(0, np.uint32), [], [])
    assert tab.device.calls[-1][0] == "run"             # the recorder answers with more than two
    gpu.pause()
    gpu.pause()
    assert [call[0] for call in tab.device.calls[-2:]] == ["run", "ready"]


def test_programs_and_layouts_cross_as_text(gpu, tab):
    step = Step(kernel=0, regions=[0], grid=[1], uniforms=[0], scalars=[3])
    program = Program(Target.WGSL, kernels=[Kernel("k", code=b"code", bindings=1)], regions=[Region(Place.STATE, 0)],
                      steps=[step])
    loaded = gpu.load(program)
    assert json.loads(tab.device.calls[-1][1]) == {
        "kernels": [{"name": "k", "entry": "main", "code": "code"}],
        "steps": [{"kind": 0, "kernel": 0, "regions": [0], "uniforms": [0], "scalars": [3], "body": 0}]}
    launch = Launch(step, (np.int64(2),), [np.int64(4)], [0])
    gpu.bind(loaded, Layout([Span(None, 0, 0)], [launch]))
    assert json.loads(tab.device.calls[-1][2]) == {
        "spans": [[0, 0, 0]], "launches": [{"grid": [2], "words": [4], "scalars": [0], "count": 0}]}


def test_compiling_does_not_wait_where_it_cannot(gpu, tab):
    tab.waits = False
    gpu.load(Program(Target.WGSL))
    assert tab.device.calls[-1][0] == "loadNow"


def test_reading_back_needs_an_entry_that_can_wait(gpu, tab):
    buffer = gpu.allocate(8)
    assert gpu.download(buffer, 0, 8).tolist() == [5] * 8
    tab.waits = False
    calls = len(tab.device.calls)
    with pytest.raises(FailedPreconditionError, match="runPythonAsync"):
        gpu.download(buffer, 0, 8)
    assert len(tab.device.calls) == calls               # no promise was made


@pytest.mark.parametrize("error, expected", [
    (JsError("DeviceLostError", "gone"), DeviceLostError),
    (JsError("ModelError", "x", rule="C01-identifier", where="bytes 4-7", why="no"), ModelError),
    (JsError("TypeError", "undefined is not a function"), InternalError),
])
def test_errors_of_the_runtime_keep_their_names(gpu, tab, error, expected):
    tab.device.failure = error
    with pytest.raises(expected, match="C01-identifier: bytes 4-7" if expected is ModelError else error.message):
        gpu.allocate(4)


def test_a_lost_device_is_known_as_such_and_the_next_one_is_waited_for(gpu, tab):
    from tideflow.js_bindings import browser

    assert not gpu.lost
    tab.device.lost = True
    assert gpu.lost
    asked, following = [], Recorder()
    tab.device = None                                   # the next one is under way
    tab.runtime.preparedForPython = lambda: tab.device

    def prepare(text):
        asked.append(json.loads(text))
        tab.device = following

    tab.runtime.preparePython = prepare
    found = browser.open_device({"maxBufferSize": 512})
    assert asked == [{"features": [], "limits": [{"name": "maxBufferSize", "value": 512}]}]
    assert not found.lost and found.allocate(4).id == 1 and following.calls[-1] == ("allocate", 4)


def test_opening_another_device_needs_an_entry_that_can_wait(tab):
    from tideflow.js_bindings import browser

    tab.runtime.preparedForPython, tab.waits = (lambda: None), False
    with pytest.raises(FailedPreconditionError, match="opening the GPU"):
        browser.open_device()


def test_a_tab_without_a_gpu_says_why(tab):
    from tideflow.js_bindings import browser

    tab.runtime.preparedForPython = lambda: "WebGPU is here but gives no adapter"
    asked = []
    tab.runtime.preparePython = asked.append
    for tab.waits in (False, True):
        with pytest.raises(NoExecutorError, match="gives no adapter"):
            browser.open_device()
    assert len(asked) == 1                              # once more, where Python can wait


def test_an_adapter_that_was_refused_is_asked_for_again(tab):
    from tideflow.js_bindings import browser

    answers = [None, "WebGPU is here but gives no adapter", tab.device]
    tab.runtime.preparedForPython = lambda: answers[0]
    tab.runtime.preparePython = lambda text: answers.pop(0)
    assert not browser.open_device().lost


def test_a_page_without_the_runtime_is_told_what_to_register(tab, monkeypatch):
    from tideflow.js_bindings import browser

    monkeypatch.setitem(sys.modules, "tideflow_runtime", None)
    with pytest.raises(NoExecutorError, match="registerJsModule"):
        browser.open_device()


def test_more_than_the_prepared_device_allows_opens_another(tab):
    from tideflow.js_bindings import browser

    asked = []
    tab.runtime.PythonDevice = types.SimpleNamespace(open=lambda text: asked.append(json.loads(text)) or Recorder())
    browser.open_device({"maxBufferSize": 4096})
    assert asked == [{"features": [], "limits": [{"name": "maxBufferSize", "value": 4096}]}]
