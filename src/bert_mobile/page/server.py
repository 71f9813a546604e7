"""Serves the page on this machine: a table of files, nothing else.

Addresses are looked up in the table, never on the disk, so there is neither a listing nor a way out
of it. Only loopback is listened to. The headers isolate the page, which is what browsers ask before
WebAssembly may use several threads, and allow it to talk to nobody but this server.
"""

import re
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote, urlsplit

from bert_mobile.errors import InputError
from bert_mobile.page.site import MODELS, Site

POLICY = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; "
    "connect-src 'self'; style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
"""What the page may do; index.html says the same for other servers."""

_HEADERS = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
    "Accept-Ranges": "bytes",
}
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".wasm": "application/wasm",
    ".md": "text/markdown; charset=utf-8",
}
_LOOPBACK = "127.0.0.1"
_HOSTS = re.compile(r"(127\.0\.0\.1|localhost|\[::1\])(:\d+)?", re.ASCII)
_RANGE = re.compile(r"bytes=(\d{1,15})-(\d{1,15})?", re.ASCII)
_CHUNK = 1 << 18
_MOST_AT_ONCE = 64
_PATIENCE = 30.0  # seconds that a silent connection is kept


class PageServer(ThreadingHTTPServer):
    """A site on a port of this machine."""

    daemon_threads = True

    def __init__(self, site: Site, port: int = 0) -> None:
        """Listen on `port`, or on a free one for 0. Raises `InputError` where it is taken."""
        self.site = site
        self.places = threading.BoundedSemaphore(_MOST_AT_ONCE)
        try:
            super().__init__((_LOOPBACK, port), _Handler)
        except OSError as error:
            raise InputError(
                f"port {port} cannot be listened to: {error.strerror}",
                hint="choose another --port, or --port 0 for any",
            ) from error

    @property
    def url(self) -> str:
        """Where the page is."""
        return f"http://{_LOOPBACK}:{self.server_port}/"

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of a visitor who hangs up."""


class _Handler(BaseHTTPRequestHandler):
    server: PageServer
    protocol_version = "HTTP/1.1"
    server_version = "bert-mobile"
    sys_version = ""
    timeout = _PATIENCE

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
        pass

    def _answer(self, *, with_body: bool) -> None:
        if not _HOSTS.fullmatch(self.headers.get("Host", "")):  # a foreign name that leads here
            self.send_error(HTTPStatus.MISDIRECTED_REQUEST)
            return
        if not self.server.places.acquire(blocking=False):
            self.send_error(HTTPStatus.SERVICE_UNAVAILABLE)
            return
        try:
            self._send(_address(self.path), with_body=with_body)
        finally:
            self.server.places.release()

    def _send(self, address: str, *, with_body: bool) -> None:
        found = self._open(address or "index.html")
        if found is None:
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        file, size = found
        with file:
            start, stop, status = self._part(size)
            if start >= stop and size:
                self.send_error(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE)
                return
            self.send_response(status)
            suffix = Path(address or "index.html").suffix
            self.send_header("Content-Type", _TYPES.get(suffix, "application/octet-stream"))
            self.send_header("Content-Length", str(stop - start))
            if status == HTTPStatus.PARTIAL_CONTENT:
                self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{size}")
            self.end_headers()
            if with_body:
                self._copy(file, start, stop)

    def end_headers(self) -> None:
        """Send the headers that every answer has, and end them."""
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        super().end_headers()

    def _open(self, address: str) -> tuple[BinaryIO, int] | None:
        if address == MODELS:
            data = self.server.site.models_json()
            return BytesIO(data), len(data)
        path = self.server.site.paths.get(address)
        if path is None or not path.is_file():
            return None
        return path.open("rb"), path.stat().st_size

    def _part(self, size: int) -> tuple[int, int, HTTPStatus]:
        """Return the first byte, the one behind the last, and the status."""
        asked = _RANGE.fullmatch(self.headers.get("Range", ""))
        if asked is None:
            return 0, size, HTTPStatus.OK
        stop = size if asked[2] is None else min(size, int(asked[2]) + 1)
        return int(asked[1]), stop, HTTPStatus.PARTIAL_CONTENT

    def _copy(self, file: BinaryIO, start: int, stop: int) -> None:
        file.seek(start)
        while start < stop and (data := file.read(min(_CHUNK, stop - start))):
            self.wfile.write(data)
            start += len(data)


def _address(asked: str) -> str:
    """Return what the table is asked for; what is no address is in no table."""
    try:
        return unquote(urlsplit(asked).path).removeprefix("/")
    except ValueError:  # such as http://[/
        return asked
