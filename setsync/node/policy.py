"""What this node wants, apart from what is valid: whom it takes entries of, how many, and what
it shows to whom.

Validity is a function of an entry's bytes and the same everywhere (`setsync.model.entry`).
Policy is one file in the data directory, `policy.json`, and nobody else's affair: two nodes
with different policies still agree on every entry that both have.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from setsync import limits
from setsync.errors import InvalidNameError, NoSuchRuleError, PolicyFileError
from setsync.model.collection import (
    EVERYTHING,
    ONE_SEGMENT,
    SYSTEM,
    Pattern,
    check_fits,
    match_any,
)
from setsync.model.refusal import Refusal
from setsync.node.groups import EVERYBODY, LISTED, group_names
from setsync.node.lockedfile import Draft, Format, LockedFile
from setsync.store.contract import Quotas

FORMAT_VERSION = 1
_KEPT_COLLECTIONS = 4_096
# See `Policy.shares_with`.
_STATEMENTS = Pattern(f"{SYSTEM}/{ONE_SEGMENT}")


def check_group(name: str) -> str:
    """The name of a group that something may be shared with, as it is. Raises UsageError."""
    return name if name in (EVERYBODY, LISTED) else group_names([name])[0]


@dataclass(frozen=True)
class Policy:
    """Every rule. Without any, everything valid is wanted, and shared with whoever is let in.

    Authors are keys of 32 bytes. `names`: what the operator calls those that are blocked.
    `writers`: where a collection matches some of these patterns, the authors beside them are
    the ones who may write there. `shares` by group of peers. Raises PolicyFileError when there
    is more than the limits allow.
    """

    blocked_authors: frozenset[bytes] = frozenset()
    blocked_collections: tuple[Pattern, ...] = ()
    writers: tuple[tuple[Pattern, frozenset[bytes]], ...] = ()
    quotas: Quotas = field(default_factory=Quotas)
    shares: Mapping[str, tuple[Pattern, ...]] = field(default_factory=dict)
    names: Mapping[bytes, str] = field(default_factory=dict)
    # By collection: matching every pattern for every entry would cost more than storing it.
    _writers_of: dict[str, frozenset[bytes] | None] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        _at_most(limits.MAX_BLOCKED_AUTHORS, len(self.blocked_authors), "authors are blocked")
        _at_most(limits.MAX_WRITER_RULES, len(self.writers), "patterns have writers")
        keys = sum(len(authors) for _, authors in self.writers)
        _at_most(limits.MAX_WRITERS, keys, "keys are listed as writers")
        _at_most(limits.MAX_SHARING_GROUPS, len(self.shares), "groups have shares")
        _fits_a_hello(self.blocked_collections, "patterns are blocked")
        # Of all groups, since a peer may be in each of them.
        _fits_a_hello(self._union(self.shares), "patterns are shared")

    # --- what it says -----------------------------------------------------------------------

    def refuses(self, author: bytes, collection: str) -> Refusal | None:
        """Why an author's entries in a collection are not wanted, or None.

        Quotas are not looked at: the store counts. Nor are blocked collections: nothing of
        them is spoken of.
        """
        if author in self.blocked_authors:
            return Refusal.AUTHOR_BLOCKED
        authors = self._may_write(collection)
        return Refusal.NOT_A_WRITER if authors is not None and author not in authors else None

    def blocks(self, collection: str) -> bool:
        """Whether a collection is not spoken of, with anybody."""
        return match_any(self.blocked_collections, collection)

    def wants(self, author: bytes, collection: str) -> bool:
        """Whether an author's entries in a collection are taken, quotas aside."""
        return not self.blocks(collection) and self.refuses(author, collection) is None

    def _may_write(self, collection: str) -> frozenset[bytes] | None:
        """The authors who may write in a collection; None: everybody."""
        if not self.writers:
            return None
        try:
            return self._writers_of[collection]
        except KeyError:
            pass
        found = [authors for pattern, authors in self.writers if pattern.matches(collection)]
        authors = frozenset[bytes]().union(*found) if found else None
        if len(self._writers_of) >= _KEPT_COLLECTIONS:
            self._writers_of.clear()
        self._writers_of[collection] = authors
        return authors

    def shares_with(self, groups: Iterable[str]) -> tuple[Pattern, ...]:
        """Which collections a peer of these groups may see and write: everything where nothing
        is shared expressly, else what is shared with one of the groups, or nothing.

        `system/*`, what authors state for everybody, goes with whatever is shared. What lies
        deeper in the system may be anything, and has to be shared like the rest.
        """
        return self._union(groups) if self.shares else (Pattern(EVERYTHING),)

    def _union(self, groups: Iterable[str]) -> tuple[Pattern, ...]:
        found = dict.fromkeys(pattern for group in groups for pattern in self.shares.get(group, ()))
        return (*dict.fromkeys((_STATEMENTS, *found)),) if found else ()

    @property
    def without(self) -> tuple[Pattern, ...]:
        """The collections that are not spoken of, with anybody."""
        return self.blocked_collections

    # --- with one rule more or less ---------------------------------------------------------

    def blocking_author(self, author: bytes, name: str = "") -> Policy:
        """One author more whose entries are not taken; `name` replaces the one it had."""
        name = name[: limits.MAX_PEER_NAME] or self.names.get(author, "")
        names = {**self.names, author: name} if name else self.names
        return replace(self, blocked_authors=self.blocked_authors | {author}, names=names)

    def unblocking_author(self, author: bytes) -> Policy:
        """Raises NoSuchRuleError."""
        if author not in self.blocked_authors:
            raise NoSuchRuleError(f"The author {author.hex()} is not blocked.")
        names = {key: name for key, name in self.names.items() if key != author}
        return replace(self, blocked_authors=self.blocked_authors - {author}, names=names)

    def blocking_collection(self, pattern: Pattern) -> Policy:
        """One pattern more whose collections are not spoken of."""
        patterns = dict.fromkeys((*self.blocked_collections, pattern))
        return replace(self, blocked_collections=(*patterns,))

    def unblocking_collection(self, pattern: Pattern) -> Policy:
        """Raises NoSuchRuleError."""
        if pattern not in self.blocked_collections:
            raise NoSuchRuleError(f"The pattern {pattern.text!r} is not blocked.")
        left = tuple(one for one in self.blocked_collections if one != pattern)
        return replace(self, blocked_collections=left)

    def with_writers(self, pattern: Pattern, authors: Iterable[bytes]) -> Policy:
        """These authors, and no others, may write what matches the pattern (and those of any
        other pattern that matches)."""
        writers = dict(self.writers) | {pattern: frozenset(authors)}
        return replace(self, writers=(*writers.items(),))

    def without_writers(self, pattern: Pattern) -> Policy:
        """Raises NoSuchRuleError."""
        writers = dict(self.writers)
        if writers.pop(pattern, None) is None:
            raise NoSuchRuleError(f"The pattern {pattern.text!r} has no writers.")
        return replace(self, writers=(*writers.items(),))

    def with_shares(self, shares: Mapping[str, Iterable[Pattern]]) -> Policy:
        """More patterns for some groups. Raises UsageError for a name that is no group's."""
        found = dict(self.shares)
        for group, patterns in shares.items():
            both = dict.fromkeys((*found.get(check_group(group), ()), *patterns))
            found[group] = (*both,)
        return replace(self, shares=found)

    def without_shares(self, group: str, patterns: Iterable[Pattern] = ()) -> Policy:
        """A group without these patterns, or without any. A group that has none left is
        forgotten, and with the last group that is everything is shared again.

        Raises NoSuchRuleError.
        """
        if group not in self.shares:
            raise NoSuchRuleError(f"Nothing is shared with the group {group!r}.")
        had, gone = self.shares[group], tuple(patterns)
        for pattern in gone:
            if pattern not in had:
                raise NoSuchRuleError(f"{pattern.text!r} is not shared with the group {group!r}.")
        left = tuple(pattern for pattern in had if gone and pattern not in gone)
        others = {name: shared for name, shared in self.shares.items() if name != group}
        return replace(self, shares=others | ({group: left} if left else {}))


