// Types of the Tideflow runtime, for applications written in TypeScript.

/** Numbers of any shape: a typed array (its shape is inferred), nested arrays, a number, or both given apart. */
export type Input =
  | number
  | bigint
  | boolean
  | ArrayBufferView
  | readonly Input[]
  | { data: ArrayLike<number | bigint | boolean>; shape?: readonly number[] };

export type Inputs = Record<string, Input | undefined>;

/** One output. int64 comes as Int32Array where the device computed in 32 bits; bool as Uint8Array of 0 and 1. */
export interface Value {
  data: Float32Array | Float64Array | Int8Array | Uint8Array | Int16Array | Uint16Array | Int32Array | Uint32Array;
  shape: number[];
  /** TensorFlow's name, for example "float32". */
  dtype: string;
}

/** A run that was accepted. */
export interface Step {
  /** Counts the runs that changed the model's state. */
  readonly number: number;
  /** Waits for the device and gives the outputs by name. */
  read(): Promise<Record<string, Value>>;
}

export interface Port {
  name: string;
  dtype: string;
  /** Sizes; a symbolic one by its name, for example ["batch", 28, 28, 1]. */
  shape: (number | string)[];
  optional: boolean;
}

export interface Signature {
  name: string;
  inputs: Port[];
  outputs: Port[];
}

export interface DeviceInfo {
  kind: "webgpu" | "wasm";
  /** Why this device: shown to people. */
  reason: string;
  /** The adapter or engine. */
  description: string;
  /** True for a GPU that the processor emulates, and for WASM. */
  software: boolean;
  /** True if the model runs in a worker of its own. */
  worker: boolean;
}

export interface LoadOptions {
  /** "auto" (default): WebGPU on a real GPU, else WASM. */
  device?: "auto" | "webgpu" | "wasm";
  signal?: AbortSignal;
  /** `total` is 0 where the server does not say. */
  onProgress?: (progress: { loaded: number; total: number }) => void;
  /** By default the model runs in a worker of its own, where there are workers (not in Node); false: in this thread. */
  worker?: boolean;
  /** The most bytes of state and of one set of sizes. */
  memory?: number;
  /** Milliseconds between copies of the state against the loss of a GPU; 2000. */
  snapshotEvery?: number;
  /** Milliseconds, plus ten times the usual, until a step counts as hung; 20000. */
  hangAfter?: number;
  /**
   * How many threads a WASM program may run with; 1. At most 16, more are not started; "auto": one for each core, at
   * most 8. More than one needs a page that is cross-origin isolated, and is used where it is found to be faster; the results
   * are the same bits. A "threads" event says what was found, `device.description` why there are none.
   */
  threads?: number | "auto";
  /** Instead of `navigator.gpu`; the model then runs in this thread. */
  gpu?: unknown;
}

/**
 * A loaded model. It dispatches CustomEvents: "lost" and "restored" (`detail.step`, `detail.lost`) when a GPU went away and was
 * replaced, "failed" when it could not be, "hung" when a step never answered, "threads" when a program was timed with threads
 * and without (`detail.steps` of it run on `detail.threads` threads, in `detail.together` instead of `detail.alone` ms).
 */
export class Model extends EventTarget {
  private constructor();
  readonly device: DeviceInfo;
  readonly signatures: Signature[];
  /** The only output, or all by name. `inputs`: the first input's value, or an object by input name. */
  predict(inputs: Input | Inputs): Promise<Value & Record<string, Value>>;
  /** One optimizer step; resolves when accepted, at once unless two are under way. */
  trainStep(inputs: Inputs): Promise<Step>;
  /** Loss and metrics so far. */
  evaluate(inputs: Inputs): Promise<Record<string, Value>>;
  /** Runs any signature and reads its outputs. */
  run(signature: string, inputs?: Input | Inputs): Promise<Record<string, Value>>;
  /** The whole model.tide with the present weights, slots, metrics and counters. */
  save(): Promise<Uint8Array>;
  /** The raw bytes of a state tensor. */
  readTensor(name: string): Promise<Uint8Array>;
  /**
   * Sets a state tensor: a weight, an optimizer's slot, a counter. Its elements, in any form that an input may have, or the
   * bytes that `readTensor` gave. Runs that are accepted later see it.
   */
  writeTensor(name: string, value: Input): Promise<void>;
  /** Frees the device. */
  close(): Promise<void>;
}

/** Loads a model from an address or from bytes and puts it on a device. */
export function load(source: string | URL | Uint8Array | ArrayBuffer, options?: LoadOptions): Promise<Model>;

/** Verifies a file and gives its contents as plain objects, named as in `model.fbs`. */
export function readModel(file: Uint8Array, options?: { maxItems?: number; maxRegionBytes?: number }): any;

/** Opens a GPU for Python ahead of time, in a worker that runs Pyodide; never rejects. */
export function preparePython(options?: { hangAfter?: number }): Promise<void>;

export class TideflowError extends Error {}
/** An argument has the wrong shape, dtype or value. */
export class InvalidArgumentError extends TideflowError {}
/** A file breaks a rule of the format. */
export class ModelError extends TideflowError {
  rule: string;
  where: string;
  why: string;
}
/** Nothing here can run the programs of this file. */
export class NoExecutorError extends TideflowError {}
/** A program needs more than this device allows. */
export class DeviceLimitError extends TideflowError {}
/** The device went away. */
export class DeviceLostError extends TideflowError {}
/** A step did not answer in time. */
export class DeviceHungError extends DeviceLostError {}
