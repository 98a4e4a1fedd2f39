"""Entries: found, listed, shown and downloaded."""

from __future__ import annotations

from functools import partial
from typing import Any
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response

from setsync.errors import PayloadDroppedError, PayloadWithheldError
from setsync.store.contract import Snapshot
from setsync.web import reading
from setsync.web.guests import Route
from setsync.web.showing import payload_json, show
from setsync.web.site import Site


def routes(site: Site) -> list[Route]:
    """Their addresses."""
    return [
        Route("/entries", partial(_entries, site)),
        Route("/api/entries", partial(_entries_json, site)),
        Route("/entries/{id}", partial(_entry, site)),
        Route("/api/entries/{id}", partial(_entry_json, site)),
        Route("/entries/{id}/payload", partial(_payload, site)),
    ]


async def _entries(site: Site, request: Request) -> Response:
    search = reading.Search.parse(dict(request.query_params))
    listing = await site.read(reading.entries, search)
    collections = await site.read(reading.contents)
    following = urlencode(search.going_on(listing.next)) if listing.next is not None else None
    return await site.render(
        request,
        "entries.html",
        search=search,
        listing=listing,
        collections=collections.collections,
        following=following,
    )


async def _entries_json(site: Site, request: Request) -> Response:
    search = reading.Search.parse(dict(request.query_params))
    listing = await site.read(reading.entries, search)
    return site.json(
        {
            "entries": [row.as_json() for row in listing.rows],
            "searched": listing.searched,
            "next": listing.next,
        }
    )


def _whole(snapshot: Snapshot, site: Site, id_: str, collection: str) -> tuple[Any, ...]:
    """An entry, what guests say of it, and its payload as it is shown."""
    whole = reading.one_entry(snapshot, id_, collection)
    more = [pair for guest in site.guests for pair in guest.describe(whole.entry)]
    payload = whole.entry.payload
    return whole, more, show(payload) if payload is not None else None, payload_json(payload)


async def _entry(site: Site, request: Request) -> Response:
    whole, more, shown, _ = await _found(site, request)
    header = reading.header_json(whole)
    return await site.render(
        request, "entry.html", whole=whole, header=header, more=more, shown=shown
    )


async def _entry_json(site: Site, request: Request) -> Response:
    whole, more, _, payload = await _found(site, request)
    said = [{"name": name, "value": value} for name, value in more]
    return site.json({**reading.header_json(whole), "more": said, "payload": payload})


async def _found(site: Site, request: Request) -> tuple[Any, ...]:
    collection = request.query_params.get("collection", "")
    id_ = str(request.path_params["id"]).lower()
    return await site.read(_whole, site, id_, collection)


async def _payload(site: Site, request: Request) -> Response:
    """The bytes, as what no browser runs. Raises PayloadDroppedError, PayloadWithheldError."""
    whole: reading.Whole
    whole, *_ = await _found(site, request)
    id_, payload = whole.entry.id.hex(), whole.entry.payload
    if whole.entry.dropped:
        raise PayloadDroppedError(f"The payload of {id_} was dropped.")
    if payload is None:
        raise PayloadWithheldError(f"The payload of {id_} is not here.")
    return Response(
        payload,
        media_type="text/plain",
        headers={"content-disposition": f'attachment; filename="{id_[:16]}.bin"'},
    )
