"""Simplification of integer expressions: linear normal form, and division and remainder by their bounds."""

from __future__ import annotations

from .ir import BOOL, I32, Builder, Expr, both_axes

_COMPARE = {"lt", "le", "gt", "ge", "eq", "ne"}


def simplify(ir: Builder, op: str, a: Expr, b: Expr) -> Expr | None:
    """A simpler node for `op(a, b)` of i32 or bool operands, or None."""
    if a.dtype == BOOL:
        return _simplify_bool(ir, op, a, b)
    if a.op == b.op == "const" and (op not in ("div", "mod", "quot", "rem") or b.attr != 0):
        return ir.const(_PYTHON[op](a.attr, b.attr), BOOL if op in _COMPARE else I32) if op in _PYTHON else None
    if op == "add" or op == "sub":
        if b.op == "const" and b.attr == 0:
            return a
        if op == "add" and a.op == "const" and a.attr == 0:
            return b
        return _combine(ir, a, b, 1 if op == "add" else -1)
    if op == "mul":
        return _multiply(ir, a, b)
    if op in ("div", "mod"):
        return _divide(ir, op, a, b)
    if op in ("min", "max"):
        if a is b:
            return a
        first, second = (a, b) if op == "min" else (b, a)
        if first.hi is not None and second.lo is not None and first.hi <= second.lo:
            return a
        if second.hi is not None and first.lo is not None and second.hi <= first.lo:
            return b
    if op in _COMPARE:
        return _compare(ir, op, a, b)
    return None


