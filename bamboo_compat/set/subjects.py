"""What logs are for, as payloads arrive; and authors who have two logs for one thing.

Only payloads tell. A node that lacks one cannot see this kind of fork, and never takes a
collection's name for a proof: whoever passed the entry on may have claimed it.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from blake3 import blake3

from bamboo_compat.core import profiles
from bamboo_compat.core.forks import double_id
from bamboo_compat.core.profiles import read_operation
from bamboo_compat.core.report import ForkKind
from bamboo_compat.set import layout
from bamboo_compat.set.branches import KINDS, Forks
from bamboo_compat.set.layout import Flag, ForkRow, Link, Node, link_of, loose_key
from bamboo_compat.set.shelf import Shelf
from bamboo_compat.set.standings import keys_from
from setsync.model.indexes import Table

RFC0001 = 1
AQUADOGGO = 2
PROFILES = {"rfc0001": RFC0001, "aquadoggo": AQUADOGGO}
PROFILES_BY_NUMBER = {number: profiles.PROFILES[name] for name, number in PROFILES.items()}
# Of each profile: that an entry is filed under it, and that its payload was read for it.
FLAGS = {
    RFC0001: (Flag.RFC0001, Flag.RFC0001_READ),
    AQUADOGGO: (Flag.AQUADOGGO, Flag.AQUADOGGO_READ),
}


def subject_name(profile: int, author: bytes, subject: bytes) -> bytes:
    """The beginning of a subject's keys."""
    digest: bytes = blake3(bytes([profile]) + author + subject).digest()
    return digest


def schema_name(schema: bytes) -> bytes:
    """What a schema is called in keys."""
    digest: bytes = blake3(schema).digest()
    return digest[: layout.SCHEMA_NAME_BYTES]


class Subjects:
    """Keeps the first entry of each log about each subject."""

    def __init__(self, shelf: Shelf, forks: Forks) -> None:
        self._shelf = shelf
        self._forks = forks
        self._subjects = shelf.table(layout.SUBJECTS)
        self._doubts = shelf.table(layout.DOUBTS)
        self._schemas = shelf.table(layout.SCHEMAS)

    def read(self, node: Node, payload: bytes) -> None:
        """Take in the payload of an entry, for each profile that it is filed under."""
        unread = [
            profile
            for profile, (filed, read) in FLAGS.items()
            if node.has(filed) and not node.has(read)
        ]
        if not unread:
            return
        for profile in unread:
            node.flags |= FLAGS[profile][1]
        self._shelf.changed(node)
        operation = read_operation(payload)
        if operation is None:
            return
        schema = operation.schema.encode("utf-8")
        for profile in unread:
            self._note_schema(profile, node, schema)
            if profile == RFC0001:
                self._note(RFC0001, node, schema)
            else:
                self._find_document(node, operation.previous)

    def _note_schema(self, profile: int, node: Node, schema: bytes) -> None:
        name = schema_name(schema)
        key = layout.schema_of_log_key(node.log, profile, name)
        if self._schemas.get(key) is None:
            log = layout.number_key(node.log)
            self._schemas.put(key, b"")
            self._schemas.put(layout.log_of_schema_key(profile, name, log), b"")
            self._schemas.put(layout.schema_text_key(profile, name), schema)

    # --- documents ------------------------------------------------------------------------

    def _find_document(self, node: Node, previous: bytes | None) -> None:
        """The document of an operation is that of the first one it follows."""
        if previous is None:
            self._set_documents(node, self._shelf.hash(node))
            return
        target = self._shelf.named(previous, node.log, 0)
        if target is not None and target.document:
            self._set_documents(node, target.document)
        else:
            self._shelf.loose.put(loose_key(link_of(previous), Link.PREVIOUS, node.key), b"")

    def _set_documents(self, first: Node, document: bytes) -> None:
        """Of this entry and of all that follow it and waited for it."""
        work = [first.key]
        while work:
            node = self._shelf.expect(work.pop())
            if node.document:
                continue
            node.document = document
            self._shelf.changed(node)
            self._note(AQUADOGGO, node, document.hex().encode("ascii"))
            work += self._followers(node)

    def _followers(self, node: Node) -> list[bytes]:
        found: list[bytes] = []
        for name in layout.names_of(node.id, self._shelf.twin(node)):
            prefix = loose_key(name, Link.PREVIOUS)
            for key in list(keys_from(self._shelf.loose.items(prefix), prefix)):
                self._shelf.loose.delete(key)
                found.append(key[len(prefix) :])
        return found

    # --- double schemas -------------------------------------------------------------------

    def _note(self, profile: int, node: Node, subject: bytes) -> None:
        """Keep the first entry of each log; a second log is a fork."""
        author, log_id = self._shelf.owner(node.log)
        name = subject_name(profile, author, subject)
        key = layout.subject_key(name, log_id)
        fork = double_id(PROFILES_BY_NUMBER[profile], author, subject)
        known = self._subjects.get(key)
        if known is not None:
            if known <= node.key:
                return
            self._doubts.delete(known[: layout.LEVEL_BYTES] + fork)
        self._subjects.put(key, node.key)
        firsts = list(islice(firsts_about(self._subjects, name), 2))
        if len(firsts) > 1:
            row = ForkRow(
                KINDS[ForkKind.DOUBLE_SCHEMA], profile, node.log, 0, self._forks.arrival, subject
            )
            is_new = self._forks.note(fork, row)
            for first in firsts if is_new else [node.key]:
                self._doubts.put(first[: layout.LEVEL_BYTES] + fork, b"")


def firsts_about(subjects: Table, name: bytes) -> Iterator[bytes]:
    """The keys of the first entries about a subject, by log id."""
    for key, value in subjects.items(name):
        if not key.startswith(name):
            return
        yield value


def claimed_profile(collection: str) -> int:
    """The profile in the name of one of Bamboo's collections."""
    return PROFILES[collection.removeprefix("system/").split("/")[1]]
