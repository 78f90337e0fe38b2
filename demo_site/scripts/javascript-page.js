// The page without Python: loads model.tide, predicts, trains it further on what the visitor draws, saves it again.
// Whatever uses the model takes turns, so that nothing is asked of a model that was just replaced.

import { load } from "../runtime/index.js";
import { argmax, Bars } from "./bars.js";
import { Curve } from "./curves.js";
import { loadDigits } from "./digits.js";
import { download, takeOver } from "./handover.js";
import { drawDigit, Pad } from "./pad.js";
import { registerServiceWorker, wireTheme } from "./shell.js";
import { Turns } from "./turns.js";

const $ = (id) => document.getElementById(id);
const PIXELS = 64;
const BATCH = 32;
const DRAWN_SHARE = 0.5; // of each batch: the rest are scans, so that the model keeps what it knew
const SAMPLE = "assets/sample.tide";

const turns = new Turns(); // whatever touches the model: openings, training steps, questions, saving
let opening = new AbortController(); // the newest opening that was asked for
let model = null;
let current = { name: "", note: "", device: "auto" }; // the file that the model came from, the device it was put on
let opened = 0; // counts files, not devices
let trained = 0;
let training = false;
const drawn = []; // {pixels, label}

const bars = new Bars($("bars"));
const pad = new Pad($("pad"), $("preview"), (pixels) => guarded(look)(pixels));
const lossCurve = new Curve($("loss-chart"), {
  label: "loss", colour: "--coral", axis: "step", range: (low, high) => [0, high * 1.05],
  format: (value) => String(+value.toPrecision(2)),
});

/**
 * Opens a file when its turn comes. A later request ends one that is still under way: the newest choice wins.
 * @param {(signal: AbortSignal) => Promise<{bytes: Uint8Array, name: string, note: string} | null>} fetchFile
 *   null: there is nothing to open
 */
function open(fetchFile) {
  opening.abort();
  const { signal } = (opening = new AbortController());
  return turns.take(async () => {
    let name = "";
    try {
      signal.throwIfAborted();
      hideMessage();
      setStatus("Loading");
      const file = await fetchFile(signal);
      if (!file) return setStatus(model ? "Ready" : "No model yet");
      ({ name } = file);
      await place(file, signal);
      opened += 1;
      trained = 0;
      lossCurve.clear();
      $("figures").textContent = "";
      setStatus("Ready");
      guarded(showHeldOut)();
      guarded(look)(pad.pixels);
    } catch (error) {
      if (!signal.aborted) throw new Error(name ? `${name} was not opened: ${error.message}` : error.message);
    }
  });
}

/** Puts a file on the chosen device, in place of the present model, which stays if that fails. */
async function place({ bytes, name, note }, signal) {
  const device = chosenDevice();
  const next = await load(bytes, { device, signal });
  if (signal?.aborted) {
    await next.close();
    signal.throwIfAborted();
  }
  await model?.close();
  model = next;
  current = { name, note, device };
  listen(next);
  document.body.dataset.state = "ready";
  $("name").textContent = `${name}, ${(bytes.byteLength / 1e3).toFixed(0)} kB`;
  $("note").textContent = note;
  $("held-out").textContent = "–";
  const { kind, reason } = model.device;
  $("device").textContent = `${{ webgpu: "WebGPU", wasm: "WASM" }[kind]}: ${reason}`;
  enable();
}

function listen(next) {
  next.addEventListener("lost", () => setStatus("The GPU was lost; restoring"));
  next.addEventListener("restored", ({ detail }) => {
    say(`The GPU was lost. Restored to step ${detail.step}; ${detail.lost} steps were lost.`);
    setStatus(training ? "Training" : "Ready");
  });
  const over = "A step did not end in time; the device was given up. Open a file again.";
  next.addEventListener("hung", () => say(over, true));
  next.addEventListener("failed", ({ detail: { error } }) => say(`${error.message} Open a file again.`, true));
}

function chosenDevice() {
  return document.querySelector("input[name=device]:checked").value;
}

