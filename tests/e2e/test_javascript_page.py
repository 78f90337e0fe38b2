"""The page without Python: the same predictions, the same training steps, its own saved file, a strict policy."""

import json
import subprocess
import sys

import numpy as np
import pytest
from visitor import default_code, digits, held_out_probabilities, keep_devices, long_tasks_since, run, saved

TEN_STEPS = """
import numpy as np
import tideflow as tf
(x, y), _ = page.load_digits()
tf.keras.utils.set_random_seed(7)
model = page.model
losses = []
for step in range(10):
    rows = slice(32 * step, 32 * step + (32 if step < 9 else 17))     # the last batch is partial
    model.reset_metrics()
    losses.append(float(model.train_on_batch(x[rows], y[rows])[0]))
print("LOSSES", losses)
"""


@pytest.fixture(scope="module")
def trained(chromium, address):
    """Python's side, once: a short training, its file, its predictions, ten more steps, the file after them."""
    context = chromium.new_context()
    page = context.new_page()
    page.goto(address + "index.html")
    run(page, default_code(page, seed=5, epochs=3), "wasm")
    before, probabilities = saved(page), held_out_probabilities(page)
    run(page, TEN_STEPS, "wasm")
    losses = json.loads(page.inner_text("#output").split("LOSSES")[1])
    result = {"before": before, "after": saved(page), "probabilities": probabilities, "losses": losses}
    context.close()
    return result


def choose(page, data: bytes, name: str = "visitors.tide") -> None:
    """Chooses a file as the visitor does, and waits for nothing."""
    page.set_input_files("#file", {"name": name, "mimeType": "application/octet-stream", "buffer": data})


def wait_open(page, name: str = "visitors.tide") -> None:
    """Until the page shows that file, and not the sample or one before it."""
    page.wait_for_function("""(name) => document.getElementById("name").textContent.startsWith(name + ",")
      && document.getElementById("status").textContent === "Ready" """, arg=name)


def load(page, data: bytes, device: str, name: str = "visitors.tide") -> None:
    """Opens bytes on the JavaScript page as a chosen file would be."""
    page.click(f"#devices label:has(input[value={device}])")
    choose(page, data, name)
    wait_open(page, name)


def predictions(page) -> np.ndarray:
    """The JavaScript runtime's probabilities for the held-out scans."""
    _, (x_test, _) = digits()
    flat = page.evaluate("""async (values) => {
      const { data } = await tideflowPage.model.predict({ data: Float32Array.from(values), shape: [360, 8, 8, 1] });
      return Array.from(data);
    }""", x_test.ravel().tolist())
    return np.array(flat, np.float32).reshape(360, 10)


def ten_steps(page) -> list[float]:
    """The same ten batches as TEN_STEPS; returns the losses."""
    (x, y), _ = digits()
    batches = []
    for step in range(10):
        rows = slice(32 * step, 32 * step + (32 if step < 9 else 17))
        batches.append({"x": x[rows].ravel().tolist(), "y": y[rows].tolist()})
    return page.evaluate("""async (batches) => {
      const { model } = tideflowPage;
      const port = model.signatures.find(({ name }) => name === "train_step").inputs.find(({ name }) => name === "y");
      const losses = [];
      for (const { x, y } of batches) {
        if (model.signatures.some(({ name }) => name === "reset_metrics")) await model.run("reset_metrics");
        const count = y.length;
        const step = await model.trainStep({
          x: { data: Float32Array.from(x), shape: [count, 8, 8, 1] },
          y: { data: Int32Array.from(y), shape: port.shape.length === 1 ? [count] : [count, 1] },
        });
        losses.push((await step.read()).loss.data[0]);
      }
      return losses;
    }""", batches)


def download(page) -> bytes:
    """What the Download button gives."""
    with page.expect_download() as waiting:
        page.click("#download")
    assert waiting.value.suggested_filename == "model.tide"
    return waiting.value.path().read_bytes()


def tensors(data: bytes) -> dict:
    """The stored tensors of a file by name, weights, slots and counters alike, read by the Python reader."""
    from tideflow.program.read import read_model
    model = read_model(data)
    kinds = {"F32": np.float32, "I32": np.int32, "U32": np.uint32, "I64": np.int64, "U64": np.uint64}
    return {tensor.name: np.frombuffer(tensor.data, kinds.get(tensor.dtype.name, np.uint8))
            for tensor in model.tensors if tensor.data is not None}


