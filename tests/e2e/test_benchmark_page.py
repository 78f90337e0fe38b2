"""The speed page: a visitor measures the own machine, on both devices, and copies the result."""

import json

import pytest

expect = pytest.importorskip("playwright.sync_api", reason="playwright is missing").expect
pytestmark = pytest.mark.browser
FEW = ["matmul256", "sum1", "mlp"]


def only(names):
    """Answers workloads.json with a part of it, so that the test takes seconds."""
    def fulfil(route):
        response = route.fetch()
        described = response.json()
        described["workloads"] = [w for w in described["workloads"] if w["name"] in names]
        assert len(described["workloads"]) == len(names)
        route.fulfill(response=response, body=json.dumps(described))
    return fulfil


@pytest.fixture
def page(context, open_page):
    """The page with few workloads, ready; service workers would answer before the route does."""
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    context.route("**/benchmark/workloads.json", only(FEW))
    context.route("**/sw.js", lambda route: route.abort())
    page = open_page("benchmark.html")
    page.wait_for_selector("body[data-state=ready]")
    return page


def test_visitor_measures_both_devices_and_copies_the_result(page):
    assert page.is_checked("input[value=wasm]"), "a software GPU is not what a visitor wants to wait for"
    assert "software" in page.inner_text("#message") and page.is_disabled("#copy")
    page.click("label:has(input[value=both])")
    page.click("#run")
    page.wait_for_selector("body[data-state=running]")
    page.wait_for_selector("body[data-state=ready]", timeout=180_000)
    assert page.inner_text("#status") == "Done: 6 of 6 measured and right"
    found = page.evaluate("Object.fromEntries(tideflowBenchmark.results)")
    assert set(found) == {f"{name} {device}" for name in FEW for device in ("wasm", "webgpu")}
    for key, result in found.items():
        assert result["right"] and 0 < result["bestMs"] <= result["steadyMs"] and result["firstMs"] > 0, key
    limits = page.evaluate("tideflowBenchmark.peaks")
    assert set(limits) == {f"{d} {w}" for d in ("wasm", "webgpu") for w in ("arithmetic", "copy")}
    assert all(value > 0.01 for value in limits.values()), limits
    page.click("#copy")
    expect(page.locator("#status")).to_have_text("Copied")
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied == page.evaluate("tideflowBenchmark.asText()")
    assert len([line for line in copied.splitlines() if line.endswith("| right |")]) == 6


def test_visitor_stops_and_goes_on(page):
    page.click("#run")
    page.wait_for_selector("#results .there")
    page.click("#run")
    assert page.inner_text("#status") == "Stopped" and page.is_enabled("#copy")
    page.click("#run")
    expect(page.locator("#status")).to_have_text("Done: 3 of 3 measured and right", timeout=120_000)


def test_page_is_linked_and_kept_offline(open_page, context, site):
    listed = (site / "precache.js").read_text()
    names = ["benchmark.html", "benchmark/workloads.json", "benchmark/mlp.tide.gz", "benchmark/peak_copy.wasm",
             "scripts/benchmark-worker.js", "styles/benchmark.css"]
    assert [name for name in names if f'"{name}"' not in listed] == []
    page = open_page("javascript.html")
    page.click("nav a[href='benchmark.html']")
    page.wait_for_selector("body[data-state=ready]")
    assert page.locator("#results .row").count() >= 20
