"""The WGSL text of single operations: constants, operators, helper functions, on scalars and on vec4.

Drivers may assume that numbers are finite, so nothing here leans on how a builtin treats NaN: NaN is found by its bits,
minimum and maximum are selects, constants that are not finite are made from bits in a function (literals are errors).
"""

from __future__ import annotations

import struct

from ..kernel.ir import BOOL, F32, I32, U32

TYPES = {F32: "f32", I32: "i32", U32: "u32", BOOL: "bool"}
SMALLEST_NORMAL = 1.1754943508222875e-38

INFIX = {"add": "+", "sub": "-", "mul": "*", "truediv": "/", "div": "/", "mod": "%", "quot": "/", "rem": "%",
         "lt": "<", "le": "<=", "gt": ">", "ge": ">=", "eq": "==", "and": "&", "or": "|", "xor": "^"}
MIXED = {"add", "sub", "mul", "truediv"}          # vector with scalar is allowed; elsewhere the scalar is spread

# Functions emitted when used, once for scalars and once for vec4. $F, $U, $I, $B: the types; $s: "" or "4".
HELPERS = {
    "bits": "fn bits$s(x: $U) -> $F { return bitcast<$F>(x); }",
    "is_nan": "fn is_nan$s(x: $F) -> $B { return (bitcast<$U>(x) & $U(0x7fffffffu)) > $U(0x7f800000u); }",
    "max": "fn max_f$s(a: $F, b: $F) -> $F { return select(select(b, a, a > b), a, is_nan$s(a)); }",
    "min": "fn min_f$s(a: $F, b: $F) -> $F { return select(select(b, a, a < b), a, is_nan$s(a)); }",
    "sign": "fn sign_f$s(x: $F) -> $F { return select(select(x, $F(-1.0f), x < $F(0.0f)), $F(1.0f), x > $F(0.0f)); }",
    # high half of a 64-bit product from 16-bit halves
    "mulhi": """fn mulhi$s(a: $U, b: $U) -> $U {
  let m = $U(0xffffu);
  let s = $U(16u);
  let al = a & m; let ah = a >> s; let bl = b & m; let bh = b >> s;
  let mid = ah * bl + ((al * bl) >> s);
  return ah * bh + (mid >> s) + (((mid & m) + al * bh) >> s);
}""",
}
NEEDS = {"max": ("is_nan",), "min": ("is_nan",)}


class Helpers:
    """The helper functions that one kernel uses, in the order of first use."""

    def __init__(self) -> None:
        self.texts: dict[str, str] = {}

    def use(self, name: str, vector: bool) -> None:
        """Adds a helper and what it calls."""
        suffix = "4" if vector else ""
        key = name + suffix
        if key in self.texts:
            return
        for inner in NEEDS.get(name, ()):
            self.use(inner, vector)
        text = HELPERS[name].replace("$s", suffix)
        for mark, dtype in (("$F", F32), ("$U", U32), ("$I", I32), ("$B", BOOL)):
            text = text.replace(mark, type_name(dtype, vector))
        self.texts[key] = text

    def text(self) -> str:
        """All of them as WGSL."""
        return "".join(t + "\n" for t in self.texts.values())


def type_name(dtype: str, vector: bool = False) -> str:
    """The WGSL type of a value."""
    return f"vec4<{TYPES[dtype]}>" if vector else TYPES[dtype]


def constant(value: float | int | bool, dtype: str, helpers: Helpers) -> str:
    """A constant, exactly: f32 as the decimal of the double it is, by its bits where a literal is not allowed."""
    if dtype == BOOL:
        return "true" if value else "false"
    if dtype == U32:
        return f"{int(value)}u"
    if dtype == I32:
        if value == -(2**31):
            return "i32(-2147483648)"
        return f"{int(value)}i" if value >= 0 else f"({int(value)}i)"
    bits = struct.unpack("<I", struct.pack("<f", value))[0]
    if value == value and SMALLEST_NORMAL <= abs(value) < float("inf"):
        text = repr(float(value))
        return f"{text}f" if value > 0 else f"({text}f)"
    if bits == 0:
        return "0.0f"
    helpers.use("bits", False)
    return f"bits(0x{bits:08x}u)"


def spread(text: str, dtype: str, is_vector: bool, want_vector: bool) -> str:
    """A scalar operand as a vec4 where one is needed."""
    return f"{type_name(dtype, True)}({text})" if want_vector and not is_vector else text


