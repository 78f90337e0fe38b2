"""Every op in the registry that has a gradient: orders 1 and 2 in a random direction, wherever a sample allows it."""

import numpy as np
import pytest
import tideflow.ops  # noqa: F401
from tideflow.autodiff.bodies import Body, record_closed
from tideflow.dtypes import as_dtype
from tideflow.eager.run_op import wrap
from tideflow.ops.dispatch import apply
from tideflow.ops.op import NoGradient, Spec, registered_ops

# Ops whose own samples sit at kinks, and what checks their gradient instead.
THROUGH = {"max_pool_grad": "max_pool, order 2", "max_pool_pick": "max_pool, order 2"}


def differentiable(op):
    return op.kind == "composite" or not isinstance(op.grad, NoGradient)


def samples():
    for op in registered_ops():
        if differentiable(op):
            for i, case in enumerate(op.cases()):
                if case.gradient and any(a is not None and a.dtype.kind == "f" for a in case.arrays):
                    yield pytest.param(op, case, id=f"{op}-{i}")


def in_float64(attr):
    """The attribute for inputs of float64."""
    if not isinstance(attr, Body):
        return "float64" if attr == "float32" else attr

    def again(*inputs):
        values = dict(zip(attr.graph.inputs, inputs, strict=True))
        for node in attr.graph.nodes:
            made = apply(node.op, *(values.get(v, v) for v in node.inputs), **node.attrs)
            values.update(zip(node.outputs, made if isinstance(made, tuple) else (made,), strict=True))
        return [values[v] for v in attr.graph.outputs]

    wide = [Spec(s.shape, as_dtype("float64") if s.dtype.is_floating else s.dtype) for s in attr.input_specs]
    return record_closed(again, wide, attr.graph.name)


@pytest.mark.parametrize("op, case", list(samples()))
def test_gradient_equals_central_differences(op, case, check_gradient):
    attrs = {k: in_float64(v) for k, v in case.attrs.items()}
    floating = [i for i, a in enumerate(case.arrays) if a is not None and a.dtype.kind == "f"]

    def run(output):
        def f(*xs):
            taken = dict(zip(floating, xs, strict=True))
            inputs = [None if a is None else taken[i] if i in taken else wrap(a) for i, a in enumerate(case.arrays)]
            made = apply(op, *inputs, **attrs)
            return made[output] if isinstance(made, tuple) else made

        return f

    arrays = [case.arrays[i].astype(np.float64) for i in floating]
    first = apply(op, *(None if a is None else wrap(a) for a in case.arrays), **case.attrs)
    outputs = first if isinstance(first, tuple) else (first,)
    for i, out in enumerate(outputs):
        if out.dtype.is_floating:
            check_gradient(run(i), *arrays, tolerance=1e-6 * case.tolerance)


@pytest.mark.parametrize("op", list(registered_ops()), ids=str)
def test_every_op_with_a_gradient_is_checked_somewhere(op):
    if not differentiable(op):
        assert op.grad.reason, f"{op}: say why there is no gradient"
    elif op.name not in THROUGH and any(
        a is not None and a.dtype.kind == "f" for case in op.cases() for a in case.arrays
    ):
        assert any(c.gradient for c in op.cases()), f"{op}: no sample allows a gradient check"
