"""WebAssembly bytes: the instructions the emitter uses, a function body with typed locals, and the module around them.

A module has the sections dylink.0, type, import, function, export and code, and imports one memory: nothing else.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

I32, I64, F32, V128, VOID = 0x7F, 0x7E, 0x7D, 0x7B, 0x40

_SMALL = [bytes((i,)) for i in range(128)]


def unsigned(n: int) -> bytes:
    """n as unsigned LEB128."""
    if n < 128:
        return _SMALL[n]
    out = bytearray()
    while True:
        low = n & 0x7F
        n >>= 7
        if n:
            out.append(low | 0x80)
        else:
            out.append(low)
            return bytes(out)


def signed(n: int) -> bytes:
    """n as signed LEB128; 32-bit patterns above 2^31-1 are taken as negative."""
    if -64 <= n < 64:
        return _SMALL[n & 0x7F]
    if n >= 2**31:
        n -= 2**32
    out = bytearray()
    while True:
        low = n & 0x7F
        n >>= 7
        if (n == 0 and not low & 0x40) or (n == -1 and low & 0x40):
            out.append(low)
            return bytes(out)
        out.append(low | 0x80)


def _simd(number: int) -> bytes:
    return b"\xfd" + unsigned(number)


# every instruction without immediates, by its name in the text format
OP: dict[str, bytes] = {
    name: bytes((code,))
    for name, code in {
        "select": 0x1B,
        "return": 0x0F,
        "unreachable": 0x00,
        "nop": 0x01,
        "drop": 0x1A,
        "i32.eqz": 0x45,
        "i32.eq": 0x46,
        "i32.ne": 0x47,
        "i32.lt_s": 0x48,
        "i32.lt_u": 0x49,
        "i32.gt_s": 0x4A,
        "i32.gt_u": 0x4B,
        "i32.le_s": 0x4C,
        "i32.le_u": 0x4D,
        "i32.ge_s": 0x4E,
        "i32.ge_u": 0x4F,
        "f32.eq": 0x5B,
        "f32.ne": 0x5C,
        "f32.lt": 0x5D,
        "f32.gt": 0x5E,
        "f32.le": 0x5F,
        "f32.ge": 0x60,
        "i32.add": 0x6A,
        "i32.sub": 0x6B,
        "i32.mul": 0x6C,
        "i32.div_s": 0x6D,
        "i32.div_u": 0x6E,
        "i32.rem_s": 0x6F,
        "i32.rem_u": 0x70,
        "i32.and": 0x71,
        "i32.or": 0x72,
        "i32.xor": 0x73,
        "i32.shl": 0x74,
        "i32.shr_s": 0x75,
        "i32.shr_u": 0x76,
        "i64.mul": 0x7E,
        "i64.shr_u": 0x88,
        "f32.abs": 0x8B,
        "f32.neg": 0x8C,
        "f32.ceil": 0x8D,
        "f32.floor": 0x8E,
        "f32.trunc": 0x8F,
        "f32.nearest": 0x90,
        "f32.sqrt": 0x91,
        "f32.add": 0x92,
        "f32.sub": 0x93,
        "f32.mul": 0x94,
        "f32.div": 0x95,
        "f32.min": 0x96,
        "f32.max": 0x97,
        "i32.wrap_i64": 0xA7,
        "i64.extend_i32_u": 0xAD,
        "f32.convert_i32_s": 0xB2,
        "f32.convert_i32_u": 0xB3,
        "i32.reinterpret_f32": 0xBC,
        "f32.reinterpret_i32": 0xBE,
    }.items()
}
OP |= {"i32.trunc_sat_f32_s": b"\xfc\x00", "i32.trunc_sat_f32_u": b"\xfc\x01"}
OP |= {
    name: _simd(code)
    for name, code in {
        "i32x4.splat": 0x11,
        "f32x4.splat": 0x13,
        "i32x4.eq": 0x37,
        "i32x4.ne": 0x38,
        "i32x4.lt_s": 0x39,
        "i32x4.lt_u": 0x3A,
        "i32x4.gt_s": 0x3B,
        "i32x4.gt_u": 0x3C,
        "i32x4.le_s": 0x3D,
        "i32x4.le_u": 0x3E,
        "i32x4.ge_s": 0x3F,
        "i32x4.ge_u": 0x40,
        "f32x4.eq": 0x41,
        "f32x4.ne": 0x42,
        "f32x4.lt": 0x43,
        "f32x4.gt": 0x44,
        "f32x4.le": 0x45,
        "f32x4.ge": 0x46,
        "v128.not": 0x4D,
        "v128.and": 0x4E,
        "v128.andnot": 0x4F,
        "v128.or": 0x50,
        "v128.xor": 0x51,
        "v128.bitselect": 0x52,
        "f32x4.ceil": 0x67,
        "f32x4.floor": 0x68,
        "f32x4.trunc": 0x69,
        "f32x4.nearest": 0x6A,
        "i32x4.abs": 0xA0,
        "i32x4.neg": 0xA1,
        "i32x4.all_true": 0xA3,
        "i32x4.shl": 0xAB,
        "i32x4.shr_s": 0xAC,
        "i32x4.shr_u": 0xAD,
        "i32x4.add": 0xAE,
        "i32x4.sub": 0xB1,
        "i32x4.mul": 0xB5,
        "i32x4.min_s": 0xB6,
        "i32x4.min_u": 0xB7,
        "i32x4.max_s": 0xB8,
        "i32x4.max_u": 0xB9,
        "i64x2.extmul_low_u": 0xDE,
        "i64x2.extmul_high_u": 0xDF,
        "f32x4.abs": 0xE0,
        "f32x4.neg": 0xE1,
        "f32x4.sqrt": 0xE3,
        "f32x4.add": 0xE4,
        "f32x4.sub": 0xE5,
        "f32x4.mul": 0xE6,
        "f32x4.div": 0xE7,
        "f32x4.min": 0xE8,
        "f32x4.max": 0xE9,
        "f32x4.pmin": 0xEA,
        "f32x4.pmax": 0xEB,
        "i32x4.trunc_sat_s": 0xF8,
        "i32x4.trunc_sat_u": 0xF9,
        "f32x4.convert_s": 0xFA,
        "f32x4.convert_u": 0xFB,
    }.items()
}

# memory access: (bytes, alignment as a power of two that is promised)
_MEMORY: dict[str, bytes] = {
    "i32.load": b"\x28\x02",
    "f32.load": b"\x2a\x02",
    "i32.store": b"\x36\x02",
    "f32.store": b"\x38\x02",
    "v128.load": _simd(0x00) + b"\x02",
    "v128.store": _simd(0x0B) + b"\x02",
    "v128.load32_splat": _simd(0x09) + b"\x02",
    "v128.load32_zero": _simd(0x5C) + b"\x02",
    "v128.load32_lane": _simd(0x56) + b"\x02",
    "v128.store32_lane": _simd(0x5A) + b"\x02",
}
_LANE: dict[str, bytes] = {
    "i32x4.extract_lane": _simd(0x1B),
    "i32x4.replace_lane": _simd(0x1C),
    "f32x4.extract_lane": _simd(0x1F),
    "f32x4.replace_lane": _simd(0x20),
}
_V128_CONST = _simd(0x0C)
_SHUFFLE = _simd(0x0D)
_PACK_F32 = struct.Struct("<f").pack
_PACK_I32 = struct.Struct("<I").pack


class Code:
    """The body of one function under construction; parameters are its first locals, all of them i32.

    Instructions are methods that return the Code again, so that a run of them reads like a sentence.
    """

    def __init__(self, num_params: int) -> None:
        self.num_params = num_params
        self.types: list[int] = [I32] * num_params
        self.out = bytearray()

    def local(self, type_: int) -> int:
        """A fresh local."""
        self.types.append(type_)
        return len(self.types) - 1

    def get(self, local: int) -> Code:
        """local.get"""
        self.out += b"\x20" + unsigned(local)
        return self

    def set(self, local: int) -> Code:
        """local.set"""
        self.out += b"\x21" + unsigned(local)
        return self

    def tee(self, local: int) -> Code:
        """local.tee"""
        self.out += b"\x22" + unsigned(local)
        return self

    def op(self, name: str) -> Code:
        """An instruction without immediates."""
        self.out += OP[name]
        return self

    def multiply_add(self, total: int) -> Code:
        """Adds the product of the two vectors on the stack to one in a local; may be rounded once (see fuse.py)."""
        return self.op("f32x4.mul").get(total).op("f32x4.add").op("nop")

    def i32(self, value: int) -> Code:
        """i32.const"""
        self.out += b"\x41" + signed(value)
        return self

    def f32(self, value: float) -> Code:
        """f32.const"""
        self.out += b"\x43" + f32_bytes(value)
        return self

    def v128(self, data: bytes) -> Code:
        """v128.const of 16 bytes"""
        self.out += _V128_CONST + data
        return self

    def shuffle(self, lanes: Sequence[int]) -> Code:
        """i8x16.shuffle that moves whole 32-bit lanes, numbered 0-7 over both operands."""
        self.out += _SHUFFLE + bytes(4 * lane + i for lane in lanes for i in range(4))
        return self

    def memory(self, name: str, offset: int = 0, lane: int | None = None) -> Code:
        """A load or store, 4-byte aligned; `lane` for the *_lane forms."""
        self.out += _MEMORY[name] + unsigned(offset)
        if lane is not None:
            self.out.append(lane)
        return self

    def lane(self, name: str, lane: int) -> Code:
        """extract_lane or replace_lane"""
        self.out += _LANE[name] + _SMALL[lane]
        return self

    def block(self) -> Code:
        """block without a result"""
        self.out += b"\x02\x40"
        return self

    def loop(self) -> Code:
        """loop without a result"""
        self.out += b"\x03\x40"
        return self

    def if_(self, result: int = VOID) -> Code:
        """if, with a result type or none"""
        self.out += bytes((0x04, result))
        return self

    def else_(self) -> Code:
        """else"""
        self.out.append(0x05)
        return self

    def end(self) -> Code:
        """end"""
        self.out.append(0x0B)
        return self

    def br(self, depth: int) -> Code:
        """br"""
        self.out += b"\x0c" + unsigned(depth)
        return self

    def br_if(self, depth: int) -> Code:
        """br_if"""
        self.out += b"\x0d" + unsigned(depth)
        return self

    def call(self, function: int) -> Code:
        """call"""
        self.out += b"\x10" + unsigned(function)
        return self

    def body(self) -> bytes:
        """The entry of the code section, without its size: locals, instructions, end."""
        groups: list[list[int]] = []
        for type_ in self.types[self.num_params :]:
            if groups and groups[-1][1] == type_:
                groups[-1][0] += 1
            else:
                groups.append([1, type_])
        head = unsigned(len(groups)) + b"".join(unsigned(n) + bytes((t,)) for n, t in groups)
        return head + bytes(self.out) + b"\x0b"


def f32_bytes(value: float) -> bytes:
    """The four bytes of an f32; a value too large for one becomes infinity."""
    try:
        return _PACK_F32(value)
    except OverflowError:
        return _PACK_F32(float("inf") if value > 0 else float("-inf"))


def u32_bytes(value: int) -> bytes:
    """The four bytes of an i32 or u32."""
    return _PACK_I32(value & 0xFFFFFFFF)


def _vector(items: Sequence[bytes]) -> bytes:
    return unsigned(len(items)) + b"".join(items)


def _section(number: int, payload: bytes) -> bytes:
    return bytes((number,)) + unsigned(len(payload)) + payload


def _name(text: str) -> bytes:
    raw = text.encode()
    return unsigned(len(raw)) + raw


def module(functions: Sequence[tuple[int, bool, bytes]], *exports: tuple[str, int]) -> bytes:
    """A module of functions given as (number of i32 parameters, returns an i32, body), some of them exported.

    It imports `env.memory` and carries a `dylink.0` section, which makes it loadable by Pyodide's `ctypes.CDLL`.
    """
    signatures = sorted({(params, returns) for params, returns, _ in functions})
    types = [
        b"\x60" + _vector([b"\x7f"] * params) + (b"\x01\x7f" if returns else b"\x00") for params, returns in signatures
    ]
    number = {signature: i for i, signature in enumerate(signatures)}
    dylink = _name("dylink.0") + b"\x01\x04\x00\x00\x00\x00"  # memory info: no memory, no table of its own
    memory = _name("env") + _name("memory") + b"\x02\x00\x01"
    return b"".join(
        (
            b"\0asm\x01\0\0\0",
            _section(0, dylink),
            _section(1, _vector(types)),
            _section(2, _vector([memory])),
            _section(3, _vector([unsigned(number[params, returns]) for params, returns, _ in functions])),
            _section(7, _vector([_name(name) + b"\x00" + unsigned(f) for name, f in exports])),
            _section(10, _vector([unsigned(len(body)) + body for _, _, body in functions])),
        )
    )
