"""Errors, symbolic batches and kernels of convolution, pooling, softmax, losses, optimizer steps and random draws."""

import itertools

import numpy as np
import pytest
import tideflow as tf
from tideflow.dtypes import as_dtype, float32, int32
from tideflow.errors import InvalidArgumentError
from tideflow.kernel.interpret import run_kernel
from tideflow.kernel.ir import Axis, Buffer, Builder, Kernel, Store, View
from tideflow.ops.common import ravel
from tideflow.ops.op import Spec, find_op, registered_ops
from tideflow.ops.softmax import log_softmax, softmax
from tideflow.shapes import Dim, evaluate, symbol

FAMILIES = ("conv", "pool", "pool_places", "softmax", "losses", "optimizer", "random", "sort")
BATCH = symbol("batch")
CONV = {"strides": (1, 1), "padding": "SAME", "dilations": (1, 1), "groups": 1}


def lowered(op, arrays, attrs, shapes=None, symbols=None):
    """The outputs of an op by its lowering: one kernel per output, run by the interpreter."""
    shapes = [a.shape for a in arrays] if shapes is None else shapes
    specs = op.infer(*(Spec(s, as_dtype(a.dtype)) for s, a in zip(shapes, arrays, strict=True)), **attrs)
    outputs = specs if isinstance(specs, tuple) else (specs,)
    made = []
    for position, spec in enumerate(outputs):
        ir = Builder()
        views = [view(ir, i, a, s) for i, (a, s) in enumerate(zip(arrays, shapes, strict=True))]
        axes = tuple(Axis(f"p{i}", d) for i, d in enumerate(spec.shape))
        at = [ir.axis(a) for a in axes]
        if op.kind == "elementwise":
            value = op.lower(ir, *(v.at(*_broadcast(ir, at, v.shape)) for v in views), **attrs)
            value = value[position] if isinstance(value, tuple) else value
        else:
            value = op.lower(ir, at, *views, **attrs)
        buffers = [Buffer(f"x{i}", v.dtype) for i, v in enumerate(views)] + [Buffer("out", spec.dtype.device, True)]
        sizes = {d for a in axes for d in [a.extent] if isinstance(d, Dim)} | {s for s in _dims(value)}
        kernel = Kernel(
            op.name, axes, (Store(len(views), ravel(ir, at, spec.shape), value),), tuple(buffers), tuple(sizes)
        )
        out = np.zeros([evaluate(d, symbols or {}) for d in spec.shape], spec.dtype.numpy)
        run_kernel(kernel, [*(np.ascontiguousarray(a) for a in arrays), out], symbols)
        made.append(out)
    return made


def view(ir, number, array, shape):
    dtype = as_dtype(array.dtype).device
    return View(
        tuple(shape), dtype, lambda at: ir.load(number, dtype, ravel(ir, [ir.lift(i, "i32") for i in at], shape))
    )


def _broadcast(ir, at, shape):
    return [ir.const(0) if d == 1 else i for i, d in zip(at[len(at) - len(shape) :], shape, strict=True)]


def _dims(value):
    from tideflow.kernel.ir import walk

    return [x.attr for x in walk([value]) if x.op == "size"]


def samples():
    for op in registered_ops():
        if type(op).__module__.rsplit(".", 1)[-1] in FAMILIES and op.kind != "composite":
            for i, case in enumerate(op.cases()):
                yield pytest.param(op, case, id=f"{op}-{i}")


@pytest.mark.parametrize("op, case", list(samples()))
def test_numpy_has_the_inferred_shape_and_the_lowering_agrees(op, case):
    specs = op.infer(*(Spec(a.shape, as_dtype(a.dtype)) for a in case.arrays), **case.attrs)
    results = op.numpy(*case.arrays, **case.attrs)
    specs, results = (specs, results) if isinstance(specs, tuple) else ((specs,), (results,))
    for spec, result, device in zip(specs, results, lowered(op, case.arrays, case.attrs), strict=True):
        assert (result.shape, result.dtype) == (spec.shape, spec.dtype.numpy)
        np.testing.assert_allclose(device, result, rtol=3e-5, atol=3e-6)


