// jax-js: every step is one jitted function, as its own examples do. Images and kernels lie as it wants them (NCHW, OIHW).
//
// Arrays are passed on: a function consumes its arguments unless `.ref` is taken, also inside jit.

import * as jax from "/node_modules/@jax-js/jax/dist/index.js";

const { numpy: np, nn, lax, jit, valueAndGrad, tree } = jax;

/** @param {{device: "wasm" | "webgpu"}} options */
export async function open({ device }) {
  const devices = await jax.init(device);
  if (!devices.includes(device)) throw new Error(`jax-js has no ${device} here, only ${devices.join(", ")}`);
  jax.defaultDevice(device);
  return { version: "0.1.25", description: device, prepare };
}

const place = (data, shape, dtype) => np.array(data, { dtype: dtype === "int32" ? np.int32 : np.float32 }).reshape(shape);

/** [h, w, in, out] -> [out, in, h, w]; depthwise kernels come as [h, w, channels, 1]. */
const toOIHW = (kernel, depthwise) => np.transpose(kernel, depthwise ? [2, 3, 0, 1] : [3, 2, 0, 1]);

async function prepare(workload, arrays) {
  const p = {};
  for (const { name, shape, dtype } of workload.params) p[name] = place(arrays[name], shape, dtype);
  const upload = () => workload.inputs.map(({ name, shape, dtype }) => place(arrays[name], shape, dtype));
  if (workload.kind === "compute") return computation(workload, p);
  if (workload.kind === "adam") return update(workload, p);
  if (workload.kind === "infer") return inference(workload, p, upload);
  return training(workload, p, upload);
}

// ---- expressions ---------------------------------------------------------------------------------------------------

async function computation(workload, p) {
  const { name, options } = workload;
  let operands = workload.params.map((spec) => p[spec.name]);
  let arrange;
  if (name.startsWith("conv") || name === "depthwise") {
    operands = [np.transpose(operands[0], [0, 3, 1, 2]), toOIHW(operands[1], options.depthwise)];
    const channels = options.depthwise ? workload.params[1].shape[2] : workload.params[1].shape[3];
    arrange = (flat) => toNHWC(flat, 32, channels, (28 / options.stride) ** 2);
  }
  operands = await jax.blockUntilReady(operands);
  const plain = expression(workload);
  const compute = options.eager ? plain : jit(plain);
  let made = [];
  return {
    arrange,
    step() {
      made.push(compute(...operands.map((operand) => operand.ref)));
      return made.length > 64 ? this.flush() : undefined;
    },
    /** Results that nobody asks for would not be computed: all of them are waited for. */
    async flush() {
      const last = made.pop();
      await jax.blockUntilReady([...made, last]);
      made.forEach((array) => array.dispose());
      made = [last];
    },
    async result() {
      await this.flush();
      return made[0].ref.data();
    },
  };
}

function toNHWC(flat, batch, channels, pixels) {
  const made = new Float32Array(flat.length);
  for (let n = 0; n < batch; n++)
    for (let c = 0; c < channels; c++)
      for (let i = 0; i < pixels; i++) made[(n * pixels + i) * channels + c] = flat[(n * channels + c) * pixels + i];
  return made;
}

function expression({ name, options, normEpsilon }) {
  const drop = (array, ...others) => {
    others.forEach((other) => other.dispose());
    return array;
  };
  const norm = (axis) => (x, g, b) => {
    const shape = axis === 0 ? [-1, 1] : [1, -1];
    return layerNorm(x, g.reshape(shape), b.reshape(shape), axis, normEpsilon);
  };
  const adds = (a, b) => {
    let t = a;
    for (let i = 0; i < options.count; i++) t = t.add(b.ref);
    return drop(t, b);
  };
  const table = {
    matmul: (a, b) => np.matmul(a, b),
    chain4: (x, a, b, c) => nn.relu(x.ref.mul(a).add(b)).mul(c).sub(np.tanh(x)),
    chain12: (x, a, b, c) => {
      const t = np.tanh(x.ref.mul(a).add(b)).mul(c).sub(x.ref);
      return nn.relu(np.exp(np.sqrt(np.absolute(t).add(1)).neg()).mul(x));
    },
    softmax1: (x, a, b) => nn.softmax(drop(x, a, b), 1),
    softmax0: (x, a, b) => nn.softmax(drop(x, a, b), 0),
    layernorm1: norm(1),
    layernorm0: norm(0),
    sum1: (x, a, b) => drop(x, a, b).sum(1),
    sum0: (x, a, b) => drop(x, a, b).sum(0),
    conv: (a, b) => lax.convGeneralDilated(a, b, [options.stride, options.stride], "SAME"),
    depthwise: (a, b) => lax.convGeneralDilated(a, b, [1, 1], "SAME", { featureGroupCount: 64 }),
    adds,
    adds_eager: adds,
  };
  return table[name] ?? table[name.replace(/\d.*|_.*/, "")];
}

