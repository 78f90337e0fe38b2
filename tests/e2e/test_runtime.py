"""The JavaScript runtime in a real Chromium on software WebGPU, in a page that allows no scripts but its own, and
Python in the tab driving it."""

import contextlib
import functools
import http.server
import io
import json
import threading
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.browser


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves the repository under the strictest policy that the runtime has to work with."""

    scripts = "'self'"
    extensions_map = {**http.server.SimpleHTTPRequestHandler.extensions_map, ".js": "text/javascript"}

    def end_headers(self):
        self.send_header("Content-Security-Policy", f"default-src 'self'; script-src {self.scripts}")
        super().end_headers()

    def log_message(self, *args):
        pass


class WasmHandler(Handler):
    """Allows WebAssembly beside that, for pages that run it."""

    scripts = "'self' 'wasm-unsafe-eval'"


@contextlib.contextmanager
def serve(handler):
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(handler, directory=ROOT)) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def address():
    with serve(Handler) as address:
        yield address


@pytest.fixture(scope="module")
def wasm_address():
    with serve(WasmHandler) as address:
        yield address


@pytest.fixture(scope="module")
def browser(chromium):
    """The one of all e2e tests: Playwright allows only one at a time in a process."""
    return chromium


@contextlib.contextmanager
def opened(browser, address):
    page = browser.new_page()
    errors = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(f"{address}/tests/e2e/pages/runtime.html")
    page.wait_for_function("globalThis.runtime")
    yield page
    page.close()
    assert errors == []


@pytest.fixture
def page(browser, address):
    with opened(browser, address) as page:
        yield page


@pytest.fixture
def wasm_page(browser, wasm_address):
    with opened(browser, wasm_address) as page:
        yield page


def test_steps_give_the_values_of_the_wasm_program(page):
    answer = page.evaluate("runtime.steps()")
    assert answer["results"] == [[10.5, 11.0, 11.5], [13.0]]
    assert answer["software"] and "swiftshader" in answer["description"]


def test_a_step_is_one_encoder_one_submit_and_creates_nothing(page):
    calls = page.evaluate("runtime.counts()")
    assert calls.pop("writeBuffer") == 2            # the input, and the uniform slots
    assert calls == {"createBuffer": 0, "createBindGroup": 0, "createBindGroupLayout": 0,
                     "createComputePipelineAsync": 0, "createCommandEncoder": 1, "submit": 1}


def transformer(layers, x):
    """One block of attention and dense layers, each beside a residual and normalised after."""
    x = layers.LayerNormalization()(layers.Add()([x, layers.MultiHeadAttention(4, 32)(x, x)]))
    hidden = layers.Dense(128)(layers.Dense(256, activation="gelu")(x))
    return layers.GlobalAveragePooling1D()(layers.LayerNormalization()(layers.Add()([x, hidden])))


def keras_model(kind):
    """The models whose dispatches are promised, saved after one step on the host; the shape of a sample."""
    import numpy as np
    import tideflow as tf
    layers = tf.keras.layers
    shape = {"mlp": (784,), "cnn": (8, 8, 1), "transformer": (64, 128), "words": (20,)}[kind]
    body = {"mlp": [layers.Dense(256, activation="relu"), layers.Dense(128, activation="relu")],
            "cnn": [layers.Conv2D(32, 3, padding="same", activation="relu"), layers.MaxPooling2D(),
                    layers.Conv2D(64, 3, padding="same", activation="relu"), layers.MaxPooling2D(), layers.Flatten(),
                    layers.Dense(64, activation="relu")],
            "transformer": [lambda x: transformer(layers, x)],
            "words": [layers.Rescaling(300.0), layers.Embedding(301, 16), layers.GlobalAveragePooling1D()]}[kind]
    inputs = x = tf.keras.Input(shape)
    for part in [*body, layers.Dense(10, activation="softmax")]:
        x = part(x)
    model = tf.keras.Model(inputs, x)
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(np.zeros((2, *shape), np.float32), np.array([0, 1], np.int32), batch_size=2, verbose=0)
    return model, shape


def mean_loss(model, rows, shape):
    """What the page reads after its two steps: the mean over them and over the step before, on two samples of 0."""
    import numpy as np
    x = ((np.arange(rows * int(np.prod(shape))) % 17) / 16).astype(np.float32).reshape(rows, *shape)
    y = np.arange(rows, dtype=np.int32) % 10
    before = 2 * model.history.history["loss"][0]
    losses = [float(model.train_on_batch(x, y, return_dict=True)["loss"]) for _ in range(2)]
    return (before + rows * sum(losses)) / (2 + 2 * rows)


@pytest.mark.parametrize(("kind", "most"), [("mlp", 14), ("cnn", 26), ("transformer", 60), ("words", 12)])
def test_a_whole_training_step_takes_few_dispatches(page, kind, most, tmp_path, capsys):
    """Loss, metrics, gradients, optimizer: counted at WebGPU's own methods, on the file that Keras saved."""
    model, shape = keras_model(kind)
    model.save(tmp_path / "model.tide")
    page.route("**/promised.tide", lambda route: route.fulfill(body=(tmp_path / "model.tide").read_bytes()))
    answer = page.evaluate("""async ([rows, sizes]) =>
        (await import("/tests/e2e/pages/dispatches.js")).wholeStep("/promised.tide", rows, sizes)""", [32, shape])
    calls = answer["calls"]
    with capsys.disabled():
        print(f"\n{kind}: {calls['dispatchWorkgroups']} dispatches, {calls['createCommandEncoder']} encoder, "
              f"{calls['submit']} submit, {calls['writeBuffer']} writes in one training step", end="")
    assert 0 < calls["dispatchWorkgroups"] <= most and calls["dispatchWorkgroupsIndirect"] == 0
    assert calls["createCommandEncoder"] == calls["submit"] == 1
    made = {name: calls[name] for name in calls if name.startswith("create") and name != "createCommandEncoder"}
    assert not any(made.values()), made
    assert answer["loss"] == pytest.approx(mean_loss(model, 32, shape), rel=1e-4)


