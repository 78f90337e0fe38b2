"""A recurrent model, saved by Keras, is trained further in Chromium: its loops run on WebGPU and in WebAssembly."""

import functools
import http.server
import threading
from pathlib import Path

import numpy as np
import pytest
import tideflow as tf

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.browser
STEPS, MOST = 4, 90


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves the repository to a page that may compile WebAssembly."""

    extensions_map = {**http.server.SimpleHTTPRequestHandler.extensions_map, ".js": "text/javascript"}

    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def page(chromium):
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=ROOT)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        page = chromium.new_page()
        page.goto(f"http://127.0.0.1:{server.server_address[1]}/tests/e2e/pages/runtime.html")
        yield page
        page.close()
        server.shutdown()


def trained(tmp_path, x, y):
    """The address of a model that has made one step, and the losses of the next ones in Python."""
    layers = tf.keras.layers
    model = tf.keras.Sequential([tf.keras.Input(x.shape[1:]), layers.LSTM(16, return_sequences=True),
                                 layers.Bidirectional(layers.GRU(8)), layers.Dense(y.shape[1])])
    model.compile(tf.keras.optimizers.Adam(0.01), "mse")
    model.train_on_batch(x, y)
    model.save(tmp_path / "recurrent.tide")
    return model


@pytest.mark.parametrize("device", ["webgpu", "wasm"])
def test_a_recurrent_model_is_trained_further_in_javascript(page, device, tmp_path, capsys):
    rng = np.random.default_rng(5)
    x, y = (rng.standard_normal(shape).astype(np.float32) for shape in ((6, 9, 4), (6, 2)))
    model = trained(tmp_path, x, y)
    page.route("**/recurrent.tide", lambda route: route.fulfill(body=(tmp_path / "recurrent.tide").read_bytes()))
    given = {"x": {"data": x.ravel().tolist(), "shape": x.shape}, "y": {"data": y.ravel().tolist(), "shape": y.shape},
             "steps": STEPS}
    answer = page.evaluate("""async ([device, given]) =>
        (await import("/tests/e2e/pages/recurrent.js")).train("/recurrent.tide", device, given)""", [device, given])
    page.unroute("**/recurrent.tide")
    model.reset_metrics()
    losses = [float(model.train_on_batch(x, y)) for _ in range(STEPS)]
    # the file's metric has counted the step before it was saved: means over all steps so far
    (tmp_path / "further.tide").write_bytes(bytes(answer["saved"]))
    again = tf.keras.models.load_model(tmp_path / "further.tide")
    for a, b in zip(again.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)
    assert answer["losses"][-1] < answer["losses"][0] and np.isfinite(losses).all()
    if device == "webgpu":
        with capsys.disabled():
            print(f"\nrecurrent: {answer['calls']['dispatchWorkgroups']} dispatches in one training step", end="")
        assert 0 < answer["calls"]["dispatchWorkgroups"] <= MOST
