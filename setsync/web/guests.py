"""What other packages bring to the page: their own pages, actions, JSON and figures.

A guest is an object that another package names in the entry point group `setsync.web`. It says
which items stand in the navigation, brings templates and files, and makes routes around the
`Web` it is given. Guests are looked for when `serve --web` starts, and by nothing else; what one
raises while it is loaded is told, and leaves the rest alone.

A guest whose entry point is `forks = "package.web.forks:FORKS"`:

    FORKS_OPEN = Figure("setsync_forks_open", "Forks that need a decision.")

    class Forks:
        name = "forks"
        figures = (FORKS_OPEN,)
        def pages(self): return (Page("Forks", "/forks"),)
        def folder(self): return Path(__file__).parent      # templates/, static/
        def routes(self, web): return (
            Route("/forks", partial(show, web)),
            Route("/forks/decide", partial(decide, web), methods=("POST",)),
            Route("/api/forks", partial(as_json, web)),
        )
        async def measures(self, web): return (Measure(FORKS_OPEN, 3),)
        def describe(self, entry): return ()
        async def run(self, web): ...

    async def show(web, request):
        found = await web.read(all_forks, 100)       # all_forks(snapshot, 100), off the loop
        return await web.render(request, "forks/list.html", forks=found)

Its templates are found as `NAME/file.html` for the file `templates/file.html` in its folder, and
begin with `{% extends "page.html" %}`; its static files as `/static/NAME/file`. Templates escape
all that is put into them. The Content-Security-Policy allows neither inline scripts nor inline
styles nor `style=` attributes.
"""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Protocol, TypeVar

from setsync.errors import SetsyncError
from setsync.node.local import Local
from setsync.store.contract import EntryStore, Snapshot, StoredEntry

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from setsync.node.config import DataDirectory
    from setsync.node.dialling import Dialler
    from setsync.node.states import States
    from setsync.web.events import Events

ENTRY_POINT_GROUP = "setsync.web"

P = ParamSpec("P")
T = TypeVar("T")


class Door(enum.Enum):
    """Who may use a route. On all of them the Host has to be one of ours, and a browser has to
    say that it was our own page (or the user) that asked: see `setsync.web.gate`."""

    OPERATOR = "operator"
    """Who has logged in, or shows the operator's token. What changes something comes by POST
    and, from who has logged in, with the CSRF token of the page."""
    OPEN = "open"
    """Everybody who reaches the address. The route has a rule of its own, `Web.is_operator`
    helps it; nothing may happen on the strength of a cookie alone."""


Endpoint = Callable[["Request"], Awaitable["Response"]]


@dataclass(frozen=True, slots=True)
class Route:
    """One address. `path` as Starlette writes it (`/forks/{id}`); `methods` are GET (which brings
    HEAD) and POST. Bodies of more than MAX_WEB_BODY bytes never get here. A SetsyncError that
    the endpoint raises is told as a page, or under /api/ as JSON. Pages of `origins` (as a browser
    writes them) may ask as well, by a path without parts in braces and without cookies (CORS)."""

    path: str
    endpoint: Endpoint
    methods: tuple[str, ...] = ("GET",)
    door: Door = Door.OPERATOR
    origins: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Page:
    """An item of the navigation. `badge`: how many things wait there for the operator; asked
    whenever a page is made, so it has to be quick; none at 0."""

    title: str
    path: str
    badge: Callable[[], Awaitable[int]] | None = None


class Kind(enum.StrEnum):
    """What Prometheus calls the kinds of figures."""

    GAUGE = "gauge"
    COUNTER = "counter"
    HISTOGRAM = "histogram"
    INFO = "info"


