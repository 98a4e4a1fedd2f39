"""Entries verified in another process: what goes there, and what comes back.

Both are framed by a length of 4 bytes, big-endian. A job is msgpack, `[[collection, header,
payload or nil], ...]`; an answer is `[ids, authors, [[position, reason, sentence], ...]]`, with 32
bytes each for every good entry, joined, in the order of the job. Both ends are of one version:
nothing of it is stored or leaves the machine. The process is `setsync.node.verifier`.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

import msgpack

from setsync.errors import InvalidEntryError
from setsync.model.entry import ID_BYTES, Entry, UnverifiedEntry, check, checked, entry_id, verify
from setsync.model.keys import PUBLIC_KEY_BYTES

LENGTH = struct.Struct(">I")

Outcome = Entry | InvalidEntryError
"""An entry that was verified, or why it is not valid."""


def verify_here(entry: UnverifiedEntry) -> Outcome:
    """The verdict of this process."""
    try:
        return verify(entry)
    except InvalidEntryError as error:
        return error


def pack_job(entries: Sequence[UnverifiedEntry]) -> bytes:
    """A job, its length included."""
    return _framed(msgpack.packb(list(entries), unicode_errors="surrogatepass"))


def answer(job: bytes) -> bytes:
    """The answer to a job without its length; the answer's length is included."""
    ids: list[bytes] = []
    authors: list[bytes] = []
    faults: list[tuple[int, str, str]] = []
    rows = msgpack.unpackb(job, unicode_errors="surrogatepass")
    for position, row in enumerate(rows):
        entry = UnverifiedEntry._make(row)
        try:
            claims = check(entry)
        except InvalidEntryError as error:
            faults.append((position, error.reason, error.message))
        else:
            ids.append(entry_id(entry.header))
            authors.append(claims.author)
    return _framed(msgpack.packb((b"".join(ids), b"".join(authors), faults)))


def outcomes(entries: Sequence[UnverifiedEntry], answered: bytes) -> list[Outcome]:
    """What an answer, without its length, says of the job's entries, in their order.

    Raises ValueError for what is no answer to this job.
    """
    ids, authors, rows = msgpack.unpackb(answered)
    faults = {position: InvalidEntryError(reason, text) for position, reason, text in rows}
    good = [entry for at, entry in enumerate(entries) if at not in faults] if faults else entries
    if len(ids) != ID_BYTES * len(good):
        raise ValueError("an answer to another job")
    # Entries that come together are often of few authors; they share the bytes.
    known: dict[bytes, bytes] = {}
    found: list[Outcome] = []
    for entry, at in zip(good, range(0, len(ids), ID_BYTES), strict=True):
        author = authors[at : at + PUBLIC_KEY_BYTES]
        found.append(checked(entry, ids[at : at + ID_BYTES], known.setdefault(author, author)))
    for position in sorted(faults):
        found.insert(position, faults[position])
    return found


def _framed(content: bytes) -> bytes:
    return LENGTH.pack(len(content)) + content
