"""The demo's server gives what is listed, whole or by ranges, under its own names, and nothing else."""

from __future__ import annotations

import http.client
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.demo.server import BUNDLE_POLICY, HEADERS, PAGE_POLICY, Server, _span
from edgekit.demo.site import Resource
from edgekit.errors import PortTaken, UsageError

CONTENT = bytes(range(256)) * 40


@contextmanager
def running(server: Server) -> Iterator[Server]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = (tmp_path / "files").resolve()
    root.mkdir()
    (root / "model.bin").write_bytes(CONTENT)
    (root / "empty").write_bytes(b"")
    (root / "hidden").write_text("not listed")
    return root


@pytest.fixture
def server(folder: Path) -> Iterator[Server]:
    resources = {
        "": Resource(folder / "index.html", "text/html; charset=utf-8", "page", b"<!doctype html>"),
        "page/app.js": Resource(folder / "app.js", "text/javascript; charset=utf-8", "page", b"1"),
        "bundle/model.bin": Resource(folder / "model.bin", "application/octet-stream", "bundle"),
        "bundle/a b%#?ü.txt": Resource(folder / "model.bin", "text/plain; charset=utf-8", "bundle"),
        "bundle/empty": Resource(folder / "empty", "application/octet-stream", "bundle"),
        "bundle/gone": Resource(folder / "gone", "application/octet-stream", "bundle"),
    }
    with running(Server(resources)) as found:
        yield found


def ask(server: Server, path: str, method: str = "GET", **headers: str) -> tuple[int, http.client.HTTPMessage, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=10)
    connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
    response = connection.getresponse()
    body = response.read()
    connection.close()
    return response.status, response.headers, body


def test_the_page_and_files_with_their_types(server: Server) -> None:
    status, headers, body = ask(server, "/")
    assert (status, body) == (200, b"<!doctype html>")
    assert headers["Content-Type"] == "text/html; charset=utf-8"
    assert ask(server, "/page/app.js")[1]["Content-Type"].startswith("text/javascript")
    status, headers, body = ask(server, "/bundle/model.bin")
    assert (status, body) == (200, CONTENT)
    assert headers["Content-Length"] == str(len(CONTENT))
    assert ask(server, "/bundle/a%20b%25%23%3F%C3%BC.txt?query=1")[2] == CONTENT
    assert ask(server, "/bundle/empty")[::2] == (200, b"")


@pytest.mark.parametrize("path", ["/", "/bundle/model.bin", "/nothing", "/bundle/gone"])
def test_every_answer_is_isolated_and_says_what_may_run(server: Server, path: str) -> None:
    _, headers, _ = ask(server, path)
    for name, value in HEADERS.items():
        assert headers.get_all(name) == [value]
    assert headers["Content-Security-Policy"] == (BUNDLE_POLICY if path == "/bundle/model.bin" else PAGE_POLICY)
    assert "unsafe-inline" not in PAGE_POLICY
    assert "unsafe-eval'" not in PAGE_POLICY.replace("wasm-unsafe-eval'", "")
    assert "http" not in PAGE_POLICY
    assert "script" not in BUNDLE_POLICY
    assert headers["Server"].strip() == "edgekit"


@pytest.mark.parametrize(
    "path",
    [
        "/bundle", "/bundle/", "/page/", "/bundle/hidden", "/bundle/../bundle/model.bin", "/bundle/%2e%2e/hidden",
        "/..%2f..%2fetc/passwd", "/../../../../etc/passwd", "//bundle//model.bin", "/bundle/model.bin/",
        "/bundle\\model.bin",
        "/bundle/model.bin%00", "/BUNDLE/model.bin", "/%ff", "http://127.0.0.1/bundle/model.bin", "/bundle/gone",
        "/bundle/%252e%252e/hidden", "/index.html", "/edgekit.json",
    ],
)  # fmt: skip
def test_what_is_not_listed_is_not_there(server: Server, path: str) -> None:
    status, headers, body = ask(server, path)
    assert status == 404
    assert b"hidden" not in body
    assert headers["Content-Type"].startswith("text/plain")


def test_a_link_or_a_pipe_in_a_files_place_is_not_followed(server: Server, folder: Path) -> None:
    for put in (lambda: (folder / "gone").symlink_to(folder / "hidden"), lambda: os.mkfifo(folder / "gone")):
        put()
        assert ask(server, "/bundle/gone")[0] == 404
        (folder / "gone").unlink()
    moved = folder.rename(folder.with_name("elsewhere"))
    folder.symlink_to(moved)
    assert ask(server, "/bundle/model.bin")[0] == 404


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "LOCALHOST:9", "127.0.0.1:1", "[::1]:80", "localhost."])
def test_its_own_names(server: Server, host: str) -> None:
    assert ask(server, "/", Host=host)[0] == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:80", "192.168.1.7", "", "127.0.0.1:99999999",
     "localhost/../x", "user@localhost", "[::2]"],
)  # fmt: skip
def test_another_name_is_refused(server: Server, host: str) -> None:
    status, _, body = ask(server, "/bundle/model.bin", Host=host)
    assert status == 421
    assert CONTENT not in body


def raw(server: Server, request: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=10) as connection:
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(65536), b""))


def test_requests_that_are_odd(server: Server) -> None:
    assert raw(server, b"GET / HTTP/1.1\r\n\r\n").startswith(b"HTTP/1.1 400")
    two = b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n"
    assert raw(server, two).startswith(b"HTTP/1.1 400")
    inner = b"GET /bundle/model.bin HTTP/1.1\r\nHost: localhost\r\n\r\n"
    smuggled = b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 40\r\n\r\n" + inner
    answer = raw(server, smuggled)
    assert answer.startswith(b"HTTP/1.1 400")
    assert answer.count(b"HTTP/1.1") == 1
    assert b" 414 " in raw(server, b"GET /" + b"a" * 70000 + b" HTTP/1.1\r\n\r\n")[:40]
    assert CONTENT not in raw(server, b"GET /bundle/model.bin\r\n\r\n")
    assert ask(server, "/")[0] == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "CONNECT", "<b>"])