BATCHED = [
    ("conv2d", [(3, 5, 4, 2), (3, 3, 2, 3)], CONV | {"strides": (2, 1)}, (0,)),
    ("conv2d_input_grad", [(3, 5, 4, 3), (3, 3, 2, 3)], CONV | {"input_shape": (BATCH, 5, 4, 2)}, (0,)),
    ("conv2d_filter_grad", [(3, 5, 4, 2), (3, 5, 4, 3)], CONV | {"filter_shape": (3, 3, 2, 3)}, (0, 1)),
    ("max_pool", [(3, 5, 4, 2)], {"ksize": (2, 2), "strides": (2, 2), "padding": "SAME"}, (0,)),
    ("avg_pool_grad", [(3, 3, 2, 2)],
     {"input_shape": (BATCH, 5, 4, 2), "ksize": (2, 2), "strides": (2, 2), "padding": "SAME"}, (0,)),
    ("softmax", [(3, 6)], {}, (0,)),
    ("softmax_cross_entropy", [(3, 6), (3, 6)], {}, (0, 1)),
]  # fmt: skip


@pytest.mark.parametrize("name, shapes, attrs, batched", BATCHED, ids=[b[0] for b in BATCHED])
def test_a_symbolic_batch_gives_the_same_numbers(name, shapes, attrs, batched):
    op, rng = find_op(name), np.random.default_rng(0)
    arrays = [rng.standard_normal(s).astype(np.float32) for s in shapes]
    symbolic = [(BATCH, *s[1:]) if i in batched else s for i, s in enumerate(shapes)]
    known = {k: tuple(evaluate(d, {"batch": 3}) for d in v) if k == "input_shape" else v for k, v in attrs.items()}
    (made,) = lowered(op, arrays, attrs, symbolic, {"batch": 3})
    np.testing.assert_allclose(made, op.numpy(*arrays, **known), rtol=2e-5, atol=2e-6)


def test_a_symbolic_height_gives_the_same_numbers():
    height, rng = symbol("height"), np.random.default_rng(1)
    x, w = rng.standard_normal((2, 7, 5, 3)).astype(np.float32), rng.standard_normal((3, 3, 3, 2)).astype(np.float32)
    attrs = CONV | {"strides": (2, 2)}
    (made,) = lowered(find_op("conv2d"), [x, w], attrs, [(2, height, 5, 3), w.shape], {"height": 7})
    np.testing.assert_allclose(made, find_op("conv2d").numpy(x, w, **attrs), rtol=2e-5, atol=2e-6)


