"""Contractions cut by phase: each phase multiplies by the taps that it has, and stores its own elements."""

from math import prod

import numpy as np
import pytest
from kernel_samples import strided_input_gradient as sample
from tideflow.kernel.contract import find_contract
from tideflow.kernel.interpret import run_kernel
from tideflow.kernel.ir import Kernel
from tideflow.wasm.emit import workspace
from tideflow.wasm.gemm import pays
from tideflow.wasm.gemm import workspace as of_contract
from tideflow.wasm.phases import phases

CHANNELS = 8  # of the sample, in and out


def taps(kernel: Kernel) -> list[int]:
    """Of each phase, in order."""
    contract = find_contract(kernel)
    assert contract is not None
    found = phases(kernel, contract)
    return [0 if part is None else prod(a.extent for a in part.k) // CHANNELS for _, part in found]


@pytest.mark.parametrize(
    ("window", "stride", "expected"),
    [(3, 2, [2, 1]), (5, 3, [2, 1, 2]), (5, 2, [2, 3]), (1, 2, [1, 0]), (2, 3, [1, 0, 1]), (4, 2, [2]), (3, 1, [3])],
)
def test_each_phase_has_its_own_taps(window, stride, expected):
    """In all as many as the window has; where no phase has fewer than another it stays one contraction."""
    kernel = sample(6 * stride, window, stride)
    assert sorted(taps(kernel)) == sorted(expected)
    assert len(expected) == 1 or sum(expected) == window


@pytest.mark.parametrize(("window", "stride"), [(3, 2), (5, 3), (1, 2)])
def test_phases_together_store_what_the_kernel_does(window, stride):
    kernel = sample(5 * stride, window, stride)
    contract = find_contract(kernel)
    assert contract is not None
    rng = np.random.default_rng(0)
    shapes = [(3, 5, 8), (window, 8, 8), (3, 5 * stride, 8)]
    arrays = [rng.standard_normal(s).astype(np.float32) for s in shapes]
    whole, parts = ([a.copy() for a in arrays] for _ in range(2))
    run_kernel(kernel, whole)
    for part, _ in phases(kernel, contract):
        run_kernel(part, parts)
    np.testing.assert_array_equal(parts[2], whole[2])


def test_the_workspace_serves_every_phase():
    kernel = sample(64, 5, 2)
    contract = find_contract(kernel)
    assert contract is not None
    needed = [of_contract(c) for _, c in phases(kernel, contract) if c is not None and pays(c)]
    assert len(needed) == 2 and workspace(kernel) == max(needed)
