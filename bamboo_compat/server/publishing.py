"""Where an author's next entry goes, and taking it in once it is signed.

The answers are those of the nodes that these clients were made for (aquadoggo of 2023): a new
document is a new log, one after the author's highest; a document that is known is continued in
the author's log about it. What would fork a log is refused: whoever asks may be behind, or be
a second copy of himself.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bamboo_compat.core.entry import MAX_ENTRY, Entry
from bamboo_compat.core.profiles import PROFILES
from bamboo_compat.core.report import Reason
from bamboo_compat.core.yamf import Flavour
from bamboo_compat.decisions.view import View, open_indexes
from bamboo_compat.server.documents import (
    check_not_deleted,
    check_schema,
    document_of,
    log_of,
    next_free_log,
)
from bamboo_compat.server.errors import (
    BadArgumentError,
    EndOfLogError,
    NotTheNextError,
    WrongLogError,
)
from bamboo_compat.server.limits import LOCK_SECONDS
from bamboo_compat.server.operations import Action, Operation, read_operation
from bamboo_compat.set.appending import append_lock
from bamboo_compat.set.claims import entry_of
from bamboo_compat.set.format import collection_of
from bamboo_compat.set.layout import Flag, Node
from bamboo_compat.set.reading import Reader
from setsync.errors import InvalidEntryError, LocalError
from setsync.model import entry as members
from setsync.model.entry import UnverifiedEntry
from setsync.model.formats import format_of
from setsync.model.keys import PUBLIC_KEY_BYTES
from setsync.store.contract import EntryStore, Snapshot

PROFILE = PROFILES["aquadoggo"]
_YASMF = bytes(Flavour.YASMF.value)


@dataclass(frozen=True, slots=True)
class NextArgs:
    """What the next entry says of its place. Links are tagged BLAKE3 hashes, whatever the
    entries that they lead to use themselves; one that must not be spelled out is None."""

    log_id: int
    seq_num: int
    backlink: bytes | None = None
    skiplink: bytes | None = None


@dataclass(frozen=True, slots=True)
class Publication:
    """An entry with its operation, both checked as far as that goes without any other."""

    member: members.Entry
    entry: Entry
    operation: Operation

    @property
    def author(self) -> bytes:
        """Public key."""
        return self.entry.author


# --- where the next entry goes ------------------------------------------------------------


def next_args(moment: View, author: bytes, view: Sequence[bytes] = ()) -> NextArgs:
    """Where the author's next entry goes: the one that creates a document, or with a `view`
    (tagged hashes of operations) one that changes the document of these.

    `moment`: the store, and what is decided about forks. Raises BadArgumentError,
    UnknownDocumentError, SeveralDocumentsError, DocumentDeletedError, DocumentForkedError,
    NoFreeLogError, and what `View.next_place` raises.
    """
    if len(author) != PUBLIC_KEY_BYTES:
        raise BadArgumentError(f"A public key has {PUBLIC_KEY_BYTES} bytes, not {len(author)}.")
    if not view:
        return NextArgs(next_free_log(moment.reader, author), 1)
    document = document_of(moment.reader, view)
    check_not_deleted(moment, author, document, view)
    return _continuing(moment, author, document)


def _continuing(moment: View, author: bytes, document: bytes) -> NextArgs:
    log_id = log_of(moment, author, document)
    if log_id is None:
        return NextArgs(next_free_log(moment.reader, author), 1)
    return end_of(moment, author, log_id)


def end_of(moment: View, author: bytes, log_id: int) -> NextArgs:
    """Where one log goes on. Raises as `View.next_place`."""
    place, reader = moment.next_place(author, log_id), moment.reader
    return NextArgs(
        log_id, place.seq_num, _by_id(reader, place.backlink), _by_id(reader, place.lipmaalink)
    )


def _by_id(reader: Reader, tagged: bytes | None) -> bytes | None:
    """The other spelling of a link, where it is not BLAKE3 already: both lead to one entry."""
    if tagged is None or tagged.startswith(_YASMF):
        return tagged
    node = reader.find(tagged)
    return _YASMF + node.id if node is not None else tagged


# --- one entry and its operation ----------------------------------------------------------


def examine(header: bytes, payload: bytes) -> Publication:
    """Check an entry by itself, in the order of the rules: bytes, signature, payload, and then
    that the payload is an operation.

    Raises InvalidEntryError with the reason of the verifier, BadOperationError, EndOfLogError.
    """
    if len(header) > MAX_ENTRY:
        what = f"An entry has at most {MAX_ENTRY} bytes, not {len(header)}."
        raise InvalidEntryError(Reason.TRAILING_BYTES.value, what)
    if not header:
        raise InvalidEntryError(Reason.TRUNCATED.value, "The entry has no bytes.")
    if header[0] > 1:
        raise InvalidEntryError(
            Reason.BAD_TAG.value, f"The entry has the tag 0x{header[0]:02x}, and not 0x00 or 0x01."
        )
    rules = format_of(header)
    claims = rules.decode(header)
    rules.check_signature(claims, header)
    rules.check_payload(claims, payload)
    operation = read_operation(payload)
    entry = entry_of(claims)
    if entry.end_of_log:
        raise EndOfLogError("The entry is an end-of-log marker.")
    collection = collection_of(PROFILE, entry, payload)
    member = members.trusted(UnverifiedEntry(collection, header, payload))
    return Publication(member, entry, operation)


# --- against what is here -----------------------------------------------------------------


def known(reader: Reader, one: Publication) -> Node | None:
    """The entry, if it is here already with its payload, as one of a document: then publishing
    it again, after an answer that was lost, changes nothing."""
    node = reader.by_id(one.member.id)
    is_whole = node is not None and node.has(Flag.AQUADOGGO) and not node.has(Flag.WITHHELD)
    return node if is_whole else None


def judge(moment: View, one: Publication) -> None:
    """Whether the entry is the very next of the right log. What `next_args` raises, and
    WrongSchemaError, WrongLogError, NotTheNextError; InvalidEntryError for its links."""
    wanted = _wanted(moment, one)
    reader, entry = moment.reader, one.entry
    if entry.log_id != wanted.log_id:
        log = reader.log(entry.author, entry.log_id)
        what = "is in use already" if log is not None else "is not the one"
        raise WrongLogError(
            f"The entry is for log {entry.log_id}, which {what}; this operation goes into log "
            f"{wanted.log_id}."
        )
    if entry.seq_num != wanted.seq_num:
        raise NotTheNextError(
            f"The entry has number {entry.seq_num}, and the next one of log {entry.log_id} has "
            f"number {wanted.seq_num}."
        )
    _check_link(reader, Reason.BAD_BACKLINK, entry.backlink, wanted.backlink)
    _check_link(reader, Reason.BAD_LIPMAALINK, entry.lipmaalink, wanted.skiplink)


def _wanted(moment: View, one: Publication) -> NextArgs:
    """What `next_args` says for this operation."""
    operation = one.operation
    if operation.action is Action.CREATE:
        return NextArgs(next_free_log(moment.reader, one.author), 1)
    document = document_of(moment.reader, operation.previous)
    check_schema(moment.reader, document, operation.schema)
    check_not_deleted(moment, one.author, document, operation.previous)
    return _continuing(moment, one.author, document)


def _check_link(reader: Reader, reason: Reason, link: bytes | None, wanted: bytes | None) -> None:
    """That a link leads where it should, in either flavour. Whether it is there at all was
    decided by the entry's own bytes."""
    if link == wanted:
        return
    if link is not None and wanted is not None and _by_id(reader, link) == wanted:
        return
    raise InvalidEntryError(
        reason.value,
        f"The Bamboo entry breaks a rule ({reason.value}): expected {_text(wanted)}, "
        f"found {_text(link)}.",
    )


