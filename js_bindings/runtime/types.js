// The shapes of a read model, as JSDoc types: what `readModel` returns and everything else here works on. No code.
// Field names are those of `core/program/format.py`.

/** @typedef {{name: string, min: number, max: number, multiple_of: number}} SymbolSize */
/** @typedef {{op: number, a: number, b: number}} DimExpr */
/**
 * @typedef {{
 *   name: string, dtype: number, shape: number[], role: number, trainable: boolean,
 *   data: Uint8Array | null
 * }} Tensor
 */
/**
 * @typedef {{
 *   name: string, entry: string, code: Uint8Array | null, bindings: number, hash: Uint8Array
 * }} Kernel
 */
/** @typedef {{place: number, bytes: number, storage: number, tensor: number, parent: number, offset: number}} Region */
/**
 * @typedef {object} Step
 * @property {number} kind
 * @property {number} kernel
 * @property {number[]} regions
 * @property {number[]} grid
 * @property {number[]} uniforms
 * @property {number[]} scalars
 * @property {number} flops
 * @property {number} writes
 * @property {number} count
 * @property {number} body
 */
/**
 * @typedef {{
 *   features: string[], limits: {name: string, value: number}[],
 *   when: {symbol: number, min: number, max: number}[], equal: number[]
 * }} Requirement
 */
/**
 * @typedef {{
 *   target: number, requires: Requirement | null, kernels: Kernel[], regions: Region[], steps: Step[],
 *   module: Uint8Array | null
 * }} Program
 */
/**
 * @typedef {{
 *   name: string, tensor: number, optional: boolean, fill: number, min: number, max: number,
 *   bounded: boolean
 * }} Port
 */
/**
 * @typedef {{
 *   name: string, programs: number[], inputs: Port[], outputs: Port[], reads: number[],
 *   writes: number[], advance: {tensor: number, by: number}[]
 * }} Signature
 */
/** @typedef {{offset: number, size: number, sha256: Uint8Array}} Segment */
/**
 * @typedef {object} Model
 * @property {SymbolSize[]} symbols
 * @property {DimExpr[]} dims
 * @property {Tensor[]} tensors
 * @property {Program[]} programs
 * @property {Signature[]} signatures
 * @property {Segment[]} [segments]
 * @property {Uint8Array} [bytes]  the file; `data` of tensors and `sha256` of segments are views into it
 */

// What a file has beside that, and only the reader looks at.

/** @typedef {{segment: number, offset: number, size: number}} Slice */
/** @typedef {Tensor & {quant: {scale: number[], zero_point: number[], axis: number} | null, slice?: Slice}} FileTensor */
/** @typedef {{op: number, inputs: number[], outputs: number[], attrs: {name: string, value: any}[]}} Node */
/** @typedef {{name: string, inputs: number[], outputs: number[], nodes: Node[]}} Graph */
/** @typedef {Omit<Program, "requires"> & {graph: number, requires: Requirement}} FileProgram */
/**
 * @typedef {object} FileModel  what `readModel` gives
 * @property {SymbolSize[]} symbols
 * @property {DimExpr[]} dims
 * @property {FileTensor[]} tensors
 * @property {{name: string, version: number}[]} opcodes
 * @property {Graph[]} graphs
 * @property {FileProgram[]} programs
 * @property {(Signature & {graph: number})[]} signatures
 * @property {(Segment & {hashAt: number})[]} segments  hashAt: where the hash lies in the file
 * @property {{key: string, value: string}[]} metadata
 * @property {Uint8Array} base
 */

export {};
