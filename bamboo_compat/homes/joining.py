"""Joining a home and leaving one, from the side of the author.

Every statement is in the store, durably, before it leaves: an author who signs two statements of
one count has forked its own chain. So a code is asked about before the hello is signed, and whoever
is stopped between the hello and the welcome goes on with the same hello.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from bamboo_compat.core import keys
from bamboo_compat.homes.book import MyHome, homes_file
from bamboo_compat.homes.errors import AlreadyMarriedError, HomeRefusedError, NoHomeError
from bamboo_compat.homes.limits import (
    MAX_ARCHIVE_HEADS,
    MAX_HEADS,
    MAX_PAGES,
    MAX_STATEMENTS,
    WINDOW_MS,
)
from bamboo_compat.homes.marriages import Marriage, marriages, open_homes, statements_in
from bamboo_compat.homes.messages import (
    Answer,
    Are,
    Heads,
    IAm,
    Join,
    Logs,
    Noted,
    Tell,
    Welcomed,
    Who,
)
from bamboo_compat.homes.publishing import signed_number
from bamboo_compat.homes.roads import HomeInviteError, Road, Script
from bamboo_compat.set.appending import append_lock
from bamboo_compat.statements.format import Statement, decode
from bamboo_compat.statements.kinds import Goodbye, Hello, Said, Topic, Welcome
from bamboo_compat.statements.make import make
from bamboo_compat.statements.reading import open_statements
from setsync.errors import PeerError, PeerIdentityError
from setsync.model.entry import UnverifiedEntry, verify
from setsync.model.keys import SecretKey
from setsync.node.config import DataDirectory
from setsync.node.local import now
from setsync.store.contract import EntryStore, Origin

_LAST_LOG = (1 << 64) - 1


@dataclass(frozen=True)
class Me:
    """An author and the directory it works in. `clock` in ms since 1970."""

    directory: DataDirectory
    store: EntryStore
    key: SecretKey = field(repr=False)
    clock: Callable[[], int] = field(default=now, repr=False)

    @property
    def author(self) -> bytes:
        """The public key."""
        return self.key.public


# --- what is known here -------------------------------------------------------------------


def my_marriages(me: Me) -> list[Marriage]:
    """All of mine that are known here, the oldest first."""
    open_statements(me.store)
    with me.store.snapshot() as snapshot:
        return marriages(statements_in(snapshot), me.author)


def my_home(me: Me) -> MyHome | None:
    """What was noted when I joined from here. Raises HomesFileError."""
    return homes_file(me.directory.path).read().mine.get(me.author)


def check_free(me: Me, server: bytes) -> None:
    """Whether I am at home nowhere but, at most, at this server. Raises AlreadyMarriedError."""
    for one in open_homes(my_marriages(me)):
        if one.server != server:
            raise AlreadyMarriedError(f"You are at home at {one.place}.")


# --- joining ------------------------------------------------------------------------------


def who_is_there(me: Me, road: Road, code: bytes = b"", server: bytes | None = None) -> IAm:
    """Who answers, and that it is who should: the key in the URL, the one that was there when
    I joined, and the `server` that is meant. With a `code`: that it is good.

    Raises PeerIdentityError, HomeInviteError, PeerError and its kinds.
    """
    return road.talk(_who(me, road, code, server))


def _who(me: Me, road: Road, code: bytes = b"", server: bytes | None = None) -> Script[IAm]:
    """See `who_is_there`."""
    answer = yield Who(code)
    if not isinstance(answer, IAm):
        raise PeerError("The home answered another question than the one it was asked.")
    known = my_home(me)
    pinned = known.server if known is not None and known.url == road.url else None
    for expected in (road.key, pinned, server):
        if expected is not None and answer.node != expected:
            raise PeerIdentityError(
                f"The node there has the key {answer.node.hex()}, and {expected.hex()} was "
                "expected."
            )
    return answer


def join(me: Me, road: Road, code: bytes) -> MyHome:
    """Be at home at the end of a road; joining again where one is at home changes nothing.

    Raises AlreadyMarriedError, HomeInviteError, HomeRefusedError, PeerError and its kinds,
    StoreError, HomesFileError.
    """
    there = who_is_there(me, road)
    check_free(me, there.node)
    hello = _open_hello(me, there.node)
    is_new = hello is None
    if hello is None:
        who_is_there(me, road, code)
        hello = say(me, Hello(there.node, road.url))
    try:
        welcome = _ask(me, road, there, code, hello)
    except (HomeInviteError, HomeRefusedError):
        if is_new:
            say(me, Goodbye(hello.id, "The server refused."))
        raise
    return _note(me, road, there.node, hello, welcome)


def _open_hello(me: Me, server: bytes) -> Statement | None:
    """The latest that nobody took back."""
    found = [one for one in my_marriages(me) if one.server == server and one.goodbye is None]
    return found[-1].hello if found else None


def _ask(me: Me, road: Road, there: IAm, code: bytes, hello: Statement) -> bytes:
    """The header of the welcome, which is the server's own and for this hello."""
    join_ = Join(code, *_window(there), _headers(me, hello))
    signature = me.key.sign(join_.to_sign(there.node))
    answer = road.ask(replace(join_, signature=signature))
    if not isinstance(answer, Welcomed):
        raise PeerError("The home answered another question than the one it was asked.")
    entry = verify(UnverifiedEntry(Topic.HOMES.collection, answer.welcome, b""))
    said = decode(entry.header)
    expected = (there.node, me.author, hello.id)
    welcome = said.said
    if not isinstance(welcome, Welcome) or expected != (
        said.author,
        welcome.client,
        welcome.hello,
    ):
        raise PeerError("The home's welcome is for somebody else.")
    me.store.add_many([entry], [(0, Origin(me.clock(), there.node))])
    return entry.header


