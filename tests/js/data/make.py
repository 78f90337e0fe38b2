"""Writes step.tide: the hand-written model of tests/unit/runtime/hand_made.py with WGSL and WASM programs. Run from
the root.
"""

import importlib.util
from pathlib import Path

from tideflow.program.format import Target
from tideflow.program.write import write_model

HERE = Path(__file__).parent
spec = importlib.util.spec_from_file_location("hand_made", HERE.parents[1] / "unit" / "runtime" / "hand_made.py")
hand_made = importlib.util.module_from_spec(spec)
spec.loader.exec_module(hand_made)
(HERE / "step.tide").write_bytes(write_model(hand_made.model(Target.WGSL, Target.WASM)))
