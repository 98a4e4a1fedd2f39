"""Why a client is refused: beside the reasons of the verifier, what speaks against publishing.

A class's docstring is the advice that the client gets with the sentence; `code` is for programs.
"""

from __future__ import annotations

from setsync.errors import LocalError


class BadArgumentError(LocalError):
    """Send keys, entries and operations as hexadecimal digits, and a view as the ids of its
    operations with '_' between them."""

    code = "bad_argument"


class BadOperationError(LocalError):
    """Nothing was published. An operation is CBOR: version, action, schema id, then for updates
    and deletions the operations it follows, then for all but deletions the fields."""

    code = "bad_operation"


class UnknownDocumentError(LocalError):
    """Nothing was published. Create the document first, or let this node sync with one that
    has it."""

    code = "unknown_document"


class SeveralDocumentsError(LocalError):
    """Nothing was published. Name only operations of the one document that is meant."""

    code = "several_documents"


class DocumentDeletedError(LocalError):
    """Nothing was published. A deletion is for good; create another document."""

    code = "document_deleted"


class WrongSchemaError(LocalError):
    """Nothing was published. An operation names the schema of the document that it changes."""

    code = "wrong_schema"


class WrongLogError(LocalError):
    """Nothing was published. Ask nextArgs for the same document and sign the entry again; if you
    have published through another server, let this node sync with that one first."""

    code = "wrong_log"


class NotTheNextError(LocalError):
    """Nothing was published: it would have forked the log. Ask nextArgs and sign the entry again,
    once, after making sure that nobody else publishes with this key."""

    code = "not_the_next"


class EndOfLogError(LocalError):
    """Nothing was published. Documents are deleted by an operation, which says so; a log that has
    ended could not even take that."""

    code = "end_of_log"


class NoFreeLogError(LocalError):
    """The author has used the highest log id that there is; use another key."""

    code = "no_free_log"


class DocumentForkedError(LocalError):
    """Nothing can be added to this document until it is decided which log is meant; see 'setsync
    fork show'."""

    code = "log_forked"


class NotWantedError(LocalError):
    """Nothing was published. Its operator has set the node up so; ask there, or publish through
    another node."""

    code = "not_wanted"


class OverQuotaError(LocalError):
    """Nothing was published. Ask the node's operator to raise the quota for authors ('setsync
    policy')."""

    code = "over_quota"


class TooManyError(LocalError):
    """Ask again a little later."""

    code = "busy"
