"""What the page keeps secret is noted as it is made, and looked for in all that is said."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from setsync.web import logins, token
from tests.secrets import WATCH
from tests.web.calling import Node, make_node


@pytest.fixture(autouse=True)
def _secrets_are_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The token, the codes made from it, cookies and what pages carry."""
    made, code, text = token.Token.__init__, token.Token.code, logins._text

    def noted_token(self: token.Token, secret: bytes) -> None:
        made(self, secret)
        WATCH.add(secret)

    def noted_code(self: token.Token, now: int, nonce: bytes) -> str:
        WATCH.add(nonce)
        return code(self, now, nonce)

    def noted_text(value: bytes) -> str:
        WATCH.add(value)
        return text(value)

    monkeypatch.setattr(token.Token, "__init__", noted_token)
    monkeypatch.setattr(token.Token, "code", noted_code)
    monkeypatch.setattr(logins, "_text", noted_text)


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    """A data directory with an open store, for a page around it."""
    with make_node(tmp_path / "node") as made:
        yield made
