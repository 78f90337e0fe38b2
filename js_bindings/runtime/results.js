// What a run gives: where its outputs lie, and how their bytes become values.

import { ModelError } from "./errors.js";
import { Place } from "./tables.js";
import { bytesOf, DTYPE_NAMES, fromDevice } from "./values.js";

/** @typedef {import("./types.js").Model} Model */
/** @typedef {import("./types.js").Program} Program */
/** @typedef {import("./types.js").Signature} Signature */
/** @typedef {import("./layout.js").Span} Span */
/** @typedef {import("./placement.js").Binding} Binding */
/** @typedef {import("./host.js").HostTensors} HostTensors */
/** @typedef {{data: import("./values.js").TypedArray, shape: number[], dtype: string}} Value */
/** @typedef {{tensor: number, span: Span | null, storage: number}} Located  span null: host-owned */
/** @typedef {{located: Located[], spans: Span[], bytes: number}} Outputs */
/**
 * What a run's results are made of; words: of host-owned outputs
 * @typedef {{
 *   signature: Signature, binding: Binding, located: Located[], words: (Uint32Array | null)[]
 * }} Outcome
 */

/** What one run of a signature gave. */
export class Step {
  /** @param {number} number @param {Promise<Record<string, Value>>} values @param {() => void} onRead */
  constructor(number, values, onRead = () => {}) {
    /** Counts the runs that changed state. */
    this.number = number;
    this.values = values;
    this.onRead = onRead;
    values.catch(() => {}); // unread results of a lost device are nobody's error
  }

  /** The outputs by name. Waits for the device. */
  read() {
    this.onRead();
    return this.values;
  }
}

/**
 * Where the outputs lie: found once per binding.
 * @param {Model} model
 * @param {HostTensors} host
 * @param {Signature} signature
 * @param {Program} program
 * @param {Binding} binding
 * @returns {Outputs}
 */
export function findOutputs(model, host, signature, program, binding) {
  let found = binding.outputs.get(signature);
  if (!found) {
    const located = signature.outputs.map((port) => locate(model, host, port, program, binding));
    const spans = located.flatMap(({ span }) => span ?? []);
    found = { located, spans, bytes: spans.reduce((sum, { size }) => sum + size, 0) };
    binding.outputs.set(signature, found);
  }
  return found;
}

/**
 * @param {Model} model
 * @param {HostTensors} host
 * @param {import("./types.js").Port} port
 * @param {Program} program
 * @param {Binding} binding
 * @returns {Located}
 */
function locate(model, host, { name, tensor }, program, binding) {
  const candidates = program.regions
    .map((region, i) => i)
    .filter((i) => program.regions[i].tensor === tensor && binding.spans[i].buffer);
  const region = candidates.find((i) => program.regions[i].place === Place.OUTPUT) ?? candidates[0];
  if (region !== undefined) return { tensor, span: binding.spans[region], storage: program.regions[region].storage };
  if (!host.has(tensor)) throw new ModelError("P11-signature", `output "${name}"`, "no region holds its tensor");
  return { tensor, span: null, storage: model.tensors[tensor].dtype };
}

/**
 * @param {Model} model
 * @param {Outcome} outcome
 * @param {Uint8Array[]} results  bytes of the outputs that have a span
 * @returns {Record<string, Value>}
 */
export function valuesOf(model, { signature, binding, located, words }, results) {
  /** @type {Record<string, Value>} */
  const values = {};
  let next = 0;
  located.forEach(({ tensor, span, storage }, i) => {
    const { dtype, shape } = model.tensors[tensor];
    const bytes = span ? results[next++] : bytesOf(/** @type {Uint32Array} */ (words[i]));
    values[signature.outputs[i].name] = {
      data: fromDevice(bytes, storage, dtype),
      shape: Array.from(shape, (dim) => binding.sizes[dim]),
      dtype: DTYPE_NAMES[dtype],
    };
  });
  return values;
}
