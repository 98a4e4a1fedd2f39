"""Why an entry of the index is broken. The rules are those of `core.log` in an open world.

The index keeps standings and not their reasons: few entries are broken, and a reason is
found again from the two links of the entry. A fault is told where it is. An entry that only
stands on a broken one is told with the number of that, not with somebody else's findings.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from bamboo_compat.core import checks
from bamboo_compat.core.report import Finding, Standing
from bamboo_compat.set.layout import Flag, Node, id_of
from bamboo_compat.set.reading import Reader

_BACKLINK_HERE = Flag.BACKLINK_FOUND | Flag.BACKLINK_ASTRAY
_LIPMAALINK_HERE = Flag.LIPMAALINK_FOUND | Flag.LIPMAALINK_ASTRAY


@dataclass(frozen=True, slots=True)
class Told:
    """What holds of an entry. Broken: with findings of its own, or because the entry
    `stands_on`, to which a link leads, is broken."""

    standing: Standing
    findings: tuple[Finding, ...] = ()
    stands_on: int | None = None


VERIFIED = Told(Standing.VERIFIED)
WAITING = Told(Standing.WAITING)


@dataclass(frozen=True, slots=True)
class _Place:
    """An entry as the rules want to see it; see `checks.Located`."""

    author: bytes
    log_id: int
    seq_num: int
    end_of_log: bool


def findings_of(reader: Reader, node: Node) -> Told:
    """The standing of an entry, with its reasons."""
    match node.standing:
        case Standing.VERIFIED:
            return VERIFIED
        case Standing.WAITING:
            return WAITING
        case _ if node.has(Flag.INHERITED):
            return Told(Standing.BROKEN, stands_on=_stands_on(reader, node))
        case _:
            return Told(Standing.BROKEN, tuple(_own_faults(reader, node)))


def _stands_on(reader: Reader, node: Node) -> int | None:
    """Of its two links the first that leads to something broken."""
    for target in (reader.parent(node), reader.lipmaa_target(node)):
        if target is not None and target.standing is Standing.BROKEN:
            return target.seq_num
    return None


def _own_faults(reader: Reader, node: Node) -> Iterator[Finding]:
    """In the order backlink, lipmaalink, end of log. What is not here is no fault."""
    entry = _place(reader, node)
    backlink = lipmaalink = None
    if node.has(_BACKLINK_HERE):
        backlink = _target(reader, node.backlink)
        yield from _found(checks.check_backlink(entry, backlink, node.backlink))
    if node.has(_LIPMAALINK_HERE):
        lipmaalink = _target(reader, node.lipmaalink)
        yield from _found(checks.check_lipmaalink(entry, lipmaalink, node.lipmaalink))
    for target in (backlink, lipmaalink):
        if target is not None and _is_below(target, entry) and target.end_of_log:
            yield from _found(checks.check_not_after_end(entry, target))
            return


def _found(finding: Finding | None) -> Iterator[Finding]:
    if finding is not None:
        yield finding


def _target(reader: Reader, link: bytes) -> _Place | None:
    """Where a link leads, of which the index knows that it is here."""
    found = reader.by_id(id_of(link))
    return _place(reader, found) if found is not None else None


def _place(reader: Reader, node: Node) -> _Place:
    author, log_id = reader.shelf.owner(node.log)
    return _Place(author, log_id, node.seq_num, node.has(Flag.END_OF_LOG))


def _is_below(target: _Place, entry: _Place) -> bool:
    same_log = (target.author, target.log_id) == (entry.author, entry.log_id)
    return same_log and target.seq_num < entry.seq_num
