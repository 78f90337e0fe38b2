"""Builds `site/`: the pages, their Pyodide distribution, the JavaScript runtime and the wheel. Everything same-origin.

    .venv/bin/python tools/build_site.py [--output site]

The result is a folder of plain files for any static server; `sw.js` makes it work offline after the first visit.
"""

import argparse
import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

from build_benchmark import build_benchmark
from build_wheel import build_wheel
from bundle_runtime import bundle_runtime
from fetch import ROOT, FetchError
from pyodide_distribution import make_distribution

PAGES = ROOT / "demo_site"
NODE_MODULES = ROOT / "node_modules"
NOT_PUBLISHED = shutil.ignore_patterns("__pycache__", "*.pyc", ".*", "editor")
NOT_PRECACHED = {"sw.js", "precache.js"}
SITE_BUDGET = 24_000_000          # bytes on disk; the first visit loads about two thirds of it, compressed


def build_site(output: Path) -> None:
    """Builds into a fresh folder and swaps it in, so that a server on the old one never sees half a site."""
    part = output.with_name(output.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    shutil.copytree(PAGES, part, ignore=NOT_PUBLISHED)
    bundle_runtime(part / "runtime")
    wheel = build_wheel(part / "wheels")
    how = make_distribution(part / "pyodide", wheel)
    bundle_vendor(part / "vendor")
    build_benchmark(part / "benchmark")
    write_precache(part)
    size = sum(path.stat().st_size for path in part.rglob("*") if path.is_file())
    if size > SITE_BUDGET:
        raise FetchError(f"the site has {size:,} bytes, budget {SITE_BUDGET:,}: something large slipped in")
    wheel_size = wheel.stat().st_size
    shutil.rmtree(output, ignore_errors=True)
    part.rename(output)
    print(f"site: {size / 1e6:.1f} MB in {output.name}/, wheel {wheel_size / 1e3:.0f} kB, byte code: {how}", flush=True)


def bundle_vendor(target: Path) -> None:
    """CodeMirror as one module, and uPlot: the only third-party code of the pages besides Pyodide."""
    target.mkdir()
    command = [str(NODE_MODULES / ".bin" / "esbuild"), str(PAGES / "editor" / "editor.js"), "--bundle", "--minify",
               "--format=esm", "--target=es2022", "--log-level=warning", f"--outfile={target / 'editor.js'}"]
    if subprocess.run(command, cwd=ROOT).returncode:
        raise FetchError("bundling the editor failed; see above")
    uplot = NODE_MODULES / "uplot" / "dist"
    shutil.copy2(uplot / "uPlot.esm.js", target / "uplot.js")
    shutil.copy2(uplot / "uPlot.min.css", target / "uplot.css")


def write_precache(site: Path) -> None:
    """The versioned list that sw.js caches: every published file, and one hash over all of them as the version."""
    files, digest = [], hashlib.sha256()
    for path in sorted(path for path in site.rglob("*") if path.is_file()):
        name = path.relative_to(site).as_posix()
        digest.update(name.encode() + path.read_bytes())
        if name not in NOT_PRECACHED and not name.startswith("wheels/"):
            files.append(name)
    files = ["./", *files]
    content = json.dumps({"version": digest.hexdigest()[:16], "files": files}, indent=1)
    (site / "precache.js").write_text(f"// Made by tools/build_site.py.\nself.PRECACHE = {content};\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Builds the site.")
    parser.add_argument("--output", type=Path, default=ROOT / "site")
    try:
        build_site(parser.parse_args().output.resolve())
    except (FetchError, RuntimeError) as error:
        sys.exit(f"build_site: {error}")
