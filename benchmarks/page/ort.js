// onnxruntime-web: a session per workload, operands kept on the device where the provider allows it (WebGPU).

let ort = null;

/** @param {{device: "wasm" | "webgpu", threads: number}} options */
export async function open({ device, threads }) {
  const bundle = device === "webgpu" ? "ort.webgpu.bundle.min.mjs" : "ort.wasm.bundle.min.mjs";
  ort = await import(`/node_modules/onnxruntime-web/dist/${bundle}`);
  if (threads) ort.env.wasm.numThreads = threads;
  ort.env.logLevel = "error";
  return { version: ort.env.versions?.common ?? "", description: device, prepare: (w, arrays, file) => prepare(w, arrays, file, device) };
}

async function prepare(workload, arrays, file, device) {
  const gpu = device === "webgpu";
  const images = workload.name.startsWith("conv") || workload.name === "depthwise";
  const session = await ort.InferenceSession.create(file, {
    executionProviders: [device], graphOptimizationLevel: "all", preferredOutputLocation: gpu ? "gpu-buffer" : "cpu",
  });
  const feeds = {};
  for (const { name, shape } of workload.kind === "compute" ? workload.params : []) {
    const [data, dims] = images ? arranged(name, arrays[name], shape, workload.options.depthwise) : [arrays[name], shape];
    feeds[name] = gpu ? onGpu(data, dims) : new ort.Tensor("float32", data, dims);
  }
  let last = null;
  return {
    async step() {
      if (last) last.dispose();
      for (const { name, shape } of workload.inputs) feeds[name] = new ort.Tensor("float32", arrays[name], shape);
      last = (await session.run(feeds)).result;
    },
    result: async () => (gpu ? last.getData() : last.data),
    arrange: images ? (flat) => fromNCHW(flat, last.dims) : undefined,
  };
}

function onGpu(data, dims) {
  const device = ort.env.webgpu.device;
  const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST;
  const gpuBuffer = device.createBuffer({ size: Math.ceil(data.byteLength / 16) * 16, usage });
  device.queue.writeBuffer(gpuBuffer, 0, data);
  return ort.Tensor.fromGpuBuffer(gpuBuffer, { dataType: "float32", dims });
}

/** NHWC images to NCHW; filters [h, w, in, out] to [out, in, h, w]. */
function arranged(name, data, shape, depthwise) {
  const order = name === "a" ? [0, 3, 1, 2] : depthwise ? [2, 3, 0, 1] : [3, 2, 0, 1];
  return [permute(data, shape, order), order.map((axis) => shape[axis])];
}

function fromNCHW(flat, dims) {
  return permute(flat, dims, [0, 2, 3, 1]);
}

function permute(data, shape, order) {
  const made = new Float32Array(data.length);
  const strides = shape.map((_, i) => shape.slice(i + 1).reduce((a, b) => a * b, 1));
  const sizes = order.map((axis) => shape[axis]);
  const steps = order.map((axis) => strides[axis]);
  let at = 0;
  for (let i = 0; i < sizes[0]; i++)
    for (let j = 0; j < sizes[1]; j++)
      for (let k = 0; k < sizes[2]; k++)
        for (let l = 0; l < sizes[3]; l++) made[at++] = data[i * steps[0] + j * steps[1] + k * steps[2] + l * steps[3]];
  return made;
}
