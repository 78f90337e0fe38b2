"""Serves a built site on a local port: a plain static server with the right types and security headers.

    .venv/bin/python tools/serve.py site [--port 8000]

Any static server will do: the service worker adds the same headers. This one has them from the first visit on.
"""

import argparse
import functools
import sys
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

TYPES = {
    ".js": "text/javascript", ".mjs": "text/javascript", ".wasm": "application/wasm", ".json": "application/json",
    ".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8", ".py": "text/x-python; charset=utf-8",
    ".whl": "application/octet-stream", ".tide": "application/octet-stream", ".zip": "application/zip",
    ".npz": "application/octet-stream", ".bin": "application/octet-stream", ".svg": "image/svg+xml",
}
ISOLATION = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
}
POLICY = "default-src 'self'; script-src 'self'{extra}; img-src 'self' data:; object-src 'none'; base-uri 'self'"
WITHOUT_WASM = {"/javascript.html"}          # the page without Python: nothing but its own scripts


class Handler(SimpleHTTPRequestHandler):
    """Files of one folder, never cached by the browser itself: that is the service worker's job."""

    extensions_map = {**SimpleHTTPRequestHandler.extensions_map, **TYPES}
    protocol_version = "HTTP/1.1"

    def end_headers(self) -> None:
        """Adds the headers to every answer."""
        for name, value in ISOLATION.items():
            self.send_header(name, value)
        extra = "" if self.path.split("?")[0] in WITHOUT_WASM else " 'wasm-unsafe-eval'"
        self.send_header("Content-Security-Policy", POLICY.format(extra=extra))
        self.send_header("Cache-Control", "no-cache")
        super().end_headers()

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Only failures are worth a line."""
        if isinstance(code, HTTPStatus) and code >= HTTPStatus.BAD_REQUEST:
            super().log_request(code, size)


class Server(ThreadingHTTPServer):
    """A browser that hangs up in the middle of an answer is no error."""

    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Everything else is shown."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


def make_server(folder: Path, port: int) -> Server:
    """A server that is bound but not yet serving; port 0 takes a free one."""
    return Server(("127.0.0.1", port), functools.partial(Handler, directory=str(folder)))


def main() -> None:
    """Serves until interrupted."""
    parser = argparse.ArgumentParser(description="Serves a built site on a local port.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--port", type=int, default=8000)
    arguments = parser.parse_args()
    if not (arguments.folder / "index.html").exists():
        sys.exit(f"serve: {arguments.folder} has no index.html: run `make site` first")
    try:
        server = make_server(arguments.folder, arguments.port)
    except OSError as error:
        sys.exit(f"serve: port {arguments.port} cannot be used ({error.strerror}): try `make demo PORT=8001`")
    print(f"Tideflow in a tab: http://127.0.0.1:{server.server_address[1]}/  (Ctrl+C ends it)", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        print()


if __name__ == "__main__":
    main()
