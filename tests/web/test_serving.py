"""`serve --web` as a process: it listens, is bounded, tells no secret, and ends in time."""

from __future__ import annotations

import datetime
import socket
import ssl
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from setsync.limits import MAX_WEB_CONNECTIONS, SHUTDOWN_GRACE, WEB_SECONDS
from setsync.web.gate import POLICY
from setsync.web.listening import listen
from tests.cli.running import validate
from tests.node.processes import make_node, run
from tests.web.serving import WebServing


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return make_node(tmp_path / "node")


@pytest.fixture
def server(data: Path) -> Iterator[WebServing]:
    with WebServing(data) as serving:
        yield serving


# --- the process --------------------------------------------------------------------------


def test_init_makes_the_token_and_who_came_before_gets_one_when_it_is_needed(
    tmp_path: Path,
) -> None:
    assert run("init", "--data", tmp_path / "new").code == 0
    older = make_node(tmp_path / "older")
    assert not (older / "web.token").exists()
    with WebServing(older):
        for data in (tmp_path / "new", older):
            assert stat.S_IMODE((data / "web.token").stat().st_mode) == 0o600
            assert len((data / "web.token").read_text()) == 44


def test_a_token_that_others_can_read_is_refused(data: Path) -> None:
    (data / "web.token").write_text("A" * 43 + "\n")
    (data / "web.token").chmod(0o644)
    ended = run("serve", "--data", data, "--listen", "127.0.0.1:0", "--web", "127.0.0.1:0")
    assert ended.code == 1
    assert "can be read by others" in ended.stderr