LSTM_STEPS = """async ([device, address, x, y]) => {
  const { load } = await import("/js_bindings/runtime/index.js");
  const model = await load(address, { device });
  const rows = { data: Float32Array.from(x), shape: [6, 5, 3] };
  const losses = [];
  for (let i = 0; i < 3; i++) {
    await model.run("reset_metrics");
    const step = await model.trainStep({ x: rows, y: { data: Float32Array.from(y), shape: [6, 1] } });
    losses.push((await step.read()).loss.data[0]);
  }
  const { data } = await model.predict(rows);
  await model.close();
  return { losses, predictions: [...data] };
}"""


@pytest.mark.parametrize("device", ["webgpu", "wasm"])
def test_an_lstm_trains_in_the_tab_as_in_python(wasm_page, device, tmp_path):
    """Its forward and backward passes are LOOP steps: dynamic offsets on WebGPU, one call of `run` on WASM."""
    import numpy as np
    import tideflow as tf
    from tideflow.program.format import StepKind
    from tideflow.program.read import read_model
    tf.keras.utils.set_random_seed(3)
    model = tf.keras.Sequential([tf.keras.Input((5, 3)), tf.keras.layers.LSTM(4), tf.keras.layers.Dense(1)])
    model.compile(tf.keras.optimizers.Adam(0.05), "mse")
    generator = np.random.default_rng(0)
    x, y = (generator.normal(size=shape).astype(np.float32) for shape in ((6, 5, 3), (6, 1)))
    model.save(tmp_path / "lstm.tide")
    file = (tmp_path / "lstm.tide").read_bytes()
    assert any(step.kind == StepKind.LOOP for program in read_model(file).programs for step in program.steps)
    losses = []
    for _ in range(3):
        model.reset_metrics()
        losses.append(float(np.ravel(model.train_on_batch(x, y))[0]))
    wasm_page.route("**/lstm.tide", lambda route: route.fulfill(body=file))
    answer = wasm_page.evaluate(LSTM_STEPS, [device, "/lstm.tide", x.ravel().tolist(), y.ravel().tolist()])
    np.testing.assert_allclose(answer["losses"], losses, rtol=1e-3)
    np.testing.assert_allclose(answer["predictions"], np.ravel(model.predict(x, verbose=0)), rtol=1e-3, atol=1e-4)


