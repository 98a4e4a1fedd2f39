"""Ways to a home: the secure channel, or HTTP. One question goes there, one answer comes back.

Who has many questions writes them as a script, so that they go over one connection: a node takes
few a second from one address, and an author may have thousands of logs.

`setsync://KEY@host:port` says whose key is there. `http://host:port` and `https://host:port` do
not, unless it stands before the host as there; then whoever answers is asked who it is, and that
key holds from then on. HTTP without TLS is for this machine only, since an invite goes with it.
"""

from __future__ import annotations

import http.client
import ipaddress
import queue
import re
import threading
from collections.abc import Awaitable, Callable, Generator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from typing import Protocol, TypeVar
from urllib.parse import urlsplit

import trio

from bamboo_compat.homes.errors import HomeRefusedError
from bamboo_compat.homes.limits import (
    MAX_MESSAGE,
    MAX_QUESTIONS,
    QUESTION_SECONDS,
    REDIAL_SECONDS,
    REDIALS,
)
from bamboo_compat.homes.messages import (
    PROTOCOL,
    Answer,
    Question,
    Refused,
    Why,
    encode,
    read_answer,
)
from setsync.errors import (
    InviteError,
    PeerError,
    PeerGoneError,
    PeerTimeoutError,
    PeerUnreachableError,
    UsageError,
)
from setsync.node.address import SCHEME, Address, check_host
from setsync.node.identity import Identity
from setsync.node.network import NetworkKey
from setsync.node.node import connect_securely

PATH = "/home/join"
CONTENT_TYPE = "application/octet-stream"
_BUSY = (http.client.TOO_MANY_REQUESTS, http.client.SERVICE_UNAVAILABLE)
_LENGTH_BYTES = 4
_HANG_UP_SECONDS = 1.0
_KEY = re.compile("[0-9a-f]{64}")
_OF_INVITES = (Why.NO_SUCH_INVITE, Why.USED_UP, Why.EXPIRED, Why.REVOKED)


class HomeInviteError(InviteError):
    """The operator of the server makes invites with 'setsync home invite create'."""


Found = TypeVar("Found")

Script = Generator[Question, Answer, Found]
"""Yields questions, gets their answers, which are no refusals, and returns what it found."""


class Road(Protocol):
    """A way to one home."""

    @property
    def url(self) -> str:
        """As it was given."""

    @property
    def key(self) -> bytes | None:
        """Whose key has to be there, 32 bytes; None where the URL does not say it."""

    def ask(self, question: Question) -> Answer:
        """The answer, which is no refusal. Raises PeerError and its kinds."""

    def talk(self, script: Script[Found]) -> Found:
        """Ask what a script asks. Raises what the script raises, PeerError and its kinds."""


@dataclass(frozen=True)
class Secure:
    """Over the node's own channel."""

    address: Address
    identity: Identity = field(repr=False)
    network: NetworkKey | None = field(default=None, repr=False)

    @property
    def url(self) -> str:
        """As it was given."""
        return str(self.address)

    @property
    def key(self) -> bytes | None:
        """In the address."""
        return self.address.key

    def ask(self, question: Question) -> Answer:
        """See `Road`."""
        return self.talk(_one(question))

    def talk(self, script: Script[Found]) -> Found:
        """See `Road`; over one connection, as long as the other side keeps it."""
        return trio.run(talk_on, self._dial, self.address.place, script)

    async def _dial(self) -> trio.abc.Stream:
        channel = await connect_securely(self.address, self.identity, self.network, PROTOCOL)
        return channel.stream