@pytest.mark.parametrize("device", ["wasm", "webgpu"])
def test_predictions_and_ten_training_steps_equal_pythons(open_page, trained, device):
    page = open_page("javascript.html")
    load(page, trained["before"], device)
    assert page.evaluate("() => tideflowPage.model.device.kind") == device
    np.testing.assert_allclose(predictions(page), trained["probabilities"], atol=1e-4)
    np.testing.assert_allclose(ten_steps(page), trained["losses"], rtol=1e-3, atol=1e-3)
    ours, theirs = tensors(trained["after"]), tensors(download(page))
    assert ours.keys() == theirs.keys()
    assert sum("adam" in name.lower() or "momentum" in name.lower() for name in ours) >= 16, sorted(ours)
    for name, expected in ours.items():
        np.testing.assert_allclose(theirs[name], expected, rtol=1e-3, atol=1e-3, err_msg=name)


def test_file_retrained_in_javascript_loads_in_a_fresh_python(open_page, trained, tmp_path):
    page = open_page("javascript.html")
    load(page, trained["before"], "wasm")
    ten_steps(page)
    expected = predictions(page)
    (tmp_path / "model.tide").write_bytes(download(page))
    np.save(tmp_path / "x.npy", digits()[1][0])
    code = ("import numpy as np, tideflow as tf; model = tf.keras.models.load_model('model.tide'); "
            "np.save('out.npy', model.predict(np.load('x.npy'), verbose=0))")
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    np.testing.assert_allclose(np.load(tmp_path / "out.npy"), expected, atol=1e-4)
    assert np.abs(expected - trained["probabilities"]).max() > 1e-4, "the ten steps changed nothing"


def test_model_is_handed_over_by_the_button(open_page, context):
    page = open_page("index.html")
    run(page, default_code(page, epochs=1), "wasm")
    expected = held_out_probabilities(page)
    page.click("#continue")
    page.wait_for_url("**/javascript.html")
    page.wait_for_selector("body[data-state=ready]")
    np.testing.assert_allclose(predictions(page), expected, atol=1e-4)


def draw_sevens(page) -> None:
    """Three drawings, each labelled 7."""
    box = page.locator("#pad").bounding_box()
    for offset in (0.45, 0.5, 0.55):
        page.mouse.move(box["x"] + offset * box["width"], box["y"] + 20)
        page.mouse.down()
        page.mouse.move(box["x"] + 0.5 * box["width"], box["y"] + box["height"] - 20, steps=8)
        page.mouse.up()
        page.click("#labels button:text-is('7')")
    assert page.locator("#samples li").count() == 3


def start_training(page, steps: int) -> None:
    """Presses Train, and waits for the third step."""
    page.fill("#steps", str(steps))
    page.click("#train")
    page.wait_for_function("() => /^step ([3-9]|..+) of/.test(document.getElementById('figures').textContent)")


def test_visitor_draws_labels_and_trains_further(open_page, trained):
    page = open_page("javascript.html")
    load(page, trained["before"], "wasm")
    page.wait_for_function("() => document.getElementById('held-out').textContent.includes('%')")
    draw_sevens(page)
    page.fill("#steps", "20")
    page.dblclick("#train")                 # the second click must not start a second training
    page.wait_for_function("() => document.getElementById('note').textContent.startsWith('20 steps')")
    assert "step 20 of 20" in page.inner_text("#figures")
    assert "%" in page.inner_text("#held-out")


def test_training_goes_on_while_the_device_changes_and_a_copy_is_saved(open_page, trained):
    page = open_page("javascript.html")
    load(page, trained["before"], "webgpu")
    draw_sevens(page)
    start_training(page, 60)
    page.click("#devices label:has(input[value=wasm])")
    page.wait_for_function("() => document.getElementById('device').textContent.startsWith('WASM')")
    copy = download(page)
    page.wait_for_function("() => document.getElementById('note').textContent.startsWith('60 steps')")
    names = [name for name, values in tensors(copy).items() if "iteration" in name]
    assert names, tensors(copy).keys()
    before, during, after = ({name: int(tensors(data)[name][0]) for name in names}
                             for data in (trained["before"], copy, download(page)))
    for name in names:
        assert before[name] < during[name] <= after[name] == before[name] + 60


