// Contraction, family `shared`: c[z, m, n] = sum over k of a[z, m, k] * b[z, k, n], with tiles of a and b in workgroup memory.
//
// A workgroup of SIDE x SIDE invocations computes a tile of 8 SIDE x 8 SIDE results, an invocation 8 x 8 of them: for each
// k it reads 16 numbers from workgroup memory and multiplies 64 times. What a, b and the results are is the kernel's
// business: `load_a` and `load_b` give four neighbours along m or n (a row of a matrix, the taps of a convolution, with
// guards and elementwise work), zero past the end of k; ${STORES} is the epilogue with bias, activation, residual.
//
// SIDE: 8 or 16; DEPTH: k of a tile, such that SIDE * DEPTH = 128 and both tiles fit in 8 KiB of the 16 that WebGPU
// guarantees. STEP: how much faster a loader walks along k (1: rows of k are contiguous in memory) or along the tile.
// Drivers that run on the processor zero workgroup memory slowly and gain nothing: there the family `direct` is better.
const QUADS: u32 = ${QUADS}u;          // vec4 along an edge of the tile
const DEPTH: u32 = ${DEPTH}u;
const THREADS: u32 = ${THREADS}u;

${BINDINGS}
${HELPERS}
var<workgroup> tile_a: array<vec4<f32>, ${TILE}>;
var<workgroup> tile_b: array<vec4<f32>, ${TILE}>;

fn load_a(z: i32, q: i32, k: i32) -> vec4<f32> {
${LOAD_A}
}

fn load_b(z: i32, q: i32, k: i32) -> vec4<f32> {
${LOAD_B}
}

@compute @workgroup_size(${THREADS})
fn main(${ARGUMENTS}) {
  let number = i32(${GROUP});
  let blocks_n = ${BLOCKS_N};
  let blocks_m = ${BLOCKS_M};
  let z = number / (blocks_n * blocks_m);
  if (z >= ${BATCH}) { return; }           // the whole workgroup: no barrier is left waiting
  let block_m = (number / blocks_n) % blocks_m;
  let block_n = number % blocks_n;
  let across = local % ${SIDE}u;
  let down = local / ${SIDE}u;
${ZERO}
  for (var start = 0i; start < ${K}; start += ${DEPTH}i) {
    for (var e = local; e < QUADS * DEPTH; e += THREADS) {
      let ka = ${K_OF_A};
      let qa = ${Q_OF_A};
      tile_a[ka * QUADS + qa] = load_a(z, block_m * i32(QUADS) + i32(qa), start + i32(ka));
      let kb = ${K_OF_B};
      let qb = ${Q_OF_B};
      tile_b[kb * QUADS + qb] = load_b(z, block_n * i32(QUADS) + i32(qb), start + i32(kb));
    }
    workgroupBarrier();
    for (var k = 0u; k < DEPTH; k++) {
      let left0 = tile_a[k * QUADS + down * 2u];
      let left1 = tile_a[k * QUADS + down * 2u + 1u];
      let right0 = tile_b[k * QUADS + across * 2u];
      let right1 = tile_b[k * QUADS + across * 2u + 1u];
${MULTIPLY}
    }
    workgroupBarrier();
  }
  let rows = block_m * ${SIDE}i + i32(down);
  let columns = block_n * ${SIDE}i + i32(across);
${STORES}
}
