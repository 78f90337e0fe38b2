"""Normalization by the statistics of a batch or of a sample, each as one op with a gradient of its own: two kernels
backward instead of five.
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

__all__ = ["batch_norm", "layer_norm"]


def batch_norm(x: Any, gamma: Any, beta: Any, epsilon: float) -> tuple[Any, Any, Any]:
    """(y, mean, variance): each channel (last axis) of x with mean 0 and variance 1, times gamma, plus beta.

    `mean` and `variance` (not corrected for bias) are those of the batch; gamma or beta may be None.
    """
    return apply("batch_norm", x, gamma, beta, epsilon=float(epsilon))  # type: ignore[no-any-return]


def layer_norm(x: Any, gamma: Any, beta: Any, epsilon: float, axes: int = 1) -> Any:
    """Each sample of x, its last `axes` axes, with mean 0 and variance 1, times gamma, plus beta.

    gamma and beta have the shape of a sample; either may be None.
    """
    return apply("layer_norm", x, gamma, beta, epsilon=float(epsilon), axes=int(axes))[0]


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


class LayerNorm(Composite):
    """See `layer_norm`. Gives mean and 1 / deviation of each sample too, sizes 1 kept: the gradient needs them."""

    name, version, dtypes = "layer_norm", 1, FLOATING

    def infer(self, x: Spec, gamma: Spec | None, beta: Spec | None, *, epsilon: float, axes: int) -> Any:
        if not 0 < axes <= len(x.shape):
            raise InvalidArgumentError(
                f"layer_norm: axes must be between 1 and the rank of x, {len(x.shape)}; received {axes}, x has shape "
                f"{tuple(x.shape)}"
            )
        sample = Spec(x.shape[-axes:], x.dtype)
        for name, given in (("gamma", gamma), ("beta", beta)):
            if given is not None and given != sample:
                raise InvalidArgumentError(
                    f"layer_norm: {name} must be {x.dtype.name} of shape {tuple(sample.shape)}, that of a sample; "
                    f"received {given.dtype.name} of shape {tuple(given.shape)}"
                )
        each = Spec((*x.shape[:-axes], *[1] * axes), x.dtype)
        return x, each, each

    def expand(self, x: Any, gamma: Any, beta: Any, *, epsilon: float, axes: int) -> Any:
        last = tuple(range(-axes, 0))
        mean = reduce_mean(x, last, True)
        centered = x - mean
        factor = apply("rsqrt", reduce_mean(centered * centered, last, True) + epsilon)
        y = centered * factor
        y = y if gamma is None else y * gamma
        return (y if beta is None else y + beta), mean, factor

    def grad(self, dy: Any, x: Any, gamma: Any, beta: Any, *, out: Any, epsilon: float, axes: int) -> Any:
        _, mean, factor = out
        dy, dmean, dfactor = dy
        last, rows = tuple(range(-axes, 0)), tuple(range(len(x.sizes) - axes))
        share = 1.0 / dimension(num_elements(x.sizes[-axes:]), x.dtype)
        centered = x - mean
        total: Any = None
        dgamma = dbeta = None
        if dy is not None:
            normal = centered * factor
            dgamma = None if gamma is None else reduce_sum(dy * normal, rows, False)
            dbeta = None if beta is None else reduce_sum(dy, rows, False)
            scaled = dy if gamma is None else dy * gamma
            level = reduce_sum(scaled, last, True) * share
            slope = reduce_sum(scaled * normal, last, True) * share
            total = factor * (scaled - level - normal * slope)
        for part in (
            None if dmean is None else apply("broadcast_to", dmean * share, shape=tuple(x.sizes)),
            None if dfactor is None else -centered * (dfactor * share * (factor * factor * factor)),
        ):
            if part is not None:
                total = part if total is None else total + part
        return total, dgamma, dbeta

    def cases(self) -> Iterator[Case]:
        rng = np.random.default_rng(6)
        x = rng.standard_normal((3, 4, 5))
        yield case(x, rng.standard_normal(5), rng.standard_normal(5), epsilon=1e-3, axes=1, tolerance=4.0)
        yield case(x, rng.standard_normal((4, 5)), np.zeros((4, 5)), epsilon=1e-3, axes=2, tolerance=4.0)
        yield case(x[:, :, :1], np.ones(1), np.zeros(1), epsilon=1e-3, axes=1, gradient=False)
        yield case(x * 100.0 + 50.0, np.ones(5), np.zeros(5), epsilon=1e-3, axes=1, tolerance=40.0, gradient=False)
        yield case(np.zeros((0, 5)), np.ones(5), np.zeros(5), epsilon=1e-3, axes=1)
