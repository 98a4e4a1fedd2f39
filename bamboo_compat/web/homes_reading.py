"""What the page about homes shows: my home, who is at home here, and what is wrong with either."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from bamboo_compat.cli.home_clients import clients_of
from bamboo_compat.cli.home_status import status_of
from bamboo_compat.homes.book import FILE, homes_file
from bamboo_compat.homes.errors import BehindHeadError
from bamboo_compat.homes.joining import Me
from bamboo_compat.homes.ledger import ledgers
from bamboo_compat.homes.publishing import DirectoryState, check_ledger, open_indexes
from bamboo_compat.web.keeping import mark_of
from bamboo_compat.web.limits import MAX_LEDGERS
from setsync.node.config import DataDirectory
from setsync.node.place import PLACE_FILE
from setsync.store.contract import EntryStore

_FILES = (FILE, PLACE_FILE, "migration.json")


@dataclass(frozen=True, slots=True)
class Homes:
    """`mine` as `home status --json` and `clients` as `home clients --json` tell them; `behind`: a
    sentence for each log of mine of which more was signed than is here."""

    mine: dict[str, Any]
    clients: list[dict[str, Any]]
    behind: list[str]

    @property
    def warnings(self) -> list[str]:
        """A sentence for each thing that is not as it should be."""
        theirs = [str(one["warning"]) for one in self.clients if one["warning"]]
        return list(dict.fromkeys([*self.mine["warnings"], *self.behind, *theirs]))

    @property
    def at_home(self) -> int:
        """How many authors are at home here; those with another home too are."""
        return sum(one["state"] in ("at home", "two homes") for one in self.clients)


def homes_of(directory: DataDirectory, store: EntryStore) -> Homes:
    """As it is now. Raises HomesFileError, PlaceFileError, KeyFileError, LedgerError."""
    me = Me(directory, store, directory.author_key())
    mine: dict[str, Any] = status_of(me)
    clients: list[dict[str, Any]] = clients_of(directory, store)
    return Homes(mine, clients, list(_behind(me)))


def _behind(me: Me) -> Iterator[str]:
    open_indexes(me.store)
    state = DirectoryState.of(me.directory)
    with me.store.snapshot() as snapshot:
        for ledger in islice(ledgers(me.directory.path, me.author), MAX_LEDGERS):
            try:
                check_ledger(snapshot, state, me.author, ledger.log_id)
            except BehindHeadError as error:
                yield f"{error.message} Sync before you publish."


def invites_of(directory: DataDirectory, at: int) -> list[dict[str, object]]:
    """As `home invite list --json` tells them, the newest first. `at` in ms since 1970."""
    kept = homes_file(directory.path).read().invites.all()
    return [one.as_json(at) for one in reversed(kept) if not one.is_forgotten(at)]


def homes_mark(directory: DataDirectory, store: EntryStore) -> Hashable:
    """Of what `homes_of` is made: another one when it may say something else."""
    with store.snapshot() as snapshot:
        arrival = snapshot.last_arrival
    return (arrival, *(mark_of(directory.path / name) for name in _FILES))
