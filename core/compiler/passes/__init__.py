"""Graph -> Graph passes, each pure and switchable. `run_passes` applies them in order and verifies after each."""

from __future__ import annotations

from collections.abc import Collection

from ...graph.expand import expand_composites
from ...graph.ir import Graph, Pass
from ...graph.join import join_pads
from ...graph.merge import merge_equal
from ...graph.verify import verify
from .dce import drop_unused
from .flatten import flatten_sums
from .fold import fold_constants
from .loops import lower_bodies
from .simplify import simplify

PASSES: dict[str, Pass] = {
    "bodies": lambda graph: lower_bodies(graph, run_passes),
    "expand": expand_composites,
    "fold": fold_constants,
    "flatten": flatten_sums,
    "simplify": simplify,
    "join": join_pads,
    "cse": merge_equal,
    "dce": drop_unused,
}
REQUIRED = frozenset({"bodies", "expand"})  # kernels are made of primitives only


def run_passes(graph: Graph, skip: Collection[str] = (), check: bool = True) -> Graph:
    """The graph after every pass that is not skipped. Raises ValueError for a name that is not a pass or may not be
    skipped.
    """
    unknown = set(skip) - set(PASSES)
    if unknown or REQUIRED & set(skip):
        raise ValueError(f"passes to skip: received {sorted(skip)}; may be skipped: {sorted(set(PASSES) - REQUIRED)}")
    for name, function in PASSES.items():
        if name not in skip:
            graph = function(graph) if name != "bodies" else lower_bodies(graph, lambda g: run_passes(g, skip, check))
            if check:
                verify(graph, after=name)
    return graph
