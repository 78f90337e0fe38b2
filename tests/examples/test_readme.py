"""The README's examples run as they are written: Python in a fresh process, JavaScript in a page."""

import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
PAGE = ('<!doctype html><meta charset="utf-8"><link rel="icon" href="data:,">'
        '<script type="module" src="example.js"></script>')


def example(language: str) -> str:
    """The only fenced block of a language."""
    blocks = re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 1, f"README.md has {len(blocks)} {language} blocks, expected 1"
    return blocks[0]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where the Python example ran, with the model.tide that it saved."""
    folder = tmp_path_factory.mktemp("readme")
    (folder / "example.py").write_text(example("python"))
    done = subprocess.run([sys.executable, "example.py"], cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-3000:]
    (folder / "output.txt").write_text(done.stdout)
    return folder


def test_python_example_learns_and_saves(folder):
    accuracy = float((folder / "output.txt").read_text().split(":")[1])
    assert accuracy > 0.9
    assert (folder / "model.tide").stat().st_size > 1000


def test_javascript_example_trains_the_same_file_further(folder, chromium):
    shutil.copytree(ROOT / "js_bindings" / "runtime", folder / "runtime")
    (folder / "example.js").write_text(example("js"))
    (folder / "index.html").write_text(PAGE)
    server = serve(folder)
    lines, errors = [], []                 # what the example prints; what anything on the page complains about
    page = chromium.new_page()
    page.on("console", lambda message: (errors if message.type == "error" else lines).append(message.text))
    page.on("pageerror", lambda error: errors.append(str(error)))
    with page.expect_console_message(lambda message: message.text.startswith("saved "), timeout=60_000):
        page.goto(f"http://127.0.0.1:{server.server_address[1]}/index.html")
    page.close()
    server.shutdown()
    server.server_close()
    assert errors == []
    losses = [float(line.split("loss ")[1]) for line in lines if "loss " in line]
    assert len(losses) == 3 and losses[-1] < losses[0], lines
    assert lines[-1] == f"saved {(folder / 'model.tide').stat().st_size} bytes", lines


def serve(folder: Path):
    """tools/serve.py's server on a free port."""
    sys.path.insert(0, str(ROOT / "tools"))
    try:
        from serve import make_server
    finally:
        sys.path.pop(0)
    server = make_server(folder, 0)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


@pytest.mark.parametrize("language", ["python", "js"])
def test_examples_stay_short(language):
    lines = [line for line in example(language).splitlines() if line.strip()]
    assert len(lines) <= 20, f"the {language} example has {len(lines)} lines"
