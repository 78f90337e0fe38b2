"""What every test folder shares: when a missing device is a skip, and when it is a failure.

`make test` sets TIDEFLOW_REQUIRE=wgsl,wasm,node,chromium. A test that needs one of these asks for it:

    def test_something(require):
        require("wgsl", reason_or_None)

With a reason (a text saying what is missing) the test is skipped, or fails where the device is required. Skips that
tests raise themselves (`pytest.skip`, `pytest.importorskip`) are held to the same rule by the words in their reason.
"""

import os
import re
import shutil

import pytest

WORDS = {
    "wgsl": r"wgsl|wgpu|webgpu|adapter|vulkan",
    "wasm": r"wasmtime|\bwasm\b",
    "node": r"\bnode(js)?\b|\bnpm\b|pyodide",
    "chromium": r"chromium|playwright|browser",
}
CHROMIUM_FLAGS = [
    "--no-sandbox", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader",
    "--disable-gpu-watchdog",  # it ends a GPU process that shares two busy cores with everything else
]
MISSING = r"\b(no|not|needs?|missing|absent|without|unavailable|could not import|cannot)\b"


def required_devices() -> frozenset[str]:
    """The devices whose absence is a failure here."""
    names = frozenset(filter(None, os.environ.get("TIDEFLOW_REQUIRE", "").split(",")))
    if unknown := names - WORDS.keys():
        raise pytest.UsageError(f"TIDEFLOW_REQUIRE names {sorted(unknown)}; known: {sorted(WORDS)}")
    return names


def required_by(reason: str) -> str | None:
    """The required device that a skip reason says is missing, if any."""
    if not re.search(MISSING, reason, re.IGNORECASE):
        return None
    return next((name for name in sorted(required_devices()) if re.search(WORDS[name], reason, re.IGNORECASE)), None)


@pytest.fixture(scope="session")
def require():
    """`require(device, reason)`: skips for a reason, or fails with it where TIDEFLOW_REQUIRE names the device."""

    def check(device: str, reason: str | None) -> None:
        if device not in WORDS:
            raise ValueError(f"require: unknown device {device!r}; known: {sorted(WORDS)}")
        if reason and device in required_devices():
            pytest.fail(f"{device} is required here (TIDEFLOW_REQUIRE), but: {reason}", pytrace=False)
        if reason:
            pytest.skip(f"no {device}: {reason}")

    return check


@pytest.fixture(scope="session")
def chromium(require):
    """One browser on a software WebGPU adapter for all tests of a process: Playwright allows no second one."""
    executable = shutil.which("chromium") or shutil.which("chromium-browser")
    require("chromium", None if executable else "Chromium is missing. Install it: sudo apt-get install chromium")
    from playwright.sync_api import sync_playwright
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=CHROMIUM_FLAGS)
        yield browser
        browser.close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """A skip for the lack of a required device is a failure, whoever raised it."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and isinstance(report.longrepr, tuple):
        if device := required_by(report.longrepr[2]):
            report.outcome = "failed"
            report.longrepr = f"{device} is required here (TIDEFLOW_REQUIRE), but skipped: {report.longrepr[2]}"
    return report
