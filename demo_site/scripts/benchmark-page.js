// The page that measures the visitor's own machine: draws, starts the worker, copies the result.

import { drawRecorded } from "./benchmark-recorded.js";
import { registerServiceWorker, wireTheme } from "./shell.js";

const $ = (id) => document.getElementById(id);
const FAMILIES = [
  ["Products and convolutions", /^(matmul|conv|depthwise)/],
  ["Elementwise, norms and sums", /^(chain|softmax|layernorm|sum)/],
  ["Training steps", /^(mlp|cnn|transformer|lstm|adam)/],
  ["Inference and overhead", /./],
];
const LABELS = { wasm: "WASM", webgpu: "WebGPU" };
const SOFTWARE = /swiftshader|llvmpipe|lavapipe|software|basic render/i;

let workloads = [];
let description = null; // workloads.json
let gpu = { text: "", software: false, present: false };
let worker = null;
const peaks = {};
const results = new Map(); // "workload device" -> what the worker said

const figure = (value) => (value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value >= 1 ? value.toFixed(2) : value.toPrecision(2));
const key = (name, device) => `${name} ${device}`;

async function start() {
  const response = await fetch("benchmark/workloads.json");
  if (!response.ok) throw new Error(`benchmark/workloads.json: the server answered ${response.status}`);
  description = await response.json();
  workloads = description.workloads;
  gpu = await findGpu();
  const preferred = gpu.present && !gpu.software ? "both" : "wasm";
  document.querySelector(`input[value=${preferred}]`).checked = true;
  for (const value of gpu.present ? [] : ["both", "webgpu"]) document.querySelector(`input[value=${value}]`).disabled = true;
  if (gpu.software) say(`The GPU of this browser is emulated in software (${gpu.text}): WebGPU will be slow, so WASM alone is chosen.`);
  if (!gpu.present) say(`No WebGPU here: ${gpu.text}`);
  layOut();
}

async function findGpu() {
  if (!navigator.gpu) return { present: false, software: false, text: "it needs a recent browser, and https or localhost." };
  const adapter = await navigator.gpu.requestAdapter({ powerPreference: "high-performance" });
  if (!adapter) return { present: false, software: false, text: "the browser gives no adapter." };
  const { vendor, architecture, device, description: name, isFallbackAdapter } = adapter.info ?? {};
  const text = [vendor, architecture, device, name].filter(Boolean).join(" ") || "unnamed adapter";
  return { present: true, software: Boolean(isFallbackAdapter) || SOFTWARE.test(text), text };
}

/** One row per workload, with room for both devices. */
function layOut() {
  const left = new Set(workloads);
  for (const [title, pattern] of FAMILIES) {
    const members = [...left].filter(({ name }) => pattern.test(name));
    members.forEach((workload) => left.delete(workload));
    if (!members.length) continue;
    const section = document.createElement("section");
    section.append(Object.assign(document.createElement("h3"), { textContent: title }));
    for (const { name, title: text } of members) {
      const row = Object.assign(document.createElement("div"), { className: "row", id: `row-${name}` });
      row.append(Object.assign(document.createElement("p"), { className: "name", textContent: text }));
      const lines = Object.assign(document.createElement("div"), { className: "lines" });
      for (const device of ["wasm", "webgpu"]) {
        const line = Object.assign(document.createElement("div"), { className: `line ${device}` });
        line.innerHTML = '<span class="track"><span class="fill"></span></span><output></output><small></small>';
        lines.append(line);
      }
      row.append(lines);
      section.append(row);
    }
    $("results").append(section);
  }
}

function run() {
  if (worker) {
    stop("Stopped");
    return;
  }
  const chosen = document.querySelector("input[name=device]:checked").value;
  const devices = chosen === "both" ? ["wasm", "webgpu"] : [chosen];
  const programs = workloads.flatMap((workload) => devices.map((device) => ({ workload, device })));
  for (const { workload, device } of programs) {
    results.delete(key(workload.name, device));
    draw(workload.name, device);
  }
  hideMessage();
  let done = 0;
  worker = new Worker("scripts/benchmark-worker.js", { type: "module" });
  worker.onerror = (event) => {
    event.preventDefault();
    stop("Stopped");
    say(`The worker failed: ${event.message ?? "it could not be loaded"}`, true);
  };
  worker.onmessage = ({ data }) => {
    const { event, workload, device } = data;
    if (event === "peak") {
      peaks[data.name] = data.value;
      drawLimits();
    } else if (event === "begin") {
      const { title } = workloads.find(({ name }) => name === workload);
      setStatus(`${LABELS[device]}: ${title}`);
      $(`row-${workload}`).querySelector(`.${device}`).classList.add("now");
    } else if (event === "done") {
      stop(`Done: ${[...results.values()].filter(({ right }) => right).length} of ${results.size} measured and right`);
    } else {
      results.set(key(workload, device), data);
      draw(workload, device);
      progress((++done / programs.length) * 100);
    }
  };
  document.body.dataset.state = "running";
  $("run-label").textContent = "Stop";
  $("run").firstElementChild.className = "icon-stop";
  setStatus("Timing the limits of this machine");
  progress(0);
  worker.postMessage({ programs, peaks: description.peaks, tolerances: description.tolerances });
}