/** Moves the model to the chosen device as it is now; training goes on there. If that fails, the switch goes back. */
function switchDevice() {
  return turns.take(async () => {
    if (!model || current.device === chosenDevice()) return;
    hideMessage();
    setStatus("Loading");
    try {
      await place({ ...current, note: $("note").textContent, bytes: await model.save() });
    } catch (error) {
      document.querySelector(`input[name=device][value=${current.device}]`).checked = true;
      throw error;
    } finally {
      setStatus(training ? "Training" : "Ready");
    }
    guarded(showHeldOut)();
  });
}

/** One question at a time, always the newest drawing. */
let asking = false;
let unasked = null;
async function look(pixels) {
  $("pad-hint").hidden = pixels !== null;
  enable();
  unasked = pixels;
  if (pixels === null) return bars.show(null);
  if (asking) return;
  asking = true;
  try {
    while (unasked) {
      const answer = await turns.take(() => {
        const question = unasked;
        unasked = null;
        return question && model?.predict({ data: question, shape: [1, 8, 8, 1] });
      });
      if (answer && pad.pixels) bars.show(answer.data);
    }
  } finally {
    asking = false;
  }
}

let loading = null;
/** The scans, fetched once; after a failure the next call tries again. */
function digits() {
  loading ??= loadDigits().catch((error) => {
    loading = null;
    throw error;
  });
  return loading;
}

/** Share of the 360 held-out scans that the model gets right. */
async function showHeldOut() {
  const { images, heldOut, labels } = await digits();
  await turns.take(async () => {
    if (!model) return;
    const { data } = await model.predict({ data: imagesAt(images, heldOut), shape: [heldOut.length, 8, 8, 1] });
    const guess = (row) => argmax(data.subarray(row * 10, row * 10 + 10));
    const right = heldOut.filter((index, row) => guess(row) === labels[index]).length;
    $("held-out").textContent = `${((right / heldOut.length) * 100).toFixed(1)}% of ${heldOut.length} scans it never saw`;
  });
}

function imagesAt(images, indices) {
  const rows = new Float32Array(indices.length * PIXELS);
  indices.forEach((index, row) => rows.set(images.subarray(index * PIXELS, (index + 1) * PIXELS), row * PIXELS));
  return rows;
}

function addDrawing(label) {
  const pixels = pad.pixels;
  if (!pixels) return;
  drawn.push({ pixels, label });
  const item = document.createElement("li");
  const canvas = Object.assign(document.createElement("canvas"), { className: "pixels" });
  item.append(canvas, String(label));
  $("samples").append(item);
  drawDigit(canvas, pixels);
  pad.clear();
}

/** A batch: half of it drawings, chosen at random, half of it scans from the training part. */
function makeBatch({ images, labels: all, heldOut }) {
  const held = new Set(heldOut);
  const pixels = new Float32Array(BATCH * PIXELS);
  const labels = new Int32Array(BATCH);
  const pick = (count) => Math.floor(Math.random() * count);
  for (let row = 0; row < BATCH; row++) {
    if (row < BATCH * DRAWN_SHARE) {
      const sample = drawn[pick(drawn.length)];
      pixels.set(sample.pixels, row * PIXELS);
      labels[row] = sample.label;
      continue;
    }
    let index = pick(all.length);
    while (held.has(index)) index = pick(all.length);
    pixels.set(images.subarray(index * PIXELS, (index + 1) * PIXELS), row * PIXELS);
    labels[row] = all[index];
  }
  return { x: { data: pixels, shape: [BATCH, 8, 8, 1] }, y: { data: labels, shape: labelShape() } };
}

/** Labels come as [batch] or [batch, 1], as the model was compiled. */
function labelShape() {
  const port = model.signatures.find(({ name }) => name === "train_step").inputs.find(({ name }) => name === "y");
  return port.shape.length === 1 ? [BATCH] : [BATCH, 1];
}