def test_the_ready_file_has_the_address_and_is_gone_at_the_end(data: Path, tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    with WebServing(data, "--web-ready-file", ready) as server:
        assert ready.read_text() == server.url + "\n"
        assert server.ask("/readyz").body == b"ok\n"
        assert server.stop().code == 0
    assert not ready.exists()
    assert not (data / "web.json").exists()


def test_web_open_prints_a_link_that_works_once(server: WebServing) -> None:
    found = run("web", "open", "--data", server.data, "--json").json
    validate(found, "web-open")
    assert found["url"] == server.url
    path = found["link"].removeprefix(server.url)
    assert server.ask(path).status == 303
    assert server.ask(path).status == 403


def test_web_open_without_a_page_says_how_to_get_one(data: Path) -> None:
    ended = run("web", "open", "--data", data)
    assert ended.code == 1
    assert "serve --web" in ended.stderr


def test_no_secret_of_the_page_is_in_the_log(server: WebServing) -> None:
    link = server.link()
    cookie = server.ask(link.removeprefix(server.url)).cookie
    server.ask("/nowhere?code=" + link.partition("code=")[2], cookie=cookie)
    server.ask("/" + "a" * 20_000)
    said = server.stop().stderr
    assert "web_login" in said
    for secret in (link.partition("code=")[2], cookie.partition("=")[2]):
        assert secret not in said
    assert (server.data / "web.token").read_text().strip() not in said


@pytest.mark.parametrize("address", ["0.0.0.0:0", "192.0.2.1:0", "[::]:0", "example.org:0"])
def test_away_from_loopback_there_is_no_page_without_tls(data: Path, address: str) -> None:
    ended = run("serve", "--data", data, "--listen", "127.0.0.1:0", "--web", address)
    assert ended.code == 2
    assert "--web-certificate" in ended.stderr


def test_a_port_that_is_taken_is_told_with_the_option_to_change(data: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        ended = run("serve", "--data", data, "--listen", "127.0.0.1:0", "--web", address)
    assert ended.code == 1
    assert "--web HOST:PORT" in ended.stderr


def test_without_web_nothing_of_it_is_loaded() -> None:
    script = (
        "import sys, setsync.cli.serve, setsync.cli.init, setsync.cli.serving\n"
        "print([name for name in ('starlette', 'hypercorn', 'jinja2') if name in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    assert out.stdout.strip() == b"[]"


# --- over TLS -----------------------------------------------------------------------------


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """A certificate for localhost and its key, as an operator would have them."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(datetime.datetime(2020, 1, 1))
        .not_valid_after(datetime.datetime(2120, 1, 1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem, encoding = tmp_path / "cert.pem", serialization.Encoding.PEM
    pem.write_bytes(made.public_bytes(encoding))
    secret = tmp_path / "key.pem"
    plain = serialization.NoEncryption()
    secret.write_bytes(key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, plain))
    return pem, secret


def test_over_tls_it_is_served_everywhere_and_the_cookie_stays_there(
    data: Path, certificate: tuple[Path, Path]
) -> None:
    pem, secret = certificate
    words = ("--web", "0.0.0.0:0", "--web-name", "localhost")
    with WebServing(data, *words, "--web-certificate", pem, "--web-key", secret) as server:
        assert server.url == f"https://localhost:{server.port}"
        context = ssl.create_default_context(cafile=str(pem))
        with server.connect() as raw, context.wrap_socket(raw, server_hostname="localhost") as line:
            path = server.link().removeprefix(server.url)
            host = f"Host: localhost:{server.port}"
            line.sendall(f"GET {path} HTTP/1.1\r\n{host}\r\nConnection: close\r\n\r\n".encode())
            answer = b"".join(iter(lambda: line.recv(65_536), b"")).decode()
        assert " 303 " in answer.splitlines()[0]
        assert "set-cookie: __Host-setsync-" in answer
        assert "Secure" in answer


def test_a_certificate_that_is_none_is_told(data: Path, certificate: tuple[Path, Path]) -> None:
    pem, _ = certificate
    words = ("serve", "--data", data, "--listen", "127.0.0.1:0", "--web", "0.0.0.0:0")
    ended = run(*words, "--web-certificate", pem, "--web-key", pem)
    assert ended.code == 1
    assert "no certificate and its key" in ended.stderr


# --- bounds -------------------------------------------------------------------------------


def _read_all(line: socket.socket) -> bytes:
    """Until the other side closes."""
    found = b""
    try:
        while part := line.recv(65_536):
            found += part
    except ConnectionResetError:
        pass
    return found


def test_a_head_that_is_too_long_is_cut_off(server: WebServing) -> None:
    with server.connect() as line:
        line.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"a" * 100_000)
        answer = _read_all(line)
    assert answer == b"" or answer.split(b" ")[1] in (b"400", b"431")
    assert server.ask("/healthz").status == 200


def test_websockets_are_not_spoken(server: WebServing) -> None:
    host = f"Host: 127.0.0.1:{server.port}\r\n"
    upgrade = (
        f"GET /events HTTP/1.1\r\n{host}Connection: Upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )
    with server.connect() as line:
        line.sendall(upgrade.encode())
        assert b" 101 " not in line.recv(65_536).split(b"\r\n")[0]
    assert server.ask("/healthz").status == 200


# How HTTP/2 begins where both sides know that it will be spoken (RFC 9113, 3.4), and a PING.
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
_PING = bytes([0, 0, 8, 6, 0, 0, 0, 0, 0]) + b"a" * 8


def _question(server: WebServing, *more: str) -> bytes:
    """Whether the node lives, in HTTP/1.1."""
    head = ("GET /healthz HTTP/1.1", f"Host: 127.0.0.1:{server.port}", *more)
    return "\r\n".join([*head, "", ""]).encode()


@pytest.mark.parametrize("after", ["at first", "after a question"])
def test_who_speaks_http_2_is_answered_in_http_1_and_let_go(server: WebServing, after: str) -> None:
    with server.connect() as line:
        if after == "after a question":
            assert _ask_on(line, _question(server))
        line.sendall(_PREFACE + _PING)
        answer = _read_all(line)
    assert answer == b"" or answer.startswith(b"HTTP/1.1 4")
    assert server.ask("/healthz").status == 200


def test_who_offers_to_go_on_in_http_2_is_answered_in_http_1(server: WebServing) -> None:
    """As curl and Java's client do, unless they are told not to."""
    offer = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk")
    with server.connect() as line:
        assert _ask_on(line, _question(server, *offer))
        assert _ask_on(line, _question(server))


def _ask_on(line: socket.socket, question: bytes) -> bool:
    """Whether the node says that it lives; its answer may come in parts."""
    line.sendall(question)
    answer = b""
    while not answer.endswith(b"ok\n"):
        part = line.recv(4_096)
        if not part:
            return False
        answer += part
    return answer.startswith(b"HTTP/1.1 200")


def test_one_connection_too_many_is_closed_and_those_that_are_there_go_on(
    server: WebServing,
) -> None:
    question = _question(server)
    held = [server.connect() for _ in range(MAX_WEB_CONNECTIONS)]
    try:
        for line in held:  # all are answered, so all have been counted
            assert _ask_on(line, question)
        with server.connect() as late:
            assert _read_all(late) == b""
        assert _ask_on(held[0], question)
    finally:
        for line in held:
            line.close()


def test_events_are_told_live_and_have_the_strict_policy(server: WebServing) -> None:
    with server.connect() as line, line.makefile("rb") as lines:
        head = f"GET /events HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n"
        bearer = f"Authorization: {server.bearer['authorization']}\r\n\r\n"
        line.sendall((head + bearer).encode())
        start = [lines.readline() for _ in range(20)]
        assert f"content-security-policy: {POLICY}\r\n".encode() in start
        assert b"content-type: text/event-stream; charset=utf-8\r\n" in start
        put = run("put", "notes", server.data / "setsync.json", "--data", server.data)
        assert put.code == 0
        while b"entries" not in lines.readline():
            pass


def test_it_ends_in_time_though_pages_are_open_and_one_reads_nothing(data: Path) -> None:
    big = data.parent / "big"
    big.write_bytes(b"x" * 1_000_000)
    assert run("put", "notes", big, "--data", data).code == 0
    with WebServing(data) as server:
        (row,) = server.json("/api/entries")["entries"]
        bearer = f"Authorization: {server.bearer['authorization']}\r\n\r\n"
        open_lines = []
        for path in ("/events", "/events", *[f"/entries/{row['id']}/payload"] * 4):
            line = socket.socket()
            line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
            line.settimeout(60)
            line.connect(("127.0.0.1", server.port))
            line.sendall(
                f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n{bearer}".encode()
            )
            assert b"200" in line.recv(15)
            open_lines.append(line)
        ended = server.stop()
        assert ended.code == 0
        assert '"event": "stopped"' in ended.stderr
        for line in open_lines:
            line.close()


_PART, _PARTS = 65_536, 1_000


async def _endless(scope: object, receive: object, send: Any) -> None:
    """An answer that is larger than all that sockets keep."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for _ in range(_PARTS):
        await send({"type": "http.response.body", "body": b"a" * _PART, "more_body": True})


async def _ask(nursery: trio.Nursery, app: Any) -> trio.SocketStream:
    """A connection to `app` with a question on it, of which nothing was read yet."""
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    nursery.start_soon(listen, app, listeners, None)
    line = await trio.open_tcp_stream("127.0.0.1", listeners[0].socket.getsockname()[1])
    await line.send_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    return line


async def test_who_takes_nothing_of_an_answer_is_let_go(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with trio.open_nursery() as nursery:
        line = await _ask(nursery, _endless)
        await trio.sleep(2 * WEB_SECONDS)
        taken = 0
        with suppress(trio.BrokenResourceError):
            while part := await line.receive_some():
                taken += len(part)
        assert taken < _PART * _PARTS // 2
        nursery.cancel_scope.cancel()


async def test_who_takes_nothing_does_not_hold_up_the_end(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with trio.open_nursery() as nursery:
        line = await _ask(nursery, _endless)
        await line.receive_some(1)  # the answer is on its way
        await trio.sleep(WEB_SECONDS / 4)
        began = trio.current_time()
        nursery.cancel_scope.cancel()
    assert trio.current_time() - began < SHUTDOWN_GRACE


async def test_who_sends_a_head_byte_by_byte_is_let_go(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def app(scope: object, receive: object, send: object) -> None:
        raise AssertionError("no request was complete")

    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(listen, app, listeners, None)
        line = await trio.open_tcp_stream("127.0.0.1", listeners[0].socket.getsockname()[1])
        began = trio.current_time()
        with suppress(trio.BrokenResourceError):
            for byte in b"GET / HTTP/1.1\r\nHost: " + b"a" * 100:
                await line.send_all(bytes([byte]))
                await trio.sleep(1)
        assert trio.current_time() - began <= 2 * WEB_SECONDS
        nursery.cancel_scope.cancel()
