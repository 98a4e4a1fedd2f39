"""What a home answers: one function from the bytes of a question to the bytes of the answer.

It is the same over the secure channel and over HTTP. It waits for the disk and for nobody else, so
whoever has other things to do calls it in a thread.

Joining is decided in this order: the request is signed by the author, for this server and for now;
the invite is good; this node takes the author's statements; the author is at home nowhere else that
is known here. Then the use of the invite and the client are written at once, and only then does
anybody hear of it. Who asks again for the same hello gets the same welcome, and uses up nothing.

What others state is bound by the node's rules, quotas and free disk, as what peers bring is.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import islice
from pathlib import Path

from bamboo_compat.core import keys
from bamboo_compat.homes.book import Client, Homes, homes_file
from bamboo_compat.homes.limits import MAX_HEADS, WINDOW_MS
from bamboo_compat.homes.marriages import marriages, open_homes, statements_in
from bamboo_compat.homes.messages import (
    Answer,
    Are,
    Heads,
    IAm,
    Join,
    Logs,
    Noted,
    Question,
    Refused,
    Tell,
    Welcomed,
    Who,
    Why,
    encode,
    read_question,
)
from bamboo_compat.set.appending import append_lock
from bamboo_compat.set.index import BambooIndex
from bamboo_compat.set.layout import log_key
from bamboo_compat.set.reading import Reader
from bamboo_compat.statements.format import Statement, decode
from bamboo_compat.statements.kinds import Goodbye, Hello, Topic, Welcome
from bamboo_compat.statements.make import make
from bamboo_compat.statements.reading import open_statements
from setsync.errors import InvalidEntryError, InviteError, SetsyncError
from setsync.model.entry import Entry, UnverifiedEntry, verify
from setsync.model.keys import SecretKey
from setsync.node.admitting import admit, why_not
from setsync.node.config import DataDirectory
from setsync.node.invites import Invite, Standing, digest_of
from setsync.node.peers import Peer
from setsync.node.policy import Policy
from setsync.node.tries import Tries
from setsync.store.contract import EntryStore, Origin

INDEX = BambooIndex()
_TELL_SECONDS = 1.0
_REASONS = {
    Standing.USED_UP: Why.USED_UP,
    Standing.EXPIRED: Why.EXPIRED,
    Standing.REVOKED: Why.REVOKED,
}
_SENTENCES = {
    Why.NO_SUCH_INVITE: "This server knows no such invite: is there a typing error in it?",
    Why.USED_UP: "This invite is used up: ask the operator of this server for another.",
    Why.EXPIRED: "This invite has expired: ask the operator of this server for another.",
    Why.REVOKED: "This invite was taken back by the operator of this server.",
    Why.TOO_OFTEN: "Too many invites were tried here. Try again in a minute.",
    Why.NOT_SIGNED: "The author did not sign this for this server.",
    Why.NOT_NOW: "This was signed for another time than now by this server's clock.",
    Why.NOT_FOR_US: "The hello names another server.",
}


class Refusals:
    """What the operator hears of statements that were not kept, and of what this node could not
    do: once a second at most, since whoever asks could fill a log with it. `tell` gets `count`, how
    many it were since the last time, the last `reason`, and the last `author` if there is one."""

    def __init__(self, tell: Callable[..., None] = lambda **fields: None) -> None:
        self._tell = tell
        self._lock = threading.Lock()
        self._count = 0
        self._told = -math.inf

    def note(self, reason: str, ticks: float, count: int = 1, author: bytes = b"") -> None:
        """So many for this reason; `ticks` in seconds."""
        with self._lock:
            self._count += count
            if ticks < self._told + _TELL_SECONDS:
                return
            self._told, count, self._count = ticks, self._count, 0
        self._tell(**({"author": author.hex()} if author else {}), count=count, reason=reason)


@dataclass(frozen=True)
class Context:
    """What a home answers with. `address`: the IP address that asks, empty if unknown; `peer`:
    the key of the node that asks, where the channel has proven it, else empty. `now` in ms since
    1970, `ticks` in seconds of any clock. `refusals` hears what is not taken."""

    directory: DataDirectory
    store: EntryStore
    key: SecretKey = field(repr=False)
    tries: Tries
    now: int
    ticks: float
    address: str = ""
    peer: bytes = b""
    refusals: Refusals = field(default_factory=Refusals)


@cache
def tries_at(directory: Path) -> Tries:
    """How often invites were tried at a data directory in this process, whichever way they came."""
    return Tries()


class RefusedError(Exception):
    """The answer is no."""

    def __init__(self, why: Why, sentence: str = "") -> None:
        super().__init__(sentence or _SENTENCES[why])
        self.why = why


def handle_join(request: bytes, context: Context) -> bytes:
    """The answer to one question of `messages`. Raises nothing for whatever the request says;
    StoreError and LocalError of this node's own become an answer too."""
    try:
        answer = _answer(read_question(request), context)
    except RefusedError as refusal:
        answer = Refused(refusal.why, str(refusal))
    except InvalidEntryError as error:
        answer = Refused(Why.MALFORMED, f"A statement is none: {error.message}")
    except SetsyncError as error:
        if isinstance(error, InviteError) or error.code == "peer":
            answer = Refused(Why.MALFORMED, error.message)
        else:
            context.refusals.note(error.message, context.ticks)
            answer = Refused(Why.FAILED, "This server could not do it; its operator can see why.")
    return encode(answer)


