"""Runs emitted kernels in Chromium on its software adapter: llvmpipe accepts what Chromium refuses."""

from __future__ import annotations

import base64
import contextlib
import http.server
import shutil
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np

FLAGS = ["--no-sandbox", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync", "--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader"]

# run(jobs): compiles and runs every job; a job is {code, buffers (base64), words, grid, times}
PAGE = """
async (jobs) => {
  const adapter = await navigator.gpu?.requestAdapter();
  if (!adapter) return {missing: 'no WebGPU adapter in this browser'};
  const requiredFeatures = ['subgroups'].filter((name) => adapter.features.has(name));
  const device = await adapter.requestDevice({requiredFeatures});
  const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const results = [];
  for (const job of jobs) {
    device.pushErrorScope('validation');
    const begun = performance.now();
    const module = device.createShaderModule({code: job.code});
    const problems = (await module.getCompilationInfo()).messages.map((m) => `${m.lineNum}: ${m.message}`);
    const buffers = job.buffers.map((text) => {
      const data = bytes(text);
      const buffer = device.createBuffer({size: data.length, usage: 128 | 4 | 8});
      device.queue.writeBuffer(buffer, 0, data);
      return buffer;
    });
    const kinds = buffers.map(() => 'storage');
    const bound = [...buffers];
    if (job.words.length) {
      const slot = device.createBuffer({size: 256, usage: 64 | 8});
      device.queue.writeBuffer(slot, 0, new Uint32Array(job.words));
      bound.push(slot);
      kinds.push('uniform');
    }
    const layout = device.createBindGroupLayout({
      entries: kinds.map((type, binding) => ({binding, visibility: 4, buffer: {type}}))});
    const entries = bound.map((buffer, binding) => ({binding, resource: {buffer}}));
    const group = device.createBindGroup({layout, entries});
    const pipeline = device.createComputePipeline({
      layout: device.createPipelineLayout({bindGroupLayouts: [layout]}), compute: {module, entryPoint: 'main'}});
    const read = async () => {
      const total = buffers.reduce((n, b) => n + b.size, 0);
      const staging = device.createBuffer({size: total, usage: 1 | 8});
      const encoder = device.createCommandEncoder();
      let at = 0;
      for (const b of buffers) { encoder.copyBufferToBuffer(b, 0, staging, at, b.size); at += b.size; }
      device.queue.submit([encoder.finish()]);
      await staging.mapAsync(1);
      const all = new Uint8Array(staging.getMappedRange().slice(0));
      staging.destroy();
      return all;
    };
    const dispatch = () => {
      const encoder = device.createCommandEncoder();
      const run = encoder.beginComputePass();
      run.setPipeline(pipeline);
      run.setBindGroup(0, group);
      run.dispatchWorkgroups(...job.grid);
      run.end();
      device.queue.submit([encoder.finish()]);
    };
    const mark = device.createBuffer({size: 4, usage: 1 | 8});
    const wait = async () => {
      const encoder = device.createCommandEncoder();
      encoder.copyBufferToBuffer(buffers[0], 0, mark, 0, 4);
      device.queue.submit([encoder.finish()]);
      await mark.mapAsync(1);
      mark.unmap();
    };
    dispatch();
    const answer = job.answer === false ? new Uint8Array(0) : await read();
    await wait();
    const compile = performance.now() - begun;
    let best = Infinity;
    for (let i = 0; i < job.times; i++) {
      const start = performance.now();
      dispatch();
      await wait();
      best = Math.min(best, performance.now() - start);
    }
    const error = await device.popErrorScope();
    let text = '';
    for (let i = 0; i < answer.length; i += 32768) text += String.fromCharCode(...answer.subarray(i, i + 32768));
    for (const b of bound) b.destroy();
    results.push({problems, error: error && error.message, answer: btoa(text), compile, best});
  }
  return {results};
}
"""


def missing() -> str | None:
    """Why Chromium cannot be used here."""
    try:
        import playwright.sync_api  # noqa: F401
    except ImportError:
        return "playwright is not installed"
    return None if shutil.which("chromium") else "chromium is not installed"


class _Quiet(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>kernels</title>")

    def log_message(self, *args: Any) -> None:
        pass


@contextlib.contextmanager
def page() -> Iterator[Any]:
    """A page of a local server (WebGPU wants a secure context, which localhost is)."""
    from playwright.sync_api import sync_playwright

    server = http.server.HTTPServer(("127.0.0.1", 0), _Quiet)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        with sync_playwright() as p:
            browser = p.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
            tab = browser.new_page()
            tab.goto(f"http://127.0.0.1:{server.server_port}/")
            yield tab
            browser.close()
    finally:
        server.shutdown()
        server.server_close()


def job(code: str, arrays: list[np.ndarray], words: np.ndarray, grid: list[int], times: int = 0,
        answer: bool = True) -> dict[str, Any]:
    """A kernel to run, as the page wants it."""
    return {"code": code, "buffers": [base64.b64encode(np.ascontiguousarray(a).tobytes()).decode() for a in arrays],
            "words": [int(w) for w in words], "grid": grid, "times": times, "answer": answer}


def arrays_of(result: dict[str, Any], like: list[np.ndarray]) -> list[np.ndarray]:
    """The buffers of a result."""
    data, found, at = base64.b64decode(result["answer"]), [], 0
    for a in like:
        found.append(np.frombuffer(data, a.dtype, a.size, at).reshape(a.shape))
        at += a.nbytes
    return found
