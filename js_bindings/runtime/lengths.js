// Shaders with the lengths of their buffers, for software adapters.
//
// Every index is checked against the length of its buffer. A shader that serves any batch declares none, and a software
// adapter then divides for the length, lane by lane, at every access: a sixth to a fifth of a training step. Pipelines
// for the lengths that are bound take its place, made in the background once a set of sizes has been used a few times.

const UNSIZED = /(@binding\((\d+)\) var<storage, read_write> \w+: array<)(vec4<(?:f32|i32|u32)>|f32|i32|u32)>;/g;
const VECTOR = 16; // bytes of a vec4

export const HOT = 4; // runs with the same sizes before they get pipelines of their own

/**
 * Declares how long the buffers are.
 * @param {string} code  WGSL as our emitter writes it; other declarations are left alone
 * @param {number[]} bytes  of each storage binding, a multiple of 4
 * @returns {string}
 */
export function withLengths(code, bytes) {
  return code.replace(UNSIZED, (all, head, binding, type) => {
    const length = Math.floor(bytes[Number(binding)] / (type.startsWith("vec4") ? VECTOR : 4));
    return length > 0 ? `${head}${type}, ${length}>;` : all;
  });
}
