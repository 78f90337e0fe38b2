// The training page: draws what the Python worker reports, and passes on what the visitor does. It computes nothing.

import { createEditor } from "../vendor/editor.js";
import { argmax, Bars } from "./bars.js";
import { Curve } from "./curves.js";
import { loadDigits } from "./digits.js";
import { download, handOver } from "./handover.js";
import { drawDigit, Pad } from "./pad.js";
import { PythonClient, WorkerEnded } from "./python-client.js";
import { registerServiceWorker, wireTheme } from "./shell.js";

const $ = (id) => document.getElementById(id);
const percent = (value) => `${(value * 100).toFixed(1)}%`;
const MOST_OUTPUT = 60_000; // characters kept of what the code prints
const MISTAKES_SHOWN = 12;

const CODE = `import tideflow as tf
from tideflow.keras import layers

(x_train, y_train), (x_test, y_test) = page.load_digits()

model = tf.keras.Sequential([
    tf.keras.Input((8, 8, 1)),
    layers.Rescaling(1 / 16),
    layers.Conv2D(32, 3, padding="same", activation="relu"),
    layers.MaxPooling2D(),
    layers.Conv2D(64, 3, padding="same", activation="relu"),
    layers.MaxPooling2D(),
    layers.Flatten(),
    layers.Dense(64, activation="relu"),
    layers.Dense(10, activation="softmax"),
])
model.compile(
    optimizer=tf.keras.optimizers.Adam(3e-3),
    loss="sparse_categorical_crossentropy",
    metrics=["accuracy"],
)
model.fit(x_train, y_train, batch_size=32, epochs=15,
          validation_data=(x_test, y_test))
`;

let epochs = 0;
let steps = null;
let run = null; // the promise of the current run
let runs = 0;
let snapshot = null; // the last model of a tab that cannot interrupt Python
let stopping = false;

const editor = createEditor($("editor"), { text: localStorage.getItem("code") ?? CODE, label: "Python code", onRun: start });
const bars = new Bars($("bars"));
const pad = new Pad($("pad"), $("preview"), look);
const number = (value) => (value >= 100 ? value.toFixed(0) : value >= 1 ? value.toFixed(1) : String(+value.toPrecision(2)));
const lossCurve = new Curve($("loss-chart"), {
  label: "loss", validation: "held out", colour: "--coral", format: number, range: (low, high) => [0, high * 1.05],
});
const accuracyCurve = new Curve($("accuracy-chart"), {
  label: "accuracy", validation: "held out", colour: "--accent", format: (value) => `${Math.round(value * 100)}%`,
  range: (low) => [Math.max(0, Math.floor(low * 10) / 10 - 0.1), 1.02],
});
const client = new PythonClient(onEvent);

const handlers = {
  loading: ({ text }) => setStatus(text),
  printed: ({ text }) => print(text),
  device: ({ name, reason }) => {
    $("device").textContent = name;
    $("reason").textContent = reason;
  },
  begin: ({ epochs: count, steps: each }) => {
    $("pad-note").hidden = true;
    [epochs, steps] = [count, each];
    lossCurve.clear();
    accuracyCurve.clear();
    setStatus("Training");
  },
  progress: showProgress,
  looked: ({ probabilities }) => bars.show(probabilities),
  snapshot: ({ bytes }) => (snapshot = bytes),
  restarting: () => setStatus("Starting Python again"),
};

function onEvent(message) {
  handlers[message.event]?.(message);
}

function showProgress({ epoch, batch, rate, ended, logs }) {
  setStatus(stopping ? "Stopping" : "Training");
  const within = ended || !steps ? Number(ended) : batch / steps;
  const done = (epoch + within) / epochs;
  $("progress").style.transform = `scaleX(${done})`;
  $("progress").parentElement.setAttribute("aria-valuenow", done.toFixed(3));
  $("epoch").textContent = `${Math.min(epoch + 1, epochs)} / ${epochs}`;
  if (logs.loss !== undefined) $("loss").textContent = logs.loss.toFixed(4);
  if (logs.accuracy !== undefined) $("accuracy").textContent = percent(logs.accuracy);
  if (logs.val_accuracy !== undefined) $("held-out").textContent = percent(logs.val_accuracy);
  if (rate) $("rate").textContent = rate.toFixed(rate < 10 ? 1 : 0);
  lossCurve.add(epoch + within, logs.loss ?? null, logs.val_loss ?? null);
  accuracyCurve.add(epoch + within, logs.accuracy ?? null, logs.val_accuracy ?? null);
}

async function start() {
  if (document.body.dataset.state !== "ready") return;
  setState("running", "Tracing and compiling");
  runs += 1;
  $("download").disabled = $("continue").disabled = true; // they would wait for the run, and surprise after it
  $("output").textContent = "";
  $("output").hidden = true;
  $("mistakes").hidden = true;
  for (const id of ["epoch", "loss", "accuracy", "held-out", "rate"]) $(id).textContent = "–";
  $("progress").style.transform = "scaleX(0)";
  localStorage.setItem("code", editor.text);
  const device = document.querySelector("input[name=device]:checked").value;
  run = client.request("run", { code: editor.text, device, snapshots: !client.canInterrupt });
  let outcome;
  try {
    outcome = await run;
  } catch (error) {
    if (error instanceof WorkerEnded) return; // `stop` brings the page back
    outcome = { ended: "failed", message: error.message };
    print(error.message);
  }
  await finish(outcome);
}

