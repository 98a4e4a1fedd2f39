"""The GraphQL schema, and carrying out a question against it.

Resolvers are plain functions; a question is carried out in one thread from begin to end.
Whoever calls brings it off the event loop.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from graphql import (
    DocumentNode,
    GraphQLError,
    GraphQLResolveInfo,
    GraphQLSchema,
    build_schema,
    execute_sync,
    parse,
    validate,
)

from bamboo_compat.server import limits
from bamboo_compat.server.errors import BadArgumentError
from bamboo_compat.server.operations import parse_hex, parse_view
from bamboo_compat.server.publishing import NextArgs, Published
from bamboo_compat.server.questions import check_cost, check_size
from setsync.errors import InvalidEntryError, LocalError, SetsyncError

# Only what clients write in their questions; they declare all of their variables as String.
SDL = '''\
"""What can be asked of this node."""
type Query {
  """
  Where an author's next entry goes: without a view the one that creates a document, with the
  view of a document the one that changes it.
  """
  nextArgs(
    """Public key of the author: 64 hexadecimal digits."""
    publicKey: String!

    """Ids of the document's latest operations, with '_' between them."""
    viewId: String
  ): NextArgs!
}

"""What this node can be asked to do."""
type Mutation {
  """
  Publish an entry with its operation. The answer comes when both are on the disk, and says where
  the next entry of that log goes.
  """
  publish(
    """The signed Bamboo entry, in hexadecimal digits."""
    entry: String!

    """The operation that it is about, CBOR in hexadecimal digits."""
    operation: String!
  ): NextArgs!
}

