"""The binding rules: what every step must keep, without sizes and with them."""

import pytest
from tideflow.errors import ModelError
from tideflow.kernel.bindings import ITEM_SIZES, check_bindings, check_bound
from tideflow.program.format import DimExpr, DimOp, DType, Kernel, Model, Place, Program, Region, Step, StepKind, Tensor

C = DimOp.CONST


def model_with(steps, regions, bindings=2, dims=(0, 16, 256, 512, 1)):
    program = Program(0, kernels=[Kernel("k", bindings=bindings)], regions=regions, steps=steps)
    model = Model(
        dims=[DimExpr(C, n) for n in dims],
        tensors=[Tensor("rate", DType.F32, []), Tensor("count", DType.I64, []), Tensor("key", DType.U32, [1])],
        programs=[program],
    )
    return model, program


def scratch(size=1, parent=-1, offset=0):
    return Region(Place.SCRATCH, size, parent=parent, offset=offset)


def refused(steps, regions, match, **named):
    model, program = model_with(steps, regions, **named)
    with pytest.raises(ModelError, match=match) as caught:
        check_bindings(model, program, "p")
        check_bound(model, program, [d.a for d in model.dims], "p")
    return caught.value


def test_a_plain_step_is_accepted_and_its_memory_counted():
    model, program = model_with([Step(regions=[0, 1], grid=[4], writes=2)], [scratch(), scratch(2)])
    check_bindings(model, program)
    assert check_bound(model, program, [0, 16, 256, 512, 1]) == 272


@pytest.mark.parametrize(
    ("step", "match"),
    [
        (Step(regions=[0, 0]), "twice: equal operands share one binding"),
        (Step(regions=[2, 3]), "beside region 2 that contains it"),
        (Step(regions=[0, 1], writes=4), "names more than its 2 regions"),
        (Step(regions=[0]), "binds 1 regions, the kernel has 2"),
        (Step(regions=[0, 1], uniforms=[0] * 65), "65 words"),
        (Step(regions=[0, 1], uniforms=[0] * 62, scalars=[0, 1]), "65 words"),
        (Step(regions=[0, 1], uniforms=[0] * 48, scalars=[2, 0]), "65 words"),
        (Step(regions=[4, 3]), "binds byte 256 of region 2 twice"),
    ],
)
def test_a_step_that_breaks_a_rule_is_named(step, match):
    regions = [scratch(), scratch(), scratch(3), scratch(2, 2, 2), scratch(3, 2)]
    assert refused([step], regions, match).where == "p.steps[0]"


def test_a_grandparent_is_an_ancestor_too():
    regions = [scratch(3), scratch(2, 0, 2), scratch(1, 1)]
    assert refused([Step(regions=[0, 2])], regions, "contains it").rule == "P08-binding"


def test_64_words_and_8_bindings_are_allowed():
    model, program = model_with([Step(regions=list(range(8)), uniforms=[0] * 46, scalars=[2, 1], writes=255)],
                                [scratch() for _ in range(8)], bindings=8)
    check_bindings(model, program)


def test_nine_bindings_are_not():
    step = Step(regions=list(range(9)))
    assert refused([step], [scratch() for _ in range(9)], "at most 8 are portable", bindings=9).rule == "P08-binding"


@pytest.mark.parametrize(("child", "match"), [(scratch(1, 0, 1), "bytes 16"), (scratch(3, 0, 2), "bytes 256")])
def test_a_child_outside_its_parent_is_refused(child, match):
    error = refused([], [scratch(3), child], match)
    assert (error.rule, error.where) == ("P06-region", "p.regions[1]")


def test_loops_are_written_out_for_the_count_of_steps():
    loop = [Step(StepKind.LOOP, count=2, body=2), Step(StepKind.LOOP, count=3, body=1), Step(regions=[0, 1])]
    model, program = model_with(loop, [scratch(), scratch()])
    check_bound(model, program, [0, 16, 1024, 1024, 1])
    with pytest.raises(ModelError, match=r"P09-budget: program\.steps"):
        check_bound(model, program, [0, 16, 1024, 1025, 1])


def test_a_size_without_a_value_is_named():
    model, program = model_with([Step(regions=[0, 1], grid=[4])], [scratch(), scratch()])
    with pytest.raises(ModelError, match=r"P13-unbound: program: uses dims\[4\]"):
        check_bound(model, program, [0, 16, 256, 512, None])


def test_item_sizes_are_those_of_the_dtypes():
    sizes = {"F32": 4, "F16": 2, "BF16": 2, "F64": 8, "I64": 8, "U64": 8, "BOOL": 1, "I8": 1, "U16": 2, "STRING": 0}
    assert len(ITEM_SIZES) == len(DType)
    assert all(ITEM_SIZES[DType[name]] == size for name, size in sizes.items())
