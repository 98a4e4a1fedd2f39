"""The page's connections: hypercorn speaks HTTP on them, and here is what bounds them.

hypercorn's own listener neither counts connections nor ends one whose other side does not read,
and shields what it sends from being cancelled. So each connection is given to its trio worker's
TCPServer by us: at most MAX_WEB_CONNECTIONS at a time, each sending within WEB_SECONDS, and all
of them cut when the node stops. Only HTTP/1 is spoken: on HTTP/2 a PING now and then would keep a
connection on which nothing is asked.
"""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, cast

import trio
from hypercorn.config import Config
from hypercorn.protocol.h11 import H11Protocol
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState
from hypercorn.utils import wrap_app

from setsync.errors import WebListenError
from setsync.limits import MAX_WEB_CONNECTIONS, MAX_WEB_HEADERS, SHUTDOWN_GRACE, WEB_SECONDS
from setsync.node.address import join_address
from setsync.web.gate import App
from setsync.web.place import Place

# What is left to do for a connection that was closed: none of it waits for anybody.
_CLEANING_SECONDS = 1.0


async def open_listeners(place: Place) -> list[trio.SocketListener]:
    """Raises WebListenError."""
    try:
        return list(await trio.open_tcp_listeners(place.port, host=place.host))
    except OSError as error:
        where, why = join_address(place.host, place.port), error.strerror or str(error)
        raise WebListenError(f"{where} cannot be listened on: {why}.") from error


def tls_context(place: Place) -> ssl.SSLContext | None:
    """None without a certificate. Raises WebListenError for files that hold none."""
    if place.certificate is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(place.certificate, place.key)
    except (OSError, ssl.SSLError) as error:
        why = error.strerror or getattr(error, "reason", "") or str(error)
        raise WebListenError(
            f"{place.certificate} and {place.key} are no certificate and its key in PEM: {why}."
        ) from error
    return context


async def listen(
    app: App, listeners: Sequence[trio.SocketListener], tls: ssl.SSLContext | None
) -> None:
    """Answer until cancelled; then who is being answered has a moment left."""
    connections = _Connections(app, tls)
    async with trio.open_nursery() as handlers:
        try:
            await trio.serve_listeners(
                connections.handle, list(listeners), handler_nursery=handlers
            )
        finally:
            connections.stop()


class _Connections:
    """All that are open."""

    def __init__(self, app: App, tls: ssl.SSLContext | None) -> None:
        self._app: Any = wrap_app(cast("Any", app), 0, "asgi")
        self._config = _config()
        self._tls = tls
        self._open: set[_Bounded] = set()
        self._context = WorkerContext(None)

    async def handle(self, stream: trio.SocketStream) -> None:
        """One of them, to its end. One too many is closed unheard."""
        if sum(not one.is_over for one in self._open) >= MAX_WEB_CONNECTIONS:
            await trio.aclose_forcefully(stream)
            return
        with trio.CancelScope() as scope:
            bounded = _Bounded(stream, scope)
            self._open.add(bounded)
            try:
                await self._serve(bounded)
            except Exception:  # a defect in one connection must not take the others down
                await trio.lowlevel.checkpoint()
            finally:
                self._open.discard(bounded)
                bounded.cut()

    async def _serve(self, bounded: _Bounded) -> None:
        channel: Any = bounded
        if self._tls is not None:
            channel = trio.SSLStream(bounded, self._tls, server_side=True, https_compatible=True)
        await _Server(
            self._app,
            self._config,
            self._context,
            ConnectionState({}),
            channel,
        )

    def stop(self) -> None:
        """Cut them all: hypercorn shields what it sends, and would wait for who does not read."""
        for bounded in self._open:
            bounded.cut()


class _Server(TCPServer):
    """hypercorn's, which by itself speaks HTTP/2 with whoever begins to, whatever ALPN says."""

    protocol: Any

    async def _read_data(self) -> None:
        known = self.protocol
        self.protocol = _Http1(
            self.app,
            self.config,
            self.context,
            self._task_group,
            known.state,
            known.ssl,
            known.client,
            known.server,
            self.protocol_send,
        )
        await super()._read_data()


class _Http1(H11Protocol):
    """An offer to go on in HTTP/2 is passed over, as it may be (RFC 9110, 7.8); its preface is a
    request like any other, and what follows it is none (RFC 9113, 3.4)."""

    async def _check_protocol(self, event: object) -> None:
        pass


def _config() -> Config:
    config = Config()
    config.accesslog = None  # addresses hold one-time codes
    config.errorlog = None
    config.h11_max_incomplete_size = MAX_WEB_HEADERS
    config.keep_alive_timeout = WEB_SECONDS
    config.ssl_handshake_timeout = WEB_SECONDS
    config.graceful_timeout = SHUTDOWN_GRACE
    config.include_server_header = False
    config.websocket_max_message_size = 1024
    return config


class _Bounded(trio.abc.HalfCloseableStream):
    """A connection on which nobody waits long for the other side to read."""

    def __init__(self, stream: trio.SocketStream, scope: trio.CancelScope) -> None:
        self._stream = stream
        self._scope = scope
        self.socket = stream.socket
        # The other side has closed it: it counts no more.
        self.is_over = False

    def cut(self) -> None:
        """At once, whoever is waiting for it."""
        self.socket.close()

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Raises BrokenResourceError, also when the other side takes nothing for WEB_SECONDS."""
        await self._in_time(self._stream.send_all, data)

    async def wait_send_all_might_not_block(self) -> None:
        """Raises as `send_all`."""
        await self._in_time(self._stream.wait_send_all_might_not_block)

    async def _in_time(self, work: Callable[..., Awaitable[None]], *arguments: object) -> None:
        try:
            with trio.fail_after(WEB_SECONDS):
                await work(*arguments)
        except trio.TooSlowError as error:
            self.cut()
            raise trio.BrokenResourceError("it takes nothing") from error

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """Waits as long as hypercorn likes, which has the times of a connection."""
        data = await self._stream.receive_some(max_bytes)
        if not data:
            # hypercorn would keep it until the time is up for which it keeps those alive that wait.
            self.is_over = True
            self._end_soon()
        return data

    async def send_eof(self) -> None:
        """Raises as `send_all`."""
        await self._stream.send_eof()

    async def aclose(self) -> None:
        """Close; what still waits for something of this connection is given up soon."""
        self._end_soon()
        await self._stream.aclose()

    def _end_soon(self) -> None:
        soon = trio.current_time() + _CLEANING_SECONDS
        self._scope.deadline = min(self._scope.deadline, soon)
