"""The index of statements: by chain, and by what they are about.

It is a function of the statements that are here. `docs/statements.md` shows the tables.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from bamboo_compat.statements.format import Statement, decode, statement_of
from bamboo_compat.statements.kinds import ID_BYTES, Topic
from setsync.errors import InvalidEntryError
from setsync.model.formats import Claims
from setsync.model.indexes import Arrived, Payload, Tables

CHAINS = b"statement.chains"
ABOUT = b"statement.about"


def chain_prefix(author: bytes, topic: Topic) -> bytes:
    """author 32 | topic 1."""
    return author + bytes([topic])


def chain_key(statement: Statement) -> bytes:
    """author 32 | topic 1 | count 8 | id 32."""
    prefix = chain_prefix(statement.author, statement.topic)
    return prefix + statement.count.to_bytes(8, "big") + statement.id


def about_key(subject: bytes, statement: Statement) -> bytes:
    """subject 32 | author 32 | kind 1 | count 8 | id 32."""
    kind_and_count = bytes([statement.kind]) + statement.count.to_bytes(8, "big")
    return subject + statement.author + kind_and_count + statement.id


class StatementIndex:
    """See `setsync.model.indexes.Index`. Every value is the statement's arrival number, 8."""

    tables: tuple[bytes, ...] = (CHAINS, ABOUT)

    def add(self, tables: Tables, arrived: Sequence[Arrived]) -> None:
        """Take in a batch."""
        chains, about = tables.table(CHAINS), tables.table(ABOUT)
        for one in arrived:
            statement = statement_of(one.entry.claims)
            arrival = one.arrival.to_bytes(8, "big")
            chains.put(chain_key(statement), arrival)
            for subject in statement.said.about():
                about.put(about_key(subject, statement), arrival)

    def collections(self, claims: Claims, payload: bytes) -> Iterable[str]:
        """The one that its kind belongs to."""
        return (statement_of(claims).topic.collection,)

    def dropped(self, tables: Tables, payload: Payload) -> None:
        """A statement's payload is empty: nothing is lost."""

    def restored(self, tables: Tables, payload: Payload) -> None:
        """Nothing was lost."""

    def check(self, tables: Tables) -> Iterator[str]:
        """Every record against its statement, and every statement against its records."""
        subjects = 0
        about = tables.table(ABOUT)
        for key, value in tables.table(CHAINS).items():
            statement = _statement(tables, value)
            if statement is None or chain_key(statement) != key:
                yield f"The chain of {key[:ID_BYTES].hex()} names a statement that is not there."
                continue
            named = {about_key(subject, statement) for subject in statement.said.about()}
            subjects += len(named)
            if any(about.get(one) != value for one in named):
                yield f"Statement {statement.id.hex()} is not found by what it is about."
        if len(about) != subjects:
            yield f"There are {len(about)} records of subjects, and should be {subjects}."


def _statement(tables: Tables, value: bytes) -> Statement | None:
    try:
        return decode(tables.logged(int.from_bytes(value, "big"))[0])
    except InvalidEntryError:
        return None


INDEX = StatementIndex()
