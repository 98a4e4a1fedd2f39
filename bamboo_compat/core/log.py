"""Entries put together: who links to whom, and what that makes of each.

The rules for standings. An entry's own fault is a link that leads to the wrong place, or
to an end of the log; in a closed world, also one that leads nowhere. Then, from low to
high sequence numbers:

1. a fault of its own: broken;
2. a link to something broken: broken too, for the same reasons (inherited);
3. entry 1: verified;
4. a link to something verified: verified;
5. else waiting: what it stands on is not here, or is waiting itself.

A link in its right place leads to a lower number, so one pass in that order is enough.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from heapq import nsmallest
from itertools import pairwise
from operator import attrgetter

from bamboo_compat.core import checks
from bamboo_compat.core.examining import Member, examine
from bamboo_compat.core.forks import find_forks
from bamboo_compat.core.lipmaa import lipmaa
from bamboo_compat.core.node import Log, Node
from bamboo_compat.core.profiles import PROFILES, Profile
from bamboo_compat.core.report import (
    Finding,
    Fork,
    ForkKind,
    Head,
    LogReport,
    LogState,
    Problem,
    Standing,
    Verdict,
)

RFC0001 = PROFILES["rfc0001"]
# Findings are kept for so many entries; all are counted.
MAX_PROBLEMS = 10_000


def verify_log(
    entries: Iterable[bytes | tuple[bytes, bytes | None]],
    *,
    partial: bool = False,
    profile: Profile = RFC0001,
) -> LogReport:
    """Verify entries, each the bytes alone or a pair with the payload (None: withheld).

    They may be of one log or of many, in any order. With `partial`, a link to what is not
    here is no fault, and entries are verified by paths through certificate pools.
    """
    book = Logbook()
    given: list[Member | Problem] = []
    for where, one in enumerate(entries):
        data, payload = (one, None) if isinstance(one, bytes) else one
        examined = examine(data, payload, where)
        given.append(examined)
        book.add(examined)
    report = book.report(partial=partial, profile=profile)
    verdicts = tuple(
        one.verdict if isinstance(one, Problem) else book.verdict(one.id) for one in given
    )
    return replace(report, verdicts=verdicts)


class Logbook:
    """Gathers examined entries; says what holds of all of them together."""

    def __init__(self, max_problems: int = MAX_PROBLEMS) -> None:
        self._logs: dict[tuple[bytes, int], Log] = {}
        self._nodes: dict[bytes, Node] = {}  # by BLAKE3, and in YAMF logs by BLAKE2b too
        self._order: list[Node] = []
        self._loose: list[Node] = []  # with links to what is not here
        self._followed: set[bytes] = set()  # BLAKE2b of what operations follow and is not here
        self._twins = bytearray()
        self._schemas: dict[str, str] = {}
        self._problems: list[Problem] = []
        self._max_problems = max_problems
        self._given = self._refused = 0

    def __len__(self) -> int:
        return len(self._order)

    def add(self, examined: Member | Problem) -> bool:
        """Take in one examined entry. False for what was refused or is here already."""
        self._given += 1
        if isinstance(examined, Problem):
            self._refused += 1
            self._keep(examined)
            return False
        known = self._nodes.get(examined.id)
        if known is None:
            self._insert(examined)
            return True
        if known.withheld and not examined.withheld:
            self._attach(known, examined)
        return False

    def report(self, *, partial: bool = False, profile: Profile = RFC0001) -> LogReport:
        """Everything that holds of what was added."""
        self._resolve()
        for log in self._logs.values():
            _judge(log, partial=partial)
        forks = find_forks(self._logs.values(), self._nodes, profile)
        states = tuple(_states(self._logs.values(), forks))
        return LogReport(
            entries=self._given,
            known=self._given - self._refused - len(self._order),
            refused=self._refused,
            verified=sum(state.verified for state in states),
            waiting=sum(state.waiting for state in states),
            broken=sum(state.broken for state in states),
            inherited=sum(state.inherited for state in states),
            withheld=sum(state.withheld for state in states),
            logs=states,
            forks=forks,
            problems=self._sorted_problems(),
        )

    def verdict(self, id: bytes) -> Verdict:
        """What the last report made of one entry that was added. Raises KeyError."""
        return _verdict(self._nodes[id])

    def _insert(self, member: Member) -> None:
        key = (member.author, member.log_id)
        log = self._logs.get(key)
        if log is None:
            log = self._logs[key] = Log(member.author, member.log_id)
        node = Node(
            log,
            member.seq_num,
            member.id,
            member.where,
            self._target(member.backlink),
            self._target(member.lipmaalink),
            member.end_of_log,
            member.withheld,
            member.twin if member.is_yamf else None,
        )
        self._nodes[member.id] = node
        if node.twin is not None:
            self._nodes[node.twin] = node
        self._twins += member.twin
        self._order.append(node)
        if _is_sound(node):
            node.make_sound()
        log.append(node)
        if isinstance(node.backlink, bytes) or isinstance(node.lipmaalink, bytes):
            self._loose.append(node)
        self._attach(node, member)

    def _attach(self, node: Node, member: Member) -> None:
        node.withheld = member.withheld
        if member.schema is not None:
            node.schema = self._schemas.setdefault(member.schema, member.schema)
            node.previous = member.previous
            previous = self._target(member.previous)
            if isinstance(previous, bytes) and _is_yamf(previous):
                self._followed.add(previous[2:])

    def _target(self, link: bytes | None) -> Node | bytes | None:
        """The entry that a link names, or the link itself as long as that is not here."""
        return self._nodes.get(link[2:], link) if link is not None else None

    def _resolve(self) -> None:
        """Try again the links to what came later."""
        self._followed = {digest for digest in self._followed if digest not in self._nodes}
        if self._followed or any(
            _is_yamf(node.backlink) or _is_yamf(node.lipmaalink) for node in self._loose
        ):
            # Some entry calls another by BLAKE2b though that one uses BLAKE3 itself.
            for number, node in enumerate(self._order):
                twin = bytes(self._twins[64 * number : 64 * number + 64])
                self._nodes.setdefault(twin, node)
        for node in self._loose:
            if isinstance(node.backlink, bytes):
                node.backlink = self._target(node.backlink)
            if isinstance(node.lipmaalink, bytes):
                node.lipmaalink = self._target(node.lipmaalink)
        self._loose = [
            node
            for node in self._loose
            if isinstance(node.backlink, bytes) or isinstance(node.lipmaalink, bytes)
        ]

    def _keep(self, problem: Problem) -> None:
        if len(self._problems) < self._max_problems:
            self._problems.append(problem)

    def _sorted_problems(self) -> tuple[Problem, ...]:
        found = list(self._problems)
        broken = (
            node
            for log in self._logs.values()
            if not log.is_plain
            for node in log.nodes
            if node.standing is Standing.BROKEN and not node.inherited
        )
        # All are looked through for the first, but only so many findings are made.
        for node in nsmallest(self._max_problems, broken, key=attrgetter("where")):
            place = (node.author, node.log_id, node.seq_num)
            found.append(Problem(node.where, _verdict(node), *place))
        found.sort(key=lambda problem: problem.where)
        return tuple(found[: self._max_problems])


def _is_yamf(link: Node | bytes | None) -> bool:
    return isinstance(link, bytes) and link[1] == 0x40


def _verdict(node: Node) -> Verdict:
    return Verdict(node.id, node.standing, node.findings, node.inherited)


# --- standings ----------------------------------------------------------------------------


def _judge(log: Log, *, partial: bool) -> None:
    if log.is_plain:
        return  # its entries are sound, and stand as that since they came
    log.sort()
    for node in log.nodes:
        node.has_child = False
    for node in log.nodes:
        parent = node.parent()
        if parent is not None:
            parent.has_child = True
        if not node.sound and _is_sound(node):
            node.make_sound()
        node.inherited = False
        if node.sound:
            node.findings = ()
        else:
            node.findings = _own_faults(node, partial=partial)
            node.standing = _standing(node)


def _is_sound(node: Node) -> bool:
    """Nearly every entry that comes in order: entry 1, or one whose links are in place and
    lead to sound entries, not to an end. Then no rule needs to be asked, and nothing that
    comes later changes it. Without a lipmaalink the parent stands for its target.
    """
    parent = node.parent()
    if parent is None:
        return node.seq_num == 1
    target = node.lipmaalink if node.lipmaalink is not None else parent
    return (
        isinstance(target, Node)
        and target.log is node.log
        and target.seq_num == lipmaa(node.seq_num)
        and target.sound
        and parent.sound
        and not (target.end_of_log or parent.end_of_log)
    )


def _own_faults(node: Node, *, partial: bool) -> tuple[Finding, ...]:
    """What is wrong with the links, in the order backlink, lipmaalink, end of log."""
    if node.seq_num == 1:
        return ()
    backlink, lipmaalink = node.backlink, node.lipmaalink
    found: list[Finding | None] = []
    if not (partial and isinstance(backlink, bytes)):
        target, link = _ends(backlink)
        found.append(checks.check_backlink(node, target, link))
    if lipmaalink is not None and not (partial and isinstance(lipmaalink, bytes)):
        target, link = _ends(lipmaalink)
        found.append(checks.check_lipmaalink(node, target, link))
    for end in (backlink, lipmaalink):
        if isinstance(end, Node) and end.log is node.log and end.seq_num < node.seq_num:
            after_end = checks.check_not_after_end(node, end)
            if after_end is not None:
                found.append(after_end)
                break
    return tuple(finding for finding in found if finding is not None)


def _ends(link: Node | bytes | None) -> tuple[Node | None, bytes]:
    """Where a link leads, and how it would be called."""
    if isinstance(link, Node):
        return link, link.id
    return None, link or b""


def _standing(node: Node) -> Standing:
    if node.findings:
        return Standing.BROKEN
    below = [link for link in (node.backlink, node.lipmaalink) if isinstance(link, Node)]
    for target in below:
        if target.standing is Standing.BROKEN:
            node.findings, node.inherited = target.findings, True
            return Standing.BROKEN
    if node.seq_num == 1 or any(one.standing is Standing.VERIFIED for one in below):
        return Standing.VERIFIED
    return Standing.WAITING


# --- the state of a log -------------------------------------------------------------------


@dataclass(slots=True)
class _Doubt:
    """From which number on a log is in doubt, and by which forks."""

    ids: list[bytes] = field(default_factory=list)
    start: int | None = None

    def add(self, fork: Fork, seq_num: int) -> None:
        self.ids.append(fork.id)
        self.start = seq_num if self.start is None else min(self.start, seq_num)


def _states(logs: Iterable[Log], forks: Iterable[Fork]) -> Iterator[LogState]:
    doubts: dict[tuple[bytes, int], _Doubt] = {}
    for fork in forks:
        places = [(fork.log_id, fork.seq_num)]
        if fork.kind is ForkKind.DOUBLE_SCHEMA:
            places = [(branch.log_id, branch.seq_num) for branch in fork.branches]
        for log_id, seq_num in places:
            doubts.setdefault((fork.author, log_id), _Doubt()).add(fork, seq_num)
    for log in sorted(logs, key=lambda log: (log.author, log.log_id)):
        yield _state(log, doubts.get((log.author, log.log_id), _Doubt()))


def _state(log: Log, doubt: _Doubt) -> LogState:
    nodes = log.nodes
    schemas = {node.schema for node in nodes}
    if log.is_plain:
        counts = {Standing.VERIFIED: len(nodes)}
        heads, gaps, inherited = [nodes[-1]], [], 0
        trusted = nodes[-1].seq_num if doubt.start is None else doubt.start - 1
    else:
        counts = Counter(node.standing for node in nodes)
        heads = [node for node in nodes if not node.has_child]
        gaps = list(_gaps([node.seq_num for node in nodes]))
        inherited = sum(node.inherited for node in nodes)
        trusted = max(
            (
                node.seq_num
                for node in nodes
                if node.standing is Standing.VERIFIED
                and (doubt.start is None or node.seq_num < doubt.start)
            ),
            default=0,
        )
    return LogState(
        author=log.author,
        log_id=log.log_id,
        entries=len(nodes),
        height=nodes[-1].seq_num,
        heads=tuple(Head(node.seq_num, node.hash()) for node in heads),
        gaps=tuple(gaps),
        ended=any(node.end_of_log for node in nodes),
        verified=counts.get(Standing.VERIFIED, 0),
        waiting=counts.get(Standing.WAITING, 0),
        broken=counts.get(Standing.BROKEN, 0),
        inherited=inherited,
        withheld=sum(node.withheld for node in nodes),
        trusted=trusted,
        schemas=tuple(sorted(schema for schema in schemas if schema is not None)),
        forks=tuple(doubt.ids),
    )


def _gaps(numbers: list[int]) -> Iterator[tuple[int, int]]:
    for one, two in pairwise([0, *numbers]):
        if two > one + 1:
            yield one + 1, two - 1
