"""Executors that survive the loss of their device: what is restored, what is run again, and what is said to be lost."""

import warnings

import numpy as np
import pytest
from tideflow.errors import DeviceHungError, DeviceLostError
from tideflow.program.format import Target
from tideflow.runtime import recovery
from tideflow.runtime.recovery import GuardedExecutor
from tideflow.wasm.native import WasmtimeDevice


class Fragile(WasmtimeDevice):
    """A device that can be lost: everything raises from then on."""

    lost = False
    hung = False

    def _check(self):
        if self.hung:
            raise DeviceHungError("it hangs")
        if self.lost:
            raise DeviceLostError("someone pulled the plug. Load the model again to go on.")

    def upload(self, buffer, offset, array):
        self._check()
        super().upload(buffer, offset, array)

    def download(self, buffer, offset, size):
        self._check()
        return super().download(buffer, offset, size)

    def run(self, *arguments):
        self._check()
        super().run(*arguments)


@pytest.fixture
def devices(device, monkeypatch):
    """Every device that was opened; `device` checks that wasmtime is there."""
    opened = [Fragile()]

    def open_next(name, limits):
        assert name == "WASM:0"
        opened.append(Fragile())
        return opened[-1]

    monkeypatch.setattr(recovery, "open_device", open_next)
    return opened


@pytest.fixture
def executor(hand, devices):
    with GuardedExecutor(hand.model(Target.WASM), devices[0]) as opened:
        yield opened


def batch(rows, start=0):
    return np.arange(start, start + rows * 4, dtype=np.float32).reshape(rows, 4)


def step(executor, rows, lasting=True):
    x = batch(rows, rows)
    return executor.run("step", {"x": x}, (lambda: {"x": batch(rows, rows)}) if lasting else None)


def story(hand, executor, lose=lambda when: None, lasting=True):
    """Seven steps with a write in their midst; the values of all state and of three outputs."""
    kept = []
    for when in range(7):
        if when == 4:
            executor.write(hand.W, np.array([5, 5, 5, 5], np.float32))
        outputs = step(executor, 1 + when % 3, lasting)
        lose(when)
        if when in (0, 3, 6):
            kept.append(outputs["y"].numpy())
    return [*kept, executor.read(hand.W), executor.read(hand.COUNTER), executor.read(hand.RNG)]


def assert_same(found, expected):
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.fixture
def undisturbed(hand, device):
    with GuardedExecutor(hand.model(Target.WASM), device) as executor:
        return story(hand, executor)


@pytest.mark.parametrize("when", range(7))
@pytest.mark.parametrize("copies", [False, True])
def test_a_lost_device_changes_nothing(hand, executor, devices, undisturbed, monkeypatch, when, copies):
    monkeypatch.setattr(recovery, "EVERY", 0.0 if copies else 1e9)
    monkeypatch.setattr(recovery, "SHARE", 1e9)
    executor._due = 0.0 if copies else 1e9              # with copies: before every step

    def lose(now):
        if now == when:
            devices[-1].lost = True

    with pytest.warns(RuntimeWarning, match="someone pulled the plug.*A new device.*nothing is lost") as caught:
        assert_same(story(hand, executor, lose), undisturbed)
    assert len(caught) == 1 and "Load the model" not in str(caught[0].message)
    assert len(devices) == 2 and executor.device is devices[1]
    assert (f"{1 if copies else when + 1} steps" in str(caught[0].message)) or when == 3 or copies
    executor.close()
    assert devices[1].stats().live_buffers == 0


def test_counters_and_random_state_go_back_with_the_weights(hand, executor, devices):
    for _ in range(3):
        step(executor, 2, lasting=False)
    devices[0].lost = True
    with pytest.warns(RuntimeWarning, match="1 steps since then were repeated, 2 are lost"):
        np.testing.assert_array_equal(executor.read(hand.W), hand.START + 1)
    assert executor.read(hand.COUNTER) == 1
    assert executor.read(hand.RNG).tolist() == [7, 8, 2, 0]


def test_an_output_that_cannot_be_made_again_says_so(executor, devices):
    first = step(executor, 2, lasting=False)["y"]
    read = step(executor, 2, lasting=False)["y"]
    read.numpy()
    step(executor, 2, lasting=False)
    devices[0].lost = True
    with pytest.warns(RuntimeWarning, match="2 are lost"), pytest.raises(DeviceLostError, match="'y' was not read"):
        first.numpy()
    assert read.numpy().shape == (2, 4)


def test_the_run_under_way_is_not_lost(hand, executor, devices):
    devices[0].lost = True
    x = batch(2)
    with pytest.warns(RuntimeWarning, match="0 steps since then were repeated, nothing"):
        y = executor.run("step", {"x": x})["y"]
    np.testing.assert_array_equal(y, x * hand.START * 0.5)


def test_a_run_that_writes_nothing_is_not_kept(executor):
    for _ in range(5):
        executor.run("peek")["w_now"].numpy()
    assert len(executor._journal) == 1


def test_a_program_that_kills_every_device_is_given_up(executor, devices, monkeypatch):
    monkeypatch.setattr(Fragile, "lost", True)
    with pytest.raises(DeviceLostError, match="lost 4 times without"):
        step(executor, 2)


def test_a_hung_program_is_not_tried_again(executor, devices):
    devices[0].hung = True
    with pytest.raises(DeviceHungError):
        step(executor, 2)
    devices[0].hung = False


def test_copies_take_a_small_share_of_the_time(hand, executor, monkeypatch):
    now = [100.0]
    taken = []
    monkeypatch.setattr(recovery.time, "monotonic", lambda: now[0])
    read_all = executor._state.read_all

    def slow_copy():
        taken.append(now[0])
        now[0] += 1.0                                   # a second for each copy
        return read_all()

    executor._state.read_all = slow_copy
    executor._due = now[0] + recovery.EVERY
    for _ in range(300):
        step(executor, 1)
        now[0] += 0.5
    assert taken[0] == pytest.approx(102.5)
    assert np.diff(taken).min() >= 1.0 / recovery.SHARE


def test_the_end_of_a_training_lets_its_data_go(hand, executor, devices):
    kept = batch(2)
    executor.run("step", {"x": kept}, lambda: {"x": kept})
    assert len(executor._journal) == 1
    executor.finish()
    assert executor._journal == []
    executor._cost = 1e9                                # a copy that would take too long for what was done since
    executor.run("step", {"x": kept}, lambda: {"x": kept})
    executor.finish()
    assert len(executor._journal) == 1
    devices[0].lost = True
    with pytest.warns(RuntimeWarning, match="1 steps since then were repeated, nothing is lost"):
        np.testing.assert_array_equal(executor.read(hand.W), hand.START + 2)


def test_a_journal_without_copies_stays_small(hand, executor, devices, monkeypatch):
    monkeypatch.setattr(recovery, "MOST_ENTRIES", 10)
    for _ in range(30):
        step(executor, 1)
    assert len(executor._journal) == 10
    devices[0].lost = True
    with pytest.warns(RuntimeWarning, match="10 steps since then were repeated, 20 are lost"):
        executor.read(hand.W)
    assert executor.read(hand.COUNTER) == 10


def test_nothing_is_said_without_a_loss(hand, executor, undisturbed):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert_same(story(hand, executor), undisturbed)
