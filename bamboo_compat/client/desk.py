"""A home's counter at /graphql, from the side of the author: where does my next entry go, and
please take it. What it says is only read here; `signing` judges it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bamboo_compat.core.yamf import is_hash
from bamboo_compat.homes.errors import (
    BehindHeadError,
    CopiedDirectoryError,
    HomeRefusedError,
    NotTheHomeError,
    TwoHomesError,
)
from bamboo_compat.homes.limits import MAX_GRAPHQL_ANSWER, MAX_SHOWN
from bamboo_compat.homes.roads import Web
from bamboo_compat.homes.signing import NextArgs
from setsync.errors import PeerError, SetsyncError

PATH = "/graphql"
_JSON = "application/json"
_NEXT_ARGS = (
    "query Next($publicKey: String!, $viewId: String) "
    "{ nextArgs(publicKey: $publicKey, viewId: $viewId) { logId seqNum backlink skiplink } }"
)
_PUBLISH = (
    "mutation Publish($entry: String!, $operation: String!) "
    "{ publish(entry: $entry, operation: $operation) { logId seqNum } }"
)
_NUMBER_DIGITS = 20
# Refusals that end a command as they would have here. That the directory there is a copy, or
# behind, is nothing that could be mended here.
_AWAY = {kind.code: kind for kind in (NotTheHomeError, TwoHomesError)}
_THEIRS = (CopiedDirectoryError.code, BehindHeadError.code)


@dataclass(frozen=True, slots=True)
class Desk:
    """At the end of a road."""

    web: Web

    def next_args(self, author: bytes, view: Sequence[bytes]) -> NextArgs:
        """What the home says that the next entry is; see `NextArgs` in `signing`. `view`: tagged
        hashes of the operations that it follows, none for one that creates.

        Raises HomeRefusedError, NotTheHomeError, TwoHomesError, PeerError and its kinds.
        """
        variables: dict[str, str] = {"publicKey": author.hex()}
        if view:
            variables["viewId"] = "_".join(tagged.hex() for tagged in view)
        found = self._ask("nextArgs", _NEXT_ARGS, variables)["data"]["nextArgs"]
        try:
            return NextArgs(
                _number(found["logId"]),
                _number(found["seqNum"]),
                _link(found["backlink"]),
                _link(found["skiplink"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise _nonsense(self.web) from error

    def publish(self, header: bytes, payload: bytes) -> bytes:
        """Hand in an entry; the receipt, unread. Raises as `next_args`."""
        variables = {"entry": header.hex(), "operation": payload.hex()}
        found = self._ask("publish", _PUBLISH, variables)
        try:
            return bytes.fromhex(found["extensions"]["receipt"]["publish"])
        except (KeyError, TypeError, ValueError) as error:
            raise PeerError(f"{self.web.url} took the entry and gave no receipt.") from error

    def _ask(self, name: str, query: str, variables: Mapping[str, str]) -> dict[str, Any]:
        """The answer, whose `data` has an object under a name."""
        body = json.dumps({"query": query, "variables": variables}).encode()
        headers = {"Content-Type": _JSON, "Accept": _JSON}
        _, content = self.web.post(PATH, body, headers, MAX_GRAPHQL_ANSWER)
        try:
            if len(content) > MAX_GRAPHQL_ANSWER:
                raise ValueError
            found = json.loads(content)
            if found.get("errors"):
                raise _refusal(found["errors"][0])
            if not isinstance(found["data"][name], dict):
                raise ValueError
        except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
            raise _nonsense(self.web) from error
        return dict(found)


def _refusal(error: Mapping[str, Any]) -> SetsyncError:
    """What the home says against it. Raises KeyError and others where it says nothing."""
    sentence, about = str(error["message"])[:MAX_SHOWN], error.get("extensions") or {}
    code = str(about.get("code", ""))
    if code in _AWAY:
        return _AWAY[code](sentence)
    if code in _THEIRS:
        return HomeRefusedError(f"The home does not publish now ({code}): {sentence}")
    return HomeRefusedError(f"{sentence} {str(about.get('advice', ''))[:MAX_SHOWN]}".strip())


def _nonsense(web: Web) -> PeerError:
    return PeerError(f"{web.url} does not answer as a home does at {PATH}.")


def _number(text: object) -> int:
    if not isinstance(text, str) or not text.isascii() or not text.isdigit():
        raise ValueError
    number = int(text) if len(text) <= _NUMBER_DIGITS else 1 << 64
    if number >= 1 << 64:
        raise ValueError
    return number


def _link(text: object) -> bytes | None:
    if text is None:
        return None
    if not isinstance(text, str) or not is_hash(found := bytes.fromhex(text)):
        raise ValueError
    return found
