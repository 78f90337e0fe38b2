"""What the e2e tests do on the two pages, in the words of a visitor."""

import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
DIGITS = ROOT / "demo_site" / "assets" / "digits" / "digits.npz"
START_TIMEOUT = 60_000


KEEP_DEVICES = """
const requestDevice = GPUAdapter.prototype.requestDevice;
self.devices = [];
GPUAdapter.prototype.requestDevice = async function (...args) {
  const device = await requestDevice.apply(this, args);
  self.devices.push(device);
  return device;
};
"""


def keep_devices(context) -> None:
    """Workers that are started from now on keep their GPU devices in `devices`, for a test to destroy."""

    def prefixed(route):
        response = route.fetch()
        route.fulfill(response=response, body=KEEP_DEVICES + response.text())

    context.route("**/worker.js", prefixed)


def digits() -> tuple:
    """((x_train, y_train), (x_test, y_test)) as the page gives them."""
    with np.load(DIGITS) as file:
        images, labels = file["images"].astype(np.float32)[..., np.newaxis], file["labels"].astype(np.int32)
        held_out = np.zeros(len(labels), bool)
        held_out[file["held_out"]] = True
    return (images[~held_out], labels[~held_out]), (images[held_out], labels[held_out])


def wait_ready(page, timeout: int = START_TIMEOUT) -> None:
    """Until the page can run code (again); a page that could not start fails here, with its own words."""
    page.wait_for_selector("body[data-state=ready], body[data-state=failed]", timeout=timeout)
    state = page.get_attribute("body", "data-state")
    assert state == "ready", page.inner_text("#output")


def start(page, code: str | None = None, device: str = "auto") -> None:
    """Types code, chooses a device, presses Run."""
    wait_ready(page)
    if code is not None:
        page.evaluate("(code) => { tideflowPage.editor.text = code }", code)
    page.click(f"#devices label:has(input[value={device}])")
    page.evaluate("() => { delete document.body.dataset.ended }")
    page.click("#run")


def run(page, code: str | None = None, device: str = "auto", timeout: int = 150_000) -> None:
    """Runs to the end; an error in the code fails here, with its traceback."""
    start(page, code, device)
    page.wait_for_selector("body[data-ended]", timeout=timeout)
    assert page.get_attribute("body", "data-ended") == "finished", page.inner_text("#output")


def default_code(page, *, seed: int | None = None, epochs: int | None = None, before_fit: str = "") -> str:
    """The code that the page shows to every visitor, with a seed, other epochs or a line before `fit`."""
    wait_ready(page)
    page.click("#reset")
    code = page.evaluate("() => tideflowPage.editor.text")
    if seed is not None:
        code = code.replace("model = tf", f"tf.keras.utils.set_random_seed({seed})\nmodel = tf", 1)
    if epochs is not None:
        code = code.replace("epochs=15", f"epochs={epochs}")
    assert "model.fit(" in code
    return code.replace("model.fit(", f"{before_fit}\nmodel.fit(")


def held_out_probabilities(page) -> np.ndarray:
    """Python's probabilities for the 360 held-out scans."""
    flat = page.evaluate("async () => Array.from(await tideflowPage.client.request('testDigits'))")
    return np.array(flat, np.float32).reshape(360, 10)


def accuracy(probabilities: np.ndarray) -> float:
    """Recomputed here from the predictions and the labels of the asset."""
    (_, _), (_, labels) = digits()
    return float((probabilities.argmax(1) == labels).mean())


def saved(page) -> bytes:
    """The bytes of model.tide as the training page would download them."""
    import base64
    text = page.evaluate("""async () => {
      const bytes = await tideflowPage.client.request("save");
      const url = await new Promise((resolve) => {
        const reader = new FileReader();
        reader.onload = () => resolve(reader.result);
        reader.readAsDataURL(new Blob([bytes]));
      });
      return url.slice(url.indexOf(",") + 1);
    }""")
    return base64.b64decode(text)


def long_tasks_since(page, since: float) -> list[float]:
    """Durations, in ms, of the main thread's long tasks after a moment of `performance.now()`."""
    return page.evaluate("(since) => longTasks.filter(([at]) => at >= since).map(([, length]) => length)", since)


def seconds_until(page, selector: str, action) -> float:
    """Does something and measures until a selector matches."""
    begun = time.monotonic()
    action()
    page.wait_for_selector(selector)
    return time.monotonic() - begun
