"""The index's tables inside one transaction, as logs and nodes."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import blake2b

from bamboo_compat.core.entry import Entry, decode
from bamboo_compat.core.yamf import Flavour
from bamboo_compat.set import layout
from bamboo_compat.set.layout import LogRow, Node, node_key, unpack_node
from setsync.errors import DamagedStoreError, StoreError
from setsync.model.indexes import Table, Tables

_YASMF = Flavour.YASMF.value
_PREFIX = 2
# Nodes kept at hand, about 400 bytes each.
_AT_HAND = 20_000


class OtherIndexError(StoreError):
    """Sync into a new directory. Or run 'setsync export' with the version of setsync that wrote
    this one, and 'setsync import' with this version in a new one."""

    code = "other_index"


class Shelf:
    """Reads and writes what `layout` describes. Every node is one object while it is at hand."""

    def __init__(self, tables: Tables) -> None:
        """Raises OtherIndexError."""
        _refuse_other_version(tables)
        self._tables = tables
        self.nodes = tables.table(layout.NODES)
        self.names = tables.table(layout.NAMES)
        self.loose = tables.table(layout.LOOSE)
        self.heads = tables.table(layout.HEADS)
        self._numbers = tables.table(layout.NUMBERS)
        self._logs = tables.table(layout.LOGS)
        self._at_hand: dict[bytes, Node] = {}
        self._changed: dict[bytes, Node] = {}
        self._rows: dict[bytes, LogRow] = {}
        self._keys: dict[int, bytes] = {}

    def table(self, name: bytes) -> Table:
        """Another of the index's tables."""
        return self._tables.table(name)

    # --- logs -----------------------------------------------------------------------------

    def find_log(self, author: bytes, log_id: int) -> LogRow | None:
        """The log of an author, if an entry of it is here."""
        key = layout.log_key(author, log_id)
        row = self._rows.get(key)
        if row is None and (value := self._logs.get(key)) is not None:
            row = self._rows[key] = LogRow.unpack(value)
            self._keys[row.number] = key
        return row

    def open_log(self, author: bytes, log_id: int) -> LogRow:
        """The log of an author; a new one gets a number."""
        row = self.find_log(author, log_id)
        if row is None:
            state = self.table(layout.STATE)
            number = int.from_bytes(state.get(layout.STATE_LOGS) or b"", "big") + 1
            state.put(layout.STATE_LOGS, layout.number_key(number))
            key = layout.log_key(author, log_id)
            self._numbers.put(layout.number_key(number), key)
            row = self._rows[key] = LogRow(number)
            self._keys[number] = key
        return row

    def log(self, number: int) -> LogRow:
        """The log with this number."""
        row = self.find_log(*self.owner(number))
        if row is None:
            raise DamagedStoreError(f"The Bamboo log with number {number} has no record.")
        return row

    def owner(self, number: int) -> tuple[bytes, int]:
        """The author and the log id behind a number."""
        key = self._keys.get(number)
        if key is None:
            key = self._numbers.get(layout.number_key(number))
            if key is None:
                raise DamagedStoreError(f"A Bamboo log has the number {number} and no name.")
            self._keys[number] = key
        return layout.split_log_key(key)

    def flush(self) -> None:
        """Write every log that was looked at, and every node that was changed."""
        for key, row in self._rows.items():
            self._logs.put(key, row.pack())
        self._put_changed()

    def logs(self, author: bytes = b"", start: bytes = b"") -> Iterator[tuple[bytes, LogRow]]:
        """Logs as the tables have them, with their keys, by author and log id."""
        for key, value in self._logs.items(max(author, start)):
            if not key.startswith(author):
                return
            yield key, LogRow.unpack(value)

    # --- nodes ----------------------------------------------------------------------------

    def node(self, key: bytes) -> Node | None:
        """The node with this key."""
        node = self._at_hand.get(key)
        if node is None and (value := self.nodes.get(key)) is not None:
            node = self._at_hand[key] = unpack_node(key, value)
        return node

    def expect(self, key: bytes) -> Node:
        """The node with this key, of which another table says that it is here."""
        node = self.node(key)
        if node is None:
            raise DamagedStoreError("The index names a Bamboo entry that it does not have.")
        return node

    def insert(self, node: Node) -> None:
        """Add a node. Its key is in the table from now on."""
        key = node.key
        self._at_hand[key] = node
        self.nodes.put(key, node.pack())

    def changed(self, node: Node) -> None:
        """A node's value has changed; it is written later, once."""
        key = node.key
        self._at_hand[key] = self._changed[key] = node

    def _put_changed(self) -> None:
        for key in sorted(self._changed):
            self.nodes.put(key, self._changed[key].pack())
        self._changed.clear()

    def tidy(self) -> None:
        """Let nodes go when there are many. Whoever calls holds none."""
        if len(self._at_hand) > _AT_HAND:
            self._put_changed()
            self._at_hand.clear()

    def at(self, log: int, seq_num: int) -> Iterator[Node]:
        """The nodes with one number, by id."""
        yield from self._from(layout.level_key(log, seq_num))

    def log_nodes(self, log: int, first: int = 0) -> Iterator[Node]:
        """The nodes of a log from a number on, by number and id; kept nowhere."""
        prefix = layout.number_key(log)
        for key, value in self.nodes.items(layout.level_key(log, first)):
            if not key.startswith(prefix):
                return
            yield unpack_node(key, value)

    def _from(self, prefix: bytes) -> Iterator[Node]:
        for key, value in self.nodes.items(prefix):
            if not key.startswith(prefix):
                return
            node = self._at_hand.get(key)
            if node is None:
                node = self._at_hand[key] = unpack_node(key, value)
            yield node

    def entry(self, node: Node) -> tuple[bytes, bytes | None]:
        """The entry's own bytes, and its payload where that is here."""
        header, payload = self._tables.logged(node.payload_arrival or node.arrival)
        return header, payload

    def decoded(self, node: Node) -> Entry:
        """The entry."""
        return decode(self._tables.logged(node.arrival)[0])

    def hash(self, node: Node) -> bytes:
        """The tagged hash of an entry, in the flavour of its own payload hash."""
        if self.decoded(node).payload_hash.startswith(_YASMF):
            return _YASMF + node.id
        return Flavour.YAMF.value + self.twin(node)

    def twin(self, node: Node) -> bytes:
        """BLAKE2b-512 of the entry's bytes: its other name."""
        return blake2b(self._tables.logged(node.arrival)[0]).digest()

    # --- names ----------------------------------------------------------------------------

    def name(self, node: Node, twin: bytes) -> None:
        """Write down both hashes of an entry, so that it is found by either."""
        self.names.put(layout.name_key(node.id, node.log, node.seq_num, node.id), b"")
        self.names.put(layout.name_key(twin, node.log, node.seq_num, node.id), b"")

    def named(self, tagged: bytes, log: int, wanted: int) -> Node | None:
        """The entry with this tagged hash. It is looked for in the place where it should be
        first, which is where nearly all are."""
        digest = tagged[_PREFIX:]
        if tagged.startswith(_YASMF):
            node = self.node(node_key(log, wanted, digest))
            if node is not None:
                return node
        prefix = digest[: layout.NAME_BYTES]
        for key, _ in self.names.items(prefix):
            if not key.startswith(prefix):
                return None
            for node in self._from(key[layout.NAME_BYTES :]):
                if self._is(node, tagged, digest):
                    return node
        return None

    def _is(self, node: Node, tagged: bytes, digest: bytes) -> bool:
        if tagged.startswith(_YASMF):
            return node.id == digest
        return self.twin(node) == digest


def _refuse_other_version(tables: Tables) -> None:
    """A new store has none yet."""
    version = tables.table(layout.STATE).get(layout.STATE_VERSION)
    if version not in (None, layout.VERSION):
        number, ours = (int.from_bytes(one, "big") for one in (version, layout.VERSION))
        raise OtherIndexError(
            f"The index of Bamboo logs here is of version {number}; this version of setsync reads "
            f"version {ours}."
        )