def operation(op: str, dtype: str, operands: list[tuple[str, str, bool]], helpers: Helpers) -> str:
    """The text of one of OPS. `operands` are (text, dtype, is a vec4); the result is a vec4 if any operand is one."""
    vector = any(v for _, _, v in operands)
    a, of, _ = operands[0]
    mixed = op in MIXED or (op in ("div", "mod", "quot", "rem") and of == I32)
    wide = [text if mixed else spread(text, t, v, vector) for text, t, v in operands]
    suffix = "4" if vector else ""
    if op in ("min", "max"):
        if of == F32:
            helpers.use(op, vector)
            return f"{op}_f{suffix}({wide[0]}, {wide[1]})"
        return f"{op}({wide[0]}, {wide[1]})"
    if op == "ne":
        # a comparison `!=` may be false for NaN (it is in naga); `==` may not be true
        return f"({wide[0]} != {wide[1]})" if of != F32 else f"(!({wide[0]} == {wide[1]}))"
    if op == "xor" and of == BOOL:
        return f"({wide[0]} != {wide[1]})"
    if op in ("div", "mod") and of == I32 and (shifted := _by_power_of_two(op, a, operands[1][0], vector)):
        return shifted
    if op in INFIX:
        return f"({wide[0]} {INFIX[op]} {wide[1]})"
    if op in ("shl", "shr"):
        return f"({wide[0]} {'<<' if op == 'shl' else '>>'} {_shift(operands[1], vector)})"
    if op == "not":
        return f"(!{a})" if of == BOOL else f"(~{a})"
    if op == "neg":
        return f"({type_name(U32, vector)}(0u) - {a})" if of == U32 else f"(-{a})"
    if op == "mulhi":
        helpers.use(op, vector)
        return f"mulhi{suffix}({wide[0]}, {wide[1]})"
    if op == "isnan":
        helpers.use("is_nan", vector)
        return f"is_nan{suffix}({a})"
    if op == "sign":
        if of == F32:
            helpers.use("sign", vector)
            return f"sign_f{suffix}({a})"
        return f"sign({a})" if of == I32 else f"min({a}, {type_name(U32, vector)}(1u))"
    if op == "fma":
        return f"({wide[0]} * {wide[1]} + {wide[2]})"
    if op == "abs" and of == U32:
        return a
    return f"{'inverseSqrt' if op == 'rsqrt' else op}({a})"         # abs sqrt floor ceil trunc round


def _by_power_of_two(op: str, value: str, by: str, vector: bool) -> str | None:
    """Quotient or remainder of an index, which is not negative, without a division."""
    number = int(by.rstrip("i")) if by.rstrip("i").isdigit() else 0
    if number < 1 or number & (number - 1):
        return None
    if op == "mod":
        return f"({value} & {spread(f'{number - 1}i', I32, False, vector)})"
    return f"({value} >> {spread(f'{number.bit_length() - 1}u', U32, False, vector)})"


def _shift(operand: tuple[str, str, bool], vector: bool) -> str:
    text, dtype, is_vector = operand
    if not is_vector and text.rstrip("iu").isdigit():
        text, dtype = f"{int(text.rstrip('iu')) & 31}u", U32
    if dtype != U32:
        text = f"{type_name(U32, is_vector)}({text})"
    return spread(text, U32, is_vector, vector)


def combine(accumulator: str, how: str, dtype: str, value: str, vector: bool, helpers: Helpers) -> str:
    """The statement that reduces `value` into an accumulator."""
    if dtype == BOOL:
        sign = "|" if how in ("sum", "max") else "&"
        return f"{accumulator} = {accumulator} {sign} {value};"
    if how == "sum":
        return f"{accumulator} += {value};"
    if how == "prod":
        return f"{accumulator} *= {value};"
    operands = [(accumulator, dtype, vector), (value, dtype, vector)]
    return f"{accumulator} = {operation(how, dtype, operands, helpers)};"


def cast(text: str, source: str, target: str, vector: bool) -> str:
    """A value as another dtype."""
    if target == BOOL:
        return f"({text} != {type_name(source, vector)}())"
    return f"{type_name(target, vector)}({text})"


def bitcast(text: str, source: str, target: str, vector: bool) -> str:
    """The same bits as another dtype."""
    return text if source == target else f"bitcast<{type_name(target, vector)}>({text})"
