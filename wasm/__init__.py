"""WebAssembly: kernels as SIMD128 modules written by Python, and the devices that run them.

    emit.py        kernels and steps -> module bytes; nests of loops and their stores        (start here)
    gemm.py        contractions: blocks, packed panels (pack.py), the register tiles (tile.py), parts of their stores
                   that depend on columns alone (percolumn.py); share.py: kernels made in parts by several threads
    functions.py unroll.py ranges.py reuse.py    rewrites of the IR before emission; lower.py: addresses
    lanes.py       which axis vectors run along, and how values vary along it
    nest.py <- vector.py <- scalar.py            loops, hoisting and folds over vector and scalar expressions
    encode.py      instructions, functions, sections; fuse.py: multiply-adds as one instruction where there is one
    native.py inplace.py                         wasmtime; Pyodide's own memory
"""