def test_a_lost_device_is_replaced_and_training_goes_on_from_the_snapshot(page):
    answer = page.evaluate("runtime.restore()")
    assert answer["after"] == [11.0]                # one step is lost: the snapshot was taken after the first
    assert answer["step"] == 2
    assert [event["type"] for event in answer["events"]] == ["lost", "restored"]
    assert answer["events"][1] == {"type": "restored", "step": 1, "lost": 1}


def test_nested_loops_get_their_iteration_numbers(page):
    assert page.evaluate("runtime.loop()") == [10.0 + (0 + 1 + 2 + 3) + (10 + 11 + 12 + 13)]


NO_ROWS = """async () => {
  const { load } = await import("/js_bindings/runtime/index.js");
  const model = await load("/demo_site/assets/sample.tide", { device: "webgpu" });
  const x = { data: new Float32Array(0), shape: [0, 8, 8, 1] };
  const training = model.trainStep({ x, y: new Int32Array(0) });
  const refused = await training.catch(({ name, message }) => `${name}: ${message}`);
  const { data, shape } = await model.predict(x);
  const { data: one } = await model.predict(new Float32Array(64));
  await model.close();
  return { refused, length: data.length, shape, sum: one.reduce((a, b) => a + b) };
}"""


def test_without_rows_there_are_no_predictions_and_no_training_on_webgpu(page):
    answer = page.evaluate(NO_ROWS)
    assert answer["refused"].startswith('InvalidArgumentError: "train_step": input "x" of shape [0,8,8,1] has no rows')
    assert (answer["length"], answer["shape"]) == (0, [0, 10])
    assert abs(answer["sum"] - 1) < 1e-5


def test_a_kernel_that_does_not_compile_is_named(page):
    answer = page.evaluate("runtime.broken()")
    assert answer.startswith('ModelError: kernel: kernel "count"')


def test_a_software_gpu_gives_way_to_wasm_in_a_worker(wasm_page):
    answer = wasm_page.evaluate("runtime.auto()")
    assert answer["device"]["kind"] == "wasm" and answer["device"]["worker"] is True
    assert "emulated in software" in answer["device"]["reason"]
    assert answer["values"] == [[0, 1, 3, 6], [2, 5, 10, 17]]
    assert answer["saved"] == (ROOT / "tests/js/data/step.tide").stat().st_size


def test_without_wasm_the_software_gpu_is_better_than_nothing(page):
    answer = page.evaluate("runtime.auto()")
    assert answer["device"]["kind"] == "webgpu" and answer["device"]["worker"] is True
    assert "wasm-unsafe-eval" in answer["device"]["reason"]
    assert answer["values"] == [[0, 1, 3, 6], [2, 5, 10, 17]]


@pytest.mark.parametrize("worker", [True, False])
def test_webgpu_runs_in_a_worker_unless_told_otherwise(page, worker):
    answer = page.evaluate(f"runtime.auto({{ device: 'webgpu' {'' if worker else ', worker: false'} }})")
    assert answer["device"]["kind"] == "webgpu" and answer["device"]["worker"] is worker
    assert answer["values"] == [[0, 1, 3, 6], [2, 5, 10, 17]]


