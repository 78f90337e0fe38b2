"""How the C library treats memory that numpy frees.

glibc gives larger blocks back to the system at once, and the next array of that size costs a page fault for each 4 kB:
a quarter of a training step on the host. `keep_freed_memory` lets the process keep up to 128 MiB for the next step.
"""

from __future__ import annotations

import ctypes
import os
import sys

__all__ = ["keep_freed_memory"]

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3     # of malloc.h
KEPT = 128 << 20                                # bytes at the end of the heap that are not given back
LARGEST = 32 << 20                              # bytes of a block that still comes from the heap: glibc's own limit
_done = False


def keep_freed_memory() -> None:
    """Asks glibc, once a process, to keep freed memory. Does nothing elsewhere, or where the environment says how."""
    global _done
    if _done:
        return
    _done = True
    told = any(name.startswith(("MALLOC_", "GLIBC_TUNABLES")) for name in os.environ)
    if told or not sys.platform.startswith("linux"):
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):           # another C library
        return
    mallopt(M_MMAP_THRESHOLD, LARGEST)
    mallopt(M_TRIM_THRESHOLD, KEPT)
