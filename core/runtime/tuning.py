"""Which family of contractions a program for the GPU here uses: a table for what is known, else one measurement.

Files always hold the family "direct", which is good everywhere. What is measured is kept in the user's cache folder,
so that the same machine computes the same bits from run to run. TIDEFLOW_CONTRACTIONS=direct, shared or wide decides
instead.
"""

from __future__ import annotations

import hashlib
import os
from functools import cache
from pathlib import Path

from ..device import Device
from ..errors import InvalidArgumentError
from .discover import IN_PYODIDE, open_device
from .trust import recall, remember

__all__ = ["ENVIRONMENT", "family", "family_of"]

ENVIRONMENT = "TIDEFLOW_CONTRACTIONS"
FILE = "contractions.json"
KNOWN = {"Apple": "direct"}         # by a word of the description: caches there serve tiles as well
NAMES = ("direct", "shared", "wide")
_measured: dict[str, str] = {}


def family_of(name: str) -> str:
    """`family` of the device of that name; in a tab without opening it."""
    if IN_PYODIDE and not os.environ.get(ENVIRONMENT):
        return "direct"                                 # there, reading a time back needs a promise
    return family(open_device(name))


def family(device: Device) -> str:
    """"direct" (tiles in registers), "wide" (larger ones), or "shared" (tiles and sums of rows in workgroup memory).

    Raises:
        InvalidArgumentError: if TIDEFLOW_CONTRACTIONS is none of them.
    """
    asked = os.environ.get(ENVIRONMENT)
    if asked:
        if asked not in NAMES:
            raise InvalidArgumentError(
                f"{ENVIRONMENT}={asked!r}: expected 'direct', 'shared' or 'wide'; unset it to let the device decide.")
        return asked
    if device.software or IN_PYODIDE:
        return "wide" if "llvmpipe" in device.description and _loads_are_dear() else "direct"
    name = device.description
    known = next((found for word, found in KNOWN.items() if word in name), None)
    if known is None and name not in _measured:
        _measured[name] = _measure(device)
    return known or _measured[name]


@cache
def _loads_are_dear() -> bool:
    """Whether llvmpipe reads buffers lane by lane through memory: on x86 it does without AVX-512, ten times as slowly.

    With tiles of 16 x 16 a step of a small CNN then takes two thirds of the time; with AVX-512, 8 x 8 is best.
    """
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return False
    return "avx2" in flags and "avx512f" not in flags


def _measure(device: Device) -> str:
    from ..gpu_wgsl import selftest, trial

    key = hashlib.sha256(f"{device.description}\n{selftest.fingerprint()}".encode()).hexdigest()
    kept = next((x.split(" ")[1] for x in recall(FILE) if x.startswith(f"{key} ")), None)
    if kept in trial.FAMILIES:
        return str(kept)
    found = trial.fastest(device)
    remember(FILE, f"{key} {found}")
    return found
