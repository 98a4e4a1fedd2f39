"""What the guests of the page about forks and about homes have in common.

Each keeps one value about its node, made anew when something has changed, and has a desk: the node
together with that value, at which requests are answered.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from bamboo_compat.web.keeping import Kept
from setsync.errors import UsageError
from setsync.web.guests import Web

if TYPE_CHECKING:
    from starlette.datastructures import QueryParams
    from starlette.responses import Response

    from setsync.store.contract import StoredEntry


class Desk(Protocol):
    """Answers requests about one node."""

    web: Web
    kept: Kept[Any]


D = TypeVar("D", bound=Desk)


class DeskGuest(Generic[D]):
    """The part of a `setsync.web.guests.Guest` that needs no word of forks or homes."""

    def __init__(self, open_desk: Callable[[Web], D]) -> None:
        self._open_desk = open_desk
        self.desk: D | None = None

    def at(self, web: Web) -> D:
        """The desk of this node: the one that is there, or a new one."""
        if self.desk is None or self.desk.web is not web:
            self.desk = self._open_desk(web)
        return self.desk

    def folder(self) -> Path | None:
        """Where templates, styles and scripts are."""
        return Path(__file__).parent

    def describe(self, entry: StoredEntry) -> Sequence[tuple[str, str]]:
        """Nothing."""
        return ()

    async def run(self, web: Web) -> None:
        """Keep the value up to date."""
        await self.at(web).kept.follow()


def see(path: str) -> Response:
    """Go on there: what was asked for is done."""
    from starlette.responses import RedirectResponse

    return RedirectResponse(path, 303)


def number(text: str, most: int) -> int:
    """What somebody wrote into a form or an address, 0 to `most`. Raises UsageError."""
    if not (text.isascii() and text.isdigit() and len(text) < 11 and int(text) <= most):
        raise UsageError(f"A number up to {most:,} belongs there.")
    return int(text)


def start_of(query: QueryParams) -> int:
    """Where a list goes on. Raises UsageError."""
    return number(query.get("after", "0"), 10**9)
