"""Before `bamboo append` signs: is this the home, and is there no later entry anywhere?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bamboo_compat.cli.home_common import confirm
from setsync.cli import common

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bamboo_compat.homes.asking import Head
    from bamboo_compat.homes.ledger import Ledger
    from setsync.model.keys import SecretKey
    from setsync.node.config import DataDirectory
    from setsync.store.contract import EntryStore


def ask_others(
    directory: DataDirectory, store: EntryStore, key: SecretKey, log_id: int
) -> list[Head]:
    """The head of a log of ours at the home and at known peers, as far as they answer now."""
    from bamboo_compat.homes.asking import heads_elsewhere
    from bamboo_compat.homes.book import homes_file
    from bamboo_compat.homes.marriages import marriages, open_homes, statements_in
    from bamboo_compat.homes.publishing import open_indexes

    open_indexes(store)
    with store.snapshot() as snapshot:
        homes = open_homes(marriages(statements_in(snapshot), key.public))
    mine = homes_file(directory.path).read().mine.get(key.public)
    others = [one for one in homes if one.server != directory.node_key().public]
    url = others[0].url if others else ""
    if mine is not None and url:
        url = mine.url
    return heads_elsewhere(directory, url, key, log_id)


def guard(
    directory: DataDirectory,
    store: EntryStore,
    author: bytes,
    log_id: int,
    heads: Sequence[Head],
    yes: bool,
    profile: str = "rfc0001",
) -> Ledger:
    """Whether the next entry of a log may be signed here, and the ledger that it goes into.

    Called with `append_lock` held. An entry that was signed and did not get into the store is put
    there first; `profile` is that of a new log. Raises CopiedDirectoryError, BehindHeadError,
    LedgerError; NotTheHomeError and TwoHomesError unless that is wanted.
    """
    from bamboo_compat.homes import publishing
    from bamboo_compat.homes.dangers import Act
    from bamboo_compat.homes.errors import BehindHeadError, NotTheHomeError, TwoHomesError
    from bamboo_compat.homes.ledger import Ledger

    publishing.open_indexes(store)
    ledger = Ledger(directory.path, author, log_id)
    state = publishing.DirectoryState.of(directory)
    publishing.check_place(state)
    if publishing.finish(store, ledger, common.from_here().at, profile):
        common.say(f"The entry of log {log_id} that was signed last is in the store now.")
    with store.snapshot() as snapshot:
        publishing.check_ledger(snapshot, state, author, log_id)
        try:
            publishing.check_home(snapshot, state, author)
        except (NotTheHomeError, TwoHomesError) as error:
            confirm(Act.PUBLISH_AWAY, error.message, yes, error)
        try:
            publishing.check_heads(snapshot, author, log_id, heads)
        except BehindHeadError as error:
            confirm(Act.PUBLISH_BEHIND, error.message, yes, error)
    return ledger
