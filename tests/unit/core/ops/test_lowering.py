"""Every primitive's lowering, run by the kernel interpreter, equals its numpy kernel at every sample."""

import numpy as np
import pytest
import tideflow.ops  # noqa: F401
from tideflow.dtypes import as_dtype
from tideflow.kernel.interpret import run_kernel
from tideflow.kernel.ir import BOOL, F32, I32, U32, Buffer, Builder, Kernel, Store, View, store_roots, walk
from tideflow.ops.op import Spec, registered_ops
from tideflow.shapes import Dim, evaluate, symbol

KERNEL = {"float32": F32, "int32": I32, "uint32": U32, "bool": BOOL, "int64": I32}
STORED = {F32: np.float32, I32: np.int32, U32: np.uint32, BOOL: np.uint32}


def flat(ir, shape, at):
    index = ir.const(0)
    for size, i in zip(shape, at, strict=True):
        index = index * ir.size(size) + i
    return index


def load(ir, number, dtype, shape, at):
    value = ir.load(number, U32 if dtype == BOOL else dtype, flat(ir, shape, at))
    return ir.cast(value, BOOL) if dtype == BOOL else value


def kernels_of(op, specs, attrs):
    """One kernel per output, over the given input specs."""
    made = op.infer(*specs, **attrs)
    outputs = made if isinstance(made, tuple) else (made,)
    for which, out in enumerate(outputs):
        ir = Builder()
        axes = [ir.new_axis(size) for size in out.shape]
        at = [ir.axis(a) for a in axes]
        if op.kind == "elementwise":
            exprs = []
            for i, s in enumerate(specs):
                if s is None:
                    continue
                tail = at[len(at) - len(s.shape) :]
                own = [ir.const(0) if d == 1 else k for d, k in zip(s.shape, tail, strict=True)]
                exprs.append(load(ir, i, KERNEL[s.dtype.name], s.shape, own))
            value = op.lower(ir, *exprs, **attrs)
            value = value[which] if isinstance(value, tuple) else value
        else:
            views = [
                None
                if s is None
                else View(
                    s.shape,
                    KERNEL[s.dtype.name],
                    lambda at, ir=ir, i=i, s=s: load(ir, i, KERNEL[s.dtype.name], s.shape, at),
                )
                for i, s in enumerate(specs)
            ]
            extra = {"output": which} if len(outputs) > 1 else {}
            value = op.lower(ir, at, *views, **attrs, **extra)
        dtype = KERNEL[out.dtype.name]
        assert value.dtype == dtype, f"{op}: lower gives {value.dtype}, infer says {out.dtype}"
        stored = ir.cast(value, U32) if dtype == BOOL else value
        buffers = [
            Buffer(f"x{i}", U32 if s is None or KERNEL[s.dtype.name] == BOOL else KERNEL[s.dtype.name])
            for i, s in enumerate(specs)
        ]
        store = Store(len(buffers), flat(ir, out.shape, at), stored)
        sizes = tuple(dict.fromkeys(x.attr for x in walk(store_roots([store])) if x.op == "size"))
        live = tuple(a for a in axes if a.extent != 1)
        yield (
            out,
            Kernel(op.name, live, (store,), (*buffers, Buffer("y", U32 if dtype == BOOL else dtype, True)), sizes),
        )


def run_lowered(op, arrays, attrs, specs=None, symbols=None):
    """The outputs of the lowering, as arrays."""
    specs = [None if a is None else Spec(a.shape, as_dtype(a.dtype)) for a in arrays] if specs is None else specs
    results = []
    for out, kernel in kernels_of(op, specs, attrs):
        shape = tuple(evaluate(d, symbols or {}) for d in out.shape)
        dtype = KERNEL[out.dtype.name]
        y = np.zeros(shape, STORED[dtype])
        stored = [
            np.zeros(1, np.uint32)
            if a is None
            else np.ascontiguousarray(a.astype(STORED[KERNEL[as_dtype(a.dtype).name]]))
            for a in arrays
        ]
        if y.size:
            run_kernel(kernel, [*stored, y], symbols)
        results.append(y.astype(bool) if dtype == BOOL else y)
    return results


def on_device(op, case):
    """Whether the op's own lowering can compute this. Ops with bodies have none: tests/differential compiles those."""
    if op.kind in ("composite", "control") or any(a is not None and str(a.dtype) not in KERNEL for a in case.arrays):
        return False
    made = op.infer(*(None if a is None else Spec(a.shape, as_dtype(a.dtype)) for a in case.arrays), **case.attrs)
    return all(s.dtype.name in KERNEL for s in (made if isinstance(made, tuple) else (made,)))


def samples():
    for op in registered_ops():
        for i, case in enumerate(op.cases()):
            if on_device(op, case) and not op.stateful:
                yield pytest.param(op, case, id=f"{op}-{i}")


def close(found, wanted, tolerance=1.0):
    if wanted.dtype.kind == "f":
        np.testing.assert_allclose(found, wanted, rtol=2e-5 * tolerance, atol=2e-6 * tolerance)
    else:
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("op, case", list(samples()))
def test_lowering_equals_numpy(op, case):
    wanted = op.numpy(*case.arrays, **case.attrs)
    found = run_lowered(op, case.arrays, case.attrs)
    for f, w in zip(found, wanted if isinstance(wanted, tuple) else (wanted,), strict=True):
        close(f, np.asarray(w), case.tolerance)