def test_another_file_ends_the_training_of_the_first(open_page, trained):
    page = open_page("javascript.html")
    load(page, trained["before"], "wasm")
    draw_sevens(page)
    start_training(page, 1000)
    choose(page, trained["after"], "other.tide")
    wait_open(page, "other.tide")
    page.wait_for_selector("#train:not([disabled])")
    assert "training ended after" in page.inner_text("#message")
    after = download(page)
    assert after == trained["after"], "what was not trained here is saved as it was"


def test_page_needs_no_wasm_permission_and_no_inline_script(open_page, address, trained):
    page = open_page("javascript.html")
    policy = page.get_attribute("meta[http-equiv=Content-Security-Policy]", "content")
    assert "script-src 'self';" in policy
    load(page, trained["before"], "webgpu")
    assert predictions(page).shape == (360, 10)
    assert page.evaluate("() => violations") == []


def test_broken_files_are_refused_with_a_reason_and_the_page_lives_on(open_page, trained):
    page = open_page("javascript.html")
    page.set_input_files("#file", {"name": "cut.tide", "mimeType": "", "buffer": trained["before"][:5000]})
    page.wait_for_selector("#message.bad")
    assert page.inner_text("#message").startswith("cut.tide was not opened: C")
    load(page, trained["before"], "wasm")
    assert predictions(page).shape == (360, 10)


def test_sample_that_comes_late_does_not_replace_the_visitors_file(open_page, context, trained):
    held = []
    context.route("**/assets/sample.tide", lambda route: held.append(route))
    context.add_init_script("""
      const plainFetch = fetch;
      globalThis.ends = {};
      globalThis.fetch = (address, options) => plainFetch(address, options).catch((error) => {
        ends[address] = error.name;
        throw error;
      });
    """)
    page = open_page("javascript.html")
    load(page, trained["before"], "wasm")
    assert held
    assert page.evaluate("() => ends") == {"assets/sample.tide": "AbortError"}, "the sample may still come"
    assert page.inner_text("#name").startswith("visitors.tide")
    np.testing.assert_allclose(predictions(page), trained["probabilities"], atol=1e-4)


def test_the_newest_of_several_choices_wins(open_page, trained):
    page = open_page("javascript.html")
    for name, data in [("a.tide", trained["before"]), ("b.tide", trained["before"]), ("c.tide", trained["after"])]:
        choose(page, data, name)
    page.click("#devices label:has(input[value=wasm])")
    wait_open(page, "c.tide")
    page.wait_for_function("() => document.getElementById('device').textContent.startsWith('WASM')")
    assert page.inner_text("#device") == "WASM: asked for"
    assert download(page) == trained["after"]


def test_lost_device_is_restored_and_training_goes_on(open_page, context, trained):
    keep_devices(context)
    page = open_page("javascript.html")
    load(page, trained["before"], "webgpu")
    ten_steps(page)
    worker = page.workers[-1]
    assert worker.evaluate("() => devices.length") == 1
    worker.evaluate("() => devices.at(-1).destroy()")
    losses = ten_steps(page)
    assert np.isfinite(losses).all()
    assert worker.evaluate("() => devices.length") == 2
    page.wait_for_selector("#message:not([hidden])")
    assert "Restored to step" in page.inner_text("#message")


def test_gpu_and_runtime_stay_out_of_the_pages_thread(open_page, context, trained):
    context.add_init_script("""
      GPU.prototype.requestAdapter = () => { throw new Error("the page's thread asked for a GPU"); };
    """)
    page = open_page("javascript.html")
    load(page, trained["before"], "webgpu")
    assert page.evaluate("() => tideflowPage.model.device.worker") is True
    blocked = []
    while len(blocked) < 4 and min(blocked, default=101) > 100:     # a busy machine delays any task now and then
        since = page.evaluate("() => performance.now()")
        ten_steps(page)
        blocked.append(max(long_tasks_since(page, since), default=0))
    assert min(blocked) <= 100, blocked
