"""An entry in its log, as small as Python lets it be: a million of them fit in memory."""

from __future__ import annotations

from operator import attrgetter

from bamboo_compat.core.report import Finding, Standing
from bamboo_compat.core.yamf import Flavour

_IN_ORDER = attrgetter("seq_num", "id")


class Log:
    """One author's log: every entry of it that is here."""

    __slots__ = ("author", "is_plain", "log_id", "nodes")

    def __init__(self, author: bytes, log_id: int) -> None:
        self.author = author
        self.log_id = log_id
        self.nodes: list[Node] = []
        # Entries 1, 2, 3... and no others, all sound: each follows the one before.
        self.is_plain = True

    def append(self, node: Node) -> None:
        """Add an entry, noticing whether the log is still plain."""
        self.nodes.append(node)
        if not (node.sound and node.seq_num == len(self.nodes)):
            self.is_plain = False

    def sort(self) -> None:
        """By number, and of several with one number by id."""
        self.nodes.sort(key=_IN_ORDER)


class Node:
    """One entry. A link is the node it leads to, or its bytes while that is not here."""

    __slots__ = (
        "backlink",
        "end_of_log",
        "findings",
        "has_child",
        "id",
        "inherited",
        "lipmaalink",
        "log",
        "previous",
        "schema",
        "seq_num",
        "sound",
        "standing",
        "twin",
        "where",
        "withheld",
    )

    def __init__(
        self,
        log: Log,
        seq_num: int,
        id: bytes,
        where: int,
        backlink: Node | bytes | None,
        lipmaalink: Node | bytes | None,
        end_of_log: bool,
        withheld: bool,
        twin: bytes | None,
    ) -> None:
        self.log = log
        self.seq_num = seq_num
        self.id = id
        self.where = where
        self.backlink = backlink
        self.lipmaalink = lipmaalink
        self.end_of_log = end_of_log
        self.withheld = withheld
        self.twin = twin  # BLAKE2b, only where it is the entry's own flavour
        self.schema: str | None = None
        self.previous: bytes | None = None
        self.standing = Standing.WAITING
        self.findings: tuple[Finding, ...] = ()
        self.inherited = False
        self.sound = False  # verified whatever else comes
        self.has_child = False

    def make_sound(self) -> None:
        """Verified for good."""
        self.sound = True
        self.standing = Standing.VERIFIED

    @property
    def author(self) -> bytes:
        """Public key."""
        return self.log.author

    @property
    def log_id(self) -> int:
        """Which of the author's logs."""
        return self.log.log_id

    def hash(self) -> bytes:
        """Its tagged hash, in its own flavour."""
        if self.twin is not None:
            return Flavour.YAMF.value + self.twin
        return Flavour.YASMF.value + self.id

    def parent(self) -> Node | None:
        """The entry before, where the backlink really leads there."""
        target = self.backlink
        if (
            isinstance(target, Node)
            and target.log is self.log
            and target.seq_num == self.seq_num - 1
        ):
            return target
        return None