@dataclass(frozen=True)
class Web:
    """Over HTTP."""

    url: str
    scheme: str
    host: str
    port: int
    key: bytes | None

    def ask(self, question: Question) -> Answer:
        """See `Road`."""
        headers = {"Content-Type": CONTENT_TYPE, "Accept": CONTENT_TYPE}
        status, content = self.post(PATH, encode(question), headers, MAX_MESSAGE)
        if status in _BUSY:
            raise PeerGoneError(f"{self.url} is busy: it answers {status} to {PATH}.")
        if status != http.client.OK:
            raise PeerError(f"{self.url} has no homes: it answers {status} to {PATH}.")
        return _taken(read_answer(content))

    def talk(self, script: Script[Found]) -> Found:
        """See `Road`; each question is a request of its own."""
        return play(self.ask, script)

    def post(
        self, path: str, body: bytes, headers: Mapping[str, str], limit: int
    ) -> tuple[int, bytes]:
        """The status, and at most `limit` bytes and one more; all of it within QUESTION_SECONDS.

        Redirections are not followed. Raises PeerTimeoutError, PeerUnreachableError, PeerError.
        """

        def exchange() -> tuple[int, bytes]:
            with closing(self._connect()) as connection:
                connection.request("POST", path, body, dict(headers))
                response = connection.getresponse()
                return response.status, response.read(limit + 1)

        try:
            return _within(QUESTION_SECONDS, exchange)
        except TimeoutError as error:
            raise PeerTimeoutError(
                f"{self.url} gave no answer within {QUESTION_SECONDS:.0f} s."
            ) from error
        except OSError as error:
            raise PeerUnreachableError(f"Nobody answers at {self.url}: {error}.") from error
        except http.client.HTTPException as error:
            raise PeerError(f"What answers at {self.url} does not speak HTTP.") from error

    def _connect(self) -> http.client.HTTPConnection:
        kind = http.client.HTTPSConnection if self.scheme == "https" else http.client.HTTPConnection
        return kind(self.host, self.port, timeout=QUESTION_SECONDS)


def _within(seconds: float, work: Callable[[], Found]) -> Found:
    """What `work` returns or raises, unless that takes longer: then TimeoutError. A socket's own
    timeout begins anew with each byte."""
    done: queue.SimpleQueue[tuple[Found | None, Exception | None]] = queue.SimpleQueue()

    def run() -> None:
        try:
            done.put((work(), None))
        except Exception as error:
            done.put((None, error))

    threading.Thread(target=run, daemon=True).start()
    try:
        found, error = done.get(timeout=seconds)
    except queue.Empty as empty:
        raise TimeoutError from empty
    if error is not None:
        raise error
    return found  # type: ignore[return-value]


def road_to(url: str, identity: Identity, network: NetworkKey | None) -> Road:
    """Raises UsageError for what is no URL of a home."""
    if url.startswith(SCHEME):
        return Secure(Address.parse(url), identity, network)
    if not url.startswith(("http://", "https://")):
        raise UsageError(
            f"{url!r} is no URL of a home: setsync://KEY@HOST:PORT, https://HOST or http://HOST."
        )
    return _web(url)


def _web(url: str) -> Web:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise UsageError(f"{url!r} is no URL: {error}.") from error
    key = parts.username
    if not host or parts.path.strip("/") or parts.query or parts.fragment or parts.password:
        raise UsageError(f"{url!r} is not {parts.scheme}://HOST:PORT, which is all of it.")
    check_host(host)
    if key is not None and not _KEY.fullmatch(key):
        raise UsageError(f"What stands before the @ in {url!r} is no key of a node.")
    if parts.scheme == "http" and not _is_here(host):
        raise UsageError(f"{url} would show the invite to everybody on the way; use https://")
    default = http.client.HTTPS_PORT if parts.scheme == "https" else http.client.HTTP_PORT
    known = bytes.fromhex(key) if key is not None else None
    return Web(url, parts.scheme, host, port or default, known)


