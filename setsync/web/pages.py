"""Overview and peers, the stream of events, and the same as JSON."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

import trio
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from setsync import __version__
from setsync.errors import NoSuchPeerError, SetsyncError, UsageError
from setsync.limits import (
    MAX_WEB_LISTENERS,
    MAX_WEB_ROWS,
    WEB_ALIVE_SECONDS,
    WEB_EVENT_SECONDS,
)
from setsync.node.client import Options
from setsync.node.dialling import Target
from setsync.node.report import Report
from setsync.web import events, reading
from setsync.web.gate import Receive, Scope, Send
from setsync.web.guests import Route
from setsync.web.peers import PeerRow
from setsync.web.site import Site

_POST = ("POST",)


def routes(site: Site) -> list[Route]:
    """Their addresses."""
    return [
        Route("/", partial(_overview, site)),
        Route("/api/overview", partial(_overview_json, site)),
        Route("/api/history", partial(_history_json, site)),
        Route("/peers", partial(_peers, site)),
        Route("/api/peers", partial(_peers_json, site)),
        Route("/peers/sync", partial(_sync_now, site), _POST),
        Route("/api/peers/sync", partial(_sync_now, site), _POST),
        Route("/events", partial(_events, site)),
    ]


# --- overview -----------------------------------------------------------------------------


async def _overview(site: Site, request: Request) -> Response:
    contents = await site.read(reading.contents, request.query_params.get("after", ""))
    return await site.render(
        request,
        "overview.html",
        contents=contents,
        sync=await site.sync(),
        disk=site.store.bytes_on_disk,
        map_used=site.store.map_used,
        map_size=site.store.map_size,
        moved=site.moved(),
        author=(await site.offload(site.directory.author_key)).public.hex(),
        version=__version__,
    )


async def _overview_json(site: Site, request: Request) -> Response:
    contents = await site.read(reading.contents, request.query_params.get("after", ""))
    sent, received = site.moved()
    return site.json(
        {
            "node_id": site.local.node_id.hex(),
            "version": __version__,
            "at": site.local.clock(),
            "entries": contents.entries,
            "last_arrival": contents.last_arrival,
            "missing_payloads": contents.missing_payloads,
            "bytes_on_disk": site.store.bytes_on_disk,
            "map": {"used": site.store.map_used, "size": site.store.map_size},
            "moved": {"sent": sent, "received": received},
            "sync": (await site.sync()).as_json(),
            "collection_count": contents.collection_count,
            "collections": [one.as_json() for one in contents.collections],
            "next": contents.after,
        }
    )


async def _history_json(site: Site, request: Request) -> Response:
    return site.json({"every": site.history.every, **site.history.as_json()})


# --- peers --------------------------------------------------------------------------------


def _some(found: list[PeerRow], query: Any) -> tuple[list[PeerRow], int | None]:
    """A page of them, and where the next begins. Raises UsageError."""
    text = query.get("after", "0")
    if not (text.isascii() and text.isdigit() and len(text) < 9):
        raise UsageError("That is no place where a list could go on.")
    start = int(text)
    rest = found[start : start + MAX_WEB_ROWS]
    return rest, start + MAX_WEB_ROWS if len(found) > start + MAX_WEB_ROWS else None


async def _peers(site: Site, request: Request) -> Response:
    found = await site.peers()
    some, after = _some(found, request.query_params)
    return await site.render(
        request, "peers.html", peers=some, count=len(found), after=after, sync=await site.sync()
    )


async def _peers_json(site: Site, request: Request) -> Response:
    found = await site.peers()
    some, after = _some(found, request.query_params)
    return site.json(
        {
            "count": len(found),
            "sync": (await site.sync()).as_json(),
            "peers": [row.as_json() for row in some],
            "next": after,
        }
    )


async def _sync_now(site: Site, request: Request) -> Response:
    """Begin a session with a peer. Raises NoSuchPeerError, UsageError."""
    key = (await site.form(request)).get("key", "")
    target = await _target(site, key)
    began = site.start_soon(partial(_sync, site, key, target), f"sync {key}")
    site.events.publish(events.PEERS)
    if request.url.path.startswith("/api/"):
        return site.json({"key": key, "began": began}, 202 if began else 409)
    if "hx-request" in request.headers:
        return await _peers(site, request)
    return RedirectResponse("/peers", 303)


async def _target(site: Site, key: str) -> Target:
    keeper = site.states.keepers.get(key)
    if keeper is not None:
        return keeper.target
    book = await site.offload(site.directory.peers.read)
    known = next((peer for one, peer in book.peers.items() if one.hex() == key), None)
    if known is None:
        raise NoSuchPeerError(f"There is no peer {key[:64]!r} here.")
    if known.address is None:
        raise UsageError("Where that peer is, is not known here: 'setsync peers add' its address.")
    return Target(known.address)


async def _sync(site: Site, key: str, target: Target) -> None:
    """One session, its outcome noted."""
    report, reason = Report(), ""
    try:
        await site.dialler.session(target, site.local, Options(site.local.interests), report=report)
        if not report.in_sync:
            reason = "The session ended and the sets are not equal."
    except SetsyncError as error:
        reason = error.message
        raise
    finally:
        if report.in_sync or reason:
            site.dialled(key, report, reason)


# --- events -------------------------------------------------------------------------------


async def _events(site: Site, request: Request) -> Response:
    if len(site.events) >= MAX_WEB_LISTENERS:
        return site.json({"error": {"code": "busy", "message": "Too many pages are open."}}, 503)
    return _Stream(site.events)


class _Stream(Response):
    """Server-sent events: `changed` with the topics, each time something has."""

    media_type = "text/event-stream"

    def __init__(self, source: events.Events) -> None:
        self._source = source
        super().__init__()
        del self.headers["content-length"]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Until the browser goes away, or the node."""
        start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        with self._source.listening() as listener:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_until_gone, receive, nursery.cancel_scope)
                await send(start)
                await _say(send, "retry: 2000\nevent: hello\ndata: {}\n\n")
                while True:
                    await _say(send, await _next(listener))
                    await trio.sleep(WEB_EVENT_SECONDS)


async def _next(listener: events.Listener) -> str:
    with trio.move_on_after(WEB_ALIVE_SECONDS):
        topics = await listener.next()
        return f"event: changed\ndata: {json.dumps(topics)}\n\n"
    return ": still here\n\n"


async def _say(send: Send, text: str) -> None:
    await send({"type": "http.response.body", "body": text.encode("ascii"), "more_body": True})


async def _until_gone(receive: Receive, scope: trio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()
