"""The register tile: what a contraction spends its time in."""

from __future__ import annotations

from itertools import pairwise

from . import encode
from .encode import Code

__all__ = ["COLUMNS", "PAIR", "REST", "ROWS", "TILE", "tile"]

ROWS, COLUMNS = 5, 8  # the largest tile that leaves V8 enough registers
REST = 2  # rows of the last panel of A up to which two panels of B at once are faster than whole tiles
TILE, PAIR = 1, 2  # the numbers of the functions in a module that has contractions


def tile(height: int = ROWS, panels: int = 1) -> tuple[int, bytes]:
    """The function that multiplies one tile: C[5, 8] (+)= sum over k of A[5, k] B[k, 8], all sums in locals; or of
    the first rows of a panel of A with several panels of B.

    Its parameters: a, b, 4 * number of k, c, bytes from one row of C to the next, and whether to add to what C holds.
    It is a function of its own so that its registers are its own, and so that engines that compile hot functions anew
    while a program runs have it fast within the first product.
    """
    code = Code(6)
    a, b, k4, c, row_bytes, add = range(6)
    rows = [c] + [code.local(encode.I32) for _ in range(height - 1)]
    end = code.local(encode.I32)
    starts = [b] + [code.local(encode.I32) for _ in range(panels - 1)]
    vectors = panels * COLUMNS // 4
    sums = [[code.local(encode.V128) for _ in range(vectors)] for _ in range(height)]
    columns = [code.local(encode.V128) for _ in range(vectors)]
    spread = code.local(encode.V128)
    for above, row in pairwise(rows):
        code.get(above).get(row_bytes).op("i32.add").set(row)
    for before, start in pairwise(starts):
        code.get(before).get(k4).i32(COLUMNS).op("i32.mul").op("i32.add").set(start)
    code.get(add)
    code.if_()
    for row, totals in zip(rows, sums, strict=True):
        for j, total in enumerate(totals):
            code.get(row).memory("v128.load", 16 * j).set(total)
    code.end()  # locals start as zeros
    code.get(a).get(k4).i32(ROWS).op("i32.mul").op("i32.add").set(end)
    code.block()
    code.get(a).get(end).op("i32.ge_u").br_if(0)
    code.loop()
    for j, local in enumerate(columns):
        panel, part = divmod(j, COLUMNS // 4)
        code.get(starts[panel]).memory("v128.load", 16 * part).set(local)
    for i, totals in enumerate(sums):
        code.get(a).memory("v128.load32_splat", 4 * i).set(spread)
        for total, local in zip(totals, columns, strict=True):
            code.get(spread).get(local).multiply_add(total).set(total)
    for start in starts:
        code.get(start).i32(4 * COLUMNS).op("i32.add").set(start)
    code.get(a).i32(4 * ROWS).op("i32.add").tee(a)
    code.get(end).op("i32.lt_u").br_if(0)
    code.end().end()
    for row, totals in zip(rows, sums, strict=True):
        for j, total in enumerate(totals):
            code.get(row).get(total).memory("v128.store", 16 * j)
    return 6, code.body()
