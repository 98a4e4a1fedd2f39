"""Where an author contradicts a log. One report for each point at which it parts.

Every rule is a function of the entries that are here and of nothing else, so two nodes
with the same entries report the same forks under the same ids, in the same order.

| offset | size | what a fork's id is BLAKE3-256 of |
|---|---|---|
| 0 | 1 | 1 branch, 2 double_schema of a schema, 3 after_end, 4 double_schema of a document |
| 1 | 32 | author |
| 33 | 8 | log id, unsigned big-endian; 0 for double_schema |
| 41 | 8 | sequence number, unsigned big-endian; 0 for double_schema |
| 49 | to the end | parent: 00 20 and its BLAKE3-256; double_schema: the subject, UTF-8 |

A branch's parent is empty at entry 1, and where entries that share a number name parents
that are not (all) here: that the log is forked is certain then, but not where it parts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from blake3 import blake3

from bamboo_compat.core.node import Log, Node
from bamboo_compat.core.profiles import Profile
from bamboo_compat.core.report import Branch, Fork, ForkKind
from bamboo_compat.core.yamf import Flavour

_KINDS = {ForkKind.BRANCH: 1, ForkKind.AFTER_END: 3}
# A schema may be called like a document, and be a fork beside it: by what a log is for.
_DOUBLE = {"schema": 2, "document": 4}


def fork_id(kind: ForkKind, author: bytes, log_id: int, seq_num: int, parent: bytes) -> bytes:
    """The id of the branch or the after_end at this point; see the table above."""
    return _digest(_KINDS[kind], author, log_id, seq_num, parent)


def double_id(profile: Profile, author: bytes, subject: bytes) -> bytes:
    """The id of the double_schema about this schema or document; see the table above."""
    return _digest(_DOUBLE[profile.log_per], author, 0, 0, subject)


def _digest(first: int, author: bytes, log_id: int, seq_num: int, last: bytes) -> bytes:
    place = log_id.to_bytes(8, "big") + seq_num.to_bytes(8, "big")
    digest: bytes = blake3(bytes([first]) + author + place + last).digest()
    return digest


def find_forks(
    logs: Iterable[Log], nodes: Mapping[bytes, Node], profile: Profile
) -> tuple[Fork, ...]:
    """All forks, in the order of author, log id, sequence number, kind.

    The logs' nodes are sorted by sequence number.
    """
    logs = list(logs)
    found = [fork for log in logs for fork in _forks_of(log)]
    found.extend(_double_schemas(logs, nodes, profile))
    found.sort(key=lambda fork: (fork.author, fork.log_id, fork.seq_num, fork.kind, fork.id))
    return tuple(found)


def _forks_of(log: Log) -> Iterator[Fork]:
    """Most logs have none, and are told so at the cost of a look at each entry."""
    nodes = log.nodes
    if log.is_plain:
        return
    distinct = len({node.seq_num for node in nodes}) == len(nodes)
    enders = [node for node in nodes if node.end_of_log and node.seq_num < nodes[-1].seq_num]
    if distinct and not enders:
        return
    tips = _tips(log)
    if not distinct:
        yield from _branches(log, tips)
    for ender in enders:
        yield from _after_end(log, ender, tips)


# --- branch -------------------------------------------------------------------------------


def _branches(log: Log, tips: Mapping[Node, tuple[int, bytes]]) -> Iterator[Fork]:
    level: list[Node] = []
    for node in [*log.nodes, None]:
        if level and (node is None or node.seq_num != level[0].seq_num):
            if len(level) > 1:
                yield from _branches_at(level, tips)
            level = []
        if node is not None:
            level.append(node)


def _branches_at(level: list[Node], tips: Mapping[Node, tuple[int, bytes]]) -> Iterator[Fork]:
    """The forks among entries that share one number.

    Entries with one parent part here. Two whose parents are here and differ parted at the
    parents or below, and are reported there. One whose parent is not here contradicts the
    others, and nobody can say where they part.
    """
    if level[0].seq_num == 1:
        yield _branch(b"", level, tips)
        return
    families: dict[bytes, list[Node]] = {}
    unknown = False
    for node in level:
        parent = node.parent()
        unknown = unknown or parent is None
        families.setdefault(_parent_key(node, parent), []).append(node)
    for parent_key, children in families.items():
        if len(children) > 1:
            yield _branch(parent_key, children, tips)
    if unknown and len(families) > 1:
        yield _branch(b"", level, tips)


def _parent_key(node: Node, parent: Node | None) -> bytes:
    if parent is not None:
        return Flavour.YASMF.value + parent.id
    # Not here, or not the entry before: children that name it alike still part at it.
    return (
        Flavour.YASMF.value + node.backlink.id
        if isinstance(node.backlink, Node)
        else (node.backlink or b"")
    )


def _branch(parent: bytes, nodes: list[Node], tips: Mapping[Node, tuple[int, bytes]]) -> Fork:
    return _fork(ForkKind.BRANCH, nodes[0].log, nodes[0].seq_num, parent, nodes, tips)


# --- after the end ------------------------------------------------------------------------


def _after_end(log: Log, ender: Node, tips: Mapping[Node, tuple[int, bytes]]) -> Iterator[Fork]:
    """Entries of which a link leads to an end-of-log marker.

    Not every entry with a higher number: it may be on another branch, and which one that is
    may show only later. A link is there when the entry comes.
    """
    after = [
        node
        for node in log.nodes
        if node.seq_num > ender.seq_num and (node.backlink is ender or node.lipmaalink is ender)
    ]
    if after:
        parent = Flavour.YASMF.value + ender.id
        yield _fork(ForkKind.AFTER_END, log, ender.seq_num + 1, parent, after, tips)


# --- double schema ------------------------------------------------------------------------


def _double_schemas(
    logs: list[Log], nodes: Mapping[bytes, Node], profile: Profile
) -> Iterator[Fork]:
    """One author, one schema (or one document of it), more than one log."""
    homes: dict[tuple[bytes, str], dict[int, Node]] = {}
    documents = _Documents(nodes)
    for log in logs:
        for node in log.nodes:
            if node.schema is None:
                continue
            subject = node.schema if profile.log_per == "schema" else documents.of(node)
            if subject is not None:
                homes.setdefault((log.author, subject), {}).setdefault(log.log_id, node)
    for (author, subject), firsts in homes.items():
        if len(firsts) < 2:
            continue
        ordered = [firsts[log_id] for log_id in sorted(firsts)]
        yield Fork(
            id=double_id(profile, author, subject.encode("utf-8")),
            kind=ForkKind.DOUBLE_SCHEMA,
            author=author,
            log_id=ordered[0].log_id,
            seq_num=ordered[0].seq_num,
            parent=b"",
            branches=tuple(_side(node, _tips(node.log)) for node in ordered),
            subject=subject,
        )


class _Documents:
    """Which document an operation belongs to: that of the first it follows, down to the one
    that follows none, whose hash is the document's name."""

    def __init__(self, nodes: Mapping[bytes, Node]) -> None:
        self._nodes = nodes
        self._known: dict[Node, str | None] = {}

    def of(self, node: Node) -> str | None:
        """The document's name; None where the way there is not here or is no operation's."""
        way: list[Node] = []
        seen: set[Node] = set()
        at: Node | None = node
        name: str | None = None
        while at is not None and at not in seen:
            if at in self._known:
                name = self._known[at]
                break
            way.append(at)
            seen.add(at)
            if at.schema is None:
                break  # no operation, or one whose payload is not here
            if at.previous is None:
                name = at.hash().hex()
                break
            at = self._nodes.get(at.previous[2:])
        for passed in way:
            self._known[passed] = name
        return name


