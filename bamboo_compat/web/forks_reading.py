"""What the pages about forks show, read from one moment of the store."""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from bamboo_compat.cli.fork_list import Told, tell
from bamboo_compat.cli.fork_show import Page, page_of
from bamboo_compat.cli.fork_view import END, chain_words, decision_words, history_json
from bamboo_compat.cli.fork_words import branch_words, find_fork, where_it_parts
from bamboo_compat.cli.home_common import marriage_json
from bamboo_compat.cli.payloads import BRIEF, told
from bamboo_compat.core.report import Branch, Fork, ForkKind
from bamboo_compat.decisions.errors import NoSuchBranchError
from bamboo_compat.decisions.ruling import By
from bamboo_compat.decisions.view import View
from bamboo_compat.homes.marriages import Marriage, marriages, open_homes
from bamboo_compat.web import limits
from setsync.store.contract import Snapshot

_LONGEST_SCHEMA = 1024


class State(enum.StrEnum):
    """What has become of a fork, in the order of the list."""

    UNDECIDED = "undecided"
    WAITING = "waiting"
    POLICY = "policy"
    HERE = "here"
    AUTHOR = "author"
    MOOT = "moot"

    @property
    def words(self) -> str:
        """For people."""
        return _WORDS[self]


_WORDS = {
    State.UNDECIDED: "needs a decision",
    State.WAITING: "waits for a branch",
    State.POLICY: "settled by policy",
    State.HERE: "decided here",
    State.AUTHOR: "decided by the author",
    State.MOOT: "moot",
}
_ORDER = {state: place for place, state in enumerate(State)}
OPEN = (State.UNDECIDED, State.WAITING)


def state_of(view: View, fork: bytes) -> State:
    """Of a fork that is here."""
    ruling = view.ruling(fork)
    assert ruling is not None
    match ruling.by:
        case By.AUTHOR:
            return State.AUTHOR
        case By.HERE:
            return State.HERE
        case By.POLICY:
            return State.POLICY
    if view.is_moot(fork):
        return State.MOOT
    return State.WAITING if ruling.is_waiting else State.UNDECIDED


# --- all of them --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Row:
    """One fork: `found` is the arrival with which it came to light."""

    state: State
    found: int
    id: bytes
    author: bytes


@dataclass(frozen=True, slots=True)
class Survey:
    """All forks, those first that need a decision, and of one state the newest first. `total`
    counts also those beyond MAX_SURVEYED, of which nothing else is known."""

    rows: tuple[Row, ...] = ()
    total: int = 0

    @property
    def counts(self) -> Mapping[State, int]:
        """How many of each state."""
        found = Counter(row.state for row in self.rows)
        return {state: found[state] for state in State}

    @property
    def open(self) -> int:
        """How many need a decision."""
        return sum(row.state in OPEN for row in self.rows)


def survey(view: View) -> Survey:
    """Every fork's state."""
    rows, total = [], 0
    for fork in view.reader.fork_ids():
        total += 1
        row = view.reader.fork_row(fork) if total <= limits.MAX_SURVEYED else None
        if row is not None:
            author, _ = view.reader.shelf.owner(row.log)
            rows.append(Row(state_of(view, fork), row.found, fork, author))
    rows.sort(key=lambda row: (_ORDER[row.state], -row.found, row.id))
    return Survey(tuple(rows), total)


@dataclass(frozen=True, slots=True)
class Listed:
    """A fork in the list."""

    state: State
    told: Told

    @property
    def title(self) -> str:
        """The contradiction in one sentence."""
        return where_it_parts(self.told.fork, with_author=False)

    @property
    def branches(self) -> list[str]:
        """A few of them in words."""
        fork = self.told.fork
        return [branch_words(fork, one) for one in fork.branches[: limits.BRANCHES_SHOWN]]

    @property
    def at(self) -> int | None:
        """When it came to light here."""
        local = self.told.as_json["local"]
        assert isinstance(local, dict)
        at: int | None = local["at"]
        return at


def listed(view: View, snapshot: Snapshot, rows: tuple[Row, ...]) -> list[Listed]:
    """Everything that the list says of some; one that is gone meanwhile is left out."""
    here = [row.id for row in rows if view.reader.fork_row(row.id) is not None]
    return [Listed(state_of(view, one.fork.id), one) for one in tell(view, snapshot, here)]


# --- one of them --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Came:
    """How a branch came here. `node`: through which, None where that was not noted; `is_home`:
    whether that is the author's home, None where the author has none, or two."""

    branch: int
    node: bytes | None
    is_here: bool
    is_home: bool | None

    @property
    def words(self) -> str:
        """For people."""
        if self.node is None:
            return "from whom was not noted"
        home = {True: ", the author's home", False: ", not the author's home", None: ""}
        if self.is_here:
            return "brought at this machine" + home[self.is_home]
        return f"through node {self.node.hex()[:12]}…{home[self.is_home]}"

    def as_json(self) -> dict[str, object]:
        """See docs/json/web-fork.json."""
        node = self.node.hex() if self.node is not None else None
        return {"branch": self.branch, "node": node, "here": self.is_here, "home": self.is_home}