function layerNorm(x, gamma, beta, axis, epsilon) {
  const centred = x.ref.sub(x.mean(axis, { keepdims: true }));
  const variance = np.square(centred.ref).mean(axis, { keepdims: true });
  return centred.div(np.sqrt(variance.add(epsilon))).mul(gamma).add(beta);
}

// ---- training ------------------------------------------------------------------------------------------------------

const BETA1 = 0.9;
const BETA2 = 0.999;

/** One Adam update of a list of arrays; consumes all it is given. */
function adam({ learningRate, epsilon }, { w, m, v, t }, gradients) {
  const count = t.add(1);
  const rate = np.sqrt(np.power(BETA2, count.ref).neg().add(1)).mul(learningRate).div(np.power(BETA1, count.ref).neg().add(1));
  const first = m.map((slot, i) => slot.mul(BETA1).add(gradients[i].ref.mul(1 - BETA1)));
  const second = v.map((slot, i) => slot.mul(BETA2).add(np.square(gradients[i]).mul(1 - BETA2)));
  const weights = w.map((weight, i) => weight.sub(rate.ref.mul(first[i].ref).div(np.sqrt(second[i].ref).add(epsilon))));
  rate.dispose();
  return { w: weights, m: first, v: second, t: count };
}

const initialState = async (weights) => ({
  w: weights,
  m: weights.map(({ shape }) => np.zeros(shape)),
  v: weights.map(({ shape }) => np.zeros(shape)),
  t: np.array(0, { dtype: np.float32 }),
});

async function update(workload, p) {
  let state = await initialState([p.w]);
  const run = jit((old, g) => adam(workload, old, [g]));
  return {
    step() {
      state = run(state, p.g.ref);
    },
    result: () => state.w[0].ref.slice([0, 16]).data(),
    flush: () => jax.blockUntilReady(state),
  };
}

async function training(workload, p, upload) {
  const names = workload.params.map(({ name }) => name);
  const arranged = names.map((name) => (name.startsWith("conv") && name.endsWith("kernel") ? toOIHW(p[name], false) : p[name]));
  if (workload.name === "cnn") { // the flattened image has its channels first
    const at = names.indexOf("dense/kernel");
    arranged[at] = np.transpose(arranged[at].reshape([7, 7, 32, 10]), [2, 0, 1, 3]).reshape([1568, 10]);
  }
  let state = await jax.blockUntilReady(await initialState(arranged));
  const lossOf = { mlp, cnn, transformer, lstm }[workload.name];
  const gradient = valueAndGrad((weights, x, y) => lossOf(Object.fromEntries(names.map((n, i) => [n, weights[i]])), x, y));
  const run = jit((old, x, y) => {
    const [loss, gradients] = gradient(tree.ref(old.w), x, y);
    return [adam(workload, old, gradients), loss];
  });
  let loss = null;
  return {
    step() {
      const [x, y] = upload();
      const image = workload.name === "cnn" ? x.reshape([64, 1, 28, 28]) : x;
      loss?.dispose();
      [state, loss] = run(state, image, y);
    },
    result: async () => loss.ref.data(),
    flush: () => jax.blockUntilReady([state, loss]),
  };
}

const dense = (p, x, name) => np.matmul(x, p[`${name}/kernel`]).add(p[`${name}/bias`]);

function entropy(logits, labels) {
  const [batch, classes] = logits.shape;
  return nn.logSoftmax(logits, -1).mul(nn.oneHot(labels, classes)).sum().mul(-1 / batch);
}

function mlp(p, x, y) {
  const h = nn.relu(dense(p, nn.relu(dense(p, x, "dense1")), "dense2"));
  return entropy(dense(p, h, "dense3"), y);
}