def _answer(question: Question, context: Context) -> Answer:
    match question:
        case Who():
            if question.code:
                _check_code(question.code, context)
            return IAm(context.key.public, context.now)
        case Join():
            return _join(question, context)
        case Tell():
            return _tell(question, context)
        case Heads():
            return _heads(question, context)
        case Logs():
            return _logs(question, context)


# --- invites ------------------------------------------------------------------------------


def _check_code(code: bytes, context: Context) -> None:
    """Whether a code is good; what is wrong with one is counted. Raises RefusedError."""
    if not context.tries.allow(context.address, context.ticks):
        raise RefusedError(Why.TOO_OFTEN)
    homes = homes_file(context.directory.path).read()
    try:
        homes.invites.find(code, context.now)
    except InviteError as error:
        raise _refusal(homes, code, context.now) from error
    context.tries.give_back(context.address)


def _refusal(homes: Homes, code: bytes, now: int) -> RefusedError:
    invite = homes.invites.by_digest.get(digest_of(code))
    if invite is None or invite.is_forgotten(now):
        return RefusedError(Why.NO_SUCH_INVITE)
    return RefusedError(_REASONS[invite.standing(now)])


# --- joining ------------------------------------------------------------------------------


def _join(join: Join, context: Context) -> Answer:
    entries = _statements(join.statements)
    hello = decode(join.statements[-1])
    _check_hello(join, hello, context)
    known = homes_file(context.directory.path).read().clients.get(hello.author)
    if known is None or known.hello != join.statements[-1]:
        _check_code(join.code, context)
    with append_lock(context.directory.path):
        _check_wanted(entries, context)
        client = _redeem(join, hello, entries, context)
        _keep(context, [*entries, _entry(client.welcome)])
    _list_peer(context, hello.author)
    return Welcomed(client.welcome)


def _check_wanted(entries: Sequence[Entry], context: Context) -> None:
    """Whether all of it will be taken: asked before an invite is used up for it.

    Raises RefusedError, NoRoomError, PolicyFileError.
    """
    if (reason := why_not(context.store, entries, _policy(context))) is not None:
        context.refusals.note(reason.sentence, context.ticks, author=entries[0].author)
        raise RefusedError(Why.NOT_FOR_US, reason.sentence)


def _policy(context: Context) -> Policy:
    """The node's rules, by which statements about homes are kept here. Raises RefusedError,
    PolicyFileError."""
    policy, collection = context.directory.policy.read(), Topic.HOMES.collection
    if policy.blocks(collection):
        raise RefusedError(Why.NOT_FOR_US, f"This node does not keep {collection}.")
    return policy


def _check_hello(join: Join, hello: Statement, context: Context) -> None:
    """Raises RefusedError."""
    if not isinstance(hello.said, Hello) or hello.said.server != context.key.public:
        raise RefusedError(Why.NOT_FOR_US)
    _check_signed(
        hello.author,
        join.to_sign(context.key.public),
        join.signature,
        (join.not_before, join.not_after),
        context,
    )


def _check_signed(
    author: bytes, signed: bytes, signature: bytes, window: tuple[int, int], context: Context
) -> None:
    """Raises RefusedError."""
    first, last = window
    if not first <= context.now <= last or last - first > WINDOW_MS:
        raise RefusedError(Why.NOT_NOW)
    if not keys.is_valid_signature(author, signed, signature):
        raise RefusedError(Why.NOT_SIGNED)


def _redeem(join: Join, hello: Statement, entries: Sequence[Entry], context: Context) -> Client:
    """The client, new or known; a new one is on the disk, together with the use of its invite.

    What the last one brought is in the store before another welcome is signed: the power may
    have failed in between, and two welcomes of one count would fork our own chain.
    """
    with homes_file(context.directory.path).changing() as draft:
        homes = draft.value
        if homes.last is not None:
            _keep(context, [_entry(homes.last.hello), _entry(homes.last.welcome)])
        known = homes.clients.get(hello.author)
        if known is not None and known.hello == join.statements[-1]:
            return known
        _refuse_the_married(hello, entries, context)

        def client(invite: Invite) -> Client:
            welcome = _welcome(hello, context)
            return Client(
                hello.author,
                context.now,
                invite.id,
                invite.name,
                join.statements[-1],
                welcome.header,
            )

        try:
            return homes.redeem(join.code, context.now, client)
        except InviteError as error:
            raise _refusal(homes, join.code, context.now) from error


