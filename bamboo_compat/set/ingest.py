"""Entries of files into the set: in batches, in any order, as often as one likes.

Signatures are checked by `files.reading`, in other processes; what comes from there is
checked again for everything but its signature before the store takes it. Nothing is kept of
an entry but its id, so memory has a bound whatever the size of the files.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

from bamboo_compat.core.profiles import Profile
from bamboo_compat.core.report import Problem, Standing
from bamboo_compat.files.work import Accepted
from bamboo_compat.limits import MAX_PROBLEMS
from bamboo_compat.set import layout
from bamboo_compat.set.format import BambooFormat
from bamboo_compat.set.reading import Reader
from bamboo_compat.set.subjects import FLAGS, PROFILES
from setsync.limits import COMMIT_ENTRIES, MIB
from setsync.model.collection import is_system
from setsync.model.entry import Entry, UnverifiedEntry, trusted
from setsync.store.contract import EntryStore, Origin

# Bytes that wait for their commit, besides the number of entries.
_BATCH_BYTES = 4 * MIB
_ID_BYTES = layout.ID_BYTES
# Forks that are told of one by one.
MAX_FORKS = 1_000
_INDEX = BambooFormat().index()


@dataclass(frozen=True, slots=True)
class Refusal:
    """What was not taken, and why: `reason` by its name, then what there should be and what
    is there. What the entry claims is None where it cannot be read."""

    where: int
    id: bytes
    author: bytes | None
    log_id: int | None
    seq_num: int | None
    reason: str
    expected: str
    found: str


@dataclass(slots=True)
class Ingested:
    """What files brought. `entries` counts what was read; each is refused, new or known.

    `payloads`: known entries that got the payload they lacked. `withheld`: new ones that came
    without; `too_large`: those of them whose payload is over this node's limit. `standings`
    counts the new and the known as they stand now, broken by inheritance included; `inherited`
    counts those. `refusals` are the first of the refused. `forks`: ids of those that this
    brought to light, and `more_forks` of how many more.
    """

    entries: int = 0
    new: int = 0
    known: int = 0
    payloads: int = 0
    withheld: int = 0
    too_large: int = 0
    refused: int = 0
    standings: Counter[Standing] = field(default_factory=Counter)
    inherited: int = 0
    refusals: list[Refusal] = field(default_factory=list)
    forks: list[bytes] = field(default_factory=list)
    more_forks: int = 0


def ingest(
    store: EntryStore,
    found: Iterable[Sequence[Accepted | Problem]],
    profile: Profile,
    *,
    max_payload: int,
    origin: Origin,
    on_commit: Callable[[Ingested], None] = lambda done: None,
) -> Ingested:
    """Put everything that was found into the set, filed as the profile has it.

    `on_commit` hears what is durable so far. May be stopped at any moment and run again:
    what was committed stays, and nothing doubles. Raises StoreError, and whatever `found`
    raises once everything before is committed.
    """
    work = _Ingestion(store, profile, max_payload, origin)
    with store.snapshot() as snapshot:
        began = snapshot.last_arrival
    try:
        for part in found:
            if work.take(part):
                on_commit(work.done)
    finally:
        work.commit()
    on_commit(work.done)
    work.look_back(began)
    return work.done


class _Ingestion:
    def __init__(
        self, store: EntryStore, profile: Profile, max_payload: int, origin: Origin
    ) -> None:
        self.done = Ingested()
        self._store = store
        self._profile = profile
        self._filed = FLAGS[PROFILES[profile.name]][0]
        self._max_payload = max_payload
        self._origin = origin
        self._batch: list[Entry] = []
        self._bare: list[Accepted] = []
        self._size = 0
        self._ids = bytearray()
        store.open_index(_INDEX)

    def take(self, part: Sequence[Accepted | Problem]) -> bool:
        """Take in what was found; whether something was committed."""
        for one in part:
            self.done.entries += 1
            if isinstance(one, Problem):
                self._refuse(one)
            elif one.payload is None:
                self._bare.append(one)
            else:
                self._file(one)
            if not isinstance(one, Problem):
                self._size += len(one.entry) + len(one.payload or b"")
        waiting = len(self._batch) + len(self._bare)
        if waiting >= COMMIT_ENTRIES or self._size >= _BATCH_BYTES:
            self.commit()
            return True
        return False

    def commit(self) -> None:
        """Make durable what waits."""
        self._file_bare()
        batch, self._batch, self._size = self._batch, [], 0
        for start in range(0, len(batch), COMMIT_ENTRIES):
            some = batch[start : start + COMMIT_ENTRIES]
            added = self._store.add_many(some, [(0, self._origin)])
            self.done.new += len(added.new)
            self.done.known += added.known
            self.done.payloads += added.payloads
            new = set(added.new)
            self.done.withheld += sum(one.payload is None and one.id in new for one in some)

    def _file(self, one: Accepted) -> None:
        member, payload = one.member, one.payload
        collection = self._profile.collection(
            member.log_id, member.schema if payload is not None else None
        )
        if payload is not None and len(payload) > self._max_payload:
            if is_system(collection):
                self._refuse_too_large(one)
                return
            self.done.too_large += 1
            payload = None
        self._batch.append(trusted(UnverifiedEntry(collection, one.entry, payload)))
        self._ids += member.id

    def _file_bare(self) -> None:
        """Without a payload nobody knows where an entry belongs, unless it is here already."""
        bare, self._bare = self._bare, []
        if not bare:
            return
        waiting = {entry.id for entry in self._batch}
        with self._store.snapshot() as snapshot:
            reader = Reader(snapshot.index_tables(_INDEX))
            here = [
                one.member.id in waiting or self._is_filed(reader, one.member.id) for one in bare
            ]
        for one, is_here in zip(bare, here, strict=True):
            if is_here:
                self.done.known += 1
                self._ids += one.member.id
            else:
                self._file(one)

    def _is_filed(self, reader: Reader, id_: bytes) -> bool:
        node = reader.by_id(id_)
        return node is not None and node.has(self._filed)

    def _refuse(self, problem: Problem) -> None:
        finding = problem.verdict.findings[0]
        self._note(
            Refusal(
                problem.where,
                problem.verdict.id,
                problem.author,
                problem.log_id,
                problem.seq_num,
                finding.reason.value,
                finding.expected,
                finding.found,
            )
        )

    def _refuse_too_large(self, one: Accepted) -> None:
        """In a collection of the system an entry is nothing without its payload."""
        member = one.member
        self._note(
            Refusal(
                one.where,
                member.id,
                member.author,
                member.log_id,
                member.seq_num,
                "payload_too_large",
                f"at most {self._max_payload} bytes in a system log",
                f"{len(one.payload or b'')} bytes",
            )
        )

    def _note(self, refusal: Refusal) -> None:
        self.done.refused += 1
        if len(self.done.refusals) < MAX_PROBLEMS:
            self.done.refusals.append(refusal)

    # --- afterwards -----------------------------------------------------------------------

    def look_back(self, began: int) -> None:
        """How everything stands now that all is here, and what forks came of it."""
        for ids in _parts(self._ids):
            with self._store.snapshot() as snapshot:
                reader = Reader(snapshot.index_tables(_INDEX))
                for id_ in ids:
                    node = reader.by_id(id_)
                    if node is not None:
                        self.done.standings[node.standing] += 1
                        self.done.inherited += node.has(layout.Flag.INHERITED)
        with self._store.snapshot() as snapshot:
            reader = Reader(snapshot.index_tables(_INDEX))
            appeared = [
                fork
                for fork in reader.fork_ids()
                if (row := reader.fork_row(fork)) is not None and row.found > began
            ]
        self.done.forks = appeared[:MAX_FORKS]
        self.done.more_forks = len(appeared) - len(self.done.forks)


def _parts(joined: bytearray) -> Iterator[list[bytes]]:
    ids = (bytes(joined[at : at + _ID_BYTES]) for at in range(0, len(joined), _ID_BYTES))
    while part := list(islice(ids, COMMIT_ENTRIES)):
        yield part