def _text(link: bytes | None) -> str:
    return "none" if link is None else link.hex()


# --- publishing ---------------------------------------------------------------------------

Guard = Callable[[Snapshot, Publication], None]
"""Raises LocalError where this node does not publish the entry, though it is right."""
AuthorGuard = Callable[[Snapshot, bytes, int], None]
"""Raises LocalError where this node does not publish in this log (author, log id)."""
Commit = Callable[[members.Entry], None]
"""Returns once the entry is durable. Raises SetsyncError."""


@dataclass(frozen=True, slots=True)
class Published:
    """`after`: where the log goes on, once the entry is in it. `is_new`: it was not here."""

    publication: Publication
    after: NextArgs
    is_new: bool


class Publisher:
    """One node's publishing. Its methods wait for the disk; call them off the event loop.

    `directory` is where the lock of those who append is, and what was decided here about forks;
    `node` is its key. `commit` hands an entry to the node's
    writer. Before that each of `guards` is asked; `at_home` also before anybody is told what to
    sign: what is not signed forks nothing. The tables that they read are open.
    """

    def __init__(
        self,
        store: EntryStore,
        directory: Path,
        node: bytes,
        commit: Commit,
        guards: Sequence[Guard] = (),
        at_home: AuthorGuard = lambda snapshot, author, log_id: None,
    ) -> None:
        self._store = store
        self._directory = directory
        self._node = node
        self._commit = commit
        self._guards = guards
        self._at_home = at_home
        # In this process they stand in a queue; the file is for other processes.
        self._turn = threading.Lock()
        open_indexes(store)

    def next_args(self, author: bytes, view: Sequence[bytes] = ()) -> NextArgs:
        """See `next_args`; one short snapshot. Also raises what `at_home` raises."""
        with self._reading() as (snapshot, moment):
            found = next_args(moment, author, view)
            self._at_home(snapshot, author, found.log_id)
            return found

    def publish(
        self, header: bytes, payload: bytes, may: Callable[[bytes], None] = lambda author: None
    ) -> Published:
        """Take an entry in. Before this returns it is on the disk. `may` raises what speaks
        against whoever asks, given the author, who has signed.

        Raises InvalidEntryError, LocalError, StoreError and its kinds, SetsyncError of the
        guards: nothing was published then, unless the message says so.
        """
        one = examine(header, payload)
        may(one.author)
        with self._alone():
            is_new = self._admit(one)
            if is_new:
                self._commit(one.member)
            return Published(one, self._after(one), is_new)

    @contextmanager
    def _reading(self) -> Iterator[tuple[Snapshot, View]]:
        with self._store.snapshot() as snapshot:
            yield snapshot, View.of(self._directory, snapshot, self._node)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """From the look at the log's end to the commit nobody else appends anything."""
        with self._turn, append_lock(self._directory, LOCK_SECONDS):
            yield

    def _admit(self, one: Publication) -> bool:
        """Whether there is something to commit; raises where that must not be."""
        with self._reading() as (snapshot, moment):
            if known(moment.reader, one) is not None:
                return False
            self._at_home(snapshot, one.author, one.entry.log_id)
            for guard in self._guards:
                guard(snapshot, one)
            if moment.reader.by_id(one.member.id) is None:
                judge(moment, one)
            return True

    def _after(self, one: Publication) -> NextArgs:
        """Where the entry's log goes on: after its end, which is this entry unless it was here
        before."""
        entry = one.entry
        with self._reading() as (_, moment):
            try:
                return end_of(moment, entry.author, entry.log_id)
            except LocalError as error:
                raise type(error)(f"The entry is on the disk here. {error}") from error
