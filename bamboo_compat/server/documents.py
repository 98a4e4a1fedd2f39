"""Documents of the profile aquadoggo, looked up in the index: a document has a log of each of
its authors, and an author's logs are counted from 0. Logs are as decisions about forks leave them.
"""

from __future__ import annotations

from collections.abc import Sequence

from bamboo_compat.core.profiles import read_operation as read_head_of
from bamboo_compat.decisions.view import View
from bamboo_compat.server.errors import (
    BadOperationError,
    DocumentDeletedError,
    DocumentForkedError,
    NoFreeLogError,
    SeveralDocumentsError,
    UnknownDocumentError,
    WrongSchemaError,
)
from bamboo_compat.server.operations import Action, read_operation
from bamboo_compat.set import layout
from bamboo_compat.set.layout import Flag, Node
from bamboo_compat.set.reading import Reader
from bamboo_compat.set.subjects import AQUADOGGO, firsts_about, subject_name

_LAST_LOG = (1 << 64) - 1
# Of the logs that one document has by mistake so many are named.
_NAMED = 3


def document_of(reader: Reader, operations: Sequence[bytes]) -> bytes:
    """The one document that all of these operations are about: the tagged hash of its first.

    Raises UnknownDocumentError where one of them is not here, or what it follows is not, and
    SeveralDocumentsError.
    """
    found = {_document(reader, tagged): tagged for tagged in operations}
    if len(found) > 1:
        names = " and ".join(document.hex() for document in list(found)[:2])
        raise SeveralDocumentsError(f"The operations are of different documents: {names}.")
    [document] = found
    return document


def _document(reader: Reader, tagged: bytes) -> bytes:
    node = reader.find(tagged)
    if node is None:
        raise UnknownDocumentError(f"The operation {tagged.hex()} is not here.")
    if node.document:
        return node.document
    if node.has(Flag.WITHHELD):
        why = "its payload is not"
    elif not node.has(Flag.AQUADOGGO):
        why = "it is not of a document as these clients have them"
    else:
        why = "what it follows is not"
    raise UnknownDocumentError(f"The operation {tagged.hex()} is here, but {why}.")


def log_of(moment: View, author: bytes, document: bytes) -> int | None:
    """The author's log about a document, if there is one; of several the one that was decided to
    be right. Raises DocumentForkedError."""
    reader = moment.reader
    name = subject_name(AQUADOGGO, author, document.hex().encode("ascii"))
    subjects = reader.shelf.table(layout.SUBJECTS)
    firsts = [reader.shelf.expect(key) for key in firsts_about(subjects, name)]
    if len(firsts) > 1:
        firsts = [
            node for node in firsts if not moment.is_set_aside(reader.shelf.log(node.log), node)
        ]
    logs = [reader.shelf.owner(node.log)[1] for node in firsts]
    if len(logs) > 1:
        named = ", ".join(str(log_id) for log_id in logs[:_NAMED])
        raise DocumentForkedError(
            f"The author has {len(logs)} logs about document {document.hex()}: {named}"
            f"{' and more' if len(logs) > _NAMED else ''}."
        )
    return logs[0] if logs else None


def next_free_log(reader: Reader, author: bytes) -> int:
    """One more than the author's highest log id, whatever that log is for. Numbers that are
    free below are left alone: a log of that number may be at another node.

    Raises NoFreeLogError.
    """
    end = layout.log_key(author, _LAST_LOG) + b"\0"
    found = reader.shelf.table(layout.LOGS).last_below(end)
    if found is None or not found[0].startswith(author):
        return 0
    _, log_id = layout.split_log_key(found[0])
    if log_id == _LAST_LOG:
        raise NoFreeLogError(f"The author has a log with the id {log_id}.")
    return log_id + 1


def check_not_deleted(moment: View, author: bytes, document: bytes, named: Sequence[bytes]) -> None:
    """Neither one of the named operations deletes the document, nor the end of the author's
    log about it, nor that of the log of whoever created it. Raises DocumentDeletedError.

    A deletion by somebody else that the author's view does not know of is not looked for.
    """
    reader = moment.reader
    nodes = [reader.find(tagged) for tagged in named]
    log_id = log_of(moment, author, document)
    if log_id is not None and (log := reader.log(author, log_id)) is not None:
        nodes.append(moment.resolve(log).head)
    first = reader.find(document)
    if first is not None:
        nodes.append(moment.resolve(reader.shelf.log(first.log)).head)
    for node in nodes:
        if node is not None and node.document == document and _deletes(reader, node):
            name = reader.shelf.hash(node).hex()
            raise DocumentDeletedError(
                f"The document {document.hex()} was deleted by the operation {name}."
            )


def _deletes(reader: Reader, node: Node) -> bool:
    _, payload = reader.shelf.entry(node)
    if payload is None:
        return False
    try:
        return read_operation(payload).action is Action.DELETE
    except BadOperationError:
        return False


def check_schema(reader: Reader, document: bytes, schema: str) -> None:
    """The document is of this schema, as far as its first operation is here to say so.

    Raises WrongSchemaError.
    """
    first = reader.find(document)
    _, payload = reader.shelf.entry(first) if first is not None else (b"", None)
    operation = read_head_of(payload) if payload is not None else None
    if operation is not None and operation.schema != schema:
        raise WrongSchemaError(
            f"The document {document.hex()} has the schema {operation.schema!r}, "
            f"and the operation says {schema!r}."
        )
