// A GPU that computes nothing: it records the calls, keeps the bytes of copies and writes, and answers when told.

export function fakeGpu({ software = false, limits = {}, hang = false } = {}) {
  const calls = {};
  const devices = [];
  const count = (name) => {
    calls[name] = (calls[name] ?? 0) + 1;
  };
  const state = { calls, devices, hang, adapters: 0 };
  state.gpu = {
    requestAdapter: async () => {
      state.adapters++;
      return {
        info: { vendor: software ? "google" : "acme", architecture: software ? "swiftshader" : "rocket" },
        features: new Set(["shader-f16"]),
        limits: { maxBufferSize: 2 ** 30, maxStorageBufferBindingSize: 2 ** 30 },
        requestDevice: async (descriptor) => {
          const device = makeDevice(count, state, descriptor, limits);
          devices.push(device);
          return device;
        },
      };
    },
  };
  return state;
}

function makeDevice(count, state, descriptor, limits) {
  let lose;
  const device = {
    descriptor,
    lost: new Promise((resolve) => {
      lose = resolve;
    }),
    dead: false,
    features: new Set(descriptor.requiredFeatures),
    limits: { maxBufferSize: 2 ** 28, maxStorageBufferBindingSize: 2 ** 27, ...limits, ...descriptor.requiredLimits },
    addEventListener: () => {},
    destroy: () => {
      device.dead = true;
      lose({ reason: "destroyed", message: "" });
    },
    createBuffer: ({ size, usage }) => {
      count("createBuffer");
      return makeBuffer(device, state, size, usage);
    },
    createShaderModule: ({ code }) => ({
      code,
      getCompilationInfo: async () => ({ messages: [{ lineNum: 1, linePos: 2, message: "bad" }] }),
    }),
    createBindGroupLayout: ({ entries }) => {
      count("createBindGroupLayout");
      return { entries };
    },
    createPipelineLayout: (layout) => layout,
    createComputePipelineAsync: async (pipeline) => {
      count("createComputePipelineAsync");
      if (pipeline.compute.module.code.includes("broken")) throw new Error("invalid shader");
      return pipeline;
    },
    createBindGroup: (group) => {
      count("createBindGroup");
      return group;
    },
    createCommandEncoder: () => {
      count("createCommandEncoder");
      return makeEncoder(state);
    },
    queue: {
      submit: (buffers) => {
        count("submit");
        if (!device.dead) for (const { copies } of buffers) copies.forEach((copy) => copy());
      },
      writeBuffer: (buffer, offset, data, start, length) => {
        count("writeBuffer");
        buffer.bytes.set(new Uint8Array(data, start, length), offset);
      },
    },
  };
  return device;
}

function makeBuffer(device, state, size, usage) {
  const bytes = new Uint8Array(size);
  return {
    size,
    usage,
    bytes,
    destroy: () => {},
    unmap: () => {},
    getMappedRange: () => bytes.slice().buffer,
    mapAsync: () =>
      new Promise((resolve, reject) => {
        if (device.dead) reject(new Error("device lost"));
        else if (!state.hang) setTimeout(() => (device.dead ? reject(new Error("device lost")) : resolve()), 1);
      }),
  };
}

function makeEncoder(state) {
  const copies = [];
  const dispatches = [];
  state.last = { copies, dispatches };
  return {
    copyBufferToBuffer: (source, from, target, to, size) => {
      copies.push(() => target.bytes.set(source.bytes.subarray(from, from + size), to));
    },
    beginComputePass: () => {
      let group;
      let pipeline;
      return {
        setPipeline: (set) => {
          pipeline = set;
        },
        end: () => {},
        setBindGroup: (_, set, offsets) => {
          group = { set, offsets };
        },
        dispatchWorkgroups: (...grid) => dispatches.push({ ...group, pipeline, grid }),
      };
    },
    finish: () => ({ copies }),
  };
}
