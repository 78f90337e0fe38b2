"""The executor on wasmtime with a program written by hand: sizes, state, scalars, outputs, errors, leaks."""

import gc

import numpy as np
import pytest
from tideflow.errors import (
    DeviceLimitError,
    FailedPreconditionError,
    InternalError,
    InvalidArgumentError,
    ModelError,
    NoExecutorError,
)
from tideflow.program.format import Limit, Port, Range, Target
from tideflow.runtime import execute
from tideflow.runtime.arena import StateArena


@pytest.fixture
def model(hand):
    return hand.model(Target.WASM)


@pytest.fixture
def executor(model, device):
    with execute.load(model, device) as opened:
        yield opened


def batch(rows, start=0):
    return np.arange(start, start + rows * 4, dtype=np.float32).reshape(rows, 4)


def expected(hand, x, rate, run, drawn):
    """What run number `run` gives after `drawn` rows were drawn from the RNG."""
    return x * (hand.START + run) * np.float32(rate) + run + drawn


def test_runs_train_state_and_host_values(hand, executor):
    drawn = 0
    for run, (rows, rate) in enumerate([(3, 0.5), (3, 2.0), (1, 0.25), (7, 1.0), (3, 0.5)]):
        x = batch(rows, run)
        result = executor.run("step", {"x": x, "learning_rate": rate})
        np.testing.assert_array_equal(result["y"], expected(hand, x, rate, run, drawn))
        assert float(result["total"]) == result["y"].numpy()[0, 0]
        drawn += rows
    np.testing.assert_array_equal(executor.read(hand.W), hand.START + 5)
    assert executor.read(hand.COUNTER) == 5 and executor.read(hand.COUNTER).dtype == np.int64
    assert executor.read(hand.RNG).tolist() == [7, 8, 17, 0]


def test_runs_made_while_another_waits_keep_their_own_results(hand, model, device, monkeypatch):
    within = []

    def pause():                    # as in a tab: an event handler runs the same signature, while Python is suspended
        if not within:
            within.append(None)
            within[0] = executor.run("step", {"x": batch(3, 1), "learning_rate": 2.0})

    monkeypatch.setattr(device, "pause", pause, raising=False)
    with execute.load(model, device) as executor:
        first = executor.run("step", {"x": batch(3), "learning_rate": 0.5})
        np.testing.assert_array_equal(first["y"], expected(hand, batch(3), 0.5, 0, 0))
        np.testing.assert_array_equal(within[0]["y"], expected(hand, batch(3, 1), 2.0, 1, 3))
        assert executor.read(hand.COUNTER) == 2 and executor.read(hand.RNG).tolist() == [7, 8, 6, 0]


def test_optional_input_takes_its_fill(hand, executor):
    x = batch(2)
    np.testing.assert_array_equal(executor.run("step", {"x": x})["y"], expected(hand, x, 0.5, 0, 0))


def test_signatures_share_state(hand, executor):
    executor.run("step", {"x": batch(1)})
    np.testing.assert_array_equal(executor.run("peek")["w_now"], hand.START + 1)
    executor.write(hand.W, np.zeros(4, np.float32))
    np.testing.assert_array_equal(executor.run("peek")["w_now"], np.zeros(4))


def test_unread_outputs_survive_later_runs(hand, executor):
    first = executor.run("step", {"x": batch(2)})["y"]
    second = executor.run("step", {"x": batch(2)})["y"]
    third = executor.run("step", {"x": batch(64)})["y"]         # larger: the output buffer is replaced
    fourth = executor.run("step", {"x": batch(2)})["y"]
    np.testing.assert_array_equal(first, expected(hand, batch(2), 0.5, 0, 0))
    np.testing.assert_array_equal(second, expected(hand, batch(2), 0.5, 1, 2))
    np.testing.assert_array_equal(third, expected(hand, batch(64), 0.5, 2, 4))
    np.testing.assert_array_equal(fourth, expected(hand, batch(2), 0.5, 3, 68))