def _headers(me: Me, last: Statement) -> tuple[bytes, ...]:
    """My statements about homes up to `last`, the latest MAX_STATEMENTS of them."""
    with me.store.snapshot() as snapshot:
        said = statements_in(snapshot).chain(me.author, Topic.HOMES).statements
        ids = [one.id for one in said if one.rank <= last.rank][-MAX_STATEMENTS:]
        found = snapshot.entries(Topic.HOMES.collection, ids)
        return tuple(entry.header for entry in found)


def _note(me: Me, road: Road, server: bytes, hello: Statement, welcome: bytes) -> MyHome:
    with me.store.snapshot() as snapshot:
        entry = snapshot.entry(Topic.HOMES.collection, hello.id)
    assert entry is not None
    mine = MyHome(me.author, server, road.url, me.clock(), entry.header, welcome)
    with homes_file(me.directory.path).changing() as draft:
        draft.value.mine[me.author] = mine
    return mine


def say(me: Me, said: Said) -> Statement:
    """My next statement, in the store when this returns. Raises StoreError."""
    with append_lock(me.directory.path):
        open_statements(me.store)
        with me.store.snapshot() as snapshot:
            chain = statements_in(snapshot).chain(me.author, said.kind.topic)
        entry = make(me.key, said, me.clock(), chain.latest)
        me.store.add_many([entry], [(0, Origin(me.clock()))])
    return decode(entry.header)


# --- leaving ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Left:
    """The homes that were left. `untold`: why the one at the end of the road did not take the
    goodbye, which holds all the same; empty where it did, or nobody was to be told."""

    homes: list[Marriage]
    untold: str = ""


def leave(me: Me, road: Road | None, reason: str = "", server: bytes | None = None) -> Left:
    """Say goodbye to every open home, or to the one of a `server`.

    The goodbye goes to the home along the road, and with the next sync everywhere. Without a road
    nobody is asked. What was left before is told again, so that this may be repeated.
    Raises NoHomeError, PeerError and its kinds (before anything is said), StoreError.
    """
    found = [one for one in my_marriages(me) if server in (None, one.server)]
    open_ = [one for one in found if one.welcome is not None and one.goodbye is None]
    if not open_ and not any(one.goodbye for one in found):
        raise NoHomeError(f"Author {me.author.hex()} has no home.")
    if road is not None:
        there = who_is_there(me, road)
        open_ = [one for one in open_ if one.server == there.node]
    last, untold = None, ""
    for one in open_:
        last = say(me, Goodbye(one.hello.id, reason))
    if road is not None:
        try:
            tell(me, road, last)
        except PeerError as error:
            untold = error.message
    with homes_file(me.directory.path).changing() as draft:
        mine = draft.value.mine.get(me.author)
        if mine is not None and (server is None or mine.server == server):
            del draft.value.mine[me.author]
    return Left(open_, untold)


