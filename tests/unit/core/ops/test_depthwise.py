"""Depthwise convolution on the host: equal to sums over windows written out, whatever stride, padding and size."""

import numpy as np
import pytest
from tideflow.ops import depthwise, parts
from tideflow.ops.op import find_op
from tideflow.ops.windows import normal_padding

PADDINGS = ["SAME", "VALID", ((1, 2), (0, 3))]


def written_out(x, w, geometry, out, groups):
    """One window, one channel, one tap at a time."""
    before = [g.before for g in geometry]
    y = np.zeros(out)
    repeated = np.repeat(x, out[-1] // groups, -1)
    for at in np.ndindex(*out[1:-1]):
        for k in np.ndindex(*w.shape[:-2]):
            where = [o * g.stride + i * g.dilation - b for o, i, g, b in zip(at, k, geometry, before, strict=True)]
            if all(0 <= i < n for i, n in zip(where, x.shape[1:-1], strict=True)):
                y[(slice(None), *at)] += repeated[(slice(None), *where)] * w[k].reshape(-1)
    return y


@pytest.mark.parametrize("padding", PADDINGS, ids=str)
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize(("dilation", "multiplier"), [(1, 1), (2, 1), (3, 1), (1, 3)])
@pytest.mark.parametrize("block", [8, 1 << 15])
@pytest.mark.parametrize("window", [(2, 3), (5, 4)], ids=str)
def test_depthwise_equals_sums_written_out(padding, stride, dilation, multiplier, block, window, monkeypatch):
    monkeypatch.setattr(depthwise, "BLOCK", block)
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((3, 13, 11, 5)), rng.standard_normal((*window, 1, 5 * multiplier))
    op = find_op("conv2d")
    attrs = {"strides": (stride, stride), "padding": normal_padding(padding, "conv"), "dilations": (dilation, dilation)}
    geometry = op.geometry(x.shape, w.shape, groups=5, **attrs)
    out = (3, *(g.out for g in geometry), 5 * multiplier)
    expected = written_out(x, w, geometry, out, 5)
    np.testing.assert_allclose(op.numpy(x, w, groups=5, **attrs), expected, rtol=1e-12, atol=1e-12)
    dy = rng.standard_normal(out)
    dx = find_op("conv2d_input_grad").numpy(dy, w, input_shape=x.shape, groups=5, **attrs)
    np.testing.assert_allclose((dx * x).sum(), (dy * expected).sum(), rtol=1e-10)       # it is the adjoint


def test_depthwise_of_many_images_does_not_depend_on_threads(monkeypatch):
    rng = np.random.default_rng(1)
    x, w = (rng.standard_normal(s).astype(np.float32) for s in ((9, 31, 33, 32), (3, 3, 1, 32)))
    attrs = {"strides": (1, 1), "padding": "SAME", "dilations": (1, 1), "groups": 32}
    monkeypatch.setattr(depthwise, "SHARED", 1)
    found = []
    for count in (1, 3):
        monkeypatch.setattr(parts, "_count", count)
        found.append(find_op("conv2d").numpy(x, w, **attrs))
    assert np.array_equal(*found)
    geometry = find_op("conv2d").geometry(x.shape, w.shape, **attrs)
    np.testing.assert_allclose(found[0][:1], written_out(x[:1], w, geometry, (1, 31, 33, 32), 32), rtol=1e-4, atol=1e-4)