async function finish({ ended, message }) {
  if (stopping) ended = "stopped"; // whatever the interrupted code made of it
  stopping = false;
  const mine = runs;
  const texts = { finished: "Done", stopped: "Stopped: the model is as it was at that step", failed: message };
  setState("ready", texts[ended]);
  document.body.dataset.ended = ended;
  if (await tryModel() && mine === runs) await showMistakes(mine);
}

async function stop() {
  if (document.body.dataset.state !== "running" || stopping) return;
  stopping = true;
  setStatus("Stopping");
  $("stop").disabled = true;
  if (await client.stop(run)) return;
  setState("loading", "Starting Python again");
  try {
    await client.start();
    if (snapshot) await client.request("restore", snapshot);
  } catch (error) {
    stopping = false;
    return fail(error);
  }
  await finish({ ended: "stopped" });
}

/** Enables what needs a model; false if there is none. */
async function tryModel() {
  const probabilities = await client.request("look", pad.pixels ?? new Float32Array(64)).catch(() => null);
  $("download").disabled = $("continue").disabled = !probabilities || document.body.dataset.state !== "ready";
  if (probabilities && pad.pixels) bars.show(probabilities);
  return Boolean(probabilities);
}

/** The pad changed: asks for probabilities, one question at a time, always the newest drawing. */
let asking = false;
let unasked = null;
async function look(pixels) {
  $("pad-hint").hidden = pixels !== null;
  unasked = pixels;
  if (pixels === null) return bars.show(null);
  if (asking) return;
  asking = true;
  while (unasked) {
    const question = unasked;
    unasked = null;
    const probabilities = await client.request("look", question).catch(() => null);
    if (probabilities && pad.pixels) bars.show(probabilities);
  }
  asking = false;
}

/** @param {number} mine  the run that they belong to: a later one has mistakes of its own */
async function showMistakes(mine) {
  let probabilities;
  try {
    probabilities = await client.request("testDigits");
  } catch {
    return; // a model for something else than digits
  }
  const { images, labels, heldOut } = await loadDigits();
  if (mine !== runs) return;
  const wrong = [];
  heldOut.forEach((index, row) => {
    const guess = argmax(probabilities.subarray(row * 10, row * 10 + 10));
    if (guess !== labels[index]) wrong.push({ index, guess, label: labels[index] });
  });
  const right = heldOut.length - wrong.length;
  $("mistakes-title").textContent =
    `${right} of ${heldOut.length} scans it never saw: ${percent(right / heldOut.length)}` + (wrong.length ? ". It missed" : "");
  $("mistakes").querySelector("ul").replaceChildren(...wrong.slice(0, MISTAKES_SHOWN).map(({ index, guess, label }) => {
    const item = document.createElement("li");
    const canvas = Object.assign(document.createElement("canvas"), { className: "pixels" });
    item.append(canvas, `${label}, not ${guess}`);
    queueMicrotask(() => drawDigit(canvas, images.subarray(index * 64, index * 64 + 64)));
    return item;
  }));
  $("mistakes").hidden = false;
}

async function saveModel() {
  const bytes = await client.request("save");
  return { bytes, name: "model.tide", note: `${$("epoch").textContent} epochs, held out ${$("held-out").textContent}` };
}

function print(text) {
  const output = $("output");
  output.hidden = false;
  output.textContent = `${output.textContent}${text}\n`.slice(-MOST_OUTPUT);
  output.scrollTop = output.scrollHeight;
}

function setStatus(text) {
  $("status").textContent = text;
}

function setState(state, text) {
  document.body.dataset.state = state;
  $("run").disabled = state !== "ready";
  $("stop").disabled = state !== "running";
  setStatus(text);
}

function showAbout({ tensorflow, python, numpy, gpu, seconds, pyodide, importSeconds }) {
  document.body.dataset.importSeconds = importSeconds.toFixed(3);
  $("about").textContent =
    `Tideflow ${tensorflow} on Python ${python} (Pyodide ${pyodide}), numpy ${numpy}; ready in ${seconds.toFixed(1)} s.`;
  const choice = document.querySelector("input[value=webgpu]");
  choice.disabled = !gpu.present;
  choice.parentElement.title = gpu.reason;
}

/** Shows a failure of a button's action where the visitor looks. */
const guarded = (action) => () => action().catch((error) => setStatus(error.message));

$("run").addEventListener("click", guarded(start));
$("stop").addEventListener("click", guarded(stop));
$("clear").addEventListener("click", () => pad.clear());
$("reset").addEventListener("click", () => (editor.text = CODE));
$("download").addEventListener("click", guarded(async () => {
  const { bytes, name } = await saveModel();
  download(bytes, name);
}));
$("continue").addEventListener("click", guarded(async () => {
  $("continue").disabled = true;
  try {
    await handOver(await saveModel());
    location.href = "javascript.html";
  } finally {
    $("continue").disabled = false;
  }
}));
wireTheme($("theme"), () => {
  lossCurve.restyle();
  accuracyCurve.restyle();
  pad.redraw();
});
registerServiceWorker();
globalThis.tideflowPage = { client, editor, start, stop, saveModel }; // for tests and the curious

try {
  showAbout(await client.start());
  setState("ready", "Ready");
} catch (error) {
  fail(error);
}

function fail(error) {
  setState("failed", "Python could not be started");
  print(error.message);
}
