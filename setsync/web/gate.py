"""The first thing that a request meets: may whoever sent it speak to this page at all?

Around the whole application, so that nothing behind it, a guest's routes included, can forget it:

1. Host names one of our addresses, exactly. A name that somebody pointed at this machine (DNS
   rebinding) is not among them: 421.
2. Origin, where a browser sends one, is ours; Sec-Fetch-Site, where it does, says that our own
   page asks or the user (who typed the address). A page from elsewhere gets 403, also for what
   it would only read.
3. GET, HEAD and POST; bodies, POST alone has them, of MAX_WEB_BODY within WEB_SECONDS.
4. Every answer says what a browser may do with it, and none says that others may read it (CORS),
   but for the addresses that the operator has opened to pages of some origin. To these no cookie
   is shown.

Who may do what is judged behind it: `setsync.web.app`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Any

import trio

from setsync.limits import MAX_WEB_BODY, MAX_WEB_HEADERS, WEB_SECONDS

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; frame-ancestors 'none'; form-action 'self'; base-uri 'none'"
)
HEADERS = (
    (b"content-security-policy", POLICY.encode("ascii")),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
_OURS = {b"cache-control", *(name for name, _ in HEADERS)}
_METHODS = ("GET", "HEAD", "POST")
# What a browser says of who asks: our own page; or nobody's, the user has typed the address.
_OWN_PAGE, _USER = "same-origin", "none"


@dataclass(frozen=True, slots=True)
class Refusal(Exception):  # noqa: N818 - it is an answer, not a defect
    """What a request gets instead."""

    status: int
    sentence: str


@dataclass(frozen=True, slots=True)
class Gate:
    """`hosts` as in the Host header, `origins` as in Origin; both lower case. `shared`: by path,
    the origins besides ours whose pages may ask there."""

    app: App
    hosts: frozenset[str]
    origins: frozenset[str]
    shared: Mapping[str, frozenset[str]] = field(default_factory=dict)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See the head of this file."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] != "http":
            return
        visitor = self._visitor(scope)
        send = _with_headers(send, visitor)
        try:
            self._judge(scope, visitor)
            if visitor is not None and scope["method"] == "OPTIONS":
                await _allow(send)
                return
            receive = await _with_body(scope, receive)
        except Refusal as refusal:
            await _refuse(refusal, send)
            return
        await self.app(scope, receive, send)

    def _visitor(self, scope: Scope) -> str | None:
        """The origin of a page that may ask here though it is not ours."""
        origins = self.shared.get(scope["path"])
        if not origins:
            return None
        found = [value for name, value in scope["headers"] if name.lower() == b"origin"]
        origin = found[0].decode("latin-1").lower() if len(found) == 1 else None
        return origin if origin in origins else None

    def _judge(self, scope: Scope, visitor: str | None) -> None:
        """Raises Refusal."""
        headers = scope["headers"]
        if sum(len(name) + len(value) + 4 for name, value in headers) > MAX_WEB_HEADERS:
            raise Refusal(431, f"Headers have at most {MAX_WEB_HEADERS} bytes.")
        if _one(headers, b"host") not in self.hosts:
            raise Refusal(421, "This node has no page under that name.")
        method = scope["method"]
        if visitor is not None and method in ("OPTIONS", "POST"):
            scope["headers"] = [pair for pair in headers if pair[0].lower() != b"cookie"]
            return
        if method not in _METHODS:
            raise Refusal(405, "This page knows GET, HEAD and POST.")
        self._judge_asker(headers, method == "POST")

    def _judge_asker(self, headers: list[tuple[bytes, bytes]], changes: bool) -> None:
        site = _one(headers, b"sec-fetch-site")
        if site is not None and site != _OWN_PAGE and (site != _USER or changes):
            raise Refusal(403, "Another page asked for this.")
        origin = _one(headers, b"origin")
        # A form of ours has the origin "null", since it is sent without a referrer; no page can
        # make a browser say of somebody else's that it is ours.
        is_own_form = origin == "null" and site == _OWN_PAGE
        if origin is not None and origin not in self.origins and not is_own_form:
            raise Refusal(403, "A page of another origin asked for this.")


def _one(headers: list[tuple[bytes, bytes]], name: bytes) -> str | None:
    """The one value of a header, lower case; None where there is none. Raises Refusal."""
    values = [value for found, value in headers if found.lower() == name]
    if len(values) > 1:
        raise Refusal(400, f"There is more than one {name.decode('ascii')}.")
    return values[0].decode("latin-1").lower() if values else None


async def _with_body(scope: Scope, receive: Receive) -> Receive:
    """A `receive` that has the whole body already. Raises Refusal."""
    headers = scope["headers"]
    length = _one(headers, b"content-length")
    if scope["method"] != "POST":
        if (length or "0") != "0" or _one(headers, b"transfer-encoding") is not None:
            raise Refusal(400, "Only POST has a body here.")
        return receive
    if length is not None and (not length.isdigit() or int(length[:12]) > MAX_WEB_BODY):
        raise Refusal(413, f"A body has at most {MAX_WEB_BODY} bytes.")
    body = bytearray()
    with trio.move_on_after(WEB_SECONDS) as scope_of_time:
        while True:
            message = await receive()
            if message["type"] != "http.request":
                break
            body += message.get("body", b"")
            if len(body) > MAX_WEB_BODY:
                raise Refusal(413, f"A body has at most {MAX_WEB_BODY} bytes.")
            if not message.get("more_body", False):
                break
    if scope_of_time.cancelled_caught:
        raise Refusal(408, f"The body was not there after {WEB_SECONDS:g} seconds.")
    waiting: list[Message] = [{"type": "http.request", "body": bytes(body), "more_body": False}]

    async def replay() -> Message:
        return waiting.pop() if waiting else await receive()

    return replay


async def _allow(send: Send) -> None:
    """The answer to a browser that asks before it lets a page of another origin ask."""
    allowed = (
        (b"access-control-allow-methods", b"POST"),
        (b"access-control-allow-headers", b"content-type, authorization"),
        (b"access-control-max-age", b"600"),
    )
    await send({"type": "http.response.start", "status": 204, "headers": list(allowed)})
    await send({"type": "http.response.body", "body": b""})


def _with_headers(send: Send, visitor: str | None = None) -> Send:
    """`visitor`: the origin whose page may read the answer."""

    async def told(message: Message) -> None:
        if message["type"] == "http.response.start":
            found = [(name.lower(), value) for name, value in message.get("headers", [])]
            kept = [pair for pair in found if pair[0] not in _OURS]
            caching = [pair for pair in found if pair[0] == b"cache-control"]
            caching = caching or [(b"cache-control", b"no-store")]
            shown = []
            if visitor is not None:
                shown = [(b"access-control-allow-origin", visitor.encode("latin-1"))]
                shown.append((b"vary", b"origin"))
            message = {**message, "headers": [*kept, *caching, *shown, *HEADERS]}
        await send(message)

    return told


async def _refuse(refusal: Refusal, send: Send) -> None:
    # The rest of a body that nobody read is still on the line.
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"connection", b"close")]
    body = (refusal.sentence + "\n").encode("utf-8")
    headers.append((b"content-length", str(len(body)).encode("ascii")))
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