@dataclass(frozen=True, slots=True)
class Choice:
    """A branch that can be chosen. `hash` names it; `is_right`: it is what holds now."""

    number: int
    hash: str
    title: str
    words: str
    is_right: bool


@dataclass(frozen=True, slots=True)
class Whole:
    """The page of one fork."""

    page: Page
    state: State
    decision: list[str]
    history: list[dict[str, object]]
    policy: str
    homes: list[Marriage]
    came: tuple[Came, Came]
    choices: list[Choice]
    # Standings and payloads of the sides' entries in words, by id.
    entries: dict[bytes, list[str]] = field(default_factory=dict)

    @property
    def fork(self) -> Fork:
        """The fork itself."""
        return self.page.fork

    @property
    def title(self) -> str:
        """The contradiction in one sentence."""
        return where_it_parts(self.fork, with_author=False, longest=_LONGEST_SCHEMA)

    @property
    def trusted(self) -> str:
        """Of each log that is shown, the part that no fork puts in doubt."""
        logs = {side.branch.log_id: side.trusted for side in self.page.sides}
        return "; ".join(
            f"log {log_id} up to entry {number}" if number else f"no entry of log {log_id}"
            for log_id, number in logs.items()
        )

    @property
    def at(self) -> int | None:
        """When the fork came to light here."""
        return _at(self.page.told["local"])

    def since(self, side: int) -> int | None:
        """When a side's first entry came."""
        return _at(self.page.sides[side].local)

    def as_json(self) -> dict[str, object]:
        """See docs/json/web-fork.json."""
        return {
            "state": self.state,
            "fork": self.page.as_json(),
            "policy": self.policy,
            "homes": [marriage_json(one) for one in self.homes],
            "came": [one.as_json() for one in self.came],
        }


def whole(
    view: View, snapshot: Snapshot, prefix: str, numbers: tuple[int, int] | None, count: int
) -> Whole:
    """One fork and two of its branches. Raises NoSuchForkError, AmbiguousForkError,
    NoSuchBranchError."""
    fork = find_fork(view.reader, prefix)
    page = page_of(view, snapshot, fork, _two(fork, numbers), count, BRIEF)
    homes = open_homes(marriages(view.statements, fork.author))
    shown = [page.common] if page.common is not None else []
    shown += [entry for side in page.sides for entry in side.entries]
    one, two = (came(view, side.number, side.branch, homes) for side in page.sides)
    return Whole(
        page=page,
        state=state_of(view, fork.id),
        decision=[*decision_words(view, fork), *chain_words(view, fork.author)],
        history=history_json(view, fork),
        policy=view.book.policy(fork.author),
        homes=homes,
        came=(one, two),
        choices=choices(view, fork),
        entries={entry.id: told(entry.payload) for entry in shown},
    )


def _two(fork: Fork, numbers: tuple[int, int] | None) -> tuple[int, int]:
    first = END if fork.kind is ForkKind.AFTER_END else 1
    if numbers is None:
        return first, first + 1
    one, two = numbers
    if one == two or min(numbers) < first or max(numbers) > len(fork.branches):
        raise NoSuchBranchError(
            f"Two different ones of the branches {first} to {len(fork.branches)} can be shown."
        )
    return one, two


def came(view: View, number: int, branch: Branch, homes: list[Marriage]) -> Came:
    """How the first entry of a branch came here."""
    node = view.reader.find(branch.hash)
    through = view.came_through(node) if node is not None else None
    is_here = node is not None and view.was_brought_here(node)
    is_home = through == homes[0].server if len(homes) == 1 and through is not None else None
    return Came(number, through, is_here, is_home)


def choices(view: View, fork: Fork) -> list[Choice]:
    """Every branch, and of an after_end the end before them."""
    ruling = view.ruling(fork.id)
    right = ruling.chosen if ruling is not None else None
    kept = view.reader.shelf.hash(right) if right is not None else b""
    found = []
    if fork.kind is ForkKind.AFTER_END:
        words = f"entry {fork.seq_num - 1} ends log {fork.log_id}"
        end = fork.parent
        found.append(Choice(END, end.hex(), "The end of the log", words, kept == end))
    for number, branch in enumerate(fork.branches, start=1):
        words, hash_ = branch_words(fork, branch), branch.hash
        found.append(Choice(number, hash_.hex(), f"Branch {number}", words, kept == hash_))
    return found


def _at(local: object) -> int | None:
    assert isinstance(local, dict)
    at: int | None = local["at"]
    return at
