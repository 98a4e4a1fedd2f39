"""Targets of the guest: Bamboo entries, operations, proofs, messages and files of entries."""

from __future__ import annotations

import contextlib
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cbor2

from bamboo_compat.core import entry as entries
from bamboo_compat.core import proofs
from bamboo_compat.core.claims import check
from bamboo_compat.core.examining import Member, examine, examine_first
from bamboo_compat.core.profiles import MAX_SCHEMA, PROFILES, Operation, read_operation
from bamboo_compat.core.proofs import BadProofError, Proof
from bamboo_compat.core.report import Problem
from bamboo_compat.core.yamf import Flavour
from bamboo_compat.decisions import book as books
from bamboo_compat.decisions.errors import ForksFileError
from bamboo_compat.files.sources import Job, Kind, Row
from bamboo_compat.files.work import Accepted, Answer, Unreadable, examine_job, read_job
from bamboo_compat.replication.messages import Message, pack, unpack
from bamboo_compat.replication.stream import Splitter
from bamboo_compat.set.layout import ForkRow, Level, LogRow, node_key, unpack_node
from bamboo_compat.statements.format import Statement
from bamboo_compat.statements.format import decode as decode_statement
from bamboo_compat.statements.make import make
from setsync.errors import DamagedStoreError, InvalidEntryError, NewerFormatError, PeerError
from setsync.limits import MAX_LINKS
from setsync.model.collection import check_name
from setsync.model.entry import UnverifiedEntry, verify
from tests.bamboo.contradictions import all_proofs, create, update
from tests.bamboo.logs import FLAVOURS, Author
from tests.bamboo.replication.samples import SAMPLES
from tests.bamboo.statements.saying import ANNA, NOW, ONE_OF_EACH, said
from tests.fuzz.target import Target, must, must_equal
from tests.fuzz.wire_targets import cut

# --- entries ------------------------------------------------------------------------------


def _slowly(data: bytes, start: int) -> entries.Scan:
    """What the cursor reads, which knows the rules, past the short cut."""
    cursor = entries._Cursor(data, start)
    try:
        return entries.Scan(entries._read(cursor), cursor.at, cursor.findings)
    except entries._StopReading:
        return entries.Scan(None, cursor.at, cursor.findings)


def _entry(data: bytes) -> entries.Entry:
    slow = _slowly(data, 0)
    must_equal(entries.scan(data), slow, "the short cut reads as the cursor does")
    must_equal(
        entries.scan(b"\1\2\3" + data, 3)[::2], slow[::2], "an entry is the same wherever it begins"
    )
    must(slow.end <= len(data), "nothing is read past the end")
    examined = examine(data, b"payload 1")
    must(not slow.findings or isinstance(examined, Problem), "a finding is a refusal")
    must(examine_first(data, 0)[1] == slow.end, "an entry among others ends where it ends alone")
    return entries.decode(data)


def _entry_law(data: bytes, entry: entries.Entry) -> None:
    must_equal(entries.encode(entry), data, "an entry has one spelling")
    must(len(data) <= entries.MAX_ENTRY, "no entry is longer than the longest")


def _entry_samples() -> list[bytes]:
    found: list[bytes] = []
    for flavour in FLAVOURS:
        author = Author(log_id=248 if flavour is Flavour.YAMF else 2**64 - 1, flavour=flavour)
        made = [*author.grow(4), author.append(end=True)]
        found.extend(made[at][0] for at in (0, 1, 3, 4))
    return found


# --- operations ---------------------------------------------------------------------------


class _NoOperationError(Exception):
    """The payload is data of another kind, which is an answer."""


def _operation(data: bytes) -> Operation:
    operation = read_operation(data)
    if operation is None:
        raise _NoOperationError
    return operation


def _operation_law(data: bytes, operation: Operation) -> None:
    """The schema is one; nothing behind it matters; cbor2 reads the same one, if it reads."""
    must(0 < len(operation.schema) <= MAX_SCHEMA, "a schema has 1 to so many characters")
    must(operation.previous is None or len(operation.previous) in (34, 66), "a tagged hash")
    must_equal(read_operation(data + b"\x41"), operation, "what follows is not looked at")
    for profile in PROFILES.values():
        check_name(profile.collection(2000, operation.schema))
    try:
        value: Any = cbor2.loads(data, max_depth=20, allow_duplicate_keys=False)
    except Exception:  # it reads the whole payload, and we read its beginning
        return
    schema = value["schema"] if isinstance(value, dict) else value[2]
    must_equal(schema, operation.schema, "cbor2 reads the same schema")