function cnn(p, x, y) {
  let t = x;
  for (const name of ["conv1", "conv2"]) {
    const bias = p[`${name}/bias`];
    t = nn.relu(lax.conv(t, p[`${name}/kernel`], [1, 1], "SAME").add(bias.reshape([1, -1, 1, 1])));
    const [batch, channels, height, width] = t.shape;
    t = t.reshape([batch, channels, height / 2, 2, width / 2, 2]).max([3, 5]);
  }
  return entropy(dense(p, t.reshape([64, 1568]), "dense"), y);
}

function transformer(p, x, y) {
  const [batch, length, width] = x.shape;
  const heads = 4;
  const split = (t) => np.transpose(t.reshape([batch, length, heads, width / heads]), [0, 2, 1, 3]);
  const norm = (t, name) => layerNorm(t, p[`${name}/gamma`], p[`${name}/beta`], -1, 1e-3);
  const q = split(dense(p, x.ref, "query"));
  const k = split(dense(p, x.ref, "key"));
  const v = split(dense(p, x.ref, "value"));
  const scores = np.matmul(q, np.transpose(k, [0, 1, 3, 2])).mul((width / heads) ** -0.5);
  const mixed = np.transpose(np.matmul(nn.softmax(scores, -1), v), [0, 2, 1, 3]).reshape([batch, length, width]);
  const h = norm(x.add(dense(p, mixed, "output")), "norm1");
  const out = norm(h.ref.add(dense(p, nn.gelu(dense(p, h, "up")), "down")), "norm2");
  return np.square(out.sub(y)).mean();
}

function lstm(p, x, y) {
  const [batch, length] = x.shape;
  const kernel = p["lstm/kernel"];
  const bias = p["lstm/bias"];
  const recurrent = p["lstm/recurrent"];
  let h = np.zeros([batch, 64]);
  let c = np.zeros([batch, 64]);
  for (let t = 0; t < length; t++) {
    // one product per step: the gradient of slices of one large product would be padded and added fifty times
    const at = np.matmul(x.ref.slice([], t, []), kernel.ref).add(bias.ref);
    const [i, f, g, o] = np.split(at.add(np.matmul(h, recurrent.ref)), 4, 1);
    c = nn.sigmoid(f).mul(c).add(nn.sigmoid(i).mul(np.tanh(g)));
    h = nn.sigmoid(o).mul(np.tanh(c.ref));
  }
  for (const array of [x, kernel, bias, recurrent, c]) array.dispose();
  return entropy(dense(p, h, "dense"), y);
}

// ---- inference -----------------------------------------------------------------------------------------------------

async function inference({ options }, p, upload) {
  const fold = (name, depthwise) => {
    const kernel = p[`${name}/kernel`];
    const scale = p[`${name}/scale`];
    return {
      kernel: toOIHW(kernel.mul(depthwise ? scale.reshape([1, 1, -1, 1]) : scale), depthwise),
      bias: p[`${name}/shift`].reshape([1, -1, 1, 1]),
    };
  };
  const weights = await jax.blockUntilReady({
    stem: fold("stem", false),
    blocks: options.blocks.map((_, i) => ({ depthwise: fold(`depthwise${i}`, true), pointwise: fold(`pointwise${i}`, false) })),
    "classes/kernel": p["classes/kernel"],
    "classes/bias": p["classes/bias"],
  });
  const run = jit((w, x) => {
    const conv = (t, { kernel, bias }, stride, groups) =>
      nn.relu6(lax.convGeneralDilated(t, kernel, [stride, stride], "SAME", { featureGroupCount: groups }).add(bias));
    let t = conv(np.transpose(x, [0, 3, 1, 2]), w.stem, 2, 1);
    options.blocks.forEach(([into, , stride], i) => {
      t = conv(t, w.blocks[i].depthwise, stride, into);
      t = conv(t, w.blocks[i].pointwise, 1, 1);
    });
    return nn.softmax(dense(w, t.mean([2, 3]), "classes"), -1);
  });
  let last = null;
  return {
    step() {
      last?.dispose();
      last = run(tree.ref(weights), ...upload());
      return jax.blockUntilReady(last); // a dropped result would not be computed
    },
    result: async () => last.ref.data(),
  };
}
