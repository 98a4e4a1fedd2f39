"""Publishing at the home: ask it what is next, sign that if it is, hand it in, keep its receipt.

    ask who is there -> nextArgs -> (lock: ledger, sign, ledger, store) -> publish -> receipt

An entry is on the disk here, first in the ledger and then in the store, before it leaves. So
wherever this is stopped, it is not signed twice, and goes to the home with the next sync, or
before the next entry of its log, as the very same bytes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from bamboo_compat.client.desk import Desk
from bamboo_compat.core.entry import Entry, decode
from bamboo_compat.core.lipmaa import lipmaa, path
from bamboo_compat.core.profiles import PROFILES
from bamboo_compat.core.yamf import Flavour, flavour_of
from bamboo_compat.decisions.view import View
from bamboo_compat.homes.asking import Head, heads_elsewhere
from bamboo_compat.homes.errors import NextRefusedError, NotTakenError
from bamboo_compat.homes.joining import Me, who_is_there
from bamboo_compat.homes.ledger import Ledger, Signed, ledgers
from bamboo_compat.homes.publishing import (
    INDEX,
    DirectoryState,
    check_heads,
    check_home,
    check_ledger,
    check_place,
    finish,
    follow_decision,
    open_indexes,
)
from bamboo_compat.homes.receipts import Receipt, Receipts, is_for, read_receipt
from bamboo_compat.homes.signing import NextArgs, sign_next
from bamboo_compat.server import publishing as rules
from bamboo_compat.server.operations import Operation, read_operation
from bamboo_compat.set.appending import NextPlace, append_lock
from bamboo_compat.set.format import collection_of
from bamboo_compat.set.reading import Reader
from setsync.errors import SetsyncError
from setsync.model.entry import Entry as Member
from setsync.model.entry import UnverifiedEntry, verify
from setsync.store.contract import Origin

PROFILE = PROFILES["aquadoggo"]


@dataclass(frozen=True, slots=True)
class Sent:
    """An entry that the home has. `again`: it had been signed before, for the same payload, and
    had not got there; nothing was signed now."""

    member: Member
    receipt: Receipt
    again: bool = False

    @property
    def entry(self) -> Entry:
        """The entry's fields."""
        return decode(self.member.header)


def publish(me: Me, desk: Desk, payload: bytes, log_id: int | None = None) -> Sent:
    """Publish an operation at the home; with a `log_id` only if that is its log.

    Raises BadOperationError, NotTheHomeError, TwoHomesError, CopiedDirectoryError,
    BehindHeadError, NextRefusedError, LedgerError, what `View.next_place` and the documents of
    `server` raise, HomeRefusedError, PeerError and its kinds: nothing was signed then.
    NotTakenError: it was.
    """
    operation = read_operation(payload)
    server = _home_there(me, desk)
    unsent = _unconfirmed(me, operation)
    if unsent is None:
        args = _ask(me, desk, operation, log_id)
        unsent = _asked_for(me, args)
    if unsent is not None:
        receipt = _hand_in(me, desk, server, unsent.header, unsent.payload)
        if unsent.payload == payload:
            return Sent(_member(unsent.header, payload), receipt, again=True)
        args = _ask(me, desk, operation, log_id)
    heads = heads_elsewhere(me.directory, desk.web.url, me.key, args.log_id)
    member = _sign(me, args, operation, payload, heads)
    return Sent(member, _hand_in(me, desk, server, member.header, payload))


def _home_there(me: Me, desk: Desk) -> bytes:
    """The node id of who answers, which is the author's home unless it has none."""
    state = DirectoryState.of(me.directory)
    check_place(state)
    open_indexes(me.store)
    server = who_is_there(me, desk.web).node
    with me.store.snapshot() as snapshot:
        check_home(snapshot, replace(state, node=server, mine={}), me.author)
    return server


def _ask(me: Me, desk: Desk, operation: Operation, log_id: int | None) -> NextArgs:
    args = desk.next_args(me.author, operation.previous)
    if log_id not in (None, args.log_id):
        raise NextRefusedError(
            f"By what the home says the operation goes into log {args.log_id}, not {log_id}."
        )
    return args


# --- what was signed before ---------------------------------------------------------------


def _unconfirmed(me: Me, operation: Operation) -> Signed | None:
    """The entry signed last in the log that the operation goes into, if no home has signed that
    it has it. What comes next may follow it, and then a home without it cannot say anything."""
    with me.store.snapshot() as snapshot:
        moment = View.of(me.directory.path, snapshot, me.directory.node_key().public)
        ours = rules.next_args(moment, me.author, operation.previous)
    signed = _last(me, ours.log_id)
    if signed is None:
        return None
    receipt = Receipts(me.directory.path).find(me.author, ours.log_id, signed.seq_num)
    is_confirmed = receipt is not None and is_for(receipt, signed.header, receipt.server)
    return None if is_confirmed else signed


def _asked_for(me: Me, args: NextArgs) -> Signed | None:
    """The entry signed last in a log, if the home asks for its number."""
    signed = _last(me, args.log_id)
    return signed if signed is not None and signed.seq_num == args.seq_num else None


