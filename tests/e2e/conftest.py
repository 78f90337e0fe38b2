"""A built site on a local server; profiles and pages in the Chromium of tests/conftest.py."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NOTE_VIOLATIONS = """
globalThis.violations = [];
addEventListener("securitypolicyviolation", ({ violatedDirective, blockedURI, sample }) =>
  violations.push(`${violatedDirective} ${blockedURI} ${sample}`));
globalThis.longTasks = [];
new PerformanceObserver((list) => {
  for (const { startTime, duration } of list.getEntries()) longTasks.push([startTime, duration]);
}).observe({ type: "longtask", buffered: true });
"""


@pytest.fixture(scope="session")
def site(require):
    """The site as `make site` builds it, in a folder of the tests' own."""
    require("node", None if (ROOT / "node_modules" / ".bin").is_dir() else "node_modules is missing: run `make setup`")
    output = ROOT / ".cache" / "e2e-site"
    done = subprocess.run([sys.executable, str(ROOT / "tools" / "build_site.py"), "--output", str(output)],
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return output


def serve(folder: Path) -> tuple:
    """Starts tools/serve.py's server on a free port; returns it with its address."""
    sys.path.insert(0, str(ROOT / "tools"))
    try:
        from serve import make_server
    finally:
        sys.path.pop(0)
    server = make_server(folder, 0)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server, f"http://127.0.0.1:{server.server_address[1]}/"


@pytest.fixture(scope="session")
def address(site):
    """Where the site is served."""
    server, address = serve(site)
    yield address
    server.shutdown()
    server.server_close()


@pytest.fixture
def context(chromium):
    """A fresh profile."""
    context = chromium.new_context(viewport={"width": 1280, "height": 900}, accept_downloads=True)
    context.set_default_timeout(60_000)
    context.add_init_script(NOTE_VIOLATIONS)
    yield context
    context.close()


@pytest.fixture
def open_page(context, address):
    """`open_page("index.html")`: a page whose errors fail the test at its end."""
    problems, pages = [], []

    def open_page(name: str):
        page = context.new_page()
        page.on("pageerror", lambda error: problems.append(f"{name}: {error}"))
        pages.append(page)
        page.goto(address + name)
        return page

    yield open_page
    for page in pages:
        if not page.is_closed():
            assert page.evaluate("globalThis.violations ?? []") == [], "the page's security policy was violated"
    assert problems == []
