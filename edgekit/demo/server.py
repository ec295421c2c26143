"""A server for one page and one bundle, on this machine alone unless it is told otherwise."""

from __future__ import annotations

import errno
import ipaddress
import os
import re
import socket
import stat
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import IO, Any
from urllib.parse import unquote

from edgekit.demo.site import Resource
from edgekit.errors import PortTaken, UsageError

LOOPBACK = "127.0.0.1"
# The page runs its own modules, compiles the engines' wasm and starts their workers, some of them from blobs; what it
# asks for comes from this server alone.
PAGE_POLICY = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval' blob:; worker-src 'self' blob:; connect-src 'self' "
    "blob:; style-src 'self'; img-src 'self' blob: data:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
# A bundle is data. Its report may be looked at; nothing in it runs.
BUNDLE_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'none'; sandbox"
# COOP and COEP make the page cross-origin isolated, without which browsers give wasm no threads.
HEADERS = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
_IDLE_S = 60.0
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


class Server(ThreadingHTTPServer):
    """Answers for `resources` and for nothing else, and only under the names it is known by."""

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 64

    def __init__(self, resources: Mapping[str, Resource], port: int = 0, host: str = LOOPBACK) -> None:
        """Raises PortTaken, or UsageError for an address or port that cannot be listened on."""
        self.resources = resources
        self._host = host
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            super().__init__((host, port), _Handler)
        except OSError as error:
            raise _refused(error, host, port) from error

    def server_bind(self) -> None:
        """As the base class does, without asking the name service for this machine's name."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    @property
    def url(self) -> str:
        host = {"0.0.0.0": LOOPBACK, "::": "[::1]"}.get(self._host)  # noqa: S104 (compared with, not bound to)
        return f"http://{host or (f'[{self._host}]' if ':' in self._host else self._host)}:{self.server_port}/"

    @property
    def url_elsewhere(self) -> str | None:
        """What other machines reach it by; None where they do not, or where `url` is that already."""
        if self._host not in ("0.0.0.0", "::"):  # noqa: S104
            return None
        address = _outward(self.address_family)
        name = f"[{address}]" if ":" in address else address
        return f"http://{name}:{self.server_port}/"

    @property
    def is_private(self) -> bool:
        """Whether nothing but this machine reaches it."""
        return self._host == "localhost" or (_is_address(self._host) and ipaddress.ip_address(self._host).is_loopback)

    def knows(self, host: str) -> bool:
        """Whether a Host header names this server.

        A page of another site that has its own name point here (DNS rebinding) comes with that name. Ports are not
        looked at: a tunnel has another one.
        """
        match = re.fullmatch(r"(\[[0-9a-fA-F:.]+\]|[^\[\]:/\s]+)(?::\d{1,5})?", host)
        if match is None:
            return False
        name = match[1].strip("[]").lower().rstrip(".")
        if name in ("localhost", LOOPBACK, "::1"):
            return True
        if self.is_private:
            return name == self._host.lower()
        machine = socket.gethostname().lower()
        return name in (self._host.lower(), machine, f"{machine}.local") or _is_address(name)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is no error; whatever else breaks a request ends that request alone."""


