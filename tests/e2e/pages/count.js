// Counts the calls of WebGPU's own methods.

export const COUNTED = [
  [
    GPUDevice,
    ["createBuffer", "createBindGroup", "createBindGroupLayout", "createComputePipelineAsync", "createCommandEncoder"],
  ],
  [GPUQueue, ["submit", "writeBuffer"]],
];

export const DISPATCHES = [[GPUComputePassEncoder, ["dispatchWorkgroups", "dispatchWorkgroupsIndirect"]]];

/** An object whose numbers grow from now on. */
export function count(counted = COUNTED) {
  const calls = {};
  for (const [type, names] of counted) {
    for (const name of names) {
      const original = type.prototype[name];
      calls[name] = 0;
      type.prototype[name] = function (...args) {
        calls[name]++;
        return original.apply(this, args);
      };
    }
  }
  return calls;
}
