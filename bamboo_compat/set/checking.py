"""The index against the entries it is about.

Every standing is judged again from those of the entries it stands on. These have lower
numbers, so if each is right given those below it, all are right. Links, names, heads,
contested numbers and counters are derived again as well. Memory does not grow with a log.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import blake2b
from itertools import groupby

from bamboo_compat.core.entry import BadEntryError, decode
from bamboo_compat.core.report import Standing
from bamboo_compat.set import layout
from bamboo_compat.set.layout import Flag, Level, Link, LogRow, Node, contested_key
from bamboo_compat.set.shelf import Shelf
from bamboo_compat.set.standings import Standings, keys_from, leads_to, wanted
from setsync.errors import DamagedStoreError
from setsync.model.entry import entry_id
from setsync.model.indexes import Tables


def check_index(tables: Tables) -> Iterator[str]:
    """A sentence for each thing that is not as it should be."""
    check = _Check(tables)
    counted = {"entries": 0, "heads": 0, "loose links": 0, "contested numbers": 0}
    for key, row in Shelf(tables).logs():
        author, log_id = layout.split_log_key(key)
        where = f"Bamboo log {log_id} of {author.hex()}"
        try:
            for sentence in check.log(row, counted):
                yield f"{where}: {sentence}"
        except DamagedStoreError as error:
            yield f"{where}: {error.message}"
    kept = {
        "entries": len(tables.table(layout.NODES)),
        "heads": len(tables.table(layout.HEADS)),
        "loose links": sum(1 for key in _keys(tables, layout.LOOSE) if _is_of_log(key)),
        "contested numbers": len(tables.table(layout.LEVELS)),
    }
    for what, number in counted.items():
        if kept[what] != number:
            yield f"The Bamboo index has {kept[what]} {what} and should have {number}."
    if len(tables.table(layout.NAMES)) != 2 * counted["entries"]:
        yield "The Bamboo index has names that belong to no entry."


def _keys(tables: Tables, table: bytes) -> Iterator[bytes]:
    return (key for key, _ in tables.table(table).items())


def _is_of_log(loose: bytes) -> bool:
    return loose[layout.LINK_BYTES] != Link.PREVIOUS


class _Check:
    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._shelf = Shelf(tables)
        self._standings = Standings(self._shelf)
        self._levels = tables.table(layout.LEVELS)
        self._contested = tables.table(layout.CONTESTED)

    def log(self, row: LogRow, counted: dict[str, int]) -> Iterator[str]:
        """One log, number by number."""
        found = LogRow(row.number)
        nodes = self._shelf.log_nodes(row.number)
        for seq_num, level in groupby(nodes, key=lambda node: node.seq_num):
            found.height = seq_num
            found.numbers += 1
            members = 0
            families: set[bytes] = set()
            orphans = 0
            for node in level:
                self._shelf.tidy()
                yield from self._node(node, counted)
                _count(found, node)
                members += 1
                families.add(node.backlink)
                orphans += seq_num > 1 and not node.has(Flag.BACKLINK_FOUND)
            if members > 1:
                counted["contested numbers"] += 1
                yield from self._level(row.number, seq_num, Level(members, len(families), orphans))
        if found != row:
            yield f"its counters are {row} and should be {found}."

    def _level(self, log: int, seq_num: int, found: Level) -> Iterator[str]:
        key = layout.level_key(log, seq_num)
        value = self._levels.get(key)
        if value is None or Level.unpack(value) != found:
            yield f"number {seq_num} is contested by {found}, and kept otherwise."
        for node in self._shelf.at(log, seq_num):
            rows = [contested_key(key, Link.BACKLINK, node.backlink or layout.NOTHING, node.id)]
            if node.has(Flag.HAS_LIPMAALINK):
                rows.append(contested_key(key, Link.LIPMAALINK, node.lipmaalink, node.id))
            if any(self._contested.get(row) is None for row in rows):
                yield f"entry {node.id.hex()} is not among those that contest number {seq_num}."

    def _node(self, node: Node, counted: dict[str, int]) -> Iterator[str]:
        counted["entries"] += 1
        header, _ = self._tables.logged(node.arrival)
        try:
            entry = decode(header)
        except BadEntryError:
            yield f"arrival {node.arrival} is no Bamboo entry."
            return
        owner = self._shelf.owner(node.log)
        if (entry_id(header), entry.author, entry.log_id, entry.seq_num) != (
            node.id,
            *owner,
            node.seq_num,
        ):
            yield f"arrival {node.arrival} is not entry {node.id.hex()}."
            return
        if node.payload_arrival:
            is_gone = self._tables.logged(node.payload_arrival)[1] is None
            if is_gone and not node.has(Flag.WITHHELD):
                yield f"entry {node.id.hex()} should have its payload and has not."
            if node.has(Flag.WITHHELD) and not is_gone:
                yield f"entry {node.id.hex()} should not have its payload and has."
        for link, tagged in ((Link.BACKLINK, entry.backlink), (Link.LIPMAALINK, entry.lipmaalink)):
            if tagged is not None:
                yield from self._link(node, link, tagged, counted)
        if self._standings.judge(node) != (node.standing, node.has(Flag.INHERITED)):
            yield f"entry {node.id.hex()} is kept as {node.standing}, against its links."
        is_head = not self._has_child(node)
        counted["heads"] += is_head
        if (self._shelf.heads.get(node.key) is not None) != is_head:
            yield f"entry {node.id.hex()} and the heads do not fit."
        for digest in (node.id, blake2b(header).digest()):
            name = layout.name_key(digest, node.log, node.seq_num, node.id)
            if self._shelf.names.get(name) is None:
                yield f"entry {node.id.hex()} is not found by its hashes."

    def _link(
        self, node: Node, link: Link, tagged: bytes, counted: dict[str, int]
    ) -> Iterator[str]:
        target = self._shelf.named(tagged, node.log, wanted(link, node.seq_num))
        kept = node.backlink if link is Link.BACKLINK else node.lipmaalink
        if target is None:
            counted["loose links"] += 1
            named = layout.link_of(tagged)
            loose = layout.loose_key(named, link, node.key)
            if kept != named or self._shelf.loose.get(loose) is None:
                yield f"a link of entry {node.id.hex()} leads nowhere, and is not kept as that."
            return
        in_place = (target.log, target.seq_num) == (node.log, wanted(link, node.seq_num))
        if kept != layout.link_to(target.id) or leads_to(node, link, target) != in_place:
            yield f"a link of entry {node.id.hex()} is not kept as it leads."

    def _has_child(self, node: Node) -> bool:
        if node.seq_num >= self._shelf.log(node.log).height:
            return False
        level = layout.level_key(node.log, node.seq_num + 1)
        if self._levels.get(level) is not None:
            prefix = contested_key(level, Link.BACKLINK, layout.link_to(node.id))
            return any(True for _ in keys_from(self._contested.items(prefix), prefix))
        above = self._shelf.at(node.log, node.seq_num + 1)
        return any(leads_to(other, Link.BACKLINK, node) for other in above)


def _count(found: LogRow, node: Node) -> None:
    found.entries += 1
    found.verified += node.standing is Standing.VERIFIED
    found.waiting += node.standing is Standing.WAITING
    found.broken += node.standing is Standing.BROKEN
    found.inherited += node.has(Flag.INHERITED)
    found.withheld += node.has(Flag.WITHHELD)
    found.ended += node.has(Flag.END_OF_LOG)
