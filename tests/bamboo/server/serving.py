"""A real `setsync serve --web`, and questions to it over HTTP."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bamboo_compat.core import keys
from bamboo_compat.server.publishing import NextArgs
from setsync.store.lmdb_store import Store
from tests.bamboo.logs import seed
from tests.bamboo.server.clients import sign
from tests.node.processes import PATIENCE, Process, make_node

NEXT_ARGS = (
    "query Next($publicKey: String!, $viewId: String) "
    "{ nextArgs(publicKey: $publicKey, viewId: $viewId) { logId seqNum backlink skiplink } }"
)
PUBLISH = (
    "mutation Publish($entry: String!, $operation: String!) "
    "{ publish(entry: $entry, operation: $operation) { logId seqNum backlink skiplink } }"
)


@dataclass(frozen=True)
class Answer:
    """What came back. Header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body."""
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """That of its one error."""
        [error] = self.json["errors"]
        found: str = error["extensions"]["code"]
        return found


@dataclass(frozen=True)
class Served:
    """A node that answers at `url`."""

    url: str
    data: Path
    process: Process
    headers: dict[str, str] = field(default_factory=dict)

    def send(
        self,
        body: object = None,
        headers: Mapping[str, str] | None = None,
        method: str = "POST",
        path: str = "/graphql",
    ) -> Answer:
        """One request on a connection of its own; a `body` that is no bytes goes as JSON."""
        where = urlsplit(self.url)
        connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=PATIENCE)
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        try:
            all_headers = {"content-type": "application/json", **self.headers, **(headers or {})}
            connection.request(method, path, data, all_headers)
            got = connection.getresponse()
            found = {name.lower(): value for name, value in got.getheaders()}
            return Answer(got.status, found, got.read())
        finally:
            connection.close()

    def next_args(
        self, number: int, *view: bytes, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Where the next entry of a test author goes."""
        variables = {"publicKey": keys.public_key(seed(number)).hex()}
        if view:
            variables["viewId"] = "_".join(tagged.hex() for tagged in view)
        return self.send({"query": NEXT_ARGS, "variables": variables}, headers)

    def publish(
        self, header: bytes, payload: bytes, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Publish an entry."""
        variables = {"entry": header.hex(), "operation": payload.hex()}
        return self.send({"query": PUBLISH, "variables": variables}, headers)

    def act(self, number: int, payload: bytes, *view: bytes) -> tuple[bytes, Answer]:
        """Ask, sign, publish, as clients do. The entry, and what was answered."""
        header = sign(number, args_of(self.next_args(number, *view)), payload)
        return header, self.publish(header, payload)


def args_of(answer: Answer, name: str = "nextArgs") -> NextArgs:
    """As a client reads them."""
    found = answer.json["data"][name]
    links = [bytes.fromhex(found[key]) if found[key] else None for key in ("backlink", "skiplink")]
    return NextArgs(int(found["logId"]), int(found["seqNum"]), *links)


@contextmanager
def serving(path: Path, *words: str) -> Iterator[Served]:
    """A node in `path`, made if it is not there, until the block ends."""
    if not path.exists():
        make_node(path)
    ready = path.with_name(f"{path.name}.ready")
    options = ("--listen", "127.0.0.1:0", "--web-ready-file", ready)
    web = () if "--web" in words else ("--web", "127.0.0.1:0")
    with Process("serve", "--data", path, *options, *web, "--log", "json", *words) as process:
        process.wait_for_event("web_listening")
        yield Served(ready.read_text().strip(), path, process)


def entries_in(path: Path) -> list[tuple[bytes, bytes | None]]:
    """Header and payload of all that a node has of Bamboo."""
    with Store.open(path / "store", create=False) as store:
        return [
            (entry.header, entry.payload)
            for entry in store
            if entry.collection.startswith("bamboo/")
        ]