def test_convolution_equals_its_definition():
    rng = np.random.default_rng(2)
    x, w = rng.standard_normal((1, 5, 6, 4)), rng.standard_normal((2, 3, 2, 6))
    made = find_op("conv2d").numpy(x, w, strides=(2, 1), padding=((1, 0), (0, 2)), dilations=(1, 2), groups=2)
    padded = np.pad(x, ((0, 0), (1, 0), (0, 2), (0, 0)))
    expected = np.zeros((1, 3, 4, 6))
    for oh, ow, o, kh, kw, c in itertools.product(*map(range, (3, 4, 6, 2, 3, 2))):
        expected[0, oh, ow, o] += padded[0, 2 * oh + kh, ow + 2 * kw, o // 3 * 2 + c] * w[kh, kw, c, o]
    np.testing.assert_allclose(made, expected, atol=1e-12)


def test_equal_maxima_give_the_gradient_to_the_first():
    attrs = {"ksize": (2, 2), "strides": (2, 2), "padding": "VALID"}
    x, one = np.ones((1, 2, 2, 1), np.float32), np.ones((1, 1, 1, 1), np.float32)
    made = find_op("max_pool_grad").numpy(x, one, one, **attrs)
    assert made.ravel().tolist() == [1.0, 0.0, 0.0, 0.0]
    assert lowered(find_op("max_pool_grad"), [x, one, one], attrs)[0].ravel().tolist() == [1.0, 0.0, 0.0, 0.0]


def test_wrong_shapes_are_named():
    spec = lambda *shape: Spec(shape, float32)  # noqa: E731
    with pytest.raises(InvalidArgumentError, match="5 channels"):
        find_op("conv2d").infer(spec(1, 4, 4, 5), spec(3, 3, 2, 3), **CONV)
    with pytest.raises(InvalidArgumentError, match="multiple of 2"):
        find_op("conv2d").infer(spec(1, 4, 4, 4), spec(3, 3, 2, 3), **(CONV | {"groups": 2}))
    with pytest.raises(InvalidArgumentError, match="must have 4 axes"):
        find_op("conv2d").infer(spec(4, 4, 4), spec(3, 3, 2, 3), **CONV)
    with pytest.raises(InvalidArgumentError, match="logits_size"):
        find_op("softmax_cross_entropy").infer(spec(2, 3), spec(2, 4))
    with pytest.raises(InvalidArgumentError, match="without its last axis"):
        find_op("sparse_softmax_cross_entropy").infer(spec(2, 3), Spec((3,), int32))
    with pytest.raises(InvalidArgumentError, match="one shape and dtype"):
        find_op("sgd_step").infer(spec(2, 3), spec(3, 2), spec(), weight_decay=0.0)
    with pytest.raises(InvalidArgumentError, match="uint32 of shape"):
        find_op("random_normal").infer(Spec((2,), int32), shape=(3,), dtype="float32", offset=0)
    with pytest.raises(ValueError, match=r"range \[0, 1\)"):
        find_op("dropout").infer(spec(2), Spec((4,), as_dtype("uint32")), rate=1.0, noise_shape=None, offset=0)


@pytest.mark.parametrize("label", [-1, 3])
def test_a_wrong_label_is_an_error_on_the_host_and_nan_on_a_device(label):
    op, logits, labels = (
        find_op("sparse_softmax_cross_entropy"),
        np.zeros((2, 3), np.float32),
        np.array([0, label], np.int32),
    )
    with pytest.raises(InvalidArgumentError, match=rf"label value of {label} at position \(1,\).*\[0, 3\)"):
        op.numpy(logits, labels)
    made = lowered(op, [logits, labels], {})[0]
    assert np.isfinite(made[0]) and np.isnan(made[1])


def test_philox_gives_the_published_numbers():
    from tideflow.kernel.philox import philox_blocks, philox_numpy

    assert philox_numpy((0, 0), [[0]] * 4).ravel().tolist() == [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]
    full = 0xFFFFFFFF
    assert philox_numpy((full, full), [[full]] * 4).ravel().tolist() == [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]
    across = philox_blocks((1, 2), 2**64 - 2, 4)
    np.testing.assert_array_equal(across[2:], philox_blocks((1, 2), 2**64, 2))


def test_an_offset_continues_a_draw():
    key = np.array([1, 2, 0xFFFFFFFF, 3], np.uint32)
    op = find_op("random_normal")
    whole = op.numpy(key, shape=(24,), dtype="float32", offset=0)
    np.testing.assert_array_equal(op.numpy(key, shape=(12,), dtype="float32", offset=3), whole[12:])


def test_dropout_keeps_its_mask_and_its_mean():
    key, x = np.array([7, 0, 0, 0], np.uint32), np.ones((200, 50), np.float32)
    attrs = {"rate": 0.25, "noise_shape": None, "offset": 0}
    made = find_op("dropout").numpy(x, key, **attrs)
    assert set(np.unique(made).tolist()) == {0.0, np.float32(1 / 0.75)}
    assert abs(made.mean() - 1.0) < 0.02
    np.testing.assert_array_equal(find_op("dropout").numpy(x * 2.0, key, **attrs), made * 2.0)


@pytest.mark.parametrize("axis", [None, True, 1.0, "1", (0,)], ids=repr)
@pytest.mark.parametrize("function", [softmax, log_softmax])
def test_softmax_refuses_an_axis_that_is_no_int(function, axis):
    x = tf.zeros((2, 3))
    with pytest.raises(InvalidArgumentError, match="axis must be an int"):
        function(x, axis)
    assert np.array_equal(function(x, np.int64(0)).numpy(), function(x, 0).numpy())
