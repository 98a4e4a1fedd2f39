"""Who may ask at /graphql.

| where the page is | who may ask, unless the operator says otherwise |
|---|---|
| loopback, and asked for by such a name | everybody on this machine, for any author |
| elsewhere, with a token or an invite | whoever shows it, for any author |
| elsewhere, without | the authors at home here, each for itself |

The token is the operator's, the invite one of this home's: it is only looked at here, joining
uses it up. What is wrong is counted like any try of an invite (L20). That an author may publish
for itself needs no proof: the entry is signed.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bamboo_compat.homes.book import homes_file
from setsync.errors import InviteError, LocalError, UsageError
from setsync.node.invites import parse_code
from setsync.node.tries import Tries

_BEARER = "bearer"


class Mode(enum.StrEnum):
    """What the operator wants."""

    AUTO = "auto"
    OPEN = "open"
    TOKEN = "token"
    OFF = "off"


class LoginNeededError(LocalError):
    """Send 'Authorization: Bearer' with an invite or a token that this node's operator gave you,
    or join it first: setsync home join"""

    code = "login"


@dataclass(frozen=True, slots=True)
class Asker:
    """Somebody who may ask for any author, or (`is_known` is None otherwise) for those only of
    whom it says that they are at home here."""

    is_known: Callable[[bytes], bool] | None = None

    def check(self, author: bytes) -> None:
        """Raises LoginNeededError."""
        if self.is_known is not None and not self.is_known(author):
            raise LoginNeededError(f"The author {author.hex()} is not at home here.")


def may_ask(
    mode: Mode,
    *,
    is_loopback: bool,
    is_operator: bool,
    authorization: str | None,
    directory: Path,
    tries: Tries,
    address: str,
    now: int,
    ticks: float,
) -> Asker:
    """For whom this request may ask. `now` in ms since 1970, `ticks` in seconds of any clock.

    Raises LoginNeededError for what it shows and is neither a token nor a good invite; reads
    homes.json, and raises what that raises.
    """
    if is_operator or mode is Mode.OPEN or (mode is Mode.AUTO and is_loopback):
        return Asker()
    if authorization is None:
        return Asker(lambda author: author in homes_file(directory).read().clients)
    scheme, _, shown = authorization.partition(" ")
    if scheme.lower() != _BEARER:
        raise LoginNeededError("Only 'Authorization: Bearer' is understood.")
    if not tries.allow(address, ticks):
        raise LoginNeededError("Too many tokens and invites were tried. Try again in a minute.")
    try:
        homes_file(directory).read().invites.find(parse_code(shown), now)
    except (InviteError, UsageError) as error:
        raise LoginNeededError("That is neither a token nor an invite that is good.") from error
    tries.give_back(address)
    return Asker()
