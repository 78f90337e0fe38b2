"""`python -m tideflow run`: files in, arrays out, errors as one line."""

import numpy as np
import pytest
from tideflow import __main__ as command_line
from tideflow.program.format import Target
from tideflow.program.read import read_model
from tideflow.program.write import write_model
from tideflow.run_command import read_inputs, summary


@pytest.fixture
def files(hand, tmp_path, require):
    pytest.importorskip("wasmtime", reason="no wasmtime")
    (tmp_path / "model.tide").write_bytes(write_model(hand.model(Target.WASM)))
    np.save(tmp_path / "x.npy", np.ones((2, 4), np.float32))
    np.savez(tmp_path / "all.npz", x=np.ones((2, 4), np.float32), learning_rate=np.float32(2))
    return tmp_path


def test_run_prints_and_saves(hand, files, capsys):
    out, model = files / "out.npz", files / "after.tide"
    status = command_line.main(["run", str(files / "model.tide"), "--input", str(files / "all.npz"), "--signature",
                                "step", "--device", "wasm", "--output", str(out), "--save", str(model)])
    printed = capsys.readouterr().out
    assert status == 0 and "step on WASM:0" in printed and "total float32[] 2." in printed
    with np.load(out) as saved:
        np.testing.assert_array_equal(saved["y"], np.tile(hand.START * 2, (2, 1)))
    data = read_model(model.read_bytes()).tensors[hand.W].data
    np.testing.assert_array_equal(np.frombuffer(data, np.float32), hand.START + 1)


def test_the_signature_without_writes_is_the_default(files, capsys):
    assert command_line.main(["run", str(files / "model.tide"), "--device", "wasm", "--timeout", "0"]) == 0
    assert "w_now float32[4] [1., 2., 3., 4.]" in capsys.readouterr().out


@pytest.mark.parametrize(("arguments", "message"), [
    (["--signature", "fit"], r"has no signature 'fit'. Pass --signature with one of ['peek', 'step']"),
    (["--signature", "step"], "input 'x' is missing"),
    (["--device", "tpu"], "unknown device 'tpu'"),
    (["--input", "missing.npy"], "missing.npy"),
])
def test_mistakes_are_one_line(files, capsys, arguments, message):
    arguments = arguments if "--device" in arguments else [*arguments, "--device", "wasm"]
    assert command_line.main(["run", str(files / "model.tide"), *arguments]) == 1
    error = capsys.readouterr().err
    assert message in error and error.startswith("tideflow run:") and "Traceback" not in error


def test_a_broken_file_is_named_by_its_rule(files, capsys):
    whole = (files / "model.tide").read_bytes()
    (files / "short.tide").write_bytes(whole[: len(whole) // 2])
    assert command_line.main(["run", str(files / "short.tide"), "--device", "wasm"]) == 1
    assert "C0" in capsys.readouterr().err


def test_inputs_are_named_or_the_first(hand, files):
    signature = hand.model().signatures[0]
    path = str(files / "x.npy")
    assert list(read_inputs([path], signature)) == ["x"]
    assert list(read_inputs([f"learning_rate={path}"], signature)) == ["learning_rate"]
    assert sorted(read_inputs([str(files / "all.npz")], signature)) == ["learning_rate", "x"]


def test_summaries():
    assert summary("p", np.eye(4, dtype=np.float32)) == "  p float32[4, 4] largest in each row: 0 1 2 3"
    assert summary("n", np.array(3)) == "  n int64[] 3"
    assert summary("v", np.arange(20.0)) == "  v float64[20] from 0 to 19"
