"""The Python side of the training page: runs the editor's code, reports progress, answers the drawing pad.

worker.js imports this module once. The code of the editor sees it as `page` (for `page.load_digits()`), and is
otherwise ordinary TensorFlow code: progress comes from a callback that is added to every `fit`.
"""

import contextlib
import io
import sys
import time
import traceback

import numpy as np
import page_host  # made by worker.js: send(event, fields), take_waiting(), stop_asked(), breathe()
import tideflow as tf
from pyodide.code import eval_code_async
from pyodide.ffi import can_run_sync, run_sync, to_js
from tideflow.runtime import discover

DEVICES = {"auto": None, "webgpu": "/GPU:0", "wasm": "/CPU:0"}
DEVICE_NAMES = {"GPU:0": "WebGPU", "CPU:0": "WASM"}
SECONDS_BETWEEN_REPORTS = 0.1
SECONDS_BETWEEN_BREATHS = 0.05          # how often the worker looks at its messages while `fit` runs
DIGITS = "/home/pyodide/digits.npz"
MODEL_FILE = "/home/pyodide/model.tide"

model = None                 # the one that the pad asks: the last that was fitted or restored
_runs = 0


def about() -> dict:
    """Versions and devices, for the page's status line."""
    gpu = discover.find("GPU:0")
    return {"tensorflow": tf.__version__, "python": sys.version.split()[0], "numpy": np.__version__,
            "gpu": {"present": gpu.present, "software": gpu.software, "reason": gpu.reason}}


def load_digits() -> tuple:
    """((x_train, y_train), (x_test, y_test)): 1,437 and 360 scans as float32 [n, 8, 8, 1] from 0 to 16, and labels."""
    with np.load(DIGITS) as digits:
        images = digits["images"].astype(np.float32)[..., np.newaxis]
        labels = digits["labels"].astype(np.int32)
        held_out = np.zeros(len(labels), bool)
        held_out[digits["held_out"]] = True
    return (images[~held_out], labels[~held_out]), (images[held_out], labels[held_out])


async def run(code: str, device: str, snapshots: bool) -> dict:
    """Runs the editor's code on a device; returns how it ended. An error is printed like a terminal would."""
    global _runs
    _runs += 1
    filename = f"/editor/run_{_runs}.py"      # a name of its own: linecache keeps the source, AutoGraph reads it there
    placed = DEVICES[device]
    name = discover.device_name(placed) if placed else discover.default_device()
    page_host.send("device", _fields(name=DEVICE_NAMES[name], reason=_why(device, name)))
    Progress.snapshots = snapshots
    try:
        with tf.device(placed) if placed else contextlib.nullcontext():
            await eval_code_async(code, {"__name__": "__main__", "page": sys.modules[__name__]}, filename=filename)
    except KeyboardInterrupt:
        return {"ended": "stopped"}
    except BaseException as error:
        print(_trace(error, filename), file=sys.stderr)
        return {"ended": "failed", "message": f"{type(error).__name__}: {error}"}
    return {"ended": "finished"}


def look(pixels) -> np.ndarray | None:
    """Ten probabilities for 64 pixel values, or None as long as there is no model."""
    if model is None:
        return None
    return to_js(_look(np.asarray(pixels.to_py(), np.float32)))


def test_digits():
    """The model's probabilities for the 360 held-out scans, one row each, flat."""
    if model is None:
        raise RuntimeError("there is no trained model yet: run the code first")
    _, (x_test, _) = load_digits()
    return to_js(np.ascontiguousarray(model.predict(x_test, verbose=0), np.float32).ravel())


def save():
    """The bytes of model.tide."""
    if model is None:
        raise RuntimeError("there is no trained model yet: run the code first")
    model.save(MODEL_FILE)
    with open(MODEL_FILE, "rb") as file:
        return to_js(file.read())


def restore(data) -> None:
    """Takes a model back from the bytes of a snapshot, after the worker had to be ended."""
    global model
    with open(MODEL_FILE, "wb") as file:
        file.write(data.to_bytes())
    model = tf.keras.models.load_model(MODEL_FILE)


class Progress(tf.keras.callbacks.Callback):
    """Tells the page how training goes, ten times a second at most, and lets the pad look in between."""

    snapshots = False

    def on_train_begin(self, logs=None):
        global model
        model = self.model
        self.step, self.epoch, self.reported, self.breathed, self.mark = 0, 0, 0.0, 0.0, (time.monotonic(), 0)
        self.rate = None
        page_host.send("begin", _fields(epochs=self.params["epochs"], steps=self.params.get("steps")))

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch, self.batch = epoch, 0

    def on_train_batch_end(self, batch, logs=None):
        self.step, self.batch = self.step + 1, batch + 1
        now = time.monotonic()
        if now - self.breathed >= SECONDS_BETWEEN_BREATHS and can_run_sync():
            run_sync(page_host.breathe())
            self.breathed = now
        if page_host.stop_asked():
            raise KeyboardInterrupt
        if now - self.reported >= SECONDS_BETWEEN_REPORTS:
            self.report(now, logs)

    def on_epoch_end(self, epoch, logs=None):
        self.report(time.monotonic(), logs, ended=True)
        if self.snapshots:
            page_host.send("snapshot", _fields(bytes=save(), epoch=epoch + 1))

    def report(self, now, logs, ended=False):
        """One message; reading `logs` waits for the device, so it happens only here."""
        started, step = self.mark
        if now - started >= 0.5:
            self.rate, self.mark = (self.step - step) / (now - started), (now, self.step)
        self.reported = now
        values = {name: float(value) for name, value in (logs or {}).items()}
        fields = {"epoch": self.epoch, "batch": self.batch, "step": self.step, "rate": self.rate}
        page_host.send("progress", _fields(**fields, ended=ended, logs=values))
        pixels = page_host.take_waiting()
        if pixels is not None:
            page_host.send("looked", _fields(probabilities=_look(np.asarray(pixels.to_py(), np.float32))))


def _look(pixels: np.ndarray) -> np.ndarray:
    return np.asarray(model.predict(pixels.reshape(1, 8, 8, 1), verbose=0), np.float32)[0]


def _fields(**fields):
    from js import Object
    return to_js(fields, dict_converter=Object.fromEntries)


def _why(device: str, name: str) -> str:
    gpu = discover.find("GPU:0")
    if device != "auto":
        return f"you chose it: {gpu.reason}" if name == "GPU:0" else "you chose it"
    if name == "GPU:0":
        return gpu.reason
    return f"the GPU is software, WASM is faster: {gpu.reason}" if gpu.present else f"no WebGPU: {gpu.reason}"


def _trace(error: BaseException, filename: str) -> str:
    """The traceback from the user's first line on; Pyodide's own frames say nothing to a visitor."""
    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename != filename:
        frames = frames.tb_next
    out = io.StringIO()
    traceback.print_exception(type(error), error, frames, file=out)
    return out.getvalue().rstrip()


def _add_progress_to_fit() -> None:
    plain_fit = tf.keras.Model.fit

    def fit(self, *args, callbacks=None, verbose="auto", **kwargs):
        callbacks = list(callbacks) if isinstance(callbacks, list | tuple) else [callbacks] if callbacks else []
        return plain_fit(self, *args, callbacks=[*callbacks, Progress()], verbose=0 if verbose == "auto" else verbose,
                         **kwargs)

    tf.keras.Model.fit = fit


_add_progress_to_fit()
