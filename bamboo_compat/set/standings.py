"""Standings as entries arrive: who stands on whom, kept right in any order of arrival.

The rules are those of `bamboo_compat.core.log` in an open world. As a set grows an entry
only ever goes from waiting to verified to broken, never back: what is missing may come and
be right, or come and be wrong. So an entry changes at most twice, and with its two links it
is looked at again at most four times, whatever the order: a log that arrives backwards costs
a small multiple of one that arrives in order.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bamboo_compat.core.lipmaa import lipmaa, named_by
from bamboo_compat.core.report import Standing
from bamboo_compat.set import layout
from bamboo_compat.set.layout import Flag, Link, LogRow, Node, id_of, link_to, node_key
from bamboo_compat.set.shelf import Shelf

_ASTRAY = Flag.BACKLINK_ASTRAY | Flag.LIPMAALINK_ASTRAY
_LINKS = {
    Link.BACKLINK: (Flag.BACKLINK_FOUND, Flag.BACKLINK_ASTRAY),
    Link.LIPMAALINK: (Flag.LIPMAALINK_FOUND, Flag.LIPMAALINK_ASTRAY),
}


def wanted(link: Link, seq_num: int) -> int:
    """The number that a link of entry `seq_num` should lead to."""
    return seq_num - 1 if link is Link.BACKLINK else lipmaa(seq_num)


def attach(node: Node, link: Link, target: Node) -> bool:
    """Let a link lead to an entry that is here; whether that is its place."""
    found, astray = _LINKS[link]
    in_place = target.log == node.log and target.seq_num == wanted(link, node.seq_num)
    node.flags |= found if in_place else astray
    if link is Link.BACKLINK:
        node.backlink = link_to(target.id)
    else:
        node.lipmaalink = link_to(target.id)
    return in_place


class Standings:
    """Judges nodes, and those that stand on them."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf
        self._contested = shelf.table(layout.CONTESTED)
        self._levels = shelf.table(layout.LEVELS)

    def settle(self, nodes: Sequence[Node]) -> None:
        """Judge these again, and whatever stands on one that changed."""
        work = [node.key for node in nodes if self._judge_again(node)]
        while work:
            self._shelf.tidy()
            node = self._shelf.expect(work.pop())
            work += [child.key for child in self._children(node) if self._judge_again(child)]

    def _judge_again(self, node: Node) -> bool:
        """Whether the standing changed."""
        before, inherited_before = node.standing, node.flags & Flag.INHERITED
        standing, inherited = self.judge(node)
        if standing is before and bool(inherited_before) is inherited:
            return False
        log = self._shelf.log(node.log)
        _count(log, before, bool(inherited_before), -1)
        _count(log, standing, inherited, +1)
        node.standing = standing
        node.flags = node.flags | Flag.INHERITED if inherited else node.flags & ~Flag.INHERITED
        self._shelf.changed(node)
        return standing is not before

    def judge(self, node: Node) -> tuple[Standing, bool]:
        """What the links make of an entry, and whether a fault is only inherited."""
        if node.seq_num == 1:
            return Standing.VERIFIED, False
        if node.flags & _ASTRAY:
            return Standing.BROKEN, False
        targets = list(self._targets(node))
        if any(target.flags & Flag.END_OF_LOG for target in targets):
            return Standing.BROKEN, False
        standings = [target.standing for target in targets]
        if Standing.BROKEN in standings:
            return Standing.BROKEN, True
        return Standing.VERIFIED if Standing.VERIFIED in standings else Standing.WAITING, False

    def _targets(self, node: Node) -> Iterator[Node]:
        flags = node.flags
        if flags & Flag.BACKLINK_FOUND:
            yield self._shelf.expect(node_key(node.log, node.seq_num - 1, id_of(node.backlink)))
        if flags & Flag.LIPMAALINK_FOUND:
            place = node_key(node.log, lipmaa(node.seq_num), id_of(node.lipmaalink))
            yield self._shelf.expect(place)

    def _children(self, node: Node) -> list[Node]:
        """The entries with a link, in its place, to this one."""
        height = self._shelf.log(node.log).height
        found: list[Node] = []
        if node.seq_num < height:
            found += self._linking(node, node.seq_num + 1, Link.BACKLINK)
            for seq_num in named_by(node.seq_num, height):
                found += self._linking(node, seq_num, Link.LIPMAALINK)
        return found

    def _linking(self, node: Node, seq_num: int, link: Link) -> list[Node]:
        """Where many entries have a number, those that link to this node lie together."""
        level = layout.level_key(node.log, seq_num)
        if len(self._levels) and self._levels.get(level) is not None:
            prefix = layout.contested_key(level, link, link_to(node.id))
            keys = keys_from(self._contested.items(prefix), prefix)
            return [self._shelf.expect(level + key[-layout.ID_BYTES :]) for key in keys]
        return [other for other in self._shelf.at(node.log, seq_num) if leads_to(other, link, node)]


def leads_to(node: Node, link: Link, target: Node) -> bool:
    """Whether a link leads to the target, and may."""
    if link is Link.BACKLINK:
        return bool(node.flags & Flag.BACKLINK_FOUND) and node.backlink == link_to(target.id)
    return bool(node.flags & Flag.LIPMAALINK_FOUND) and node.lipmaalink == link_to(target.id)


def keys_from(items: Iterator[tuple[bytes, bytes]], prefix: bytes) -> Iterator[bytes]:
    """The keys that begin like this, of items that begin there."""
    for key, _ in items:
        if not key.startswith(prefix):
            return
        yield key


def _count(log: LogRow, standing: Standing, inherited: bool, by: int) -> None:
    match standing:
        case Standing.VERIFIED:
            log.verified += by
        case Standing.WAITING:
            log.waiting += by
        case _:
            log.broken += by
            log.inherited += by * inherited