def _is_here(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


# --- scripts ------------------------------------------------------------------------------


def play(ask: Callable[[Question], Answer], script: Script[Found]) -> Found:
    """Ask what a script asks; what it returns."""
    try:
        question = next(script)
        while True:
            question = script.send(ask(question))
    except StopIteration as end:
        found: Found = end.value
        return found


def _one(question: Question) -> Script[Answer]:
    return (yield question)


async def talk_on(dial: Dial, place: str, script: Script[Found]) -> Found:
    """Ask what a script asks over connections that `dial` makes to `place`: one for
    MAX_QUESTIONS. Where a home has answered before, one that breaks is made anew, REDIALS times
    for a question: each may be asked twice.

    Raises what the script raises, PeerError and its kinds.
    """
    line = _Line(dial, place)
    try:
        question = next(script)
        while True:
            question = script.send(await line.ask(question))
    except StopIteration as end:
        found: Found = end.value
        return found
    finally:
        await line.hang_up()


class _Line:
    """A connection that is there whenever something is asked on it."""

    def __init__(self, dial: Dial, place: str) -> None:
        self._dial = dial
        self._place = place
        self._stream: trio.abc.Stream | None = None
        self._asked = 0
        self._has_answered = False

    async def ask(self, question: Question) -> Answer:
        """See `Road`."""
        for _ in range(REDIALS):
            try:
                return await self._ask(question)
            except PeerGoneError:
                if not self._has_answered:
                    raise
            await self.hang_up()
            await trio.sleep(REDIAL_SECONDS)
        return await self._ask(question)

    async def hang_up(self) -> None:
        """The next question begins a new connection."""
        stream, self._stream = self._stream, None
        if stream is not None:
            await hang_up(stream)

    async def _ask(self, question: Question) -> Answer:
        if self._asked == MAX_QUESTIONS:
            await self.hang_up()
        if self._stream is None:
            self._stream, self._asked = await self._dial(), 0
        self._asked += 1
        content = await self._exchange(self._stream, encode(question))
        self._has_answered = True
        return _taken(read_answer(content))

    async def _exchange(self, stream: trio.abc.Stream, message: bytes) -> bytes:
        try:
            with trio.fail_after(QUESTION_SECONDS):
                await send_message(stream, message)
                content = await receive_message(stream)
        except trio.TooSlowError as error:
            raise PeerTimeoutError(
                f"{self._place} was silent for {QUESTION_SECONDS:.0f} s."
            ) from error
        except trio.BrokenResourceError as error:
            raise PeerGoneError(f"{self._place} closed the connection.") from error
        if content is None:
            raise PeerGoneError(
                f"{self._place} closed the connection without an answer: it does not talk to you, "
                "or is busy."
            )
        return content


Dial = Callable[[], Awaitable[trio.abc.Stream]]


def _taken(answer: Answer) -> Answer:
    """Raises HomeInviteError, HomeRefusedError."""
    if isinstance(answer, Refused):
        if answer.why in _OF_INVITES:
            raise HomeInviteError(answer.sentence)
        raise HomeRefusedError(answer.sentence)
    return answer


# --- messages on a stream -----------------------------------------------------------------


async def send_message(stream: trio.abc.Stream, message: bytes) -> None:
    """A message behind its length, 4 bytes."""
    await stream.send_all(len(message).to_bytes(_LENGTH_BYTES, "big") + message)


async def receive_message(stream: trio.abc.Stream) -> bytes | None:
    """The next one; None where the stream ends before it begins.

    Raises PeerError for one that is too long, or cut.
    """
    head = await _receive(stream, _LENGTH_BYTES)
    if not head:
        return None
    size = int.from_bytes(head, "big")
    if len(head) < _LENGTH_BYTES or not 0 < size <= MAX_MESSAGE:
        raise PeerError(f"A message about homes has 1 to {MAX_MESSAGE:,} bytes.")
    message = await _receive(stream, size)
    if len(message) < size:
        raise PeerGoneError("The other side closed the connection within a message.")
    return message


async def hang_up(stream: trio.abc.Stream) -> None:
    """Say that nothing more comes, if that can be said at once, and close."""
    with trio.move_on_after(_HANG_UP_SECONDS):
        await stream.aclose()
    await trio.aclose_forcefully(stream)


async def _receive(stream: trio.abc.Stream, size: int) -> bytes:
    found = bytearray()
    while len(found) < size:
        part = await stream.receive_some(size - len(found))
        if not part:
            break
        found += part
    return bytes(found)


__all__ = [
    "CONTENT_TYPE",
    "MAX_QUESTIONS",
    "PATH",
    "Found",
    "Road",
    "Script",
    "Secure",
    "Web",
    "hang_up",
    "play",
    "receive_message",
    "road_to",
    "send_message",
    "talk_on",
]
