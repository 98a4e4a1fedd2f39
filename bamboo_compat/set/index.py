"""The index of logs: what a batch of entries changes in it, entry by entry.

It is a function of the entries that are here and of their payloads, and not of the order in
which they came (but for arrival numbers, which are this node's own). Every step is bounded
by what the entry itself touches, never by how long its log is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b

from bamboo_compat.core.entry import Entry
from bamboo_compat.core.profiles import PROFILES, read_operation
from bamboo_compat.core.report import Standing
from bamboo_compat.set import layout
from bamboo_compat.set.branches import Branches, Forks
from bamboo_compat.set.claims import entry_of
from bamboo_compat.set.layout import Flag, Link, LogRow, Node, link_of, loose_key, node_key
from bamboo_compat.set.shelf import Shelf
from bamboo_compat.set.standings import Standings, attach, keys_from, leads_to, wanted
from bamboo_compat.set.subjects import FLAGS, Subjects, claimed_profile
from setsync.errors import PayloadNeededError
from setsync.model.formats import Claims
from setsync.model.indexes import Arrived, Payload, Tables


class BambooIndex:
    """See `setsync.model.indexes.Index`."""

    tables: tuple[bytes, ...] = layout.TABLES

    def add(self, tables: Tables, arrived: Sequence[Arrived]) -> None:
        """Take in a batch."""
        update = _Update(Shelf(tables))
        tables.table(layout.STATE).put(layout.STATE_VERSION, layout.VERSION)
        for one in arrived:
            update.take(one)
        update.finish()

    def collections(self, claims: Claims, payload: bytes) -> Iterable[str]:
        """One of each profile."""
        operation, log_id = read_operation(payload), entry_of(claims).log_id
        schema = operation.schema if operation is not None else None
        return [profile.collection(log_id, schema) for profile in PROFILES.values()]

    def dropped(self, tables: Tables, payload: Payload) -> None:
        """The entry has no payload here, or that of a copy elsewhere. What the payload said
        stays noted: subjects, documents and forks are facts, whoever still has the evidence.

        Raises PayloadNeededError for evidence of a fork that no other copy has.
        """
        shelf = Shelf(tables)
        node = _node_of(shelf, payload)
        if not node.has(Flag.WITHHELD) and node.payload_arrival != payload.arrival:
            return  # it is read from another copy
        if payload.elsewhere is not None:
            node.payload_arrival = payload.elsewhere
        else:
            _refuse_evidence(tables, node)
            if not node.has(Flag.WITHHELD):
                shelf.log(node.log).withheld += 1
            node.flags |= Flag.WITHHELD
            node.payload_arrival = payload.arrival
        shelf.changed(node)
        shelf.flush()

    def restored(self, tables: Tables, payload: Payload) -> None:
        """The copy that was dropped counts as withheld."""
        shelf = Shelf(tables)
        node = _node_of(shelf, payload)
        if node.payload_arrival == payload.arrival:
            node.payload_arrival = 0
            shelf.changed(node)
            shelf.flush()

    def check(self, tables: Tables) -> Iterator[str]:
        """Everything again from the entries themselves; see `checking`."""
        from bamboo_compat.set.checking import check_index  # not needed to add

        return check_index(tables)


def _node_of(shelf: Shelf, payload: Payload) -> Node:
    entry = entry_of(payload.claims)
    log = shelf.open_log(entry.author, entry.log_id)
    return shelf.expect(node_key(log.number, entry.seq_num, payload.id))


def _refuse_evidence(tables: Tables, node: Node) -> None:
    """That an author has two logs for one thing can be shown by their payloads alone."""
    from bamboo_compat.set.reading import Reader  # not needed to add

    for fork in Reader(tables).forks_shown_by(node):
        raise PayloadNeededError(
            f"The payload of {node.id.hex()} stays: it shows the fork {fork.hex()}, and nothing "
            "else can."
        )


class _Update:
    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf
        self._forks = Forks(shelf)
        self._standings = Standings(shelf)
        self._branches = Branches(shelf, self._forks)
        self._subjects = Subjects(shelf, self._forks)

    def finish(self) -> None:
        """Write what is written once a batch."""
        self._shelf.flush()

    def take(self, one: Arrived) -> None:
        """An entry that is new in a collection, or has its payload now."""
        self._shelf.tidy()
        self._forks.arrival = one.arrival
        entry = entry_of(one.entry.claims)
        log = self._shelf.open_log(entry.author, entry.log_id)
        key = node_key(log.number, entry.seq_num, one.entry.id)
        if self._shelf.node(key) is None:
            self._insert(log, key, entry, one)
        self._file(log, self._shelf.expect(key), one)

    # --- a new entry ----------------------------------------------------------------------

    def _insert(self, log: LogRow, key: bytes, entry: Entry, one: Arrived) -> None:
        twin = blake2b(one.entry.header).digest()
        other = self._other_at(log, entry.seq_num)
        node = Node(
            log.number,
            entry.seq_num,
            one.entry.id,
            one.arrival,
            0,
            Standing.WAITING,
            _first_flags(entry),
            link_of(entry.backlink) if entry.backlink else b"",
            link_of(entry.lipmaalink) if entry.lipmaalink else b"",
            b"",
        )
        log.height = max(log.height, entry.seq_num)
        log.numbers += other is None
        log.entries += 1
        log.waiting += 1
        log.withheld += 1
        log.ended += entry.end_of_log
        self._follow_links(node, entry)
        self._shelf.insert(node)
        self._shelf.name(node, twin)
        if other is not None:
            self._branches.added(node, other)
        children = self._attach_waiting(node, twin)
        if not any(leads_to(child, Link.BACKLINK, node) for child in children):
            self._shelf.heads.put(key, b"")
        self._standings.settle([node, *children])

    def _other_at(self, log: LogRow, seq_num: int) -> Node | None:
        if seq_num > log.height:
            return None
        return next(self._shelf.at(log.number, seq_num), None)

    def _follow_links(self, node: Node, entry: Entry) -> None:
        """Attach the links to what is here; note the others as loose."""
        for link, tagged in ((Link.BACKLINK, entry.backlink), (Link.LIPMAALINK, entry.lipmaalink)):
            if tagged is None:
                continue
            target = self._shelf.named(tagged, node.log, wanted(link, node.seq_num))
            if target is None:
                self._shelf.loose.put(loose_key(link_of(tagged), link, node.key), b"")
            else:
                self._attach(node, link, target)

    def _attach(self, node: Node, link: Link, target: Node) -> None:
        in_place = attach(node, link, target)
        if in_place and link is Link.BACKLINK:
            self._shelf.heads.delete(target.key)
        self._forks.after_end(node, target)

    def _attach_waiting(self, target: Node, twin: bytes) -> list[Node]:
        """The entries that have named this one, by either hash, before it came."""
        loose = self._shelf.loose
        children: list[Node] = []
        if not len(loose):
            return children
        for name in layout.names_of(target.id, twin):
            for link in (Link.BACKLINK, Link.LIPMAALINK):
                prefix = loose_key(name, link)
                for key in list(keys_from(loose.items(prefix), prefix)):
                    loose.delete(key)
                    child = self._shelf.expect(key[len(prefix) :])
                    before = child.backlink if link is Link.BACKLINK else child.lipmaalink
                    self._attach(child, link, target)
                    self._shelf.changed(child)
                    self._branches.attached(child, link, before)
                    children.append(child)
        return children

    # --- its payload and its collections --------------------------------------------------

    def _file(self, log: LogRow, node: Node, one: Arrived) -> None:
        """Where the entry is a member, and what its payload says."""
        profile = FLAGS[claimed_profile(one.entry.collection)][0]
        flags, payload = node.flags | profile, one.entry.payload
        if payload is not None and flags & Flag.WITHHELD:
            flags &= ~Flag.WITHHELD
            node.payload_arrival = one.arrival
            log.withheld -= 1
        if flags != node.flags:
            node.flags = flags
            self._shelf.changed(node)
        if payload is None and node.payload_arrival:
            payload = self._shelf.entry(node)[1]
        if payload is not None:
            self._subjects.read(node, payload)


def _first_flags(entry: Entry) -> int:
    flags = Flag.WITHHELD
    if entry.end_of_log:
        flags |= Flag.END_OF_LOG
    if entry.backlink is not None:
        flags |= Flag.HAS_BACKLINK
    if entry.lipmaalink is not None:
        flags |= Flag.HAS_LIPMAALINK
    return flags