function stop(text) {
  worker?.terminate();
  worker = null;
  document.body.dataset.state = "ready";
  document.querySelectorAll(".now").forEach((line) => line.classList.remove("now"));
  $("run-label").textContent = "Measure again";
  $("run").firstElementChild.className = "icon-run";
  $("copy").disabled = results.size === 0;
  setStatus(text);
}

/** The share of the limit, if the workload says how much it computes or moves. */
function share({ name, flops, bytes }, device) {
  const result = results.get(key(name, device));
  const limit = peaks[`${device} ${flops ? "arithmetic" : "copy"}`];
  return result?.steadyMs && limit ? (flops || bytes) / result.steadyMs / 1e6 / limit : 0;
}

const percent = (part) => (part ? `${Math.round(part * 100)}%` : "");

function rate({ flops, bytes }, ms) {
  if (flops) return `${figure(flops / ms / 1e6)} GFLOP/s`;
  return bytes ? `${figure(bytes / ms / 1e6)} GB/s` : "";
}

function draw(name, device) {
  const workload = workloads.find((each) => each.name === name);
  const line = $(`row-${name}`).querySelector(`.${device}`);
  const result = results.get(key(name, device));
  line.classList.remove("now");
  line.classList.toggle("there", Boolean(result));
  line.classList.toggle("wrong", Boolean(result) && !result.right);
  line.querySelector(".fill").style.translate = `${Math.min(1, share(workload, device)) * 100 - 100}%`;
  line.querySelector("output").textContent = result?.steadyMs ? `${figure(result.steadyMs)} ms` : result ? "failed" : "";
  line.querySelector("small").textContent = detail(workload, device, result);
  line.title = result?.message ?? (result ? `first ${figure(result.firstMs)} ms, with read-back ${figure(result.latencyMs)} ms` : "");
}

function detail(workload, device, result) {
  if (!result) return "";
  if (result.message) return result.message;
  if (!result.right) return `wrong by ${result.off.toPrecision(2)}`;
  const part = share(workload, device);
  return [rate(workload, result.steadyMs), percent(part)].filter(Boolean).join(" · ");
}

function drawLimits() {
  const shown = Object.entries(peaks).filter(([, value]) => value);
  $("limits").replaceChildren(...shown.flatMap(([name, value]) => {
    const [device, what] = name.split(" ");
    const unit = what === "copy" ? "GB/s" : "GFLOP/s";
    return [Object.assign(document.createElement("dt"), { textContent: `${LABELS[device]} ${what}` }),
      Object.assign(document.createElement("dd"), { textContent: `${figure(value)} ${unit}` })];
  }));
}

/** The result as a Markdown table. */
function asText() {
  const limits = Object.entries(peaks).map(([name, value]) => `${name} ${figure(value)} ${name.endsWith("copy") ? "GB/s" : "GFLOP/s"}`);
  const lines = [`Tideflow on ${navigator.userAgent}`, `GPU: ${gpu.text}; ${navigator.hardwareConcurrency} cores; limits: ${limits.join(", ")}`, "",
    "| workload | device | ms per step | rate | of the limit | first ms | with read-back | |", "|---|---|---|---|---|---|---|---|"];
  for (const workload of workloads) {
    for (const device of ["wasm", "webgpu"]) {
      const result = results.get(key(workload.name, device));
      if (!result) continue;
      const numbers = result.steadyMs
        ? [figure(result.steadyMs), rate(workload, result.steadyMs), percent(share(workload, device)),
          figure(result.firstMs), figure(result.latencyMs), result.right ? "right" : "WRONG"]
        : ["", "", "", "", "", result.message];
      lines.push(`| ${[workload.title, LABELS[device], ...numbers].join(" | ")} |`);
    }
  }
  return lines.join("\n");
}

async function copy() {
  const text = asText();
  try {
    await navigator.clipboard.writeText(text);
    setStatus("Copied");
  } catch { // no permission: show it, selected
    const area = Object.assign(document.createElement("textarea"), { className: "copied", value: text, readOnly: true });
    document.querySelector("textarea.copied")?.remove();
    $("results").before(area);
    area.select();
    setStatus("Press Ctrl+C to copy");
  }
}

function progress(percent) {
  $("progress").firstElementChild.style.transform = `scaleX(${percent / 100})`;
  $("progress").setAttribute("aria-valuenow", String(Math.round(percent)));
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

$("run").addEventListener("click", run);
$("copy").addEventListener("click", copy);
wireTheme($("theme"), () => {});
registerServiceWorker();
drawRecorded().catch(() => {}); // an extra: the page works without
globalThis.tideflowBenchmark = { results, peaks, asText }; // for tests and the curious

try {
  await start();
  document.body.dataset.state = "ready";
} catch (error) {
  say(error.message, true);
  $("run").disabled = true;
}
