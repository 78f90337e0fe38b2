"""Which family of contractions a program for the GPU here uses: a table for what is known, else one measurement.

Files always hold the family "direct", which is good everywhere. What is measured is kept in the user's cache folder,
so that the same machine computes the same bits from run to run. TIDEFLOW_CONTRACTIONS=direct or shared decides instead.
"""

from __future__ import annotations

import hashlib
import os

from ..device import Device
from ..errors import InvalidArgumentError
from .discover import IN_PYODIDE, open_device
from .trust import recall, remember

__all__ = ["ENVIRONMENT", "family", "family_of"]

ENVIRONMENT = "TIDEFLOW_CONTRACTIONS"
FILE = "contractions.json"
KNOWN = {"Apple": "direct"}         # by a word of the description: caches there serve tiles as well
_measured: dict[str, str] = {}


def family_of(name: str) -> str:
    """`family` of the device of that name; in a tab without opening it."""
    if IN_PYODIDE and not os.environ.get(ENVIRONMENT):
        return "direct"                                 # there, reading a time back needs a promise
    return family(open_device(name))


def family(device: Device) -> str:
    """"direct" (generated tiles in registers) or "shared" (tiles in workgroup memory).

    Raises:
        InvalidArgumentError: if TIDEFLOW_CONTRACTIONS is neither.
    """
    asked = os.environ.get(ENVIRONMENT)
    if asked:
        if asked not in ("direct", "shared"):
            raise InvalidArgumentError(f"{ENVIRONMENT}={asked!r}: expected 'direct' or 'shared'; unset it to measure.")
        return asked
    if device.software or IN_PYODIDE:
        return "direct"
    name = device.description
    known = next((found for word, found in KNOWN.items() if word in name), None)
    if known is None and name not in _measured:
        _measured[name] = _measure(device)
    return known or _measured[name]


def _measure(device: Device) -> str:
    from ..gpu_wgsl import selftest, trial

    key = hashlib.sha256(f"{device.description}\n{selftest.fingerprint()}".encode()).hexdigest()
    kept = next((x.split(" ")[1] for x in recall(FILE) if x.startswith(f"{key} ")), None)
    if kept in trial.FAMILIES:
        return str(kept)
    found = trial.fastest(device)
    remember(FILE, f"{key} {found}")
    return found