# --- what they share ----------------------------------------------------------------------


def _fork(
    kind: ForkKind,
    log: Log,
    seq_num: int,
    parent: bytes,
    nodes: Iterable[Node],
    tips: Mapping[Node, tuple[int, bytes]],
) -> Fork:
    return Fork(
        id=fork_id(kind, log.author, log.log_id, seq_num, parent),
        kind=kind,
        author=log.author,
        log_id=log.log_id,
        seq_num=seq_num,
        parent=parent,
        branches=tuple(sorted((_side(node, tips) for node in nodes), key=lambda side: side.hash)),
    )


def _side(node: Node, tips: Mapping[Node, tuple[int, bytes]]) -> Branch:
    length, head = tips[node]
    return Branch(node.log_id, node.seq_num, node.hash(), length, head)


def _tips(log: Log) -> dict[Node, tuple[int, bytes]]:
    """For each entry the longest way on along backlinks: entries on it, and its end.

    Of two equally long ways the one whose end has the smaller hash.
    """
    best: dict[Node, tuple[int, bytes]] = {}
    for node in reversed(log.nodes):
        length, head = best.setdefault(node, (1, node.hash()))
        parent = node.parent()
        if parent is None:
            continue
        known = best.get(parent)
        if known is None or (-length - 1, head) < (-known[0], known[1]):
            best[parent] = (length + 1, head)
    return best
