// The shapes of a read model, as JSDoc types: what `readModel` returns and everything else here works on. No code.
// Field names are those of `core/program/format.py`.

/** @typedef {{name: string, min: number, max: number, multiple_of: number}} SymbolSize */
/** @typedef {{op: number, a: number, b: number}} DimExpr */
/**
 * @typedef {{
 *   name: string, dtype: number, shape: ArrayLike<number>, role: number, trainable: boolean,
 *   data: Uint8Array | null
 * }} Tensor
 */
/** @typedef {{name: string, entry: string, code: Uint8Array | null, bindings: number}} Kernel */
/** @typedef {{place: number, bytes: number, storage: number, tensor: number, parent: number, offset: number}} Region */
/**
 * @typedef {object} Step
 * @property {number} kind
 * @property {number} kernel
 * @property {ArrayLike<number>} regions
 * @property {ArrayLike<number>} grid
 * @property {ArrayLike<number>} uniforms
 * @property {ArrayLike<number>} scalars
 * @property {number} flops
 * @property {number} writes
 * @property {number} count
 * @property {number} body
 */
/**
 * @typedef {{
 *   features: string[], limits: {name: string, value: number}[],
 *   when: {symbol: number, min: number, max: number}[], equal: ArrayLike<number>
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
 *   name: string, programs: ArrayLike<number>, inputs: Port[], outputs: Port[], reads: ArrayLike<number>,
 *   writes: ArrayLike<number>, advance: {tensor: number, by: number}[]
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

export {};
