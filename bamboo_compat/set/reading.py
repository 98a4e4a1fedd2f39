"""Questions to the index, answered from one snapshot as the values of `core.report`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain, islice

from bamboo_compat.core.forks import double_id
from bamboo_compat.core.lipmaa import lipmaa
from bamboo_compat.core.report import Branch, Fork, ForkKind, Head, LogState, Standing
from bamboo_compat.core.yamf import Flavour
from bamboo_compat.set import layout
from bamboo_compat.set.branches import KINDS_BY_NUMBER
from bamboo_compat.set.layout import (
    Flag,
    ForkRow,
    Link,
    LogRow,
    Node,
    id_of,
    link_of,
    link_to,
    node_key,
)
from bamboo_compat.set.shelf import Shelf
from bamboo_compat.set.standings import keys_from
from bamboo_compat.set.subjects import (
    AQUADOGGO,
    PROFILES,
    PROFILES_BY_NUMBER,
    firsts_about,
    schema_name,
    subject_name,
)
from setsync.errors import DamagedStoreError
from setsync.model.indexes import Tables

# An author may sign any number of entries for one place; so many are told of.
MAX_BRANCHES = 1_000
# The highest number that an entry may have.
_LAST = 2**64 - 1


class Reader:
    """One moment of the index. Dies with its snapshot; what it returns does not."""

    def __init__(self, tables: Tables) -> None:
        self.shelf = Shelf(tables)
        self._contested = self.shelf.table(layout.CONTESTED)
        self._subjects = self.shelf.table(layout.SUBJECTS)
        self._schemas = self.shelf.table(layout.SCHEMAS)
        self._forks = self.shelf.table(layout.FORKS)
        self._doubts = self.shelf.table(layout.DOUBTS)

    # --- logs -----------------------------------------------------------------------------

    def logs(self, author: bytes = b"", after: bytes = b"") -> Iterator[tuple[bytes, int, LogRow]]:
        """Author, log id and record of every log, by author and log id; those of authors that
        begin like `author`, after the log with the key `after`."""
        for key, row in self.shelf.logs(author, after + b"\0" if after else b""):
            owner, log_id = layout.split_log_key(key)
            yield owner, log_id, row

    def log(self, author: bytes, log_id: int) -> LogRow | None:
        """The record of one log."""
        return self.shelf.find_log(author, log_id)

    def heads(self, log: LogRow, limit: int | None = None) -> list[Head]:
        """The entries that nothing here follows."""
        prefix = layout.number_key(log.number)
        keys = islice(keys_from(self.shelf.heads.items(prefix), prefix), limit)
        nodes = [self.shelf.expect(key) for key in keys]
        return [Head(node.seq_num, self.shelf.hash(node)) for node in nodes]

    def head_nodes(self, log: LogRow) -> Iterator[Node]:
        """The same as they are kept, by number and id."""
        prefix = layout.number_key(log.number)
        for key in keys_from(self.shelf.heads.items(prefix), prefix):
            yield self.shelf.expect(key)

    def forks_of(self, log: LogRow, limit: int | None = None) -> list[bytes]:
        """The ids of the forks that put a log in doubt, the lowest first."""
        prefix = layout.number_key(log.number)
        keys = islice(keys_from(self._doubts.items(prefix), prefix), limit)
        return [key[layout.LEVEL_BYTES :] for key in keys]

    def doubt(self, log: LogRow) -> int | None:
        """The number from which on a log is in doubt."""
        prefix = layout.number_key(log.number)
        first = next(keys_from(self._doubts.items(prefix), prefix), None)
        return None if first is None else int.from_bytes(first[4 : layout.LEVEL_BYTES], "big")

    def trusted(self, log: LogRow) -> int:
        """The highest verified number before the log is in doubt; 0 where there is none."""
        if not log.verified:
            return 0
        prefix = layout.number_key(log.number)
        start = self.doubt(log)
        key = layout.level_key(log.number, start) if start is not None else _above(log.number)
        while (found := self.shelf.nodes.last_below(key)) and found[0].startswith(prefix):
            node = layout.unpack_node(*found)
            if node.standing is Standing.VERIFIED:
                return node.seq_num
            key = found[0]
        return 0

    def gaps(self, log: LogRow, limit: int | None = None) -> list[tuple[int, int]]:
        """Ranges, first and last, of numbers below the height that no entry has."""
        return list(islice(self._gaps(log), limit)) if log.numbers < log.height else []

    def _gaps(self, log: LogRow) -> Iterator[tuple[int, int]]:
        before = 0
        for node in self.shelf.log_nodes(log.number):
            if node.seq_num > before + 1:
                yield before + 1, node.seq_num - 1
            before = node.seq_num

    def schemas(self, log: LogRow) -> list[str]:
        """The schemas that a log's payloads name."""
        prefix = layout.schema_of_log_key(log.number)
        names = {key[len(prefix) :] for key in keys_from(self._schemas.items(prefix), prefix)}
        texts = {self._schemas.get(layout.schema_text_key(name[0], name[1:])) for name in names}
        return sorted(text.decode("utf-8") for text in texts if text is not None)

    def schemas_here(self, profile: str) -> Iterator[str]:
        """Every schema that some payload names under a profile."""
        prefix = layout.schema_text_key(PROFILES[profile], b"")
        for key, text in self._schemas.items(prefix):
            if not key.startswith(prefix):
                return
            yield text.decode("utf-8")

    def logs_of(self, profile: str, schema: str, after: int = 0) -> Iterator[int]:
        """The numbers of the logs with a schema, from after a number on."""
        name = schema_name(schema.encode("utf-8"))
        prefix = layout.log_of_schema_key(PROFILES[profile], name)
        start = prefix + layout.number_key(after + 1)
        for key in keys_from(self._schemas.items(start), prefix):
            yield int.from_bytes(key[len(prefix) :], "big")

    def state(self, author: bytes, log_id: int) -> LogState | None:
        """Everything about one log."""
        log = self.log(author, log_id)
        if log is None:
            return None
        return LogState(
            author=author,
            log_id=log_id,
            entries=log.entries,
            height=log.height,
            heads=tuple(self.heads(log)),
            gaps=tuple(self.gaps(log)),
            ended=bool(log.ended),
            verified=log.verified,
            waiting=log.waiting,
            broken=log.broken,
            inherited=log.inherited,
            withheld=log.withheld,
            trusted=self.trusted(log),
            schemas=tuple(self.schemas(log)),
            forks=tuple(self.forks_of(log)),
        )

    # --- entries --------------------------------------------------------------------------

    def find(self, tagged: bytes) -> Node | None:
        """The entry with this tagged hash, wherever it is."""
        return self.shelf.named(tagged, 0, 0)

    def by_id(self, id_: bytes) -> Node | None:
        """The entry with this id."""
        return self.find(Flavour.YASMF.value + id_)

    def at(self, log: LogRow, seq_num: int) -> list[Node]:
        """The entries with one number, at most MAX_BRANCHES."""
        return list(islice(self.shelf.at(log.number, seq_num), MAX_BRANCHES))

    def nodes(self, log: LogRow, first: int = 1, last: int = _LAST) -> Iterator[Node]:
        """The entries of a log by number, and of one number by id."""
        for node in self.shelf.log_nodes(log.number, first):
            if node.seq_num > last:
                return
            yield node

    def is_dropped(self, node: Node) -> bool:
        """Whether the payload is not here because somebody here dropped it."""
        return node.has(Flag.WITHHELD) and bool(node.payload_arrival)

    def parent(self, node: Node) -> Node | None:
        """The entry before, where the backlink leads there."""
        if not node.has(Flag.BACKLINK_FOUND):
            return None
        return self.shelf.node(node_key(node.log, node.seq_num - 1, id_of(node.backlink)))

    def lipmaa_target(self, node: Node) -> Node | None:
        """The entry that the lipmaalink leads to, spelled out or not, where it is in place."""
        if not node.has(Flag.HAS_LIPMAALINK):
            return self.parent(node)
        if not node.has(Flag.LIPMAALINK_FOUND):
            return None
        return self.shelf.node(node_key(node.log, lipmaa(node.seq_num), id_of(node.lipmaalink)))

    # --- forks ----------------------------------------------------------------------------

    def fork_ids(self) -> Iterator[bytes]:
        """The ids of all forks, ascending."""
        for key, _ in self._forks.items():
            yield key

    def fork_row(self, fork: bytes) -> ForkRow | None:
        """What is kept of one fork."""
        value = self._forks.get(fork)
        return None if value is None else ForkRow.unpack(value)

    def find_forks(self, prefix: bytes, limit: int) -> list[bytes]:
        """Ids of forks that begin with these bytes."""
        return list(islice(keys_from(self._forks.items(prefix), prefix), limit))

    def fork(self, fork: bytes) -> Fork | None:
        """One fork with its branches."""
        row = self.fork_row(fork)
        if row is None:
            return None
        kind = KINDS_BY_NUMBER[row.kind]
        sides = self.sides(row)
        author, log_id = self.shelf.owner(row.log)
        if kind is ForkKind.DOUBLE_SCHEMA:
            branches = tuple(self._branch(node) for node in sides)
            first = sides[0]
            log_id, seq_num = self.shelf.owner(first.log)[1], first.seq_num
            return Fork(
                fork, kind, author, log_id, seq_num, b"", branches, row.about.decode("utf-8")
            )
        branches = tuple(sorted(self._branches(sides), key=lambda branch: branch.hash))
        return Fork(fork, kind, author, log_id, row.seq_num, row.about, branches)

    def sides(self, row: ForkRow) -> list[Node]:
        """The entries that each side of a fork begins with, at most MAX_BRANCHES."""
        match KINDS_BY_NUMBER[row.kind]:
            case ForkKind.BRANCH:
                found = self._contestants(row)
            case ForkKind.AFTER_END:
                found = self._linking_to(row.log, row.seq_num, link_of(row.about))
            case _:
                name = subject_name(row.profile, self.shelf.owner(row.log)[0], row.about)
                keys = firsts_about(self._subjects, name)
                found = (self.shelf.expect(key) for key in keys)
        return list(islice(found, MAX_BRANCHES))

    def forks_shown_by(self, node: Node) -> Iterator[bytes]:
        """Forks of which this entry's payload is evidence: of a schema the first that names it,
        of a document every operation, since they prove each other's place in it."""
        if node.document:
            subject = node.document.hex().encode("ascii")
            author, _ = self.shelf.owner(node.log)
            fork = double_id(PROFILES_BY_NUMBER[AQUADOGGO], author, subject)
            if self.fork_row(fork) is not None:
                yield fork
        level = layout.level_key(node.log, node.seq_num)
        for key in keys_from(self._doubts.items(level), level):
            fork = key[layout.LEVEL_BYTES :]
            row = self.fork_row(fork)
            if row is None or KINDS_BY_NUMBER[row.kind] is not ForkKind.DOUBLE_SCHEMA:
                continue
            if any(side.key == node.key for side in self.sides(row)):
                yield fork

    def _contestants(self, row: ForkRow) -> Iterator[Node]:
        level = layout.level_key(row.log, row.seq_num)
        family = link_of(row.about) if row.about else b""
        prefix = layout.contested_key(level, Link.BACKLINK, family)
        for key in keys_from(self._contested.items(prefix), prefix):
            yield self.shelf.expect(level + key[-layout.ID_BYTES :])

    def _linking_to(self, log: int, first: int, marker: bytes) -> Iterator[Node]:
        for node in self.shelf.log_nodes(log, first):
            if marker in (node.backlink, node.lipmaalink):
                yield node

    def _branch(self, node: Node) -> Branch:
        return self._branches([node])[0]

    def _branches(self, sides: list[Node]) -> list[Branch]:
        """The sides, all of one log, with the longest way on from each."""
        tips = self._tips(sides)
        return [
            Branch(
                self.shelf.owner(node.log)[1], node.seq_num, self.shelf.hash(node), *tips[node.key]
            )
            for node in sides
        ]

    def _tips(self, sides: list[Node]) -> dict[bytes, tuple[int, bytes]]:
        """For each the longest way on along backlinks: entries on it, and its end. Of two
        equally long ways the one whose end has the smaller hash.

        Walks down the log's numbers and remembers only what the next lower one needs.
        """
        wanted = {node.key for node in sides}
        lowest = min(node.seq_num for node in sides)
        found: dict[bytes, tuple[int, bytes]] = {}
        above: dict[bytes, tuple[int, bytes]] = {}  # by the link to the parent
        here: dict[bytes, tuple[int, bytes]] = {}
        seq_num = 0
        for node in self._downwards(sides[0].log, lowest):
            if node.seq_num != seq_num:
                above = here if node.seq_num == seq_num - 1 else {}
                here, seq_num = {}, node.seq_num
            tip = above.get(link_to(node.id)) or (1, self.shelf.hash(node))
            if node.key in wanted:
                found[node.key] = tip
            if node.has(Flag.BACKLINK_FOUND):
                length, head = tip[0] + 1, tip[1]
                known = here.get(node.backlink)
                if known is None or (-length, head) < (-known[0], known[1]):
                    here[node.backlink] = (length, head)
        return found

    def _downwards(self, log: int, lowest: int) -> Iterator[Node]:
        key, end = _above(log), layout.level_key(log, lowest)
        while (found := self.shelf.nodes.last_below(key)) and found[0] >= end:
            yield layout.unpack_node(*found)
            key = found[0]

    # --- many forks, and the way along one branch -----------------------------------------

    def place(self, row: ForkRow) -> tuple[bytes, int, int]:
        """Author, log id and number of a fork, without a look at its branches."""
        author, log_id = self.shelf.owner(row.log)
        if KINDS_BY_NUMBER[row.kind] is not ForkKind.DOUBLE_SCHEMA:
            return author, log_id, row.seq_num
        name = subject_name(row.profile, author, row.about)
        log, seq_num, _ = layout.split_node_key(next(firsts_about(self._subjects, name)))
        return author, self.shelf.owner(log)[1], seq_num

    def forks(self, ids: Iterable[bytes]) -> list[Fork]:
        """Several forks, in the order given. A log is walked once, however often it parts."""
        rows = {fork: row for fork in ids if (row := self.fork_row(fork)) is not None}
        sides = {fork: self.sides(row) for fork, row in rows.items()}
        by_log: dict[int, dict[bytes, Node]] = {}
        for node in chain.from_iterable(sides.values()):
            by_log.setdefault(node.log, {})[node.key] = node
        branches = {
            key: branch
            for nodes in by_log.values()
            for key, branch in zip(nodes, self._branches(list(nodes.values())), strict=True)
        }
        return [
            self._told(fork, row, [branches[node.key] for node in sides[fork]])
            for fork, row in rows.items()
        ]

    def _told(self, fork: bytes, row: ForkRow, branches: list[Branch]) -> Fork:
        kind = KINDS_BY_NUMBER[row.kind]
        author, log_id, seq_num = self.place(row)
        if kind is ForkKind.DOUBLE_SCHEMA:
            subject = row.about.decode("utf-8")
            return Fork(fork, kind, author, log_id, seq_num, b"", tuple(branches), subject)
        branches.sort(key=lambda branch: branch.hash)
        return Fork(fork, kind, author, log_id, seq_num, row.about, tuple(branches))

    def way(self, node: Node, limit: int) -> list[Node]:
        """The first entries of the longest way on from one, itself included: the way that
        `Branch.length` and `Branch.head` tell of."""
        way = [node]
        while len(way) < limit and (after := self._after(way[-1])):
            way.append(self._longest(after))
        return way

    def _longest(self, nodes: list[Node]) -> Node:
        if len(nodes) == 1:
            return nodes[0]
        tips = self._tips(nodes)
        return min(nodes, key=lambda node: (-tips[node.key][0], tips[node.key][1]))

    def is_followed(self, node: Node) -> bool:
        """Whether some entry here has its backlink to this one."""
        return self.shelf.heads.get(node.key) is None

    def _after(self, node: Node) -> list[Node]:
        """The entries whose backlink leads here, at most MAX_BRANCHES. Where several have
        one number the contested ones are asked, which lie by what they link to."""
        if node.seq_num == _LAST:
            return []
        level = layout.level_key(node.log, node.seq_num + 1)
        few = list(islice(self.shelf.at(node.log, node.seq_num + 1), 2))
        if len(few) < 2:
            return [child for child in few if child.backlink == link_to(node.id)]
        prefix = layout.contested_key(level, Link.BACKLINK, link_to(node.id))
        keys = islice(keys_from(self._contested.items(prefix), prefix), MAX_BRANCHES)
        return [self.shelf.expect(level + key[-layout.ID_BYTES :]) for key in keys]

    # --- logs by how far they are here ----------------------------------------------------

    def reach(self, log: LogRow) -> int:
        """The highest number such that entries 1 to there are all here; 0 without entry 1.

        What stands before a gap has nothing that follows it. So only heads are looked at, of
        which a long log has as few as a short one.
        """
        if log.numbers == log.height:
            return log.height
        if not self.has_number(log, 1):
            return 0
        prefix = start = layout.number_key(log.number)
        while key := next(keys_from(self.shelf.heads.items(start), prefix), None):
            _, seq_num, _ = layout.split_node_key(key)
            if not self.has_number(log, seq_num + 1):
                return seq_num
            start = layout.level_key(log.number, seq_num + 1)
        raise DamagedStoreError("A Bamboo log has a gap, and no entry that stands before it.")

    def has_number(self, log: LogRow, seq_num: int) -> bool:
        """Whether some entry of a log has this number."""
        level = layout.level_key(log.number, seq_num)
        return next(keys_from(self.shelf.nodes.items(level), level), None) is not None

    def nodes_behind(self, log: LogRow, seq_num: int, id_: bytes) -> Iterator[Node]:
        """The entries of a log behind a place, by number and id; kept nowhere."""
        prefix = layout.number_key(log.number)
        for key, value in self.shelf.nodes.items(node_key(log.number, seq_num, id_) + b"\0"):
            if not key.startswith(prefix):
                return
            yield layout.unpack_node(key, value)

    def schemas_of(self, profile: str, log: LogRow) -> Iterator[str]:
        """The schemas that a log's payloads name under one profile."""
        number = PROFILES[profile]
        prefix = layout.schema_of_log_key(log.number, number)
        for key in keys_from(self._schemas.items(prefix), prefix):
            text = self._schemas.get(layout.schema_text_key(number, key[len(prefix) :]))
            if text is not None:
                yield text.decode("utf-8")


def _above(log: int) -> bytes:
    """A key above every node of a log."""
    return layout.number_key(log + 1)