"""
What an entry says of its place. Numbers are texts, since they may have 64 bits.
"""
type NextArgs {
  """Which of the author's logs."""
  logId: String!

  """Which entry of the log, counted from 1."""
  seqNum: String!

  """Hash of the entry before, if there is one."""
  backlink: String

  """
  Hash of an entry further back, the lipmaalink, where it has to be written out.
  """
  skiplink: String
}
'''


class Publishing(Protocol):
    """What answers; see `publishing.Publisher`."""

    def next_args(self, author: bytes, view: tuple[bytes, ...]) -> NextArgs: ...

    def publish(self, header: bytes, payload: bytes) -> Published: ...


@dataclass
class Context:
    """One question's. `receipts`: for each entry that it published, by the name of the field in
    the answer. `defects` are errors of ours, for the log."""

    publishing: Publishing
    receipt: Callable[[Published], str | None] = lambda published: None
    receipts: dict[str, str] = field(default_factory=dict)
    defects: list[BaseException] = field(default_factory=list)


def _next_args(_: None, info: GraphQLResolveInfo[Context], **given: Any) -> dict[str, str | None]:
    context: Context = info.context
    author = parse_hex(given["publicKey"], "public key")
    view = given.get("viewId")
    found = context.publishing.next_args(author, parse_view(view) if view is not None else ())
    return as_fields(found)


def _publish(_: None, info: GraphQLResolveInfo[Context], **given: Any) -> dict[str, str | None]:
    context: Context = info.context
    entry = parse_hex(given["entry"], "entry")
    published = context.publishing.publish(entry, parse_hex(given["operation"], "operation"))
    receipt = context.receipt(published)
    if receipt is not None:
        context.receipts[str(info.path.key)] = receipt
    return as_fields(published.after)


def as_fields(args: NextArgs) -> dict[str, str | None]:
    """As the clients expect it."""
    return {
        "logId": str(args.log_id),
        "seqNum": str(args.seq_num),
        "backlink": args.backlink.hex() if args.backlink is not None else None,
        "skiplink": args.skiplink.hex() if args.skiplink is not None else None,
    }


def _make() -> GraphQLSchema:
    schema = build_schema(SDL)
    assert schema.query_type is not None
    assert schema.mutation_type is not None
    schema.query_type.fields["nextArgs"].resolve = _next_args
    schema.mutation_type.fields["publish"].resolve = _publish
    return schema


SCHEMA = _make()


# --- one question -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Question:
    """What a client sent: the text, values for its variables, and which operation of it."""

    query: str
    variables: Mapping[str, Any] = field(default_factory=dict)
    operation: str | None = None

    @classmethod
    def of(cls, body: object) -> Question:
        """From the JSON of a request. Raises BadArgumentError."""
        if not isinstance(body, dict):
            raise BadArgumentError("A question is one JSON object; lists of them are not taken.")
        query, name = body.get("query"), body.get("operationName")
        variables = body.get("variables")
        if not isinstance(query, str):
            raise BadArgumentError("The question has no text 'query'.")
        if name is not None and not isinstance(name, str):
            raise BadArgumentError("The question's 'operationName' is not a text.")
        if variables is not None and not isinstance(variables, dict):
            raise BadArgumentError("The question's 'variables' are not an object.")
        return cls(query, _as_declared(variables or {}), name)


def _as_declared(variables: Mapping[str, Any]) -> dict[str, Any]:
    """shirokuma declares a view as String, and takes and sends lists of ids as well."""
    found = dict(variables)
    view = found.get("viewId")
    if isinstance(view, list) and all(isinstance(one, str) for one in view):
        found["viewId"] = "_".join(view)
    return found


def answer(question: Question, context: Context) -> dict[str, Any]:
    """Carry it out: `data` or `errors` or both, as GraphQL has it, and `extensions`."""
    try:
        document = _understood(question)
    except GraphQLError as error:
        return {"errors": [_told(error, context)]}
    except _InvalidError as error:
        return {"errors": [_told(one, context) for one in error.errors]}
    except LocalError as error:
        return {"errors": [told(error)]}
    result = execute_sync(
        SCHEMA,
        document,
        context_value=context,
        variable_values=dict(question.variables),
        operation_name=question.operation,
        hide_suggestions=True,
    )
    found: dict[str, Any] = {}
    if result.errors:
        found["errors"] = [_told(error, context) for error in result.errors]
    found["data"] = result.data
    if context.receipts:
        found["extensions"] = {"receipt": context.receipts}
    return found


class _InvalidError(Exception):
    def __init__(self, errors: list[GraphQLError]) -> None:
        super().__init__()
        self.errors = errors


def _understood(question: Question) -> DocumentNode:
    """Raises GraphQLError, _InvalidError, TooMuchAskedError."""
    if len(question.query) > limits.MAX_QUERY:
        raise BadArgumentError(
            f"The question has more than {limits.MAX_QUERY:,} characters; long values go into "
            "its variables."
        )
    try:
        document = parse(question.query, max_tokens=limits.MAX_TOKENS)
    except RecursionError as error:  # as many brackets as tokens are within each other
        raise BadArgumentError("The question has too many brackets in one another.") from error
    check_size(document)
    errors = validate(SCHEMA, document, max_errors=limits.MAX_ERRORS, hide_suggestions=True)
    if errors:
        raise _InvalidError(errors)
    check_cost(document)
    return document


def _told(error: GraphQLError, context: Context) -> dict[str, Any]:
    """As `error.formatted`, with the code; nothing of a defect of ours but that it is one."""
    found: dict[str, Any] = dict(error.formatted)
    match error.original_error:
        case SetsyncError() as original:
            found |= told(original)
        case None | GraphQLError():
            found.setdefault("extensions", {"code": "bad_question"})
        case defect:
            context.defects.append(defect)
            found["message"] = "A defect of this node; its log says more."
            found["extensions"] = {"code": "defect"}
    return found


def told(error: SetsyncError) -> dict[str, Any]:
    """An error as GraphQL tells it. `code` of a refused entry is the reason of the verifier."""
    code = error.reason if isinstance(error, InvalidEntryError) else error.code
    return {"message": error.message, "extensions": {"code": code, "advice": error.advice}}
