// TensorFlow.js: tfjs-core with its Adam optimizer, without the layers API (which only adds to the time of a step).

import * as tf from "/build/tfjs.js";

/** @param {{device: "wasm" | "webgpu", threads: number}} options */
export async function open({ device, threads }) {
  tf.setWasmPaths("/node_modules/@tensorflow/tfjs-backend-wasm/dist/");
  if (device === "wasm" && threads) tf.setThreadsCount(threads);
  if (!(await tf.setBackend(device))) throw new Error(`TensorFlow.js cannot open its ${device} backend here`);
  await tf.ready();
  if (tf.getBackend() !== device) throw new Error(`TensorFlow.js gave ${tf.getBackend()} instead of ${device}`);
  tf.enableProdMode();
  return { version: tf.version_core, description: device, prepare };
}

async function prepare(workload, arrays) {
  const p = {};
  for (const { name, shape, dtype } of workload.params) {
    const tensor = tf.tensor(arrays[name], shape, dtype);
    p[name] = workload.kind === "train" || name === "w" ? tf.variable(tensor, true) : tensor;
  }
  const upload = () => workload.inputs.map(({ name, shape, dtype }) => tf.tensor(arrays[name], shape, dtype));
  const { learningRate, epsilon } = workload;
  let last = null;
  const keep = (compute) => {
    last?.dispose();
    last = tf.tidy(compute);
  };
  const result = async () => last.data();
  if (workload.kind === "compute") {
    const operands = workload.params.map(({ name }) => p[name]);
    const compute = EXPRESSIONS[workload.name] ?? EXPRESSIONS[workload.name.replace(/\d.*|_.*/, "")];
    return { result, step: () => keep(() => compute(operands, workload)) };
  }
  if (workload.kind === "infer") {
    const folded = foldNormalization(workload, p);
    return { result, step: () => keep(() => mobilenet(workload, folded, ...upload())) };
  }
  const optimizer = tf.train.adam(learningRate, 0.9, 0.999, epsilon);
  if (workload.kind === "adam") {
    return {
      step: () => keep(() => {
        optimizer.applyGradients({ [p.w.name]: p.g });
        return tf.scalar(0);
      }),
      result: async () => {
        const head = tf.slice(p.w, [0], [16]);
        const values = await head.data();
        head.dispose();
        return values;
      },
    };
  }
  const lossOf = { mlp, cnn, transformer, lstm }[workload.name];
  return { result, step: () => keep(() => optimizer.minimize(() => lossOf(p, ...upload()), true)) };
}

function layerNorm(x, gamma, beta, axis, epsilon) {
  const { mean, variance } = tf.moments(x, axis, true);
  const shape = axis === 0 ? [-1, 1] : [1, -1];
  return x.sub(mean).mul(variance.add(epsilon).rsqrt()).mul(gamma.reshape(shape)).add(beta.reshape(shape));
}

function adds([a, b], { options }) {
  let t = a;
  for (let i = 0; i < options.count; i++) t = t.add(b);
  return t;
}

const EXPRESSIONS = {
  matmul: ([a, b]) => tf.matMul(a, b),
  chain4: ([x, a, b, c]) => tf.relu(x.mul(a).add(b)).mul(c).sub(tf.tanh(x)),
  chain12([x, a, b, c]) {
    const t = tf.tanh(x.mul(a).add(b)).mul(c).sub(x);
    return tf.relu(tf.exp(tf.neg(tf.sqrt(tf.abs(t).add(1)))).mul(x));
  },
  softmax1: ([x]) => tf.softmax(x),
  softmax0([x]) { // tf.softmax takes the last axis only
    const e = x.sub(x.max(0, true)).exp();
    return e.div(e.sum(0, true));
  },
  layernorm1: ([x, g, b], { normEpsilon }) => layerNorm(x, g, b, 1, normEpsilon),
  layernorm0: ([x, g, b], { normEpsilon }) => layerNorm(x, g, b, 0, normEpsilon),
  sum1: ([x]) => x.sum(1),
  sum0: ([x]) => x.sum(0),
  conv: ([a, b], { options }) => tf.conv2d(a, b, options.stride, "same"),
  depthwise: ([a, b]) => tf.depthwiseConv2d(a, b, 1, "same"),
  adds,
  adds_eager: adds,
};