def _at_most(limit: int, count: int, what: str) -> None:
    if count > limit:
        raise PolicyFileError(f"At most {limit:,} {what}.")


def _fits_a_hello(patterns: tuple[Pattern, ...], what: str) -> None:
    try:
        check_fits(patterns)
    except InvalidNameError as error:
        raise PolicyFileError(f"Too many {what}. {error.message}") from error
    if sum(len(pattern.text.encode()) for pattern in patterns) > limits.MAX_PATTERNS_TEXT:
        raise PolicyFileError(
            f"The {what} have more than {limits.MAX_PATTERNS_TEXT:,} bytes together."
        )


# --- the file -----------------------------------------------------------------------------


class PolicyFile:
    """The file, for readers and for one writer at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = LockedFile(path, _FORMAT, limits.PEERS_LOCK_SECONDS)

    def read(self) -> Policy:
        """What is in the file; the policy without rules, where there is none.

        Raises PolicyFileError, NewerFormatError. A node that cannot read its rules has to
        act as if each of them said no: it opens no session, and takes nothing in.
        """
        return self._file.read()

    @contextlib.contextmanager
    def changing(self) -> Iterator[Draft[Policy]]:
        """Put another policy into the draft inside the block; it is on the disk afterwards.

        Raises PolicyFileError, NewerFormatError; then nothing has changed.
        """
        with self._file.changing() as draft:
            yield draft


@dataclass
class WithShares:
    """A policy that is read anew each time, with shares of which the file does not know."""

    read: Callable[[], Policy]
    shares: Mapping[str, tuple[Pattern, ...]]
    _last: tuple[Policy, Policy] | None = field(default=None, init=False)

    def __call__(self) -> Policy:
        """Raises PolicyFileError, NewerFormatError; see `PolicyFile.read`."""
        found = self.read()
        if self._last is None or self._last[0] is not found:
            self._last = found, found.with_shares(self.shares) if self.shares else found
        return self._last[1]


def _dump(policy: Policy) -> dict[str, Any]:
    return {
        "blocked_authors": {
            key.hex(): policy.names.get(key, "") for key in sorted(policy.blocked_authors)
        },
        "blocked_collections": _texts(policy.blocked_collections),
        "writers": {
            pattern.text: [key.hex() for key in sorted(authors)]
            for pattern, authors in policy.writers
        },
        "shares": {group: _texts(patterns) for group, patterns in policy.shares.items()},
        "quotas": {
            name: value
            for name, value in _quotas(policy.quotas).items()
            if value != getattr(Quotas(), name)
        },
    }


def _quotas(quotas: Quotas) -> dict[str, int]:
    return {one.name: getattr(quotas, one.name) for one in fields(quotas)}


def _texts(patterns: Iterable[Pattern]) -> list[str]:
    return [pattern.text for pattern in patterns]


def _parse(found: dict[str, Any]) -> Policy:
    wanted = {"setsync_policy", *_dump(Policy())}
    if found.keys() != wanted:
        raise ValueError(f"its members are not {', '.join(sorted(wanted))}")
    blocked = {_key(text): _string(name) for text, name in found["blocked_authors"].items()}
    return Policy(
        blocked_authors=frozenset(blocked),
        blocked_collections=_patterns(found["blocked_collections"]),
        writers=tuple(
            (Pattern(text), frozenset(_key(key) for key in _list(keys)))
            for text, keys in found["writers"].items()
        ),
        quotas=_parse_quotas(found["quotas"]),
        shares={check_group(group): _patterns(texts) for group, texts in found["shares"].items()},
        names={key: name[: limits.MAX_PEER_NAME] for key, name in blocked.items() if name},
    )


def _parse_quotas(found: dict[str, Any]) -> Quotas:
    for name, value in found.items():
        if type(value) is not int or not 0 <= value <= limits.MAX_QUOTA:
            raise ValueError(f"{name} is not a number from 0 to {limits.MAX_QUOTA}")
    return Quotas(**found)


def _patterns(found: object) -> tuple[Pattern, ...]:
    return tuple(dict.fromkeys(Pattern(text) for text in _list(found)))


def _list(found: object) -> list[Any]:
    if not isinstance(found, list):
        raise TypeError("what should be a list is none")
    return found


def _string(found: object) -> str:
    if not isinstance(found, str):
        raise TypeError("what should be text is none")
    return found


def _key(text: str) -> bytes:
    key = bytes.fromhex(text)
    if len(key) != 32:
        raise ValueError(f"{text[:80]!r} is not a key")
    return key


_FORMAT = Format(
    mark="setsync_policy",
    version=FORMAT_VERSION,
    what="a policy",
    limit=limits.MAX_POLICY_FILE,
    error=PolicyFileError,
    empty=Policy,
    parse=_parse,
    dump=_dump,
)