def _last(me: Me, log_id: int) -> Signed | None:
    """The entry signed last in a log, which is in the store now. Where it forks the log, what
    `View.next_place` raises: no home could take it."""
    folder, node = me.directory.path, me.directory.node_key().public
    ledger = Ledger(folder, me.author, log_id)
    with append_lock(folder):
        if finish(me.store, ledger, me.clock(), PROFILE.name):
            with me.store.snapshot() as snapshot:
                View.of(folder, snapshot, node).next_place(me.author, log_id)
        return ledger.unfinished()


# --- signing ------------------------------------------------------------------------------


def _sign(
    me: Me, args: NextArgs, operation: Operation, payload: bytes, heads: list[Head]
) -> Member:
    """The entry, in ledger and store."""
    folder, node = me.directory.path, me.directory.node_key().public
    ledger = Ledger(folder, me.author, args.log_id)
    with append_lock(folder):
        state = DirectoryState.of(me.directory)
        check_place(state)
        finish(me.store, ledger, me.clock(), PROFILE.name)
        with me.store.snapshot() as snapshot:
            check_ledger(snapshot, state, me.author, args.log_id)
            check_heads(snapshot, me.author, args.log_id, heads)
            place, named = _by_our_own(me, View.of(folder, snapshot, node), args, operation)
        follow_decision(me.store, ledger, place)
        said = _in_our_names(args, named, place)
        with me.store.snapshot() as snapshot:
            older = _Below(Reader(snapshot.index_tables(INDEX)), place)
            header = sign_next(said, ledger, me.key, payload, flavour=older.flavour, older=older)
        member = _member(header, payload)
        me.store.add_many([member], [(0, Origin(me.clock()))])
    return member


def _by_our_own(
    me: Me, moment: View, args: NextArgs, operation: Operation
) -> tuple[NextPlace, rules.NextArgs]:
    """Where the entry goes by what is here, in the names that it has here, and in those that a
    home tells. Raises NextRefusedError for another log: a document with two logs of one author is
    a fork as well."""
    ours = rules.next_args(moment, me.author, operation.previous)
    if ours.seq_num > 1:
        if args.log_id != ours.log_id:
            raise NextRefusedError(
                f"The server says that the operation goes into log {args.log_id}; what it changes "
                f"is in log {ours.log_id}."
            )
        return moment.next_place(me.author, ours.log_id), ours
    # A home may know of logs that are not here, and opens one above them.
    used = [one.log_id for one in ledgers(me.directory.path, me.author) if one.head() is not None]
    lowest = max([ours.log_id, *(one + 1 for one in used)])
    if args.log_id < lowest:
        raise NextRefusedError(
            f"The server opens log {args.log_id}, and what is signed here begins a new one, "
            f"{lowest} or above."
        )
    return NextPlace(1, None, None), rules.NextArgs(args.log_id, 1)


def _in_our_names(args: NextArgs, named: rules.NextArgs, place: NextPlace) -> NextArgs:
    """Homes tell links as BLAKE3 hashes, whatever the log uses; a link that is not ours stays as
    it is, for `sign_next` to refuse."""
    backlink = place.backlink if args.backlink == named.backlink else args.backlink
    lipmaalink = place.lipmaalink if args.lipmaalink == named.skiplink else args.lipmaalink
    return replace(args, backlink=backlink, lipmaalink=lipmaalink)


class _Below:
    """The entries that the next one stands on, by their links. See `signing.Older`."""

    def __init__(self, reader: Reader, place: NextPlace) -> None:
        self._reader = reader
        self._head = reader.find(place.backlink) if place.backlink is not None else None

    @property
    def flavour(self) -> Flavour:
        """As the entry before hashes; BLAKE3 in a new log."""
        if self._head is None:
            return Flavour.YASMF
        return flavour_of(self._reader.shelf.decoded(self._head).payload_hash)

    def hash_at(self, seq_num: int) -> bytes | None:
        node = self._head
        if node is None or seq_num > node.seq_num:
            return None
        for number in path(node.seq_num, seq_num)[1:]:
            is_lipmaa = lipmaa(node.seq_num) == number
            node = self._reader.lipmaa_target(node) if is_lipmaa else self._reader.parent(node)
            if node is None:
                return None
        return self._reader.shelf.hash(node)


def _member(header: bytes, payload: bytes) -> Member:
    """The entry, verified like anybody's."""
    collection = collection_of(PROFILE, decode(header), payload)
    return verify(UnverifiedEntry(collection, header, payload))


# --- handing in ---------------------------------------------------------------------------


def _hand_in(me: Me, desk: Desk, server: bytes, header: bytes, payload: bytes) -> Receipt:
    """The home's receipt, kept. Raises NotTakenError."""
    entry = decode(header)
    what = f"Entry {entry.seq_num} of log {entry.log_id} is signed"
    try:
        receipt = read_receipt(desk.publish(header, payload))
    except SetsyncError as error:
        raise NotTakenError(
            f"{what}, and the home has not confirmed it: {error.message}"
        ) from error
    if not is_for(receipt, header, server):
        raise NotTakenError(f"{what}, and what the home gave is no receipt of its own for it.")
    Receipts(me.directory.path).keep(receipt)
    return receipt


__all__ = ["Sent", "publish"]
