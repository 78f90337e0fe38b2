"""Times a handful of cells on every device here: python -m benchmarks [WORD ...]   (only cells whose name has a word)

Milliseconds per call: the median of repeated calls after a warm-up, the device's compile time apart.
"""

import statistics
import sys
import time

import tideflow as tf

from .cells import CELLS, Cell

DEVICES = {"numpy": "/CPU:0", "wasm": "/WASM:0", "gpu": "/GPU:0"}
SECONDS_PER_CELL = 1.0
FEWEST = 3


def measure(cell: Cell, device: str) -> tuple[float, float]:
    """(first call in ms, median of the others in ms)."""
    with tf.device(device):
        step = cell.make()
        begun = time.perf_counter()
        step()
        first = time.perf_counter() - begun
        step()
        times: list[float] = []
        while len(times) < FEWEST or sum(times) < SECONDS_PER_CELL:
            begun = time.perf_counter()
            step()
            times.append(time.perf_counter() - begun)
    return first * 1e3, statistics.median(times) * 1e3


def main(words: list[str]) -> None:
    """Prints one line per cell as it is measured."""
    print(f"{'ms per call (first call)':38}" + "".join(f"{name:>30}" for name in DEVICES))
    for cell in CELLS:
        if words and not any(word in cell.name for word in words):
            continue
        columns = []
        for device in DEVICES.values():
            try:
                first, median = measure(cell, device)
                speed = f" {cell.flops / median / 1e6:.0f} GF/s" if cell.flops else ""
                columns.append(f"{median:.2f} ({first:.0f}){speed}")
            except tf.errors.OpError as error:
                columns.append(type(error).__name__)
        print(f"{cell.name:38}" + "".join(f"{column:>30}" for column in columns), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
