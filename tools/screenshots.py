"""Takes the README's pictures from the real pages: trains in Chromium, draws a digit, hands the model over.

    .venv/bin/python tools/screenshots.py [--site site] [--all]    # --all: dark and mobile too, into .cache
"""

import argparse
import math
import shutil
import sys
import threading
from pathlib import Path

from playwright.sync_api import Page, sync_playwright
from serve import make_server

ROOT = Path(__file__).resolve().parent.parent
FLAGS = ["--no-sandbox", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync", "--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader"]
DESKTOP, MOBILE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
LOOKS = {"light": (DESKTOP, "light", 1), "dark": (DESKTOP, "dark", 1), "mobile": (MOBILE, "light", 2)}


def arc(x: float, y: float, width: float, height: float, start: float, end: float) -> list[tuple[float, float]]:
    """Points on an ellipse, in shares of the pad; angles in degrees."""
    angles = [math.radians(start + (end - start) * i / 20) for i in range(21)]
    return [(x + width * math.cos(angle), y + height * math.sin(angle)) for angle in angles]


THREE = arc(0.48, 0.31, 0.22, 0.19, -150, 90) + arc(0.48, 0.69, 0.25, 0.19, -90, 150)


def draw(page: Page, points: list[tuple[float, float]]) -> None:
    """One stroke on the pad."""
    page.locator("#pad").scroll_into_view_if_needed()
    box = page.locator("#pad").bounding_box()
    places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]
    page.mouse.move(*places[0])
    page.mouse.down()
    for place in places[1:]:
        page.mouse.move(*place)
    page.mouse.up()
    page.wait_for_selector("#bars li.best")
    page.wait_for_timeout(400)


def take(page: Page, address: str, name: str, folder: Path) -> None:
    """Both pages in one look."""
    page.goto(f"{address}index.html")
    page.wait_for_selector("body[data-state=ready]", timeout=60_000)
    page.click("#run")
    page.wait_for_selector("body[data-ended]", timeout=180_000)
    if page.get_attribute("body", "data-ended") != "finished":
        raise SystemExit(f"screenshots: the training page failed:\n{page.inner_text('#output')}")
    page.wait_for_selector("#mistakes:not([hidden])", timeout=60_000)
    draw(page, THREE)
    page.screenshot(path=folder / f"training-page-{name}.png", full_page=True)
    page.click("#continue")
    page.wait_for_url("**/javascript.html")
    page.wait_for_selector("body[data-state=ready]")
    draw(page, THREE)
    for _ in range(4):
        page.click("#labels button:text-is('3')")
        draw(page, THREE)
    page.click("#labels button:text-is('3')")
    page.click("#train")
    page.wait_for_function("() => document.getElementById('note').textContent.includes('steps on this page')")
    draw(page, THREE)
    page.screenshot(path=folder / f"javascript-page-{name}.png", full_page=True)


def main() -> None:
    """Writes docs/*.png."""
    parser = argparse.ArgumentParser(description="Takes pictures of the pages.")
    parser.add_argument("--site", type=Path, default=ROOT / "site")
    parser.add_argument("--all", action="store_true")
    arguments = parser.parse_args()
    folder = ROOT / ".cache" / "screenshots"
    folder.mkdir(parents=True, exist_ok=True)
    server = make_server(arguments.site, 0)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        for name, (size, scheme, scale) in LOOKS.items():
            if name == "light" or arguments.all:
                context = browser.new_context(viewport=size, color_scheme=scheme, device_scale_factor=scale)
                take(context.new_page(), f"http://127.0.0.1:{server.server_address[1]}/", name, folder)
                context.close()
        browser.close()
    server.shutdown()
    (ROOT / "docs").mkdir(exist_ok=True)
    for page in ("training-page", "javascript-page"):
        shutil.copy2(folder / f"{page}-light.png", ROOT / "docs" / f"{page}.png")
    print("docs/training-page.png, docs/javascript-page.png")


if __name__ == "__main__":
    sys.exit(main())
