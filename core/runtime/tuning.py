"""Which family of contractions a program for the GPU here uses: a table for what is known, else one measurement.

Files always hold the family "direct", which is good everywhere. What is measured is kept in the user's cache folder, in
a tab by the browser, so that the same machine computes the same bits from run to run. TIDEFLOW_CONTRACTIONS=direct,
shared or wide decides instead.
"""

from __future__ import annotations

import hashlib
import os
from functools import cache
from pathlib import Path
from typing import Protocol, runtime_checkable

from ..device import Device
from ..errors import FailedPreconditionError, InvalidArgumentError
from .discover import open_device
from .trust import recall, remember

__all__ = ["ENVIRONMENT", "family", "family_of"]

ENVIRONMENT = "TIDEFLOW_CONTRACTIONS"
FILE = "contractions.json"
KNOWN = {"Apple": "direct"}         # by a word of the description: caches there serve tiles as well
NAMES = ("direct", "shared", "wide")
_measured: dict[str, str] = {}


@runtime_checkable
class Remembering(Protocol):
    """A device that keeps what was measured on it: a tab has no files that last."""

    def can_wait(self) -> bool: ...

    def recall(self) -> list[str]: ...

    def remember(self, line: str) -> None: ...


def family_of(name: str) -> str:
    """`family` of the device of that name. "direct" where Python in a tab cannot wait for one."""
    try:
        return family(open_device(name))
    except FailedPreconditionError:
        return "direct"


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
    if device.software:
        return "wide" if "llvmpipe" in device.description and _loads_are_dear() else "direct"
    name = device.description
    known = next((found for word, found in KNOWN.items() if word in name), None)
    if known is None and name not in _measured:
        if isinstance(device, Remembering) and not device.can_wait():
            return "direct"                             # reading a time back needs a promise
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
    lines = device.recall() if isinstance(device, Remembering) else recall(FILE)
    kept = next((x.split(" ")[1] for x in lines if x.startswith(f"{key} ")), None)
    if kept in trial.FAMILIES:
        return str(kept)
    found = trial.fastest(device)
    if isinstance(device, Remembering):
        device.remember(f"{key} {found}")
    else:
        remember(FILE, f"{key} {found}")
    return found
