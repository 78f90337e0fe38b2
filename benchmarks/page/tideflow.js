// Tideflow's JavaScript runtime with a program that was exported natively.

import { load } from "/runtime/index.js";

/** @param {{device: string, worker: boolean, threads: number}} options  threads 0: as many as there are */
export async function open({ device, worker, threads }) {
  return {
    version: "main",
    description: device,
    async prepare(workload, arrays, file) {
      // peers keep no copy of the weights against the loss of a device, so ours (every 2 s) is off here
      const options = { device, worker, threads: threads || "auto", memory: 2 ** 32, snapshotEvery: 1e9 };
      const model = await load(file, options);
      const signature = { compute: "run", adam: "run", train: "train_step", infer: "predict" }[workload.kind];
      const known = model.signatures.find(({ name }) => name === signature);
      const inputs = {};
      workload.inputs.forEach(({ name, shape }, i) => {
        inputs[known.inputs[i].name] = { data: arrays[name], shape };
      });
      const resets = workload.kind === "train" && model.signatures.some(({ name }) => name === "reset_metrics");
      let last = null;
      return {
        // Keras reports the mean loss since the last reset: of one step, where losses are compared
        beforeChecked: resets ? () => model.run("reset_metrics") : undefined,
        async step() {
          last = await model.engine.run(signature, inputs, false);
        },
        async result() {
          const values = await last.read();
          return (values.loss ?? Object.values(values)[0]).data;
        },
      };
    },
  };
}