def test_known_sizes_make_nothing_new(executor):
    for rows in (5, 3, 1):
        executor.run("step", {"x": batch(rows)})
    before = executor.stats().live_buffers
    for _ in range(3):
        for rows in (1, 3, 5):
            executor.run("step", {"x": batch(rows)})
            assert executor.stats().live_buffers == before
    submits = executor.stats().submits
    executor.run("step", {"x": batch(3)})
    assert executor.stats().submits == submits + 1


def test_only_recent_sizes_are_kept(executor):
    executor.run("step", {"x": batch(40)})
    for rows in range(1, 40):
        executor.run("step", {"x": batch(rows)})
    assert len(executor._loaded[0].bounds) == 4


def test_dropped_outputs_are_released(executor):
    kept = [executor.run("step", {"x": batch(2)}) for _ in range(40)]
    many = executor.stats().live_buffers
    kept.clear()
    gc.collect()
    executor.run("step", {"x": batch(2)})
    assert executor.stats().live_buffers <= many - 70           # two each, a few are kept for the next outputs


def test_closed_model_says_so(model, device):
    executor = execute.load(model, device)
    moved = executor.run("step", {"x": batch(2)})["y"]
    output = executor.run("step", {"x": batch(2)})["y"]
    executor.close()
    executor.close()
    with pytest.raises(FailedPreconditionError, match="closed"):
        executor.run("step", {"x": batch(2)})
    with pytest.raises(FailedPreconditionError, match="not read before"):
        output.numpy()
    with pytest.raises(FailedPreconditionError, match="not read before"):
        moved.numpy()


def test_state_inputs_and_counters_may_be_outputs(hand, device):
    model = hand.model(Target.WASM)
    model.signatures[0].outputs += [Port("w", hand.W), Port("echo", hand.X), Port("step", hand.COUNTER)]
    with execute.load(model, device) as executor:
        results = [executor.run("step", {"x": batch(2, start)}) for start in range(3)]
        for run, result in enumerate(results):
            np.testing.assert_array_equal(result["w"], hand.START + run + 1)
            np.testing.assert_array_equal(result["echo"], batch(2, run))
            assert int(result["step"]) == run


@pytest.mark.parametrize(("inputs", "message"), [
    ({}, "input 'x' is missing"),
    ({"x": batch(2), "z": 1}, r"unknown inputs \['z'\]; it takes \['x', 'learning_rate'\]"),
    ({"x": np.zeros((2, 5), np.float32)}, r"shape \(2, 5\), expected \(2, 4\) \(\(batch, 4\)\)"),
    ({"x": np.zeros(4, np.float32)}, r"expected 2 axes: \(batch, 4\)"),
    ({"x": np.zeros((0, 4), np.float32)}, "'batch' must be 1 to 4096"),
    ({"x": np.zeros((5000, 4), np.float32)}, "has 5000 in axis 0"),
    ({"x": np.zeros((2, 4), complex)}, "has dtype complex128, expected float32"),
    ({"x": batch(2), "learning_rate": np.zeros(2, np.float32)}, r"expected 0 axes: \(\)"),
])
def test_bad_inputs_say_what_is_wrong(executor, inputs, message):
    with pytest.raises(InvalidArgumentError, match=message):
        executor.run("step", inputs)


def test_a_second_size_for_a_symbol_is_refused(hand, device):
    model = hand.model(Target.WASM)
    model.tensors[hand.RATE].shape = [hand.BATCH]
    with execute.load(hand.model(Target.WASM), device) as plain:
        plain.run("step", {"x": batch(2)})
    model.signatures[0].inputs[1].optional = False
    for program in model.programs:
        for step in program.steps:
            step.scalars = []
    wrong = pytest.raises(InvalidArgumentError, match="has 3 in axis 0, but input 'x'")
    with execute.load(model, device) as executor, wrong:
        executor.run("step", {"x": batch(2), "learning_rate": np.zeros(3, np.float32)})


def test_programs_are_checked_for_the_sizes_at_hand(hand, device):
    model = hand.model(Target.WASM)
    model.programs[0].regions[2].bytes = hand.FOUR                      # x would be written past its region
    with execute.load(model, device) as executor, pytest.raises(ModelError, match="has 4 bytes, its tensor needs 32"):
        executor.run("step", {"x": batch(2)})


