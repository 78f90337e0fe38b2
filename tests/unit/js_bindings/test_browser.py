"""GPU:0 in Pyodide with a JavaScript side that only records: what crosses, in which words, and how errors come back."""

import ctypes
import json
import sys
import types

import numpy as np
import pytest
from tideflow.device import Copy, Launch, Layout, Span
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

    dispatches = 7

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
                self.table = np.array((ctypes.c_uint32 * 32).from_address(arguments[0]))
            if method == "download":
                ctypes.memset(arguments[3], 5, arguments[2])
            return len(self.calls)

        return call


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


def test_two_runs_under_way_are_waited_for(gpu, tab):
    bound = gpu.bind(5, Layout([], []))
    gpu.run(bound, np.empty(0, np.uint32), [], [])
    assert tab.device.calls[-1] == ("ready",)           # the recorder answers with more than two


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
