"""Bundles the JavaScript runtime into few modules, minified: what an application ships.

    .venv/bin/python tools/bundle_runtime.py FOLDER

The sources run as they are, but a page then fetches two dozen files, one level of imports after the other: a quarter
of a second before the first trained step on a slow server. Besides index.js there are the workers' files, and what
both need as a file of its own.
"""

import gzip
import re
import subprocess
import sys
from pathlib import Path

from fetch import ROOT, FetchError

RUNTIME = ROOT / "js_bindings" / "runtime"
ESBUILD = ROOT / "node_modules" / ".bin" / "esbuild"
BUDGET = 40_000                 # bytes, every file compressed by itself
STARTED = r'new URL\("\./([\w.-]+\.js)", import\.meta\.url\)'           # files that are started as workers


def bundle_runtime(output: Path) -> int:
    """Writes the bundle into a folder and returns its size in bytes, gzip. Raises FetchError."""
    workers = {name for path in RUNTIME.glob("*.js") for name in re.findall(STARTED, path.read_text())}
    entries = [str(RUNTIME / name) for name in ("index.js", *sorted(workers))]
    # classes keep their names, by which errors are told apart
    options = ["--bundle", "--splitting", "--minify", "--keep-names", "--format=esm", "--target=es2022"]
    done = subprocess.run([str(ESBUILD), *entries, *options, f"--outdir={output}", "--log-level=error"],
                          capture_output=True, text=True)
    if done.returncode:
        raise FetchError(f"esbuild failed on the runtime:\n{done.stderr}")
    size = sum(len(gzip.compress(path.read_bytes(), 9)) for path in output.glob("*.js"))
    if size > BUDGET:
        raise FetchError(f"the JavaScript runtime has {size:,} bytes gzip, budget {BUDGET:,}")
    return size


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    try:
        print(f"{bundle_runtime(Path(sys.argv[1])):,} bytes gzip")
    except FetchError as error:
        sys.exit(f"bundle_runtime: {error}")
