// Reads every file of a pack with the JavaScript reader: one line per file, "accept" or the rule that it breaks, then
// milliseconds of processor time. A pack is [u32 size, little-endian][bytes] repeated. Any other error is a crash and is named as one.

import { openSync, readSync } from "node:fs";
import { ModelError } from "../../js_bindings/runtime/errors.js";
import { readModel } from "../../js_bindings/runtime/model.js";

const pack = openSync(process.argv[2], "r");
const size = new Uint8Array(4);
const lines = [];
while (readSync(pack, size) === 4) {
  const bytes = new Uint8Array(new DataView(size.buffer).getUint32(0, true) + 1).subarray(1);     // at an odd address
  if (bytes.length) readSync(pack, bytes);
  const start = process.cpuUsage();
  let outcome = "accept";
  try {
    readModel(bytes);
  } catch (error) {
    outcome = error instanceof ModelError ? error.rule : `crash: ${error.stack}`.replaceAll("\n", " ");
  }
  const { user, system } = process.cpuUsage(start);
  lines.push(`${((user + system) / 1000).toFixed(1)} ${outcome}`);
}
process.stdout.write(lines.join("\n") + "\n");
