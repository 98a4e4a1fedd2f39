"""A page without a socket: the application itself is called, as hypercorn would."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trio
import trio.testing

from setsync.model.entry import Entry, make_entry
from setsync.node.config import DataDirectory
from setsync.node.dialling import Dialler
from setsync.node.local import Local, inline
from setsync.node.node import open_local
from setsync.node.states import States
from setsync.store.contract import Origin
from setsync.store.lmdb_store import Store
from setsync.web.app import make_app, routes_of
from setsync.web.gate import Gate
from setsync.web.guests import Guest, Route
from setsync.web.place import Place
from setsync.web.site import Site
from setsync.web.tally import Tally
from setsync.web.token import Token, ensure_token
from tests.helpers import MIDNIGHT, keys

HOST = "127.0.0.1:2020"
ORIGIN = f"http://{HOST}"


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode("utf-8")

    def json(self) -> Any:
        return json.loads(self.body)

    def header(self, name: str) -> str:
        """The one value of a header."""
        values = [value for found, value in self.headers if found == name]
        assert len(values) == 1, (name, values)
        return values[0]

    @property
    def cookie(self) -> str:
        """What a browser would send from now on."""
        return self.header("set-cookie").partition(";")[0]

    @property
    def csrf(self) -> str:
        """The token in a page."""
        found = re.search(r'name="csrf" value="([\w-]+)"', self.text)
        assert found, self.text
        return found[1]


async def call(
    app: Gate,
    path: str,
    method: str = "GET",
    headers: Mapping[str, str] | Sequence[tuple[str, str]] = (),
    body: bytes | Iterable[bytes] = b"",
    host: str | None = HOST,
) -> Answer:
    """One request; `body` may come in parts. Without a host there is no Host header."""
    pairs = list(headers.items()) if isinstance(headers, Mapping) else list(headers)
    raw = [(name.lower().encode(), value.encode("latin-1")) for name, value in pairs]
    if host is not None:
        raw.insert(0, (b"host", host.encode()))
    place, _, query = path.partition("?")
    scope: dict[str, Any] = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.1"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": place,
        "raw_path": place.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": raw,
        "client": ("127.0.0.1", 5),
        "server": ("127.0.0.1", 2020),
        "state": {},
        "extensions": {},
    }
    parts = [body] if isinstance(body, bytes) else list(body)
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        if parts:
            part = parts.pop(0)
            return {"type": "http.request", "body": part, "more_body": bool(parts)}
        await trio.sleep_forever()
        raise AssertionError

    async def send(message: Any) -> None:
        sent.append(message)

    await app(scope, receive, send)
    start = sent[0]
    found = [(name.decode(), value.decode("latin-1")) for name, value in start["headers"]]
    whole = b"".join(message.get("body", b"") for message in sent[1:])
    return Answer(start["status"], found, whole)


# --- a node and its page ------------------------------------------------------------------


@dataclass
class Node:
    """A directory, its store, and what goes into it."""

    directory: DataDirectory
    store: Store
    clock: int = MIDNIGHT

    def put(self, collection: str, *payloads: bytes) -> list[Entry]:
        """Entries by somebody at this machine."""
        (author,) = keys(1, seed=7)
        made = [
            make_entry(author, collection, payload, MIDNIGHT + at)
            for at, payload in enumerate(payloads)
        ]
        self.store.add_many(made, [(0, Origin(MIDNIGHT))])
        return made

    @property
    def token(self) -> Token:
        return ensure_token(self.directory.web_token_path)


@contextlib.contextmanager
def make_node(path: Path) -> Iterator[Node]:
    """A node of its own, its store open meanwhile."""
    directory = DataDirectory.init(path, *keys(2, seed=3))
    with Store.open(directory.store_path, create=False) as store:
        yield Node(directory, store)


@dataclass
class Page:
    """A page, and whoever looks at it."""

    node: Node
    site: Site
    app: Gate
    told: list[tuple[str, dict[str, object]]] = field(default_factory=list)

    @property
    def routes(self) -> list[Route]:
        return routes_of(self.site)

    @property
    def bearer(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.node.token.text}"}

    async def get(self, path: str, **headers: str) -> Answer:
        """As a program with the token."""
        return await call(self.app, path, headers={**self.bearer, **headers})

    async def log_in(self) -> Browser:
        """As the operator with a link."""
        code = self.node.token.code(self.node.clock, bytes(range(16)))
        answer = await call(self.app, f"/login?code={code}", headers={"sec-fetch-site": "none"})
        assert answer.status == 303
        return Browser(self, answer.cookie)


@dataclass
class Browser:
    """Somebody who has logged in."""

    page: Page
    cookie: str

    async def get(self, path: str) -> Answer:
        headers = {"cookie": self.cookie, "sec-fetch-site": "same-origin"}
        return await call(self.page.app, path, headers=headers)

    async def post(self, path: str, form: bytes, **headers: str) -> Answer:
        """A form of ours, with `csrf=` in it or not."""
        sent = {
            "cookie": self.cookie,
            "sec-fetch-site": "same-origin",
            "origin": ORIGIN,
            "content-type": "application/x-www-form-urlencoded",
            **headers,
        }
        return await call(self.page.app, path, "POST", sent, form)


@contextlib.asynccontextmanager
async def page_of(
    node: Node, guests: Sequence[Guest] = (), place: Place | None = None
) -> AsyncIterator[Page]:
    """The page of a node, everything beside it running meanwhile."""
    secret = node.directory.node_key()
    around = open_local(
        node.store, node_id=secret.public, offload=inline, policy=node.directory.policy.read
    )
    async with around as local:
        local.clock = lambda: node.clock
        told: list[tuple[str, dict[str, object]]] = []
        site = _site(node, local, guests, place or Place.parse(HOST), told)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(site.run)
            await trio.testing.wait_all_tasks_blocked()
            site.is_ready = True
            yield Page(node, site, make_app(site), told)
            nursery.cancel_scope.cancel()


def _site(
    node: Node,
    local: Local,
    guests: Sequence[Guest],
    place: Place,
    told: list[tuple[str, dict[str, object]]],
) -> Site:
    def tell(event: str, **fields: object) -> None:
        told.append((event, fields))

    return Site(
        node.store,
        local,
        node.directory,
        States(node.directory.states_path),
        Dialler(node.directory.node_key(), node.directory.peers, plain=True),
        Tally(),
        place,
        node.token,
        guests,
        tell,
        tell,
    )
