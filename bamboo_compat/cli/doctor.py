"""What `setsync doctor` says of homes: an author with two of them, and what has gone astray."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from setsync.errors import KeyFileError
from setsync.node.doctor import Check, Examined, fine, of_error, unknown

if TYPE_CHECKING:
    from setsync.store.contract import EntryStore

NAME = "homes"


def examine(examined: Examined) -> Iterator[Check]:
    """The homes of the directory's author, and of every author who joined one from here.

    Raises HomesFileError, StoreError.
    """
    from bamboo_compat.homes.book import homes_file
    from bamboo_compat.statements.reading import open_statements

    if examined.store is None:
        yield unknown(NAME, "The store was not opened.")
        return
    try:
        authors = {examined.directory.author_key().public}
    except KeyFileError:
        yield unknown(NAME, "Whose homes to look for is not known without author.key.")
        return
    authors |= homes_file(examined.directory.path).read().mine.keys()
    open_statements(examined.store)
    found = [check for author in sorted(authors) for check in _double(examined.store, author)]
    yield from found or [fine(NAME, "No author here has two homes.")]


def _double(store: EntryStore, author: bytes) -> Iterator[Check]:
    from bamboo_compat.homes.errors import TwoHomesError
    from bamboo_compat.homes.marriages import marriages, open_homes, statements_in

    with store.snapshot() as snapshot:
        homes = open_homes(marriages(statements_in(snapshot), author))
    if len(homes) > 1:
        places = ", ".join(one.place for one in homes)
        said = f"Author {author.hex()} has {len(homes)} homes: {places}."
        yield of_error(NAME, TwoHomesError(said))
