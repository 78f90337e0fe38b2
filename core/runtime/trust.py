"""Whether a GPU computes right: drivers differ, and a wrong one trains nonsense without an error.

The dozen kernels of `gpu_wgsl/selftest.py` run once on an adapter that the tests of this project do not run on; that it
passed is kept in the user's cache folder, for this driver and these kernels.
"""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from pathlib import Path

from ..device import Device
from ..errors import DeviceLimitError, DeviceLostError, InternalError

__all__ = ["check", "explain", "problems", "recall", "remember"]

KNOWN_GOOD = ("llvmpipe", "SwiftShader")        # what `make test` runs on
FILE = "adapters.json"
MOST = 32                   # lines kept in a file
_known: dict[str, tuple[str, ...]] = {}


def problems(device: Device) -> tuple[str, ...]:
    """What the device computes wrong, one sentence each; found once per adapter, with a warning if there is anything.

    The devices that the tests run on are trusted without a run.
    """
    name = device.description
    if any(good in name for good in KNOWN_GOOD):
        return ()
    if name not in _known:
        _known[name] = () if _key(name) in recall(FILE) else check(device)
        if _known[name]:
            warnings.warn(explain(device), RuntimeWarning, stacklevel=4)
        else:
            remember(FILE, _key(name))
    return _known[name]


def check(device: Device) -> tuple[str, ...]:
    """Runs the self-test now. Gives one sentence for each kernel whose result is wrong."""
    from ..gpu_wgsl import selftest

    try:
        return tuple(selftest.run(device))
    except (DeviceLimitError, DeviceLostError, InternalError) as error:
        return (f"the self-test does not run: {error}",)


def explain(device: Device) -> str:
    """What is wrong with a device that did not pass, and what to do."""
    found = "; ".join(_known.get(device.description) or check(device))
    return (f"{device.name} ({device.description}) computes wrong results: {found}. It is not used by default; update "
            f"the driver, or use device='wasm' or 'cpu'. Please report this with the output of `python -m tideflow "
            f"doctor`.")


def _key(name: str) -> str:
    from ..gpu_wgsl import selftest

    return hashlib.sha256(f"{name}\n{selftest.fingerprint()}".encode()).hexdigest()


def recall(name: str) -> list[str]:
    """The lines kept in a file of the cache folder; none if there is none, or it is damaged."""
    path = _path(name)
    try:
        found = json.loads(path.read_text()) if path is not None else []
    except (OSError, ValueError):
        return []
    return [x for x in found if isinstance(x, str)] if isinstance(found, list) else []


def remember(name: str, line: str) -> None:
    """Adds a line to a file of the cache folder; without one, or where it cannot be written, nothing is kept."""
    path, kept = _path(name), recall(name)
    if path is None or line in kept:
        return
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        part = path.with_suffix(f".{os.getpid()}")
        part.write_text(json.dumps([*kept[1 - MOST :], line]))
        part.replace(path)
    except OSError:                             # a full disk or a folder of somebody else: find out again next time
        return


def _path(name: str) -> Path | None:
    from ..wasm.cache import cache_folder

    folder = cache_folder()
    return None if folder is None else folder / name
