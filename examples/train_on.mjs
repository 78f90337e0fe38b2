// Trains a model.tide further in Node, on WebAssembly, without Python: node examples/train_on.mjs digits.tide [steps]
//
// Works with the file of examples/digits.py or of the first page. Writes digits.trained.tide beside it.

import { readFileSync, writeFileSync } from "node:fs";
import { load } from "../js_bindings/runtime/index.js";

const [path = "digits.tide", steps = "30"] = process.argv.slice(2);
const asset = readFileSync(new URL("../demo_site/assets/digits/digits.bin", import.meta.url));
const count = asset.readUInt16LE(4);
const images = asset.subarray(12, 12 + count * 64);
const labels = asset.subarray(12 + count * 64, 12 + count * 65);
const held = new Set(Array.from({ length: asset.readUInt16LE(10) }, (_, i) => asset.readUInt16LE(12 + count * 65 + 2 * i)));
const rows = Array.from({ length: count }, (_, row) => row);

/** The scans at these rows as the model takes them. */
function batch(chosen) {
  return {
    x: { data: Float32Array.from(chosen.flatMap((row) => [...images.subarray(row * 64, row * 64 + 64)])), shape: [chosen.length, 8, 8, 1] },
    y: Int32Array.from(chosen, (row) => labels[row]),
  };
}

/** Share of the held-out scans that the model gets right. */
async function accuracy(model) {
  const chosen = rows.filter((row) => held.has(row));
  const { x, y } = batch(chosen);
  const { data } = await model.predict(x);
  const right = chosen.filter((_, i) => {
    const scores = data.subarray(i * 10, i * 10 + 10);
    return scores.indexOf(Math.max(...scores)) === y[i];
  });
  return right.length / chosen.length;
}

const model = await load(new Uint8Array(readFileSync(path)));
console.log(`on ${model.device.kind}; accuracy before: ${(await accuracy(model)).toFixed(4)}`);
const training = rows.filter((row) => !held.has(row));
for (let step = 0; step < Number(steps); step++) {
  const chosen = Array.from({ length: 32 }, (_, i) => training[(step * 32 + i) % training.length]);
  const { loss } = await (await model.trainStep(batch(chosen))).read();
  if (step % 10 === 0) console.log(`step ${step}: loss ${loss.data[0].toFixed(4)}`);
}
console.log(`accuracy after: ${(await accuracy(model)).toFixed(4)}`);
writeFileSync(path.replace(/\.tide$/, ".trained.tide"), await model.save());
await model.close();