def tell(me: Me, road: Road, last: Statement | None = None) -> None:
    """Bring my statements up to `last` (the latest if None) to a home.

    Raises PeerError and its kinds; HomeRefusedError also where it did not keep all of them.
    """
    with me.store.snapshot() as snapshot:
        chain = statements_in(snapshot).chain(me.author, Topic.HOMES)
    last = last or chain.latest
    if last is None:
        return
    statements = _headers(me, last)
    answer = road.ask(Tell(statements))
    if not isinstance(answer, Noted):
        raise PeerError("The home answered another question than the one it was asked.")
    if answer.count < len(statements):
        raise HomeRefusedError(
            f"The home kept {answer.count} of {len(statements)} statements; its rules or quotas "
            "leave the others out."
        )


# --- heads --------------------------------------------------------------------------------


def heads_there(me: Me, road: Road, log_ids: list[int]) -> dict[int, bytes]:
    """By log id, the header of the head that the other side has; empty where it has none.

    Raises PeerError and its kinds.
    """
    return road.talk(_all_heads(me, road, log_ids))


def _all_heads(me: Me, road: Road, log_ids: list[int]) -> Script[dict[int, bytes]]:
    """See `heads_there`."""
    there = yield from _who(me, road)
    found: dict[int, bytes] = {}
    for page, start in enumerate(range(0, len(log_ids), MAX_HEADS), 1):
        if not page % MAX_PAGES:
            there = yield from _who(me, road, server=there.node)
        asked = tuple(log_ids[start : start + MAX_HEADS])
        answer = yield sign_heads(me.key, there, asked)
        if not isinstance(answer, Are) or tuple(one for one, _ in answer.heads) != asked:
            raise PeerError("The home answered another question than the one it was asked.")
        found |= dict(answer.heads)
    return found


def logs_there(me: Me, road: Road, server: bytes) -> dict[int, bytes]:
    """By log id, the header of the head of every log of mine that a server has, all of which I
    have signed. It is asked for pages until one is empty.

    Raises PeerError and its kinds; PeerError also for an answer that cannot be.
    """
    return road.talk(_all_logs(me, road, server))


def _all_logs(me: Me, road: Road, server: bytes) -> Script[dict[int, bytes]]:
    """See `logs_there`."""
    there = yield from _who(me, road, server=server)
    found: dict[int, bytes] = {}
    first, pages = 0, 0
    while first <= _LAST_LOG:
        pages += 1
        if not pages % MAX_PAGES:
            there = yield from _who(me, road, server=server)
        page = _page(me, (yield sign_logs(me.key, there, first)), first)
        if not page:
            break
        found |= page
        if len(found) > MAX_ARCHIVE_HEADS:
            raise PeerError(f"The home says that you have over {MAX_ARCHIVE_HEADS:,} logs.")
        first = max(page) + 1
    return found


def _page(me: Me, answer: Answer, first: int) -> dict[int, bytes]:
    """Raises PeerError for logs that do not go up, and for heads that I did not sign: nobody can
    make up logs of mine without end."""
    if not isinstance(answer, Are):
        raise PeerError("The home answered another question than the one about its logs.")
    for log_id, header in answer.heads:
        if log_id < first or not signed_number(me.author, log_id, header):
            raise PeerError(f"What the home says of its logs from log {first} on cannot be.")
        first = log_id + 1
    return dict(answer.heads)


def sign_heads(key: SecretKey, there: IAm, log_ids: tuple[int, ...]) -> Heads:
    """The question for the heads of my logs, signed for who is there."""
    bare = Heads(key.public, *_window(there), log_ids)
    return replace(bare, signature=keys.sign(key.seed, bare.to_sign(there.node)))


def sign_logs(key: SecretKey, there: IAm, first: int) -> Logs:
    """The question for all my logs from one on, signed for who is there."""
    bare = Logs(key.public, *_window(there), first)
    return replace(bare, signature=keys.sign(key.seed, bare.to_sign(there.node)))


def _window(there: IAm) -> tuple[int, int]:
    """From when to when what is signed now is good, by the clock there."""
    return max(0, there.clock - WINDOW_MS // 2), there.clock + WINDOW_MS // 2
