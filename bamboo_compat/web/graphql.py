"""The page's guest at /graphql: clients of Bamboo servers publish through this node.

One question is one thread from begin to end: it reads in short snapshots, and what it publishes is
on the disk before it is answered. Who may ask is decided here, since these clients are programs
and not the operator: see `_Door`.
"""

from __future__ import annotations

import json
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import trio

from bamboo_compat.homes.receipts import make_receipt
from bamboo_compat.server import limits
from bamboo_compat.server.errors import TooManyError
from bamboo_compat.server.guards import AtHome, Rules
from bamboo_compat.server.publishing import NextArgs, Published, Publisher
from bamboo_compat.server.schema import Context, Question, answer, told
from bamboo_compat.web.graphql_access import Asker, LoginNeededError, Mode, may_ask
from bamboo_compat.web.graphql_options import GRAPHQL_OPTIONS, Settings
from setsync.errors import LocalError
from setsync.model.entry import Entry, UnverifiedEntry
from setsync.node.tries import Tries
from setsync.store.contract import Origin
from setsync.web.guests import Door, Page, Route, Web

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from setsync.store.contract import StoredEntry
    from setsync.web.guests import Measure

PATH = "/graphql"
PLAYGROUND = "/graphql/playground"
_PAGE = Path(__file__).parents[1] / "server" / "page"
_JSON = "application/json"
_ANSWER = "application/json; charset=utf-8"


class GraphQL:
    """See `setsync.web.guests.Guest`."""

    name = "graphql"
    figures = ()

    def pages(self) -> Sequence[Page]:
        """The playground, unless nobody may ask anything."""
        return () if GRAPHQL_OPTIONS.settings.mode is Mode.OFF else (Page("GraphQL", PLAYGROUND),)

    def folder(self) -> Path | None:
        """The playground's."""
        return _PAGE

    def routes(self, web: Web) -> Sequence[Route]:
        """One address for clients, one for people."""
        settings = GRAPHQL_OPTIONS.settings
        if settings.mode is Mode.OFF:
            return ()
        desk, origins = _Desk(web, settings), settings.origins
        return (
            Route(PATH, desk.ask, methods=("POST",), door=Door.OPEN, origins=origins),
            Route(PATH, _to_the_playground, door=Door.OPEN),
            Route(PLAYGROUND, partial(_playground, web)),
        )

    def describe(self, entry: StoredEntry) -> Sequence[tuple[str, str]]:
        """Nothing: others tell of Bamboo's entries."""
        return ()

    async def measures(self, web: Web) -> Sequence[Measure]:
        """None so far."""
        return ()

    async def run(self, web: Web) -> None:
        """Nothing runs beside it."""


GRAPHQL = GraphQL()


async def _to_the_playground(request: Request) -> Response:
    """Somebody typed the address that clients use."""
    from starlette.responses import RedirectResponse

    return RedirectResponse(PLAYGROUND, 303)


async def _playground(web: Web, request: Request) -> Response:
    return await web.render(request, "graphql/playground.html")


# --- questions ----------------------------------------------------------------------------


class _Desk:
    """Answers one node's questions, a few at a time."""

    def __init__(self, web: Web, settings: Settings) -> None:
        self._web = web
        self._settings = settings
        self._tries = Tries()
        # Threads of its own: they wait for the node's writer, which needs one of the others.
        self._threads = trio.CapacityLimiter(limits.MAX_AT_WORK)
        self._waiting = 0
        local = web.local
        rules = Rules(local.wants, local.policy, local.max_payload, web.directory.path)
        node = web.dialler.secret.public
        self._publisher = Publisher(
            local.store,
            web.directory.path,
            node,
            self._commit,
            (rules,),
            AtHome(web.directory.path, node),
        )

    async def ask(self, request: Request) -> Response:
        """One question. 200 with `data` or `errors`; else what HTTP itself has a word for."""
        try:
            kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
            if kind != _JSON:
                return _reply({"errors": [_error(f"Questions are sent as {_JSON}.")]}, 415)
            asker = await self._asker(request)
            try:
                question = Question.of(json.loads(await request.body()))
            except (ValueError, RecursionError):
                return _reply({"errors": [_error("The body is not JSON.")]}, 400)
            return _reply(await self._answer(question, asker))
        except LoginNeededError as error:
            headers = {"www-authenticate": 'Bearer realm="setsync"'}
            return _reply({"errors": [told(error)]}, 401, headers)
        except TooManyError as error:
            return _reply({"errors": [told(error)]}, 503, {"retry-after": "1"})
        except LocalError as error:
            return _reply({"errors": [told(error)]}, 400)

    async def _asker(self, request: Request) -> Asker:
        """Raises LoginNeededError."""
        peer = request.client.host if request.client is not None else ""
        look = partial(
            may_ask,
            self._settings.mode,
            is_loopback=self._web.is_loopback and _names_loopback(request),
            is_operator=self._web.is_operator(request),
            authorization=request.headers.get("authorization"),
            directory=self._web.directory.path,
            tries=self._tries,
            address=peer,
            now=self._web.local.clock(),
            ticks=trio.current_time(),
        )
        return await self._web.offload(look)

    async def _answer(self, question: Question, asker: Asker) -> dict[str, Any]:
        """Raises TooManyError."""
        if self._waiting >= limits.MAX_WAITING:
            raise TooManyError(f"{self._waiting} questions wait to be answered.")
        context = Context(_Asked(self._publisher, asker), self._receipt)
        self._waiting += 1
        try:
            found = await trio.to_thread.run_sync(answer, question, context, limiter=self._threads)
        finally:
            self._waiting -= 1
        for defect in context.defects:
            where = traceback.extract_tb(defect.__traceback__)[-1]
            place = f"{Path(where.filename).name}:{where.lineno}"
            self._web.warn("graphql_defect", kind=type(defect).__name__, where=place)
        return found

    def _receipt(self, published: Published) -> str | None:
        """The node's signature that it has the entry."""
        header = published.publication.member.header
        return make_receipt(self._web.dialler.secret, header).pack().hex()

    def _commit(self, entry: Entry) -> None:
        """In a thread: wait until the node's writer has it on the disk."""
        trio.from_thread.run(self._submit, entry)

    async def _submit(self, entry: Entry) -> None:
        """Raises InvalidEntryError, StoreError."""
        local = self._web.local
        unverified = UnverifiedEntry(entry.collection, entry.header, entry.payload)
        ticket = await local.writer.submit([unverified], Origin(local.clock()))
        await ticket.wait()


@dataclass(frozen=True)
class _Asked:
    """The publisher, as far as who asks may use it."""

    publisher: Publisher
    asker: Asker

    def next_args(self, author: bytes, view: tuple[bytes, ...]) -> NextArgs:
        self.asker.check(author)
        return self.publisher.next_args(author, view)

    def publish(self, header: bytes, payload: bytes) -> Published:
        return self.publisher.publish(header, payload, self.asker.check)


def _names_loopback(request: Request) -> bool:
    """Whether it was sent to an address of this machine and not, through a proxy, to a name."""
    return request.url.hostname in ("127.0.0.1", "localhost", "::1")


def _error(sentence: str) -> dict[str, Any]:
    return {"message": sentence, "extensions": {"code": "bad_request"}}


def _reply(found: object, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    from starlette.responses import Response

    # What the client wrote may be half a character, which ASCII can spell and UTF-8 cannot.
    body = json.dumps(found, separators=(",", ":")).encode("ascii")
    return Response(body, status, headers, _ANSWER)
