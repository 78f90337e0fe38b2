// The numbers that were recorded beside other libraries: a dot per library on a logarithmic axis.

const NAMES = { tfjs: "TensorFlow.js", "jax-js": "jax-js", ort: "onnxruntime-web" };
const figure = (value) => `${value >= 10 ? value.toFixed(0) : value.toFixed(value < 2 ? 2 : 1)}x`;

export async function drawRecorded() {
  const response = await fetch("benchmark/recorded.json");
  if (!response.ok) return;
  const { machine, groups } = await response.json();
  if (!groups.some(({ rows }) => rows.length)) return;
  const all = groups.flatMap(({ rows }) => rows.flatMap(({ peers }) => Object.values(peers)));
  const low = Math.min(0.5, ...all) / 1.1;
  const high = Math.max(2, ...all) * 1.3;
  const at = (value) => `${(Math.log(value / low) / Math.log(high / low)) * 100}%`;
  document.getElementById("recorded-machine").textContent = `${machine.processor}, ${machine.cores} cores, software GPU`;
  document.getElementById("recorded-legend").replaceChildren(...Object.entries(NAMES).flatMap(([id, name]) => [swatch(id), name]));
  const chart = document.getElementById("recorded-chart");
  chart.replaceChildren(...groups.filter(({ rows }) => rows.length).flatMap(({ title, rows }) => {
    const head = document.createElement("h3");
    head.append(Object.assign(document.createElement("span"), { textContent: title }), scale(low, high, at));
    return [head, ...rows.map((row) => drawRow(row, at))];
  }));
  document.getElementById("recorded").hidden = false;
}

function swatch(id) {
  return Object.assign(document.createElement("span"), { className: `swatch dot-${id}` });
}

function scale(low, high, at) {
  const line = Object.assign(document.createElement("span"), { className: "scale" });
  for (let power = Math.ceil(Math.log10(low)); 10 ** power <= high; power++) {
    const mark = Object.assign(document.createElement("small"), { textContent: `${10 ** power}x` });
    mark.style.left = at(10 ** power);
    line.append(mark);
  }
  return line;
}

function drawRow({ title, ms, peers }, at) {
  const row = Object.assign(document.createElement("div"), { className: "compare" });
  row.append(Object.assign(document.createElement("p"), { className: "name", textContent: title, title: `Tideflow: ${ms.toPrecision(3)} ms` }));
  const line = Object.assign(document.createElement("div"), { className: "dots" });
  const one = Object.assign(document.createElement("i"), { className: "one" });
  one.style.left = at(1);
  const ends = [1, ...Object.values(peers)];
  const stem = Object.assign(document.createElement("i"), { className: "stem" });
  stem.style.left = at(Math.min(...ends));
  stem.style.right = `calc(100% - ${at(Math.max(...ends))})`;
  line.append(one, stem);
  for (const [id, ratio] of Object.entries(peers)) {
    const dot = swatch(id);
    dot.style.left = at(ratio);
    dot.title = `${NAMES[id]}: ${figure(ratio)} the time of Tideflow`;
    line.append(dot);
  }
  const text = Object.entries(peers).map(([id, ratio]) => `${NAMES[id]} ${figure(ratio)}`).join(", ");
  line.setAttribute("role", "img");
  line.setAttribute("aria-label", text);
  const best = Math.min(...Object.values(peers));
  const number = Object.assign(document.createElement("output"), { textContent: figure(best), className: best < 1 ? "behind" : "" });
  number.title = "the fastest library's time over Tideflow's";
  row.append(line, number);
  return row;
}
