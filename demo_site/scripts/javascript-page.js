// The page without Python: loads model.tide, predicts, trains it further on what the visitor draws, saves it again.

import { load } from "../runtime/index.js";
import { argmax, Bars } from "./bars.js";
import { Curve } from "./curves.js";
import { loadDigits } from "./digits.js";
import { download, takeOver } from "./handover.js";
import { drawDigit, Pad } from "./pad.js";
import { registerServiceWorker, wireTheme } from "./shell.js";

const $ = (id) => document.getElementById(id);
const PIXELS = 64;
const BATCH = 32;
const DRAWN_SHARE = 0.5; // of each batch: the rest are scans, so that the model keeps what it knew
const SAMPLE = "assets/sample.tide";

let model = null;
let fileName = "model.tide";
let digits = null;
let trained = 0;
let training = false;
const drawn = []; // {pixels, label}

const bars = new Bars($("bars"));
const pad = new Pad($("pad"), $("preview"), look);
const lossCurve = new Curve($("loss-chart"), {
  label: "loss", colour: "--coral", axis: "step", range: (low, high) => [0, high * 1.05],
  format: (value) => String(+value.toPrecision(2)),
});

/** Opens a file on the chosen device, in place of the present model. */
async function open(source, name, note) {
  setStatus("Loading");
  hideMessage();
  const device = document.querySelector("input[name=device]:checked").value;
  const next = await load(source, {
    device, onProgress: ({ loaded, total }) => setStatus(total ? `Loading ${Math.round((loaded / total) * 100)}%` : "Loading"),
  });
  await model?.close();
  [model, fileName] = [next, name];
  model.addEventListener("lost", () => setStatus("The GPU was lost; restoring"));
  model.addEventListener("restored", ({ detail }) => {
    say(`The GPU was lost. Restored to step ${detail.step}; ${detail.lost} steps were lost.`);
    setStatus("Ready");
  });
  model.addEventListener("hung", () => say("A step did not end in time; the device was given up.", true));
  model.addEventListener("failed", ({ detail }) => say(detail.error?.message ?? "The device failed.", true));
  document.body.dataset.state = "ready";
  $("name").textContent = `${name}, ${(source.byteLength / 1e3).toFixed(0)} kB`;
  $("note").textContent = note;
  const { kind, reason } = model.device;
  $("device").textContent = `${{ webgpu: "WebGPU", wasm: "WASM" }[kind]}: ${reason}`;
  enable();
  setStatus("Ready");
  await Promise.all([look(pad.pixels), showHeldOut()]);
}

/** One question at a time, always the newest drawing. */
let asking = false;
let unasked = null;
async function look(pixels) {
  $("pad-hint").hidden = pixels !== null;
  enable();
  unasked = pixels;
  if (pixels === null || !model) return bars.show(null);
  if (asking) return;
  asking = true;
  try {
    while (unasked) {
      const question = unasked;
      unasked = null;
      const { data } = await model.predict({ data: question, shape: [1, 8, 8, 1] });
      if (pad.pixels) bars.show(data);
    }
  } finally {
    asking = false;
  }
}

/** Share of the 360 held-out scans that the model gets right. */
async function showHeldOut() {
  digits ??= await loadDigits();
  const { heldOut, labels } = digits;
  const { data } = await model.predict({ data: imagesAt(heldOut), shape: [heldOut.length, 8, 8, 1] });
  const right = heldOut.filter((index, row) => argmax(data.subarray(row * 10, row * 10 + 10)) === labels[index]).length;
  $("held-out").textContent = `${((right / heldOut.length) * 100).toFixed(1)}% of ${heldOut.length} scans it never saw`;
}

function imagesAt(indices) {
  const images = new Float32Array(indices.length * PIXELS);
  indices.forEach((index, row) => images.set(digits.images.subarray(index * PIXELS, (index + 1) * PIXELS), row * PIXELS));
  return images;
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
function makeBatch() {
  const held = new Set(digits.heldOut);
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
    let index = pick(digits.labels.length);
    while (held.has(index)) index = pick(digits.labels.length);
    pixels.set(digits.images.subarray(index * PIXELS, (index + 1) * PIXELS), row * PIXELS);
    labels[row] = digits.labels[index];
  }
  return { x: { data: pixels, shape: [BATCH, 8, 8, 1] }, y: { data: labels, shape: labelShape() } };
}

/** Labels come as [batch] or [batch, 1], as the model was compiled. */
function labelShape() {
  const port = model.signatures.find(({ name }) => name === "train_step").inputs.find(({ name }) => name === "y");
  return port.shape.length === 1 ? [BATCH] : [BATCH, 1];
}

async function trainFurther() {
  const steps = Math.max(1, Number($("steps").value) || 1);
  training = true;
  enable();
  hideMessage();
  lossCurve.clear();
  setStatus("Training");
  const begun = performance.now();
  try {
    for (let step = 1; step <= steps; step++) {
      if (model.signatures.some(({ name }) => name === "reset_metrics")) await model.run("reset_metrics"); // loss of one step
      const { loss } = await (await model.trainStep(makeBatch())).read();
      trained += 1;
      lossCurve.add(step, loss.data[0]);
      $("figures").textContent = `step ${step} of ${steps}, ${loss.data[0].toFixed(4)}, `
        + `${((step / (performance.now() - begun)) * 1000).toFixed(0)} steps/s`;
    }
    $("note").textContent = `${trained} steps on this page`;
    setStatus("Ready");
    await Promise.all([look(pad.pixels), showHeldOut()]);
  } finally {
    training = false;
    enable();
  }
}

function enable() {
  const canTrain = model?.signatures.some(({ name }) => name === "train_step") ?? false;
  $("download").disabled = !model || training;
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
    setStatus(model ? "Ready" : "No model yet");
  }
};

const openFile = guarded(async (file) => {
  if (file) await open(new Uint8Array(await file.arrayBuffer()), file.name, "as the file has it");
});

for (let digit = 0; digit < 10; digit++) {
  const button = Object.assign(document.createElement("button"), { textContent: String(digit), disabled: true });
  button.addEventListener("click", () => addDrawing(digit));
  $("labels").append(button);
}
$("choose").addEventListener("click", () => $("file").click());
$("file").addEventListener("change", () => openFile($("file").files[0]));
for (const [type, over] of [["dragover", true], ["dragleave", false], ["drop", false]]) {
  $("drop").addEventListener(type, (event) => {
    event.preventDefault();
    $("drop").classList.toggle("over", over);
    if (type === "drop") openFile(event.dataTransfer.files[0]);
  });
}
$("devices").addEventListener("change", guarded(async () => {
  if (model) await open(await model.save(), fileName, $("note").textContent);
}));
$("clear").addEventListener("click", () => pad.clear());
$("train").addEventListener("click", guarded(trainFurther));
$("forget").addEventListener("click", () => {
  drawn.length = 0;
  $("samples").replaceChildren();
  enable();
});
$("download").addEventListener("click", guarded(async () => download(await model.save(), "model.tide")));
wireTheme($("theme"), () => {
  lossCurve.restyle();
  pad.redraw();
});
registerServiceWorker();
globalThis.tideflowPage = { open, get model() { return model; } }; // for tests and the curious

await guarded(async () => {
  const handed = await takeOver();
  if (handed) return open(handed.bytes, handed.name, handed.note);
  const response = await fetch(SAMPLE);
  if (response.ok) await open(new Uint8Array(await response.arrayBuffer()), "sample.tide", "sample: 15 epochs in Python");
})();
