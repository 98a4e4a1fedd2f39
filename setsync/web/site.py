"""The page of one node: what all its routes share, and what runs beside them."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar
from urllib.parse import parse_qsl

import trio
from starlette.requests import Request
from starlette.responses import Response

from setsync.errors import SetsyncError, UsageError
from setsync.limits import MAX_WEB_FIELDS, MAX_WEB_JOBS
from setsync.node.config import DataDirectory
from setsync.node.dialling import Dialler
from setsync.node.live import PeerState
from setsync.node.local import Local
from setsync.node.report import Report
from setsync.node.server import Served
from setsync.node.states import States
from setsync.store.contract import Snapshot
from setsync.store.lmdb_store import Store
from setsync.web import events
from setsync.web.guests import Guest, Page
from setsync.web.history import History, Sample
from setsync.web.logins import Login, Logins
from setsync.web.peers import PeerRow, Sync, rows, sync_of
from setsync.web.place import Place
from setsync.web.tally import Tally, of_report, of_served
from setsync.web.templates import Templates
from setsync.web.token import Codes, Token

P = ParamSpec("P")
T = TypeVar("T")

OWN_PAGES = (Page("Overview", "/"), Page("Peers", "/peers"), Page("Entries", "/entries"))


@dataclass(frozen=True, slots=True)
class Who:
    """Who sends a request: somebody with the token, or a browser that has logged in; `is_ours`
    says that the request changes nothing, or that it comes from a page of ours."""

    has_token: bool = False
    login: Login | None = None
    is_ours: bool = False

    @property
    def may_act(self) -> bool:
        """Whether it is the operator who wants this."""
        return self.has_token or (self.login is not None and self.is_ours)


class Site:
    """See `setsync.web.guests.Web`, which this is to the guests."""

    def __init__(
        self,
        store: Store,
        local: Local,
        directory: DataDirectory,
        states: States,
        dialler: Dialler,
        tally: Tally,
        place: Place,
        token: Token,
        guests: Sequence[Guest] = (),
        tell: Callable[..., None] = lambda event, **fields: None,
        warn: Callable[..., None] = lambda event, **fields: None,
    ) -> None:
        self.store, self.local, self.directory = store, local, directory
        self.states, self.dialler, self.tally, self.place = states, dialler, tally, place
        self.tell, self.warn = tell, warn
        self.events = events.Events()
        self.history = History()
        self.token, self.logins = token, Logins()
        self.codes = Codes(token, local.clock())
        self.guests = guests
        self.templates = Templates(guests)
        self.is_ready = False
        self._jobs: set[str] = set()
        self._nursery: trio.Nursery | None = None
        self._told: list[tuple[object, ...]] = []

    # --- for guests: see setsync.web.guests.Web ----------------------------------------------

    @property
    def address(self) -> str:
        """http://127.0.0.1:2020"""
        return self.place.url

    @property
    def is_loopback(self) -> bool:
        """Whether nobody but this machine reaches the page."""
        return self.place.is_loopback

    async def read(
        self, work: Callable[Concatenate[Snapshot, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """`work(snapshot, ...)` off the event loop."""

        def look() -> T:
            with self.local.store.snapshot() as snapshot:
                return work(snapshot, *args, **kwargs)

        return await self.local.offload(look)

    async def offload(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """`work(...)` off the event loop."""
        return await self.local.offload(partial(work, *args, **kwargs))

    async def render(
        self, request: Request, template: str, status: int = 200, **values: Any
    ) -> Response:
        """A template as a page."""
        who = who_of(request)
        nav = (
            [(page, await page.badge() if page.badge is not None else 0) for page in self.pages()]
            if who.login or who.has_token
            else []
        )
        html = self.templates.render(
            template,
            csrf=who.login.csrf if who.login is not None else "",
            pages=nav,
            path=request.url.path,
            web=self,
            **values,
        )
        # Payloads and names may have half a character, which UTF-8 cannot spell.
        return Response(html.encode("utf-8", "replace"), status, media_type="text/html")

    def json(self, value: object, status: int = 200) -> Response:
        """A value as JSON, in ASCII: that can spell half a character."""
        body = json.dumps(value, allow_nan=False, separators=(",", ":")).encode("ascii")
        return Response(body, status, media_type="application/json")

    def is_operator(self, request: Request) -> bool:
        """Whether it is the operator who wants this."""
        return who_of(request).may_act

    async def form(self, request: Request) -> Mapping[str, str]:
        """Fields of a form or members of a JSON object. Raises UsageError."""
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        body = await request.body()
        try:
            if kind == "application/json":
                return _members(json.loads(body))
            if kind == "application/x-www-form-urlencoded":
                pairs = parse_qsl(
                    body.decode("utf-8"), keep_blank_values=True, max_num_fields=MAX_WEB_FIELDS
                )
                found = dict(pairs)
                if len(found) < len(pairs):
                    raise ValueError("a field is there twice")
                return found
        except (ValueError, RecursionError) as error:
            raise UsageError(f"The form cannot be read: {error}.") from error
        if body:
            raise UsageError("A form is sent as application/x-www-form-urlencoded, or as JSON.")
        return {}

    def start_soon(self, work: Callable[[], Awaitable[None]], what: str) -> bool:
        """Run something beside the page, once."""
        if self._nursery is None or what in self._jobs or len(self._jobs) >= MAX_WEB_JOBS:
            return False
        self._jobs.add(what)
        self._nursery.start_soon(self._job, work, what)
        return True

    async def _job(self, work: Callable[[], Awaitable[None]], what: str) -> None:
        try:
            await work()
        except SetsyncError as error:
            self.warn("web_job_failed", job=what, reason=error.message)
        finally:
            self._jobs.discard(what)
            self.events.publish(events.PEERS)

    def is_running(self, what: str) -> bool:
        """Whether something that was started runs still."""
        return what in self._jobs

    # --- what it knows ------------------------------------------------------------------------

    def pages(self) -> list[Page]:
        """The navigation."""
        return [*OWN_PAGES, *(page for guest in self.guests for page in guest.pages())]

    async def peers(self) -> list[PeerRow]:
        """Everybody whom we know or have heard of. Raises PeersFileError."""
        book = await self.local.offload(self.directory.peers.read)
        keepers = self.states.keepers
        states: dict[str, PeerState] = dict(self.states.peers)
        states |= {key: keeper.now() for key, keeper in keepers.items()}
        last = {
            key: (
                [of_report(keepers[key].report, 0)]
                if key in keepers and keepers[key].is_busy
                else []
            )
            + list(self.tally.last.get(key, ()))
            for key in keepers.keys() | self.tally.last.keys()
        }
        kept_up = {key: keeper.target.address.place for key, keeper in keepers.items()}
        syncing = frozenset(
            key for key in states.keys() | last.keys() if self.is_running(f"sync {key}")
        )
        syncing |= {key.hex() for key in book.peers if self.is_running(f"sync {key.hex()}")}
        return rows(book, states, last, kept_up, syncing)

    async def sync(self) -> Sync:
        """With how many of them we have the same."""
        return sync_of(await self.peers(), self.local.clock())

    def moved(self) -> tuple[int, int]:
        """Bytes that sessions have sent and received so far, those under way included as far as
        we opened them."""
        sent, received = self.tally.total("sent"), self.tally.total("received")
        for keeper in self.states.keepers.values():
            sent += keeper.report.counters.total_sent()
            received += keeper.report.counters.total_received()
        return sent, received

    # --- what it is told by the node ----------------------------------------------------------

    def served(self, served: Served) -> None:
        """A session that another node opened is over."""
        self.tally.note(served.peer, of_served(served, self.local.clock()), served.counters)
        self.events.publish(events.PEERS)

    def dialled(self, key: str, report: Report, reason: str) -> None:
        """A session that we opened is over; `reason` why it failed, if it did."""
        self.tally.note(key, of_report(report, self.local.clock(), reason), report.counters)
        self.events.publish(events.PEERS)

    # --- what runs beside ---------------------------------------------------------------------

    async def run(self) -> None:
        """Watch, sample, and let the guests work, until cancelled."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            nursery.start_soon(self._watch_news)
            nursery.start_soon(self._sample)
            for guest in self.guests:
                nursery.start_soon(guest.run, self)

    async def _watch_news(self) -> None:
        while True:
            heard = self.local.writer.news.next()
            await heard.wait()
            self.events.publish(events.ENTRIES)

    async def _sample(self) -> None:
        while True:
            entries, disk = await self.local.offload(self._look)
            sent, received = self.moved()
            self.history.note(Sample(self.local.clock(), entries, disk, sent, received))
            self.events.publish(events.SAMPLES)
            await trio.sleep(self.history.every)

    def _look(self) -> tuple[int, int]:
        with self.local.store.snapshot() as snapshot:
            return snapshot.entry_count, self.store.bytes_on_disk


def _members(value: object) -> dict[str, str]:
    """The plain members of an object. Raises ValueError."""
    if not isinstance(value, dict):
        raise ValueError("it is no object")
    if len(value) > MAX_WEB_FIELDS:
        raise ValueError("it has too many members")
    found = {
        name: str(member).lower() if isinstance(member, bool) else str(member)
        for name, member in value.items()
        if isinstance(member, (str, int, float, bool))
    }
    "".join((*found, *found.values())).encode("utf-8")  # raises: half a character is no text
    return found


def who_of(request: Request) -> Who:
    """As `setsync.web.app` found out before the route was called."""
    who: Who = request.scope.get("setsync.who", Who())
    return who


STATIC = Path(__file__).parent / "static"
