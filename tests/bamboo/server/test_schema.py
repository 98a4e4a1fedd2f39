"""The GraphQL schema: what clients ask is understood, what would cost too much is not."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from graphql import get_introspection_query, print_schema
from hypothesis import given
from hypothesis import strategies as st

from bamboo_compat.core import keys
from bamboo_compat.server import limits
from bamboo_compat.server.errors import BadArgumentError
from bamboo_compat.server.publishing import NextArgs, Published
from bamboo_compat.server.schema import SCHEMA, SDL, Context, Question, answer
from setsync.store.memory import MemoryStore
from tests.bamboo.logs import seed
from tests.bamboo.server.clients import Server, create, hash_of, sign, update

GOLDEN = Path(__file__).parents[3] / "docs" / "bamboo.graphql"
ANNA = keys.public_key(seed(1))

# As clients declare them: every variable is a String.
NEXT_ARGS = """
query Next($key: String!, $view: String) {
  nextArgs(publicKey: $key, viewId: $view) { logId seqNum backlink skiplink }
}
"""
PUBLISH = """
mutation Take($entry: String!, $operation: String!) {
  publish(entry: $entry, operation: $operation) { logId seqNum backlink skiplink }
}
"""


@pytest.fixture
def server(tmp_path: Path) -> Server:
    """An empty one."""
    return Server(MemoryStore(), tmp_path)


def ask(server: Server, query: str, variables: Mapping[str, object] | None = None) -> Any:
    """A question, by way of JSON as clients send it; the whole answer."""
    body = json.loads(json.dumps({"query": query, "variables": variables}))
    context = Context(server.publisher)
    found = answer(Question.of(body), context)
    assert context.defects == []
    return json.loads(json.dumps(found))


def errors(found: Any) -> list[str]:
    """The codes of what went wrong."""
    return [one["extensions"]["code"] for one in found["errors"]]


def publish(server: Server, args: NextArgs, payload: bytes) -> tuple[bytes, Any]:
    """Publish by way of GraphQL."""
    header = sign(1, args, payload)
    return header, ask(server, PUBLISH, {"entry": header.hex(), "operation": payload.hex()})


# --- what it says -------------------------------------------------------------------------


def test_the_schema_is_the_one_in_the_docs() -> None:
    """And both are what the library understands of them."""
    assert GOLDEN.read_text(encoding="utf-8") == SDL
    assert print_schema(SCHEMA) + "\n" == SDL


def test_numbers_are_texts_and_links_hashes_in_hex(server: Server) -> None:
    header, found = publish(server, NextArgs(0, 1), create())
    tagged = hash_of(header).hex()
    assert tagged.startswith("0020")
    wanted = {"logId": "0", "seqNum": "2", "backlink": tagged, "skiplink": None}
    assert found == {"data": {"publish": wanted}}
    variables = {"key": ANNA.hex(), "view": tagged}
    assert ask(server, NEXT_ARGS, variables) == {"data": {"nextArgs": wanted}}
    new = {"logId": "1", "seqNum": "1", "backlink": None, "skiplink": None}
    assert ask(server, NEXT_ARGS, {"key": ANNA.hex()})["data"]["nextArgs"] == new


def test_the_fourth_entry_has_a_skiplink(server: Server) -> None:
    document, _ = server.act(1, create())
    for _ in range(2):
        server.act(1, update(document), document)
    found = ask(server, NEXT_ARGS, {"key": ANNA.hex(), "view": document.hex()})
    assert found["data"]["nextArgs"]["skiplink"] == document.hex()


def test_a_view_of_several_operations_is_one_text_or_a_list(server: Server) -> None:
    """shirokuma sends a list where it was given one."""
    document, _ = server.act(1, create())
    other, _ = server.act(2, update(document), document)
    ids = [document.hex(), other.hex()]
    query = NEXT_ARGS.replace("$view", "$viewId")
    for view in ("_".join(ids), ids):
        found = ask(server, query, {"key": ANNA.hex(), "viewId": view})
        assert found["data"]["nextArgs"]["seqNum"] == "2"


def test_a_receipt_comes_beside_the_data(server: Server) -> None:
    payload = create()
    header = sign(1, NextArgs(0, 1), payload)
    variables = {"entry": header.hex(), "operation": payload.hex()}

    def receipt(published: Published) -> str:
        return published.publication.member.id.hex()

    context = Context(server.publisher, receipt)
    found = answer(Question(PUBLISH.replace("publish(", "mine: publish("), variables), context)
    assert found["extensions"] == {"receipt": {"mine": hash_of(header).hex()[4:]}}


# --- refusals -----------------------------------------------------------------------------


def test_the_verifiers_reason_is_the_code_and_advice_comes_with_it(server: Server) -> None:
    payload = create()
    header = sign(1, NextArgs(0, 1), payload)
    found = ask(server, PUBLISH, {"entry": header.hex(), "operation": (payload + b"x").hex()})
    [error] = found["errors"]
    assert error["extensions"]["code"] == "bad_payload_hash"
    assert "expected" in error["message"]
    assert error["extensions"]["advice"]
    assert error["path"] == ["publish"]
    assert found["data"] is None


@pytest.mark.parametrize(
    ("variables", "code"),
    [
        ({"key": "zz" * 32}, "bad_argument"),
        ({"key": "ab"}, "bad_argument"),
        ({"key": " " + "ab" * 32}, "bad_argument"),
        ({"key": ANNA.hex(), "view": ""}, "bad_argument"),
        ({"key": ANNA.hex(), "view": "0020" + "ab" * 31}, "bad_argument"),
        ({"key": ANNA.hex(), "view": "_".join(["0020" + "ab" * 32] * 2)}, "bad_argument"),
        ({"key": ANNA.hex(), "view": "0020" + "ab" * 32}, "unknown_document"),
        ({"key": ANNA.hex(), "view": "a" * limits.MAX_VIEW_TEXT + "a"}, "bad_argument"),
        ({"key": 7}, "bad_question"),
        ({}, "bad_question"),
    ],
)
def test_wrong_values_are_told(server: Server, variables: dict[str, object], code: str) -> None:
    assert errors(ask(server, NEXT_ARGS, variables)) == [code]


@pytest.mark.parametrize(
    "body", [None, [], [{"query": "{ __typename }"}], "x", {}, {"query": 1}, {"query": None}]
)
def test_what_is_no_question_is_refused(body: object) -> None:
    with pytest.raises(BadArgumentError):
        Question.of(body)


@pytest.mark.parametrize("more", [{"variables": []}, {"variables": "x"}, {"operationName": 1}])
def test_what_comes_with_a_question_is_what_it_should_be(more: dict[str, object]) -> None:
    with pytest.raises(BadArgumentError):
        Question.of({"query": "{ __typename }", **more})


# --- too much -----------------------------------------------------------------------------


def test_the_question_that_tools_ask_first_is_answered(server: Server) -> None:
    """GraphiQL and others ask for the whole schema before anything else."""
    found = ask(server, get_introspection_query(descriptions=True))
    names = {one["name"] for one in found["data"]["__schema"]["types"]}
    assert {"Query", "Mutation", "NextArgs"} <= names


def next_args(number: int) -> str:
    """One field with a name of its own."""
    return f'a{number}: nextArgs(publicKey: "{ANNA.hex()}") {{ logId }}'


def test_so_many_answers_and_no_more(server: Server) -> None:
    most = limits.MAX_ALIASES
    found = ask(server, "{" + " ".join(map(next_args, range(most))) + "}")
    assert len(found["data"]) == most
    found = ask(server, "{" + " ".join(map(next_args, range(most + 1))) + "}")
    assert errors(found) == ["too_much"]
    assert "data" not in found


def nested(depth: int) -> str:
    """The schema of the schema of the schema."""
    inside = "name"
    for _ in range(depth):
        inside = f"ofType {{ {inside} }}"
    return "{ __schema { types { " + inside + " } } }"


# Each is refused before anything of it is carried out.
HOSTILE = {
    "many aliases in the answer": '{ nextArgs(publicKey: "") {'
    + " ".join(f"a{n}: logId" for n in range(40))
    + "} }",
    "answers through a fragment": "{"
    + "...F " * 1
    + "} fragment F on Query {"
    + " ".join(map(next_args, range(20)))
    + "}",
    "fragments that double": '{ nextArgs(publicKey: "") { ...F0 } } '
    + " ".join(f"fragment F{n} on NextArgs {{ ...F{n + 1} ...F{n + 1} }}" for n in range(12))
    + " fragment F12 on NextArgs { logId }",
    "a fragment in itself": "{ ...F } fragment F on Query { ...F }",
    "fragments in a circle": "{ ...F } fragment F on Query { ...G } fragment G on Query { ...F }",
    "deep in the schema": nested(limits.MAX_SCHEMA_DEPTH),
    "lists in lists in the schema": "{ __schema { types { fields { type { fields { type { fields "
    "{ type { fields { name } } } } } } } } } }",
    "many tokens": "{" + " logId" * limits.MAX_TOKENS + "}",
    "brackets": "{a" * 400 + "}" * 400,
    "brackets in a value": "{ nextArgs(publicKey: " + "[" * 450 + "]" * 450 + ") { logId } }",
    "long": "{ __typename }" + " " * limits.MAX_QUERY,
    "long name": "{" + "a" * (limits.MAX_QUERY - 2) + "}",
    "no such field": "{ documents { fields } }",
    "no such operation": "subscription { nextArgs }",
    "directives": "{ __typename " + "@skip(if: false) " * 100 + "}",
    "one field often": "{" + "__typename " * (limits.MAX_FIELDS + 1) + "}",
    "one call often": "{" + 'nextArgs(publicKey: "") { logId } ' * (limits.MAX_CALLS + 1) + "}",
    "nothing": "",
    "no text": "\0\ud800",
    "unknown variable": "{ nextArgs(publicKey: $key) { logId } }",
    "two without a name": "{ __typename } { __typename }",
}


@pytest.mark.parametrize("query", HOSTILE.values(), ids=list(HOSTILE))
def test_a_hostile_question_is_refused_in_few_words(server: Server, query: str) -> None:
    found = ask(server, query)
    assert found.get("data") is None
    assert 1 <= len(found["errors"]) <= limits.MAX_ERRORS + 1
    assert {*errors(found)} <= {"too_much", "bad_question", "bad_argument"}
    assert len(json.dumps(found)) < 64 * 1024


@given(st.text(st.sampled_from(list('{}()[]$:!@.a"# \n\\')), max_size=200))
def test_whatever_is_asked_is_answered(query: str) -> None:
    """With data or errors; no exception, and no defect."""
    context = Context(_NOBODY)
    found = answer(Question(query), context)
    assert found.keys() & {"data", "errors"}
    assert context.defects == []


class _Nobody:
    def next_args(self, author: bytes, view: tuple[bytes, ...]) -> NextArgs:
        raise BadArgumentError("Nobody is here.")

    def publish(self, header: bytes, payload: bytes) -> Published:
        raise BadArgumentError("Nobody is here.")


_NOBODY = _Nobody()


def test_a_defect_of_ours_tells_the_client_nothing_but_that() -> None:
    class Broken(_Nobody):
        def next_args(self, author: bytes, view: tuple[bytes, ...]) -> NextArgs:
            raise KeyError("/secret/path")

    context = Context(Broken())
    found = answer(Question("{" + next_args(1) + "}"), context)
    assert "secret" not in json.dumps(found)
    assert errors(found) == ["defect"]
    assert [type(one) for one in context.defects] == [KeyError]
