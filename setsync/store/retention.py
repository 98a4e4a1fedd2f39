"""Which payloads go, so that a store stays small. Entries stay, and so do their ids.

The log is read from the oldest arrival to the newest, in short snapshots, and what was chosen is
dropped in transactions of at most DROPS_COMMIT: others read and write meanwhile, and whatever
interrupts it has dropped what it committed. Run again it goes on, since what was dropped is passed
by.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from setsync.errors import InvalidEntryError
from setsync.limits import DROPS_COMMIT, ENTRIES_PER_READ, ENTRY_BATCH
from setsync.model.collection import Pattern, is_system, match_any
from setsync.model.formats import format_of
from setsync.store.contract import EntryStore, Origin

OnSteps = Callable[[str, int, int], None]
"""Is told the phase, the arrival number that was reached, and the last one."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What may go: a payload of which every rule that is given says so.

    `before`: it was brought before this moment, in milliseconds since 1970 by this machine's
    clock. `larger_than`: it has more bytes. `collections`: it is in one that these mean; all, if
    empty. `keep_bytes`: the payloads of these collections are more than so many bytes together,
    and it is among the oldest of those that may go.

    `own` is the key of this node's author. Its payloads stay, and so do all that no other node
    brought, since they may be nowhere else; None: they may go like others.
    """

    before: int | None = None
    larger_than: int | None = None
    keep_bytes: int | None = None
    collections: tuple[Pattern, ...] = ()
    own: bytes | None = None


class Stays(enum.StrEnum):
    """Why a payload stays that the rules would let go."""

    OWN = "own"
    NEEDED = "needed"
    UNKNOWN = "unknown_format"


@dataclass(slots=True)
class Tally:
    """Payloads, counted."""

    entries: int = 0
    bytes: int = 0

    def add(self, size: int) -> None:
        """One more."""
        self.entries += 1
        self.bytes += size


@dataclass(slots=True)
class Collected:
    """What a run has done, or would do. `here`: the payloads of the collections that were meant,
    before it."""

    here: Tally = field(default_factory=Tally)
    dropped: Tally = field(default_factory=Tally)
    collections: dict[str, Tally] = field(default_factory=dict)
    stays: dict[Stays, Tally] = field(default_factory=lambda: {why: Tally() for why in Stays})


def collect(
    store: EntryStore,
    rules: Rules,
    *,
    dry_run: bool = False,
    on_steps: OnSteps = lambda phase, done, total: None,
) -> Collected:
    """Drop the payloads that the rules let go; `dry_run`: only count them. What an index needs
    is found only by dropping.

    Raises StoreError and its kinds; what was committed before stays dropped.
    """
    return _Run(store, rules, dry_run, on_steps).run()


@dataclass(frozen=True, slots=True)
class _Payload:
    """A payload that is here. `origin` is read only where a rule asks for it."""

    collection: str
    id: bytes
    header: bytes
    size: int
    origin: Origin | None


class _Run:
    def __init__(self, store: EntryStore, rules: Rules, dry_run: bool, on_steps: OnSteps) -> None:
        self._store = store
        self._rules = rules
        self._dry_run = dry_run
        self._on_steps = on_steps
        self._meant: dict[str, bool] = {}
        self._found = Collected()
        # Chosen, and not dropped yet.
        self._chosen: list[_Payload] = []
        self._chosen_bytes = 0
        with store.snapshot() as snapshot:
            self._last = snapshot.last_arrival

    def run(self) -> Collected:
        if self._rules.keep_bytes is not None:
            for payload in self._payloads("reading"):
                self._found.here.add(payload.size)
        for payload in self._payloads("dropping"):
            if self._rules.keep_bytes is None:
                self._found.here.add(payload.size)
            elif self._fits():
                break
            self._look_at(payload)
        self._drop()
        return self._found

    def _fits(self) -> bool:
        """Whether what stays is little enough. What an index needs turns out when it is to be
        dropped, so that more may have to go."""
        if self._left() > (self._rules.keep_bytes or 0):
            return False
        self._drop()
        return self._left() <= (self._rules.keep_bytes or 0)

    def _left(self) -> int:
        return self._found.here.bytes - self._found.dropped.bytes - self._chosen_bytes

    def _look_at(self, payload: _Payload) -> None:
        if not self._is_meant(payload):
            return
        stays = self._stays(payload)
        if stays is not None:
            self._found.stays[stays].add(payload.size)
            return
        self._chosen.append(payload)
        self._chosen_bytes += payload.size
        if len(self._chosen) >= DROPS_COMMIT:
            self._drop()

    def _is_meant(self, payload: _Payload) -> bool:
        rules, origin = self._rules, payload.origin
        if rules.larger_than is not None and payload.size <= rules.larger_than:
            return False
        # Of what nobody knows when it came, nobody can say that it is old.
        return rules.before is None or (origin is not None and origin.at < rules.before)

    def _stays(self, payload: _Payload) -> Stays | None:
        if is_system(payload.collection):
            return Stays.NEEDED
        author = _author(payload.header)
        if author is None:
            return Stays.UNKNOWN
        if self._rules.own is not None:
            is_brought = payload.origin is not None and payload.origin.peer != b""
            if author == self._rules.own or not is_brought:
                return Stays.OWN
        return None

    def _drop(self) -> None:
        """Drop what was chosen, in as few transactions as it takes."""
        chosen, self._chosen, self._chosen_bytes = self._chosen, [], 0
        while chosen:
            chosen = chosen[self._drop_some(chosen) :]

    def _drop_some(self, chosen: Sequence[_Payload]) -> int:
        """Drop in one transaction, and count it; how many of the payloads that was."""
        freed: Mapping[int, int] = {place: one.size for place, one in enumerate(chosen)}
        needed: Sequence[int] = ()
        done = len(chosen)
        if not self._dry_run:
            dropped = self._store.drop_many([(one.collection, one.id) for one in chosen])
            freed, needed, done = dropped.freed, dropped.needed, dropped.done
        for place, size in freed.items():
            self._found.dropped.add(size)
            self._found.collections.setdefault(chosen[place].collection, Tally()).add(size)
        for place in needed:
            self._found.stays[Stays.NEEDED].add(chosen[place].size)
        return done

    # --- reading --------------------------------------------------------------------------

    def _payloads(self, phase: str) -> Iterator[_Payload]:
        """Those that are here, of the collections that are meant, from the oldest arrival on.
        What arrives meanwhile is left for the next time."""
        after = 0
        while after < self._last:
            self._on_steps(phase, after, self._last)
            after, found = self._window(after, with_origins=phase == "dropping")
            yield from found
        self._on_steps(phase, self._last, self._last)

    def _window(self, after: int, *, with_origins: bool) -> tuple[int, list[_Payload]]:
        """One short snapshot's worth, and up to which arrival it goes."""
        rules = self._rules
        with_origins = with_origins and (rules.before, rules.own) != (None, None)
        least = rules.larger_than or 0
        found: list[_Payload] = []
        with self._store.snapshot() as snapshot:
            entries = snapshot.since(after, ENTRIES_PER_READ, ENTRY_BATCH)
            for entry in entries:
                # An empty payload takes no room.
                if not entry.payload or entry.arrival > self._last:
                    continue
                size, name = len(entry.payload), entry.collection
                if self._means(name):
                    asked = with_origins and size > least
                    origin = snapshot.origin(entry.arrival) if asked else None
                    found.append(_Payload(name, entry.id, entry.header, size, origin))
        return (entries[-1].arrival if entries else self._last), found

    def _means(self, collection: str) -> bool:
        if collection not in self._meant:
            patterns = self._rules.collections
            self._meant[collection] = not patterns or match_any(patterns, collection)
        return self._meant[collection]


def _author(header: bytes) -> bytes | None:
    try:
        return format_of(header).decode(header).author
    except InvalidEntryError:
        return None
