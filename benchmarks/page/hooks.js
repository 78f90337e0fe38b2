// Counts what a contender asks of WebGPU, at WebGPU's own methods, and how much memory it takes.
//
// Load this before any contender. Memory is always followed (buffers are made rarely); calls only between
// `startCounting` and `stopCounting`, so that timed steps run unwrapped methods.

const MAP_READ = 1;
let live = 0;
let peak = 0;
/** @type {Set<WebAssembly.Memory>} */
const memories = new Set();

/** @param {any} prototype @param {string} name @param {(original: Function) => Function} wrap @returns {() => void} */
function replace(prototype, name, wrap) {
  const original = prototype?.[name];
  if (!original) return () => {};
  prototype[name] = wrap(original);
  return () => {
    prototype[name] = original;
  };
}

export function followMemory() {
  replace(globalThis.GPUDevice?.prototype, "createBuffer", (original) => function createBuffer(descriptor) {
    const buffer = original.call(this, descriptor);
    const { size, destroy } = buffer;
    live += size;
    peak = Math.max(peak, live);
    let there = true;
    buffer.destroy = () => {
      if (there) live -= size;
      there = false;
      destroy.call(buffer);
    };
    return buffer;
  });
  const Memory = WebAssembly.Memory;
  WebAssembly.Memory = new Proxy(Memory, {
    construct(target, args) {
      const memory = new target(...args);
      memories.add(memory);
      return memory;
    },
  });
  const note = (instance) => {
    for (const value of Object.values(instance.exports)) if (value instanceof Memory) memories.add(value);
  };
  replace(WebAssembly, "instantiate", (original) => async function instantiate(...args) {
    const made = await original.apply(this, args);
    note(made.instance ?? made);
    return made;
  });
  replace(WebAssembly, "instantiateStreaming", (original) => async function instantiateStreaming(...args) {
    const made = await original.apply(this, args);
    note(made.instance);
    return made;
  });
}

/** Bytes held so far: buffers on the GPU at most, WebAssembly memory now (it never shrinks). */
export function memory() {
  let wasm = 0;
  for (const { buffer } of memories) wasm += buffer.byteLength;
  return { gpu: peak, wasm };
}

/** @type {(() => void)[]} */
let undo = [];
let counts = zero();

function zero() {
  return { dispatches: 0, submits: 0, uploaded: 0, readBack: 0, created: 0 };
}

export function startCounting() {
  counts = zero();
  const { GPUDevice, GPUQueue, GPUComputePassEncoder, GPUBuffer } = /** @type {any} */ (globalThis);
  if (!GPUDevice) return;
  const counted = (name, amount) => (original) => function wrapped(...args) {
    counts[name] += amount(this, args);
    return original.apply(this, args);
  };
  const bytes = (data, offset, size) => {
    const unit = ArrayBuffer.isView(data) ? (data.BYTES_PER_ELEMENT ?? 1) : 1;
    return size !== undefined ? size * unit : data.byteLength - (offset ?? 0) * unit;
  };
  const pass = GPUComputePassEncoder.prototype;
  undo = [
    replace(pass, "dispatchWorkgroups", counted("dispatches", () => 1)),
    replace(pass, "dispatchWorkgroupsIndirect", counted("dispatches", () => 1)),
    replace(GPUQueue.prototype, "submit", counted("submits", () => 1)),
    replace(GPUQueue.prototype, "writeBuffer", counted("uploaded", (_, [, , data, offset, size]) => bytes(data, offset, size))),
    replace(GPUBuffer.prototype, "mapAsync", counted("readBack", (buffer, [mode, , size]) => (mode & MAP_READ ? (size ?? buffer.size) : 0))),
    replace(GPUDevice.prototype, "createBuffer", counted("uploaded", (_, [{ mappedAtCreation, size }]) => (mappedAtCreation ? size : 0))),
    ...["createBuffer", "createBindGroup", "createComputePipeline", "createComputePipelineAsync", "createShaderModule"].map(
      (name) => replace(GPUDevice.prototype, name, counted("created", () => 1))),
  ].reverse();
}

export function stopCounting() {
  undo.forEach((restore) => restore());
  undo = [];
  return counts;
}
