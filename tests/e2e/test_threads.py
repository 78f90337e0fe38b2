"""Threads in a real Chromium: a page without Python trains a network with one and with several, to the same bits."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
try:
    from test_runtime import WasmHandler, serve
finally:
    sys.path.pop(0)

pytestmark = pytest.mark.browser


class IsolatedHandler(WasmHandler):
    """Beside that with the headers that isolate a page, without which there is no shared memory."""

    def end_headers(self):
        self.send_header("Cross-Origin-Opener-Policy", "same-origin")
        self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
        super().end_headers()


TRAIN = """async (threads) => {
  const { load } = await import("/js_bindings/runtime/index.js");
  const model = await load("/tests/js/data/network.tide", { device: "wasm", threads });
  const events = [];
  model.addEventListener("threads", ({ detail }) => events.push(detail));
  const parts = [];
  const note = (data) => parts.push(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
  for (let step = 0; step < 60; step++) {
    const rows = step % 20 === 19 ? 37 : 128;
    const x = { data: Float32Array.from({ length: rows * 576 }, (_, i) => Math.sin(i * 12.9898 + step)),
                shape: [rows, 12, 12, 4] };
    const y = Int32Array.from({ length: rows }, (_, i) => (i * 7 + step) % 10);
    const values = await (await model.trainStep({ x, y })).read();
    for (const { data } of Object.values(values)) note(data);
  }
  note(await model.save());
  const { device } = model;
  await model.close();
  const bytes = await new Blob(parts).arrayBuffer();
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return { device, events, digest: Array.from(digest).join() };
}"""


@pytest.fixture(scope="module")
def isolated():
    with serve(IsolatedHandler) as address:
        yield address


@pytest.fixture(scope="module")
def open_to_others():
    with serve(WasmHandler) as address:
        yield address


def visit(context, address):
    page = context.new_page()
    page.goto(f"{address}/tests/e2e/pages/runtime.html")
    page.wait_for_function("globalThis.runtime")
    return page


def test_threads_train_to_the_same_bits_and_say_what_they_gained(context, isolated):
    page = visit(context, isolated)
    assert page.evaluate("crossOriginIsolated")
    alone = page.evaluate(TRAIN, 1)
    assert alone["device"]["description"] == "WebAssembly SIMD" and alone["events"] == []
    for threads in (2, 3):
        answer = page.evaluate(TRAIN, threads)
        assert answer["digest"] == alone["digest"]
        assert answer["device"]["description"] == f"WebAssembly SIMD, up to {threads} threads"
        assert answer["device"]["worker"] is True
        found = answer["events"][0]
        assert found["threads"] == threads and 0 <= found["together"] <= found["alone"]
    assert page.evaluate("violations") == []


def test_a_page_that_is_not_isolated_runs_in_one_thread_and_says_why(context, open_to_others):
    answer = visit(context, open_to_others).evaluate(TRAIN, 2)
    assert "one thread: threads need a page that is cross-origin isolated" in answer["device"]["description"]
    assert answer["events"] == []


def test_a_number_of_threads_that_is_none_is_refused(context, isolated):
    page = visit(context, isolated)
    for wrong in (0, 1.5, "two"):
        message = page.evaluate(f"({TRAIN})({wrong!r}).catch(({{ name, message }}) => `${{name}}: ${{message}}`)")
        assert message == f'InvalidArgumentError: threads is {wrong}: pass a whole number from 1, or "auto".'
