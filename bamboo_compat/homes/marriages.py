"""Which marriages the statements that are here make. A pure function of them.

An author's hello and the welcome of the server that it names are a marriage; it is open until the
author says goodbye to that hello. Two hellos to one server are one home.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bamboo_compat.statements.format import Statement
from bamboo_compat.statements.index import INDEX
from bamboo_compat.statements.kinds import Goodbye, Hello, Topic, Welcome
from bamboo_compat.statements.reading import Reader
from setsync.store.contract import Snapshot


@dataclass(frozen=True, slots=True)
class Marriage:
    """What an author (`hello.author`) and a server said to each other. Without `welcome` the
    server has not answered, or its answer is not here."""

    hello: Statement
    welcome: Statement | None = None
    goodbye: Statement | None = None

    @property
    def author(self) -> bytes:
        """Whose home it is, 32 bytes."""
        return self.hello.author

    @property
    def server(self) -> bytes:
        """The node id of the home, 32 bytes."""
        assert isinstance(self.hello.said, Hello)
        return self.hello.said.server

    @property
    def url(self) -> str:
        """Where the author said that it is; may be empty."""
        assert isinstance(self.hello.said, Hello)
        return self.hello.said.url

    @property
    def is_open(self) -> bool:
        """Whether both said yes, and nobody left."""
        return self.welcome is not None and self.goodbye is None

    @property
    def place(self) -> str:
        """For people: the URL and the key."""
        return f"{self.url or 'an unknown address'} (node {self.server.hex()})"


def statements_in(snapshot: Snapshot) -> Reader:
    """The index of statements, which was opened before (`open_statements`)."""
    return Reader(snapshot.index_tables(INDEX))


def marriages(reader: Reader, author: bytes) -> list[Marriage]:
    """All of an author's, the oldest first; also the hellos that nobody answered."""
    said = reader.chain(author, Topic.HOMES).statements
    left = {one.said.hello: one for one in said if isinstance(one.said, Goodbye)}
    return [
        Marriage(one, _welcome(reader, one, one.said), left.get(one.id))
        for one in said
        if isinstance(one.said, Hello)
    ]


def _welcome(reader: Reader, hello: Statement, said: Hello) -> Statement | None:
    """The server's answer; nobody else's counts."""
    for one in reader.about(hello.id, said.server):
        answer = one.said
        if isinstance(answer, Welcome) and (answer.client, answer.hello) == (
            hello.author,
            hello.id,
        ):
            return one
    return None


def open_homes(found: Sequence[Marriage]) -> list[Marriage]:
    """The open marriages, the newest of each server; more than one is one too many."""
    newest = {one.server: one for one in found if one.is_open}
    return sorted(newest.values(), key=lambda one: one.hello.rank)


def clients_of(reader: Reader, server: bytes) -> Iterator[bytes]:
    """Every author who ever said that this server is its home, each once."""
    seen: set[bytes] = set()
    for one in reader.about(server):
        if isinstance(one.said, Hello) and one.author not in seen:
            seen.add(one.author)
            yield one.author
