"""tf.config: which devices are here, and whether compiled functions run eagerly. (`tf.device` chooses a device.)"""

from __future__ import annotations

from typing import Any, NamedTuple

from .function.function import functions_run_eagerly, run_functions_eagerly
from .runtime import discover

__all__ = [
    "LogicalDevice",
    "PhysicalDevice",
    "experimental",
    "functions_run_eagerly",
    "get_visible_devices",
    "list_logical_devices",
    "list_physical_devices",
    "run_functions_eagerly",
]


class PhysicalDevice(NamedTuple):
    """A device that is here."""

    name: str
    device_type: str


class LogicalDevice(NamedTuple):
    """A device as ops see it: the same as the physical one."""

    name: str
    device_type: str


def list_physical_devices(device_type: str | None = None) -> list[PhysicalDevice]:
    """The devices that are here. A GPU that the processor emulates is not listed: it is used only when asked for.

    >>> [d.device_type for d in list_physical_devices("CPU")]
    ['CPU']
    """
    kinds = ["CPU", "GPU", "WASM"] if device_type is None else [device_type.upper()]
    return [PhysicalDevice(f"/physical_device:{kind}:0", kind) for kind in kinds if _usable(kind)]


def list_logical_devices(device_type: str | None = None) -> list[LogicalDevice]:
    """The devices under the names that `tf.device` takes."""
    return [LogicalDevice(f"/device:{d.device_type}:0", d.device_type) for d in list_physical_devices(device_type)]


def get_visible_devices(device_type: str | None = None) -> list[PhysicalDevice]:
    """The devices that are here; none can be hidden. To stay off a GPU: `with tf.device("/CPU:0")`."""
    return list_physical_devices(device_type)


def _usable(kind: str) -> bool:
    if f"{kind}:0" not in discover.NAMES:
        return False
    found = discover.find(kind)
    return found.present and not (kind == "GPU" and found.software)


class experimental:
    """Names that programs for real GPUs call; there is nothing to set here."""

    list_physical_devices = staticmethod(list_physical_devices)
    list_logical_devices = staticmethod(list_logical_devices)

    @staticmethod
    def set_memory_growth(device: Any, enable: bool) -> None:
        """Memory always grows with what a program needs."""

    @staticmethod
    def enable_op_determinism() -> None:
        """Ops are deterministic anyway: no kernel uses float atomics."""