def test_without_permission_to_start_a_worker_the_model_runs_in_this_thread_and_says_so(page):
    answer = page.evaluate("""() => {
      globalThis.Worker = function () { throw new DOMException("another origin", "SecurityError"); };
      return runtime.auto({ device: "webgpu" });
    }""")
    assert answer["device"]["worker"] is False
    assert answer["device"]["reason"] == "asked for; in this thread: no worker can be started (another origin)"
    assert answer["values"] == [[0, 1, 3, 6], [2, 5, 10, 17]]


PACKAGE = {"tideflow": "core", "tideflow/gpu_wgsl": "gpu_wgsl", "tideflow/wasm": "wasm",
           "tideflow/js_bindings": "js_bindings"}
START = """
import json
import numpy as np, hand_made
from tideflow.js_bindings import browser
from tideflow.program.format import Target
from tideflow.runtime import execute
device = browser.open_device()
executor = execute.load(hand_made.model(Target.WGSL), device)
x = np.arange(8, dtype=np.float32).reshape(2, 4)
"""


def package() -> bytes:
    """The working tree as a zip to unpack into Pyodide's site-packages."""
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w") as archive:
        for target, folder in PACKAGE.items():
            for path in [*(ROOT / folder).rglob("*.py"), *(ROOT / folder).rglob("*.wgsl")]:
                archive.write(path, f"{target}/{path.relative_to(ROOT / folder)}")
        archive.write(ROOT / "tests/unit/runtime/hand_made.py", "hand_made.py")
    return memory.getvalue()


@pytest.fixture(scope="module")
def python(browser, wasm_address, require):
    """A page with Python in it; `python(code)` runs code so that it may wait."""
    wheels = sorted((ROOT / ".cache" / "wheels").glob("*.whl"))
    require("node", None if (ROOT / "node_modules/pyodide").is_dir() and len(wheels) > 1 else
            "Pyodide or its wheels are missing: run `make setup`")
    page = browser.new_page()
    page.route("**/package.zip", lambda route: route.fulfill(body=package(), content_type="application/zip"))
    address = wasm_address
    page.goto(f"{address}/tests/e2e/pages/pyodide.html")
    page.wait_for_function("() => Boolean(globalThis.start)")
    page.evaluate("addresses => start(addresses)",
                  [*(f"{address}/{wheel.relative_to(ROOT)}" for wheel in wheels), f"{address}/package.zip"])

    def run(code: str, function: str = "run"):
        return page.evaluate(f"code => {function}(code)", code)

    run.page = page
    yield run
    page.close()


def test_python_in_the_tab_runs_programs_on_the_gpu(python):
    answer = json.loads(python(START + """
first = executor.run("step", {"x": x})
second = executor.run("step", {"x": x, "learning_rate": 1.0})       # first is unread: its outputs are copied aside
json.dumps([first["y"].numpy().tolist(), second["y"].numpy().tolist(), executor.run("peek")["w_now"].numpy().tolist(),
            device.description, device.software])
"""))
    assert answer[:3] == [
        [[0.0, 1.0, 3.0, 6.0], [2.0, 5.0, 9.0, 14.0]],
        [[3.0, 6.0, 11.0, 18.0], [11.0, 18.0, 27.0, 38.0]],
        [3.0, 4.0, 5.0, 6.0],
    ]
    assert "swiftshader" in answer[3] and answer[4] is True


def test_a_step_from_python_is_one_submit_and_creates_nothing(python):
    python(START + "for _ in range(4): executor.run('step', {'x': x})")     # by then pipelines for these sizes are made
    streak = 0
    for _ in range(40):
        calls = counted_step(python)
        streak = 0 if calls["createComputePipelineAsync"] else streak + 1
        if streak == 3:
            break
    assert calls == {"createBuffer": 0, "createBindGroup": 0, "createBindGroupLayout": 0,
                     "createComputePipelineAsync": 0, "createCommandEncoder": 1, "submit": 1,
                     "writeBuffer": 2}                 # the input, and the uniform slots


