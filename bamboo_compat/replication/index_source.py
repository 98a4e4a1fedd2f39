"""A node's set as the source that replication asks: its index of logs, for one profile.

One source serves one connection. Every question is one short snapshot; `take` is one more
and a commit. What an entry is refused for here is what its own bytes, its log or this
node's settings say; what its schema says was asked before, by `heights.refusal`.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain, islice

from bamboo_compat.core.profiles import SYSTEM_SCHEMAS, Profile
from bamboo_compat.replication import limits
from bamboo_compat.replication.machine import TooMuchToTellError
from bamboo_compat.replication.source import (
    Carried,
    Fate,
    Height,
    LogKey,
    Outcome,
    Place,
    Schemas,
    Stored,
)
from bamboo_compat.replication.taking import Taking, unwanted
from bamboo_compat.set import layout
from bamboo_compat.set.index import BambooIndex
from bamboo_compat.set.layout import Flag
from bamboo_compat.set.reading import Reader
from setsync.model.refusal import Refusal
from setsync.node.admitting import admit
from setsync.node.policy import Policy
from setsync.store.contract import EntryStore, Origin, Snapshot

# What servers of a family know from the start. Where log ids tell (rfc0001), no name does.
FROM_THE_START: dict[str, tuple[str, ...]] = {
    "rfc0001": (),
    "aquadoggo": tuple(sorted(SYSTEM_SCHEMAS)),
}
# A log id of the system and one that is not, where ids tell.
_LOG_IDS = (0, 1024)
_INDEX = BambooIndex()


class IndexSource:
    """See `bamboo_compat.replication.source.Source`.

    `only`: the schemas to replicate, whether or not something of them is here; if it is
    empty all that are here, and those that every server of the profile knows. `speaks_of` says
    whether this node names a collection at all, and takes what is in it; `policy` is asked anew
    for each batch. `origin` is noted of what is taken.
    """

    def __init__(
        self,
        store: EntryStore,
        profile: Profile,
        *,
        max_payload: int,
        origin: Origin,
        only: Collection[str] = (),
        speaks_of: Callable[[str], bool] = lambda name: True,
        policy: Callable[[], Policy] = Policy,
    ) -> None:
        self._store = store
        self._profile = profile
        self._max_payload = max_payload
        self._origin = origin
        self._only = only
        self._speaks_of = speaks_of
        self._policy = policy
        # The logs of the schemas that were asked for last, as keys in order.
        self._listed: tuple[frozenset[str], list[bytes]] = (frozenset(), [])
        store.open_index(_INDEX)

    @contextmanager
    def _reading(self) -> Iterator[tuple[Snapshot, Reader]]:
        with self._store.snapshot() as snapshot:
            yield snapshot, Reader(snapshot.index_tables(_INDEX))

    # --- schemas --------------------------------------------------------------------------

    def schemas(self) -> Schemas:
        """One more than can be announced, where there are too many: that is said there."""
        system: list[str] = []
        user: list[str] = []
        with self._reading() as (snapshot, reader):
            for schema in self._candidates(reader):
                for is_system in self._places(snapshot, schema):
                    (system if is_system else user).append(schema)
                if max(len(system), len(user)) > limits.MAX_SCHEMAS:
                    break
        return Schemas(tuple(system), tuple(user))

    def _candidates(self, reader: Reader) -> Iterator[str]:
        if self._only:
            yield from dict.fromkeys(self._only)
            return
        known = FROM_THE_START[self._profile.name]
        here = reader.schemas_here(self._profile.name)
        yield from chain(known, (schema for schema in here if schema not in known))

    def _places(self, snapshot: Snapshot, schema: str) -> list[bool]:
        """Whether the schema's logs are the system's: True, False, or both, where ids tell
        and its entries are in both collections. One that is nowhere yet is a user's."""
        names = {
            self._profile.is_system(log_id, schema): self._profile.collection(log_id, schema)
            for log_id in _LOG_IDS
        }
        if len(names) > 1:
            here = [place for place in names if snapshot.view(names[place]) is not None]
            names = {place: names[place] for place in here or [False]}
        return [place for place, name in names.items() if self._speaks_of(name)]

    # --- heights --------------------------------------------------------------------------

    def heights(
        self, schemas: frozenset[str], after: LogKey | None, limit: int
    ) -> Sequence[Height]:
        """Which logs have one of the schemas is looked up with the first page, so that logs
        of other schemas cost nothing, and all pages come from one list."""
        with self._reading() as (_, reader):
            if after is None or self._listed[0] != schemas:
                self._listed = schemas, self._keys(reader, schemas)
            keys = self._listed[1]
            at = 0 if after is None else bisect_right(keys, layout.log_key(*after))
            page: list[Height] = []
            for key in keys[at : at + limit]:
                log = LogKey(*layout.split_log_key(key))
                row = reader.log(*log)
                page.append(Height(log, 0 if row is None else reader.reach(row)))
        return page

    def _keys(self, reader: Reader, schemas: frozenset[str]) -> list[bytes]:
        """Raises TooMuchToTellError: what no message could tell is not listed either."""
        name = self._profile.name
        numbers = chain.from_iterable(reader.logs_of(name, schema) for schema in schemas)
        found: set[int] = set()
        for number in numbers:
            found.add(number)
            if len(found) > limits.MAX_LOGS:
                raise TooMuchToTellError(
                    f"There are more than {limits.MAX_LOGS} logs to tell of; one message has "
                    "no room for them."
                )
        # Ascending numbers are read in the order in which they lie on the disk.
        return sorted(layout.log_key(*reader.shelf.owner(number)) for number in sorted(found))

    # --- entries --------------------------------------------------------------------------

    def entries(
        self, log: LogKey, after: Place, up_to: int, max_entries: int, max_bytes: int
    ) -> Sequence[Stored]:
        """A page ends with the entry that fills it."""
        page: list[Stored] = []
        with self._reading() as (_, reader):
            row = reader.log(*log)
            if row is None:
                return page
            for node in islice(reader.nodes_behind(row, *after), max_entries):
                if node.seq_num > up_to or max_bytes <= 0:
                    break
                entry, payload = reader.shelf.entry(node)
                page.append(Stored(Place(node.seq_num, node.id), entry, payload))
                max_bytes -= len(entry) + len(payload or b"")
        return page

    def take(self, batch: Sequence[Carried], schemas: frozenset[str]) -> Sequence[Outcome]:
        """All that may be taken is one commit. Raises NoRoomError, and what reading the policy
        raises: then nothing was taken."""
        with self._reading() as (_, reader):
            taking = Taking(reader, self._profile, schemas, self._max_payload, self._speaks_of)
            judged = [taking.judge(one) for one in batch]
        added = admit(self._store, taking.entries, self._origin, self._policy())
        reasons = {taking.entries[place].id: reason for place, reason in added.refused}
        attached = [id_ for id_, outcome in judged if outcome.fate is Fate.ATTACHED]
        if added.payloads < len(attached):
            reasons = dict.fromkeys(self._withheld(attached), Refusal.AUTHOR_QUOTA) | reasons
        return [
            unwanted(reasons[id_].sentence) if id_ in reasons else outcome
            for id_, outcome in judged
        ]

    def _withheld(self, ids: Sequence[bytes]) -> list[bytes]:
        """Those whose payload is not here: a store leaves out one that goes over a quota, and
        does not say so."""
        with self._reading() as (_, reader):
            nodes = ((id_, reader.by_id(id_)) for id_ in ids)
            return [id_ for id_, node in nodes if node is None or node.has(Flag.WITHHELD)]
