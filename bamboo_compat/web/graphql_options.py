"""Options of serve for /graphql. The page's guest is made without any and reads them here, after
serve has read its command line.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from bamboo_compat.cli.settings import GRAPHQL
from bamboo_compat.web.graphql_access import Mode
from setsync.cli.settings_options import option_of
from setsync.errors import UsageError

if TYPE_CHECKING:
    from setsync.cli.services import Running

_ORIGIN = re.compile(r"https?://(?:[a-z0-9.-]{1,253}|\[[0-9a-f:.]{2,45}\])(?::[0-9]{1,5})?")
MAX_ORIGINS = 64


@dataclass(frozen=True)
class Settings:
    """What the operator said. `origins`: pages of these may ask too."""

    mode: Mode = Mode.AUTO
    origins: frozenset[str] = frozenset()


class GraphQLOptions:
    """See `setsync.cli.services.Service`; it runs nothing of its own."""

    settings = Settings()

    def options(self) -> Sequence[click.Option]:
        """All begin with the same word."""
        return [option_of(setting) for setting in GRAPHQL]

    def asked_for(self, values: Mapping[str, Any]) -> Running | None:
        """Raises UsageError for what is no origin."""
        mode = Mode(values["graphql"])
        origins = frozenset(_origin(text) for text in values["graphql_origins"])
        if len(origins) > MAX_ORIGINS:
            raise UsageError(f"At most {MAX_ORIGINS} origins may ask at /graphql.")
        self.settings = Settings(mode, origins)
        return None


GRAPHQL_OPTIONS = GraphQLOptions()


def _origin(text: str) -> str:
    found = text.lower().rstrip("/")
    if not _ORIGIN.fullmatch(found):
        raise UsageError(f"{text!r} is no origin: write https://HOST or http://HOST:PORT.")
    return found