def counted_step(python):
    """What one step from Python calls of WebGPU, until the GPU has answered and 100 ms more."""
    python.page.evaluate("() => { globalThis.calls = count(); }")
    python("executor.run('step', {'x': x}); None")      # a result that JavaScript keeps would be copied aside
    python.page.wait_for_timeout(100)                   # for what is made in the background
    return python.page.evaluate("calls")


def test_families_are_timed_in_the_tab_and_the_choice_is_kept_for_the_next_visit(python):
    names = json.loads(python(START + """
from tideflow.gpu_wgsl import trial
from tideflow.runtime import tuning
found = {name for name, seconds in trial.times(device, 64).items() if seconds > 0}
trial.fastest = lambda device: "shared"             # as if it were
device.software, device.description = False, "some card"
json.dumps([sorted(found), tuning.family(device), device.recall()[-1].split(" ")[1]])
"""))
    assert names == [["direct", "shared"], "shared", "shared"]
    kept = python.page.evaluate("""async () => {
      const { PythonDevice } = await import("/js_bindings/runtime/index.js");
      for (let i = 0; i < 50; i++) {
        const device = await PythonDevice.open();
        const { kept } = JSON.parse(device.about());
        device.close();
        if (kept) return kept;
      }
    }""")
    assert kept.endswith(" shared")


def test_python_that_cannot_wait_is_told_how_to_enter(python):
    python(START)
    answer = python("""
try:
    executor.run("peek")["w_now"].numpy()
    answer = "no error"
except Exception as error:
    answer = f"{type(error).__name__}: {error}"
answer
""", "runNow")
    assert answer.startswith("FailedPreconditionError: reading a value back has to wait for the GPU")
    assert "runPythonAsync" in answer


def test_python_trains_on_after_the_gpu_device_is_lost(python):
    python(START + "for _ in range(3): last = executor.run('step', {'x': x})\nlast['total'].numpy()")
    python.page.evaluate("loseDevice()")
    answer = json.loads(python("""
import warnings
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    after = executor.run("step", {"x": x})["y"].numpy().tolist()
    w = executor.run("peek")["w_now"].numpy().tolist()
again = execute.load(hand_made.model(Target.WGSL), executor.device)
twice = [again.run("step", {"x": x})["y"].numpy().tolist() for _ in range(2)][1]
json.dumps([after, w, [str(w.message) for w in caught], twice])
"""))
    # no copy yet: from the start, the last run (the inputs of those before it are gone), and this one
    assert answer[1] == [3.0, 4.0, 5.0, 6.0]
    assert answer[0] == answer[3]
    assert len(answer[2]) == 1
    assert "1 steps since then were repeated, 2 are lost" in answer[2][0]


def test_fit_in_the_tab_loses_nothing_with_the_gpu_device(python):
    answer = json.loads(python("""
import json, warnings
import numpy as np, tideflow as tf
from js import loseDevice

class Lose(tf.keras.callbacks.Callback):
    def __init__(self, *when):
        super().__init__()
        self.when, self.seen = when, 0
    def on_train_batch_end(self, batch, logs=None):
        self.seen += 1
        if self.seen in self.when:
            loseDevice()

def trained(*lose):
    tf.keras.utils.set_random_seed(11)
    x = np.random.default_rng(0).normal(size=(60, 5)).astype(np.float32)
    y = x.sum(1, keepdims=True)
    model = tf.keras.Sequential([tf.keras.layers.Dense(8, "relu"), tf.keras.layers.Dropout(0.4),
                                 tf.keras.layers.Dense(1)])
    model.compile("adam", "mse")
    with tf.device("gpu"):
        history = model.fit(x, y, epochs=3, batch_size=8, verbose=0, callbacks=[Lose(*lose)]).history
        return [w.tolist() for w in model.get_weights()], history

with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    same = [trained(*lose) == trained() for lose in ((3,), (8, 21), (24,))]
json.dumps([same, [str(w.message) for w in caught]])
"""))
    assert answer[0] == [True, True, True]
    assert len(answer[1]) == 4 and all("nothing is lost" in text for text in answer[1])