def test_other_methods_are_refused(server: Server, method: str) -> None:
    answer = raw(server, f"{method} / HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 501")
    assert method.encode() not in answer.partition(b"\r\n")[2]


def test_head_has_the_headers_and_no_body(server: Server) -> None:
    status, headers, body = ask(server, "/bundle/model.bin", "HEAD")
    assert (status, body) == (200, b"")
    assert headers["Content-Length"] == str(len(CONTENT))
    assert headers["Accept-Ranges"] == "bytes"
    assert ask(server, "/nothing", "HEAD")[::2] == (404, b"")


@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [("bytes=0-0", 0, 1), ("bytes=10-19", 10, 20), ("bytes=10000-", 10000, 10240), ("bytes=-5", 10235, 10240),
     ("bytes=-99999", 0, 10240), ("bytes=5-99999", 5, 10240)],
)  # fmt: skip
def test_ranges(server: Server, asked: str, start: int, end: int) -> None:
    status, headers, body = ask(server, "/bundle/model.bin", Range=asked)
    assert (status, body) == (206, CONTENT[start:end])
    assert headers["Content-Range"] == f"bytes {start}-{end - 1}/{len(CONTENT)}"


@pytest.mark.parametrize("asked", ["bytes=10240-", "bytes=-0", "bytes=99999-100000"])
def test_ranges_of_nothing(server: Server, asked: str) -> None:
    status, headers, body = ask(server, "/bundle/model.bin", Range=asked)
    assert (status, body) == (416, b"")
    assert headers["Content-Range"] == f"bytes */{len(CONTENT)}"


@pytest.mark.parametrize("asked", ["bytes=0-1,5-6", "bytes=5-2", "lines=0-1", "bytes=a-b", "bytes=-", "bytes=--1", ""])
def test_ranges_that_are_not_understood_give_the_whole(server: Server, asked: str) -> None:
    assert ask(server, "/bundle/model.bin", Range=asked)[::2] == (200, CONTENT)


@given(st.integers(0, 50), st.integers(0, 60), st.integers(0, 60))
def test_a_range_is_what_slicing_gives(size: int, first: int, last: int) -> None:
    content = bytes(range(size))
    span = _span(f"bytes={first}-{last}", size)
    wanted = content[first : last + 1]
    if first > last:
        assert span == (0, size, False)
    elif not wanted:
        assert span is None
    else:
        assert span is not None
        assert content[span[0] : span[1]] == wanted


def test_what_did_not_change_is_not_sent_again(server: Server, folder: Path) -> None:
    tag = ask(server, "/bundle/model.bin")[1]["ETag"]
    assert ask(server, "/bundle/model.bin", If_None_Match=tag)[::2] == (304, b"")
    assert ask(server, "/bundle/model.bin", Range="bytes=0-1", If_Range=tag)[0] == 206
    (folder / "model.bin").write_bytes(CONTENT[::-1])
    status, headers, body = ask(server, "/bundle/model.bin", If_None_Match=tag)
    assert (status, body) == (200, CONTENT[::-1])
    assert headers["ETag"] != tag
    assert ask(server, "/bundle/model.bin", Range="bytes=0-1", If_Range=tag)[0] == 200


def test_a_client_that_goes_away_breaks_nothing(server: Server) -> None:
    for _ in range(5):
        connection = socket.create_connection(("127.0.0.1", server.server_port))
        connection.sendall(b"GET /bundle/model.bin HTTP/1.1\r\nHost: localhost\r\n\r\n")
        connection.close()
    assert ask(server, "/bundle/model.bin")[2] == CONTENT


def test_many_at_once(server: Server) -> None:
    found: list[bytes] = []
    threads = [threading.Thread(target=lambda: found.append(ask(server, "/bundle/model.bin")[2])) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [CONTENT] * 20


def test_a_port_in_use(server: Server) -> None:
    with pytest.raises(PortTaken, match=f"port {server.server_port} is in use - give another --port"):
        Server({}, server.server_port)


@pytest.mark.parametrize("host", ["203.0.113.7", "not a host", "999.1.1.1"])
def test_an_address_of_another_machine(host: str) -> None:
    with pytest.raises(UsageError, match="cannot listen on"):
        Server({}, 0, host)


def test_only_this_machine_unless_told_otherwise() -> None:
    with running(Server({})) as private:
        assert private.is_private
        assert private.server_address[0] == "127.0.0.1"
        assert private.url == f"http://127.0.0.1:{private.server_port}/"
        assert not private.knows(socket.gethostname())
    with running(Server({}, 0, "0.0.0.0")) as public:
        assert not public.is_private
        assert public.url == f"http://127.0.0.1:{public.server_port}/"
        for name in ("192.168.1.7", socket.gethostname(), "localhost:1", "[fe80::1]"):
            assert public.knows(name)
        assert not public.knows("evil.example")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_no_other_machine_is_told_of_an_address_that_is_this_machine_s(host: str) -> None:
    server = Server({}, host=host)
    server.server_close()
    assert server.url_elsewhere is None


def test_who_lets_others_in_is_told_the_address_that_they_use() -> None:
    server = Server({}, host="0.0.0.0")
    server.server_close()
    assert server.url.startswith("http://127.0.0.1:")
    assert server.url_elsewhere is not None
    assert not server.url_elsewhere.startswith(("http://0.0.0.0", "http://127."))
    assert server.url_elsewhere.endswith(f":{server.server_port}/")