@dataclass(frozen=True, slots=True)
class Figure:
    """What a figure of /metrics tells. Names are by Prometheus' conventions: that of a counter ends
    in `_total`. `labels`: what each may say, or nothing where that is not known beforehand."""

    name: str
    help: str
    kind: Kind = Kind.GAUGE
    labels: Mapping[str, Sequence[str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Measure:
    """A gauge or a counter, now. One figure may come several times with other `labels`."""

    figure: Figure
    value: float
    labels: Mapping[str, str] = field(default_factory=dict)


class Guest(Protocol):
    """What an entry point names: an object, or a function without arguments that makes one."""

    @property
    def name(self) -> str:
        """Lower case letters; its templates and static files are found under it."""

    @property
    def figures(self) -> Sequence[Figure]:
        """All that it ever measures, for the documentation."""

    def pages(self) -> Sequence[Page]:
        """Its items in the navigation, if any."""

    def folder(self) -> Path | None:
        """Where its `templates` and `static` are."""

    def routes(self, web: Web) -> Sequence[Route]:
        """Its addresses. Asked once, when the node has started."""

    def describe(self, entry: StoredEntry) -> Sequence[tuple[str, str]]:
        """What the header of an entry says besides what every header says, as (what, value);
        nothing for entries of other formats. Runs off the event loop."""

    async def measures(self, web: Web) -> Sequence[Measure]:
        """Its figures, as they are. They are among `figures`."""

    async def run(self, web: Web) -> None:
        """Work beside the page until cancelled, or nothing. What it raises ends serve."""


class Web(Protocol):
    """What the page gives its guests."""

    local: Local
    directory: DataDirectory
    states: States
    dialler: Dialler
    events: Events

    @property
    def address(self) -> str:
        """Where the page is, as a browser writes it: http://127.0.0.1:2020"""

    @property
    def is_loopback(self) -> bool:
        """Whether nobody but this machine reaches it."""

    async def read(
        self, work: Callable[Concatenate[Snapshot, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """`work(snapshot, ...)` in a thread, with one moment of the store. It has to be short,
        and what it returns must not hold the snapshot."""

    async def offload(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """`work(...)` in a thread: for whatever waits for the disk."""

    async def render(
        self, request: Request, template: str, status: int = 200, **values: Any
    ) -> Response:
        """A template as a page. It also knows `csrf`, `pages`, `path` and `web`."""

    def json(self, value: object, status: int = 200) -> Response:
        """A value as JSON."""

    def is_operator(self, request: Request) -> bool:
        """Whether the request shows the operator's token, or comes from who has logged in and,
        if it is a POST, from a page of ours (by its CSRF token)."""

    async def form(self, request: Request) -> Mapping[str, str]:
        """The fields of a form that was sent (application/x-www-form-urlencoded), each once; of a
        JSON object its members that are strings, numbers or booleans. Raises UsageError."""

    def start_soon(self, work: Callable[[], Awaitable[None]], what: str) -> bool:
        """Run something beside the page, once: False if `what` (a name) runs already, or too
        much does. A SetsyncError of it is told in the log."""

    def tell(self, event: str, **fields: object) -> None:
        """An event for the log of serve. Never a secret, never a payload."""

    def warn(self, event: str, **fields: object) -> None:
        """As `tell`, for what went wrong."""


def load_guests(on_failure: Callable[[str, str], None]) -> list[Guest]:
    """All that can be loaded, by their names; `on_failure(name, reason)` hears of the others."""
    from importlib.metadata import entry_points

    found: list[Guest] = []
    for point in sorted(entry_points(group=ENTRY_POINT_GROUP), key=lambda one: one.name):
        try:
            loaded = point.load()
            found.append(loaded() if isinstance(loaded, type) else loaded)
        except Exception as error:  # the page itself needs none of them
            on_failure(point.name, f"{type(error).__name__}: {error}")
    return found


__all__ = [
    "ENTRY_POINT_GROUP",
    "Door",
    "Endpoint",
    "EntryStore",
    "Figure",
    "Guest",
    "Kind",
    "Measure",
    "Page",
    "Route",
    "SetsyncError",
    "Web",
    "load_guests",
]