def _operation_samples() -> list[bytes]:
    tagged = [flavour.value + bytes(flavour.value[1]) for flavour in Flavour]
    older = {"action": "create", "nest": [1, {"a": b"x", "schema": 2}], "schema": "venue"}
    return [
        create(),
        create("é" * 30),
        *(update(bytes(one)) for one in tagged),
        update(*map(bytes, tagged)),
        cbor2.dumps(older),
        cbor2.dumps([1, 2, "venue", [bytes(tagged[0])]]),
    ]


# --- proofs -------------------------------------------------------------------------------


def _proof_law(data: bytes, proof: Proof) -> None:
    must_equal(proof.encode(), data, "a proof has one file")
    must_equal(proof.size, len(data), "its size is known beforehand")
    with contextlib.suppress(BadProofError):
        claim = check(proof)
        must_equal((claim.kind, claim.profile), (proof.kind, proof.profile), "what it is about")


def _proof_samples() -> list[bytes]:
    return [
        proof.encode()
        for flavour in FLAVOURS
        for name, proof in all_proofs(flavour).items()
        if flavour is Flavour.YASMF or name == "branch"
    ]


# --- log heights --------------------------------------------------------------------------

Heard = tuple[tuple[Message, ...], int, str]


def _hear(pieces: Sequence[bytes]) -> tuple[Heard, PeerError | None]:
    splitter = Splitter()
    heard: list[Message] = []
    for piece in pieces:
        splitter.receive(piece)
        try:
            while (data := splitter.next_message()) is not None:
                heard.append(unpack(data))
        except PeerError as error:
            return (tuple(heard), 0, type(error).__name__), error
    return (tuple(heard), len(splitter), ""), None


def _heights(data: bytes) -> Heard:
    whole, error = _hear([data])
    must_equal(_hear(cut(data))[0], whole, "messages are the same however the stream is cut")
    if error is not None:
        raise error
    return whole


def _heights_law(data: bytes, heard: Heard) -> None:
    messages, waiting, _ = heard
    spelled = b"".join(map(pack, messages))
    must_equal(spelled + data[len(data) - waiting :], data, "a message has one spelling")


def _heights_samples() -> list[bytes]:
    packed = [pack(message) for message in SAMPLES.values()]
    return [*packed, b"".join(packed)]


# --- files of entries ---------------------------------------------------------------------


def _rows(data: bytes) -> list[Row]:
    """Rows of a database, out of bytes: lines, and in a line the entry and its payload."""
    parts = [line.partition(b"|") for line in data.split(b"\n")]
    texts = [(entry, payload if bar else None) for entry, bar, payload in parts]
    return [
        Row(at, e.decode("latin-1"), None if p is None else p.decode("latin-1") if at % 2 else p)
        for at, (e, p) in enumerate(texts)
    ]


def _of_kind(kind: Kind) -> Any:
    def decode(data: bytes) -> Answer:
        job = Job(kind, 1, len(data), _rows(data) if kind is Kind.DATABASE else data)
        found = examine_job(job)
        taken = [one.member if isinstance(one, Accepted) else one for one in read_job(job)]
        must_equal(taken, list(found), "both ways to read a job find the same")
        return found

    return decode


def _job_law(_: bytes, found: Answer) -> None:
    must(
        all(isinstance(one, Member | Problem) for one in found[:-1])
        and all(isinstance(one, Member | Problem | Unreadable) for one in found),
        "only the last thing found cannot be read",
    )
    must_equal(pickle.loads(pickle.dumps(found)), found, "an answer travels between processes")


def _line(record: tuple[bytes, bytes], withheld: bool = False) -> bytes:
    entry, payload = record
    told = b"null" if withheld else b'"' + payload.hex().encode() + b'"'
    return b'{"entry": "' + entry.hex().encode() + b'", "payload": ' + told + b"}"


def _line_samples() -> list[bytes]:
    one, two = Author(flavour=Flavour.YASMF).append(create()), Author(2).append(b"")
    return [_line(one), b"\n".join([_line(two), b"", _line(one, withheld=True), b""]), b"{}"]


def _bare_samples() -> list[bytes]:
    made = [data for data, _ in Author().grow(4)]
    return [made[0], b"".join(made), made[1] + made[0][:50]]


def _row_samples() -> list[bytes]:
    (entry, payload), (other, _) = Author().append(create()), Author(2).append()
    hexed = [one.hex().encode() for one in (entry, payload, other)]
    return [hexed[0] + b"|" + hexed[1], hexed[2], hexed[2] + b"\n" + hexed[0] + b"|" + hexed[1]]


# --- what a damaged disk may hold ---------------------------------------------------------

_NODE_KEY = node_key(1, 2, b"i" * 32)
_ROWS: dict[int, type[LogRow | Level | ForkRow]] = {0: LogRow, 1: Level, 2: ForkRow}