def test_programs_that_lay_shared_state_out_differently_are_refused(hand, device):
    model = hand.model(Target.WASM)
    model.programs[0].regions[1].offset = hand.SIXTY_FOUR
    with pytest.raises(InternalError, match="'w' is at 64 in one program and at 0 in another"):
        execute.load(model, device)


def test_nothing_is_left_when_loading_fails(hand, device):
    model = hand.model(Target.WASM)
    model.tensors[hand.COUNTER].shape = [hand.BATCH]
    with pytest.raises(InternalError, match="'iterations' has a size that depends on an input"):
        execute.load(model, device)


def test_unknown_signature_lists_what_there_is(executor):
    with pytest.raises(InvalidArgumentError, match=r"no signature 'train'; it has \['peek', 'step'\]"):
        executor.run("train")


def test_first_suitable_program_runs(hand, device):
    model = hand.model(Target.WASM, Target.WASM)
    model.programs[0].requires.when = [Range(0, 1, 1)]
    with execute.load(model, device) as executor:
        executor.run("step", {"x": batch(3)})
        assert set(executor._loaded) == {1}
        executor.run("step", {"x": batch(1)})
        assert set(executor._loaded) == {0, 1}
        np.testing.assert_array_equal(executor.read(hand.W), hand.START + 2)        # both programs write one state
    model.programs[1].requires.when = [Range(0, 2, 8)]
    with execute.load(model, device) as executor, pytest.raises(InvalidArgumentError, match=r"sizes \{'batch': 9\}"):
        executor.run("step", {"x": batch(9)})


def test_what_the_device_lacks_is_refused_at_load(hand, device, monkeypatch):
    with pytest.raises(NoExecutorError, match=r"runs WASM programs, the model has \['WGSL'\]"):
        execute.load(hand.model(Target.WGSL), device)
    model = hand.model(Target.WASM)
    model.programs[0].requires.limits = [Limit("maxStorageBufferBindingSize", 1 << 30)]
    execute.load(model, device).close()                                             # no such limit in this device
    monkeypatch.setattr(device, "limits", lambda: {"maxStorageBufferBindingSize": 1 << 20})
    with pytest.raises(DeviceLimitError, match="maxStorageBufferBindingSize 1073741824, this device allows 1048576"):
        execute.load(model, device)
    model.programs[0].requires.features = ["relaxed-simd"]
    with pytest.raises(NoExecutorError, match="relaxed-simd"):
        execute.load(model, device)


def test_arena_shares_variables_between_models(hand, device):
    arena = StateArena(device)
    keys = {hand.W: "weight", hand.COUNTER: "steps", hand.RNG: "noise"}
    first = execute.load(hand.model(Target.WASM), device, arena=arena, state_keys=keys)
    first.run("step", {"x": batch(2)})
    other = hand.model(Target.WASM)
    other.tensors[hand.W].data = np.full(4, 99, np.float32).tobytes()               # too late: the first load decides
    second = execute.load(other, arena=arena, state_keys=keys)
    np.testing.assert_array_equal(second.read(hand.W), hand.START + 1)
    second.run("step", {"x": batch(2)})
    assert first.read(hand.COUNTER) == 2
    np.testing.assert_array_equal(first.run("peek")["w_now"], hand.START + 2)
    first.close()
    np.testing.assert_array_equal(arena.read("weight"), hand.START + 2)
    second.close()
    arena.close()


def test_models_without_keys_are_private(hand, device):
    models = hand.model(Target.WASM), hand.model(Target.WASM)
    with execute.load(models[0], device) as first, execute.load(models[1], device) as second:
        first.run("step", {"x": batch(2)})
        np.testing.assert_array_equal(second.read(hand.W), hand.START)


def test_save_into_puts_state_in_the_model(hand, executor, device):
    executor.run("step", {"x": batch(3)})
    saved = executor.save_into()
    with execute.load(saved, device) as again:
        np.testing.assert_array_equal(again.read(hand.W), hand.START + 1)
        assert again.read(hand.COUNTER) == 1 and again.read(hand.RNG).tolist() == [7, 8, 3, 0]