def bounds(op: str, a: Expr, b: Expr) -> tuple[int | None, int | None]:
    """The range of `op(a, b)` as far as it is known."""
    if a.dtype != I32:
        return None, None
    if op == "add":
        return _plus(a.lo, b.lo), _plus(a.hi, b.hi)
    if op == "sub":
        return _plus(a.lo, _negative(b.hi)), _plus(a.hi, _negative(b.lo))
    if op == "mul":
        if b.op == "const":
            ends = (None if a.lo is None else a.lo * b.attr, None if a.hi is None else a.hi * b.attr)
            return ends if b.attr >= 0 else (ends[1], ends[0])
        if a.lo is not None and a.lo >= 0 and b.lo is not None and b.lo >= 0:
            return a.lo * b.lo, (a.hi * b.hi if a.hi is not None and b.hi is not None else None)
    if op == "div":
        return 0, (a.hi // b.attr if b.op == "const" and b.attr and a.hi is not None else a.hi)
    if op == "mod":
        return 0, (b.attr - 1 if b.op == "const" else _plus(b.hi, -1))
    if op == "min":
        return (
            None if a.lo is None or b.lo is None else min(a.lo, b.lo),
            a.hi if b.hi is None else b.hi if a.hi is None else min(a.hi, b.hi),
        )
    if op == "max":
        return (
            a.lo if b.lo is None else b.lo if a.lo is None else max(a.lo, b.lo),
            None if a.hi is None or b.hi is None else max(a.hi, b.hi),
        )
    return None, None


def linear(x: Expr) -> tuple[dict[Expr, int], int]:
    """x as a sum of factor * term plus a constant."""
    terms: dict[Expr, int] = {}
    constant = 0
    stack = [(x, 1)]
    while stack:
        node, factor = stack.pop()
        if node.op == "const":
            constant += factor * node.attr
        elif node.op == "add":
            stack += [(node.args[0], factor), (node.args[1], factor)]
        elif node.op == "sub":
            stack += [(node.args[0], factor), (node.args[1], -factor)]
        elif node.op == "mul" and node.args[1].op == "const":
            stack.append((node.args[0], factor * node.args[1].attr))
        else:
            terms[node] = terms.get(node, 0) + factor
    return {t: f for t, f in terms.items() if f}, constant


def from_linear(ir: Builder, terms: dict[Expr, int], constant: int) -> Expr:
    """The expression of a linear form, in one fixed order, so that equal sums are one node."""
    result: Expr | None = None
    for term, factor in sorted(terms.items(), key=lambda item: (-abs(item[1]), item[0].number)):
        part = term if factor == 1 else _raw(ir, "mul", term, ir.const(factor))
        result = part if result is None else _raw(ir, "add", result, part)
    if result is None:
        return ir.const(constant)
    return result if constant == 0 else _raw(ir, "add", result, ir.const(constant))


def _raw(ir: Builder, op: str, a: Expr, b: Expr) -> Expr:
    lo, hi = bounds(op, a, b)
    return ir._make(op, I32, (a, b), None, lo, hi, both_axes(a, b))


def _combine(ir: Builder, a: Expr, b: Expr, sign: int) -> Expr:
    terms, constant = linear(a)
    more, other = linear(b)
    for term, factor in more.items():
        terms[term] = terms.get(term, 0) + sign * factor
    return from_linear(ir, _rejoin(ir, {t: f for t, f in terms.items() if f}), constant + sign * other)


def _rejoin(ir: Builder, terms: dict[Expr, int]) -> dict[Expr, int]:
    """x // c * c + x % c is x: what reshaping there and back leaves, so that the loads are contiguous again."""
    for rest, factor in terms.items():
        if rest.op != "mod" or rest.args[1].op not in ("const", "size"):
            continue
        x, by = rest.args
        quotient, times = ir.binary("div", x, by), factor
        if by.op == "const":
            times *= by.attr
        else:
            quotient = ir.binary("mul", quotient, by)
        if quotient is not rest and terms.get(quotient) == times:
            kept = {t: f for t, f in terms.items() if t is not rest and t is not quotient}
            more, constant = linear(x)
            if constant:
                return terms
            for term, f in more.items():
                kept[term] = kept.get(term, 0) + f * factor
            return _rejoin(ir, {t: f for t, f in kept.items() if f})
    return terms


def _multiply(ir: Builder, a: Expr, b: Expr) -> Expr | None:
    if a.op == "const":
        a, b = b, a
    if b.op == "const":
        if b.attr == 1 or b.attr == 0:
            return a if b.attr else b
        terms, constant = linear(a)
        return from_linear(ir, {t: f * b.attr for t, f in terms.items() if b.attr}, constant * b.attr)
    if a.number > b.number:  # one order for a product of two variables
        return _raw(ir, "mul", b, a)
    return None


def _divide(ir: Builder, op: str, a: Expr, b: Expr) -> Expr | None:
    if b.op != "const":
        return _divide_symbolic(ir, op, a, b)
    by = b.attr
    if by == 1:
        return a if op == "div" else ir.const(0)
    if by <= 0:
        return None
    terms, constant = linear(a)
    whole = {t: f // by for t, f in terms.items() if f % by == 0}
    rest = {t: f for t, f in terms.items() if f % by != 0}
    whole_constant, rest_constant = divmod(constant, by)
    remainder = from_linear(ir, rest, rest_constant)
    if remainder.lo is None or remainder.lo < 0:
        if not whole and not whole_constant:
            return None
        # a division of a possibly negative rest is not defined by itself: keep the sum whole
        return None if (a.lo is None or a.lo < 0 or remainder.lo is None) else _make(ir, op, a, b)
    if remainder.hi is not None and remainder.hi < by:
        return from_linear(ir, whole, whole_constant) if op == "div" else remainder
    if not whole and not whole_constant:
        return _nested(ir, op, a, b)
    inner = ir.binary(op, remainder, b)
    return inner if op == "mod" else ir.binary("add", from_linear(ir, whole, whole_constant), inner)


def _nested(ir: Builder, op: str, a: Expr, b: Expr) -> Expr | None:
    """(x / c) / d = x / (c * d) when nothing was lost in between."""
    if op == "div" and a.op == "div" and a.args[1].op == "const":
        return ir.binary("div", a.args[0], ir.const(a.args[1].attr * b.attr))
    return None


def _divide_symbolic(ir: Builder, op: str, a: Expr, b: Expr) -> Expr | None:
    """Divides by a size: axis < size gives 0 (or itself); terms with that size as factor come out."""
    if a.op == "axis" and b.op == "size" and a.attr.extent == b.attr:
        return ir.const(0) if op == "div" else a
    return None


def _make(ir: Builder, op: str, a: Expr, b: Expr) -> Expr:
    return _raw(ir, op, a, b)


def _compare(ir: Builder, op: str, a: Expr, b: Expr) -> Expr | None:
    if a is b:
        return ir.const(op in ("le", "ge", "eq"), BOOL)
    if op in ("gt", "ge"):
        return ir.binary("lt" if op == "gt" else "le", b, a)
    if op in ("eq", "ne"):
        if _below(a, b) or _below(b, a):
            return ir.const(op == "ne", BOOL)
        return None
    if op == "lt":
        if _below(a, b) or (a.op == "axis" and b.op == "size" and a.attr.extent == b.attr):
            return ir.const(True)
        if b.hi is not None and a.lo is not None and b.hi <= a.lo:
            return ir.const(False)
    if op == "le":
        if a.hi is not None and b.lo is not None and a.hi <= b.lo:
            return ir.const(True)
        if _below(b, a):
            return ir.const(False)
    return None


def _below(a: Expr, b: Expr) -> bool:
    return a.hi is not None and b.lo is not None and a.hi < b.lo


def _simplify_bool(ir: Builder, op: str, a: Expr, b: Expr) -> Expr | None:
    if op not in ("and", "or"):
        return None
    for x, y in ((a, b), (b, a)):
        if x.op == "const":
            return (y if x.attr else x) if op == "and" else (x if x.attr else y)
    return a if a is b else None


def _plus(a: int | None, b: int | None) -> int | None:
    return None if a is None or b is None else a + b


def _negative(a: int | None) -> int | None:
    return None if a is None else -a


_PYTHON = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "div": lambda a, b: a // b,
    "mod": lambda a, b: a % b,
    "min": min,
    "max": max,
    "lt": lambda a, b: a < b,
    "le": lambda a, b: a <= b,
    "gt": lambda a, b: a > b,
    "ge": lambda a, b: a >= b,
    "eq": lambda a, b: a == b,
    "ne": lambda a, b: a != b,
}
