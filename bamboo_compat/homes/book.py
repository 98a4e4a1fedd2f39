"""`homes.json`: the invites and clients of a server, and the homes of the authors here.

Read and written whole. A use of an invite and the client that came with it are one write of it, so
that neither is there without the other, whenever the power fails.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bamboo_compat.homes.errors import HomesFileError
from bamboo_compat.homes.limits import (
    LOCK_SECONDS,
    MAX_CLIENTS,
    MAX_HOMES_FILE,
    MAX_STATEMENT,
)
from setsync.node.invites import Invite, Invites
from setsync.node.lockedfile import Format, LockedFile

FILE = "homes.json"
FORMAT_VERSION = 1
_MAX_TEXT = 512


@dataclass(frozen=True, slots=True)
class Client:
    """An author at home here. `hello` and `welcome` are headers; `invite` is the id of the one
    that it came with; `joined` in milliseconds since 1970."""

    author: bytes
    joined: int
    invite: str
    name: str
    hello: bytes
    welcome: bytes


@dataclass(frozen=True, slots=True)
class MyHome:
    """Where an author whose key is here is at home. `server`: the node id, which was pinned when
    it joined; `url` as it was given."""

    author: bytes
    server: bytes
    url: str
    joined: int
    hello: bytes
    welcome: bytes


@dataclass(slots=True)
class Homes:
    """All that is in the file."""

    invites: Invites = field(default_factory=Invites)
    clients: dict[bytes, Client] = field(default_factory=dict)
    mine: dict[bytes, MyHome] = field(default_factory=dict)

    @property
    def last(self) -> Client | None:
        """The client that was welcomed last."""
        # The order of the file is that of welcomes: a client who comes again goes to the end.
        return next(reversed(self.clients.values()), None)

    def redeem(self, code: bytes, now: int, client: Callable[[Invite], Client]) -> Client:
        """Take one use of an invite for a client, which is made once the invite is known good.

        Raises InviteError, HomesFileError, and what `client` raises; nothing is changed then.
        """
        invite = self.invites.find(code, now)
        new = client(invite)
        if new.author not in self.clients and len(self.clients) >= MAX_CLIENTS:
            raise HomesFileError(f"A server is home to at most {MAX_CLIENTS:,} authors.")
        self.clients.pop(new.author, None)
        self.clients[new.author] = new
        self.invites.use(code, now)
        return new


def homes_file(directory: Path) -> LockedFile[Homes]:
    """The file of a data directory. Raises HomesFileError as it is read."""
    return LockedFile(directory / FILE, _FORMAT, LOCK_SECONDS)


def _dump(homes: Homes) -> dict[str, Any]:
    return {
        "invites": homes.invites.dump(),
        "clients": {
            author.hex(): {
                "joined": one.joined,
                "invite": one.invite,
                "name": one.name,
                "hello": one.hello.hex(),
                "welcome": one.welcome.hex(),
            }
            for author, one in homes.clients.items()
        },
        "mine": {
            author.hex(): {
                "server": one.server.hex(),
                "url": one.url,
                "joined": one.joined,
                "hello": one.hello.hex(),
                "welcome": one.welcome.hex(),
            }
            for author, one in sorted(homes.mine.items())
        },
    }


def _parse(found: dict[str, Any]) -> Homes:
    invites = Invites.parse(found["invites"])
    clients = [_client(_key(text), about) for text, about in found["clients"].items()]
    mine = [_my_home(_key(text), about) for text, about in found["mine"].items()]
    if len(clients) > MAX_CLIENTS or len(mine) > MAX_CLIENTS:
        raise ValueError("it holds too many")
    return Homes(
        invites,
        {one.author: one for one in clients},
        {one.author: one for one in mine},
    )


def _client(author: bytes, about: dict[str, Any]) -> Client:
    return Client(
        author,
        _number(about["joined"]),
        _text(about["invite"]),
        _text(about["name"]),
        _header(about["hello"]),
        _header(about["welcome"]),
    )


def _my_home(author: bytes, about: dict[str, Any]) -> MyHome:
    return MyHome(
        author,
        _key(about["server"]),
        _text(about["url"]),
        _number(about["joined"]),
        _header(about["hello"]),
        _header(about["welcome"]),
    )


def _number(value: object) -> int:
    if type(value) is not int:
        raise ValueError(f"{value!r} is no number")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str) or len(value) > _MAX_TEXT:
        raise ValueError("a text is none, or too long")
    return value


def _header(value: object) -> bytes:
    header = bytes.fromhex(_text_of_header(value))
    if not header:
        raise ValueError("a statement is empty")
    return header


def _text_of_header(value: object) -> str:
    if not isinstance(value, str) or len(value) > 2 * MAX_STATEMENT:
        raise ValueError("a statement is none, or too long")
    return value


def _key(value: object) -> bytes:
    key = bytes.fromhex(_text(value))
    if len(key) != 32:
        raise ValueError(f"{value!r} is not a key")
    return key


_FORMAT = Format(
    mark="setsync_homes",
    version=FORMAT_VERSION,
    what="a list of homes",
    limit=MAX_HOMES_FILE,
    error=HomesFileError,
    empty=Homes,
    parse=_parse,
    dump=_dump,
)
