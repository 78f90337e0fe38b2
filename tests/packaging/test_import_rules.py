"""The house rule: a file imports only from floors below its own or its own sub-folder. One table, no exceptions."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROOTS = {"core": "tideflow", "gpu_wgsl": "tideflow.gpu_wgsl", "wasm": "tideflow.wasm",
         "js_bindings": "tideflow.js_bindings"}

# Sub-folders, and files directly in core/ (which count alone). A file in core/ that is not listed is on floor 10.
FLOORS = {
    "__init__": 13, "__main__": 13, "doctor": 13,
    "keras": 12,
    "data": 11, "train": 11, "summary": 11, "io": 11,
    "function": 9,
    "eager": 8,
    "compiler": 7, "runtime": 7,
    "gpu_wgsl": 6, "wasm": 6, "js_bindings": 6, "autodiff": 6,
    "graph": 5, "device": 5, "emitter": 5,
    "ops": 4, "program": 4,
    "kernel": 3,
    "dtypes": 2, "shapes": 2, "config": 2,
    "errors": 1, "version": 1,
}
NAMESPACES = 10
ALLOWED_ELSEWHERE = {"numpy": None, "flatbuffers": {"program"}, "wgpu": {"gpu_wgsl"}, "wasmtime": {"wasm"},
                     "js": {"js_bindings", "wasm"}, "pyodide": {"js_bindings", "wasm"},
                     "pyodide_js": {"js_bindings", "wasm"}, "tideflow_runtime": {"js_bindings"}}


def modules() -> dict[str, Path]:
    """Every module of the package by its dotted name."""
    found = {}
    for folder, package in ROOTS.items():
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = path.relative_to(ROOT / folder).with_suffix("").parts
            found[".".join([package, *(part for part in parts if part != "__init__")])] = path
    return found


MODULES = modules()


def unit(module: str) -> str:
    """The sub-folder of a module, or its own name if it lies directly in core/."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def floor(name: str) -> int:
    """The floor of a sub-folder or file."""
    return FLOORS.get(name, NAMESPACES)


def imported(module: str) -> list[tuple[int, str]]:
    """(line, dotted name) of everything a module imports, wherever in the file; names of submodules where they are."""
    path = MODULES[module]
    package = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*base, *(node.module.split(".") if node.module else [])])
            found += [(node.lineno, f"{base}.{alias.name}" if f"{base}.{alias.name}" in MODULES else base)
                      for alias in node.names]
    return found


@pytest.mark.parametrize("module", MODULES)
def test_module_imports_only_from_below(module):
    own = unit(module)
    wrong = []
    for line, name in imported(module):
        if name.split(".")[0] != "tideflow":
            continue
        other = unit(name)
        if other != own and floor(other) >= floor(own):
            wrong.append(f"line {line}: {name} ({other} is on floor {floor(other)}, {own} on {floor(own)})")
    assert not wrong, f"{MODULES[module].relative_to(ROOT)} imports upwards or sideways:\n" + "\n".join(wrong)


@pytest.mark.parametrize("module", MODULES)
def test_module_imports_no_third_party_but_its_own(module):
    import sys
    wrong = []
    for line, name in imported(module):
        top = name.split(".")[0]
        if top == "tideflow" or top in sys.stdlib_module_names or top == "__future__":
            continue
        allowed = ALLOWED_ELSEWHERE.get(top, set())
        if allowed is not None and unit(module) not in allowed:
            wrong.append(f"line {line}: {top}")
    assert not wrong, f"{MODULES[module].relative_to(ROOT)} imports what only other folders may:\n" + "\n".join(wrong)


@pytest.mark.parametrize("module", MODULES)
def test_imports_inside_the_package_are_relative(module):
    tree = ast.parse(MODULES[module].read_text())
    absolute = [node.lineno for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)
                and not node.level and (node.module or "").split(".")[0] == "tideflow"]
    assert not absolute, f"{MODULES[module].relative_to(ROOT)}: absolute imports of tideflow at lines {absolute}"


def public_names(module: str) -> list[str] | None:
    """The literal `__all__` of a module, if it has one."""
    for node in ast.parse(MODULES[module].read_text()).body:
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "__all__" for t in node.targets):
            try:
                return list(ast.literal_eval(node.value))
            except ValueError:
                return None
    return None


@pytest.mark.parametrize("module", [module for module in MODULES if public_names(module) is not None])
def test_public_names_exist_once(module):
    """Their order is ruff's business (RUF022)."""
    listed = public_names(module)
    assert len(listed) == len(set(listed)), f"__all__ repeats {[name for name in listed if listed.count(name) > 1]}"
    tree = ast.parse(MODULES[module].read_text())
    if "__getattr__" not in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}:
        missing = set(listed) - set(bound_names(tree))
        assert not missing, f"__all__ names what is not there: {sorted(missing)}"


@pytest.mark.parametrize("module", [m for m in MODULES if public_names(m) and floor(unit(m)) == NAMESPACES])
def test_public_names_are_complete(module):
    """In a namespace of `tf`, a function or class is in `__all__` or its name has an underscore."""
    defined = {node.name for node in ast.parse(MODULES[module].read_text()).body
               if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)}
    missing = {name for name in defined if not name.startswith("_")} - set(public_names(module))
    assert not missing, f"not in __all__ and without a leading underscore: {sorted(missing)}"


def bound_names(tree: ast.Module) -> list[str]:
    """Names that a module binds, at its top level or deeper."""
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.append(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names += [(alias.asname or alias.name).split(".")[0] for alias in node.names]
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.append(node.id)
    return names
