"""Bytes of modules: numbers, sections, constants."""

import pytest
from tideflow.wasm import encode
from tideflow.wasm.encode import Code, signed, unsigned


@pytest.mark.parametrize("n", [0, 1, 63, 64, 127, 128, 300, 16383, 16384, 2**31 - 1, 2**32 - 1])
def test_unsigned_numbers_read_back(n):
    value = 0
    for i, byte in enumerate(unsigned(n)):
        value |= (byte & 0x7F) << (7 * i)
    assert value == n
    assert all(b & 0x80 for b in unsigned(n)[:-1]) and not unsigned(n)[-1] & 0x80


@pytest.mark.parametrize("n", [0, 1, -1, 63, 64, -64, -65, 8191, -8193, 2**31 - 1, -(2**31)])
def test_signed_numbers_read_back(n):
    raw = signed(n)
    value = sum((byte & 0x7F) << (7 * i) for i, byte in enumerate(raw))
    if raw[-1] & 0x40:
        value -= 1 << (7 * len(raw))
    assert value == n


def test_bit_patterns_above_the_largest_integer_become_negative():
    assert signed(0xFFFFFFFF) == signed(-1)


def test_locals_of_one_type_are_declared_as_runs():
    code = Code(1)
    for type_ in (encode.I32, encode.I32, encode.F32, encode.V128, encode.V128):
        code.local(type_)
    assert code.body() == bytes((3, 2, 0x7F, 1, 0x7D, 2, 0x7B, 0x0B))


def test_a_constant_too_large_for_f32_is_infinity():
    assert encode.f32_bytes(1e300) == encode.f32_bytes(float("inf"))


def test_sections_come_in_the_order_of_the_design():
    code = Code(3)
    code.get(2)
    raw = encode.module([(3, True, code.body())], ("run", 0))
    assert raw[:8] == b"\0asm\x01\0\0\0"
    sections, at = [], 8
    while at < len(raw):
        number, size, shift, start = raw[at], 0, 0, at + 1
        while True:
            size |= (raw[start] & 0x7F) << shift
            shift, start = shift + 7, start + 1
            if not raw[start - 1] & 0x80:
                break
        sections.append(number)
        at = start + size
    assert sections == [0, 1, 2, 3, 7, 10]
    assert b"dylink.0" in raw[:24] and b"\x03env\x06memory\x02\x00\x01" in raw
