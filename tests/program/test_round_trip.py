"""Writing and reading back gives the same model, the same bytes, and the layout that DESIGN promises."""

import importlib.util
import struct
from dataclasses import fields
from pathlib import Path

import pytest
from tideflow.errors import ModelError
from tideflow.program.format import DType, Model, Role, Tensor
from tideflow.program.read import read_model
from tideflow.program.write import write_model


def load(name):
    spec = importlib.util.spec_from_file_location(name, Path(__file__).parent / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


SAMPLES = load("samples").SAMPLES


@pytest.mark.parametrize("name", SAMPLES)
def test_read_gives_back_what_was_written(name):
    model = SAMPLES[name]()
    again = read_model(write_model(model))
    for program in again.programs:  # the writer fills these in
        for kernel in program.kernels:
            assert len(kernel.hash) == (32 if kernel.code is not None else 0)
            kernel.hash = b""
    for field in fields(Model):
        if field.compare:
            assert getattr(again, field.name) == getattr(model, field.name), field.name


@pytest.mark.parametrize("name", SAMPLES)
def test_same_model_gives_same_bytes(name):
    data = write_model(SAMPLES[name]())
    assert write_model(SAMPLES[name]()) == data
    assert write_model(read_model(data)) == data


def test_layout():
    data = write_model(SAMPLES["trainable"]())
    magic, length, flat, first, body = struct.unpack_from("<4sIQQQ", data, 8)
    assert (data[4:8], magic, length) == (b"TID1", b"tdh1", 56)
    assert first % 4096 == 0 and first + body == len(data) and flat <= first < flat + 4096
    model = read_model(data)
    assert [s.offset for s in model.segments] == [first, first + 4096]
    for tensor in model.tensors:
        if tensor.data is not None and len(tensor.data):
            at = data.index(bytes(tensor.data), first)
            assert (at - first) % 256 == 0 or bytes(tensor.data) == bytes(len(tensor.data))


def test_changed_weights_change_only_their_segment_and_its_hash():
    model = SAMPLES["trainable"]()
    before = write_model(model)
    model.tensors[3].data = bytes(24)
    after = write_model(model)
    assert len(before) == len(after)
    flat = struct.unpack_from("<Q", before, 16)[0]
    changed = [i for i in range(flat) if before[i] != after[i]]
    assert changed and changed[-1] - changed[0] < 32


def test_large_tensors_are_split_over_segments(monkeypatch):
    monkeypatch.setattr("tideflow.program.write.LARGEST_SEGMENT", 1000)
    monkeypatch.setattr("tideflow.program.read.LARGEST_SEGMENT", 1000)
    model = Model(dims=[*Model().dims], tensors=[])
    for index, size in enumerate((300, 300, 600, 2000, 10)):
        model.dims.append(type(model.dims[0])(0, size))
        model.tensors.append(Tensor(f"t{index}", DType.U8, [index + 1], Role.WEIGHT, False, bytes([index]) * size))
    again = read_model(write_model(model))
    assert [s.size for s in again.segments] == [812, 600, 2000, 10]
    assert again == model


def test_writer_refuses_a_model_that_breaks_a_rule():
    model = SAMPLES["trainable"]()
    model.tensors[3].data = bytes(20)
    with pytest.raises(ModelError, match=r"P04-tensor: tensors\[3\]: has 20 bytes of data, its shape and dtype say 24"):
        write_model(model)
