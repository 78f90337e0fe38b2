"""Broken files made by hand, each with the rule that both readers must name: lies that no one changed field tells."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Iterator

from tideflow.program.format import (
    Advance,
    DimExpr,
    DimOp,
    DType,
    GraphRef,
    Kernel,
    Model,
    NamedAttr,
    Place,
    Range,
    Region,
    Role,
    Step,
    StepKind,
    Symbol,
    Tensor,
)
from tideflow.program.write import write_model

from .mutants import walk

ADD, SUB, MUL, FLOORDIV, MOD = DimOp.ADD, DimOp.SUB, DimOp.MUL, DimOp.FLOORDIV, DimOp.MOD
CONST, SYMBOL = DimOp.CONST, DimOp.SYMBOL


def hostile_files(trainable: Callable[[], Model]) -> Iterator[tuple[str, bytes, str]]:
    for group in (_header, _sizes, _tensors, _programs, _loops, _signatures, _graphs):
        for name, change, expected in group():
            model = trainable()
            data = change(model)
            yield name, data if isinstance(data, bytes) else write_model(model, verify=False), expected
    for name, module, expected in wasm_modules(trainable().programs[1].module):
        model = trainable()
        model.programs[1].module = module
        yield f"module: {name}", write_model(model, verify=False), expected


def _set(**changes):
    """A change of several fields of one object of the model, found by `path`."""
    path = changes.pop("path")

    def change(model):
        target = model
        for part in path:
            target = target[part] if isinstance(part, int) else getattr(target, part)
        for key, value in changes.items():
            setattr(target, key, value)

    return change


def _append(path, *items):
    def change(model):
        target = model
        for part in path:
            target = target[part] if isinstance(part, int) else getattr(target, part)
        target.extend(items)

    return change


def _bytes(edit):
    """A change of the written file: `edit(bytearray, flatbuffer size, first segment)`."""

    def change(model):
        data = bytearray(write_model(model))
        flat, first = struct.unpack_from("<QQ", data, 16)
        return bytes(edit(data, flat, first) or data)

    return change


def _put(at, new):
    def edit(data, flat, first):
        data[at : at + len(new)] = new

    return _bytes(edit)


def _header():
    yield "newer file format", _put(4, b"TID2"), "C01-identifier"
    yield "another file", _put(4, b"TFL3"), "C01-identifier"
    yield "empty", lambda model: b"", "C01-identifier"
    yield "wrong magic", _put(8, b"tdh2"), "C02-header"
    yield "flatbuffer size above 2^53", _put(16, struct.pack("<Q", 2**63)), "C02-header"
    yield "flatbuffer of 4 GiB", _put(16, struct.pack("<Q", 2**32)), "C02-header"
    yield "newer schema", _set(path=[], schema_version=2), "either"
    yield "schema version 0", _set(path=[], schema_version=0), "C12-version"
    yield "root at the end", _bytes(lambda d, flat, _: d.__setitem__(slice(0, 4), struct.pack("<I", flat))), "C03-table"
    yield "root in the header", _put(0, struct.pack("<I", 8)), "C03-table"
    yield "base of 31 bytes", _set(path=[], base=bytes(31)), "C17-base"
    yield "producer with a bell", _set(path=[], producer="a\a"), "C11-name"
    yield "last bit of the weights", _bytes(lambda d, flat, first: d.__setitem__(first, d[first] ^ 1)), "C15-hash"

    def unhashed(data, flat, first):
        """Weights in the padding between two tensors, with a hash that fits."""
        old = hashlib.sha256(data[first : first + 1296]).digest()
        data[first + 30] = 1
        at = data.index(old)
        data[at : at + 32] = hashlib.sha256(data[first : first + 1296]).digest()

    yield "hidden bytes in padding", _bytes(unhashed), "C14-slice"


def _sizes():
    def dims(*new):
        return _append(["dims"], *new)

    square = [DimExpr(SYMBOL, 0)] + [DimExpr(MUL, 23 + i, 23 + i) for i in range(30)]
    yield "thirty squarings", dims(*square), "P03-size"
    yield "refers to itself", dims(DimExpr(ADD, 23, 1)), "P03-size"
    yield "two that refer to each other", dims(DimExpr(ADD, 24, 1), DimExpr(ADD, 23, 1)), "P03-size"
    yield "doubles 53 times", dims(DimExpr(CONST, 1), *[DimExpr(ADD, 23 + i, 23 + i) for i in range(53)]), "P03-size"
    yield "divides by zero", dims(DimExpr(FLOORDIV, 1, 0)), "P03-size"
    yield "may divide by zero", dims(DimExpr(SUB, 1, 15), DimExpr(MOD, 1, 23)), "P03-size"
    yield "may be negative", dims(DimExpr(SUB, 15, 1)), "P03-size"
    yield "constant of 2^53", dims(DimExpr(CONST, 2**53)), "C07-number"
    yield "constant of 2^64-1", dims(DimExpr(CONST, 2**64 - 1)), "C07-number"
    yield "unknown symbol", dims(DimExpr(SYMBOL, 9)), "P03-size"
    yield "unknown operator", dims(DimExpr(10, 1, 1)), "C08-enum"
    yield "dims[0] is 1", _set(path=["dims", 0], a=1), "P03-size"
    yield "dims[0] is a symbol", _set(path=["dims", 0], op=SYMBOL), "P03-size"
    yield "symbol without values", _append(["symbols"], Symbol("s", 5, 7, 4)), "P02-symbol"
    yield "symbol from high to low", _append(["symbols"], Symbol("s", 7, 5)), "P02-symbol"
    yield "symbol in steps of 0", _append(["symbols"], Symbol("s", 1, 5, 0)), "P02-symbol"
    yield "symbol up to 2^53", _append(["symbols"], Symbol("s", 1, 2**53)), "C07-number"
    yield "symbol at the edge of numbers", _append(["symbols"], Symbol("s", 2**53 - 1, 2**53 - 1, 2)), "P02-symbol"
    yield (
        "when excludes everything",
        _append(["programs", 0, "requires", "when"], Range(0, 2000, 3000)),
        "P12-requirement",
    )
    yield "equal has an odd one", _append(["programs", 0, "requires", "equal"], 1), "P12-requirement"


def _tensors():
    def tensor(*arguments, **named):
        return _append(["tensors"], Tensor(*arguments, **named))

    yield "nine axes", tensor("t", DType.F32, [15] * 9), "C16-rank"
    yield "huge tensor", tensor("t", DType.F64, [11] * 8), "P04-tensor"
    yield "name twice", tensor("w", DType.F32, [15]), "C11-name"
    yield "strings with data", tensor("t", DType.STRING, [0], data=b""), "P04-tensor"
    yield "data of symbolic shape", tensor("t", DType.U8, [1], data=b"1"), "P04-tensor"
    yield "65,537 tensors", _append(["tensors"], *[Tensor("", DType.F32, [])] * 65_537), "C09-count"
    yield "too many sizes", _append(["dims"], *[DimExpr(CONST, 1)] * 600_000), "C09-count"

    def same_slice(model):
        data = bytearray(write_model(model))
        places = [at for where, at, _ in walk(bytes(data)) if where == "Slice.offset"]
        data[places[1] : places[1] + 8] = struct.pack("<Q", 0)  # that of the second tensor with data
        return bytes(data)

    yield "two tensors share bytes", same_slice, "C14-slice"

    def shared_vector(model):
        """Sixty entries that are all the same large one: a small file that unpacks to a large one."""
        data = bytearray(write_model(Model(metadata=[(f"k{i}", "v" * (1 if i else 5000)) for i in range(60)])))
        at = struct.unpack_from("<I", data, 0)[0]
        vtable = at - struct.unpack_from("<i", data, at)[0]
        field = at + struct.unpack_from("<H", data, vtable + 4 + 2 * 10)[0]
        vector = field + struct.unpack_from("<I", data, field)[0]
        first = vector + 4 + struct.unpack_from("<I", data, vector + 4)[0]
        for i in range(1, 60):
            place = vector + 4 + 4 * i
            struct.pack_into("<I", data, place, first - place)
        return bytes(data)

    yield "sixty references to one object", shared_vector, "C10-shared"


def _programs():
    kernel, step = ["programs", 0, "kernels", 0], ["programs", 0, "steps", 0]
    yield "nine bindings", _set(path=step, regions=[0, 1, 3, 4, 5, 6, 0, 1, 3]), "P08-binding"
    yield "binding twice", _set(path=step, regions=[0, 0, 5]), "P08-binding"
    yield "child beside parent", _set(path=step, regions=[2, 3, 5]), "P08-binding"
    yield "fewer than the kernel has", _set(path=step, regions=[0, 3]), "P08-binding"
    yield "writes what is not bound", _set(path=step, writes=8), "P08-binding"
    yield "65 words", _set(path=step, uniforms=[1] * 65), "P08-binding"
    yield "a tensor as a scalar", _set(path=["programs", 2, "steps", 0], scalars=[0]), "P08-binding"
    yield "no grid", _set(path=step, grid=[]), "P07-step"
    yield "grid of four", _set(path=step, grid=[15] * 4), "P07-step"
    yield "wrong hash of code", _set(path=kernel, hash=bytes(32)), "P05-kernel"
    yield "code is not UTF-8", _set(path=kernel, code=b"\xff\xfe"), "P05-kernel"
    yield "WGSL without code", _set(path=kernel, code=None), "P05-kernel"
    yield "WASM with code", _set(path=["programs", 1, "kernels", 0], code=b"x"), "P05-kernel"
    yield "WASM without module", _set(path=["programs", 1], module=None), "P10-module"
    yield "WGSL with module", _set(path=["programs", 0], module=b"x"), "P10-module"
    yield "unknown target", _set(path=["programs", 0], target=2), "C08-enum"
    yield "parent in another place", _set(path=["programs", 0, "regions", 3], place=Place.SCRATCH), "P06-region"
    yield "parent is itself", _set(path=["programs", 0, "regions", 3], parent=3), "P01-index"
    yield "parent comes later", _set(path=["programs", 0, "regions", 3], parent=4), "P01-index"
    yield "offset without parent", _set(path=["programs", 0, "regions", 5], offset=11), "P06-region"
    yield "offset of 24", _set(path=["programs", 0, "regions", 4], offset=13), "P06-region"
    yield "child past its parent", _set(path=["programs", 0, "regions", 4], offset=12), "P06-region"
    yield "smaller than its tensor", _set(path=["programs", 0, "regions", 0], bytes=15), "P06-region"
    yield "tensor placed twice", _append(["programs", 0, "regions"], Region(Place.STATE, 13, tensor=3)), "P06-region"
    yield "input without tensor", _append(["programs", 0, "regions"], Region(Place.INPUT, 13)), "P06-region"
    yield (
        "constant without data",
        _append(["programs", 0, "regions"], Region(Place.CONSTANT, 8, tensor=10)),
        "P06-region",
    )

    def overlapping(model):
        program = model.programs[0]
        program.regions += [
            Region(Place.SCRATCH, 12),
            Region(Place.SCRATCH, 12, parent=7),
            Region(Place.SCRATCH, 13, parent=7),
        ]
        program.steps[0].regions = [0, 8, 9]

    yield "children that overlap", overlapping, "P08-binding"

    def moved(model):
        model.programs[1].regions[3].offset, model.programs[1].regions[4].offset = 11, 0

    yield "programs that disagree on where a weight lies", moved, "P14-state"
    yield (
        "programs that disagree on how a weight is stored",
        _set(path=["programs", 1, "regions", 4], storage=DType.F16),
        "P14-state",
    )
    yield "state of symbolic size", _append(["programs", 0, "regions"], Region(Place.STATE, 6)), "P14-state"

    def large(model):
        model.dims.append(DimExpr(CONST, 2**33))
        model.programs[0].regions.append(Region(Place.SCRATCH, 23))

    yield "8 GiB of scratch", large, "P09-budget"


def _loops():
    program = ["programs", 2, "steps"]

    def nested(depth):
        def change(model):
            loops = [Step(StepKind.LOOP, count=4, body=depth - i) for i in range(depth)]
            model.programs[2].steps += [*loops, Step(kernel=1, regions=[5, 9], grid=[15], writes=2)]

        return change

    def repeated(count, times):
        def change(model):
            model.dims.append(DimExpr(CONST, count))
            loops = [Step(StepKind.LOOP, count=23, body=times - i) for i in range(times)]
            model.programs[2].steps += [*loops, Step(kernel=1, regions=[5, 9], grid=[15], writes=2)]

        return change

    yield "loops four deep", nested(4), "either"
    yield "loops five deep", nested(5), "P07-step"
    yield "2^21 steps", repeated(2**21, 1), "P09-budget"
    yield "2^24 steps in nested loops", repeated(64, 4), "P09-budget"
    yield "2^212 steps in nested loops", repeated(2**53 - 1, 4), "P09-budget"
    yield "no body", _append(program, Step(StepKind.LOOP, count=4, body=0)), "P07-step"
    yield "body past the end", _append(program, Step(StepKind.LOOP, count=4, body=1)), "P07-step"
    yield "body past its block", _set(path=[*program, 3], body=2), "P07-step"
    yield "loop with a kernel", _set(path=[*program, 1], kernel=1), "P07-step"
    yield "dispatch with a count", _set(path=[*program, 0], count=4), "P07-step"
    yield "unknown kind of step", _set(path=[*program, 0], kind=2), "C08-enum"


def _signatures():
    train = ["signatures", 1]
    yield "writes a tensor without data", _append([*train, "writes"], 8), "P11-signature"
    yield "writes a counter", _append([*train, "writes"], 6), "P11-signature"
    yield "advances a weight", _append([*train, "advance"], Advance(3, 15)), "P11-signature"
    yield "writes more than it says", _set(path=train, writes=[3, 4, 5]), "P11-signature"
    yield (
        "predict writes the chunk of weights",
        _set(path=["programs", 0, "steps", 0], regions=[0, 2, 5], writes=2),
        "P11-signature",
    )
    yield "labels from 9 to 0", _set(path=[*train, "inputs", 1], min=9, max=0), "P11-signature"
    yield "reads an undeclared input", _set(path=train, inputs=[]), "P11-signature"
    yield "an output from nowhere", _set(path=[*train, "outputs", 0], tensor=10), "P11-signature"
    yield "port twice", _set(path=[*train, "inputs", 1], name="x"), "C11-name"
    yield "a weight as a scalar", _set(path=["programs", 2, "steps", 5], scalars=[12]), "P11-signature"
    yield "writes an input", _set(path=["programs", 2, "steps", 0], writes=9), "P11-signature"
    yield "label range of 2^53", _set(path=[*train, "inputs", 1], max=2**53), "C07-number"

    def unbound(model):
        model.programs[2].steps[0].uniforms = [22]  # the symbol `time` occurs in no input

    yield "a symbol that no input binds", unbound, "P13-unbound"


def _graphs():
    node = ["graphs", 1, "nodes", 1]
    yield "body is the graph itself", _set(path=[*node, "attrs", 0], value=GraphRef(1)), "P01-index"
    yield "body comes later", _set(path=[*node, "attrs", 0], value=GraphRef(7)), "P01-index"
    yield "attribute twice", _append([*node, "attrs"], NamedAttr("flag", False)), "C11-name"
    yield "input -2", _set(path=node, inputs=[-2]), "P01-index"
    yield "output -1", _set(path=node, outputs=[-1]), "P01-index"
    yield "unknown opcode", _set(path=node, op=3), "P01-index"
    yield (
        "kernels that share nothing",
        _append(["programs", 0, "kernels"], Kernel("k", code=b"x", bindings=255)),
        "either",
    )
    yield "unknown role", _append(["tensors"], Tensor("t", DType.F32, [], 7)), "C08-enum"
    yield "state of a known role", _append(["tensors"], Tensor("t", DType.F32, [], Role.METRIC)), "either"


def wasm_modules(good: bytes) -> Iterator[tuple[str, bytes, str]]:
    """A module that is fine, and changed ones that are not."""
    head, dylink, rest = good[:8], good[8:25], good[25:]
    imports = rest.index(b"\2\x0f\1\3env")
    types, after = rest[:imports], rest[imports + 17 :]
    function, export, code = after[:4], after[4:13], after[13:]
    start = head + dylink + types

    def section(kind: int, payload: bytes) -> bytes:
        return bytes([kind, len(payload)]) + payload

    memory = b"\3env\6memory\2"
    refused = {
        "not WASM": b"\x7fELF" + good[4:],
        "empty": b"",
        "only a header": head,
        "newer version": head[:4] + b"\2\0\0\0" + good[8:],
        "without dylink.0": head + rest,
        "dylink.0 that asks for memory": good.replace(dylink, dylink[:13] + b"\x10\0\0\0"),
        "dylink.0 that needs a library": head + b"\0\x15\x08dylink.0\1\4\0\0\0\0\2\4\1\2so" + rest,
        "memory of its own": start + rest[imports : imports + 17] + function + section(5, b"\1\0\1") + export + code,
        "4 GiB of memory of its own": start
        + rest[imports : imports + 17]
        + function
        + section(5, b"\1\0\x80\x80\4")
        + export
        + code,
        "a table": start
        + rest[imports : imports + 17]
        + function
        + section(4, b"\1\x70\0\x80\xad\xe2\4")
        + export
        + code,
        "a global": start + rest[imports : imports + 17] + function + section(6, b"\1\x7f\0\x41\0\x0b") + export + code,
        "a start function": start + rest[imports : imports + 17] + function + export + section(8, b"\0") + code,
        "elements": start + rest[imports : imports + 17] + function + export + section(9, b"\0") + code,
        "a data count": start + rest[imports : imports + 17] + function + export + section(12, b"\0") + code,
        "data": good + section(11, b"\0"),
        "a name section": good + section(0, b"\4name"),
        "a custom section": start + section(0, b"\1x") + rest[imports:],
        "a tag": start + rest[imports : imports + 17] + function + section(13, b"\0") + export + code,
        "a section twice": start + types + rest[imports:],
        "sections out of order": start + function + rest[imports : imports + 17] + export + code,
        "an unknown section": good + section(99, b""),
        "shared memory": start + section(2, b"\1" + memory + b"\3\1\1") + after,
        "memory with a maximum": start + section(2, b"\1" + memory + b"\1\1\2") + after,
        "64-bit memory": start + section(2, b"\1" + memory + b"\4\1") + after,
        "memory of two pages": start + section(2, b"\1" + memory + b"\0\2") + after,
        "an imported function": start + section(2, b"\2" + memory + b"\0\1" + b"\3env\1f\0\0") + after,
        "an imported function only": start + section(2, b"\1\3env\1f\0\0") + after,
        "an imported table": start + section(2, b"\1\3env\6memory\1\x70\0\0") + after,
        "another module's memory": start + section(2, b"\1\3abc\6memory\2\0\1") + after,
        "no import": start + section(2, b"\0") + after,
        "no export": start + rest[imports : imports + 17] + function + section(7, b"\0") + code,
        "exports its memory": start
        + rest[imports : imports + 17]
        + function
        + section(7, b"\2\3run\0\0\1m\2\0")
        + code,
        "exports another name": start + rest[imports : imports + 17] + function + section(7, b"\1\3ran\0\0") + code,
        "exports too many": start
        + rest[imports : imports + 17]
        + function
        + section(7, b"\xff\xff\xff\xff\x0f\3run\0\0")
        + code,
        "export section with a rest": start
        + rest[imports : imports + 17]
        + function
        + section(7, b"\1\3run\0\0\0")
        + code,
        "number of six bytes": start
        + rest[imports : imports + 17]
        + function
        + b"\7\x87\x80\x80\x80\x80\0"
        + export[2:]
        + code,
        "section longer than the module": good[:-7] + b"\x7f" + good[-6:],
        "cut in the middle": good[:-3],
        "bytes after the end": good + b"\0",
    }
    yield "the good one", good, "either"
    for name, module in refused.items():
        yield name, module, "P10-module"
