"""`POST /home/join`: a home over HTTP. The bytes are those of `bamboo_compat.homes.messages`.

Everybody who reaches the page may ask: what a question may have is decided by what is signed in it,
and by the invite. A browser cannot ask from another page, since the content type is none that a
form can send.
"""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from bamboo_compat.homes.answering import Context, Refusals, handle_join, tries_at
from bamboo_compat.homes.limits import MAX_MESSAGE
from bamboo_compat.homes.roads import CONTENT_TYPE, PATH
from setsync.web.guests import Door, Measure, Page, Route, Web

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from setsync.store.contract import StoredEntry


class HomesApi:
    """See `setsync.web.guests.Guest`."""

    name = "homesapi"
    figures = ()

    def pages(self) -> tuple[Page, ...]:
        """None: the pages about homes are another guest's."""
        return ()

    def folder(self) -> Path | None:
        """No templates."""
        return None

    def routes(self, web: Web) -> tuple[Route, ...]:
        """One."""
        refusals = Refusals(lambda **fields: web.warn("home_refused", **fields))
        return (Route(PATH, partial(answer, web, refusals), methods=("POST",), door=Door.OPEN),)

    def describe(self, entry: StoredEntry) -> tuple[tuple[str, str], ...]:
        """Nothing."""
        return ()

    async def measures(self, web: Web) -> tuple[Measure, ...]:
        """None."""
        return ()

    async def run(self, web: Web) -> None:
        """Nothing runs beside."""


HOMES_API = HomesApi()


async def answer(web: Web, refusals: Refusals, request: Request) -> Response:
    """One question, one answer; both are bytes."""
    from starlette.responses import Response

    if request.headers.get("content-type") != CONTENT_TYPE:
        return Response(status_code=415)
    question = await request.body()
    if len(question) > MAX_MESSAGE:
        return Response(status_code=413)
    address = request.client.host if request.client is not None else ""
    content = await web.offload(handle_over_http, web, refusals, question, address)
    return Response(content, media_type=CONTENT_TYPE)


def handle_over_http(web: Web, refusals: Refusals, question: bytes, address: str) -> bytes:
    """Waits for the disk. The node that asks has proven no key."""
    context = Context(
        web.directory,
        web.local.store,
        web.directory.node_key(),
        tries_at(web.directory.path),
        web.local.clock(),
        time.monotonic(),
        address,
        refusals=refusals,
    )
    return handle_join(question, context)
