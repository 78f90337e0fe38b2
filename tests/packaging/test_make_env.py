"""tools/make_env.py: what the machine lacks is named with the command that installs it."""

import importlib.util
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def make_env():
    """The script as a module, without running it."""
    spec = importlib.util.spec_from_file_location("make_env", ROOT / "tools" / "make_env.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def reason(call) -> str:
    """What a check says when it stops."""
    with pytest.raises(SystemExit) as stopped:
        call()
    return str(stopped.value)


def test_missing_node_is_named_with_its_command(make_env, monkeypatch):
    monkeypatch.setattr(make_env.shutil, "which", lambda name: None)
    assert "apt-get install nodejs npm" in reason(make_env.check_node)


def test_old_node_is_named_with_its_version(make_env, monkeypatch):
    old = subprocess.CompletedProcess([], 0, stdout="v18.20.4\n")
    monkeypatch.setattr(make_env.shutil, "which", lambda name: name)
    monkeypatch.setattr(make_env.subprocess, "run", lambda *args, **kwargs: old)
    text = reason(make_env.check_node)
    assert "v18.20.4" in text and "Node 20 or newer" in text


def test_missing_venv_module_is_named_with_its_command(make_env, monkeypatch):
    monkeypatch.setattr(make_env.importlib.util, "find_spec", lambda name: None)
    assert "apt-get install python3-venv" in reason(make_env.check_python)


def test_old_python_is_named_with_a_way_out(make_env, monkeypatch):
    monkeypatch.setattr(make_env, "OLDEST_PYTHON", (99, 0))
    assert "make PYTHON=" in reason(make_env.check_python)


def test_missing_test_packages_are_named_when_they_may_not_be_installed(make_env, monkeypatch):
    monkeypatch.setattr(make_env, "installed", lambda package: package != "chromium")
    monkeypatch.setattr(make_env.os, "geteuid", lambda: 1000)
    monkeypatch.setattr(make_env.shutil, "which", lambda name: None if name == "sudo" else name)
    assert "sudo apt-get install --yes --no-install-recommends chromium" in reason(make_env.install_test_packages)


def test_what_is_there_is_not_installed_again(make_env, monkeypatch):
    monkeypatch.setattr(make_env, "installed", lambda package: True)
    monkeypatch.setattr(make_env, "run", lambda *args, **kwargs: pytest.fail("something was installed"))
    make_env.install_test_packages()
