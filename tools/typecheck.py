"""mypy, strict on the public modules, against an installed copy of the package (it does not see the editable one).

    .venv/bin/python tools/typecheck.py
"""

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from build_wheel import ROOT, build_wheel

# Modules whose whole body is checked strictly: what users import and what the floors agree on.
STRICT = [
    "tideflow.absent", "tideflow.aliases", "tideflow.array.*", "tideflow.autodiff.*", "tideflow.configuration",
    "tideflow.control", "tideflow.debugging", "tideflow.device", "tideflow.doctor", "tideflow.dtypes",
    "tideflow.eager.*", "tideflow.errors", "tideflow.function.*", "tideflow.graph.*", "tideflow.kernel.bindings",
    "tideflow.keras.*", "tideflow.linalg", "tideflow.math.*", "tideflow.module", "tideflow.nest", "tideflow.nn.*",
    "tideflow.program.*", "tideflow.random", "tideflow.run_command", "tideflow.runtime.*", "tideflow.shapes",
    "tideflow.test", "tideflow.version",
]


def main() -> int:
    """Builds the wheel, unpacks it, and lets mypy follow the strict modules from there."""
    with tempfile.TemporaryDirectory() as folder:
        installed = Path(folder) / "installed"
        with zipfile.ZipFile(build_wheel(Path(folder))) as wheel:
            wheel.extractall(installed)
        modules = [name for pattern in STRICT for name in expand(pattern, installed)]
        config = Path(folder) / "mypy.ini"
        config.write_text("[mypy]\npython_version = 3.11\nignore_missing_imports = True\nfollow_imports = silent\n"
                          "strict = True\nwarn_return_any = False\nwarn_unused_ignores = False\n")
        command = [sys.executable, "-m", "mypy", "--config-file", str(config), "--cache-dir", str(ROOT / ".mypy_cache")]
        arguments = [argument for name in modules for argument in ("-m", name)]
        return subprocess.run([*command, *arguments], cwd=installed).returncode


def expand(pattern: str, installed: Path) -> list[str]:
    """The modules that a name, or a name with `.*` at its end, stands for; a name that is not there is an error."""
    base = installed.joinpath(*pattern.removesuffix(".*").split("."))
    if not pattern.endswith(".*"):
        if not base.with_suffix(".py").exists():
            sys.exit(f"typecheck: {pattern} is listed as strict but does not exist")
        return [pattern]
    files = sorted(base.rglob("*.py"))
    names = [".".join(path.relative_to(installed).with_suffix("").parts).removesuffix(".__init__") for path in files]
    return names


if __name__ == "__main__":
    sys.exit(main())