N = symbol("n")
X = np.arange(30, dtype=np.float32).reshape(5, 6) / 7 - 1.9
CUBE = np.arange(60, dtype=np.float32).reshape(5, 4, 3) / 7 - 1.9
IDS = np.array([3, 0, 3, 1, 2], np.int32)
SYMBOLIC = [
    ("add", [X, X[:1]], [(N, 6), (1, 6)], {}),
    ("reshape", [CUBE], [(N, 4, 3)], {"shape": (N, 12)}),
    ("reshape", [CUBE], [(N, 4, 3)], {"shape": (2, 2, N, 3)}),
    ("reshape", [CUBE], [(N, 4, 3)], {"shape": (N * 12,)}),
    ("reshape", [CUBE.transpose(1, 2, 0)], [(4, 3, N)], {"shape": (12, 1, N)}),
    ("transpose", [CUBE], [(N, 4, 3)], {"perm": (2, 0, 1)}),
    ("broadcast_to", [X[:1]], [(1, 6)], {"shape": (N, 6)}),
    ("concat", [X, X], [(N, 6), (N, 6)], {"axis": 0}),
    ("concat", [X, X], [(N, 6), (N, 6)], {"axis": 1}),
    ("reverse", [X], [(N, 6)], {"axes": (0,)}),
    ("slice", [X], [(N, 6)], {"begin": (N - 2, 1), "size": (2, 3)}),
    ("strided_slice", [X], [(N, 6)], {"begin": (N - 1, 0), "strides": (-1, 2), "shape": (N, 3)}),
    ("strided_slice_grad", [X[:, :3]], [(N, 3)], {"begin": (N - 1, 0), "strides": (-1, 2), "shape": (N, 6)}),
    ("pad", [X], [(N, 6)], {"paddings": ((N, 1), (0, 2)), "constant_value": 0.5}),
    ("gather", [X, IDS], [(N, 6), (5,)], {"axis": 0, "batch_dims": 0}),
    ("gather", [X, IDS], [(5, 6), (N,)], {"axis": 1, "batch_dims": 0}),
    ("gather", [X, IDS], [(N, 6), (N,)], {"axis": 1, "batch_dims": 1}),
    ("unsorted_segment_sum", [X, IDS], [(N, 6), (N,)], {"num_segments": 4}),
    ("unsorted_segment_sum", [X, IDS], [(N, 6), (N,)], {"num_segments": N}),
    ("one_hot", [IDS], [(N,)], {"depth": 4, "on_value": 1, "off_value": 0, "axis": 1, "dtype": "float32"}),
    ("reduce_sum", [X], [(N, 6)], {"axis": (0,), "keepdims": False}),
    ("reduce_max", [X], [(N, 6)], {"axis": None, "keepdims": True}),
    ("cumsum", [X], [(N, 6)], {"axis": 0, "exclusive": True, "reverse": True}),
    ("argmax", [X], [(N, 6)], {"axis": 0, "output_type": "int64"}),
    ("matmul", [X, X], [(N, 6), (N, 6)], {"transpose_a": False, "transpose_b": True}),
    ("matmul", [X, X], [(N, 6), (N, 6)], {"transpose_a": True, "transpose_b": False}),
    ("full", [], [], {"shape": (N, 2), "value": 3.0, "dtype": "float32"}),
    ("dimension", [], [], {"size": N * 2 + 1, "dtype": "float32"}),
    ("range", [], [], {"size": N, "start": 3, "delta": -2, "dtype": "int32"}),
]


def evaluated(attr):
    """An attribute with its symbol bound to 5."""
    if isinstance(attr, tuple):
        return tuple(evaluated(a) for a in attr)
    return evaluate(attr, {"n": 5}) if isinstance(attr, Dim) else attr


@pytest.mark.parametrize("name, arrays, shapes, attrs", SYMBOLIC, ids=[f"{i}-{c[0]}" for i, c in enumerate(SYMBOLIC)])
def test_lowering_with_a_symbolic_size_equals_numpy(name, arrays, shapes, attrs):
    op = next(op for op in registered_ops() if op.name == name)
    specs = [Spec(s, as_dtype(a.dtype)) for s, a in zip(shapes, arrays, strict=True)]
    (found,) = run_lowered(op, arrays, attrs, specs, {"n": 5})
    wanted = op.numpy(*arrays, **{k: evaluated(v) for k, v in attrs.items()})
    assert found.shape == wanted.shape
    close(found, wanted)


@pytest.mark.parametrize("image", [(28, 28, 1), (5, 5, 64), (2, 3, 4, 5)])
def test_flattening_an_image_needs_no_division(image):
    """x // c * c + x % c is x: the load is contiguous."""
    op = next(op for op in registered_ops() if op.name == "reshape")
    flat_size = int(np.prod(image))
    ((_, kernel),) = kernels_of(op, [Spec((N, *image), as_dtype("float32"))], {"shape": (N, flat_size)})
    assert not [x for x in walk(store_roots(list(kernel.stores))) if x.op in ("div", "mod", "size")]
