"""Options of serve for /graphql. The page's guest is made without any and reads them here, after
serve has read its command line.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from bamboo_compat.web.graphql_access import Mode
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
        return (
            click.Option(
                ["--graphql", "graphql_mode"],
                type=click.Choice([mode.value for mode in Mode]),
                default=Mode.AUTO.value,
                show_default=True,
                help="Who may ask at /graphql of --web: everybody (open); who shows a token or an "
                "invite, and authors at home here (token); auto: open where the page is on "
                "loopback, else token; nobody (off).",
            ),
            click.Option(
                ["--graphql-origin", "graphql_origins"],
                multiple=True,
                metavar="ORIGIN",
                help="Let pages of this origin, as https://example.org, ask at /graphql. "
                "Repeatable.",
            ),
        )

    def asked_for(self, values: Mapping[str, Any]) -> Running | None:
        """Raises UsageError for what is no origin."""
        mode = Mode(values["graphql_mode"])
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
