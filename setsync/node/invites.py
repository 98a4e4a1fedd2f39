"""Invites: a code that lists whoever shows it, so many times and until then.

A code is 16 bytes of chance, and is told once, when it is made. What is kept is its BLAKE3
digest, by which it is found. That is why no comparison has to take constant time: how long a
look-up takes says at most how the digest of a guess begins, nobody can aim a guess at a digest,
and whoever knew a whole digest would still have 128 bits to guess.

An invite that is of no use any more is remembered for a while, so that who comes too late hears
why and not that it never was.
"""

from __future__ import annotations

import base64
import enum
import re
from dataclasses import dataclass, field, replace
from typing import Any

from blake3 import blake3

from setsync import limits
from setsync.errors import InviteError, NoSuchInviteError, UsageError
from setsync.node.groups import group_names, groups_in

CODE_BYTES = 16
_CODE_LETTERS = 26
_GROUP = 4
# Signs that the alphabet of base32 leaves out, since they look like one that is in it.
_LOOKALIKES = str.maketrans("018", "olb")
_IGNORED = re.compile(r"[\s-]+")
_TIME = re.compile("([0-9]{1,6})([mhdw])")
_UNITS = {"m": 60, "h": 3_600, "d": 86_400, "w": 7 * 86_400}


class Standing(enum.StrEnum):
    """What has become of an invite."""

    OPEN = "open"
    USED_UP = "used up"
    EXPIRED = "expired"
    REVOKED = "revoked"


_SENTENCES = {
    Standing.USED_UP: "This invite is used up: ask the operator of this node for another.",
    Standing.EXPIRED: "This invite has expired: ask the operator of this node for another.",
    Standing.REVOKED: "This invite was taken back by the operator of this node.",
}


@dataclass(frozen=True, slots=True)
class Invite:
    """What is kept of one: `digest` of its code, 32 bytes; `uses` that are left; `made` and
    `expires` in ms since 1970; name and groups for whoever comes with it.

    Raises UsageError for what is out of bounds.
    """

    digest: bytes = field(repr=False)
    made: int
    expires: int
    uses: int = 1
    name: str = ""
    groups: tuple[str, ...] = ()
    revoked: bool = False

    def __post_init__(self) -> None:
        if len(self.digest) != 32:
            raise UsageError("An invite's digest has 32 bytes.")
        if not 0 <= self.uses <= limits.MAX_INVITE_USES:
            raise UsageError(f"An invite is for 1 to {limits.MAX_INVITE_USES} uses.")
        if not 0 <= self.expires - self.made <= 1000 * limits.MAX_INVITE_SECONDS:
            days = limits.MAX_INVITE_SECONDS // 86_400
            raise UsageError(f"An invite expires after it was made, within {days} days.")
        if len(self.name) > limits.MAX_PEER_NAME:
            raise UsageError(f"A name has at most {limits.MAX_PEER_NAME} letters.")
        if self.groups != group_names(self.groups):
            raise UsageError("An invite's groups are named once each, in order.")

    @property
    def id(self) -> str:
        """8 hex digits, to talk about it; they open nothing."""
        return self.digest[:4].hex()

    def standing(self, now: int) -> Standing:
        """What has become of it; the operator's word goes first."""
        if self.revoked:
            return Standing.REVOKED
        if not self.uses:
            return Standing.USED_UP
        return Standing.EXPIRED if now >= self.expires else Standing.OPEN

    def is_forgotten(self, now: int) -> bool:
        """Whether it expired so long ago that nobody need be told any more."""
        return now >= self.expires + 1000 * limits.INVITE_MEMORY_SECONDS

    def as_json(self, now: int, *, groups: bool = False) -> dict[str, object]:
        """What people may know of it, as plain values; its groups if they are wanted."""
        told: dict[str, object] = {
            "id": self.id,
            "state": self.standing(now).value,
            "uses": self.uses,
            "made": self.made,
            "expires": self.expires,
            "name": self.name,
        }
        return told | {"groups": list(self.groups)} if groups else told

    def dump(self) -> dict[str, Any]:
        """What a file keeps of it beside its digest."""
        return {
            "made": self.made,
            "expires": self.expires,
            "uses": self.uses,
            "name": self.name,
            "groups": list(self.groups),
            "revoked": self.revoked,
        }

    @classmethod
    def parse(cls, digest: bytes, found: dict[str, Any]) -> Invite:
        """The reverse. Raises ValueError, KeyError, TypeError, UsageError."""
        made, expires, uses = (found[name] for name in ("made", "expires", "uses"))
        name, revoked = found["name"], found["revoked"]
        if not all(type(number) is int for number in (made, expires, uses)):
            raise ValueError(f"the invite {digest[:4].hex()} has times or uses that are no numbers")
        if not isinstance(name, str) or type(revoked) is not bool:
            raise ValueError(
                f"the invite {digest[:4].hex()} has no name, or does not say whether it was revoked"
            )
        groups = groups_in(found.get("groups", []))
        return cls(digest, made, expires, uses, name, groups, revoked)


