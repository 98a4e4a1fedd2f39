"""A server and authors, in directories of their own, without a line between them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from bamboo_compat.homes.answering import Context, Refusals, handle_join
from bamboo_compat.homes.book import Homes, homes_file
from bamboo_compat.homes.joining import Me
from bamboo_compat.homes.messages import Answer, Join, Question, encode, read_answer
from bamboo_compat.homes.roads import Found, Script, _taken, play
from bamboo_compat.statements.format import Statement
from bamboo_compat.statements.kinds import Hello
from bamboo_compat.statements.make import make
from setsync.model.entry import Entry
from setsync.model.keys import SecretKey
from setsync.node.config import DataDirectory
from setsync.node.invites import Invite, digest_of
from setsync.node.tries import Tries
from setsync.store.lmdb_store import Store

NOW = 1_800_000_000_000
DAY = 86_400_000
CODE = bytes(range(16))
URL = "setsync://" + "ab" * 32 + "@example.org:7717"


def key_of(number: int) -> SecretKey:
    """The key of test author `number`."""
    return SecretKey(bytes([number]) * 32)


@dataclass
class Server:
    """A home whose clock stands still. `tries` counts guesses."""

    directory: DataDirectory
    store: Store
    key: SecretKey
    now: int = NOW
    tries: Tries = field(default_factory=Tries)
    ticks: float = 0.0
    address: str = ""
    refusals: Refusals = field(default_factory=Refusals)

    def context(self) -> Context:
        """What it answers with now."""
        return Context(
            self.directory,
            self.store,
            self.key,
            self.tries,
            self.now,
            self.ticks,
            self.address,
            refusals=self.refusals,
        )

    def ask(self, question: Question) -> Answer:
        """The answer to a question, through its bytes."""
        return read_answer(handle_join(encode(question), self.context()))

    def invite(self, code: bytes = CODE, uses: int = 1, days: int = 7) -> Invite:
        """An invite with a code that the test knows."""
        new = Invite(digest_of(code), self.now, self.now + days * DAY, uses)
        with homes_file(self.directory.path).changing() as draft:
            draft.value.invites.add(new, self.now)
        return new

    @property
    def homes(self) -> Homes:
        """What its file says."""
        return homes_file(self.directory.path).read()


@contextmanager
def opened(path: Path, node: int = 200) -> Iterator[Server]:
    """A new directory of a node, open."""
    if not path.exists():
        DataDirectory.init(path, key_of(node), key_of(node + 1))
    directory = DataDirectory.open(path)
    with Store.open(directory.store_path) as store:
        yield Server(directory, store, directory.node_key())


class Person(Me):
    """An author with a store in LMDB."""

    store: Store


@contextmanager
def author(path: Path, number: int = 1) -> Iterator[Person]:
    """An author with a directory of its own."""
    if not path.exists():
        DataDirectory.init(path, key_of(number + 100), key_of(number))
    directory = DataDirectory.open(path)
    with Store.open(directory.store_path) as store:
        yield Person(directory, store, key_of(number), lambda: NOW)


@dataclass
class Road:
    """The way to a server in this process. What it says is never a refusal."""

    server: Server
    url: str = URL
    key: bytes | None = None

    def ask(self, question: Question) -> Answer:
        """See `bamboo_compat.homes.roads.Road`."""
        return _taken(self.server.ask(question))

    def talk(self, script: Script[Found]) -> Found:
        """See `bamboo_compat.homes.roads.Road`."""
        return play(self.ask, script)


def hello_of(number: int, server: Server, before: Statement | None = None) -> Entry:
    """An author's hello to a server."""
    return make(key_of(number), Hello(server.key.public, URL), NOW, before)


def join_of(
    number: int,
    server: Server,
    code: bytes = CODE,
    *,
    hello: Entry | None = None,
    minutes: int = 5,
) -> Join:
    """A signed request to join."""
    hello = hello if hello is not None else hello_of(number, server)
    bare = Join(code, server.now - minutes * 60_000, server.now + minutes * 60_000, (hello.header,))
    return replace(bare, signature=key_of(number).sign(bare.to_sign(server.key.public)))
