"""tf.test: what tests ask about devices, and a TestCase with comparisons of tensors."""

from __future__ import annotations

import unittest
from typing import Any

import numpy as np

from .runtime import discover

__all__ = ["TestCase", "gpu_device_name", "is_built_with_cuda", "is_built_with_gpu_support", "is_gpu_available", "main"]

main = unittest.main


def is_gpu_available(cuda_only: bool = False, min_cuda_compute_capability: Any = None) -> bool:
    """Whether a real GPU is here. None is a CUDA device: kernels are WebGPU's."""
    return not cuda_only and bool(gpu_device_name())


def gpu_device_name() -> str:
    """The name of the GPU for `tf.device`, or an empty string."""
    found = discover.find("GPU:0")
    return "/device:GPU:0" if found.present and not found.software else ""


def is_built_with_cuda() -> bool:
    """False: kernels are WebGPU's."""
    return False


def is_built_with_gpu_support() -> bool:
    """True: any GPU that WebGPU reaches."""
    return True


def _values(x: Any) -> Any:
    if isinstance(x, list | tuple):
        return np.asarray([_values(v) for v in x])
    return np.asarray(x.numpy() if hasattr(x, "numpy") else x)


class TestCase(unittest.TestCase):
    """unittest's TestCase with comparisons of tensors."""

    __test__ = False

    def evaluate(self, tensors: Any) -> Any:
        """The values of tensors."""
        return _values(tensors)

    def assertAllEqual(self, a: Any, b: Any, msg: str | None = None) -> None:
        """The same shape and the same values."""
        np.testing.assert_array_equal(_values(a), _values(b), err_msg=msg or "", strict=False)
        self.assertEqual(_values(a).shape, _values(b).shape, msg)

    def assertAllClose(self, a: Any, b: Any, rtol: float = 1e-6, atol: float = 1e-6, msg: str | None = None) -> None:
        """The same shape and nearly the same values."""
        self.assertEqual(_values(a).shape, _values(b).shape, msg)
        np.testing.assert_allclose(_values(a), _values(b), rtol, atol, err_msg=msg or "")

    def assertShapeEqual(self, a: Any, b: Any, msg: str | None = None) -> None:
        """The same shape."""
        self.assertEqual(tuple(np.shape(_values(a))), tuple(np.shape(_values(b))), msg)
