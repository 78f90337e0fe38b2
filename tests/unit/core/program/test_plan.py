"""The scratch planner: the corpus shared with plan.js, lifetimes, and random plans checked for overlap."""

import json
import random
from pathlib import Path

import pytest
from tideflow.errors import DeviceLimitError
from tideflow.program.format import Place, Program, Region, Step, StepKind, Target
from tideflow.program.plan import ALIGNMENT, Scratch, lifetimes, place, plan_scratch

CORPUS = json.loads((Path(__file__).parents[3] / "program" / "plan_corpus.json").read_text())


@pytest.mark.parametrize("case", CORPUS, ids=lambda case: case["name"])
def test_place_equals_corpus(case):
    regions = [Scratch(**region) for region in case["regions"]]
    if "error" in case:
        with pytest.raises(DeviceLimitError, match="1028 bytes in one piece, this device binds at most 1024"):
            place(regions, case["max_chunk"])
        return
    plan = place(regions, case["max_chunk"])
    assert [list(where) for where in plan.places] == case["expect"]
    assert plan.chunks == case["chunks"]


@pytest.mark.parametrize("seed", range(20))
def test_place_never_overlaps_live_regions(seed):
    rng = random.Random(seed)
    regions = []
    for _ in range(40):
        first = rng.randrange(20)
        regions.append(Scratch(rng.randrange(5000), first, first + rng.randrange(6)))
    plan = place(regions, 16384)
    for i, (a, (chunk, start)) in enumerate(zip(regions, plan.places, strict=True)):
        assert start % ALIGNMENT == 0 and start + a.bytes <= plan.chunks[chunk] <= 16384
        for b, (other, begin) in list(zip(regions, plan.places, strict=True))[i + 1 :]:
            if chunk == other and a.first <= b.last and b.first <= a.last:
                assert start + max(a.bytes, 1) <= begin or begin + max(b.bytes, 1) <= start
    assert sum(plan.chunks) < sum(region.bytes for region in regions)


def program(steps, parents):
    regions = [Region(Place.SCRATCH, 1, parent=parent) for parent in parents]
    return Program(Target.WGSL, regions=regions, steps=steps)


def test_lifetimes_cover_children_and_whole_loops():
    dispatch = [Step(regions=[r]) for r in (0, 2, 1, 3, 4)]
    steps = [dispatch[0], Step(StepKind.LOOP, body=3), dispatch[1], Step(StepKind.LOOP, body=1), *dispatch[2:],
             dispatch[0]]
    spans = lifetimes(program(steps, [-1, -1, 1, -1, -1, -1]))
    assert spans[0] == (0, 7)
    assert spans[1] == (1, 4)           # steps 2 and 4, one by its child: the outer loop is 1..4
    assert spans[2] == (-1, -1)         # a child has no place of its own
    assert spans[3:] == [(5, 5), (6, 6), (-1, -1)]


def test_plan_scratch_ignores_other_places():
    regions = [Region(Place.STATE, 1), Region(Place.SCRATCH, 1), Region(Place.SCRATCH, 2)]
    steps = [Step(regions=[0, 1]), Step(regions=[2])]
    plan = plan_scratch(Program(Target.WGSL, regions=regions, steps=steps), [0, 1000, 2000])
    assert plan.places == [(-1, 0), (0, 0), (0, 0)] and plan.chunks == [2048]
