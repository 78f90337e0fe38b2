"""The JavaScript runtime in a real Chromium on software WebGPU, in a page that allows no scripts but its own."""

import functools
import http.server
import shutil
import threading
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FLAGS = ["--no-sandbox", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync", "--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader"]

pytestmark = pytest.mark.browser


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves the repository under the strictest policy that the runtime has to work with."""

    extensions_map = {**http.server.SimpleHTTPRequestHandler.extensions_map, ".js": "text/javascript"}

    def end_headers(self):
        self.send_header("Content-Security-Policy", "default-src 'self'; script-src 'self'")
        super().end_headers()

    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def address():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=ROOT)) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is missing")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    with sync_api.sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        except sync_api.Error as error:
            pytest.skip(f"no chromium: {error}")
        yield browser
        browser.close()


@pytest.fixture
def page(browser, address):
    page = browser.new_page()
    errors = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(f"{address}/tests/e2e/pages/runtime.html")
    page.wait_for_function("globalThis.runtime")
    yield page
    page.close()
    assert errors == []


def test_steps_give_the_values_of_the_wasm_program(page):
    answer = page.evaluate("runtime.steps()")
    assert answer["results"] == [[10.5, 11.0, 11.5], [13.0]]
    assert answer["software"] and "swiftshader" in answer["description"]


def test_a_step_is_one_encoder_one_submit_and_creates_nothing(page):
    calls = page.evaluate("runtime.counts()")
    assert calls.pop("writeBuffer") == 2            # the input, and the uniform slots
    assert calls == {"createBuffer": 0, "createBindGroup": 0, "createBindGroupLayout": 0,
                     "createComputePipelineAsync": 0, "createCommandEncoder": 1, "submit": 1}


def test_a_lost_device_is_replaced_and_training_goes_on_from_the_snapshot(page):
    answer = page.evaluate("runtime.restore()")
    assert answer["after"] == [11.0]                # one step is lost: the snapshot was taken after the first
    assert answer["step"] == 2
    assert [event["type"] for event in answer["events"]] == ["lost", "restored"]
    assert answer["events"][1] == {"type": "restored", "step": 1, "lost": 1}


def test_nested_loops_get_their_iteration_numbers(page):
    assert page.evaluate("runtime.loop()") == [10.0 + (0 + 1 + 2 + 3) + (10 + 11 + 12 + 13)]


def test_a_kernel_that_does_not_compile_is_named(page):
    answer = page.evaluate("runtime.broken()")
    assert answer.startswith('ModelError: kernel: kernel "count"')