/** Trains on; each step is a turn, so that questions, a download or another device come in between. */
async function trainFurther() {
  const steps = Math.max(1, Number($("steps").value) || 1);
  const file = opened;
  training = true;
  enable();
  hideMessage();
  lossCurve.clear();
  setStatus("Training");
  try {
    const scans = await digits();
    const begun = performance.now();
    for (let step = 1; step <= steps; step++) {
      const loss = await turns.take(() => (opened === file ? trainOnce(makeBatch(scans)) : null));
      if (loss === null) return say(`Another file was opened: training ended after ${step - 1} steps.`);
      trained += 1;
      lossCurve.add(step, loss);
      $("figures").textContent = `step ${step} of ${steps}, ${loss.toFixed(4)}, `
        + `${((step / (performance.now() - begun)) * 1000).toFixed(0)} steps/s`;
    }
    $("note").textContent = `${trained} steps on this page`;
    setStatus("Ready");
  } finally {
    training = false;
    enable();
  }
  await Promise.all([look(pad.pixels), showHeldOut()]);
}

/** @returns {Promise<number>} the loss of this step alone */
async function trainOnce(batch) {
  if (model.signatures.some(({ name }) => name === "reset_metrics")) await model.run("reset_metrics");
  const { loss } = await (await model.trainStep(batch)).read();
  return loss.data[0];
}

function enable() {
  const canTrain = model?.signatures.some(({ name }) => name === "train_step") ?? false;
  $("download").disabled = !model;
  $("train").disabled = !canTrain || training || !drawn.length;
  $("forget").disabled = !drawn.length || training;
  for (const button of $("labels").children) button.disabled = !pad.pixels;
}

function setStatus(text) {
  $("status").textContent = text;
}

function say(text, bad = false) {
  $("message").textContent = text;
  $("message").classList.toggle("bad", bad);
  $("message").hidden = false;
}

function hideMessage() {
  $("message").hidden = true;
}

/** Runs a visitor's action; what goes wrong is said on the page, and the old model stays. */
const guarded = (action) => async (...args) => {
  try {
    await action(...args);
  } catch (error) {
    say(error.message, true);
    setStatus(training ? "Training" : model ? "Ready" : "No model yet");
  }
};

const openFile = guarded(async (file) => {
  if (!file) return;
  await open(async () => {
    const bytes = new Uint8Array(await file.arrayBuffer());
    return { bytes, name: file.name, note: "as the file has it" };
  });
});

for (let digit = 0; digit < 10; digit++) {
  const button = Object.assign(document.createElement("button"), { textContent: String(digit), disabled: true });
  button.addEventListener("click", () => addDrawing(digit));
  $("labels").append(button);
}
$("choose").addEventListener("click", () => $("file").click());
$("file").addEventListener("change", () => {
  openFile($("file").files[0]);
  $("file").value = ""; // so that the same file can be chosen again
});
for (const [type, over] of [["dragover", true], ["dragleave", false], ["drop", false]]) {
  $("drop").addEventListener(type, (event) => {
    event.preventDefault();
    $("drop").classList.toggle("over", over);
    if (type === "drop") openFile(event.dataTransfer.files[0]);
  });
}
$("devices").addEventListener("change", guarded(switchDevice));
$("clear").addEventListener("click", () => pad.clear());
$("train").addEventListener("click", guarded(trainFurther));
$("forget").addEventListener("click", () => {
  drawn.length = 0;
  $("samples").replaceChildren();
  enable();
});
const save = () => turns.take(async () => download(await model.save(), "model.tide"));
$("download").addEventListener("click", guarded(save));
wireTheme($("theme"), () => {
  lossCurve.restyle();
  pad.redraw();
});
registerServiceWorker();
globalThis.tideflowPage = { get model() { return model; } }; // for tests and the curious

await guarded(() => open(async (signal) => (await takeOver().catch(() => null)) ?? sample(signal)))();

/** The model that the page starts with where none was handed over. */
async function sample(signal) {
  const response = await fetch(SAMPLE, { signal });
  if (!response.ok) return null;
  const bytes = new Uint8Array(await response.arrayBuffer());
  return { bytes, name: "sample.tide", note: "sample: 15 epochs in Python" };
}
