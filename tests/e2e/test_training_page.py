"""The page that trains in Python: on WASM and on WebGPU, with the main thread free, Stop, offline, device loss."""

import pytest
from visitor import (
    accuracy,
    default_code,
    held_out_probabilities,
    keep_devices,
    long_tasks_since,
    run,
    seconds_until,
    start,
    wait_ready,
)

ENOUGH = 0.97
SEEDS = (1, 2, 3)
# From the second epoch on: the first one compiles, and folding constants calls host kernels.
REFUSE_HOST_KERNELS = """
from tideflow.ops.op import registered_ops

def refuse(self, *args, **kwargs):
    raise AssertionError(f"the host kernel of {self.name} was called during fit")

class Refuse(tf.keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 1:
            self.kernels = {type(op): type(op).__dict__.get("numpy") for op in registered_ops()}
            for kind in self.kernels:
                kind.numpy = refuse

    def on_train_end(self, logs=None):
        for kind, kernel in self.kernels.items():
            if kernel is None:
                del kind.numpy
            else:
                kind.numpy = kernel
        print("refused", len(self.kernels), "host kernels")
"""


def test_training_on_wasm_reaches_97_percent_for_three_seeds_without_host_kernels(open_page):
    page = open_page("index.html")
    for seed in SEEDS:
        code = default_code(page, seed=seed, before_fit=REFUSE_HOST_KERNELS)
        run(page, code.replace("epochs=15,", "epochs=15, callbacks=[Refuse()],"), "wasm")
        assert "refused" in page.inner_text("#output")
        assert page.inner_text("#device") == "WASM"
        assert accuracy(held_out_probabilities(page)) >= ENOUGH, f"seed {seed}"


def test_training_on_webgpu_reaches_97_percent_for_three_seeds_and_through_a_lost_device(open_page, context):
    """Eleven epochs: the software GPU takes most of the suite's time, and all three are over 98% by then."""
    keep_devices(context)
    page = open_page("index.html")
    for seed in SEEDS:
        start(page, default_code(page, seed=seed, epochs=11), "webgpu")
        if seed == SEEDS[-1]:
            lose_device(page)
        page.wait_for_selector("body[data-ended]", timeout=150_000)
        assert page.get_attribute("body", "data-ended") == "finished", page.inner_text("#output")
        assert page.inner_text("#device") == "WebGPU"
        assert accuracy(held_out_probabilities(page)) >= ENOUGH, f"seed {seed}"
    assert page.workers[0].evaluate("() => devices.length") == 2


def lose_device(page) -> None:
    """Destroys the GPU device of the Python worker in the third epoch."""
    page.wait_for_function("() => parseInt(document.getElementById('epoch').textContent) > 2")
    page.workers[0].evaluate("() => devices.at(-1).destroy()")


@pytest.mark.parametrize("device", ["wasm", "webgpu"])
def test_main_thread_is_free_during_fit_and_stop_acts_within_a_second(open_page, device):
    blocked = []
    while len(blocked) < 3 and min(blocked, default=101) > 100:  # a busy machine delays a task now and then
        page = open_page("index.html")
        code = default_code(page, epochs=500)
        since = page.evaluate("() => performance.now()")
        start(page, code, device)                                 # tracing and compiling are in it
        page.wait_for_function("() => parseInt(document.getElementById('epoch').textContent) >= 2")
        page.wait_for_timeout(1500)
        blocked.append(max(long_tasks_since(page, since), default=0))
        if len(blocked) < 3 and blocked[-1] > 100:
            page.close()
    assert min(blocked) <= 100, f"longest task of the page's thread in each of three whole runs, ms: {blocked}"
    stopped = seconds_until(page, "body[data-state=ready]", lambda: page.click("#stop"))
    assert stopped < 1.0
    assert page.get_attribute("body", "data-ended") == "stopped"
    page.wait_for_selector("#download:not([disabled])")


def test_stop_pressed_at_once_stops_and_the_page_runs_again(open_page):
    page = open_page("index.html")
    code = default_code(page, epochs=500)
    for _ in range(2):
        start(page, code, "wasm")
        assert page.is_disabled("#run") and page.is_disabled("#download")
        page.click("#stop")
        page.wait_for_selector("body[data-ended=stopped]")
    run(page, default_code(page, epochs=1), "wasm")
    page.wait_for_selector("#download:not([disabled])")
    assert accuracy(held_out_probabilities(page)) > 0.5


def test_stop_without_isolation_ends_the_worker_and_restores_the_last_snapshot(open_page):
    page = open_page("index.html")
    wait_ready(page)
    page.evaluate("() => Object.defineProperty(tideflowPage.client, 'canInterrupt', { get: () => false })")
    page.evaluate("() => { tideflowPage.client.stop = tideflowPage.client.end }")
    start(page, default_code(page, epochs=500), "wasm")
    page.wait_for_function("() => parseInt(document.getElementById('epoch').textContent) > 2")
    page.click("#stop")
    page.wait_for_selector("body[data-ended=stopped]")
    assert accuracy(held_out_probabilities(page)) > 0.5


def test_tideflow_is_imported_within_its_budget(open_page):
    """Of byte code, after numpy; the best of three visits, for the machine does other things too."""
    seconds = []
    while len(seconds) < 3 and min(seconds, default=1.0) >= 0.6:
        page = open_page("index.html")
        wait_ready(page)
        seconds.append(float(page.get_attribute("body", "data-import-seconds")))
        page.close()
    assert min(seconds) < 0.6, seconds


def test_errors_are_shown_with_the_visitors_own_line(open_page):
    page = open_page("index.html")
    start(page, "import tideflow as tf\n\ntf.matmul(tf.ones((2, 3)), tf.ones((2, 3)))\n")
    page.wait_for_selector("body[data-ended=failed]")
    output = page.inner_text("#output")
    assert "line 3" in output and "matmul" in output
    assert "_pyodide" not in output
    assert page.is_enabled("#run")


def test_pad_answers_during_training_and_after_it(open_page):
    page = open_page("index.html")
    start(page, default_code(page, epochs=500), "wasm")
    page.wait_for_function("() => parseInt(document.getElementById('epoch').textContent) > 3")
    draw(page, [(0.5, 0.15), (0.5, 0.85)])
    page.wait_for_selector("#bars li.best")
    page.click("#stop")
    page.wait_for_selector("body[data-ended=stopped]")
    page.click("#clear")
    assert page.locator("#bars li.best").count() == 0
    draw(page, [(0.5, 0.15), (0.5, 0.85)])
    page.wait_for_selector("#bars li.best")
    assert page.inner_text("#bars li.best b") == "1"


def draw(page, points):
    """One stroke on the pad, in shares of its size."""
    page.locator("#pad").scroll_into_view_if_needed()
    box = page.locator("#pad").bounding_box()
    places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]
    page.mouse.move(*places[0])
    page.mouse.down()
    for place in places[1:]:
        page.mouse.move(*place, steps=8)
    page.mouse.up()


def test_everything_works_offline_after_the_first_visit(open_page, context):
    page = open_page("index.html")
    wait_ready(page)
    page.evaluate("async () => { await navigator.serviceWorker.ready }")
    page.wait_for_function("async () => (await caches.keys()).length === 1 && navigator.serviceWorker.controller")
    context.set_offline(True)
    page.reload()
    assert page.evaluate("() => crossOriginIsolated")
    run(page, default_code(page, epochs=1), "wasm")
    page.goto(page.url.replace("index.html", "javascript.html"))
    page.wait_for_selector("body[data-state=ready]")
    page.wait_for_function("() => document.getElementById('held-out').textContent.includes('%')")
    context.set_offline(False)