@dataclass(slots=True)
class Invites:
    """The invites of a node, by the digest of their codes. Time is given, in ms."""

    by_digest: dict[bytes, Invite] = field(default_factory=dict)

    def all(self) -> list[Invite]:
        """In the order in which they were made."""
        return sorted(self.by_digest.values(), key=lambda one: one.made)

    def add(self, invite: Invite, now: int) -> None:
        """Keep a new one. Raises UsageError when too many are open, or its id is taken."""
        self.forget(now)
        if any(other.id == invite.id for other in self.by_digest.values()):
            raise UsageError(f"There is an invite {invite.id} already; make another.")
        self._make_room(now)
        self.by_digest[invite.digest] = invite

    def revoke(self, id_: str, now: int) -> Invite:
        """Let nobody in with it any more. Raises NoSuchInviteError."""
        self.forget(now)
        for invite in self.by_digest.values():
            if invite.id == id_:
                self.by_digest[invite.digest] = revoked = replace(invite, revoked=True)
                return revoked
        raise NoSuchInviteError(f"No invite has the id {id_!r}.")

    def use(self, code: bytes, now: int) -> Invite:
        """Take one use of the invite with this code. Raises InviteError; nothing is taken then."""
        found = self.find(code, now)
        self.forget(now)
        self.by_digest[found.digest] = left = replace(found, uses=found.uses - 1)
        return left

    def find(self, code: bytes, now: int) -> Invite:
        """The open invite with this code. Raises InviteError, saying why there is none."""
        if not code:
            raise InviteError(
                "This node talks to who is listed or invited: ask its operator for an invite, "
                "and sync with --invite CODE."
            )
        invite = self.by_digest.get(digest_of(code))
        if invite is None or invite.is_forgotten(now):
            raise InviteError("This node knows no such invite: is there a typing error in it?")
        standing = invite.standing(now)
        if standing is not Standing.OPEN:
            raise InviteError(_SENTENCES[standing])
        return invite

    def forget(self, now: int) -> None:
        """Drop those of which nobody need be told any more."""
        for invite in list(self.by_digest.values()):
            if invite.is_forgotten(now):
                del self.by_digest[invite.digest]

    def dump(self) -> dict[str, Any]:
        """What a file keeps of them, by digest."""
        return {invite.digest.hex(): invite.dump() for invite in self.all()}

    @classmethod
    def parse(cls, found: dict[str, Any]) -> Invites:
        """The reverse. Raises ValueError, KeyError, TypeError, UsageError."""
        if len(found) > limits.MAX_INVITES:
            raise ValueError(f"it holds more than {limits.MAX_INVITES:,} invites")
        invites = [Invite.parse(bytes.fromhex(text), about) for text, about in found.items()]
        return cls({invite.digest: invite for invite in invites})

    def _make_room(self, now: int) -> None:
        """Of those that are of no use, the one that ends first makes place."""
        if len(self.by_digest) < limits.MAX_INVITES:
            return
        over = [one for one in self.by_digest.values() if one.standing(now) is not Standing.OPEN]
        if not over:
            raise UsageError(
                f"A node has at most {limits.MAX_INVITES:,} open invites; revoke one first."
            )
        del self.by_digest[min(over, key=lambda one: (one.expires, one.digest)).digest]


def digest_of(code: bytes) -> bytes:
    """What is kept of a code: 32 bytes."""
    return blake3(code).digest()


# --- codes as people write them -----------------------------------------------------------


def show_code(code: bytes) -> str:
    """A code for people: base32 in lower case, in groups of four. `code` has 16 bytes."""
    letters = base64.b32encode(code).decode("ascii").rstrip("=").lower()
    return "-".join(letters[at : at + _GROUP] for at in range(0, len(letters), _GROUP))


def parse_code(text: str) -> bytes:
    """The reverse; case, spaces and dashes do not matter, nor 0, 1 and 8 for o, l and b.

    Raises UsageError, which does not repeat what was typed: it may be a code but for a letter.
    """
    letters = _IGNORED.sub("", text).lower().translate(_LOOKALIKES)
    try:
        if len(letters) != _CODE_LETTERS:
            raise ValueError
        code = base64.b32decode(letters.upper() + "=" * (-_CODE_LETTERS % 8))
        if show_code(code).replace("-", "") != letters:
            raise ValueError
    except ValueError:
        raise UsageError(
            f"This is no invite: a code has {_CODE_LETTERS} letters and digits. "
            "Look for a typing error."
        ) from None
    return code


def seconds_of(text: str) -> int:
    """How long 90m, 12h, 7d or 2w are. Raises UsageError, also where no invite is good so long."""
    found = _TIME.fullmatch(text)
    seconds = int(found[1]) * _UNITS[found[2]] if found else 0
    if not 0 < seconds <= limits.MAX_INVITE_SECONDS:
        days = limits.MAX_INVITE_SECONDS // 86_400
        raise UsageError(f"An invite is good for a time like 90m, 12h, 7d or 2w, {days}d at most.")
    return seconds