def _refuse_the_married(hello: Statement, entries: Sequence[Entry], context: Context) -> None:
    """Of an author who is at home elsewhere by all that is known here, or told now.

    Raises RefusedError.
    """
    told = [decode(entry.header) for entry in entries]
    left = {one.said.hello for one in told if isinstance(one.said, Goodbye)}
    open_statements(context.store)
    with context.store.snapshot() as snapshot:
        found = open_homes(marriages(statements_in(snapshot), hello.author))
    for one in found:
        if one.server != context.key.public and one.hello.id not in left:
            raise RefusedError(
                Why.MARRIED,
                f"This author is at home at {one.place}. It has to leave there first, or move.",
            )


def _welcome(hello: Statement, context: Context) -> Entry:
    assert isinstance(hello.said, Hello)
    with context.store.snapshot() as snapshot:
        chain = statements_in(snapshot).chain(context.key.public, Topic.HOMES)
    said = Welcome(hello.author, hello.id, hello.said.url)
    return make(context.key, said, context.now, chain.latest)


def _list_peer(context: Context, author: bytes) -> None:
    """A node that an author joined with may sync with this one from now on: it has to bring the
    author's entries. One that is blocked stays so."""
    if not context.peer or context.peer in context.directory.peers.read().peers:
        return
    with context.directory.peers.changing() as book:
        if context.peer not in book.peers:
            book.put(Peer(context.peer, name=f"home of {author.hex()[:8]}"))


# --- the rest -----------------------------------------------------------------------------


def _tell(tell: Tell, context: Context) -> Answer:
    """Statements of an author who is, or was, a client here; others' come by sync. What is refused
    is left out, and the answer says how many are kept."""
    entries = _statements(tell.statements)
    if entries[0].author not in homes_file(context.directory.path).read().clients:
        raise RefusedError(Why.NOT_FOR_US, "This author was never at home here.")
    origin = Origin(context.now, context.peer)
    refused = admit(context.store, entries, origin, _policy(context)).refused
    if refused:
        sentence = refused[0][1].sentence
        context.refusals.note(sentence, context.ticks, len(refused), entries[0].author)
        if len(refused) == len(entries):
            raise RefusedError(Why.NOT_FOR_US, sentence)
    return Noted(len(entries) - len(refused))


def _check_asked(asked: Heads | Logs, context: Context) -> None:
    """Raises RefusedError."""
    window = asked.not_before, asked.not_after
    signed = asked.to_sign(context.key.public)
    _check_signed(asked.author, signed, asked.signature, window, context)


def _heads(heads: Heads, context: Context) -> Answer:
    _check_asked(heads, context)
    context.store.open_index(INDEX)
    with context.store.snapshot() as snapshot:
        tables = snapshot.index_tables(INDEX)
        reader = Reader(tables)
        found = tuple(
            (log_id, head_header(reader, heads.author, log_id)) for log_id in heads.log_ids
        )
    return Are(found)


def _logs(asked: Logs, context: Context) -> Answer:
    _check_asked(asked, context)
    context.store.open_index(INDEX)
    after = log_key(asked.author, asked.first - 1) if asked.first else b""
    with context.store.snapshot() as snapshot:
        reader = Reader(snapshot.index_tables(INDEX))
        ids = [log_id for _, log_id, _ in islice(reader.logs(asked.author, after), MAX_HEADS)]
        return Are(tuple((one, head_header(reader, asked.author, one)) for one in ids))


def head_header(reader: Reader, author: bytes, log_id: int) -> bytes:
    """The header of the entry with a log's highest number; empty where there is none. Of several
    with that number it is the one with the smallest id."""
    log = reader.log(author, log_id)
    if log is None:
        return b""
    node = min(reader.at(log, log.height), key=lambda one: one.id)
    return reader.shelf.entry(node)[0]


def _statements(headers: Sequence[bytes]) -> list[Entry]:
    """Verified statements of one author about homes. Raises RefusedError, InvalidEntryError."""
    entries = [_entry(header) for header in headers]
    if len({entry.author for entry in entries}) != 1:
        raise RefusedError(Why.MALFORMED, "The statements are of several authors.")
    return entries


def _entry(header: bytes) -> Entry:
    return verify(UnverifiedEntry(Topic.HOMES.collection, header, b""))


def _keep(context: Context, entries: Sequence[Entry]) -> None:
    """What has been admitted: durable when it returns. What is here already does no harm."""
    context.store.add_many(entries, [(0, Origin(context.now, context.peer))])
