"""A node with forks and homes, and its page with both guests."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterable

from bamboo_compat.core.report import Fork
from bamboo_compat.statements.format import Statement
from bamboo_compat.statements.kinds import Hello, Welcome
from bamboo_compat.web.forks import Forks
from bamboo_compat.web.homes import HomesPage
from setsync.model.entry import Entry
from setsync.model.keys import SecretKey
from setsync.store.contract import Origin
from setsync.web.place import Place
from tests.bamboo.decisions.test_resolving import parted
from tests.bamboo.decisions.worlds import KEY, forks_in, members
from tests.bamboo.logs import Author, Record
from tests.bamboo.statements.saying import said, say
from tests.helpers import MIDNIGHT
from tests.web.calling import Answer, Browser, Node, Page, page_of
from tests.web.test_hostile_entries import OWN_TAGS, Reader

PEER = b"p" * 32
CAME = Origin(MIDNIGHT, PEER)
HERE = Origin(MIDNIGHT)
# What templates of forks and homes are made of besides.
_TAGS = OWN_TAGS | {"br", "strong", "ol", "select", "h3"}


@contextlib.asynccontextmanager
async def page_with(node: Node, place: Place | None = None) -> AsyncIterator[Page]:
    """A page with its guests, running."""
    async with page_of(node, [Forks(), HomesPage()], place) as page:
        yield page


def bring(node: Node, entries: Iterable[Entry], origin: Origin | None = CAME) -> None:
    """Entries as they come from somebody, each committed by itself."""
    for entry in entries:
        node.store.add_many([entry], [(0, origin)])


def forked(
    node: Node, shared: int = 3, one: int = 4, two: int = 2, origin: Origin = CAME
) -> tuple[Fork, Author, Author]:
    """A log that parts: the laptop's branch came from a peer, the phone's was brought here."""
    records, laptop, phone = parted(shared, one, two)
    bring(node, members(records[: shared + one]), origin)
    bring(node, members(records[shared + one :]), HERE)
    [fork] = forks_in(node.store)
    return fork, laptop, phone


def put_records(node: Node, records: list[Record], origin: Origin | None = CAME) -> None:
    """Entries of logs."""
    bring(node, members(records), origin)


def marry(
    node: Node,
    server: SecretKey,
    url: str,
    author: SecretKey = KEY,
    before: Statement | None = None,
) -> Statement:
    """An author's hello, and the server's welcome; the hello."""
    hello = say(author, Hello(server.public, url), before=before)
    welcome = say(server, Welcome(author.public, hello[0].id, url))
    bring(node, [*hello, *welcome])
    return said(hello[0])


def hash_at(author: Author, seq_num: int) -> str:
    """As a form names a branch."""
    return author.hashes[seq_num].hex()


async def send(browser: Browser, path: str, csrf: str, **fields: str) -> Answer:
    """A form of ours."""
    from urllib.parse import urlencode

    return await browser.post(path, urlencode({"csrf": csrf, **fields}).encode())


def read(answer: Answer) -> Reader:
    """Fails where a page has more than text of what is not its own."""
    reader = Reader()
    reader.feed(answer.text)
    assert not reader.faults, reader.faults
    assert reader.tags <= _TAGS, reader.tags - _TAGS
    assert answer.text.count("<script") == answer.text.count('<script src="/static/')
    return reader