def _row(data: bytes) -> Any:
    kind = _ROWS.get(data[0]) if data else None
    return unpack_node(_NODE_KEY, data[1:]) if kind is None else kind.unpack(data[1:])


def _row_law(data: bytes, row: Any) -> None:
    must_equal(row.pack(), data[1:], "a record has one spelling")


def _index_samples() -> list[bytes]:
    node = bytes(16) + b"\1" + (8 | 16).to_bytes(2, "big") + b"b" * 32 + b"l" * 32 + b"document"
    return [
        b"\0" + LogRow(3, 9, 9, 9, 8, 1).pack(),
        b"\1" + Level(3, 2, 1).pack(),
        b"\2" + ForkRow(1, 0, 3, 4, 5, b"parent").pack(),
        b"\3" + node,
    ]


# --- statements and decisions ---------------------------------------------------------------


def _spelled(statement: Statement) -> bytes:
    """Everything before the signature, by the table in docs and by no code of the format's."""
    body = statement.said.pack()
    return b"".join(
        [
            b"\x73",
            statement.author,
            bytes([statement.kind]),
            statement.count.to_bytes(8, "big"),
            statement.previous,
            statement.timestamp.to_bytes(8, "big"),
            len(body).to_bytes(2, "big"),
            body,
        ]
    )


def _statement_law(data: bytes, statement: Statement) -> None:
    must_equal(_spelled(statement), data[:-64], "a statement has one spelling")
    must(len(statement.said.names()) < MAX_LINKS, "a statement has links for all that it names")
    for collection in ("system/forks", "system/homes"):
        with contextlib.suppress(InvalidEntryError):
            verify(UnverifiedEntry(collection, data, b""))
            must_equal(collection, statement.topic.collection, "its kind says where it belongs")


def _statement_samples() -> list[bytes]:
    firsts = [make(ANNA, saying, NOW, None) for saying in ONE_OF_EACH.values()]
    return [
        *(one.header for one in firsts),
        *(make(ANNA, said(one).said, NOW, said(one)).header for one in firsts),
    ]


_FORKS_FILE = Path("forks.json")


def _decisions(data: bytes) -> books.Book:
    return books._FORMAT.decode(_FORKS_FILE, data)


def _decisions_law(data: bytes, book: books.Book) -> None:
    written = books._FORMAT.encode(_FORKS_FILE, book)
    must_equal(_decisions(written), book, "what is written is what is read")


def _decisions_samples() -> list[bytes]:
    fork, branch = b"f" * 32, b"\x00\x20" + b"b" * 32
    records = [
        books.Record(NOW, "anna", books.Did.DECIDE, fork, branch, reason="mine"),
        books.Record(NOW, "", books.Did.UNDECIDE, fork),
        books.Record(0, "ben", books.Did.POLICY, author=fork, policy=books.Policy.IGNORE),
        books.Record(0, "ben", books.Did.POLICY),
    ]
    many = [books.Book(records[:count]) for count in range(len(records) + 1)]
    return [books._FORMAT.encode(_FORKS_FILE, book) for book in many]


BAMBOO_TARGETS = [
    Target("bamboo-entry", "the short cut reads as the cursor; one spelling",
           _entry, (entries.BadEntryError,), _entry_samples, _entry_law),
    Target("operation", "nothing behind the head matters; cbor2 reads the same schema",
           _operation, (_NoOperationError,), _operation_samples, _operation_law),
    Target("proof", "one file, and whatever it shows is a claim or refused",
           proofs.decode, (BadProofError,), _proof_samples, _proof_law),
    Target("log-heights", "the same messages however the stream is cut; one spelling",
           _heights, (PeerError,), _heights_samples, _heights_law),
    Target("lines", "every line is an entry, a problem, or the end of the reading",
           _of_kind(Kind.LINES), (), _line_samples, _job_law, factor=200),
    Target("bare", "every entry is one, a problem, or the end of the reading",
           _of_kind(Kind.BARE), (), _bare_samples, _job_law, factor=200),
    Target("rows", "every row is an entry, a problem, or the end of the reading",
           _of_kind(Kind.DATABASE), (), _row_samples, _job_law, factor=200),
    Target("statement", "one spelling of every header, in its own collection only",
           decode_statement, (InvalidEntryError,), _statement_samples, _statement_law),
    Target("decisions", "what is written is what is read",
           _decisions, (ForksFileError, NewerFormatError), _decisions_samples, _decisions_law),
    Target("index", "one spelling of what the index keeps",
           _row, (DamagedStoreError,), _index_samples, _row_law),
]  # fmt: skip
