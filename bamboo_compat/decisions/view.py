"""Forks and logs at one moment of a store, as decisions leave them: for the command line, the page
and whoever publishes.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from bamboo_compat.core.report import ForkKind, Head
from bamboo_compat.decisions.book import Book, DecisionsFile, Policy, Record
from bamboo_compat.decisions.errors import BranchMissingError
from bamboo_compat.decisions.limits import MAX_FORKS, MAX_HEADS, MAX_HISTORY
from bamboo_compat.decisions.resolving import LogFork, Resolution, Resolver
from bamboo_compat.decisions.ruling import By, Ruling, Side, decided, rule
from bamboo_compat.homes.marriages import marriages, open_homes
from bamboo_compat.set.appending import LogForkedError, NextPlace, next_place
from bamboo_compat.set.branches import KINDS_BY_NUMBER
from bamboo_compat.set.index import BambooIndex
from bamboo_compat.set.layout import ForkRow, LogRow, Node, link_of, link_to
from bamboo_compat.set.reading import Reader
from bamboo_compat.statements.chain import Chain
from bamboo_compat.statements.format import Statement
from bamboo_compat.statements.index import INDEX as STATEMENTS
from bamboo_compat.statements.kinds import Topic
from bamboo_compat.statements.reading import Reader as Statements
from bamboo_compat.statements.reading import open_statements
from setsync.store.contract import EntryStore, Snapshot

_BAMBOO = BambooIndex()


def open_indexes(store: EntryStore) -> None:
    """Make both indexes ready for snapshots that are taken from now on."""
    store.open_index(_BAMBOO)
    open_statements(store)


class View:
    """One moment. Dies with its snapshot; rulings and resolutions do not."""

    def __init__(
        self, snapshot: Snapshot, book: Book, node_id: bytes, reader: Reader | None = None
    ) -> None:
        """`node_id`: this node's, since what was brought here came through it."""
        self.reader = reader or Reader(snapshot.index_tables(_BAMBOO))
        self.statements = Statements(snapshot.index_tables(STATEMENTS))
        self.book = book
        self._snapshot = snapshot
        self._node_id = node_id
        self._rulings: dict[bytes, Ruling] = {}
        self._resolved: dict[int, tuple[Resolver, Resolution]] = {}

    @classmethod
    def of(cls, folder: Path, snapshot: Snapshot, node_id: bytes) -> View:
        """With what a data directory's file says. Raises ForksFileError."""
        return cls(snapshot, DecisionsFile(folder).read(), node_id)

    # --- forks ----------------------------------------------------------------------------

    def ruling(self, fork: bytes) -> Ruling | None:
        """Who decided a fork, and how; None where there is no such fork here."""
        if fork not in self._rulings:
            row = self.reader.fork_row(fork)
            if row is None:
                return None
            self._rulings[fork] = self._rule(fork, row)
        return self._rulings[fork]

    def _rule(self, fork: bytes, row: ForkRow) -> Ruling:
        author, _ = self.reader.shelf.owner(row.log)
        said = self.statements.latest_about(fork, author)
        record = self.book.decision(fork)
        named = decided(said)
        authors = Side(named, self.side(row, named)) if named is not None else None
        ours = Side(record.branch, self.side(row, record.branch)) if record is not None else None
        is_open = not any(side is not None and side.node is not None for side in (authors, ours))
        policy = self.book.policy(author)
        return rule(
            fork,
            policy,
            statement=said,
            authors=authors,
            record=record,
            ours=ours,
            preferred=self._preferred(policy, author, row) if is_open else None,
            chain_forked=said is not None and self.statements.has_rival(said),
        )

    def side(self, row: ForkRow, tagged: bytes) -> Node | None:
        """The first entry of the branch that a hash names, if that is a branch of the fork. Of a
        double_schema any entry of a log names the log's branch."""
        node = self.reader.find(tagged)
        if node is None:
            return None
        match KINDS_BY_NUMBER[row.kind]:
            case ForkKind.BRANCH:
                is_side = (node.log, node.seq_num) == (row.log, row.seq_num) and (
                    not row.about or node.backlink == link_of(row.about)
                )
                return node if is_side else None
            case ForkKind.AFTER_END:
                is_side = node.log == row.log and link_of(row.about) in (
                    link_to(node.id),
                    node.backlink,
                    node.lipmaalink,
                )
                return node if is_side else None
            case ForkKind.DOUBLE_SCHEMA:
                sides = self.reader.sides(row)
                return next((side for side in sides if side.log == node.log), None)

    def choices(self, row: ForkRow) -> list[Node]:
        """The first entries of the branches, in the order of their numbers; of an after_end the
        marker stands before them, as number 0."""
        match KINDS_BY_NUMBER[row.kind]:
            case ForkKind.AFTER_END:
                marker = self.reader.find(row.about)
                return [*([marker] if marker is not None else []), *self.reader.sides(row)]
            case _:
                return self.reader.sides(row)

    def _preferred(self, policy: Policy, author: bytes, row: ForkRow) -> Node | None:
        """What the policy chooses; None where it cannot tell."""
        if policy is Policy.ASK:
            return None
        if policy is Policy.IGNORE:
            return min(self._all_sides(row), key=lambda node: node.arrival, default=None)
        homes = open_homes(marriages(self.statements, author))
        if len(homes) != 1:
            return None
        through = [
            node for node in self._all_sides(row) if self.came_through(node) == homes[0].server
        ]
        return through[0] if len(through) == 1 else None

    def _all_sides(self, row: ForkRow) -> Iterator[Node]:
        """Also more than are told of: which came first must not hang on how many there are."""
        if KINDS_BY_NUMBER[row.kind] is not ForkKind.BRANCH:
            yield from self.choices(row)
            return
        family = link_of(row.about) if row.about else None
        for node in self.reader.shelf.at(row.log, row.seq_num):
            if family is None or node.backlink == family:
                yield node

    def came_through(self, node: Node) -> bytes | None:
        """The node from which an entry came here, this one for what was brought at this machine;
        None: it was not noted."""
        origin = self._snapshot.origin(node.arrival)
        return None if origin is None else origin.peer or self._node_id

    def was_brought_here(self, node: Node) -> bool:
        """Whether an entry came in at this machine, and from no other node."""
        origin = self._snapshot.origin(node.arrival)
        return origin is not None and origin.peer in (b"", self._node_id)

    # --- logs -----------------------------------------------------------------------------

    def resolve(self, log: LogRow) -> Resolution:
        """A log as decisions leave it."""
        return self._resolve(log)[1]

    def tips(self, found: Resolution, limit: int) -> list[Head]:
        """The heads that decisions leave."""
        return [Head(node.seq_num, self.reader.shelf.hash(node)) for node in found.tips[:limit]]

    def set_aside_by(self, log: LogRow, node: Node) -> bytes | None:
        """The fork whose decision sets an entry of the log aside."""
        return self._resolve(log)[0].set_aside_by(node)

    def is_set_aside(self, log: LogRow, node: Node) -> bool:
        """Whether a decision sets an entry of the log aside."""
        return self.set_aside_by(log, node) is not None

    def is_moot(self, fork: bytes) -> bool:
        """Whether other decisions have settled an undecided fork."""
        row = self.reader.fork_row(fork)
        if row is None or KINDS_BY_NUMBER[row.kind] is ForkKind.DOUBLE_SCHEMA:
            return False
        return fork in self.resolve(self.reader.shelf.log(row.log)).moot

    def next_place(self, author: bytes, log_id: int) -> NextPlace:
        """Where a log goes on. Raises as `bamboo_compat.set.appending.next_place`, and
        BranchMissingError."""
        log = self.reader.log(author, log_id)
        self._refuse_missing(author, log)
        effective = None if log is None else self.resolve(log)
        if effective is not None and not effective.is_whole:
            raise LogForkedError(f"Log {log_id} has more than {MAX_HEADS:,} heads.")
        return next_place(self.reader, author, log_id, effective)

    def _refuse_missing(self, author: bytes, log: LogRow | None) -> None:
        """The author decided for a branch that is not here. Of a fork that nobody here has seen
        it cannot be told in which log it is."""
        ours = set() if log is None else set(self.reader.forks_of(log, MAX_FORKS))
        for fork, branch in self.chain(author).decisions().items():
            row = self.reader.fork_row(fork)
            if row is None:
                is_missing = self.reader.find(branch) is None
            else:
                is_missing = fork in ours and self.side(row, branch) is None
            if is_missing:
                raise BranchMissingError(
                    f"The author has decided fork {fork.hex()} for the branch that begins with "
                    f"{branch.hex()}, which is not here."
                )

    def _resolve(self, log: LogRow) -> tuple[Resolver, Resolution]:
        if log.number not in self._resolved:
            self._resolved[log.number] = self._resolve_anew(log)
        return self._resolved[log.number]

    def _resolve_anew(self, log: LogRow) -> tuple[Resolver, Resolution]:
        reader = self.reader
        ids = reader.forks_of(log, MAX_FORKS + 1)
        forks = [fork for id_ in ids if (fork := self._log_fork(id_, log)) is not None]
        resolver = Resolver(reader, forks)
        heads = list(islice(reader.head_nodes(log), MAX_HEADS + 1))
        is_whole = len(heads) <= MAX_HEADS
        if is_whole and any(fork.chosen is not None for fork in forks):
            return resolver, resolver.resolve(heads)
        # Nothing is decided, or there are more heads than anybody looks at: as the index says.
        heads.sort(key=lambda node: (-node.seq_num, node.id))
        trusted = reader.trusted(log)
        return resolver, Resolution(tuple(heads), trusted, tuple(ids), is_whole=is_whole)

    def _log_fork(self, fork: bytes, log: LogRow) -> LogFork | None:
        ruling, row = self.ruling(fork), self.reader.fork_row(fork)
        if ruling is None or row is None:
            return None
        kind = KINDS_BY_NUMBER[row.kind]
        sides = tuple(node for node in self.reader.sides(row) if node.log == log.number)
        if kind is not ForkKind.DOUBLE_SCHEMA:
            return LogFork(fork, kind, row.seq_num, row.about, sides, ruling.chosen)
        return LogFork(fork, kind, sides[0].seq_num, b"", sides, ruling.chosen) if sides else None

    # --- what was said --------------------------------------------------------------------

    def records(self, fork: bytes) -> list[Record]:
        """What was said here about a fork, the newest MAX_HISTORY, the oldest first."""
        return self.book.history(fork)[-MAX_HISTORY:]

    def said(self, fork: bytes, author: bytes) -> list[Statement]:
        """What the author signed about a fork, by rank, the newest MAX_HISTORY."""
        found = sorted(self.statements.about(fork, author), key=lambda one: one.rank)
        return found[-MAX_HISTORY:]

    def chain(self, author: bytes) -> Chain:
        """All that an author decided, and what is wrong with the order."""
        return self.statements.chain(author, Topic.FORKS)


__all__ = ["By", "View", "open_indexes"]