class _Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "edgekit", ""
    timeout = _IDLE_S

    def do_GET(self) -> None:
        try:
            self._answer(with_body=True)
        except (ConnectionError, TimeoutError):
            self.close_connection = True

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the base class's name)
        """Nothing: the terminal is for the address and for errors."""

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:  # noqa: ARG002
        """Plain text, with nothing of what was asked: the base class's messages repeat it."""
        body = b"" if self.command == "HEAD" else f"{code} {self.responses[code][0]}\n".encode()
        self.send_response(code)
        self._head("page", "text/plain; charset=utf-8", len(body))
        if code >= 400 and code != 404:
            self.close_connection = True
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def _answer(self, *, with_body: bool) -> None:
        hosts = self.headers.get_all("Host") or []
        if len(hosts) != 1:
            self.send_error(400)
        elif not self.server.knows(hosts[0].strip()):
            self.send_error(421)
        elif "Content-Length" in self.headers or "Transfer-Encoding" in self.headers:
            self.send_error(400)
        elif (resource := self._asked()) is None:
            self.send_error(404)
        elif resource.content is not None:
            self._send(resource, None, len(resource.content), "", with_body=with_body)
        else:
            file = _opened(resource)
            if file is None:
                self.send_error(404)
                return
            with file:
                status = os.fstat(file.fileno())
                tag = f'"{status.st_ino:x}-{status.st_size:x}-{status.st_mtime_ns:x}"'
                self._send(resource, file, status.st_size, tag, with_body=with_body)

    def _asked(self) -> Resource | None:
        path = self.path.partition("?")[0].partition("#")[0]
        if not path.startswith("/"):
            return None
        try:
            return self.server.resources.get(unquote(path[1:], errors="strict"))
        except UnicodeDecodeError:
            return None

    def _send(self, resource: Resource, file: IO[bytes] | None, size: int, tag: str, *, with_body: bool) -> None:
        if tag and self.headers.get("If-None-Match") == tag:
            self.send_response(304)
            self._head(resource.origin, resource.mime, None, tag)
            self.end_headers()
            return
        wanted = self.headers.get("Range", "")
        if self.headers.get("If-Range", tag) != tag:
            wanted = ""
        span = _span(wanted, size)
        if span is None:
            self.send_response(416)
            self._head(resource.origin, resource.mime, 0)
            self.send_header("Content-Range", f"bytes */{size}")
            self.end_headers()
            return
        start, end, partial = span
        self.send_response(206 if partial else 200)
        self._head(resource.origin, resource.mime, end - start, tag)
        self.send_header("Accept-Ranges", "bytes")
        if partial:
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{size}")
        self.end_headers()
        if not with_body:
            return
        if file is None:
            assert resource.content is not None
            self.wfile.write(resource.content[start:end])
        elif end > start and self.connection.sendfile(file, start, end - start) != end - start:
            self.close_connection = True  # it became shorter meanwhile, and was promised longer

    def _head(self, origin: str, mime: str, length: int | None, tag: str = "") -> None:
        self.send_header("Content-Type", mime)
        if length is not None:
            self.send_header("Content-Length", str(length))
        if tag:
            self.send_header("ETag", tag)
        for name, value in HEADERS.items():
            self.send_header(name, value)
        self.send_header("Content-Security-Policy", PAGE_POLICY if origin == "page" else BUNDLE_POLICY)


def _span(wanted: str, size: int) -> tuple[int, int, bool] | None:
    """(start, end, whether it is a part) of what a Range header asks for; None where nothing of that is there.

    What is not one plain range is not heeded, as RFC 9110 allows.
    """
    match = _RANGE.fullmatch(wanted.strip())
    if match is None or match[0] == "bytes=-":
        return 0, size, False
    if not match[1]:
        length = min(int(match[2]), size)
        return (size - length, size, True) if length else None
    start = int(match[1])
    end = min(int(match[2]), size - 1) + 1 if match[2] else size
    if match[2] and int(match[2]) < start:
        return 0, size, False
    return (start, end, True) if start < size else None


def _opened(resource: Resource) -> IO[bytes] | None:
    """The file itself: never through a link that was put in its place since, nor a pipe or a device."""
    path = resource.path
    if os.path.realpath(path.parent) != str(path.parent):
        return None
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    file = os.fdopen(descriptor, "rb")
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        file.close()
        return None
    return file


def _outward(family: int) -> str:
    """The address of this machine that others see, or else its name. Nothing is sent: the route alone is looked up."""
    documentation = "2001:db8::1" if family == socket.AF_INET6 else "192.0.2.1"
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((documentation, 9))
            return str(probe.getsockname()[0])
        except OSError:
            return socket.gethostname()


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _refused(error: OSError, host: str, port: int) -> PortTaken | UsageError:
    if error.errno == errno.EADDRINUSE:
        return PortTaken(f"port {port} is in use", "give another --port, or none: one that is free is then taken")
    if error.errno == errno.EACCES:
        return UsageError(f"you may not listen on port {port}", "give a --port of 1024 or more")
    return UsageError(f"cannot listen on {host}: {error.strerror or error}", "give an address of this machine")