const dense = (p, x, name) => tf.add(tf.matMul(x, p[`${name}/kernel`]), p[`${name}/bias`]);

const entropy = (logits, labels) => tf.losses.softmaxCrossEntropy(tf.oneHot(labels, 10), logits);

function mlp(p, x, y) {
  const h = dense(p, dense(p, x, "dense1").relu(), "dense2").relu();
  return entropy(dense(p, h, "dense3"), y);
}

function cnn(p, x, y) {
  let t = x;
  for (const name of ["conv1", "conv2"]) {
    t = tf.conv2d(t, p[`${name}/kernel`], 1, "same").add(p[`${name}/bias`]).relu();
    t = tf.maxPool(t, 2, 2, "valid");
  }
  return entropy(dense(p, t.reshape([x.shape[0], -1]), "dense"), y);
}

const ROOT = Math.sqrt(2 / Math.PI);
const gelu = (x) => x.mul(0.5).mul(x.add(x.mul(x).mul(x).mul(0.044715)).mul(ROOT).tanh().add(1));

function transformer(p, x, y) {
  const [batch, length, width] = x.shape;
  const heads = 4;
  const tokens = [batch * length, width];
  const split = (t) => t.reshape([batch, length, heads, width / heads]).transpose([0, 2, 1, 3]);
  const norm = (t, name) => layerNorm(t, p[`${name}/gamma`], p[`${name}/beta`], 1, 1e-3);
  const flat = x.reshape(tokens);
  const [q, k, v] = ["query", "key", "value"].map((name) => split(dense(p, flat, name)));
  const attention = tf.softmax(tf.matMul(q, k, false, true).mul((width / heads) ** -0.5));
  const mixed = tf.matMul(attention, v).transpose([0, 2, 1, 3]).reshape(tokens);
  const h = norm(flat.add(dense(p, mixed, "output")), "norm1");
  const out = norm(h.add(dense(p, gelu(dense(p, h, "up")), "down")), "norm2");
  return out.sub(y.reshape(tokens)).square().mean();
}

function lstm(p, x, y) {
  const [batch, length, width] = x.shape;
  const projected = dense({ "lstm/kernel": p["lstm/kernel"], "lstm/bias": p["lstm/bias"] }, x.reshape([-1, width]), "lstm");
  const steps = projected.reshape([batch, length, 256]).unstack(1);
  let h = tf.zeros([batch, 64]);
  let c = tf.zeros([batch, 64]);
  for (const at of steps) {
    const [i, f, g, o] = tf.split(at.add(tf.matMul(h, p["lstm/recurrent"])), 4, 1);
    c = f.sigmoid().mul(c).add(i.sigmoid().mul(g.tanh()));
    h = o.sigmoid().mul(c.tanh());
  }
  return entropy(dense(p, h, "dense"), y);
}

/** Scales go into the kernels: what every converter of trained models does. */
function foldNormalization({ options }, p) {
  const fold = (name, depthwise) => ({
    kernel: p[`${name}/kernel`].mul(depthwise ? p[`${name}/scale`].reshape([1, 1, -1, 1]) : p[`${name}/scale`]),
    bias: p[`${name}/shift`],
  });
  const blocks = options.blocks.map(([, , stride], i) => ({
    stride, depthwise: fold(`depthwise${i}`, true), pointwise: fold(`pointwise${i}`, false),
  }));
  return { stem: fold("stem", false), blocks, classes: p };
}

function mobilenet(workload, { stem, blocks, classes }, x) {
  const conv = (t, { kernel, bias }, strides) =>
    tf.fused.conv2d({ x: t, filter: kernel, strides, pad: "same", bias, activation: "relu6" });
  let t = conv(x, stem, 2);
  for (const { stride, depthwise, pointwise } of blocks) {
    t = tf.fused.depthwiseConv2d({ x: t, filter: depthwise.kernel, strides: stride, pad: "same", bias: depthwise.bias, activation: "relu6" });
    t = conv(t, pointwise, 1);
  }
  return tf.softmax(dense(classes, t.mean([1, 2]), "classes"));
}
