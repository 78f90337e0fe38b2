"""Normalization by the statistics of a batch, as one op with a gradient of its own: two kernels backward instead of
five.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..dtypes import FLOATING
from ..errors import InvalidArgumentError
from ..shapes import num_elements
from .dispatch import apply
from .movement import dimension
from .op import Case, Composite, Spec, case
from .reduce import reduce_mean, reduce_sum

__all__ = ["batch_norm"]


def batch_norm(x: Any, gamma: Any, beta: Any, epsilon: float) -> tuple[Any, Any, Any]:
    """(y, mean, variance): each channel (last axis) of x with mean 0 and variance 1, times gamma, plus beta.

    `mean` and `variance` (not corrected for bias) are those of the batch; gamma or beta may be None.
    """
    return apply("batch_norm", x, gamma, beta, epsilon=float(epsilon))  # type: ignore[no-any-return]


class BatchNorm(Composite):
    """See `batch_norm`."""

    name, version, dtypes = "batch_norm", 1, FLOATING

    def infer(self, x: Spec, gamma: Spec | None, beta: Spec | None, *, epsilon: float) -> tuple[Spec, Spec, Spec]:
        if len(x.shape) < 2:
            raise InvalidArgumentError(f"batch_norm: x needs a batch and a channel axis, it has shape {tuple(x.shape)}")
        channels = Spec(x.shape[-1:], x.dtype)
        for name, given in (("gamma", gamma), ("beta", beta)):
            if given is not None and given != channels:
                raise InvalidArgumentError(
                    f"batch_norm: {name} must be {x.dtype.name} of shape {channels.shape}, one per channel of x; "
                    f"received {given.dtype.name} of shape {tuple(given.shape)}"
                )
        return x, channels, channels

    def expand(self, x: Any, gamma: Any, beta: Any, *, epsilon: float) -> Any:
        axes = tuple(range(len(x.sizes) - 1))
        mean = reduce_mean(x, axes, False)
        centered = x - mean
        variance = reduce_mean(centered * centered, axes, False)
        factor = apply("rsqrt", variance + epsilon)
        y = centered * (factor if gamma is None else factor * gamma)
        return (y if beta is None else y + beta), mean, variance

    def grad(self, dy: Any, x: Any, gamma: Any, beta: Any, *, out: Any, epsilon: float) -> Any:
        _, mean, variance = out
        dy, dmean, dvariance = dy
        axes = tuple(range(len(x.sizes) - 1))
        share = 1.0 / dimension(num_elements(x.sizes[:-1]), x.dtype)
        centered = x - mean
        total: Any = None
        dgamma = dbeta = None
        if dy is not None:
            factor = apply("rsqrt", variance + epsilon)
            normal = centered * factor
            dbeta = reduce_sum(dy, axes, False)
            dgamma = reduce_sum(dy * normal, axes, False)
            scale = factor if gamma is None else factor * gamma
            total = scale * (dy - (dbeta + normal * dgamma) * share)
        for part in (
            None if dmean is None else apply("broadcast_to", dmean * share, shape=tuple(x.sizes)),
            None if dvariance is None else centered * (dvariance * share * 2.0),
        ):
            if part is not None:
                total = part if total is None else total + part
        return total, None if gamma is None else dgamma, None if beta is None else dbeta

    def cases(self) -> Iterator[Case]:
        rng = np.random.default_rng(5)
        x = rng.standard_normal((3, 4, 5))
        yield case(x, rng.standard_normal(5), rng.standard_normal(5), epsilon=1e-3, tolerance=4.0)
        yield case(rng.standard_normal((1, 3)), np.ones(3), np.zeros(3), epsilon=1e-3, tolerance=4.0, gradient=False)
        yield case(x * 100.0 + 50.0, np.ones(5), np.zeros(5), epsilon=1e-3, tolerance=40.0, gradient=False)
