"""Writes core/program/tables.py and js_bindings/runtime/tables.js from core/program/schema/model.fbs.

Run it after each change of the schema; `--check` only says whether the two files are up to date (a test does that).
Each table becomes one line of text, `name:type` per field in vtable order, read alike by both languages:
`!` marks a required field, `=n` a default other than 0, `[t]` a vector; a union takes two vtable slots.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SCHEMA = ROOT / "core" / "program" / "schema" / "model.fbs"
PYTHON = ROOT / "core" / "program" / "tables.py"
JAVASCRIPT = ROOT / "js_bindings" / "runtime" / "tables.js"

SCALARS = {
    "ubyte": "u8",
    "ushort": "u16",
    "uint": "u32",
    "uint64": "u64",
    "int": "i32",
    "int64": "i64",
    "long": "i64",
    "float": "f32",
    "double": "f64",
    "bool": "bool",
}
FREE_TEXT = {("Text", "v"), ("KeyValue", "value")}  # not names: any UTF-8


def parse(text: str) -> tuple[dict, dict, dict, dict, str]:
    """Returns enums {name: members}, unions {name: tables}, structs and tables {name: fields text}, the identifier."""
    text = re.sub(r"//[^\n]*", "", text)
    enums = {}
    for name, body in re.findall(r"\benum\s+(\w+)\s*:\s*ubyte\s*{([^}]*)}", text):
        members = [m.split("=") for m in body.split(",")]
        if [int(m[1]) for m in members] != list(range(len(members))):
            raise SystemExit(f"enum {name}: values must be 0, 1, 2 ... in order")
        enums[name] = [m[0].strip() for m in members]
    unions = {n: [m.strip() for m in b.split(",")] for n, b in re.findall(r"\bunion\s+(\w+)\s*{([^}]*)}", text)}
    structs, tables = {}, {}
    for kind, name, body in re.findall(r"\b(table|struct)\s+(\w+)\s*{([^}]*)}", text):
        (structs if kind == "struct" else tables)[name] = body
    known = (enums, unions, structs, tables)
    for group in (structs, tables):
        for name, body in group.items():
            group[name] = " ".join(field(name, f, known) for f in body.split(";") if f.strip())
    return enums, unions, structs, tables, re.search(r'file_identifier\s+"(\w{4})"', text).group(1)


def field(table: str, declaration: str, known: tuple[dict, dict, dict, dict]) -> str:
    """One field declaration in the short form, for example `min: uint64 = 1` -> `min:u64=1`."""
    match = re.fullmatch(r"\s*(\w+)\s*:\s*(\[?)(\w+)\]?\s*(?:=\s*(-?\d+))?\s*(\(required\))?\s*", declaration)
    if not match:
        raise SystemExit(f"table {table}: cannot read the field {declaration.strip()!r}")
    name, vector, kind, default, required = match.groups()
    if kind == "string":
        kind = "text" if (table, name) in FREE_TEXT else "name"
    elif kind in SCALARS:
        kind = SCALARS[kind]
    elif not any(kind in group for group in known):
        raise SystemExit(f"table {table}: field {name} has the unknown type {kind}")
    kind = f"[{kind}]" if vector else kind
    return f"{name}:{kind}{'!' if required else ''}{'=' + default if default else ''}"


def python_source(enums: dict, unions: dict, structs: dict, tables: dict, identifier: str) -> str:
    lines = [
        '"""Generated from schema/model.fbs by tools/generate_tables.py: do not edit. See there for the notation."""',
        "",
    ]
    lines += [f'IDENTIFIER = b"{identifier}"', "", "ENUMS = {"]
    lines += [f'    "{name}": {len(members)},' for name, members in enums.items()] + ["}", "", "UNIONS = {"]
    lines += [f'    "{name}": "{" ".join(members)}",' for name, members in unions.items()] + ["}"]
    for title, group in (("STRUCTS", structs), ("TABLES", tables)):
        lines += ["", f"{title} = {{"]
        for name, text in group.items():
            parts = wrap(text, 100)
            if len(parts) == 1:
                lines.append(f'    "{name}": "{text}",')
            else:
                lines += (
                    [f'    "{name}": "{parts[0]} "']
                    + [f'        "{p} "' for p in parts[1:-1]]
                    + [f'        "{parts[-1]}",']
                )
        lines.append("}")
    return "\n".join(lines) + "\n"


def javascript_source(enums: dict, unions: dict, structs: dict, tables: dict, identifier: str) -> str:
    lines = [
        "// Generated from core/program/schema/model.fbs by tools/generate_tables.py: do not edit.",
        "",
    ]
    lines += [f'export const IDENTIFIER = "{identifier}";', ""]
    for name, members in enums.items():
        body = ", ".join(f"{m}: {i}" for i, m in enumerate(members))
        lines += (
            [f"export const {name} = {{ {body} }};"]
            if len(body) < 90
            else [f"export const {name} = {{", *(f"  {p}" for p in wrap(body, 100)), "};"]
        )
    lines += ["", "/** How many values each enum has. */", "export const ENUMS = {"]
    lines += [f"  {name}: {len(members)}," for name, members in enums.items()] + ["};", "", "export const UNIONS = {"]
    lines += [f'  {name}: "{" ".join(members)}",' for name, members in unions.items()] + ["};"]
    for title, group in (("STRUCTS", structs), ("TABLES", tables)):
        lines += ["", f"export const {title} = {{"]
        for name, text in group.items():
            parts = wrap(text, 100)
            lines.append(
                f"  {name}: " + " +\n    ".join(f'"{p}{" " if p is not parts[-1] else ""}"' for p in parts) + ","
            )
        lines.append("};")
    return "\n".join(lines) + "\n"


def wrap(text: str, width: int) -> list[str]:
    parts = [""]
    for word in text.split(" "):
        if parts[-1] and len(parts[-1]) + len(word) > width:
            parts.append("")
        parts[-1] += (" " if parts[-1] else "") + word
    return parts


def main() -> int:
    parsed = parse(SCHEMA.read_text(encoding="utf-8"))
    wanted = {PYTHON: python_source(*parsed), JAVASCRIPT: javascript_source(*parsed)}
    if "--check" in sys.argv[1:]:
        stale = [
            str(p.relative_to(ROOT)) for p, t in wanted.items() if not p.exists() or p.read_text(encoding="utf-8") != t
        ]
        if stale:
            print(f"out of date: {', '.join(stale)}; run tools/generate_tables.py")
        return 1 if stale else 0
    for path, text in wanted.items():
        path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
