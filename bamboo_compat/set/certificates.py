"""The certificate pool of an entry, found in the index by following links.

From the entry downwards each link names one entry. Above it, on the path from the next
number (3^k - 1) / 2, those are taken whose link leads to what was found so far. Where a
link leads to nothing that is here, an entry that alone has a number is taken on trust of
the number, and said to be not linked.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from bamboo_compat.core.lipmaa import certificate_pool, lipmaa, path
from bamboo_compat.set.layout import Flag, Link, LogRow, Node
from bamboo_compat.set.reading import Reader
from bamboo_compat.set.standings import leads_to

_FOUND = {Link.BACKLINK: Flag.BACKLINK_FOUND, Link.LIPMAALINK: Flag.LIPMAALINK_FOUND}


@dataclass(frozen=True, slots=True)
class Place:
    """A number of the pool. `node`: the entry, if it is here; `linked`: links from the
    wanted entry, or from it to that, prove that it is the one. `is_beyond`: the branch, as
    far as it is here, does not reach so high, and nothing lacks. `others`: how many more
    entries could be meant."""

    seq_num: int
    node: Node | None
    linked: bool
    is_beyond: bool
    others: int = 0


def find_pool(reader: Reader, log: LogRow, wanted: Node) -> list[Place]:
    """The pool of an entry, ascending."""
    numbers = certificate_pool(wanted.seq_num)
    below = _downwards(reader, log, wanted)
    above = _upwards(reader, log, wanted, numbers[-1])
    found = below | above
    return [found[seq_num] for seq_num in numbers]


def _downwards(reader: Reader, log: LogRow, wanted: Node) -> dict[int, Place]:
    found = {wanted.seq_num: Place(wanted.seq_num, wanted, True, False)}
    node: Node | None = wanted
    for before, seq_num in _steps(path(wanted.seq_num, 1)):
        if node is not None:
            is_lipmaa = lipmaa(before) == seq_num
            node = reader.lipmaa_target(node) if is_lipmaa else reader.parent(node)
        found[seq_num] = (
            Place(seq_num, node, True, False)
            if node is not None
            else _alone(reader, log, seq_num, log.height)
        )
    return found


def _upwards(reader: Reader, log: LogRow, wanted: Node, top: int) -> dict[int, Place]:
    found: dict[int, Place] = {}
    node: Node | None = wanted
    height = log.height
    for before, seq_num in _steps(path(top, wanted.seq_num)[::-1]):
        link = Link.BACKLINK if before == seq_num - 1 else Link.LIPMAALINK
        there = reader.at(log, seq_num) if seq_num <= height else []
        naming = [one for one in there if node is not None and leads_to(one, link, node)]
        if (
            node is not None
            and not naming
            and there
            and all(one.has(_FOUND[link]) for one in there)
        ):
            height = seq_num - 1  # all of them follow others: this branch has not come so far
        node = naming[0] if naming else None
        found[seq_num] = (
            Place(seq_num, node, True, False, len(naming) - 1)
            if node is not None
            else _alone(reader, log, seq_num, height)
        )
    return found


def _steps(way: tuple[int, ...]) -> list[tuple[int, int]]:
    return list(pairwise(way))


def _alone(reader: Reader, log: LogRow, seq_num: int, height: int) -> Place:
    if seq_num > height:
        return Place(seq_num, None, False, True)
    there = reader.at(log, seq_num)
    if len(there) == 1:
        return Place(seq_num, there[0], False, False)
    return Place(seq_num, None, False, False, len(there))
