"""Forks of a log, found as entries arrive. The rules are those of `bamboo_compat.core.forks`.

Nearly every number of a log belongs to one entry, and nothing is kept for it. From the
second entry on a number is contested: its entries then also lie ordered by what they link
to, so that neither a look for a fork nor a look for children ever walks over all of them,
however many an author signs.
"""

from __future__ import annotations

from itertools import islice

from bamboo_compat.core.forks import fork_id
from bamboo_compat.core.report import ForkKind
from bamboo_compat.core.yamf import Flavour
from bamboo_compat.set import layout
from bamboo_compat.set.layout import Flag, ForkRow, Level, Link, Node, contested_key, level_key
from bamboo_compat.set.shelf import Shelf
from bamboo_compat.set.standings import keys_from

KINDS = {ForkKind.BRANCH: 1, ForkKind.DOUBLE_SCHEMA: 2, ForkKind.AFTER_END: 3}
KINDS_BY_NUMBER = {number: kind for kind, number in KINDS.items()}
_HERE = Flag.BACKLINK_FOUND | Flag.BACKLINK_ASTRAY


class Forks:
    """The rows of forks, and from where on they put which log in doubt."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf
        self._forks = shelf.table(layout.FORKS)
        self._doubts = shelf.table(layout.DOUBTS)
        self.arrival = 0  # of the entry that is being taken in

    def put(self, kind: ForkKind, node: Node, seq_num: int, parent: bytes) -> None:
        """Note a branch or an end that was not one, if it is not known."""
        fork = self._id(kind, node, seq_num, parent)
        self.note(fork, ForkRow(KINDS[kind], 0, node.log, seq_num, self.arrival, parent))
        self._doubts.put(layout.doubt_key(node.log, seq_num, fork), b"")

    def note(self, fork: bytes, row: ForkRow) -> bool:
        """Put a row if there is none yet; whether that was so."""
        if self._forks.get(fork) is not None:
            return False
        self._forks.put(fork, row.pack())
        return True

    def drop(self, kind: ForkKind, node: Node, seq_num: int, parent: bytes) -> None:
        """Forget a fork that has turned out to be part of another."""
        fork = self._id(kind, node, seq_num, parent)
        self._forks.delete(fork)
        self._doubts.delete(layout.doubt_key(node.log, seq_num, fork))

    def _id(self, kind: ForkKind, node: Node, seq_num: int, parent: bytes) -> bytes:
        author, log_id = self._shelf.owner(node.log)
        return fork_id(kind, author, log_id, seq_num, parent)

    def after_end(self, node: Node, target: Node) -> None:
        """A link leads from `node` to `target`: was that an end of the log?"""
        if target.has(Flag.END_OF_LOG) and target.log == node.log and target.seq_num < node.seq_num:
            parent = Flavour.YASMF.value + target.id
            self.put(ForkKind.AFTER_END, target, target.seq_num + 1, parent)


class Branches:
    """Keeps contested numbers, and finds the branches among them.

    A family is what entries with one number have as their backlink, as nodes keep links. An
    orphan's backlink leads to nothing in its place.
    """

    def __init__(self, shelf: Shelf, forks: Forks) -> None:
        self._shelf = shelf
        self._forks = forks
        self._levels = shelf.table(layout.LEVELS)
        self._contested = shelf.table(layout.CONTESTED)

    def added(self, node: Node, other: Node) -> None:
        """Another entry with the same number is here."""
        key = level_key(node.log, node.seq_num)
        value = self._levels.get(key)
        if value is None:
            level = Level(0, 0, 0)
            self._join(key, level, other)
        else:
            level = Level.unpack(value)
        self._join(key, level, node)
        self._levels.put(key, level.pack())
        self._look_at_family(key, _family(node))
        self._look_at_level(node, level)

    def _join(self, key: bytes, level: Level, node: Node) -> None:
        family = _family(node)
        level.entries += 1
        level.families += not self._members(key, family, 1)
        level.orphans += _is_orphan(node)
        self._contested.put(contested_key(key, Link.BACKLINK, family, node.id), b"")
        if node.has(Flag.HAS_LIPMAALINK):
            self._contested.put(contested_key(key, Link.LIPMAALINK, node.lipmaalink, node.id), b"")

    def attached(self, node: Node, link: Link, before: bytes) -> None:
        """A link of `node`, kept as `before`, leads to something now."""
        key = level_key(node.log, node.seq_num)
        value = self._levels.get(key) if len(self._levels) else None
        if value is None:
            return
        now = node.backlink if link is Link.BACKLINK else node.lipmaalink
        if link is Link.LIPMAALINK:
            self._move(key, link, node, before, now)
            return
        level = Level.unpack(value)
        level.orphans -= not _is_orphan(node)
        if before != now:
            joins = bool(self._members(key, now, 1))
            self._move(key, link, node, before, now)
            left = self._members(key, before, 2)
            level.families += (not joins) - (not left)
            if len(left) < 2:
                tagged = self._shelf.decoded(node).backlink or b""
                self._forks.drop(ForkKind.BRANCH, node, node.seq_num, tagged)
        self._levels.put(key, level.pack())
        self._look_at_family(key, now)
        self._look_at_level(node, level)

    def _move(self, key: bytes, link: Link, node: Node, before: bytes, now: bytes) -> None:
        if before != now:
            self._contested.delete(contested_key(key, link, before, node.id))
            self._contested.put(contested_key(key, link, now, node.id), b"")

    def _members(self, level: bytes, family: bytes, limit: int) -> list[bytes]:
        """The ids of some entries of a family."""
        prefix = contested_key(level, Link.BACKLINK, family)
        keys = islice(keys_from(self._contested.items(prefix), prefix), limit)
        return [key[-layout.ID_BYTES :] for key in keys]

    def _look_at_family(self, level: bytes, family: bytes) -> None:
        """Entries with one parent part at it."""
        members = self._members(level, family, 2)
        if len(members) == 2:
            node = self._shelf.expect(level + members[0])
            self._forks.put(ForkKind.BRANCH, node, node.seq_num, self._parent(node))

    def _parent(self, node: Node) -> bytes:
        """What names the parent: its BLAKE3 where it is here, else the link as written."""
        if node.seq_num == 1:
            return b""
        if node.flags & _HERE:
            return Flavour.YASMF.value + layout.id_of(node.backlink)
        return self._shelf.decoded(node).backlink or b""

    def _look_at_level(self, node: Node, level: Level) -> None:
        """An orphan contradicts all others, and nobody can say where they part."""
        if node.seq_num == 1:
            return
        if level.orphans and level.families > 1:
            self._forks.put(ForkKind.BRANCH, node, node.seq_num, b"")
        else:
            self._forks.drop(ForkKind.BRANCH, node, node.seq_num, b"")


def _family(node: Node) -> bytes:
    return node.backlink or layout.NOTHING


def _is_orphan(node: Node) -> bool:
    return node.seq_num > 1 and not node.has(Flag.BACKLINK_FOUND)
