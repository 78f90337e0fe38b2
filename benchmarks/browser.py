"""Drives Chromium: a page per contender, all in one isolated browser, measuring in turn, round after round."""

import contextlib
import functools
import http.server
import io
import shutil
import subprocess
import sys
import threading
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import peaks
from .programs import build
from .rounds import Entrant, Kept, Session, stays
from .workloads import Workload

HERE = Path(__file__).parent
ROOT = HERE.parent
DISTRIBUTION = ROOT / ".cache" / "benchmark-pyodide"    # Pyodide with byte-compiled wheels, as the site has it
FLAGS = ["--no-sandbox", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync", "--enable-unsafe-webgpu", "--disable-gpu-watchdog"]
SOFTWARE = "--use-webgpu-adapter=swiftshader"
ONE_THREAD = "delete globalThis.SharedArrayBuffer;"     # every peer then takes its build without threads
TYPES = {".js": "text/javascript", ".mjs": "text/javascript", ".wasm": "application/wasm", ".html": "text/html"}
ISOLATION = {"Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Embedder-Policy": "require-corp",
             "Cross-Origin-Resource-Policy": "same-origin"}
OPENING = 60.0


@dataclass(frozen=True)
class Contender:
    """A library on a device of the browser. `threads` 1: without shared memory; 0: as many as it takes."""

    key: str
    library: str
    device: str
    threads: int = 1
    worker: bool = False
    ours: bool = False

    def describe(self) -> dict[str, Any]:
        """For the page."""
        return {"library": self.library, "device": self.device, "threads": self.threads, "worker": self.worker,
                "kind": self.key}


CONTENDERS = (
    Contender("tideflow wasm", "tideflow", "wasm", ours=True),
    Contender("tfjs wasm", "tfjs", "wasm"),
    Contender("jax-js wasm", "jax", "wasm"),
    Contender("ort wasm", "ort", "wasm"),
    Contender("tideflow webgpu", "tideflow", "webgpu", ours=True),
    Contender("tfjs webgpu", "tfjs", "webgpu"),
    Contender("jax-js webgpu", "jax", "webgpu"),
    Contender("ort webgpu", "ort", "webgpu"),
    Contender("tideflow pyodide", "pyodide", "wasm", ours=True),
    Contender("tideflow pyodide eager", "pyodide", "wasm", ours=True),
    Contender("numpy pyodide", "pyodide", "wasm"),
    Contender("tideflow wasm threads", "tideflow", "wasm", threads=0, worker=True, ours=True),
    Contender("tideflow wasm worker", "tideflow", "wasm", worker=True, ours=True),
    Contender("tfjs wasm threads", "tfjs", "wasm", threads=0),
    Contender("jax-js wasm threads", "jax", "wasm", threads=0),
    Contender("ort wasm threads", "ort", "wasm", threads=0),
)


class Handler(http.server.BaseHTTPRequestHandler):
    """Pages, peers and the programs made for this run; isolated, so that shared memory is allowed."""

    protocol_version = "HTTP/1.1"
    made: dict[str, bytes] = {}
    folders = {"/page/": HERE / "page", "/build/": HERE / ".build", "/node_modules/": HERE / "node_modules",
               "/pyodide/": DISTRIBUTION, "/runtime/": ROOT / "js_bindings" / "runtime"}

    def do_GET(self) -> None:
        """Answers with a file or with made bytes."""
        path = self.path.split("?")[0]
        content = self.made.get(path.removeprefix("/made/")) if path.startswith("/made/") else self.read(path)
        self.send_response(404 if content is None else 200)
        headers = ISOLATION | {"Content-Type": TYPES.get(Path(path).suffix, "application/octet-stream"),
                               "Content-Length": str(len(content or b""))}
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        with contextlib.suppress(ConnectionError):
            self.wfile.write(content or b"")

    def read(self, path: str) -> bytes | None:
        """A file of one of the folders."""
        for prefix, folder in self.folders.items():
            if path.startswith(prefix):
                file = (folder / path.removeprefix(prefix)).resolve()
                return file.read_bytes() if file.is_file() and folder.resolve() in file.parents else None
        return None

    def log_message(self, *args: Any) -> None:
        """Silence."""


class Tab:
    """One page with one contender."""

    def __init__(self, chromium: "Chromium", contender: Contender, file: str | None = None) -> None:
        self.contender, self.file = contender, file
        self.context = chromium.context()
        if contender.threads == 1:
            self.context.add_init_script(ONE_THREAD)
        self.page = self.context.new_page()
        self.page.goto(f"{chromium.address}/page/bench.html", timeout=OPENING * 1e3)
        self.page.wait_for_function("globalThis.bench", timeout=OPENING * 1e3)

    def open(self) -> dict[str, Any]:
        """Loads the library and opens its device."""
        return dict(self.call("open", self.contender.describe()))

    def prepare(self, w: Workload) -> dict[str, Any]:
        """Builds and checks."""
        return dict(self.call("prepare", w.describe(), self.file, seconds=w.seconds))

    def call(self, method: str, *args: Any, seconds: float = OPENING) -> Any:
        """A method of the harness. Raises RuntimeError with what it says, TimeoutError."""
        from playwright.sync_api import Error
        try:
            self.page.evaluate("([method, args]) => bench.start(method, ...args)", [method, list(args)])
            self.page.wait_for_function("bench.answer", timeout=seconds * 1e3, polling=10)
            answer = self.page.evaluate("bench.answer")
        except Error as error:
            if "Timeout" in str(error):
                raise TimeoutError(f"{method} took more than {seconds:.0f} s") from None
            raise RuntimeError(str(error).splitlines()[0]) from None
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer["value"]

    def close(self) -> None:
        """Ends the page, whatever it is doing."""
        with contextlib.suppress(Exception):
            self.context.close()


class Chromium:
    """The browser, and the server of its pages."""

    def __init__(self, real_gpu: bool = False) -> None:
        from playwright.sync_api import sync_playwright
        executable = shutil.which("chromium") or shutil.which("chromium-browser")
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.address = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.playwright = sync_playwright().start()
        self.flags = FLAGS + ([] if real_gpu else [SOFTWARE])
        self.executable = executable
        self.kept: dict[str, tuple[Session, dict[str, Any]]] = {}
        self.browser = self.playwright.chromium.launch(executable_path=executable, args=self.flags)
        Handler.folders = Handler.folders | {"/runtime/": bundled_runtime()}
        Handler.made.update(peaks.files() | {"sources.zip": own_sources()})

    @property
    def version(self) -> str:
        """Of the browser."""
        return str(self.browser.version)

    def context(self) -> Any:
        """A fresh profile; in a fresh browser if the last one crashed."""
        if not self.browser.is_connected():
            self.browser = self.playwright.chromium.launch(executable_path=self.executable, args=self.flags)
        return self.browser.new_context()

    def close(self) -> None:
        """Ends browser and server."""
        with contextlib.suppress(Exception):
            self.browser.close()
        self.playwright.stop()
        self.server.shutdown()


def bundled_runtime() -> Path:
    """Our runtime as the site serves it, in few files, as peers are; its sources where there is no bundler."""
    output = HERE / ".build" / "runtime"
    shutil.rmtree(output, ignore_errors=True)
    command = [sys.executable, str(ROOT / "tools" / "bundle_runtime.py"), str(output)]
    bundled = subprocess.run(command, capture_output=True).returncode == 0
    return output if bundled else ROOT / "js_bindings" / "runtime"


def absent_libraries(keys: Sequence[str], missing: list[str]) -> set[str]:
    """The libraries of these contenders that are not to be had here; why is added to `missing`."""
    found = bundle_peers(keys) + ([missing_pyodide()] if any("pyodide" in key for key in keys) else [])
    missing += [text for text in found if text and text not in missing]
    return {name.strip() for text in found for name in text.split(":")[0].split(",")}


def bundle_peers(keys: Sequence[str]) -> list[str]:
    """Installs and bundles the peers among these contenders if that was not done; returns what is missing, and why."""
    if all(key.startswith("tideflow") or key.startswith("numpy") for key in keys):
        return []
    if not (HERE / "node_modules").is_dir():
        if not shutil.which("npm"):
            return ["tfjs, jax, ort: npm is missing, so no peer can be fetched"]
        done = subprocess.run(["npm", "ci", "--ignore-scripts"], cwd=HERE, capture_output=True, text=True)
        if done.returncode:
            return [f"tfjs, jax, ort: `npm ci` failed in benchmarks/: {done.stderr.strip()[-300:]}"]
    missing = [f"{name}: not in node_modules" for name, folder in
               (("jax", "@jax-js/jax"), ("ort", "onnxruntime-web"), ("tfjs", "@tensorflow/tfjs-core"))
               if not (HERE / "node_modules" / folder).is_dir()]
    command = [str(HERE / "node_modules" / ".bin" / "esbuild"), "peers/tfjs_entry.js", "--bundle", "--minify",
               "--format=esm", "--target=es2022", "--outfile=.build/tfjs.js", "--log-level=error"]
    if not (HERE / ".build" / "tfjs.js").exists():
        try:
            subprocess.run(command, cwd=HERE, check=True, capture_output=True, text=True)
        except (OSError, subprocess.CalledProcessError) as error:
            missing.append(f"tfjs: bundling failed: {getattr(error, 'stderr', error)}")
    return missing


@functools.cache
def missing_pyodide() -> str:
    """Makes the Pyodide distribution of the site with the package as it is here; says why if that cannot be done."""
    tools = str(ROOT / "tools")
    sys.path.insert(0, tools)
    try:
        import build_wheel
        import pyodide_distribution
        wheel = build_wheel.build_wheel(DISTRIBUTION.with_name("benchmark-wheel"))
        shutil.rmtree(DISTRIBUTION, ignore_errors=True)
        pyodide_distribution.make_distribution(DISTRIBUTION, wheel)
    except (ImportError, OSError, RuntimeError) as error:
        return f"pyodide: {(str(error).splitlines() or [type(error).__name__])[0][:200]} (run `make setup` first)"
    finally:
        sys.path.remove(tools)
    return ""


def own_sources() -> bytes:
    """The benchmark's own modules, for Pyodide."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for path in sorted([*HERE.glob("*.py"), *(HERE / "peers").glob("*.py"), HERE / "reference.json"]):
            archive.write(path, Path("benchmarks") / path.relative_to(HERE))
    return packed.getvalue()


def program_for(w: Workload, contender: Contender) -> str | None:
    """The address of the file that a contender needs, made at its first use. Raises Missing."""
    if contender.library == "tideflow":
        name, make = f"{w.name}.tide", lambda: build(w).file
    elif contender.library == "ort":
        from .peers.onnx_models import make_model
        name, make = f"{w.name}.onnx", lambda: make_model(w)
    else:
        return None
    if name not in Handler.made:
        Handler.made[name] = make()
    return f"/made/{name}"


def entrant(chromium: Chromium, contender: Contender) -> Entrant:
    """For rounds.measure. A tab with Python stays for the next expression."""
    def make(w: Workload) -> Session:
        new = functools.partial(Tab, chromium, contender, program_for(w, contender))
        return Kept(contender.key, new, chromium.kept) if contender.library == "pyodide" and stays(w) else new()
    return contender.key, make


class LimitTab(Tab):
    """A loop that shows what the machine can do at most, in turn with the contenders that it limits."""

    def __init__(self, chromium: Chromium, name: str) -> None:
        self.peak = peaks.PEAKS[name]
        file = f"/made/{self.peak['file']}" if "file" in self.peak else None
        super().__init__(chromium, Contender(name, "peak", self.peak["device"]), file)

    def prepare(self, w: Workload) -> dict[str, Any]:
        """Builds the loop; there is nothing to check."""
        described = {"name": w.name, "kind": "compute", "params": [], "inputs": [], "options": self.peak["options"]}
        made = dict(self.call("prepare", described, self.file))
        return {name: value for name, value in made.items() if name != "check"}


def limits(chromium: Chromium, w: Workload, keys: list[str]) -> list[Entrant]:
    """The loops that limit a workload on the devices of these contenders."""
    what = "arithmetic" if w.flops else "copy"
    devices = [d for d in ("wasm", "webgpu") if f"tideflow {d}" in keys and (w.flops or w.bytes)]
    return [(f"{d} {what}", lambda _, d=d: LimitTab(chromium, f"{d} {what}")) for d in devices]  # type: ignore[misc]
